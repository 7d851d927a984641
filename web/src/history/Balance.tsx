'use client';

import type { CSSProperties } from 'react';
import { ApiFailure } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { become } from '../people/me';
import { useCalled } from '../people/people';
import { NumberOf } from '../people/PersonName';
import { useSession } from '../session/session';
import { signOut } from '../session/signOut';
import { useAccount } from './useHistory';

/** No digit of a bold font is wider than so many of its heights. */
const DIGIT_EM = 0.62;

/** Who one is, and what one has. */
export function Balance({ me }: { me: number }) {
  const account = useAccount(me);
  const person = useCalled()(me);
  const session = useSession();
  const isTokens = session.state === 'in' && session.token.account !== null;
  return (
    <section
      aria-label="Your account"
      className="rounded-3xl p-5 text-white sm:p-6 shadow-card"
      style={{ background: 'linear-gradient(135deg, var(--hero-from), var(--hero-to))' }}
    >
      {/* The button goes below a name that needs the room. */}
      <div className="flex flex-wrap items-center justify-end gap-3">
        <div className="flex min-w-0 flex-auto items-center gap-3">
          <Avatar id={me} name={person.name} size="size-10 ring-2 ring-white/70" />
          <p className="min-w-0 text-lg leading-snug font-semibold" title={person.name}>
            <bdi className="line-clamp-3">{person.name}</bdi> <NumberOf called={person} />
          </p>
        </div>
        <button
          type="button"
          onClick={() => (isTokens ? void signOut() : become(null))}
          className="shrink-0 rounded-full border border-white/60 px-3 py-1.5 text-sm font-medium outline-white hover:bg-white/15"
        >
          {isTokens ? 'Sign out' : 'Switch person'}
        </button>
      </div>
      <p className="mt-4 text-sm text-white/90">Balance</p>
      {account.data && <Money cents={account.data.balance} />}
      {account.isPending && (
        <p className="text-5xl font-bold" aria-label="Loading">
          …
        </p>
      )}
      {account.isError && (
        <p role="alert" className="mt-2 rounded-xl bg-black/30 px-3 py-2 text-sm">
          {whyNoBalance(account.error)}
        </p>
      )}
    </section>
  );
}

/** As large as its digits leave room for. */
function Money({ cents }: { cents: number }) {
  const text = formatCents(cents);
  return (
    <div className="@container">
      <p
        className="text-[length:min(2.25rem,var(--fits))] leading-tight font-bold tracking-tight tabular-nums sm:text-[length:min(3rem,var(--fits))]"
        style={{ '--fits': `calc(100cqi / ${text.length * DIGIT_EM})` } as CSSProperties}
        data-testid="balance"
      >
        {text}
      </p>
    </div>
  );
}

function whyNoBalance(error: unknown): string {
  const code = error instanceof ApiFailure ? error.problem?.code : undefined;
  if (code === 'account_not_found') return 'There is no such account. Choose somebody else.';
  if (code === 'forbidden' || code === 'rate_limited') return whyReadFailed(error);
  return 'The service does not answer; the page keeps asking.';
}
