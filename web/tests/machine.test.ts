/** The life of a payment, as pure functions, without a browser. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Intent, Payment, Problem } from '../src/api/client';
import type { Answer, VoidAnswer } from '../src/api/send';
import * as machine from '../src/intent/machine';
import {
  bodyOf,
  cancelJudged,
  drop,
  forget,
  freshSlip,
  insist,
  isCancelled,
  isShown,
  judge,
  judgeVoid,
  leftOpen,
  mayBePaid,
  noteChars,
  NOTE_CHARS_MAX,
  outcomeOf,
  outcomeOfPay,
  pauseMs,
  pay,
  SET_ASIDE_MAX,
  stop,
  submit,
  takeUp,
  tried,
  TRIES_MAX,
  wishOf,
  type Draft,
  type Slip,
  type Verdict,
} from '../src/intent/machine';
import { adopt, slipFrom, slipOfVersion02 } from '../src/intent/stored';

const ME = 1;
const NOW = new Date('2026-11-22T12:00:00Z');
const NO_ANSWER: Verdict = { kind: 'unknown', code: null, retryAfterMs: null };
const TOO_MANY: Verdict = {
  kind: 'not_yet',
  code: 'rate_limited',
  detail: '',
  retryAfterMs: 30_000,
};
const TOO_LITTLE: Verdict = {
  kind: 'declined',
  code: 'insufficient_funds',
  detail: '',
  settles: true,
};

/** Typed by somebody who sees what is stored. A new key, where there is one, is `key`. */
function edit(slip: Slip, change: Partial<Draft>, key = 'b'): Slip {
  return machine.edit(slip, ME, slip.draft.key, change, key);
}

/** An answer, after which a new draft has the key `key`. */
function judged(slip: Slip, of: string, verdict: Verdict, key = 'z'): Slip {
  return machine.judged(slip, of, verdict, key);
}

const typed = edit(freshSlip('a'), { to: 2, amount: '5', note: 'lunch' });

/** Sent by somebody who sees what is stored. */
function sent(slip: Slip): Slip {
  return submit(slip, ME, slip.draft, NOW);
}

/** A payment whose first try got no answer. */
const inDoubt = judged(tried(sent(typed)), 'a', NO_ANSWER);

const keyOf = (slip: Slip) => slip.attempt?.request.idempotency_key;

function paid(slip: Slip): Verdict {
  const { request } = slip.attempt ?? assert.fail();
  const payment: Payment = {
    id: '0fc38bf5-9597-86f0-b04b-6ef81d0f62fc',
    from_id: request.from,
    to_id: request.to,
    amount: request.amount,
    note: request.note,
    created_at: '2026-11-22T12:00:00.000001Z',
    requested_at: null,
    balance_after: 0,
  };
  return { kind: 'paid', payment, replayed: false };
}

function answer(status: number, more: Partial<Answer>): Answer {
  return {
    status,
    text: '',
    payment: null,
    problem: null,
    replayed: false,
    retryAfterMs: null,
    timing: null,
    ...more,
  };
}

function problem(status: number, code: string, retryable: boolean): Answer {
  const body: Problem = { type: '', title: '', status, detail: '', code, retryable };
  return answer(status, { problem: body });
}

test('a payment is sent with the key that its draft was made with', () => {
  assert.deepEqual(sent(typed).attempt, {
    request: {
      from: 1,
      to: 2,
      amount: 500,
      note: 'lunch',
      created_at: NOW.toISOString(),
      idempotency_key: 'a',
    },
    state: 'asking',
    tries: 0,
    inDoubt: 0,
    verdict: null,
  });
});

test('more clicks while it is under way change nothing', () => {
  const asking = sent(typed);
  assert.equal(sent(asking), asking);
});

test('what is under way cannot be edited', () => {
  const asking = sent(typed);
  assert.equal(edit(asking, { amount: '50' }), asking);
});

test('without an answer the key stays', () => {
  assert.equal(inDoubt.attempt?.state, 'asking');
  assert.equal(keyOf(inDoubt), 'a');
  assert.equal(inDoubt.attempt?.tries, 1);
});

test('what is forgotten is what was typed and paid, and never a payment in doubt', () => {
  const slip = forget(judged(tried(sent(typed)), 'a', NO_ANSWER), ME, 'f');
  assert.equal(keyOf(slip), 'a');
  const stopped = forget(stop(inDoubt, 'a'), ME, 'f');
  assert.deepEqual({ ...stopped.draft, key: '' }, { to: null, amount: '', note: '', key: '' });
  assert.equal(keyOf(stopped), 'a');
});

test('when it is paid, the draft is a fresh one with a new key, empty but for the payee', () => {
  const asking = sent(typed);
  const slip = judged(asking, 'a', paid(asking), 'c');
  assert.equal(slip.attempt, null);
  assert.deepEqual(slip.draft, { key: 'c', to: 2, amount: '', note: '' });
  assert.equal(keyOf(sent(edit(slip, { amount: '5', note: 'lunch' }))), 'c');
});

test('who presses Send on a draft that was paid meanwhile pays nothing', () => {
  const asking = sent(typed);
  const slip = judged(asking, 'a', paid(asking), 'c');
  // Even where the same has been typed again.
  for (const now of [slip, edit(slip, { amount: '5', note: 'lunch' })]) {
    const after = submit(now, ME, typed.draft, NOW);
    assert.equal(after, now);
    assert.equal(outcomeOf(after, typed.draft), 'paid before');
  }
});

test('who presses Send on something else than what is stored pays nothing', () => {
  for (const change of [{ to: 3 }, { amount: '6' }, { note: 'dinner' }]) {
    const now = edit(typed, change);
    const after = submit(now, ME, typed.draft, NOW);
    assert.equal(after, now);
    assert.equal(outcomeOf(after, typed.draft), 'changed meanwhile');
  }
});

test('who types into a draft that has been replaced changes nothing', () => {
  const asking = sent(typed);
  const slip = judged(asking, 'a', paid(asking), 'c');
  assert.equal(machine.edit(slip, ME, 'a', { amount: '50' }, 'd'), slip);
});

test('what was declined keeps what was typed, and its key when it is sent again unchanged', () => {
  const slip = judged(tried(sent(typed)), 'a', TOO_LITTLE);
  assert.deepEqual(slip.draft, typed.draft);
  assert.equal(keyOf(sent(slip)), 'a');
});

test('typing something and taking it back keeps the key', () => {
  const declined = judged(tried(sent(typed)), 'a', TOO_LITTLE);
  const slip = edit(edit(declined, { amount: '50' }), { amount: '5.00' });
  assert.equal(keyOf(sent(slip)), 'a');
});

test('a payment that was edited has another key', () => {
  const declined = judged(tried(sent(typed)), 'a', TOO_LITTLE);
  for (const change of [{ to: 3 }, { amount: '6' }, { note: 'dinner' }]) {
    assert.equal(keyOf(sent(edit(declined, change, 'b'))), 'b');
  }
});

test('a key that belongs to another request, or was voided, is given up', () => {
  for (const code of ['idempotency_key_reused', 'idempotency_key_voided']) {
    const verdict: Verdict = { kind: 'declined', code, detail: '', settles: true };
    const slip = judged(tried(sent(typed)), 'a', verdict, 'b');
    assert.equal(keyOf(sent(slip)), 'b');
    assert.equal(keyOf(sent(edit(edit(slip, { amount: '6' }), { amount: '5' }))), 'b');
  }
});

test('who stops an unanswered payment and sends it unchanged asks with the same key', () => {
  assert.equal(keyOf(sent(stop(inDoubt, 'a'))), 'a');
});

test('an answer that comes after stopping empties the form, unless something else was typed', () => {
  const stopped = stop(tried(sent(typed)), 'a');
  assert.equal(judged(stopped, 'a', paid(stopped)).draft.amount, '');
  const edited = edit(stopped, { amount: '7' });
  assert.equal(judged(edited, 'a', paid(edited)).draft.amount, '7');
});

test('an answer to another key says nothing about this payment', () => {
  const slip = tried(sent(typed));
  assert.equal(judged(slip, 'b', TOO_LITTLE), slip);
});

test('after many tries the page stops, and goes on with the same key when it is told to', () => {
  let slip = sent(typed);
  for (let tries = 0; tries < TRIES_MAX; tries += 1) slip = judged(tried(slip), 'a', NO_ANSWER);
  assert.equal(slip.attempt?.state, 'stopped');
  assert.equal(keyOf(sent(slip)), 'a');
});

test('that a try did nothing says nothing about one before it', () => {
  const refused = judged(tried(sent(typed)), 'a', TOO_MANY);
  assert.equal(refused.attempt?.verdict?.kind, 'not_yet');
  const lost = judged(tried(refused), 'a', NO_ANSWER);
  const open = judged(tried(lost), 'a', TOO_MANY);
  assert.deepEqual(open.attempt?.verdict, {
    kind: 'unknown',
    code: 'rate_limited',
    retryAfterMs: 30_000,
  });
  // A try that a crash has ended is one without an answer, too.
  const crashed = tried(sent(typed));
  assert.equal(judged(tried(crashed), 'a', TOO_MANY).attempt?.verdict?.kind, 'unknown');
});

test('a refusal before anybody looked for the key ends no doubt, it only stops the asking', () => {
  for (const [status, code] of [
    [400, 'invalid_request'],
    [403, 'forbidden'],
    [404, 'account_not_found'],
    [413, 'body_too_large'],
    [422, 'same_account'],
    [422, 'a_new_one'],
  ] as const) {
    const verdict = judge(problem(status, code, false), inDoubt.attempt?.request ?? assert.fail());
    const first = judged(tried(sent(typed)), 'a', verdict);
    assert.equal(first.attempt?.verdict?.kind, 'declined', code);
    const { attempt } = judged(tried(inDoubt), 'a', verdict);
    assert.deepEqual(attempt?.verdict, { kind: 'unknown', code, retryAfterMs: null });
    assert.equal(attempt?.state, 'stopped');
    assert.ok(mayBePaid(attempt));
  }
});

test('a refusal with the payer locked and the key read ends the doubt', () => {
  for (const code of [
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
  ]) {
    const verdict = judge(problem(422, code, false), inDoubt.attempt?.request ?? assert.fail());
    const { attempt } = judged(tried(inDoubt), 'a', verdict);
    assert.equal(attempt?.verdict?.kind, 'declined', code);
    assert.ok(!mayBePaid(attempt ?? assert.fail()));
  }
});

test('a try without an answer is in doubt, although another window’s has been settled meanwhile', () => {
  const both = tried(tried(sent(typed)));
  const settled = judged(both, 'a', TOO_LITTLE);
  assert.equal(settled.attempt?.verdict?.kind, 'declined');
  const lost = judged(settled, 'a', NO_ANSWER);
  assert.equal(lost.attempt?.verdict?.kind, 'unknown');
  assert.ok(mayBePaid(lost.attempt ?? assert.fail()));
});

test('a payment in doubt stays until an answer, whatever is typed and sent besides', () => {
  const edited = edit(stop(inDoubt, 'a'), { amount: '6' }, 'b');
  assert.deepEqual(leftOpen(edited), [edited.attempt]);
  const next = sent(edited);
  assert.equal(keyOf(next), 'b');
  const [open] = leftOpen(next);
  assert.equal(open?.request.idempotency_key, 'a');
  const done = judged(tried(next), 'b', paid(next), 'c');
  assert.deepEqual(leftOpen(done), [open]);
  // Its own answer ends it, and takes nothing away that was typed since.
  const asked = takeUp(edit(done, { amount: '9' }), 'a');
  assert.equal(keyOf(asked), 'a');
  const answered = judged(tried(asked), 'a', paid(asked));
  assert.deepEqual(leftOpen(answered), []);
  assert.equal(answered.draft.amount, '9');
});

test('what is typed again as it was, while it is in doubt, is the same payment', () => {
  const next = sent(edit(stop(inDoubt, 'a'), { amount: '6' }, 'b'));
  const done = judged(tried(next), 'b', paid(next), 'c');
  const again = edit(done, { amount: '5', note: 'lunch' });
  assert.equal(keyOf(sent(again)), 'a');
});

/** Cancelled by somebody; a new draft has the key `c`. */
const cancelled = (slip: Slip, key = 'a') => machine.cancel(slip, key, 'c');
const VOIDED: Verdict = {
  kind: 'declined',
  code: 'idempotency_key_voided',
  detail: '',
  settles: true,
};

test('what is in doubt is cancelled only by an answer about its key, however long that takes', () => {
  let slip = cancelled(inDoubt);
  assert.equal(slip.attempt?.state, 'cancelling');
  for (let tries = 0; tries < 2 * TRIES_MAX; tries += 1) {
    slip = cancelJudged(tried(slip), 'a', NO_ANSWER, 'c');
    assert.equal(slip.attempt?.state, 'cancelling');
    assert.ok(mayBePaid(slip.attempt));
  }
  // Nothing else is sent meanwhile, and nothing is typed.
  assert.equal(sent(slip), slip);
  assert.equal(edit(slip, { amount: '50' }), slip);
  const done = cancelJudged(slip, 'a', VOIDED, 'c');
  const { attempt } = done;
  assert.ok(attempt && isCancelled(attempt) && !mayBePaid(attempt));
  assert.deepEqual(done.draft, { ...typed.draft, key: 'c' });
  assert.equal(keyOf(sent(done)), 'c');
});

test('to ask whether it can be cancelled is no try to pay', () => {
  const slip = tried(cancelled(inDoubt));
  assert.deepEqual([slip.attempt?.tries, slip.attempt?.inDoubt], [1, 1]);
  const refused = cancelJudged(
    slip,
    'a',
    { kind: 'declined', code: 'forbidden', detail: '', settles: false },
    'c',
  );
  assert.equal(refused.attempt?.state, 'stopped');
  assert.ok(mayBePaid(refused.attempt ?? assert.fail()));
  assert.equal(keyOf(sent(refused)), 'a');
});

test('what was paid before it could be cancelled has a receipt that says so', () => {
  for (const end of [cancelJudged, machine.judged]) {
    const slip = end(tried(cancelled(inDoubt)), 'a', paid(inDoubt), 'c');
    assert.equal(slip.attempt, null);
    assert.ok(slip.receipt?.isTooLate);
    assert.equal(slip.draft.amount, '');
  }
});

test('a try to pay that ends while it is being cancelled settles it only by a definite answer', () => {
  const slip = cancelled(inDoubt);
  for (const verdict of [NO_ANSWER, TOO_MANY]) {
    assert.equal(judged(slip, 'a', verdict).attempt?.state, 'cancelling');
  }
  assert.equal(judged(slip, 'a', TOO_LITTLE).attempt?.state, 'stopped');
  const { attempt } = judged(slip, 'a', VOIDED);
  assert.ok(attempt && isCancelled(attempt));
});

test('a key that never pays is in doubt no more, whatever is answered later', () => {
  const slip = cancelJudged(cancelled(inDoubt), 'a', VOIDED, 'c');
  assert.equal(judged(slip, 'a', NO_ANSWER), slip);
  assert.equal(cancelled(slip), slip);
});

test('what nobody can have paid is cancelled at once', () => {
  const slip = cancelled(judged(tried(sent(typed)), 'a', TOO_MANY));
  assert.equal(slip.attempt?.state, 'stopped');
  assert.ok(isCancelled(slip.attempt ?? assert.fail()));
  assert.equal(slip.draft.key, 'c');
});

test('what is aside is cancelled while the draft stays, and its end is seen until one types', () => {
  const aside = edit(stop(inDoubt, 'a'), { amount: '6' }, 'b');
  const slip = cancelled(aside);
  assert.equal(slip.attempt?.state, 'cancelling');
  assert.deepEqual(slip.draft, aside.draft);
  const done = cancelJudged(slip, 'a', VOIDED, 'c');
  assert.deepEqual([isShown(done, ME), leftOpen(done)], [true, []]);
  assert.deepEqual(done.draft, aside.draft);
  assert.equal(edit(done, { note: 'x' }).attempt, null);
});

test('one payment is cancelled at a time', () => {
  const aside = edit(stop(inDoubt, 'a'), { amount: '6' }, 'b');
  const next = sent(aside);
  assert.equal(cancelled(next, 'a'), next);
});

test('of an answer about a key only that it is void, or the very payment, is definite', () => {
  const { request } = inDoubt.attempt ?? assert.fail();
  const made = paid(inDoubt);
  assert.ok(made.kind === 'paid');
  const about = (status: number, more: Partial<VoidAnswer>) => {
    const none = { voided: false, payment: null, text: '', problem: null, retryAfterMs: null };
    return judgeVoid({ status, ...none, ...more }, request);
  };
  const refusal = (status: number, code: string, retryable: boolean) =>
    about(status, { problem: problem(status, code, retryable).problem });
  assert.deepEqual(about(200, { voided: true }), VOIDED);
  assert.equal(about(200, { payment: made.payment }).kind, 'paid');
  assert.equal(about(200, { payment: { ...made.payment, amount: 1 } }).kind, 'unknown');
  assert.equal(about(200, {}).kind, 'unknown', 'a page of the hotel');
  assert.equal(judgeVoid(null, request).kind, 'unknown');
  for (const [status, code, retryable] of [
    [503, 'overloaded', true],
    [429, 'rate_limited', true],
    [401, 'unauthenticated', false],
    [500, 'internal', false],
  ] as const) {
    assert.equal(refusal(status, code, retryable).kind, 'unknown', code);
  }
  for (const [status, code] of [
    [403, 'forbidden'],
    [404, 'not_found'],
  ] as const) {
    const verdict = refusal(status, code, false);
    assert.ok(verdict.kind === 'declined' && !verdict.settles, code);
  }
});

/** A request of $5 that is paid, under a key of this press. */
const forRequest = (key: string): Intent => ({
  from: ME,
  to: 2,
  amount: 500,
  note: 'lunch',
  created_at: NOW.toISOString(),
  idempotency_key: key,
  payment_request_id: 'r',
});

test('a request is paid beside what is typed, and is never the same as a draft', () => {
  const slip = tried(pay(typed, forRequest('r1')));
  assert.deepEqual(slip.draft, typed.draft);
  assert.equal(keyOf(slip), 'r1');
  assert.equal(keyOf(pay(slip, forRequest('r2'))), 'r1');
  const lost = stop(judged(slip, 'r1', NO_ANSWER), 'r1');
  // The same as it was typed is another payment, and the request keeps its key.
  assert.equal(edit(edit(lost, { amount: '6' }), { amount: '5' }).draft.key, 'a');
  assert.deepEqual(
    leftOpen(lost).map((it) => it.request.idempotency_key),
    ['r1'],
  );
  assert.equal(isShown(lost, ME), false);
  assert.equal(keyOf(pay(lost, forRequest('r3'))), 'r1');
});

test('whoever presses on after a request was paid, pays nothing', () => {
  const slip = tried(pay(typed, forRequest('r1')));
  const verdict = paid(slip);
  assert.ok(verdict.kind === 'paid');
  const payment = { ...verdict.payment, payment_request_id: 'r' };
  const done = judged(slip, 'r1', { ...verdict, payment });
  assert.equal(pay(done, forRequest('r2')), done);
  assert.equal(outcomeOfPay(done, forRequest('r2')), 'paid before');
  assert.deepEqual(done.draft, typed.draft);
});

test('a payment of something else than the request is no answer to it', () => {
  const { request } = pay(typed, forRequest('r1')).attempt ?? assert.fail();
  const verdict = paid(pay(typed, forRequest('r1')));
  assert.ok(verdict.kind === 'paid');
  const { payment } = verdict;
  const kind = (payment: Payment) => judge(answer(200, { payment }), request).kind;
  assert.equal(kind(payment), 'unknown');
  assert.equal(kind({ ...payment, payment_request_id: 'r' }), 'paid');
});

test('a payment that is like another one is sent again with its key, once the person is sure', () => {
  const similar = { id: 'other', created_at: '2026-11-22T11:59:40.000000Z' };
  const like = problem(409, 'similar_payment', false).problem ?? assert.fail();
  const { request } = sent(typed).attempt ?? assert.fail();
  const verdict = judge(answer(409, { problem: { ...like, ...similar } }), request);
  const slip = judged(tried(sent(typed)), 'a', verdict);
  assert.deepEqual(slip.attempt?.verdict, {
    kind: 'declined',
    code: 'similar_payment',
    detail: '',
    settles: true,
    similar,
  });
  const body = (slip: Slip) => bodyOf(slip.attempt ?? assert.fail());
  assert.equal(body(sent(typed)).unless_similar_within_seconds, 60);
  // Send alone is not yet to be sure.
  assert.equal(body(sent(slip)).unless_similar_within_seconds, 60);
  const again = insist(slip, 'a');
  assert.deepEqual([again.attempt?.state, keyOf(again)], ['asking', 'a']);
  assert.ok(!('unless_similar_within_seconds' in body(again)));
  const dropped = drop(slip, 'a', 'c');
  assert.equal(dropped.attempt, null);
  assert.deepEqual(dropped.draft, { key: 'c', to: 2, amount: '', note: '' });
  assert.equal(drop(inDoubt, 'a', 'c'), inDoubt);
});

test('only so many payments can be in doubt at a time', () => {
  let slip = stop(inDoubt, 'a');
  for (let turn = 1; turn <= SET_ASIDE_MAX; turn += 1) {
    slip = sent(edit(slip, { amount: `${5 + turn}` }, `b${turn}`));
    slip = stop(judged(tried(slip), `b${turn}`, NO_ANSWER), `b${turn}`);
  }
  const more = edit(slip, { amount: '100' }, 'more');
  assert.equal(sent(more), more);
  assert.equal(outcomeOf(more, more.draft), 'too much in doubt');
});

test('a note is counted as the service counts it', () => {
  const draft = (note: string) => ({ ...typed.draft, note });
  assert.equal(noteChars(draft(` ${'🎉'.repeat(NOTE_CHARS_MAX)} `)), NOTE_CHARS_MAX);
  assert.equal(wishOf(ME, draft('🎉'.repeat(NOTE_CHARS_MAX)))?.note?.length, 2 * NOTE_CHARS_MAX);
  assert.equal(wishOf(ME, draft('x'.repeat(NOTE_CHARS_MAX + 1))), null);
});

test('what is stored is read as it was', () => {
  const next = sent(edit(stop(inDoubt, 'a'), { amount: '6' }, 'b'));
  const sure = insist(judged(tried(sent(typed)), 'a', TOO_LITTLE), 'a');
  const requested = pay(typed, forRequest('r1'));
  const { payment_request_id: _, ...plain } = forRequest('f1');
  const refund = pay(typed, { ...plain, refund_of: 'p' });
  for (const slip of [
    freshSlip('a'),
    typed,
    inDoubt,
    next,
    judged(next, 'b', paid(next)),
    cancelled(inDoubt),
    cancelJudged(cancelled(inDoubt), 'a', paid(inDoubt), 'c'),
    sure,
    requested,
    refund,
  ]) {
    assert.deepEqual(slipFrom(JSON.parse(JSON.stringify(slip)), ME, 'new'), slip);
  }
});

test('of what is stored in another shape all is kept that can be understood, and it is said', () => {
  for (const value of [null, 7, 'slip', [], {}, { draft: 'x' }, { draft: { amount: 5 } }]) {
    assert.deepEqual(slipFrom(value, ME, 'new'), { ...freshSlip('new'), isUnread: true });
  }
  const broken = { ...inDoubt, draft: null, setAside: 7, receipt: { payment: 'paid' } };
  assert.deepEqual(slipFrom(broken, ME, 'new'), {
    ...freshSlip('new'),
    attempt: inDoubt.attempt,
    isUnread: true,
  });
  const { attempt } = inDoubt;
  for (const request of [
    null,
    { ...attempt?.request, from: 2 },
    { ...attempt?.request, to: '2' },
  ]) {
    const slip = slipFrom({ ...inDoubt, attempt: { ...attempt, request } }, ME, 'new');
    assert.deepEqual([slip.attempt, slip.isUnread], [null, true]);
  }
});

test('an attempt that was stored as declined, with a try that has no answer, is in doubt', () => {
  const verdict = { kind: 'declined', code: 'forbidden', detail: 'Nothing was paid.' };
  const stored = { ...inDoubt, attempt: { ...inDoubt.attempt, state: 'stopped', verdict } };
  const { attempt } = slipFrom(stored, ME, 'new');
  assert.deepEqual(attempt?.verdict, { kind: 'unknown', code: 'forbidden', retryAfterMs: null });
});

/** A slip as version 0.2 kept it. */
function ofVersion02(slip: Slip): string {
  const { key: _, ...draft } = slip.draft;
  return JSON.stringify({ draft, attempt: slip.attempt, receipt: null });
}

test('a payment in doubt keeps its key through the upgrade from version 0.2', () => {
  const slip = adopt(freshSlip('new'), slipOfVersion02(ofVersion02(inDoubt), ME, 'x'));
  assert.deepEqual(slip, inDoubt);
  const stopped = adopt(
    freshSlip('new'),
    slipOfVersion02(ofVersion02(edit(stop(inDoubt, 'a'), { amount: '6' })), ME, 'x'),
  );
  assert.equal(keyOf(stopped), 'a');
  assert.deepEqual(stopped.draft, { ...typed.draft, key: 'x', amount: '6' });
  // Before the first fault was mended there, no tries in doubt were counted.
  const { inDoubt: _, ...older } = inDoubt.attempt ?? assert.fail();
  const oldest = JSON.stringify({ draft: typed.draft, attempt: older, receipt: null });
  assert.deepEqual(adopt(freshSlip('new'), slipOfVersion02(oldest, ME, 'x')), inDoubt);
});

test('what a window of version 0.2 leaves later is joined to what is there', () => {
  const other = slipOfVersion02(ofVersion02(inDoubt), ME, 'x');
  // The same payment.
  assert.deepEqual(adopt(inDoubt, other), inDoubt);
  const done = judged(inDoubt, 'a', paid(inDoubt), 'c');
  assert.deepEqual(adopt(done, other), done);
  // Another one, while one is under way.
  const mine = sent(edit(freshSlip('mine'), { to: 3, amount: '1' }));
  const joined = adopt(mine, other);
  assert.equal(keyOf(joined), 'mine');
  assert.deepEqual(
    leftOpen(joined).map((it) => it.request.idempotency_key),
    ['a'],
  );
  for (const text of ['', '{"draft":', '[]', 'null']) {
    assert.ok(adopt(typed, slipOfVersion02(text, ME, 'x')).isUnread, text);
  }
});

test('only what the service itself says is definite', () => {
  const { request } = sent(typed).attempt ?? assert.fail();
  const kind = (given: Answer | null) => judge(given, request).kind;
  const verdict = paid(sent(typed));
  assert.ok(verdict.kind === 'paid');
  const { payment } = verdict;

  assert.equal(kind(answer(200, { payment })), 'paid');
  assert.equal(
    kind(answer(200, { payment: { ...payment, amount: 1 } })),
    'unknown',
    'of something else',
  );
  assert.equal(kind(answer(200, { payment: { ...payment, from_id: 7 } })), 'unknown');
  assert.equal(kind(answer(200, {})), 'unknown', 'a page of the hotel');
  assert.equal(kind(answer(404, {})), 'unknown', 'of a proxy');
  assert.equal(kind(answer(502, {})), 'unknown');
  assert.equal(kind(null), 'unknown');
  assert.equal(kind(problem(500, 'internal', false)), 'unknown');
  assert.equal(kind(problem(503, 'database_unavailable', true)), 'unknown');
  assert.equal(kind(problem(409, 'request_in_progress', true)), 'unknown');
  assert.equal(kind(problem(503, 'overloaded', true)), 'not_yet');
  assert.equal(kind(problem(503, 'account_busy', true)), 'not_yet');
  assert.equal(kind(problem(429, 'rate_limited', true)), 'not_yet');
  assert.equal(kind(problem(401, 'unauthenticated', false)), 'not_yet', 'with a new token');
  assert.equal(kind(problem(403, 'forbidden', false)), 'declined');
  assert.equal(kind(problem(422, 'insufficient_funds', false)), 'declined');
  assert.equal(kind(problem(400, 'a_new_one', false)), 'declined');
});

test('pauses grow to a limit, differ by chance, and respect Retry-After', () => {
  const longest = [1, 2, 3, 4, 20].map((tries) => pauseMs(tries, null, 1));
  assert.deepEqual(longest, [500, 1_000, 2_000, 4_000, 20_000]);
  assert.equal(pauseMs(1, null, 0), 250);
  assert.equal(pauseMs(1, 3_000, 0.5), 3_000);
  assert.equal(pauseMs(1, 60_000, 0.5), 60_000);
  assert.equal(pauseMs(1, 86_400_000, 0.5), 3_600_000, 'within reason');
});
