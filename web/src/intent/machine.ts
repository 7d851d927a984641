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
 *
 * asking, or stopped in doubt --cancel--> cancelling --voided--> stopped: never paid, and the key is spent
 *                                         |        ^ \--paid----> as above; the receipt says that it was too late
 *                                         \--------/ no answer
 * ```
 *
 * A request for money and a refund are paid without a draft: `pay` takes the payment itself.
 *
 * An attempt is in doubt while a try of it has not been answered, and only an answer ends that: either
 * the payment itself, or a refusal that was decided with the payment's own rows in hand. While it is in
 * doubt it is kept, and nothing says that it was not paid.
 */

import type { Intent, Payment, Problem } from '../api/client';
import type { Answer, VoidAnswer } from '../api/send';
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
  | { kind: 'declined'; code: string; detail: string; settles: boolean; similar?: Similar }
  /** This try has not paid; asking again can succeed. */
  | { kind: 'not_yet'; code: string; detail: string; retryAfterMs: number | null }
  /** Perhaps paid. `code` is null where there was no answer that the service could have given. */
  | { kind: 'unknown'; code: string | null; retryAfterMs: number | null };

/** The payment of a short time ago that this one is like: the same payee and the same amount. */
export interface Similar {
  id: string;
  created_at: string;
}

export interface Attempt {
  request: Intent;
  /** `cancelling`: the service is asked whether it was paid, and to see to it that it never is. */
  state: 'asking' | 'cancelling' | 'stopped';
  /** How often it was sent. */
  tries: number;
  /** After how many of these it may have been paid: the service has not said that they did nothing. */
  inDoubt: number;
  /** Of the latest try, in the light of those before; null before the first has ended. */
  verdict: Exclude<Verdict, { kind: 'paid' }> | null;
  /** The person wants it to be paid although it is like another one. */
  isSure?: true;
}

/** The latest payment that went through. */
export interface Receipt {
  key: string;
  payment: Payment;
  replayed: boolean;
  tries: number;
  /** It was paid before it could be cancelled. */
  isTooLate: boolean;
  /** The person has gone on since then. */
  isOld: boolean;
}

export interface Slip {
  draft: Draft;
  /** The latest one. */
  attempt: Attempt | null;
  /** Earlier ones that are in doubt. Nobody asks about them until the person says so. */
  setAside: Attempt[];
  receipt: Receipt | null;
  /** Something that was stored here could not be read; it may have been a payment in doubt. */
  isUnread: boolean;
}

/** The payment that a draft asks for. */
export type Wish = Pick<Intent, 'from' | 'to' | 'amount' | 'note'>;

/** So many payments may be in doubt at a time, besides the latest one. */
export const SET_ASIDE_MAX = 10;

/** The service's own limit. */
export const NOTE_CHARS_MAX = 280;

/** After so many tries without an answer the page stops, and asks again when the person says so. */
export const TRIES_MAX = 30;

/** A payment that is like another one of so short a time ago is perhaps the same, sent from another device. */
const SIMILAR_WITHIN_SECONDS = 60;

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
  'similar_payment',
  'account_frozen',
  'account_closed',
  'request_not_open',
  'not_refundable',
  'refund_exceeds_payment',
]);

export function isSettling(code: string): boolean {
  return SETTLES.has(code);
}

/** The service will never pay under the key: somebody has cancelled the payment. */
const VOIDED = 'idempotency_key_voided';

/** Refusals after which the key is of no use any more. */
const KEY_IS_SPENT = new Set(['idempotency_key_reused', VOIDED]);

const CANCELLED: Verdict = { kind: 'declined', code: VOIDED, detail: '', settles: true };

/** A slip with nothing on it. */
export function freshSlip(key: string): Slip {
  const draft = { key, to: null, amount: '', note: '' };
  return { draft, attempt: null, setAside: [], receipt: null, isUnread: false };
}

/** How many characters of a draft's note the service would count: code points, without the ends' blanks. */
export function noteChars({ note }: Pick<Draft, 'note'>): number {
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

/** Whether an attempt is for just this payment, of a draft. */
export function asksFor({ request }: Attempt, wish: Wish | null): boolean {
  return wish !== null && isSamePayment(request, wish);
}

function isSamePayment(one: Intent, other: Wish & Partial<Intent>): boolean {
  return (
    one.from === other.from &&
    one.to === other.to &&
    one.amount === other.amount &&
    one.note === other.note &&
    one.refund_of === other.refund_of &&
    one.payment_request_id === other.payment_request_id
  );
}

/** Whether it was typed into the form: neither a request that is paid nor a refund. */
export function isOfDraft({ request }: Attempt): boolean {
  return request.refund_of === undefined && request.payment_request_id === undefined;
}

/** Whether the service is being asked about it. */
export function isUnderWay(attempt: Attempt | null | undefined): boolean {
  return attempt?.state === 'asking' || attempt?.state === 'cancelling';
}

/** Whether it will never be paid, because somebody has cancelled it. */
export function isCancelled({ verdict }: Attempt): boolean {
  return verdict?.kind === 'declined' && verdict.code === VOIDED;
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

/** Whether the latest attempt is to be seen: not where the form has gone on, or `leftOpen` has it. */
export function isShown({ draft, attempt }: Slip, from: number): boolean {
  if (!attempt) return false;
  if (isUnderWay(attempt) || asksFor(attempt, wishOf(from, draft))) return true;
  return !mayBePaid(attempt) && (isSpent(attempt) || !isOfDraft(attempt));
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
  if (isUnderWay(slip.attempt) || slip.draft.key !== seen) return slip;
  const typed = { ...slip.draft, ...change };
  const wish = wishOf(from, typed);
  // The same request has the same key, also after something else was typed and taken back.
  const same = attemptsOf(slip).find((attempt) => asksFor(attempt, wish) && !isSpent(attempt));
  const isOthers = withKey(slip, typed.key) !== undefined;
  const key = same?.request.idempotency_key ?? (isOthers ? newKey : typed.key);
  const { attempt } = slip;
  // Nobody asks for it again, and by now its end has been seen.
  const isOver =
    attempt !== null && !mayBePaid(attempt) && (isSpent(attempt) || !isOfDraft(attempt));
  return {
    ...slip,
    draft: { ...typed, key },
    attempt: isOver ? null : attempt,
    receipt: old(slip.receipt),
  };
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
  if (isUnderWay(slip.attempt) || !wish || !isSameDraft(slip.draft, seen)) return slip;
  const { key } = slip.draft;
  if (withKey(slip, key)) return takeUp(slip, key);
  return begin(slip, { ...wish, created_at: now.toISOString(), idempotency_key: key });
}

/**
 * The person pays a request or gives a payment back, by a button that was shown with this key. The
 * same payment that was begun before keeps the key that it had.
 */
export function pay(slip: Slip, intent: Intent): Slip {
  if (isUnderWay(slip.attempt) || hasPaid(slip, intent)) return slip;
  const same = attemptsOf(slip).find(
    (attempt) => isSamePayment(attempt.request, intent) && !isSpent(attempt),
  );
  return same ? takeUp(slip, same.request.idempotency_key) : begin(slip, intent);
}

function hasPaid({ receipt }: Slip, { idempotency_key, payment_request_id }: Intent): boolean {
  if (!receipt) return false;
  const isRequest = payment_request_id !== undefined;
  return (
    receipt.key === idempotency_key ||
    (isRequest && receipt.payment.payment_request_id === payment_request_id)
  );
}

function begin(slip: Slip, request: Intent): Slip {
  const setAside = keptAside(slip, request.idempotency_key);
  if (setAside.length > SET_ASIDE_MAX) return slip;
  const attempt: Attempt = { request, state: 'asking', tries: 0, inDoubt: 0, verdict: null };
  return { ...slip, attempt, setAside, receipt: old(slip.receipt), isUnread: false };
}

/** The person wants to know what became of an attempt, so it is asked for again, with its key. */
export function takeUp(slip: Slip, key: string): Slip {
  const attempt = withKey(slip, key);
  if (!attempt || isUnderWay(slip.attempt)) return slip;
  const verdict = mayBePaid(attempt) ? attempt.verdict : null;
  return {
    ...slip,
    attempt: { ...attempt, state: 'asking', tries: 0, verdict },
    setAside: keptAside(slip, key),
    receipt: old(slip.receipt),
  };
}

/**
 * The person wants it not to be paid. Where a try of it is in doubt the service is asked until it has said
 * for certain which of the two it was: paid, or never to be paid. Where none is, nothing was paid, and
 * nobody asks for it any more.
 */
export function cancel(slip: Slip, key: string, newKey: string): Slip {
  const attempt = withKey(slip, key);
  const isAnother = isUnderWay(slip.attempt) && slip.attempt !== attempt;
  if (!attempt || isAnother || attempt.state === 'cancelling' || isSpent(attempt)) return slip;
  if (!mayBePaid(attempt)) return judged(slip, key, CANCELLED, newKey);
  return {
    ...slip,
    attempt: { ...attempt, state: 'cancelling', tries: 0, verdict: null },
    setAside: keptAside(slip, key),
    receipt: old(slip.receipt),
  };
}

/** The person wants it to be paid although it is like another one: the same payment, with the same key. */
export function insist(slip: Slip, key: string): Slip {
  if (isUnderWay(slip.attempt)) return slip;
  const sure = changed(slip, key, (attempt) => ({ ...attempt, isSure: true }));
  return takeUp(sure, key);
}

/** The person does not want it after all. Only what is not in doubt can be dropped. */
export function drop(slip: Slip, key: string, newKey: string): Slip {
  const { attempt, draft } = slip;
  if (attempt?.request.idempotency_key !== key || isUnderWay(attempt) || mayBePaid(attempt))
    return slip;
  return { ...slip, draft: emptied(draft, key, newKey), attempt: null };
}

/** The draft with the key `key` is done with; another one keeps what was typed. */
function emptied(draft: Draft, key: string, newKey: string): Draft {
  return draft.key === key ? { ...draft, key: newKey, amount: '', note: '' } : draft;
}

/** The attempts in doubt while the one with this key is the latest. */
function keptAside(slip: Slip, key: string): Attempt[] {
  return attemptsOf(slip).filter(
    (attempt) => attempt.request.idempotency_key !== key && mayBePaid(attempt),
  );
}

/** What is sent to ask for it. */
export function bodyOf(attempt: Attempt): Intent & { unless_similar_within_seconds?: number } {
  const { request, isSure } = attempt;
  // A request for money is paid once, whatever was paid before.
  const isPlain = isSure || request.payment_request_id !== undefined;
  return isPlain ? request : { ...request, unless_similar_within_seconds: SIMILAR_WITHIN_SECONDS };
}

/** A try begins. Counted before it is sent, so that a crash is counted too. */
export function tried(slip: Slip): Slip {
  const { attempt } = slip;
  if (!attempt || !isUnderWay(attempt)) return slip;
  const tries = attempt.tries + 1;
  // To ask whether it can be cancelled pays nothing.
  const inDoubt = attempt.inDoubt + (attempt.state === 'asking' ? 1 : 0);
  return { ...slip, attempt: { ...attempt, tries, inDoubt } };
}

/** The try to pay that was begun was not sent after all. */
export function notSent(slip: Slip, key: string): Slip {
  return changed(slip, key, ({ tries, inDoubt, ...attempt }) => ({
    ...attempt,
    tries: Math.max(0, tries - 1),
    inDoubt: Math.max(0, inDoubt - 1),
  }));
}

/** A try to pay has ended. A verdict on a key that the slip does not know says nothing. */
export function judged(slip: Slip, key: string, verdict: Verdict, newKey: string): Slip {
  const attempt = withKey(slip, key);
  if (!attempt) return slip;
  if (verdict.kind === 'paid') {
    const { payment, replayed } = verdict;
    const isTooLate = attempt.state === 'cancelling';
    return {
      // A person who stopped and has typed something else since then keeps it.
      draft: emptied(slip.draft, key, newKey),
      attempt: slip.attempt === attempt ? null : slip.attempt,
      setAside: slip.setAside.filter((other) => other !== attempt),
      receipt: { key, payment, replayed, tries: attempt.tries, isTooLate, isOld: false },
      isUnread: slip.isUnread,
    };
  }
  // That no answer came to a try says nothing any more where the key never pays.
  if (isSpent(attempt)) return slip;
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

/** A try to cancel has ended. It has paid nothing, so what it was answered takes no try from those in doubt. */
export function cancelJudged(slip: Slip, key: string, verdict: Verdict, newKey: string): Slip {
  if (verdict.kind === 'paid' || isSettled(verdict)) return judged(slip, key, verdict, newKey);
  const retryAfterMs = 'retryAfterMs' in verdict ? verdict.retryAfterMs : null;
  const unknown: Verdict = { kind: 'unknown', code: verdict.code, retryAfterMs };
  const after = judged(slip, key, unknown, newKey);
  // It may not be cancelled, so nobody asks for that any more; whether it was paid is not known.
  return verdict.kind === 'declined' ? stop(after, key) : after;
}

function isSettled(verdict: Verdict): boolean {
  return verdict.kind === 'declined' && verdict.settles;
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
  if (isSettled(verdict)) return { state: 'stopped', inDoubt: 0, verdict };
  const goesOn =
    // Until it is known for certain.
    attempt.state === 'cancelling' ||
    (attempt.state === 'asking' && verdict.kind !== 'declined' && attempt.tries < TRIES_MAX);
  const state = goesOn ? attempt.state : 'stopped';
  // Another window's answer may have settled it meanwhile: this try is in doubt all the same.
  if (verdict.kind === 'unknown') return { state, inDoubt: Math.max(1, attempt.inDoubt), verdict };
  const inDoubt = Math.max(0, attempt.inDoubt - 1);
  if (inDoubt === 0)
    return { state: verdict.kind === 'declined' ? 'stopped' : state, inDoubt, verdict };
  // That this try did nothing says nothing about one before it.
  const retryAfterMs = verdict.kind === 'not_yet' ? verdict.retryAfterMs : null;
  return { state, inDoubt, verdict: { kind: 'unknown', code: verdict.code, retryAfterMs } };
}

/** The person wants to change it: the page asks no more. The key stays with what it was for. */
export function stop(slip: Slip, key: string): Slip {
  return changed(slip, key, (attempt) => ({ ...attempt, state: 'stopped' }));
}

/** The effect of a press that is to pay something. */
export type Outcome = 'sent' | 'paid before' | 'changed meanwhile' | 'too much in doubt';

/** Reads that of a press on Send, by somebody who saw the draft `seen`, from what is stored after it. */
export function outcomeOf(slip: Slip, seen: Draft): Outcome {
  if (slip.receipt?.key === seen.key) return 'paid before';
  if (isUnderWay(slip.attempt))
    return slip.attempt?.request.idempotency_key === seen.key ? 'sent' : 'changed meanwhile';
  return isSameDraft(slip.draft, seen) ? 'too much in doubt' : 'changed meanwhile';
}

/** Reads that of a press that means this very payment. */
export function outcomeOfPay(slip: Slip, intent: Intent): Outcome {
  if (hasPaid(slip, intent)) return 'paid before';
  if (!slip.attempt || !isUnderWay(slip.attempt)) return 'too much in doubt';
  return isSamePayment(slip.attempt.request, intent) ? 'sent' : 'changed meanwhile';
}

/** Reads an answer. Only what the service itself says is definite. */
export function judge(answer: Answer | null, request: Intent): Verdict {
  const retryAfterMs = answer?.retryAfterMs ?? null;
  const { payment, problem } = answer ?? { payment: null, problem: null };
  if (answer && payment && isOf(payment, request)) {
    return { kind: 'paid', payment, replayed: answer.replayed };
  }
  if (!answer || !problem) return { kind: 'unknown', code: null, retryAfterMs };
  const { code, detail } = problem;
  if (NOTHING_DONE.has(code)) return { kind: 'not_yet', code, detail, retryAfterMs };
  if (problem.retryable || answer.status >= 500) return { kind: 'unknown', code, retryAfterMs };
  return {
    kind: 'declined',
    code,
    detail,
    settles: isSettling(code),
    ...similarIn(problem),
  };
}

/** Reads an answer about the key. Only that it is voided, or the payment, is definite. */
export function judgeVoid(answer: VoidAnswer | null, request: Intent): Verdict {
  const retryAfterMs = answer?.retryAfterMs ?? null;
  if (answer?.voided) return CANCELLED;
  if (answer?.payment && isOf(answer.payment, request))
    return { kind: 'paid', payment: answer.payment, replayed: true };
  if (!answer?.problem) return { kind: 'unknown', code: null, retryAfterMs };
  const { code, detail, retryable } = answer.problem;
  const mayHelp = NOTHING_DONE.has(code) || retryable || answer.status >= 500;
  // The same answer to a payment would settle it; to this one it says that it may not be asked.
  return mayHelp
    ? { kind: 'unknown', code, retryAfterMs }
    : { kind: 'declined', code, detail, settles: false };
}

/** The other payment that a problem names. */
function similarIn({ code, id, created_at }: Problem): { similar?: Similar } {
  return code === 'similar_payment' && id && created_at ? { similar: { id, created_at } } : {};
}

function isOf(payment: Payment, request: Intent): boolean {
  return (
    payment.amount === request.amount &&
    payment.to_id === request.to &&
    payment.from_id === request.from &&
    (payment.refund_of ?? undefined) === request.refund_of &&
    (payment.payment_request_id ?? undefined) === request.payment_request_id
  );
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
