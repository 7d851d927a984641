// Every payment is sent one to four times with one key, at once or one after another, and is made
// once. Each VU has a payer of its own, whom nobody else pays or makes pay: so what his balance and
// his history say between two payments is exact, whatever the other VUs do.
import http from 'k6/http';
import { check } from 'k6';
import {
  ACCOUNTS, account, arrivals, between, history, load, newKey, orFail, p99, seconds, sending,
} from './lib/payonce.js';

const VUS = 100;

export const options = load(
  { payments: arrivals('payAndRetry', 200, seconds(20), VUS) },
  {
    'http_req_duration{name:send_payment}': p99(50),
    'http_req_duration{name:payment_history}': p99(50),
  },
  { discardResponseBodies: false },
);

// This VU's payer, his balance and the id of his newest payment, after the iteration before.
let payer, balance, newest;

function look() {
  const rows = history(`/payment_history/${payer}?limit=2`).json();
  return { balance: account(payer).json('balance'), rows };
}

export const payAndRetry = orFail(() => {
  if (payer === undefined) {
    payer = __VU;
    const before = look();
    balance = before.balance;
    newest = before.rows[0].id;
  }

  const amount = between(1, 100);
  const request = sending(payer, between(VUS + 1, ACCOUNTS), amount, newKey());
  const copies = Array(between(1, 4)).fill(request);
  const answers = Math.random() < 0.5
    ? http.batch(copies)
    : copies.map((copy) => http.request(...copy));

  const [first] = answers;
  const { id } = first.json();
  const after = look();
  const ok = check(answers, {
    'every answer is 200': () => answers.every((answer) => answer.status === 200),
    'every answer has the same body': () => answers.every((answer) => answer.body === first.body),
    'all answers but one are replays': () =>
      answers.filter((answer) => !answer.headers['Idempotency-Replayed']).length === 1,
    'the balance fell once': () => after.balance === balance - amount,
    'the history has one payment more': () =>
      after.rows[0].id === id && after.rows[1].id === newest,
  });
  if (!ok) {
    console.error(`payer ${payer} had ${balance}, paid ${amount}, got ` +
      `${answers.map((answer) => `${answer.status} ${answer.body}`).join(' ')}, then ` +
      `has ${after.balance} and ${JSON.stringify(after.rows)}, after ${newest}`);
  }
  balance = after.balance;
  newest = after.rows[0].id;
});
