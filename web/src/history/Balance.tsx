'use client';

import { ApiFailure } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { become } from '../people/me';
import { nameOf } from '../people/people';
import { leave, useSession } from '../session/session';
import { useAccount } from './useHistory';

/** Who one is, and what one has. */
export function Balance({ me }: { me: number }) {
  const account = useAccount(me);
  const name = nameOf(me, account.data?.name);
  const session = useSession();
  const isTokens = session.state === 'in' && session.token.account !== null;
  return (
    <section
      aria-label="Your account"
      className="rounded-3xl p-5 text-white sm:p-6 shadow-card"
      style={{ background: 'linear-gradient(135deg, var(--hero-from), var(--hero-to))' }}
    >
      <div className="flex items-center gap-3">
        <Avatar id={me} name={name} size="size-10 ring-2 ring-white/70" />
        <p className="min-w-0 flex-1 truncate text-lg font-semibold">{name}</p>
        <button
          type="button"
          onClick={() => (isTokens ? leave() : become(null))}
          className="rounded-full border border-white/60 px-3 py-1.5 text-sm font-medium outline-white hover:bg-white/15"
        >
          {isTokens ? 'Sign out' : 'Switch person'}
        </button>
      </div>
      <p className="mt-4 text-sm text-white/90">Balance</p>
      {account.data && (
        <p
          className="text-4xl font-bold tracking-tight break-words sm:text-5xl tabular-nums"
          data-testid="balance"
        >
          {formatCents(account.data.balance)}
        </p>
      )}
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

function whyNoBalance(error: unknown): string {
  const code = error instanceof ApiFailure ? error.problem?.code : undefined;
  if (code === 'account_not_found') return 'There is no such account. Choose somebody else.';
  if (code === 'forbidden' || code === 'rate_limited') return whyReadFailed(error);
  return 'The service does not answer; the page keeps asking.';
}
