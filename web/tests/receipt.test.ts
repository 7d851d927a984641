/** The page of a payment, and giving it back. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  becomes,
  browser,
  eventually,
  isGone,
  middleOf,
  newPage,
  progress,
  service,
  startBoth,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

/** Ida, who has $100, has got $5 from somebody new. */
async function received() {
  const [payer, payee] = [await service.open('Igor', 10_000), await service.open('Ida', 10_000)];
  const payment = await service.pay(payer, payee, 500, 'a book');
  return { payer, payee, payment };
}

async function receipt(id: string, as: number): Promise<Page> {
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/payment/?id=${id}&as=${as}`);
  await page.locator(`[data-receipt="${id}"]`).waitFor();
  return page;
}

test('a payment has a page of its own, which the history leads to, and a link and a reload keep', async () => {
  const { payer, payment } = await received();
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${payer}`);
  const row = page.locator(`[data-payment="${payment.id}"]`);
  await row.locator('summary').click();
  await row.getByRole('link', { name: 'Receipt' }).click();
  const assertShown = async (page: Page) => {
    const slip = page.locator(`[data-receipt="${payment.id}"]`);
    for (const text of ['$5.00', 'Igor', 'Ida', 'a book', payment.id]) {
      await slip.getByText(text, { exact: false }).first().waitFor();
    }
    const time = payment.created_at.replace('T', ' ').replace('Z', ' UTC');
    await slip.getByText(time).waitFor();
    await becomes(() => page.title(), 'Receipt · payonce');
  };
  await assertShown(page);
  await page.reload();
  await assertShown(page);
  const other = await newPage(browser);
  await other.goto(`${wire.origin}/payment/?id=${payment.id}`);
  await assertShown(other);
});

test('on paper there is the receipt alone, in black on white, also where the screen is dark', async () => {
  const { payee, payment } = await received();
  const page = await newPage(browser, { colorScheme: 'dark' });
  await page.goto(`${wire.origin}/payment/?id=${payment.id}&as=${payee}`);
  await page.getByRole('heading', { name: 'Give it back' }).waitFor();
  let isPrinted = false;
  await page.exposeFunction('printed', () => (isPrinted = true));
  await page.evaluate(() => {
    window.print = () => (globalThis as unknown as { printed(): void }).printed();
  });
  await page.getByRole('button', { name: 'Print' }).click();
  await eventually('it is printed', () => isPrinted);
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  await page.getByText('a book').waitFor();
  for (const hidden of [
    page.getByRole('banner'),
    page.getByRole('button', { name: 'Print', includeHidden: true }),
    page.getByText('Give it back'),
  ]) {
    await becomes(() => hidden.first().isVisible(), false);
  }
  const color = () =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await becomes(color, 'rgb(255, 255, 255)');
});

test('a payment that does not exist, and an address without one, are said in plain words', async () => {
  const page = await newPage(browser);
  for (const query of ['', '?id=nonsense', '?id=0fc38bf5-9597-86f0-b04b-6ef81d0f62fc']) {
    await page.goto(`${wire.origin}/payment/${query}`);
    await page.getByRole('heading', { name: 'No such payment' }).waitFor();
  }
});

test('what was received is given back in part and then in full, and never more', async () => {
  const { payer, payee, payment } = await received();
  const page = await receipt(payment.id, payee);
  const amount = page.getByLabel('Amount in dollars');
  await becomes(() => amount.inputValue(), '5.00');
  await amount.fill('5.01');
  await page.getByRole('button', { name: 'Give $5.01 back to Igor' }).click();
  await page.getByText('That is more than is left: $5.00.').waitFor();
  await amount.fill('2');
  await page.getByRole('button', { name: 'Give $2.00 back to Igor' }).click();
  await progress(page).getByText('You gave Igor $2.00 back.').waitFor();
  await page.getByText('$2.00; $3.00 left').waitFor();
  await page.getByText('$3.00 of it are left').waitFor();
  await page.getByRole('button', { name: 'Give $3.00 back to Igor' }).click();
  await progress(page).getByText('You gave Igor $3.00 back.').waitFor();
  await page.getByText('All of it was given back.').waitFor();
  assert.equal(await service.balance(payee), 10_000);
  assert.equal(await service.balance(payer), 10_000);

  // Each refund leads to what it gives back, from the history too.
  await page.getByRole('link', { name: 'To your payments' }).click();
  const row = page.locator('[data-payment]').first();
  await row.getByText('refund').first().waitFor();
  await row.locator('summary').click();
  await row.getByRole('link', { name: 'an earlier payment' }).click();
  await page.locator(`[data-receipt="${payment.id}"]`).waitFor();
});

test('ten fast clicks give a part back once, also those that come when it was given back', async () => {
  const { payee, payment } = await received();
  const page = await receipt(payment.id, payee);
  await page.getByLabel('Amount in dollars').fill('1');
  const [x, y] = await middleOf(page.getByRole('button', { name: 'Give $1.00 back to Igor' }));
  await page.mouse.click(x, y, { clickCount: 10 });
  await page.getByText('$1.00; $4.00 left').waitFor();
  const rest = page.getByRole('button', { name: 'Give $4.00 back to Igor' });
  await page.mouse.move(...(await middleOf(rest)));
  await page.mouse.down({ clickCount: 11 });
  await page.mouse.up({ clickCount: 11 });
  // The next payment is the one that is asked for next.
  await page.getByLabel('Amount in dollars').fill('2');
  await page.getByRole('button', { name: 'Give $2.00 back to Igor' }).click();
  await page.getByText('$3.00; $2.00 left').waitFor();
  assert.equal(await service.balance(payee), 10_200);
  assert.equal(new Set(wire.keys).size, 2);
});

test('a refund without an answer is finished after a reload, with its key', async () => {
  const { payee, payment } = await received();
  const page = await receipt(payment.id, payee);
  wire.fate = 'answer lost';
  await page.getByRole('button', { name: 'Give $5.00 back to Igor' }).click();
  await progress(page).getByText("We don't know yet").waitFor();
  await page.reload();
  wire.fate = 'passes';
  await progress(page).getByText('It had gone through already').waitFor();
  await page.getByText('All of it was given back.').waitFor();
  assert.equal(new Set(wire.keys).size, 1);
  assert.equal(await service.balance(payee), 10_000);
});

test('only the payee gives back, and neither a refund nor what the bank gave', async () => {
  const { payer, payee, payment } = await received();
  const refund = refundForm(await receipt(payment.id, payer));
  await isGone(refund);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${payee}`);
  const opening = page.locator('[data-payment]').filter({ hasText: 'From The bank' });
  await opening.locator('summary').click();
  await isGone(opening.getByRole('link', { name: 'Give it back' }));
  await opening.getByRole('link', { name: 'Receipt' }).click();
  await page.locator('[data-receipt]').waitFor();
  await isGone(refundForm(page));
});

function refundForm(page: Page) {
  return page.getByRole('heading', { name: 'Give it back' });
}
