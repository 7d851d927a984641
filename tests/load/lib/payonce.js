// Shared by all load scripts. k6 has two cores in common with the service and Postgres, and what it
// burns the service lacks: so bodies are built by hand, and read only by the scripts that need them.
import http from 'k6/http';
import { check } from 'k6';

export const ORIGIN = __ENV.ORIGIN || 'http://127.0.0.1:4000';
export const ACCOUNTS = Number(__ENV.ACCOUNTS || 50000);

// Payments and reads go to people who use the service much: their pages fill within seconds, so that
// a read is a full page of ten. Spread over all accounts, most pages would have one row.
const ACTIVE = Math.min(1000, ACCOUNTS);

const STATUS_ONLY = { '200': (response) => response.status === 200 };
const SEND = { headers: { 'Content-Type': 'application/json' }, tags: { name: 'send_payment' } };
const HISTORY = { tags: { name: 'payment_history' } };
const ACCOUNT = { tags: { name: 'account' } };

// k6 runs this file once for each VU, so each VU has its own beginning of its keys.
const vu = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${__VU}`;
let keys = 0;

/** How long a script runs: its own time, or what a quick trial asks for. */
export function seconds(usual) {
  return Number(__ENV.SECONDS || usual);
}

/** A key that no other run, VU or iteration has. */
export function newKey() {
  keys += 1;
  return `${vu}-${keys}`;
}

/** An integer from `least` to `most`. */
export function between(least, most) {
  return least + Math.floor(Math.random() * (most - least + 1));
}

/** Two different accounts from 1 to `most`. */
export function pair(most = ACTIVE) {
  const from = between(1, most);
  const to = between(1, most - 1);
  return [from, to < from ? to : to + 1];
}

/** The arguments of one http.batch entry or http.request: the same intent is the same text. */
export function sending(from, to, amount, key) {
  const body = `{"from":${from},"to":${to},"amount":${amount},"idempotency_key":"${key}"}`;
  return ['PUT', `${ORIGIN}/send_payment`, body, SEND];
}

export function send(from, to, amount) {
  const response = http.request(...sending(from, to, amount, newKey()));
  check(response, STATUS_ONLY);
}

/** A page of a history; `path` is the one of a `Link` or of an account's newest page. */
export function history(path) {
  const response = http.get(ORIGIN + path, HISTORY);
  check(response, STATUS_ONLY);
  return response;
}

export function account(id) {
  const response = http.get(`${ORIGIN}/accounts/${id}`, ACCOUNT);
  check(response, STATUS_ONLY);
  return response;
}

/** One payment between two people. */
export function pay() {
  const [from, to] = pair();
  send(from, to, between(1, 100));
}

/** One look at somebody's newest payments. */
export function read() {
  history(`/payment_history/${between(1, ACTIVE)}`);
}

/**
 * An exception ends an iteration and k6 goes on, as if nothing had been left unchecked. This makes it
 * a failed check.
 */
export function orFail(iteration) {
  return () => {
    try {
      iteration();
    } catch (error) {
      check(error, { 'the answers can be read': () => false });
      throw error;
    }
  };
}

/**
 * `rate` calls of the exported function `exec` a second, however slow the answers are. k6 drops an
 * iteration when no VU is free, also when it may add some, so all `vus` are there from the start:
 * as many as are busy in the longest stall that is to be measured and not dropped. Many more would
 * make k6's heap large, and its garbage collector a stall of its own.
 */
export function arrivals(exec, rate, duration, vus, more = {}) {
  return {
    executor: 'constant-arrival-rate',
    exec,
    rate,
    duration: `${duration}s`,
    preAllocatedVUs: vus,
    ...more,
  };
}

/** The options of a script: what holds for all of them, its scenarios and its own thresholds. */
export function load(scenarios, thresholds, more = {}) {
  return {
    scenarios,
    thresholds: {
      checks: ['rate==1'],
      dropped_iterations: ['count==0'],
      http_req_failed: ['rate==0'],
      ...thresholds,
    },
    summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
    // Each tag is work for each of the ten samples of a request; nobody reads the others.
    systemTags: ['name', 'scenario', 'status', 'check', 'error_code'],
    discardResponseBodies: true,
    ...more,
  };
}

/** A limit for the slowest hundredth, in milliseconds. */
export function p99(milliseconds) {
  return [`p(99)<${milliseconds}`];
}
