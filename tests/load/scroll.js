// People page back through their histories while payments come in at the front. Nothing may be
// missing or be seen twice: each row's balance must explain that of the row before it.
import { check, sleep } from 'k6';
import { arrivals, between, history, load, orFail, p99, pair, seconds, send } from './lib/payonce.js';

// Each gets 60 payments a second, six pages.
const PEOPLE = 10;
const PAGES = 20;
const PAGE_SIZE = 10;

// The histories need PAGES pages before somebody can scroll through so many.
const HEAD_START = 5;
const SECONDS = seconds(20);

export const options = load(
  {
    payments: arrivals('pay', 300, HEAD_START + SECONDS, 50),
    // A scroll takes a second of pauses and 20 answers.
    scrolls: arrivals('scroll', 20, SECONDS, 60, { startTime: `${HEAD_START}s` }),
  },
  {
    'http_req_duration{name:send_payment}': p99(50),
    'http_req_duration{name:payment_history}': p99(50),
  },
  { discardResponseBodies: false },
);

export function pay() {
  const [from, to] = pair(PEOPLE);
  send(from, to, between(1, 100));
}

export const scroll = orFail(() => {
  const person = between(1, PEOPLE);
  const rows = [];
  let pages = 0;
  let full = true;
  let path = `/payment_history/${person}`;
  while (path && pages < PAGES) {
    // So that payments arrive between two pages.
    if (pages > 0) sleep(0.05);
    const response = history(path);
    const page = response.json();
    full = full && page.length === PAGE_SIZE;
    rows.push(...page);
    pages += 1;
    const next = /^<([^>]*)>; rel="next"$/.exec(response.headers.Link);
    path = next && next[1];
  }

  const neighbours = rows.slice(1).map((older, i) => [rows[i], older]);
  // The times are texts of one form and length, which sort as the times do.
  const unordered = neighbours.find(([newer, older]) => newer.created_at <= older.created_at);
  const gap = neighbours.find(([newer, older]) => {
    const change = newer.from_id === person ? -newer.amount : newer.amount;
    return newer.balance_after - change !== older.balance_after;
  });
  const ok = check(rows, {
    'there are twenty full pages': () => pages === PAGES && full,
    'times strictly decrease': () => unordered === undefined,
    'no payment comes twice': () => new Set(rows.map((row) => row.id)).size === rows.length,
    'no payment is missing': () => gap === undefined,
  });
  if (!ok) {
    console.error(`account ${person}: ${pages} pages, ${rows.length} rows, ` +
      JSON.stringify({ unordered, gap }));
  }
});
