'use client';

import Link from 'next/link';
import { useSearchParams } from 'next/navigation';
import type { ReactNode } from 'react';
import { ApiFailure, type Payment } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { Trouble } from '../app/Trouble';
import { Waiting } from '../app/Waiting';
import { formatCents } from '../money';
import { Avatar } from '../people/Avatar';
import { useMe } from '../people/me';
import { legible } from '../people/names';
import { useCalled } from '../people/people';
import { NumberOf } from '../people/PersonName';
import { useSession } from '../session/session';
import { SignIn } from '../session/SignIn';
import { exactTime, localTime } from '../time';
import { Detail } from './Detail';
import { receiptPath } from './path';
import { RefundForm } from './RefundForm';
import { isRefundableBy, leftOf } from './refunds';
import { usePayment } from './usePayment';

/** The page of one payment: to look up, to link and to print. */
export function Receipt() {
  const session = useSession();
  const me = useMe();
  const id = useSearchParams().get('id');
  if (me === undefined) return <Waiting />;
  if (session.state === 'out') return <SignIn isRefused={session.isRefused} />;
  return <Of key={id} id={id} me={me} />;
}

function Of({ id, me }: { id: string | null; me: number | null }) {
  const payment = usePayment(id);
  if (payment.data) {
    return (
      <div className="mx-auto mt-4 max-w-xl sm:mt-8">
        <Slip payment={payment.data} me={me} />
        {me !== null && isRefundableBy(payment.data, me) && (
          <RefundForm key={me} me={me} payment={payment.data} />
        )}
      </div>
    );
  }
  if (id !== null && payment.isPending)
    return <div role="status" aria-label="Loading the receipt" className="skeleton mt-8 h-96" />;
  const code = payment.error instanceof ApiFailure ? payment.error.problem?.code : undefined;
  const isNone = id === null || code === 'payment_not_found' || code === 'invalid_request';
  return (
    <div className="card mx-auto mt-4 max-w-xl p-6 sm:mt-8 sm:p-10">
      <h1 className="text-3xl font-bold tracking-tight text-balance">
        {isNone ? 'No such payment' : 'Receipt'}
      </h1>
      {isNone ? (
        <p className="mt-2 text-muted">
          It does not exist, or is not yours to see. A payment is shown to who paid it and to whom
          it was paid.
        </p>
      ) : (
        <Trouble
          title="The payment cannot be shown"
          why={whyReadFailed(payment.error)}
          again={() => void payment.refetch()}
        />
      )}
      <Link href="/" prefetch={false} className="button button-main mt-6">
        To your payments
      </Link>
    </div>
  );
}

function Slip({ payment, me }: { payment: Payment; me: number | null }) {
  const { id, from_id, to_id, amount, created_at, requested_at, refund_of, refunded, by } = payment;
  const called = useCalled([from_id, to_id]);
  const note = legible(payment.note ?? '');
  return (
    <article className="card p-5 sm:p-8 print:shadow-none" data-receipt={id}>
      <h1 className="text-lg font-semibold text-muted">
        {refund_of ? 'Receipt of a refund' : 'Receipt'}
      </h1>
      <p className="mt-1 text-4xl font-bold tracking-tight tabular-nums sm:text-5xl">
        {formatCents(amount)}
      </p>
      <ul className="mt-5 grid gap-3">
        <Party title="From" id={from_id} isMe={from_id === me} called={called} />
        <Party title="To" id={to_id} isMe={to_id === me} called={called} />
      </ul>
      <dl className="mt-6 grid grid-cols-1 gap-x-6 gap-y-1 border-t border-line pt-4 min-[26rem]:grid-cols-[auto_minmax(0,1fr)] min-[26rem]:gap-y-2 [&>dd]:mb-2 min-[26rem]:[&>dd]:mb-0">
        {note && (
          <Detail title="What for">
            <bdi>{note}</bdi>
          </Detail>
        )}
        <Detail title="Paid">
          <time dateTime={created_at}>{localTime(created_at)}</time>
          <span className="block text-sm text-muted">{exactTime(created_at)}</span>
        </Detail>
        {requested_at && <Detail title="Sent off">{localTime(requested_at)}</Detail>}
        {by && (
          <Detail title="Asked for by">
            <bdi>{legible(by)}</bdi>
          </Detail>
        )}
        {payment.payment_request_id && (
          <Detail title="Pays a request">
            <Code>{payment.payment_request_id}</Code>
          </Detail>
        )}
        {refund_of && (
          <Detail title="Gives back">
            <Link href={receiptPath(refund_of)} prefetch={false} className="text-accent underline">
              an earlier payment
            </Link>{' '}
            <Code>{refund_of}</Code>
          </Detail>
        )}
        {refunded !== undefined && refunded > 0 && (
          <Detail title="Given back">
            {formatCents(refunded)}; {formatCents(leftOf(payment))} left
          </Detail>
        )}
        <Detail title="Payment">
          <Code>{id}</Code>
        </Detail>
      </dl>
      <div className="mt-6 flex flex-wrap gap-2 print:hidden">
        <button type="button" className="button button-quiet" onClick={() => window.print()}>
          Print
        </button>
        <Link href="/" prefetch={false} className="button button-quiet">
          To your payments
        </Link>
      </div>
    </article>
  );
}

interface PartyProps {
  title: string;
  id: number;
  isMe: boolean;
  called: ReturnType<typeof useCalled>;
}

function Party({ title, id, isMe, called }: PartyProps) {
  const { name, number } = called(id);
  return (
    <li className="flex items-center gap-3">
      <Avatar id={id} name={name} />
      <span className="min-w-0">
        <span className="block text-sm text-muted">
          {title}
          {isMe && ' (you)'}
        </span>
        <span className="font-semibold">
          <bdi>{name}</bdi>
          {number === null ? (
            <span className="font-normal text-muted">, account {id}</span>
          ) : (
            <>
              {' '}
              <NumberOf called={{ name, number }} />
            </>
          )}
        </span>
      </span>
    </li>
  );
}

function Code({ children }: { children: ReactNode }) {
  return <code className="font-mono text-[0.8125rem]">{children}</code>;
}
