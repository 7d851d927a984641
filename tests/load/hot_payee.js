// 1,000 payments a second to one account: they may touch it only one after another.
import { ACCOUNTS, arrivals, between, load, p99, seconds, send } from './lib/payonce.js';

const PAYEE = 1;

export const options = load(
  { payments: arrivals('pay', 1000, seconds(20), 100) },
  { 'http_req_duration{name:send_payment}': p99(50) },
);

export function pay() {
  send(between(2, ACCOUNTS), PAYEE, between(1, 100));
}
