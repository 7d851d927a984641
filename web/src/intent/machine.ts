/**
 * The life of a payment that a person wants to make, as pure functions on a *slip*: what is typed,
 * and the attempt to pay it. The key belongs to what the person wants. It is made once, before the
 * first try, and stays through retries and reloads until the service has said what became of it.
 *
 * ```text
 * typed --submit--> asking --paid-----> typed (emptied), with a receipt
 *                   |    ^ \--declined-> stopped
 *          no answer|    |submit, unchanged: the same key
 *                   \----/               stopped --submit, edited--> asking, with a new key
 * ```
 */

import type { Payment, PaymentRequest } from '../api/client';
import type { Answer } from '../api/send';
import { parseDollars } from '../money';

/** What the person has typed. */
export interface Draft {
  to: number | null;
  /** Dollars, as they were typed. */
  amount: string;
  note: string;
}

/** What one answer, or none, says about the payment. */
export type Verdict =
  | { kind: 'paid'; payment: Payment; replayed: boolean }
  /** Definitely not paid, and asking again would not change that. */
  | { kind: 'declined'; code: string; detail: string }
  /** Definitely not paid yet; asking again can succeed. */
  | { kind: 'not_yet'; code: string; detail: string; retryAfterMs: number | null }
  /** Perhaps paid. `code` is null where there was no answer that the service could have given. */
  | { kind: 'unknown'; code: string | null; retryAfterMs: number | null };

export interface Attempt {
  request: PaymentRequest;
  state: 'asking' | 'stopped';
  /** How often it was sent. */
  tries: number;
  /** After how many of these it may have been paid: the service has not said that they did nothing. */
  inDoubt: number;
  /** Of the latest try; null before the first has ended. */
  verdict: Exclude<Verdict, { kind: 'paid' }> | null;
}

export interface Slip {
  draft: Draft;
  attempt: Attempt | null;
  /** The latest payment that went through. */
  receipt: { payment: Payment; replayed: boolean; tries: number } | null;
}

/** What a submitted draft asks for. */
export type Wish = Pick<PaymentRequest, 'from' | 'to' | 'amount' | 'note'>;

export const EMPTY: Slip = {
  draft: { to: null, amount: '', note: '' },
  attempt: null,
  receipt: null,
};

/** The service's own limit. */
export const NOTE_CHARS_MAX = 280;

/** After so many tries without an answer the page stops, and asks again when the person says so. */
export const TRIES_MAX = 30;

const PAUSE_FIRST_MS = 500;
const PAUSE_MAX_MS = 20_000;

/** The service may ask for a longer pause than that, within reason. */
const RETRY_AFTER_MAX_MS = 3_600_000;

/** Nothing was done, the service says, and it may be asked again. */
const NOTHING_DONE = new Set([
  'overloaded',
  'account_busy',
  'rate_limited',
  'request_timeout',
  // With a new token.
  'unauthenticated',
]);

/** The payment that a draft stands for; null while something is missing or wrong. */
export function wishOf(from: number, { to, amount, note }: Draft): Wish | null {
  const parsed = parseDollars(amount);
  if (to === null || !parsed.ok || [...note].length > NOTE_CHARS_MAX) return null;
  return { from, to, amount: parsed.cents, note: note.trim() || null };
}

/** What is typed changes; not while the payment is under way. */
export function edit(slip: Slip, change: Partial<Draft>): Slip {
  if (slip.attempt?.state === 'asking') return slip;
  return { ...slip, draft: { ...slip.draft, ...change }, receipt: null };
}

/**
 * The person sends it. While a payment is under way this changes nothing, so ten clicks are one
 * payment. What was stopped and is sent again unchanged keeps its key, so it cannot be paid twice;
 * anything else is another payment, with another key.
 */
export function submit(slip: Slip, wish: Wish, newKey: () => string, now: Date): Slip {
  const before = slip.attempt;
  if (before?.state === 'asking') return slip;
  if (before && asksFor(before, wish) && !keyIsTaken(before)) {
    return { ...slip, attempt: { ...before, state: 'asking', tries: 0 }, receipt: null };
  }
  const request = { ...wish, created_at: now.toISOString(), idempotency_key: newKey() };
  const attempt: Attempt = { request, state: 'asking', tries: 0, inDoubt: 0, verdict: null };
  return { ...slip, attempt, receipt: null };
}

/** Whether an attempt is for just this payment. */
export function asksFor({ request }: Attempt, wish: Wish): boolean {
  return (
    request.from === wish.from &&
    request.to === wish.to &&
    request.amount === wish.amount &&
    request.note === wish.note
  );
}

function keyIsTaken({ verdict }: Attempt): boolean {
  return verdict?.kind === 'declined' && verdict.code === 'idempotency_key_reused';
}

/** A try begins. Counted before it is sent, so that a crash is counted too. */
export function tried(slip: Slip, key: string): Slip {
  const { attempt } = slip;
  if (attempt?.request.idempotency_key !== key) return slip;
  const { tries, inDoubt } = attempt;
  return { ...slip, attempt: { ...attempt, tries: tries + 1, inDoubt: inDoubt + 1 } };
}

/** A try has ended. A verdict on another key than the slip's says nothing about this one. */
export function judged(slip: Slip, key: string, verdict: Verdict): Slip {
  const { attempt, draft } = slip;
  if (attempt?.request.idempotency_key !== key) return slip;
  if (verdict.kind === 'paid') {
    const { payment, replayed } = verdict;
    // Whoever stopped and has typed something else since then keeps it.
    const wish = wishOf(attempt.request.from, draft);
    const isOther = attempt.state === 'stopped' && !(wish && asksFor(attempt, wish));
    return {
      draft: isOther ? draft : { ...draft, amount: '', note: '' },
      attempt: null,
      receipt: { payment, replayed, tries: attempt.tries },
    };
  }
  const goesOn =
    attempt.state === 'asking' && verdict.kind !== 'declined' && attempt.tries < TRIES_MAX;
  const inDoubt = attempt.inDoubt - (verdict.kind === 'unknown' ? 0 : 1);
  return {
    ...slip,
    attempt: {
      ...attempt,
      state: goesOn ? 'asking' : 'stopped',
      inDoubt,
      // That this try did nothing says nothing about an earlier one.
      verdict:
        verdict.kind === 'not_yet' && inDoubt > 0 ? { ...verdict, kind: 'unknown' } : verdict,
    },
  };
}

/** The person wants to change it: the page asks no more. The key stays with what it was for. */
export function stop(slip: Slip): Slip {
  return slip.attempt ? { ...slip, attempt: { ...slip.attempt, state: 'stopped' } } : slip;
}

/** Reads an answer. Only what the service itself says is definite. */
export function judge(answer: Answer | null, request: PaymentRequest): Verdict {
  const retryAfterMs = answer?.retryAfterMs ?? null;
  const { payment, problem } = answer ?? { payment: null, problem: null };
  if (answer && payment && payment.amount === request.amount && payment.to_id === request.to) {
    return { kind: 'paid', payment, replayed: answer.replayed };
  }
  if (!answer || !problem) return { kind: 'unknown', code: null, retryAfterMs };
  const { code, detail } = problem;
  if (NOTHING_DONE.has(code)) return { kind: 'not_yet', code, detail, retryAfterMs };
  if (problem.retryable || answer.status >= 500) return { kind: 'unknown', code, retryAfterMs };
  return { kind: 'declined', code, detail };
}

/**
 * How long to wait before the next try, in ms: twice as long each time, up to a limit, and never
 * the same for two people who failed together; not before the service wants to be asked. `random` is
 * from 0 to 1.
 */
export function pauseMs(tries: number, retryAfterMs: number | null, random: number): number {
  const grown = Math.min(PAUSE_FIRST_MS * 2 ** Math.max(0, tries - 1), PAUSE_MAX_MS);
  const jittered = grown * (0.5 + random / 2);
  return Math.max(jittered, Math.min(retryAfterMs ?? 0, RETRY_AFTER_MAX_MS));
}
