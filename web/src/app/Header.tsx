'use client';

import Link from 'next/link';
import { usePathname } from 'next/navigation';

const PAGES = [
  { href: '/', name: 'Send' },
  { href: '/lab/', name: 'Lab' },
];

export function Header() {
  const path = usePathname();
  return (
    <header className="mx-auto flex max-w-6xl items-center justify-between gap-4 px-4 py-4 sm:px-6">
      <Link
        href="/"
        className="flex items-center gap-2 rounded-lg text-xl font-bold tracking-tight"
      >
        <Mark />
        payonce
      </Link>
      <nav aria-label="Pages">
        <ul className="flex rounded-full bg-card p-1 shadow-card">
          {PAGES.map(({ href, name }) => (
            <li key={href}>
              <Link
                href={href}
                aria-current={path === href ? 'page' : undefined}
                className="block rounded-full px-4 py-2 font-medium text-muted hover:text-ink aria-[current=page]:bg-accent aria-[current=page]:text-on-accent"
              >
                {name}
              </Link>
            </li>
          ))}
        </ul>
      </nav>
    </header>
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
