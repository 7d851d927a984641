/**
 * Reads slips as they were stored. Other versions of the page, other programs and a broken disk may
 * have left anything there, so nothing is taken for what it should be. What can be understood of a slip
 * is kept, the key of a payment in doubt above all.
 */

import type { Intent, Payment } from '../api/client';
import {
  asksFor,
  freshSlip,
  isSettling,
  isUnderWay,
  mayBePaid,
  wishOf,
  type Attempt,
  type Draft,
  type Receipt,
  type Similar,
  type Slip,
} from './machine';

type Fields = Record<string, unknown>;

const isText = (value: unknown): value is string => typeof value === 'string';
const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

function fieldsOf(value: unknown): Fields | null {
  const is = typeof value === 'object' && value !== null && !Array.isArray(value);
  return is ? (value as Fields) : null;
}

/** A slip as this version stores it; wrong parts are left out, and said in `isUnread`. */
export function slipFrom(value: unknown, payer: number, newKey: string): Slip {
  const fields = fieldsOf(value);
  const fresh = freshSlip(newKey);
  if (!fields) return { ...fresh, isUnread: value !== undefined };
  const draft = draftFrom(fields.draft, isText(fieldsOf(fields.draft)?.key));
  const attempt = attemptFrom(fields.attempt, payer);
  const list = Array.isArray(fields.setAside) ? (fields.setAside as unknown[]) : [];
  const setAside = list.map((item) => attemptFrom(item, payer)).filter((item) => item !== null);
  const isWhole =
    draft !== null &&
    (attempt !== null || fields.attempt === null) &&
    Array.isArray(fields.setAside) &&
    setAside.length === list.length;
  return {
    draft: draft ?? fresh.draft,
    attempt,
    setAside,
    receipt: receiptFrom(fields.receipt),
    isUnread: !isWhole || fields.isUnread === true,
  };
}

/** The slip that version 0.2 kept, as a text in local storage: without a key of the draft, and nothing aside. */
export function slipOfVersion02(text: string, payer: number, newKey: string): Slip {
  const fields = fieldsOf(parsed(text));
  const fresh = freshSlip(newKey);
  if (!fields) return { ...fresh, isUnread: true };
  const typed = draftFrom({ ...fieldsOf(fields.draft), key: newKey }, true);
  const attempt = attemptFrom(fields.attempt, payer);
  const draft = typed ?? fresh.draft;
  const isSame = attempt !== null && asksFor(attempt, wishOf(payer, draft));
  return {
    ...fresh,
    draft: isSame ? { ...draft, key: attempt.request.idempotency_key } : draft,
    attempt,
    isUnread: attempt === null && (fields.attempt ?? null) !== null,
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function draftFrom(value: unknown, isKeyed: boolean): Draft | null {
  const { key, to, amount, note } = fieldsOf(value) ?? {};
  const is = isKeyed && isText(key) && isText(amount) && isText(note);
  return is && (to === null || isCount(to)) ? { key, to, amount, note } : null;
}

const STATES: Attempt['state'][] = ['asking', 'cancelling', 'stopped'];

function attemptFrom(value: unknown, payer: number): Attempt | null {
  const fields = fieldsOf(value);
  const request = requestFrom(fields?.request, payer);
  if (!fields || !request) return null;
  const verdict = verdictFrom(fields.verdict);
  const tries = isCount(fields.tries) ? fields.tries : 1;
  // Where it is not known how many of the tries were answered, none was.
  const inDoubt = isCount(fields.inDoubt) ? fields.inDoubt : Math.max(1, tries);
  const attempt: Attempt = {
    request,
    state: STATES.find((state) => state === fields.state) ?? 'stopped',
    tries,
    inDoubt,
    verdict,
    ...(fields.isSure === true && { isSure: true }),
  };
  // No version may call a payment declined of which a try has no answer.
  const isDoubtful = mayBePaid(attempt) && verdict !== null && verdict.kind !== 'unknown';
  if (!isDoubtful) return attempt;
  return { ...attempt, verdict: { kind: 'unknown', code: verdict.code, retryAfterMs: null } };
}

function requestFrom(value: unknown, payer: number): Intent | null {
  const { from, to, amount, note, created_at, idempotency_key, refund_of, payment_request_id } =
    fieldsOf(value) ?? {};
  const is =
    from === payer &&
    isCount(to) &&
    isCount(amount) &&
    (note === null || isText(note)) &&
    isText(created_at) &&
    isText(idempotency_key) &&
    idempotency_key !== '' &&
    (refund_of === undefined || isText(refund_of)) &&
    (payment_request_id === undefined || isText(payment_request_id));
  if (!is) return null;
  return {
    from: payer,
    to,
    amount,
    note,
    created_at,
    idempotency_key,
    ...(refund_of !== undefined && { refund_of }),
    ...(payment_request_id !== undefined && { payment_request_id }),
  };
}

function verdictFrom(value: unknown): Attempt['verdict'] {
  const { kind, code, detail, retryAfterMs, similar } = fieldsOf(value) ?? {};
  const wait = isCount(retryAfterMs) ? retryAfterMs : null;
  const words = isText(detail) ? detail : '';
  if (kind === 'declined' && isText(code))
    return { kind, code, detail: words, settles: isSettling(code), ...similarFrom(similar) };
  if (kind === 'not_yet' && isText(code)) return { kind, code, detail: words, retryAfterMs: wait };
  if (kind === 'unknown') return { kind, code: isText(code) ? code : null, retryAfterMs: wait };
  return null;
}

function similarFrom(value: unknown): { similar?: Similar } {
  const { id, created_at } = fieldsOf(value) ?? {};
  return isText(id) && isText(created_at) ? { similar: { id, created_at } } : {};
}

/** No more than what is shown of it is looked at. */
function receiptFrom(value: unknown): Receipt | null {
  const { key, payment, replayed, tries, isTooLate, isOld } = fieldsOf(value) ?? {};
  const { id, to_id, amount } = fieldsOf(payment) ?? {};
  const is = isText(key) && isText(id) && isCount(to_id) && isCount(amount) && isCount(tries);
  return is
    ? {
        key,
        payment: payment as Payment,
        replayed: replayed === true,
        tries,
        isTooLate: isTooLate === true,
        isOld: isOld === true,
      }
    : null;
}

/** Joins to a slip what another version of the page has kept for the same payer. */
export function adopt(slip: Slip, other: Slip): Slip {
  const isUnread = slip.isUnread || other.isUnread;
  const isUntouched = slip.draft.amount === '' && slip.draft.note === '' && !slip.attempt;
  const attempt = isKnown(slip, other.attempt) ? null : other.attempt;
  // Its draft goes where nobody has typed anything yet, unless it was paid meanwhile.
  if (isUntouched && slip.receipt?.key !== other.draft.key)
    return { ...slip, draft: other.draft, attempt, isUnread };
  const isOpen = attempt !== null && (isUnderWay(attempt) || mayBePaid(attempt));
  if (!isOpen) return { ...slip, isUnread };
  if (!slip.attempt) return { ...slip, attempt, isUnread };
  const inDoubt = Math.max(1, attempt.inDoubt);
  const aside: Attempt = { ...attempt, state: 'stopped', inDoubt };
  return { ...slip, setAside: [...slip.setAside, aside], isUnread };
}

function isKnown({ attempt, setAside, receipt }: Slip, other: Attempt | null): boolean {
  const key = other?.request.idempotency_key;
  const keys = [attempt, ...setAside].map((known) => known?.request.idempotency_key);
  return key !== undefined && [...keys, receipt?.key].includes(key);
}
