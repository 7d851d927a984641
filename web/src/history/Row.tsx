import type { Payment } from '../api/client';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { exactTime, timeAgo } from '../time';

interface Props {
  me: number;
  payment: Payment;
  name: (id: number) => string;
  nowMs: number;
  /** It arrived while one looked. */
  isNews: boolean;
}

/** One payment, as one of its two sides sees it. It opens to show the rest. */
export function Row({ me, payment, name, nowMs, isNews }: Props) {
  const isSent = payment.from_id === me;
  const other = isSent ? payment.to_id : payment.from_id;
  return (
    <li className={isNews ? 'arrive' : undefined} data-payment={payment.id}>
      <details className="group rounded-2xl open:bg-paper hover:bg-paper">
        <summary className="flex list-none items-center gap-3 rounded-2xl px-3 py-3 [&::-webkit-details-marker]:hidden">
          <span className="relative">
            <Avatar id={other} name={name(other)} />
            <Direction isSent={isSent} />
          </span>
          <span className="min-w-0 flex-1">
            <span className="block truncate font-medium">
              <span className="text-muted">{isSent ? 'To ' : 'From '}</span>
              {name(other)}
            </span>
            <span className="block truncate text-sm text-muted">
              <time dateTime={payment.created_at} title={exactTime(payment.created_at)}>
                {timeAgo(payment.created_at, nowMs)}
              </time>
              {payment.note && <> · {payment.note}</>}
            </span>
          </span>
          <span className="text-right tabular-nums">
            <span className={`block font-semibold ${isSent ? '' : 'text-accent'}`}>
              <span className="sr-only">{isSent ? 'sent ' : 'received '}</span>
              {isSent ? '−' : '+'}
              {formatCents(payment.amount)}
            </span>
            {payment.balance_after !== null && payment.balance_after !== undefined && (
              <span className="block text-sm text-muted">
                <span className="sr-only">balance then </span>
                {formatCents(payment.balance_after)}
              </span>
            )}
          </span>
        </summary>
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-1 px-3 pb-4 pl-[4.25rem] text-sm">
          {payment.note && <Detail name="Note" text={payment.note} />}
          <Detail name="Exact time" text={exactTime(payment.created_at)} />
          <Detail name="Account" text={`${name(other)}, number ${other}`} />
          <Detail name="Payment" text={payment.id} />
        </dl>
      </details>
    </li>
  );
}

function Detail({ name, text }: { name: string; text: string }) {
  return (
    <>
      <dt className="text-muted">{name}</dt>
      <dd className="break-words">{text}</dd>
    </>
  );
}

/** An arrow out or in, so that colour is not all that tells them apart. */
function Direction({ isSent }: { isSent: boolean }) {
  return (
    <span
      className={`absolute -right-1 -bottom-1 grid size-5 place-items-center rounded-full ring-2 ring-card ${
        isSent ? 'bg-ink text-card' : 'bg-accent text-on-accent'
      }`}
    >
      <svg
        viewBox="0 0 12 12"
        className={`size-3 ${isSent ? '' : 'rotate-180'}`}
        aria-hidden="true"
      >
        <path
          d="M3 9 9 3M4.5 3H9v4.5"
          fill="none"
          stroke="currentColor"
          strokeWidth="1.8"
          strokeLinecap="round"
          strokeLinejoin="round"
        />
      </svg>
    </span>
  );
}
