'use client';

import { formatCents } from '../money';
import { useNames } from '../people/people';
import { newKey } from './key';
import { cancel, isUnderWay, leftOpen, takeUp, type Slip } from './machine';
import { changeSlip } from './store';

/** The payments that may have been made, besides the one that Send is for. Each stays until an answer. */
export function InDoubt({ me, slip }: { me: number; slip: Slip }) {
  const open = leftOpen(slip);
  const name = useNames(open.map(({ request }) => request.to));
  const isAsking = isUnderWay(slip.attempt);
  return (
    <>
      {slip.isUnread && (
        <p className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          Some of what this browser has kept here cannot be read; it may have been a payment. Look
          at the history before you send one again.
        </p>
      )}
      {open.map(({ request: { idempotency_key: key, amount, to } }) => (
        <div key={key} className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          <p className="break-words">
            The earlier payment of {formatCents(amount)} may have gone through. What you send now is
            another one; finish or cancel the first one to know.
          </p>
          <div className="mt-3 flex flex-wrap gap-2">
            <button
              type="button"
              className="button button-quiet max-w-full"
              aria-disabled={isAsking}
              // With its own key it is paid once at the most.
              onClick={() => {
                if (!isAsking) changeSlip(me, (now) => takeUp(now, key)).catch(() => {});
              }}
            >
              <span className="truncate">
                Finish {formatCents(amount)} to {name(to)}
              </span>
            </button>
            <button
              type="button"
              className="button button-quiet max-w-full"
              aria-disabled={isAsking}
              onClick={() => {
                const next = newKey();
                if (!isAsking) changeSlip(me, (now) => cancel(now, key, next)).catch(() => {});
              }}
            >
              <span className="truncate">
                Cancel {formatCents(amount)} to {name(to)}
              </span>
            </button>
          </div>
        </div>
      ))}
    </>
  );
}
