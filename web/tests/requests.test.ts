/** Asking for money, and paying, declining and cancelling what was asked. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  becomes,
  browser,
  choosePayee,
  eventually,
  hasFocus,
  isGone,
  middleOf,
  newPage,
  PHONE,
  progress,
  service,
  startBoth,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

/** Somebody new with $100, to whom nobody else's requests belong. */
function somebody(name = 'Somebody') {
  return service.open(name, 10_000);
}

async function requestsOf(id: number): Promise<Page> {
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/requests/?as=${id}`);
  await page.getByRole('heading', { name: 'Asked of you' }).waitFor();
  return page;
}

function row(page: Page, id: string) {
  return page.locator(`[data-request="${id}"]`);
}

async function sentBy(id: number) {
  return (await service.payments(id)).filter(({ from_id }) => from_id === id);
}

test('one asks, the other sees it counted in the header, pays it in one click, and both see what it was for', async () => {
  const [asker, asked] = [await somebody('Astrid'), await somebody('Bruno')];
  const [first, second] = [await requestsOf(asker), await newPage(browser)];
  await second.goto(`${wire.origin}/?as=${asked}`);
  await choosePayee(first, 'Bruno');
  await first.getByLabel('Amount in dollars').fill('12.34');
  await first.getByLabel('What for?').fill('half the pizza');
  await first.getByRole('button', { name: 'Ask Bruno for $12.34' }).click();
  await first.getByText('You asked Bruno for $12.34.').waitFor();
  await first.getByText('You asked Bruno', { exact: false }).first().waitFor();

  // Bruno did nothing: his page looks by itself.
  await second.getByTestId('asked-of-me').getByText('1').waitFor();
  await second.getByRole('link', { name: 'Requests' }).click();
  await second.getByText('half the pizza').waitFor();
  await second.getByRole('button', { name: 'Pay $12.34 to Astrid' }).click();
  await progress(second).getByText('You sent $12.34 to Astrid.').waitFor();
  await second.getByText('Nobody asks you for money right now.').waitFor();
  await isGone(second.getByTestId('asked-of-me'));
  assert.equal(await service.balance(asked), 8_766);
  assert.equal(await service.balance(asker), 11_234);

  await second.getByText('All', { exact: true }).click();
  await second.locator('[data-status=paid]').waitFor();
  await second.getByRole('link', { name: 'Send' }).click();
  const paid = second.locator('[data-payment]').first();
  await paid.getByText('request · half the pizza').waitFor();
  await paid.locator('summary').click();
  await paid.getByText('a request for money').waitFor();
});

test('ten fast clicks on Pay are one payment', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  await page.getByRole('button', { name: 'Pay $5.00' }).evaluate((button: HTMLButtonElement) => {
    for (let click = 0; click < 10; click += 1) button.click();
  });
  await progress(page).getByText('You sent $5.00 to').waitFor();
  assert.equal((await sentBy(asked)).length, 1);
  assert.equal(wire.keys.length, 1);
});

test('the second press of a double click pays no request that has taken the place of the first', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  await service.ask(asked, asker, 600);
  await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByText('You sent $5.00 to').waitFor();
  const other = page.getByRole('button', { name: 'Pay $6.00' });
  await page.mouse.move(...(await middleOf(other)));
  await page.mouse.down({ clickCount: 2 });
  await page.mouse.up({ clickCount: 2 });
  await page.getByRole('button', { name: 'Decline $6.00' }).click();
  await page.getByText('Nobody asks you for money right now.').waitFor();
  assert.equal((await sentBy(asked)).length, 1);
});

test('a request whose payment has no answer is asked for again after a reload, with its key', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  const { id } = await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  wire.fate = 'answer lost';
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByText("We don't know yet").waitFor();
  await page.reload();
  await progress(page).getByText("We don't know yet").waitFor();
  wire.fate = 'passes';
  await progress(page).getByText('It had gone through already').waitFor();
  assert.equal(new Set(wire.keys).size, 1);
  const [payment] = await sentBy(asked);
  assert.equal(payment?.payment_request_id, id);
  assert.equal((await service.request(id)).payment_id, payment?.id);
});

test('a request whose payment is cancelled stays open, and can be paid again', async () => {
  const [asker, asked] = [await somebody('Carla'), await somebody()];
  const { id } = await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  wire.fate = 'request lost';
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByRole('button', { name: 'Cancel the payment' }).click();
  await progress(page).getByText('Cancelled: $5.00 to Carla was not paid.').waitFor();
  assert.equal((await service.request(id)).status, 'open');
  wire.fate = 'passes';
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByText('You sent $5.00 to Carla.').waitFor();
  assert.equal((await sentBy(asked)).length, 1);
});

test('two windows that pay one request at once pay it once, and what was typed to send stays', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  await service.ask(asked, asker, 500);
  const [first, second] = [await requestsOf(asked), await requestsOf(asked)];
  const sending = await first.context().newPage();
  await sending.goto(`${wire.origin}/?as=${asked}`);
  await sending.getByLabel('What for?').fill('something else');
  await Promise.all(
    [first, second].map((page) => page.getByRole('button', { name: 'Pay $5.00' }).click()),
  );
  for (const page of [first, second]) await page.getByText('Nobody asks you').waitFor();
  assert.equal((await sentBy(asked)).length, 1);
  await becomes(() => sending.getByLabel('What for?').inputValue(), 'something else');
});

test('what one cannot afford is said, and the request stays', async () => {
  const [asker, asked] = [await somebody(), await service.open('Poor', 100)];
  const { id } = await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByText('There is not enough money in the account.').waitFor();
  assert.equal((await service.request(id)).status, 'open');
});

test('one declines what is asked, and cancels what one has asked', async () => {
  const [one, other] = [await somebody('Dora'), await somebody('Emil')];
  const incoming = await service.ask(one, other, 500);
  const outgoing = await service.ask(other, one, 600);
  const page = await requestsOf(one);
  await page.getByRole('button', { name: 'Decline $5.00 to Emil' }).click();
  await row(page, incoming.id).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Cancel $6.00 from Emil' }).click();
  await row(page, outgoing.id).waitFor({ state: 'detached' });
  assert.equal((await service.request(incoming.id)).status, 'declined');
  assert.equal((await service.request(outgoing.id)).status, 'cancelled');
  await page.getByText('All', { exact: true }).click();
  await row(page, incoming.id).getByText('Declined').waitFor();
  await row(page, outgoing.id).getByText('Cancelled').waitFor();
  assert.deepEqual(await sentBy(one), []);
});

test('a request that was cancelled meanwhile is not paid, and it is said', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  const { id } = await service.ask(asked, asker, 500);
  const page = await requestsOf(asked);
  await page.getByRole('button', { name: 'Pay $5.00' }).waitFor();
  // The page does not hear of it.
  await page.route('**/payment_requests?**', (route) => route.abort());
  await fetch(`${service.origin}/payment_requests/${id}/cancel`, { method: 'POST' });
  await page.getByRole('button', { name: 'Pay $5.00' }).click();
  await progress(page).getByText('The request was paid, declined or cancelled meanwhile').waitFor();
  assert.deepEqual(await sentBy(asked), []);
});

test('a request is asked once, though its first answer was lost', async () => {
  const [asker, asked] = [await somebody(), await somebody('Fritz')];
  const page = await requestsOf(asker);
  let isLost = true;
  await page.route('**/payment_requests', async (route) => {
    if (!isLost) return route.continue();
    await route.fetch();
    await route.abort();
  });
  await choosePayee(page, 'Fritz');
  await page.getByLabel('Amount in dollars').fill('5');
  await page.getByRole('button', { name: 'Ask Fritz for $5.00' }).click();
  await page.getByText('we don’t know yet whether it was asked').waitFor();
  isLost = false;
  await page.getByRole('button', { name: 'Ask Fritz for $5.00' }).click();
  await page.getByText('You asked Fritz for $5.00.').waitFor();
  const list = await fetch(`${service.origin}/payment_requests?account=${asked}`);
  assert.equal((await list.json()).length, 1);
});

test('a request can have an end, which is shown', async () => {
  const [asker, asked] = [await somebody(), await somebody('Gerda')];
  const page = await requestsOf(asker);
  await choosePayee(page, 'Gerda');
  await page.getByLabel('Amount in dollars').fill('5');
  await page.getByLabel('It can be paid').selectOption('for a week');
  await page.getByRole('button', { name: 'Ask Gerda for $5.00' }).click();
  await page.locator('[data-request]').getByText('ends in').waitFor();
  const list = await fetch(`${service.origin}/payment_requests?account=${asked}`);
  const [request] = await list.json();
  const days = (Date.parse(request.expires_at) - Date.parse(request.created_at)) / 86_400_000;
  assert.ok(Math.abs(days - 7) < 0.1);
});

test('what is missing is said next to the field, and nothing is asked', async () => {
  const page = await requestsOf(await somebody());
  await page.getByRole('button', { name: 'Ask', exact: true }).click();
  await page.getByText('Choose whom to ask.').waitFor();
  await page.getByText('Type an amount.').waitFor();
  await page.getByText('None of your requests is open.').waitFor();
});

test('more requests than a page are loaded ten at a time, and counted as more than ten', async () => {
  const [asker, asked] = [await somebody(), await somebody()];
  for (let turn = 1; turn <= 12; turn += 1) await service.ask(asked, asker, turn);
  const page = await requestsOf(asked);
  await page.getByTestId('asked-of-me').getByText('10+').waitFor();
  await eventually(
    'a page is shown',
    async () => (await page.locator('[data-request]').count()) === 10,
  );
  await page.getByRole('button', { name: 'Load more' }).click();
  await eventually(
    'all are shown',
    async () => (await page.locator('[data-request]').count()) === 12,
  );
});

test('everything can be done with the keyboard, on a phone', async () => {
  const [asker, asked] = [await somebody('Hilde'), await somebody()];
  await service.ask(asked, asker, 500);
  const page = await newPage(browser, { viewport: PHONE, hasTouch: true });
  await page.goto(`${wire.origin}/?as=${asked}`);
  await page.getByRole('link', { name: 'Requests' }).focus();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Pay $5.00' }).focus();
  await page.keyboard.press('Enter');
  await progress(page).getByText('You sent $5.00 to Hilde.').waitFor();
  const title = page.getByRole('heading', { name: 'Asked of you' });
  await hasFocus(title);
});
