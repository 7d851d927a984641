/** The pages of a history, as pure functions, without a browser. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timingOf } from '../src/api/send';
import { nextCursor, withNews } from '../src/history/pages';
import type { Payment } from '../src/api/client';
import { exactTime, timeAgo } from '../src/time';

const payment = (id: string) => ({ id }) as Payment;

test('the cursor of the next page is the text that the service gave, to the microsecond', () => {
  const link =
    '</payment_history/1?last_seen_timestamp=2026-11-23T04:48:05.120394Z&last_seen_id=ab&limit=10>; rel="next"';
  assert.deepEqual(nextCursor(link), {
    last_seen_timestamp: '2026-11-23T04:48:05.120394Z',
    last_seen_id: 'ab',
  });
});

test('without a link to a next page there is none', () => {
  assert.equal(nextCursor(null), null);
  assert.equal(nextCursor('</payment_history/1>; rel="prev"'), null);
});

test('news go to the top, and what is there already is not repeated', () => {
  const pages = [
    { payments: [payment('b'), payment('a')], next: { last_seen_timestamp: 't' } },
    { payments: [payment('0')], next: null },
  ];
  const [first, second] = withNews(pages, [payment('d'), payment('c'), payment('b')]);
  assert.deepEqual(
    first?.payments.map((it) => it.id),
    ['d', 'c', 'b', 'a'],
  );
  assert.deepEqual(first?.next, { last_seen_timestamp: 't' });
  assert.equal(second, pages[1]);
});

test('times are told relative to now, and exactly with their microseconds', () => {
  const now = Date.parse('2026-11-22T12:00:00Z');
  assert.equal(timeAgo('2026-11-22T11:59:58.123456Z', now), 'just now');
  assert.equal(timeAgo('2026-11-22T11:59:00.000000Z', now), '1 minute ago');
  assert.equal(timeAgo('2026-11-22T09:00:00.000000Z', now), '3 hours ago');
  assert.equal(timeAgo('2026-11-21T11:00:00.000000Z', now), 'yesterday');
  assert.equal(timeAgo('2026-11-22T12:00:05.000000Z', now), 'just now', 'by a clock that is ahead');
  assert.equal(exactTime('2026-11-22T12:00:00.000001Z'), '2026-11-22 12:00:00.000001 UTC');
});

test('Server-Timing is read in milliseconds', () => {
  assert.deepEqual(
    timingOf('queue;dur=0.061, lock;dur=0.325, commit;dur=0.790, batch;desc="e0f4a5d1-1"'),
    {
      queue: 0.061,
      lock: 0.325,
      commit: 0.79,
      batch: 'e0f4a5d1-1',
    },
  );
  assert.equal(timingOf(null), null);
  assert.equal(timingOf('cache;desc="hit"'), null);
});
