'use client';

import { usePayersAsking } from '../intent/useSlip';
import { TokenCommand } from './TokenCommand';
import { TokenForm } from './TokenForm';

/** The service asks who one is. */
export function SignIn({ isRefused }: { isRefused: boolean }) {
  const payers = usePayersAsking();
  return (
    <div className="card mx-auto mt-4 max-w-lg p-6 sm:mt-10 sm:p-10">
      <h1 className="text-3xl font-bold tracking-tight text-balance">Sign in</h1>
      {isRefused && (
        <p role="alert" className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          Your token is not valid any more. Sign in with a new one to go on.
        </p>
      )}
      {payers.map((payer) => (
        <p key={payer} className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          A payment from account {payer} is still open. Sign in again as account {payer} to find out
          whether it went through; asking again is safe.
        </p>
      ))}
      <p className="mt-4 text-muted">
        Your token says which account is yours. It stays in this window until you sign out or close
        it.
      </p>
      <TokenForm autoFocus />
      <p className="mt-6 text-sm text-muted">
        Tokens come from the people who run the service. On your own machine,{' '}
        <TokenCommand options="--account 1" /> prints one.
      </p>
    </div>
  );
}
