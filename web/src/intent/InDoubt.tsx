'use client';

import { formatCents } from '../money';
import { useNames } from '../people/people';
import { leftOpen, takeUp, type Slip } from './machine';
import { changeSlip } from './store';

/** The payments that may have been made, besides the one that Send is for. Each stays until an answer. */
export function InDoubt({ me, slip }: { me: number; slip: Slip }) {
  const open = leftOpen(slip);
  const name = useNames(open.map(({ request }) => request.to));
  const isAsking = slip.attempt?.state === 'asking';
  return (
    <>
      {slip.isUnread && (
        <p className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          Some of what this browser has kept here cannot be read; it may have been a payment. Look
          at the history before you send one again.
        </p>
      )}
      {open.map(({ request: { idempotency_key, amount, to } }) => (
        <div key={idempotency_key} className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          <p className="break-words">
            The earlier payment of {formatCents(amount)} may have gone through. What you send now is
            another one; look at the history first.
          </p>
          <button
            type="button"
            className="button button-quiet mt-3 max-w-full"
            aria-disabled={isAsking}
            // With its own key it is paid once at the most.
            onClick={() => {
              if (!isAsking) changeSlip(me, (now) => takeUp(now, idempotency_key)).catch(() => {});
            }}
          >
            <span className="truncate">
              Finish {formatCents(amount)} to {name(to)}
            </span>
          </button>
        </div>
      ))}
    </>
  );
}
