/** The pages of a history, as pure functions, without a browser. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { timingOf } from '../src/api/send';
import { monthsSince } from '../src/history/months';
import { inPart, nextCursor, withNews } from '../src/history/pages';
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

test('a part of a history has what joined the whole since it was read, and nothing twice', () => {
  const of = (from_id: number, minute: number) =>
    ({ id: `${minute}`, from_id, created_at: `2026-01-01T00:0${minute}` }) as Payment;
  const whole = [of(1, 9), of(2, 8), of(1, 7), of(2, 6), of(1, 5)];
  const ids = (payments: Payment[]) => payments.map((it) => it.id).join('');
  assert.equal(ids(inPart(1, 'all', whole, whole)), '98765');
  assert.equal(ids(inPart(1, 'sent', whole, [of(1, 7), of(1, 5), of(1, 3)])), '9753');
  assert.equal(ids(inPart(1, 'received', whole, [of(2, 6), of(2, 1)])), '861');
  assert.equal(ids(inPart(1, 'sent', whole, [])), '975');
  assert.equal(ids(inPart(1, 'received', [], [of(2, 6)])), '6');
});

test('the months since an account was opened follow each other without a gap', () => {
  const now = new Date(2026, 1, 10, 12).getTime();
  const months = monthsSince(new Date(2025, 10, 30).toISOString(), now);
  assert.deepEqual(
    months.map(({ id, name }) => [id, name]),
    [
      ['2026-02', 'February 2026'],
      ['2026-01', 'January 2026'],
      ['2025-12', 'December 2025'],
      ['2025-11', 'November 2025'],
    ],
  );
  assert.equal(months[0]?.until, null, 'it is not over');
  for (const [later, month] of months.slice(1).entries()) {
    assert.equal(month.until, months[later]?.since);
  }
  assert.equal(months[3]?.since, new Date(2025, 10, 1).toISOString());
  assert.equal(monthsSince(new Date(2026, 1, 11).toISOString(), now).length, 1);
  assert.equal(monthsSince('2000-01-01T00:00:00Z', now).length, 60);
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
