'use client';

import Link from 'next/link';
import { useState } from 'react';
import { ApiFailure, type PaymentRequest } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { isSecondOfTwo } from '../form/press';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { legible, type Called } from '../people/names';
import { NumberOf } from '../people/PersonName';
import { receiptPath } from '../receipt/path';
import { exactTime, timeAgo, timeUntil } from '../time';
import { close } from './requests';

interface Props {
  me: number;
  request: PaymentRequest;
  called: (id: number) => Called;
  nowMs: number;
  /** Whether its payment is under way. */
  isPaying: boolean;
  canPay: boolean;
  pay: () => void;
  /** It has changed. */
  look: () => void;
}

const STATUS: Record<PaymentRequest['status'], string> = {
  open: 'Open',
  paid: 'Paid',
  declined: 'Declined',
  cancelled: 'Cancelled',
  expired: 'Its time is over',
};

/** One request, as one of its two sides sees it, with what that one can do about it. */
export function Row({ me, request, called, nowMs, isPaying, canPay, pay, look }: Props) {
  const { id, amount, status, created_at, expires_at, payment_id } = request;
  const isIncoming = request.from_id === me;
  const other = called(isIncoming ? request.to_id : request.from_id);
  const note = legible(request.note ?? '');
  const { isClosing, why, end } = useClosing(request, look);
  const cents = formatCents(amount);
  return (
    <li className="rounded-2xl px-3 py-3 hover:bg-paper" data-request={id} data-status={status}>
      <div className="flex items-start gap-3">
        <Avatar id={isIncoming ? request.to_id : request.from_id} name={other.name} />
        <div className="flex min-w-0 flex-1 flex-wrap justify-end gap-x-3">
          <div className="min-w-0 flex-[1_1_9rem]">
            <p className="font-medium">
              {!isIncoming && <span className="text-muted">You asked </span>}
              <bdi title={other.name}>{other.name}</bdi> <NumberOf called={other} />
              {isIncoming && <span className="text-muted"> asks you</span>}
            </p>
            {note && (
              <p>
                <bdi>{note}</bdi>
              </p>
            )}
            <p className="text-sm text-muted">
              <time dateTime={created_at} title={exactTime(created_at)}>
                {timeAgo(created_at, nowMs)}
              </time>
              {status === 'open' && expires_at && (
                <>
                  {' '}
                  · ends{' '}
                  <time dateTime={expires_at} title={exactTime(expires_at)}>
                    {timeUntil(expires_at, nowMs)}
                  </time>
                </>
              )}
            </p>
          </div>
          <p className="text-right text-lg font-semibold tabular-nums">{cents}</p>
        </div>
      </div>
      <div className="mt-2 flex flex-wrap items-center justify-end gap-2">
        {status !== 'open' && (
          <p className="mr-auto pl-14 text-sm font-medium text-muted">
            {STATUS[status]}
            {payment_id && (
              <>
                {' · '}
                <Link href={receiptPath(payment_id)} prefetch={false} className="underline">
                  Receipt
                </Link>
              </>
            )}
          </p>
        )}
        {status === 'open' && (
          <button
            type="button"
            className="button button-quiet"
            aria-disabled={isClosing || isPaying}
            onClick={() => !isClosing && !isPaying && void end(isIncoming ? 'decline' : 'cancel')}
          >
            {isIncoming ? 'Decline' : 'Cancel'}
            <span className="sr-only">
              {' '}
              {cents} {isIncoming ? 'to' : 'from'} {other.name}
            </span>
          </button>
        )}
        {status === 'open' && isIncoming && (
          <button
            type="button"
            className="button button-main aria-disabled:opacity-70"
            aria-disabled={!canPay || isClosing}
            onClick={(event) => canPay && !isClosing && !isSecondOfTwo(event) && pay()}
          >
            {isPaying ? 'Paying…' : `Pay ${cents}`}
            <span className="sr-only"> to {other.name}</span>
          </button>
        )}
      </div>
      {why && (
        <p role="alert" className="mt-2 rounded-2xl bg-bad-soft p-3 text-bad">
          {why}
        </p>
      )}
    </li>
  );
}

/** Ends a request without a payment. Asked again it is the same end, so no answer does no harm. */
function useClosing({ id }: PaymentRequest, look: () => void) {
  const [isClosing, setIsClosing] = useState(false);
  const [why, setWhy] = useState<string | null>(null);
  const end = async (how: 'decline' | 'cancel') => {
    setIsClosing(true);
    setWhy(null);
    try {
      await close(id, how);
    } catch (error) {
      setWhy(whyStillOpen(error));
    } finally {
      setIsClosing(false);
      look();
    }
  };
  return { isClosing, why, end };
}

function whyStillOpen(error: unknown): string {
  const problem = error instanceof ApiFailure ? error.problem : null;
  // The service says which of the ends it has met before.
  if (problem?.code === 'request_not_open') return problem.detail;
  return `${whyReadFailed(error)} Try again: it ends once.`;
}
