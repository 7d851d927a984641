/** A payment in doubt is cancelled: either it will never be paid, or it had been, and the page says which. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  assertPaidOnce,
  atOnce,
  becomes,
  betweenTries,
  browser,
  eventually,
  type Fate,
  fillIn,
  hasFocus,
  isGone,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  stopTheClock,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

const IN_DOUBT = "We don't know yet whether it went through";
const CANCELLED = 'Cancelled: $5.00 to Ben was not paid.';
const TOO_LATE = 'Too late to cancel: $5.00 to Ben had been paid.';

/** A page as somebody new with $100 who has sent Ben $5, by a request that `fate` decides about. */
async function sent(
  fate: Fate,
  prepare = async (_: Page) => {},
): Promise<{ page: Page; id: number }> {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  await fillIn(page, 'Ben', '5', 'lunch');
  await prepare(page);
  wire.fate = fate;
  await sendButton(page).click();
  return { page, id };
}

/** The same, and it has no answer. */
async function inDoubt(fate: Fate, prepare = async (_: Page) => {}) {
  const { page, id } = await sent(fate, prepare);
  await progress(page).getByText(IN_DOUBT).waitFor();
  return { page, id };
}

function cancelButton(page: Page) {
  return progress(page).getByRole('button', { name: 'Cancel the payment' });
}

/** The answer to a payment of $5 to Ben under this key. */
async function payUnder(id: number, key: string | undefined) {
  const body = { from: id, to: 2, amount: 500, note: 'lunch', idempotency_key: key };
  const answer = await fetch(`${service.origin}/send_payment`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return (await answer.json()).code;
}

async function assertNeverPaid(id: number) {
  assert.deepEqual(
    (await service.payments(id)).filter(({ from_id }) => from_id === id),
    [],
  );
  assert.equal(await service.balance(id), 10_000);
}

test('a payment that has not arrived is cancelled: it was not paid, and its key never pays', async () => {
  const { page, id } = await inDoubt('request lost');
  await cancelButton(page).click();
  await progress(page).getByText(CANCELLED).waitFor();
  assert.equal(await payUnder(id, wire.keys[0]), 'idempotency_key_voided');
  await assertNeverPaid(id);
  // What was typed can be sent anew: that is another payment.
  await becomes(() => page.getByLabel('What for?').inputValue(), 'lunch');
  wire.fate = 'passes';
  await sendButton(page).click();
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  assert.equal(new Set(wire.keys).size, 2);
  assert.equal(await service.balance(id), 9_500);
});

test('a payment that had gone through is not cancelled, and the page says that it was paid', async () => {
  const { page, id } = await inDoubt('answer lost');
  await cancelButton(page).click();
  await progress(page).getByText(TOO_LATE).waitFor();
  await progress(page).getByRole('link', { name: 'See the receipt' }).waitFor();
  await becomes(() => page.getByLabel('Amount in dollars').inputValue(), '');
  await page.locator('[data-payment]').first().getByText('−$5.00').waitFor();
  await assertPaidOnce(id);
});

test('whoever waits long for the first answer cancels without waiting for it, and what arrives later pays nothing', async () => {
  const { page, id } = await sent('request held');
  await progress(page).getByText('This takes longer than usual.').waitFor();
  await cancelButton(page).click();
  await progress(page).getByText(CANCELLED).waitFor();
  wire.letGo();
  await eventually('it has arrived', async () => {
    return (await payUnder(id, wire.keys[0])) === 'idempotency_key_voided';
  });
  await assertNeverPaid(id);
});

test('an answer that is on its way does not keep anybody from being told that it was paid', async () => {
  const { page, id } = await sent('answer held');
  await eventually('it is paid', async () => (await service.balance(id)) === 9_500);
  await cancelButton(page).click();
  await progress(page).getByText(TOO_LATE).waitFor();
  wire.letGo();
  await assertPaidOnce(id);
});

test('cancelling goes on after a reload until there is an answer, and nothing is sent meanwhile', async () => {
  const { page, id } = await inDoubt('request lost');
  wire.voidFate = 'request lost';
  await cancelButton(page).click();
  await progress(page).getByText('could be cancelled; the page keeps asking').waitFor();
  const tries = wire.keys.length;
  wire.fate = 'passes';
  await page.reload();
  await progress(page).getByText('could be cancelled; the page keeps asking').waitFor();
  const before = wire.voids.length;
  await eventually('it is asked again', () => wire.voids.length > before);
  wire.voidFate = 'passes';
  await progress(page).getByText(CANCELLED).waitFor();
  assert.equal(wire.keys.length, tries);
  assert.deepEqual(new Set(wire.voids), new Set([wire.keys[0]]));
  await assertNeverPaid(id);
});

test('an answer about the key that is lost is asked for again, and is the same', async () => {
  for (const [fate, end] of [
    ['request lost', CANCELLED],
    ['answer lost', TOO_LATE],
  ] as const) {
    const { page } = await inDoubt(fate);
    wire.voidFate = 'answer lost';
    await cancelButton(page).click();
    await progress(page).getByText('could be cancelled; the page keeps asking').waitFor();
    wire.voidFate = 'passes';
    await progress(page).getByText(end).waitFor();
    await page.context().close();
  }
});

test('while one cancels offline, the page says so, and it goes on when one is back', async () => {
  const { page, id } = await inDoubt('request lost');
  await page.context().setOffline(true);
  await cancelButton(page).click();
  await progress(page).getByText('That it is to be cancelled is kept in this browser').waitFor();
  await page.context().setOffline(false);
  await progress(page).getByText(CANCELLED).waitFor();
  await assertNeverPaid(id);
});

test('a window that only watches cancels what the other one asks for, and both say so', async () => {
  const { page, id } = await inDoubt('request lost');
  const other = await page.context().newPage();
  await other.goto(`${wire.origin}/?as=${id}`);
  await progress(other).getByText('Another window is asking.').waitFor();
  await cancelButton(other).click();
  for (const window of [page, other]) await progress(window).getByText(CANCELLED).waitFor();
  await assertNeverPaid(id);
});

test('a payment that was set aside is cancelled, and the one that was typed since stays', async () => {
  const { page, id } = await inDoubt('request lost', stopTheClock);
  await betweenTries(page, 'Change the payment');
  await fillIn(page, 'Ben', '6');
  await page.getByRole('button', { name: 'Cancel $5.00 to Ben' }).click();
  await progress(page).getByText(CANCELLED).waitFor();
  await isGone(page.getByText('The earlier payment'));
  wire.fate = 'passes';
  await sendButton(page).click();
  await progress(page).getByText('You sent $6.00 to Ben.').waitFor();
  assert.equal(await service.balance(id), 9_400);
});

test('where another device has cancelled it, the next try is told so', async () => {
  const { page, id } = await inDoubt('request lost');
  const answer = await fetch(`${service.origin}/voided_keys`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ from: id, idempotency_key: wire.keys[0] }),
  });
  assert.deepEqual(await answer.json(), { voided: true });
  wire.fate = 'passes';
  await progress(page).getByText(CANCELLED).waitFor();
  await assertNeverPaid(id);
});

test('where one may not cancel, the payment stays in doubt, and its own key tells', async () => {
  const { page, id } = await inDoubt('answer lost');
  wire.voidFate = { status: 403, code: 'forbidden' };
  await cancelButton(page).click();
  await progress(page).getByText("We don't know yet whether $5.00 to Ben went through.").waitFor();
  assert.doesNotMatch(await atOnce(() => progress(page).innerText()), /Cancelled|not paid/);
  wire.fate = 'passes';
  await sendButton(page).click();
  await progress(page).getByText('It had gone through already').waitFor();
  await assertPaidOnce(id);
});

test('what the service has refused before anything was paid is cancelled at once, and asks nobody', async () => {
  const { page, id } = await sent('too many');
  await progress(page).getByText('That was a lot of requests in a short time.').waitFor();
  await cancelButton(page).click();
  await progress(page).getByText(CANCELLED).waitFor();
  assert.deepEqual(wire.voids, []);
  await assertNeverPaid(id);
});

test('it is cancelled with the keyboard, and the focus goes to where one types', async () => {
  const { page, id } = await inDoubt('request lost');
  await cancelButton(page).focus();
  await page.keyboard.press('Enter');
  await progress(page).getByText(CANCELLED).waitFor();
  await hasFocus(page.getByLabel('Amount in dollars'));
  await assertNeverPaid(id);
});
