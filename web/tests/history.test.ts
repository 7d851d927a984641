/** The history of payments: pages, news, scrolling. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import {
  becomes,
  browser,
  eventually,
  newPage,
  PHONE,
  service,
  shownIds,
  stands,
  startBoth,
  test,
} from './harness';

startBoth();

/** Somebody with 35 payments, sent and received, and the ids of these, newest first. */
async function withPayments(): Promise<{ id: number; ids: string[] }> {
  const id = await service.open('Reader', 0);
  await service.pay(1, id, 5_000);
  // All at once, so that one commit makes many and their times differ by microseconds only.
  const turns = Array.from({ length: 34 }, (_, turn) => turn);
  await Promise.all(
    turns.map((turn) => (turn % 3 === 2 ? service.pay(id, 2, 50) : service.pay(1, id, 100))),
  );
  return { id, ids: (await service.payments(id)).map((payment) => payment.id) };
}

async function shows(page: Page, count: number) {
  await eventually(
    `${count} payments are shown`,
    async () => (await shownIds(page)).length === count,
  );
}

test('35 payments are loaded ten at a time, without a repeat or a gap', async () => {
  const { id, ids } = await withPayments();
  const page = await newPage(browser, { viewport: { width: 1280, height: 4_000 } });
  await page.goto(`${service.origin}/?as=${id}`);
  const more = page.getByRole('button', { name: 'Load more' });
  for (const count of [10, 20, 30]) {
    await shows(page, count);
    await becomes(() => shownIds(page), ids.slice(0, count));
    await more.click();
  }
  await page.getByText('That is everything.').waitFor();
  await becomes(() => shownIds(page), ids);
});

test('payments that arrive between two pages shift nothing', async () => {
  const { id, ids } = await withPayments();
  const page = await newPage(browser, { viewport: { width: 1280, height: 4_000 } });
  await page.goto(`${service.origin}/?as=${id}`);
  const all = [...ids];
  for (const count of [10, 20, 30]) {
    const arrived = all.length - ids.length;
    await shows(page, count + arrived);
    for (let more = 0; more < 4; more += 1) all.unshift((await service.pay(1, id, 1)).id);
    await shows(page, count + arrived + 4);
    await page.getByRole('button', { name: 'Load more' }).click();
  }
  await page.getByText('That is everything.').waitFor();
  await becomes(() => shownIds(page), all);
});

test('scrolling to the end loads the next ten, and the next', async () => {
  const { id, ids } = await withPayments();
  const page = await newPage(browser, { viewport: PHONE });
  await page.goto(`${service.origin}/?as=${id}`);
  await shows(page, 10);
  await eventually('everything was scrolled to', async () => {
    await page.mouse.wheel(0, 2_000);
    return (await page.getByText('That is everything.').count()) > 0;
  });
  await becomes(() => shownIds(page), ids);
});

test('more news than a page at once leave no gap', async () => {
  const { id, ids } = await withPayments();
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${id}`);
  await shows(page, 10);
  const news: string[] = [];
  for (let turn = 0; turn < 25; turn += 1) news.unshift((await service.pay(1, id, 1)).id);
  await shows(page, 35);
  await becomes(() => shownIds(page), [...news, ...ids.slice(0, 10)]);
});

test('each payment shows the balance after it', async () => {
  const id = await service.open('Saver', 0);
  await service.pay(1, id, 1_000);
  await service.pay(id, 2, 250);
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${id}`);
  await shows(page, 2);
  const rows = page.locator('[data-payment] summary');
  await becomes(() => rows.nth(0).innerText(), /−\$2\.50[^]*\$7\.50/);
  await becomes(() => rows.nth(1).innerText(), /\+\$10\.00[^]*\$10\.00/);
});

/** Chooses the part of the history that is shown. */
async function choose(page: Page, part: string) {
  await page
    .getByRole('group', { name: 'Which payments' })
    .getByText(part, { exact: true })
    .click();
}

test('what was sent, or received, is shown alone; with its own pages, and with what arrives', async () => {
  const { id } = await withPayments();
  const payments = await service.payments(id);
  const [sent, received] = [true, false].map((isSent) =>
    payments.filter((it) => (it.from_id === id) === isSent).map((it) => it.id),
  ) as [string[], string[]];
  const page = await newPage(browser, { viewport: { width: 1280, height: 4_000 } });
  await page.goto(`${service.origin}/?as=${id}`);
  await shows(page, 10);

  await choose(page, 'Sent');
  await page.getByRole('button', { name: 'Load more' }).click();
  await page.getByText('That is everything.').waitFor();
  await becomes(() => shownIds(page), sent);
  // What arrives is shown where it belongs.
  const paid = (await service.pay(id, 2, 1)).id;
  const got = (await service.pay(1, id, 1)).id;
  await shows(page, sent.length + 1);
  await becomes(() => shownIds(page), [paid, ...sent]);

  await choose(page, 'Received');
  await shows(page, 10);
  await becomes(() => shownIds(page), [got, ...received].slice(0, 10));
  await choose(page, 'All');
  await page.getByText('That is everything.').waitFor({ state: 'detached' });
  await becomes(
    async () => (await shownIds(page)).slice(0, 10),
    [got, paid, ...payments.map((it) => it.id)].slice(0, 10),
  );
});

test('somebody who has sent nothing is told so', async () => {
  const id = await service.open('Payee', 0);
  await service.pay(1, id, 5);
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${id}`);
  await shows(page, 1);
  await choose(page, 'Sent');
  await page.getByText('You have sent nothing yet.').waitFor();
});

test('the statement of a month is downloaded as a file', async () => {
  const id = await service.open('Bookkeeper', 0);
  await service.pay(1, id, 1_250, '=1+1');
  await service.sql(
    "UPDATE accounts SET created_at = now() - interval '40 days' WHERE id = $1",
    id,
  );
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${id}`);
  const month = page.getByLabel('Statement of');
  const download = async () => {
    const saved = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Download statement' }).click();
    const file = await saved;
    return { name: file.suggestedFilename(), text: await readFile(await file.path(), 'utf8') };
  };
  await month.waitFor();
  const names = await stands(() => month.locator('option').allInnerTexts());
  const now = new Date();
  assert.equal(names[0], now.toLocaleDateString('en', { month: 'long', year: 'numeric' }));
  assert.ok(names.length === 2 || names.length === 3, names.join());

  const current = await download();
  assert.match(current.name, new RegExp(`^statement-${id}-\\d{4}-\\d{2}\\.csv$`));
  const lines = current.text.trim().split('\r\n');
  assert.equal(lines.length, 4, current.text);
  assert.match(lines[1] ?? '', /,opening_balance,.*,0\.00,/);
  assert.match(lines[2] ?? '', /,received,.*,12\.50,12\.50,'=1\+1,/);
  assert.match(lines[3] ?? '', /,closing_balance,.*,12\.50,/);

  await month.selectOption({ index: 1 });
  const before = await download();
  assert.equal(before.text.trim().split('\r\n').length, 3, before.text);
  assert.notEqual(before.name, current.name);
});

test('a statement that cannot be had is told so', async () => {
  const id = await service.open('Unlucky', 0);
  await service.pay(1, id, 5);
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${id}`);
  await page.route('**/statement*', (route) => route.abort());
  await page.getByRole('button', { name: 'Download statement' }).click();
  await page.getByRole('alert').filter({ hasText: 'The statement was not downloaded.' }).waitFor();
});
