'use client';

import Link from 'next/link';
import { useEffect, useRef, type ReactNode } from 'react';
import { plainWords, wordsInDoubt } from '../api/problems';
import { useLookNow } from '../history/useHistory';
import { formatCents } from '../money';
import { useNames } from '../people/people';
import { receiptPath } from '../receipt/path';
import { momentsAgo } from '../time';
import { useNow } from '../useNow';
import { useOverdue } from '../useOverdue';
import { newKey } from './key';
import {
  cancel,
  drop,
  insist,
  isCancelled,
  isOfDraft,
  isShown,
  mayBePaid,
  stop,
  type Attempt,
  type Receipt,
  type Similar,
  type Slip,
} from './machine';
import { askNow, type Activity } from './sender';
import { changeSlip, leaveTold, wasTold } from './store';
import { useActivity } from './useSlip';

/** Who waits longer than that for an answer may cancel. */
const PATIENCE_MS = 2_000;

/** The fate of the payment, in words. */
export function Progress({ me, slip }: { me: number; slip: Slip }) {
  const activity = useActivity(me);
  const { receipt } = slip;
  const attempt = isShown(slip, me) ? slip.attempt : null;
  const payee = attempt?.request.to ?? receipt?.payment.to_id;
  const name = useNames(payee === undefined ? [] : [payee]);
  const isNew = receipt !== null && !receipt.isOld && !wasTold(me, receipt.payment.id);
  useEffect(() => () => leaveTold(me), [me]);
  const made = !slip.attempt && isNew ? receipt : null;
  const headline = attempt
    ? headlineOf(attempt, name(attempt.request.to))
    : made
      ? headlineOfReceipt(made, name(made.payment.to_id))
      : '';
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (headline) box.current?.scrollIntoView({ block: 'nearest' });
  }, [headline]);

  const lookNow = useLookNow(me);
  const look = useRef(lookNow);
  useEffect(() => {
    look.current = lookNow;
  });
  const paid = receipt?.payment.id;
  useEffect(() => {
    if (paid) look.current();
  }, [paid]);

  return (
    <>
      {/* Read aloud when it changes; the numbers below change too often for that. */}
      <p role="status" className="sr-only">
        {headline}
      </p>
      <div ref={box} className="scroll-mb-4 [&>*]:mt-4" data-testid="progress">
        {attempt && <Asked attempt={attempt} activity={activity} me={me} headline={headline} />}
        {made && <Made receipt={made} headline={headline} payee={name(made.payment.to_id)} />}
      </div>
    </>
  );
}

function headlineOf(attempt: Attempt, payee: string): string {
  const { verdict, state, request, inDoubt } = attempt;
  const cents = formatCents(request.amount);
  if (state === 'cancelling') {
    return verdict
      ? `We don't know yet whether ${cents} to ${payee} could be cancelled; the page keeps asking.`
      : `Cancelling ${cents} to ${payee}…`;
  }
  if (isCancelled(attempt)) return `Cancelled: ${cents} to ${payee} was not paid.`;
  if (verdict?.kind === 'declined') {
    return verdict.similar
      ? `You sent ${payee} ${cents} a moment ago. Send it again?`
      : `${cents} was not sent.`;
  }
  if (state === 'stopped') {
    return inDoubt > 0
      ? `We don't know yet whether ${cents} to ${payee} went through.`
      : `${cents} to ${payee} was not sent yet.`;
  }
  if (!verdict) return `Sending ${cents} to ${payee}…`;
  if (verdict.kind === 'unknown') {
    return "We don't know yet whether it went through; asking again is safe.";
  }
  return 'Not paid yet; the page keeps asking.';
}

function headlineOfReceipt({ payment, isTooLate }: Receipt, payee: string): string {
  const cents = formatCents(payment.amount);
  if (isTooLate) return `Too late to cancel: ${cents} to ${payee} had been paid.`;
  if (payment.refund_of) return `You gave ${payee} ${cents} back.`;
  return `You sent ${cents} to ${payee}.`;
}

/** A payment that has gone through while one looked. */
function Made({
  receipt: { payment, replayed, tries, isTooLate },
  headline,
  payee,
}: {
  receipt: Receipt;
  headline: string;
  payee: string;
}) {
  return (
    <Note tone={isTooLate ? 'warn' : 'good'} title={headline}>
      {isTooLate && <p className="mt-1">It was paid once. Only {payee} can give it back now.</p>}
      {!isTooLate && replayed && (
        <p className="mt-1">It had gone through already; asking again paid nothing twice.</p>
      )}
      {!isTooLate && !replayed && tries > 1 && (
        <p className="mt-1">It took {tries} tries, and was paid once.</p>
      )}
      <p className="mt-1">
        <Link href={receiptPath(payment.id)} prefetch={false} className="font-medium underline">
          See the receipt
        </Link>
      </p>
    </Note>
  );
}

interface AskedProps {
  attempt: Attempt;
  activity: Activity | null;
  me: number;
  headline: string;
}

function Asked({ attempt, activity, me, headline }: AskedProps) {
  const { verdict, state, tries, request } = attempt;
  const isSlow = useOverdue(state === 'asking' && !verdict, PATIENCE_MS);
  if (state === 'stopped') return <Stopped attempt={attempt} me={me} headline={headline} />;
  if (!verdict) {
    return (
      <Note tone="plain" title={headline}>
        {state === 'asking' && tries > 1 && <p>Taking up where we left off.</p>}
        {isSlow && (
          <>
            <p className="mt-1">This takes longer than usual. Nothing is ever paid twice.</p>
            <div className="mt-3 flex flex-wrap gap-2">
              <Cancel me={me} attempt={attempt} />
            </div>
          </>
        )}
      </Note>
    );
  }
  // Between two tries; during one, its answer is awaited first.
  const isPausing = activity?.kind === 'pausing';
  const leave = () => {
    if (!isPausing) return;
    // Where it cannot be stored, the page goes on asking, and says so.
    changeSlip(me, (now) => stop(now, request.idempotency_key)).catch(() => {});
    askNow(me);
  };
  return (
    <Note tone="warn" title={headline}>
      <p className="mt-1">{reason(attempt)}</p>
      {state === 'asking' && mayBePaid(attempt) && (
        <p className="mt-1">
          If you don’t want it any more, cancel it: then you are told for certain whether it was
          paid, and if not, it never will be.
        </p>
      )}
      <p className="mt-1">
        Asked {tries === 1 ? 'once' : `${tries} times, always with the same key`}.{' '}
        <Next activity={activity} />
      </p>
      <div className="mt-3 flex flex-wrap gap-2">
        {state === 'asking' && <Cancel me={me} attempt={attempt} />}
        {activity && (
          <>
            <button
              type="button"
              className="button button-quiet"
              aria-disabled={!isPausing}
              onClick={() => isPausing && askNow(me)}
            >
              Ask again now
            </button>
            <button
              type="button"
              className="button button-quiet"
              aria-disabled={!isPausing}
              onClick={leave}
            >
              {state === 'asking' && isOfDraft(attempt) ? 'Change the payment' : 'Ask later'}
            </button>
          </>
        )}
      </div>
    </Note>
  );
}

/** Nobody asks about it now. */
function Stopped({ attempt, me, headline }: Omit<AskedProps, 'activity'>) {
  const { verdict, request } = attempt;
  if (isCancelled(attempt)) {
    return (
      <Note tone="good" title={headline}>
        <p className="mt-1">
          It never will be, whatever is still on its way.
          {isOfDraft(attempt) && ' What you typed is still here, to be changed or sent anew.'}
        </p>
      </Note>
    );
  }
  if (verdict?.kind === 'declined') {
    return verdict.similar ? (
      <Again attempt={attempt} similar={verdict.similar} me={me} />
    ) : (
      <Note tone="bad" title={headline}>
        <p className="mt-1">{plainWords(verdict.code, verdict.detail)}</p>
      </Note>
    );
  }
  return (
    <Note tone="warn" title={headline}>
      {verdict?.kind === 'unknown' && verdict.code && (
        <p className="mt-1">{wordsInDoubt(verdict.code)}</p>
      )}
      {isOfDraft(attempt) && (
        <p className="mt-1">
          Press Send to ask again: unchanged, it is paid once at the most.
          {mayBePaid(attempt) && ' Or cancel it, and know for certain.'}
        </p>
      )}
      {mayBePaid(attempt) && (
        <div className="mt-3 flex flex-wrap gap-2">
          <Cancel me={me} attempt={attempt} />
        </div>
      )}
      {!isOfDraft(attempt) && !mayBePaid(attempt) && (
        <p className="mt-1">{formatCents(request.amount)} is still yours.</p>
      )}
    </Note>
  );
}

/** The same was paid a moment ago: by a second click on another device, or on purpose. */
function Again({ attempt, similar, me }: { attempt: Attempt; similar: Similar; me: number }) {
  const { to, amount, idempotency_key: key } = attempt.request;
  const now = useNow(1_000);
  const payee = useNames([to])(to);
  return (
    <Note
      tone="warn"
      title={`You sent ${payee} ${formatCents(amount)} ${momentsAgo(similar.created_at, now)}. Send it again?`}
    >
      <p className="mt-1">
        <Link href={receiptPath(similar.id)} prefetch={false} className="font-medium underline">
          See the one before
        </Link>
        , which may come from another device of yours. Nothing was sent now.
      </p>
      <div className="mt-3 flex flex-wrap gap-2">
        <button
          type="button"
          className="button button-quiet"
          // With the same key: one more payment, however often it is pressed.
          onClick={() => changeSlip(me, (now) => insist(now, key)).catch(() => {})}
        >
          Send again
        </button>
        <button
          type="button"
          className="button button-quiet"
          onClick={() => {
            const next = newKey();
            changeSlip(me, (now) => drop(now, key, next)).catch(() => {});
          }}
        >
          Don’t send
        </button>
      </div>
    </Note>
  );
}

function Cancel({ me, attempt }: { me: number; attempt: Attempt }) {
  const key = attempt.request.idempotency_key;
  return (
    <button
      type="button"
      className="button button-quiet"
      // Also during a try, whose answer nobody has to wait for: that about the key tells more.
      onClick={() => {
        const next = newKey();
        changeSlip(me, (now) => cancel(now, key, next)).catch(() => {});
      }}
    >
      Cancel the payment
    </button>
  );
}

function reason({ verdict, state }: Attempt): string {
  if (verdict?.kind === 'unknown' && verdict.code === null) {
    const what = state === 'cancelling' ? 'That it is to be cancelled' : 'The payment';
    return navigator.onLine
      ? `No answer came back. ${what} is kept in this browser until one does.`
      : `You are offline. ${what} is kept in this browser, and goes on when you are back.`;
  }
  if (!verdict?.code) return '';
  return verdict.kind === 'unknown' ? wordsInDoubt(verdict.code) : plainWords(verdict.code, '');
}

/** The countdown, which is not read aloud every second. */
function Next({ activity }: { activity: Activity | null }) {
  const now = useNow(500);
  if (activity === null) return <span>Another window is asking.</span>;
  if (activity.kind === 'asking') return <span aria-hidden="true">Asking…</span>;
  const seconds = Math.max(0, Math.ceil((activity.untilMs - now) / 1_000));
  return <span aria-hidden="true">Next try in {seconds} s.</span>;
}

const TONES = {
  good: 'bg-accent-soft text-ink',
  plain: 'bg-paper text-ink',
  warn: 'bg-warn-soft text-warn',
  bad: 'bg-bad-soft text-bad',
};

function Note({
  tone,
  title,
  children,
}: {
  tone: keyof typeof TONES;
  title: string;
  children?: ReactNode;
}) {
  return (
    <div className={`rounded-2xl p-4 ${TONES[tone]}`}>
      <p className="font-semibold">{title}</p>
      {children}
    </div>
  );
}
