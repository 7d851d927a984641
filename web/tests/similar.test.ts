/** Payments that a person may not have meant: the same a moment ago, and sums above the own limit. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  browser,
  eventually,
  fillIn,
  hasFocus,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

/** Somebody new with $100 who has typed that Ben gets $5, and paid the same on another device. */
async function twice(): Promise<{ page: Page; id: number; before: string }> {
  const id = await service.open('Somebody', 10_000);
  const before = await service.pay(id, 2, 500);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  await fillIn(page, 'Ben', '5');
  await sendButton(page).click();
  await progress(page)
    .getByText(/^You sent Ben \$5\.00 .* Send it again\?$/)
    .waitFor();
  return { page, id, before: before.id };
}

async function sentBy(id: number) {
  return (await service.payments(id)).filter(({ from_id }) => from_id === id).length;
}

test('the same as a moment ago, from whatever device, is asked about first, and says how long ago', async () => {
  const { page, id, before } = await twice();
  await progress(page).getByText('seconds ago').waitFor();
  assert.equal(await sentBy(id), 1);
  await progress(page).getByRole('link', { name: 'See the one before' }).click();
  await page.locator(`[data-receipt="${before}"]`).waitFor();
});

test('whoever is sure sends it again, with the same key, once', async () => {
  const { page, id } = await twice();
  await progress(page)
    .getByRole('button', { name: 'Send again' })
    .evaluate((button: HTMLButtonElement) => {
      for (let click = 0; click < 10; click += 1) button.click();
    });
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  assert.equal(new Set(wire.keys).size, 1);
  assert.equal(await sentBy(id), 2);
  assert.equal(await service.balance(id), 9_000);
});

test('whoever is not sure sends nothing, and the form is empty', async () => {
  const { page, id } = await twice();
  await progress(page).getByRole('button', { name: 'Don’t send' }).click();
  await eventually('it is empty', async () => {
    return (await page.getByLabel('Amount in dollars').inputValue()) === '';
  });
  assert.equal(await sentBy(id), 1);
  // Something else goes through as always.
  await fillIn(page, 'Ben', '6');
  await sendButton(page).click();
  await progress(page).getByText('You sent $6.00 to Ben.').waitFor();
});

test('that one is sure survives a reload and answers that are lost', async () => {
  const { page, id } = await twice();
  wire.fate = 'request lost';
  await progress(page).getByRole('button', { name: 'Send again' }).click();
  await progress(page).getByText("We don't know yet").waitFor();
  await page.reload();
  wire.fate = 'passes';
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  assert.equal(await sentBy(id), 2);
  assert.equal(new Set(wire.keys).size, 1);
});

test('a retry of one’s own payment is never taken for another one', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  await fillIn(page, 'Ben', '5');
  wire.fate = 'answer lost';
  await sendButton(page).click();
  await progress(page).getByText("We don't know yet").waitFor();
  wire.fate = 'passes';
  await progress(page).getByText('It had gone through already').waitFor();
  assert.equal(await sentBy(id), 1);
});

/** Somebody new with $100 who wants to be asked before sums above $10. */
async function careful(): Promise<{ page: Page; id: number }> {
  const id = await service.open('Careful', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  await page.getByText('Ask me before large sums').click();
  await page.getByLabel('Ask me before sums above').fill('10');
  await page.getByText('You are asked before sums above $10.00').waitFor();
  return { page, id };
}

test('a sum above one’s own limit is sent only when it is confirmed', async () => {
  const { page, id } = await careful();
  await page.reload();
  await fillIn(page, 'Ben', '10.01');
  await sendButton(page).click();
  const dialog = page.getByRole('alertdialog', { name: 'Pay $10.01 to Ben?' });
  await dialog.waitFor();
  // Whoever presses Enter out of habit pays nothing.
  await page.keyboard.press('Enter');
  await dialog.waitFor({ state: 'detached' });
  await hasFocus(sendButton(page));
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'detached' });
  assert.equal(await sentBy(id), 0);
  await sendButton(page).click();
  await dialog.getByRole('button', { name: 'Pay $10.01' }).click();
  await progress(page).getByText('You sent $10.01 to Ben.').waitFor();
  // Up to the limit nobody is asked.
  await fillIn(page, 'Ben', '10');
  await sendButton(page).click();
  await progress(page).getByText('You sent $10.00 to Ben.').waitFor();
  assert.equal(await sentBy(id), 2);
});

test('a request above one’s own limit is paid only when it is confirmed', async () => {
  const { page, id } = await careful();
  await service.ask(id, 2, 2_000);
  await page.getByRole('link', { name: 'Requests' }).click();
  await page.getByRole('button', { name: 'Pay $20.00 to Ben' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Not now' }).click();
  assert.equal(await sentBy(id), 0);
  await page.getByRole('button', { name: 'Pay $20.00 to Ben' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Pay $20.00' }).click();
  await progress(page).getByText('You sent $20.00 to Ben.').waitFor();
});

test('the limit is each person’s own, and can be taken away', async () => {
  const { page } = await careful();
  await page.getByLabel('Ask me before sums above').fill('ten');
  await page.getByText('Type an amount like 12 or 12.50.').waitFor();
  await page.getByLabel('Ask me before sums above').fill('');
  await page.getByText('Ask me before large sums').waitFor();
  const other = await newPage(browser);
  await other.goto(`${wire.origin}/?as=${await service.open('Free', 10_000)}`);
  await other.getByText('Ask me before large sums').waitFor();
});
