'use client';

import Link from 'next/link';
import { usePathname } from 'next/navigation';
import { useWhoIsHere } from '../people/me';
import { useAskedOf } from '../requests/useRequests';

const PAGES = [
  { href: '/', name: 'Send' },
  { href: '/requests/', name: 'Requests' },
  { href: '/lab/', name: 'Lab' },
];

export function Header() {
  const path = usePathname();
  return (
    <header className="mx-auto flex max-w-6xl flex-wrap items-center justify-between gap-x-4 gap-y-2 px-4 py-4 sm:px-6 print:hidden">
      {/* What another page needs is loaded when one goes there: the first one is to be quick. */}
      <Link
        href="/"
        prefetch={false}
        className="flex items-center gap-2 rounded-lg text-xl font-bold tracking-tight"
      >
        <Mark />
        {/* The pages' names need the room on a small phone. */}
        <span className="max-[27rem]:sr-only">payonce</span>
      </Link>
      <nav aria-label="Pages">
        <ul className="flex rounded-full bg-card p-1 shadow-card">
          {PAGES.map(({ href, name }) => (
            <li key={href}>
              <Link
                href={href}
                prefetch={false}
                aria-current={path === href ? 'page' : undefined}
                className="flex items-center gap-1.5 rounded-full px-3 py-2 font-medium text-muted hover:text-ink aria-[current=page]:bg-accent aria-[current=page]:text-on-accent sm:px-4"
              >
                {name}
                {href === '/requests/' && <AskedOfMe />}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
    </header>
  );
}

/** How many requests wait for one to pay them. */
function AskedOfMe() {
  const count = useAskedOf(useWhoIsHere());
  if (count === null) return null;
  return (
    <span
      className="grid min-w-6 place-items-center rounded-full bg-bad px-1.5 py-0.5 text-xs font-bold text-card tabular-nums"
      data-testid="asked-of-me"
    >
      {count}
      <span className="sr-only"> asked of you</span>
    </span>
  );
}

/** One coin, once. */
function Mark() {
  return (
    <svg viewBox="0 0 32 32" className="size-8" aria-hidden="true">
      <circle cx="16" cy="16" r="15" fill="var(--accent)" />
      <path
        d="M13 11.5 17 8.5v15M12.5 23.5h9"
        fill="none"
        stroke="var(--on-accent)"
        strokeWidth="3"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    </svg>
  );
}
