import Link from 'next/link';
import type { Payment } from '../api/client';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { legible, type Called } from '../people/names';
import { NumberOf } from '../people/PersonName';
import { Detail } from '../receipt/Detail';
import { receiptPath } from '../receipt/path';
import { isRefundableBy } from '../receipt/refunds';
import { exactTime, timeAgo } from '../time';

interface Props {
  me: number;
  payment: Payment;
  called: (id: number) => Called;
  nowMs: number;
  /** It arrived while one looked. */
  isNews: boolean;
}

/** One payment, as one of its two sides sees it. It opens to show the rest. */
export function Row({ me, payment, called, nowMs, isNews }: Props) {
  const isSent = payment.from_id === me;
  const other = isSent ? payment.to_id : payment.from_id;
  const { name, number } = called(other);
  const note = legible(payment.note ?? '');
  const kind = payment.refund_of ? 'refund' : payment.payment_request_id ? 'request' : null;
  return (
    <li className={isNews ? 'arrive' : undefined} data-payment={payment.id}>
      <details className="group rounded-2xl open:bg-paper hover:bg-paper">
        <summary className="flex list-none items-center gap-3 rounded-2xl px-3 py-3 [&::-webkit-details-marker]:hidden">
          <span className="relative">
            <Avatar id={other} name={name} />
            <Direction isSent={isSent} />
          </span>
          {/* Where both sides do not fit beside each other, the money goes below. */}
          <span className="flex min-w-0 flex-1 flex-wrap justify-end gap-x-3">
            <span className="min-w-0 flex-[1_1_7rem]">
              <span className="flex gap-1 font-medium">
                <span className="shrink-0 text-muted">{isSent ? 'To ' : 'From '}</span>
                <bdi className="truncate" title={name}>
                  {name}
                </bdi>
                {number !== null && (
                  <span className="shrink-0">
                    {' '}
                    <NumberOf called={{ name, number }} />
                  </span>
                )}
              </span>
              <span className="block truncate text-sm text-muted">
                <time dateTime={payment.created_at} title={exactTime(payment.created_at)}>
                  {timeAgo(payment.created_at, nowMs)}
                </time>
                {kind && ` · ${kind}`}
                {note && (
                  <>
                    {' '}
                    · <bdi>{note}</bdi>
                  </>
                )}
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
          </span>
        </summary>
        <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 gap-y-1 px-3 pb-4 pl-[4.25rem] text-sm">
          {note && (
            <Detail title="Note">
              <bdi>{note}</bdi>
            </Detail>
          )}
          <Detail title="Exact time">{exactTime(payment.created_at)}</Detail>
          <Detail title="Account">
            <bdi>{name}</bdi>, number {other}
          </Detail>
          {payment.refund_of && (
            <Detail title="Gives back">
              <Link href={receiptPath(payment.refund_of)} prefetch={false} className="underline">
                an earlier payment
              </Link>
            </Detail>
          )}
          {payment.payment_request_id && <Detail title="Pays">a request for money</Detail>}
          {payment.by && (
            <Detail title="Asked for by">
              <bdi>{legible(payment.by)}</bdi>
            </Detail>
          )}
          <Detail title="Payment">{payment.id}</Detail>
          <dt className="sr-only">More</dt>
          <dd className="col-span-2 mt-2 flex flex-wrap gap-x-4 gap-y-1 font-medium">
            <Link href={receiptPath(payment.id)} prefetch={false} className="text-accent underline">
              Receipt
            </Link>
            {isRefundableBy(payment, me) && (
              <Link
                href={receiptPath(payment.id)}
                prefetch={false}
                className="text-accent underline"
              >
                Give it back
              </Link>
            )}
          </dd>
        </dl>
      </details>
    </li>
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
