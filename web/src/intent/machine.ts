/**
 * The life of a payment that a person wants to make, as pure functions on a *slip*: the draft, which
 * is the form as typed, and the attempts to pay it. A slip is shared by all windows, so each function takes
 * the one that is stored at that moment, and its caller says which draft the person saw.
 *
 * The key belongs to the draft. It is made with it, before anything is typed, and the same request
 * always has the same key, through retries, reloads and windows, until the service has said what
 * became of it. Only the draft's key is ever sent, and only where the person saw that very draft.
 *
 * ```text
 * draft --submit--> asking --paid-----> a fresh draft with a new key, and a receipt
 *                   |    ^ \--declined-> stopped
 *          no answer|    |submit, unchanged: the same key
 *                   \----/               stopped --submit, edited--> asking, with the draft's new key
 * ```
 *
 * An attempt is in doubt while a try of it has not been answered, and only an answer ends that: either
 * the payment itself, or a refusal that was decided with the payment's own rows in hand. While it is in
 * doubt it is kept, and nothing says that it was not paid.
 */

import type { Payment, PaymentRequest } from '../api/client';
import type { Answer } from '../api/send';
import { parseDollars } from '../money';

/** The form as typed, and the key that it would be paid under. */
export interface Draft {
  key: string;
  to: number | null;
  /** Dollars, as they were typed. */
  amount: string;
  note: string;
}

/** The meaning of one answer, or none, for the payment. */
export type Verdict =
  | { kind: 'paid'; payment: Payment; replayed: boolean }
  /**
   * This try has not paid, and asking again would not change that. Where it `settles`, neither has
   * any try before it.
   */
  | { kind: 'declined'; code: string; detail: string; settles: boolean }
  /** This try has not paid; asking again can succeed. */
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
  /** Of the latest try, in the light of those before; null before the first has ended. */
  verdict: Exclude<Verdict, { kind: 'paid' }> | null;
}

/** The latest payment that went through. */
export interface Receipt {
  key: string;
  payment: Payment;
  replayed: boolean;
  tries: number;
  /** The person has gone on since then. */
  isOld: boolean;
}

export interface Slip {
  draft: Draft;
  /** The latest one. */
  attempt: Attempt | null;
  /** Earlier ones that are in doubt. Nobody asks for them until the person says so. */
  setAside: Attempt[];
  receipt: Receipt | null;
  /** Something that was stored here could not be read; it may have been a payment in doubt. */
  isUnread: boolean;
}

/** The payment that a draft asks for. */
export type Wish = Pick<PaymentRequest, 'from' | 'to' | 'amount' | 'note'>;

/** So many payments may be in doubt at a time, besides the latest one. */
export const SET_ASIDE_MAX = 10;

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

/**
 * Refusals that are decided with the payer's rows locked and the key read: while one is given, no try
 * with this key has paid. All others (of a token, of a malformed request, of an account) may be given
 * before anybody has looked for the key.
 */
const SETTLES = new Set([
  'insufficient_funds',
  'balance_limit',
  'idempotency_key_reused',
  'idempotency_key_voided',
]);

export function isSettling(code: string): boolean {
  return SETTLES.has(code);
}

/** Refusals after which the key is of no use any more. */
const KEY_IS_SPENT = new Set(['idempotency_key_reused', 'idempotency_key_voided']);

/** A slip with nothing on it. */
export function freshSlip(key: string): Slip {
  const draft = { key, to: null, amount: '', note: '' };
  return { draft, attempt: null, setAside: [], receipt: null, isUnread: false };
}

/** How many characters of a draft's note the service would count: code points, without the ends' blanks. */
export function noteChars({ note }: Draft): number {
  return [...note.trim()].length;
}

/** The payment that a draft stands for; null while something is missing or wrong. */
export function wishOf(from: number, draft: Draft): Wish | null {
  const { to, amount, note } = draft;
  const parsed = parseDollars(amount);
  if (to === null || !parsed.ok || noteChars(draft) > NOTE_CHARS_MAX) return null;
  return { from, to, amount: parsed.cents, note: note.trim() || null };
}

/** Whether two are the same draft, with the same things typed. */
export function isSameDraft(one: Draft, other: Draft): boolean {
  return (
    one.key === other.key &&
    one.to === other.to &&
    one.amount === other.amount &&
    one.note === other.note
  );
}

/** Whether an attempt is for just this payment. */
export function asksFor({ request }: Attempt, wish: Wish | null): boolean {
  return (
    wish !== null &&
    request.from === wish.from &&
    request.to === wish.to &&
    request.amount === wish.amount &&
    request.note === wish.note
  );
}

/** Whether it may have been paid. */
export function mayBePaid({ inDoubt }: Attempt): boolean {
  return inDoubt > 0;
}

function attemptsOf({ attempt, setAside }: Slip): Attempt[] {
  return attempt ? [attempt, ...setAside] : setAside;
}

function withKey(slip: Slip, key: string): Attempt | undefined {
  return attemptsOf(slip).find(({ request }) => request.idempotency_key === key);
}

/** The attempts in doubt that are not what the draft asks for: sending it would leave them so. */
export function leftOpen({ draft, attempt, setAside }: Slip): Attempt[] {
  const latest = attempt?.state === 'stopped' && mayBePaid(attempt) ? [attempt] : [];
  return [...latest, ...setAside].filter(({ request }) => request.idempotency_key !== draft.key);
}

/** Whether a press on Send means the same on both: the same draft, with the same payments left open. */
export function looksAlike(one: Slip, other: Slip): boolean {
  const keys = (slip: Slip) => leftOpen(slip).map(({ request }) => request.idempotency_key);
  return isSameDraft(one.draft, other.draft) && keys(one).join(' ') === keys(other).join(' ');
}

/**
 * The draft changes, by somebody who sees the one with the key `seen`. Not while the payment is
 * under way, and not where that draft has been replaced: nobody edits a draft that he does not see.
 */
export function edit(
  slip: Slip,
  from: number,
  seen: string,
  change: Partial<Omit<Draft, 'key'>>,
  newKey: string,
): Slip {
  if (slip.attempt?.state === 'asking' || slip.draft.key !== seen) return slip;
  const typed = { ...slip.draft, ...change };
  const wish = wishOf(from, typed);
  // The same request has the same key, also after something else was typed and taken back.
  const same = attemptsOf(slip).find((attempt) => asksFor(attempt, wish) && !isSpent(attempt));
  const isOthers = withKey(slip, typed.key) !== undefined;
  const key = same?.request.idempotency_key ?? (isOthers ? newKey : typed.key);
  return { ...slip, draft: { ...typed, key }, receipt: old(slip.receipt) };
}

/** Forgets what was typed, and what was paid. A payment that is under way or in doubt stays. */
export function forget(slip: Slip, from: number, newKey: string): Slip {
  const nothing = { to: null, amount: '', note: '' };
  return { ...edit(slip, from, slip.draft.key, nothing, newKey), receipt: null };
}

function isSpent({ verdict }: Attempt): boolean {
  return verdict?.kind === 'declined' && KEY_IS_SPENT.has(verdict.code);
}

function old(receipt: Receipt | null): Receipt | null {
  return receipt && { ...receipt, isOld: true };
}

/**
 * The person sends the draft that he saw, with its key. Where another one is stored nothing is sent:
 * it was paid, or changed, in another window. While a payment is under way this changes nothing, so
 * ten clicks, in however many windows, are one payment.
 */
export function submit(slip: Slip, from: number, seen: Draft, now: Date): Slip {
  const wish = wishOf(from, slip.draft);
  if (slip.attempt?.state === 'asking' || !wish || !isSameDraft(slip.draft, seen)) return slip;
  const { key } = slip.draft;
  const before = withKey(slip, key);
  if (before) return takeUp(slip, key);
  const setAside = keptAside(slip, key);
  if (setAside.length > SET_ASIDE_MAX) return slip;
  const request = { ...wish, created_at: now.toISOString(), idempotency_key: key };
  const attempt: Attempt = { request, state: 'asking', tries: 0, inDoubt: 0, verdict: null };
  return { ...slip, attempt, setAside, receipt: old(slip.receipt), isUnread: false };
}

/** The person wants to know what became of an attempt, so it is asked for again, with its key. */
export function takeUp(slip: Slip, key: string): Slip {
  const attempt = withKey(slip, key);
  if (!attempt || slip.attempt?.state === 'asking') return slip;
  return {
    ...slip,
    attempt: { ...attempt, state: 'asking', tries: 0 },
    setAside: keptAside(slip, key),
    receipt: old(slip.receipt),
  };
}

/** The attempts in doubt while the one with this key is the latest. */
function keptAside(slip: Slip, key: string): Attempt[] {
  return attemptsOf(slip).filter(
    (attempt) => attempt.request.idempotency_key !== key && mayBePaid(attempt),
  );
}

/** A try of what is asked for begins. Counted before it is sent, so that a crash is counted too. */
export function tried(slip: Slip): Slip {
  const { attempt } = slip;
  if (attempt?.state !== 'asking') return slip;
  const { tries, inDoubt } = attempt;
  return { ...slip, attempt: { ...attempt, tries: tries + 1, inDoubt: inDoubt + 1 } };
}

/** The try that was begun was not sent after all. */
export function notSent(slip: Slip, key: string): Slip {
  return changed(slip, key, ({ tries, inDoubt, ...attempt }) => ({
    ...attempt,
    tries: Math.max(0, tries - 1),
    inDoubt: Math.max(0, inDoubt - 1),
  }));
}

/** A try has ended. A verdict on a key that the slip does not know says nothing. */
export function judged(slip: Slip, key: string, verdict: Verdict, newKey: string): Slip {
  const attempt = withKey(slip, key);
  if (!attempt) return slip;
  if (verdict.kind === 'paid') {
    const { draft } = slip;
    const { payment, replayed } = verdict;
    return {
      // A person who stopped and has typed something else since then keeps it.
      draft: draft.key === key ? { ...draft, key: newKey, amount: '', note: '' } : draft,
      attempt: slip.attempt === attempt ? null : slip.attempt,
      setAside: slip.setAside.filter((other) => other !== attempt),
      receipt: { key, payment, replayed, tries: attempt.tries, isOld: false },
      isUnread: slip.isUnread,
    };
  }
  const now = { ...attempt, ...weighed(attempt, verdict) };
  const after = changed(slip, key, () => now);
  const isOver = isSpent(now) && slip.draft.key === key;
  return {
    ...after,
    draft: isOver ? { ...slip.draft, key: newKey } : slip.draft,
    // Aside are only those in doubt.
    setAside: after.setAside.filter(mayBePaid),
  };
}

function changed(slip: Slip, key: string, change: (attempt: Attempt) => Attempt): Slip {
  const each = (attempt: Attempt) =>
    attempt.request.idempotency_key === key ? change(attempt) : attempt;
  return {
    ...slip,
    attempt: slip.attempt && each(slip.attempt),
    setAside: slip.setAside.map(each),
  };
}

/** An answer that is no payment, in the light of the tries before it. */
function weighed(
  attempt: Attempt,
  verdict: NonNullable<Attempt['verdict']>,
): Pick<Attempt, 'state' | 'inDoubt' | 'verdict'> {
  const goesOn =
    attempt.state === 'asking' && verdict.kind !== 'declined' && attempt.tries < TRIES_MAX;
  const state = goesOn ? 'asking' : 'stopped';
  // Another window's answer may have settled it meanwhile: this try is in doubt all the same.
  if (verdict.kind === 'unknown') return { state, inDoubt: Math.max(1, attempt.inDoubt), verdict };
  if (verdict.kind === 'declined' && verdict.settles) return { state, inDoubt: 0, verdict };
  const inDoubt = Math.max(0, attempt.inDoubt - 1);
  if (inDoubt === 0) return { state, inDoubt, verdict };
  // That this try did nothing says nothing about one before it.
  const retryAfterMs = verdict.kind === 'not_yet' ? verdict.retryAfterMs : null;
  return { state, inDoubt, verdict: { kind: 'unknown', code: verdict.code, retryAfterMs } };
}

/** The person wants to change it: the page asks no more. The key stays with what it was for. */
export function stop(slip: Slip, key: string): Slip {
  return changed(slip, key, (attempt) => ({ ...attempt, state: 'stopped' }));
}

/** The effect of a press on Send, for somebody who saw the draft `seen`. */
export type Outcome = 'sent' | 'paid before' | 'changed meanwhile' | 'too much in doubt';

/** Reads it from what is stored after the press. */
export function outcomeOf(slip: Slip, seen: Draft): Outcome {
  if (slip.receipt?.key === seen.key) return 'paid before';
  if (slip.attempt?.state === 'asking')
    return slip.attempt.request.idempotency_key === seen.key ? 'sent' : 'changed meanwhile';
  return isSameDraft(slip.draft, seen) ? 'too much in doubt' : 'changed meanwhile';
}

/** Reads an answer. Only what the service itself says is definite. */
export function judge(answer: Answer | null, request: PaymentRequest): Verdict {
  const retryAfterMs = answer?.retryAfterMs ?? null;
  const { payment, problem } = answer ?? { payment: null, problem: null };
  if (answer && payment && isOf(payment, request)) {
    return { kind: 'paid', payment, replayed: answer.replayed };
  }
  if (!answer || !problem) return { kind: 'unknown', code: null, retryAfterMs };
  const { code, detail } = problem;
  if (NOTHING_DONE.has(code)) return { kind: 'not_yet', code, detail, retryAfterMs };
  if (problem.retryable || answer.status >= 500) return { kind: 'unknown', code, retryAfterMs };
  return { kind: 'declined', code, detail, settles: isSettling(code) };
}

function isOf(payment: Payment, { from, to, amount }: PaymentRequest): boolean {
  return payment.amount === amount && payment.to_id === to && payment.from_id === from;
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
