/** The page is told of payments as they are made, and asks where it is not. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  browser,
  eventually,
  newPage,
  service,
  shownIds,
  startBoth,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

/** A page of somebody's who is told, and its requests for the account from then on. */
async function toldPage(id: number): Promise<{ page: Page; asked: () => number }> {
  const page = await newPage(browser);
  const began = page.waitForResponse((response) => response.url().endsWith('/events'));
  await page.goto(`${wire.origin}/?as=${id}`);
  assert.equal((await began).status(), 200);
  let asked = 0;
  page.on('request', (request) => {
    if (request.url().endsWith(`/accounts/${id}`)) asked += 1;
  });
  return { page, asked: () => asked };
}

/** Where a payment is in the feed. */
async function positionOf(payment?: { id: string }): Promise<number> {
  const answer = await fetch(`${service.origin}/feed?limit=1000`);
  const { payments } = (await answer.json()) as { payments: { id: string; position: number }[] };
  return payments.find(({ id }) => id === payment?.id)?.position ?? assert.fail();
}

async function shows(page: Page, paid: { id: string }, balance: string) {
  await eventually('it is shown', async () => (await shownIds(page))[0] === paid.id);
  await page.getByTestId('balance').getByText(balance, { exact: true }).waitFor();
}

test('a page that is told shows what arrives, and hardly asks', async () => {
  const id = await service.open('Told', 0);
  const { page, asked } = await toldPage(id);
  for (let cents = 100; cents <= 300; cents += 100) {
    await shows(page, await service.pay(1, id, 100), `$${cents / 100}.00`);
  }
  const before = asked();
  // One that is not told asks every two seconds.
  await page.waitForTimeout(7_000);
  assert.ok(asked() - before <= 1, `${asked() - before} requests`);
});

test('where its stream is cut it goes on after what it has seen last, and nothing is missed', async () => {
  const id = await service.open('Cut', 0);
  const { page } = await toldPage(id);
  await shows(page, await service.pay(1, id, 100), '$1.00');
  for (let cuts = 1; cuts <= 3; cuts += 1) {
    wire.cutStreams();
    await shows(page, await service.pay(1, id, 100), `$${1 + cuts}.00`);
    await eventually('another stream', () => wire.positions.length > cuts);
  }
  const [first, ...others] = wire.positions;
  assert.equal(first, null);
  assert.ok(
    others.every((position) => Number(position) > 0),
    String(wire.positions),
  );
  // Once it has read of the last one, it goes on after that.
  const last = await positionOf((await service.payments(id))[0]);
  await eventually('it goes on after the last one', async () => {
    const before = wire.positions.length;
    wire.cutStreams();
    await eventually('another stream', () => wire.positions.length > before);
    return Number(wire.positions.at(-1)) === last;
  });
});

test('where streams are refused it asks', async () => {
  const id = await service.open('Refused', 0);
  const page = await newPage(browser);
  await page.route('**/events', (route) => route.abort());
  await page.goto(`${wire.origin}/?as=${id}`);
  await page.getByTestId('balance').getByText('$0.00').waitFor();
  await shows(page, await service.pay(1, id, 100), '$1.00');
});

test('of two windows of a browser one is told, and both show what arrives', async () => {
  const id = await service.open('Two windows', 0);
  const { page } = await toldPage(id);
  const other = await page.context().newPage();
  await other.goto(`${wire.origin}/?as=${id}`);
  await other.getByTestId('balance').getByText('$0.00').waitFor();
  const paid = await service.pay(1, id, 100);
  await shows(page, paid, '$1.00');
  await shows(other, paid, '$1.00');
  assert.equal(wire.positions.length, 1);
  await page.close();
  await eventually('the other one is told', () => wire.positions.length === 2);
});
