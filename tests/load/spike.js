// Payments at twice the steady rate for ten seconds, with ten seconds before and after them.
//
// The reads stay at half their steady rate. On two cores that k6 shares with the service and Postgres,
// twice the payments with 2,000 reads take all of both, and k6 itself falls behind its rate; what is
// measured then is k6.
import exec from 'k6/execution';
import { load, p99, pay as payOne, read as readOne, seconds } from './lib/payonce.js';

const SECONDS = seconds(10);
const READS = 1000;
const PHASES = ['before', 'spike', 'after'];

// One scenario for all phases: VUs that only wait for their phase make k6's heap large, and its
// garbage collector slow, in the others.
function rates(name, before, spike, vus) {
  return {
    executor: 'ramping-arrival-rate',
    exec: name,
    startRate: before,
    preAllocatedVUs: vus,
    stages: [
      { target: before, duration: `${SECONDS}s` },
      { target: spike, duration: '0s' },
      { target: spike, duration: `${SECONDS}s` },
      { target: before, duration: '0s' },
      { target: before, duration: `${SECONDS}s` },
    ],
  };
}

export const options = load(
  {
    payments: rates('pay', 1000, 2000, 200),
    reads: rates('read', READS, READS, 200),
  },
  {
    'http_req_duration{name:send_payment}': p99(250),
    'http_req_duration{name:payment_history}': p99(250),
    'http_req_duration{name:send_payment,phase:before}': p99(50),
    'http_req_duration{name:payment_history,phase:before}': p99(50),
    'http_req_duration{name:send_payment,phase:spike}': p99(250),
    'http_req_duration{name:payment_history,phase:spike}': p99(250),
    'http_req_duration{name:send_payment,phase:after}': p99(50),
    'http_req_duration{name:payment_history,phase:after}': p99(50),
  },
);

let start, phase;

/** Tags what this VU measures from now on with the phase of now. */
function tagPhase() {
  start = start || exec.scenario.startTime;
  const now = PHASES[Math.min(2, Math.floor((Date.now() - start) / 1000 / SECONDS))];
  if (now !== phase) {
    phase = now;
    exec.vu.metrics.tags.phase = now;
  }
}

export function pay() {
  tagPhase();
  payOne();
}

export function read() {
  tagPhase();
  readOne();
}
