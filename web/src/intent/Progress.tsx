'use client';

import { useEffect, useRef, useState, type ReactNode } from 'react';
import { plainWords, wordsInDoubt } from '../api/problems';
import { formatCents } from '../money';
import { useNames } from '../people/people';
import { useNow } from '../useNow';
import { asksFor, stop, wishOf, type Attempt, type Slip } from './machine';
import { askNow, type Activity } from './sender';
import { changeSlip } from './store';
import { useActivity } from './useSlip';

/** The fate of the payment, in words. */
export function Progress({ me, slip }: { me: number; slip: Slip }) {
  const activity = useActivity(me);
  const { attempt, receipt, draft } = slip;
  const payee = attempt?.request.to ?? receipt?.payment.to_id;
  const name = useNames(payee === undefined ? [] : [payee]);
  const wish = wishOf(me, draft);
  const isEdited = attempt?.state === 'stopped' && !(wish && asksFor(attempt, wish));
  // A payment that was made before the page was opened is history.
  const [old] = useState(receipt?.payment.id);
  const isNew = receipt !== null && !receipt.isOld && receipt.payment.id !== old;
  const headline =
    attempt && !isEdited
      ? headlineOf(attempt, name(attempt.request.to))
      : !attempt && isNew
        ? `You sent ${formatCents(receipt.payment.amount)} to ${name(receipt.payment.to_id)}.`
        : '';
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (headline) box.current?.scrollIntoView({ block: 'nearest' });
  }, [headline]);
  return (
    <>
      {/* Read aloud when it changes; the numbers below change too often for that. */}
      <p role="status" className="sr-only">
        {headline}
      </p>
      <div ref={box} className="scroll-mb-4 [&>*]:mt-4" data-testid="progress">
        {attempt && !isEdited && (
          <Asked attempt={attempt} activity={activity} me={me} headline={headline} />
        )}
        {!attempt && isNew && (
          <Note tone="good" title={headline}>
            {receipt.replayed && (
              <p className="mt-1">It had gone through already; asking again paid nothing twice.</p>
            )}
            {!receipt.replayed && receipt.tries > 1 && (
              <p className="mt-1">It took {receipt.tries} tries, and was paid once.</p>
            )}
          </Note>
        )}
      </div>
    </>
  );
}

function headlineOf({ verdict, state, request, inDoubt }: Attempt, payee: string): string {
  const cents = formatCents(request.amount);
  if (verdict?.kind === 'declined') return `${cents} was not sent.`;
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

interface AskedProps {
  attempt: Attempt;
  activity: Activity | null;
  me: number;
  headline: string;
}

function Asked({ attempt, activity, me, headline }: AskedProps) {
  const { verdict, state, tries } = attempt;
  // Between two tries; during one, its answer is awaited first.
  const isPausing = activity?.kind === 'pausing';
  if (state === 'stopped') {
    if (verdict?.kind === 'declined') {
      return (
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
        <p className="mt-1">Press Send to ask again: unchanged, it is paid once at the most.</p>
      </Note>
    );
  }
  if (!verdict) {
    return (
      <Note tone="plain" title={headline}>
        {tries > 1 && <p>Taking up where we left off.</p>}
      </Note>
    );
  }
  return (
    <Note tone="warn" title={headline}>
      <p className="mt-1">{reason(attempt)}</p>
      <p className="mt-1">
        Asked {tries === 1 ? 'once' : `${tries} times, always with the same key`}.{' '}
        <Next activity={activity} />
      </p>
      {activity && (
        <div className="mt-3 flex flex-wrap gap-2">
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
            onClick={() => {
              if (!isPausing) return;
              // Where it cannot be stored, the page goes on asking, and says so.
              changeSlip(me, (now) => stop(now, attempt.request.idempotency_key)).catch(() => {});
              askNow(me);
            }}
          >
            Change the payment
          </button>
        </div>
      )}
    </Note>
  );
}

function reason({ verdict }: Attempt): string {
  if (verdict?.kind === 'unknown' && verdict.code === null) {
    return navigator.onLine
      ? 'No answer came back. The payment is kept in this browser until one does.'
      : 'You are offline. The payment is kept in this browser, and goes on when you are back.';
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
