import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Payment, Problem } from '../src/api/client';
import type { Answer } from '../src/api/send';
import {
  EMPTY,
  TRIES_MAX,
  edit,
  judge,
  judged,
  pauseMs,
  stop,
  submit,
  tried,
  wishOf,
  type Slip,
  type Verdict,
} from '../src/intent/machine';

const ME = 1;
const NOW = new Date('2026-11-22T12:00:00Z');
const NO_ANSWER: Verdict = { kind: 'unknown', code: null, retryAfterMs: null };
const TOO_MANY: Verdict = {
  kind: 'not_yet',
  code: 'rate_limited',
  detail: '',
  retryAfterMs: 30_000,
};
const TOO_LITTLE: Verdict = { kind: 'declined', code: 'insufficient_funds', detail: '' };

const typed = edit(EMPTY, { to: 2, amount: '5', note: 'lunch' });

function sent(slip: Slip, key: string): Slip {
  const wish = wishOf(ME, slip.draft);
  assert.ok(wish);
  return submit(slip, wish, () => key, NOW);
}

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

test('a payment gets its key when it is sent, with the request and its time', () => {
  assert.deepEqual(sent(typed, 'a').attempt, {
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
  const asking = sent(typed, 'a');
  assert.equal(sent(asking, 'b'), asking);
});

test('what is under way cannot be edited', () => {
  const asking = sent(typed, 'a');
  assert.equal(edit(asking, { amount: '50' }), asking);
});

test('without an answer the key stays', () => {
  const slip = judged(tried(sent(typed, 'a'), 'a'), 'a', NO_ANSWER);
  assert.equal(slip.attempt?.state, 'asking');
  assert.equal(keyOf(slip), 'a');
  assert.equal(slip.attempt?.tries, 1);
});

test('when it is paid, the form is empty but for the payee, and the key is gone', () => {
  const asking = sent(typed, 'a');
  const slip = judged(asking, 'a', paid(asking));
  assert.equal(slip.attempt, null);
  assert.deepEqual(slip.draft, { to: 2, amount: '', note: '' });
  assert.equal(keyOf(sent(edit(slip, { amount: '5', note: 'lunch' }), 'b')), 'b');
});

test('what was declined keeps what was typed, and its key when it is sent again unchanged', () => {
  const slip = judged(sent(typed, 'a'), 'a', TOO_LITTLE);
  assert.deepEqual(slip.draft, typed.draft);
  assert.equal(keyOf(sent(slip, 'b')), 'a');
});

test('typing something and taking it back keeps the key', () => {
  const declined = judged(sent(typed, 'a'), 'a', TOO_LITTLE);
  const slip = edit(edit(declined, { amount: '50' }), { amount: '5.00' });
  assert.equal(keyOf(sent(slip, 'b')), 'a');
});

test('a payment that was edited has another key', () => {
  const declined = judged(sent(typed, 'a'), 'a', TOO_LITTLE);
  for (const change of [{ to: 3 }, { amount: '6' }, { note: 'dinner' }]) {
    assert.equal(keyOf(sent(edit(declined, change), 'b')), 'b');
  }
});

test('a key that belongs to another request is given up', () => {
  const slip = judged(sent(typed, 'a'), 'a', {
    kind: 'declined',
    code: 'idempotency_key_reused',
    detail: '',
  });
  assert.equal(keyOf(sent(slip, 'b')), 'b');
});

test('who stops an unanswered payment and sends it unchanged asks with the same key', () => {
  const stopped = stop(judged(sent(typed, 'a'), 'a', NO_ANSWER));
  assert.equal(keyOf(sent(stopped, 'b')), 'a');
});

test('an answer that comes after stopping empties the form, unless something else was typed', () => {
  const stopped = stop(sent(typed, 'a'));
  assert.equal(judged(stopped, 'a', paid(stopped)).draft.amount, '');
  const edited = edit(stopped, { amount: '7' });
  assert.equal(judged(edited, 'a', paid(edited)).draft.amount, '7');
});

test('an answer to another key says nothing about this payment', () => {
  const slip = sent(typed, 'b');
  assert.equal(judged(slip, 'a', TOO_LITTLE), slip);
  assert.equal(tried(slip, 'a'), slip);
});

test('after many tries the page stops, and goes on with the same key when it is told to', () => {
  let slip = sent(typed, 'a');
  for (let tries = 0; tries < TRIES_MAX; tries += 1)
    slip = judged(tried(slip, 'a'), 'a', NO_ANSWER);
  assert.equal(slip.attempt?.state, 'stopped');
  assert.equal(keyOf(sent(slip, 'b')), 'a');
});

test('that a try did nothing says nothing about one before it', () => {
  const refused = judged(tried(sent(typed, 'a'), 'a'), 'a', TOO_MANY);
  assert.equal(refused.attempt?.verdict?.kind, 'not_yet');
  const lost = judged(tried(refused, 'a'), 'a', NO_ANSWER);
  const open = judged(tried(lost, 'a'), 'a', TOO_MANY);
  assert.deepEqual(open.attempt?.verdict, { ...TOO_MANY, kind: 'unknown' });
  // A try that a crash has ended is one without an answer, too.
  const crashed = tried(sent(typed, 'a'), 'a');
  assert.equal(judged(tried(crashed, 'a'), 'a', TOO_MANY).attempt?.verdict?.kind, 'unknown');
});

test('only what the service itself says is definite', () => {
  const { request } = sent(typed, 'a').attempt ?? assert.fail();
  const kind = (given: Answer | null) => judge(given, request).kind;
  const verdict = paid(sent(typed, 'a'));
  assert.ok(verdict.kind === 'paid');
  const { payment } = verdict;

  assert.equal(kind(answer(200, { payment })), 'paid');
  assert.equal(
    kind(answer(200, { payment: { ...payment, amount: 1 } })),
    'unknown',
    'of something else',
  );
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
