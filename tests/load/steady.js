// 1,000 payments and 2,000 reads a second for half a minute: what the service must bear all day.
import { arrivals, load, p99, seconds } from './lib/payonce.js';
export { pay, read } from './lib/payonce.js';

const SECONDS = seconds(30);

export const options = load(
  {
    payments: arrivals('pay', 1000, SECONDS, 100),
    reads: arrivals('read', 2000, SECONDS, 200),
  },
  {
    'http_req_duration{name:send_payment}': p99(50),
    'http_req_duration{name:payment_history}': p99(50),
  },
);
