/** Large amounts and long texts on small screens. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  browser,
  choose,
  isGone,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  test,
} from './harness';

/** A small phone, a phone, a tablet and a desktop. */
const WIDTHS = [320, 375, 768, 1280];

/** The service's limit for a balance. */
const CENTS_MAX = Number.MAX_SAFE_INTEGER;

const NAMES = {
  'one long word': 'W'.repeat(100),
  'many words': 'The treasury of the whole wide world and of its neighbours '
    .repeat(2)
    .slice(0, 100),
  emoji: '👩‍👩‍👧‍👦'.repeat(14),
  'combining marks': `Z${'\u0351\u0316'.repeat(20)}algo${'\u0354\u0317'.repeat(20)}`,
  'right to left': 'محمد بن سلمان الطويل '.repeat(4).trim(),
};

const NOTES = ['x'.repeat(280), 'a note of many words '.repeat(13), `${'🍕'.repeat(140)}`];

let ids: number[] = [];

startBoth(async () => {
  const rich = await service.open('Rich', 8_000_000_000_000_000);
  ids = await Promise.all(Object.values(NAMES).map((name) => service.open(name, 0)));
  for (const [turn, id] of ids.entries()) {
    await service.pay(rich, id, 1_500_000_000_000_000, NOTES[turn % NOTES.length]);
    await service.pay(id, ids[(turn + 1) % ids.length] ?? 1, 10, NOTES[(turn + 1) % NOTES.length]);
  }
  await service.sql(
    'UPDATE accounts SET balance = $1 WHERE id = ANY(string_to_array($2, $3)::bigint[])',
    CENTS_MAX,
    ids.join(),
    ',',
  );
});

/** Nothing is wider than the window. */
async function assertFits(page: Page, what: string) {
  const [wide = 0, window = 0] = await page.evaluate(() => [
    document.documentElement.scrollWidth,
    innerWidth,
  ]);
  assert.ok(wide <= window, `${what}: ${wide} px wide in a window of ${window}`);
}

/** The button can be pressed wherever one sees it. */
async function assertSendIsFree(page: Page, what: string) {
  const over = await sendButton(page).evaluate((button) => {
    button.scrollIntoView({ block: 'center' });
    const { left, top, width, height } = button.getBoundingClientRect();
    return [0.15, 0.5, 0.85]
      .flatMap((x) => [0.2, 0.5, 0.8].map((y) => [left + x * width, top + y * height]))
      .map(([x = 0, y = 0]) => document.elementFromPoint(x, y))
      .filter((element) => element?.closest('button') !== button)
      .map((element) => element?.outerHTML.slice(0, 200));
  });
  assert.deepEqual(over, [], `${what}: something is over Send`);
}

for (const [turn, width] of WIDTHS.entries()) {
  // Another sum each time: the same again would be asked about.
  const cents = turn + 1;
  test(`names of 100 characters, long notes and nine trillion dollars fit into ${width} px, and nothing covers Send`, async () => {
    const page = await newPage(browser, { viewport: { width, height: 700 } });
    await page.goto(service.origin);
    await page.getByRole('button', { name: 'Ada' }).waitFor();
    await assertFits(page, 'choosing a person');
    for (const [turn, id] of ids.entries()) {
      const what = Object.keys(NAMES)[turn] ?? '';
      const payee = ids[(turn + 1) % ids.length];
      await page.goto(`${service.origin}/?as=${id}`);
      await page.locator('[data-payment]').nth(1).waitFor();
      await page.getByTestId('balance').getByText('$90,071,992,547,409.91').waitFor();
      await page.getByLabel('Find somebody by name or number').fill(String(payee));
      await choose(page.getByRole('radio').first());
      await page.getByLabel('Amount in dollars').fill(`0.0${cents}`);
      await page.getByLabel('What for?').fill(NOTES[turn % NOTES.length] ?? '');
      await page.locator('[data-payment] summary').first().click();
      await assertFits(page, what);
      await assertSendIsFree(page, what);
      // Nobody can have more; the other one says so.
      await service.sql(
        'UPDATE accounts SET balance = balance - $2 WHERE id = $1',
        payee ?? 0,
        cents,
      );
      await sendButton(page).click();
      await progress(page).getByText(`You sent $0.0${cents} to`).waitFor();
      await page.locator('[data-payment]').nth(2).waitFor();
      await service.sql('UPDATE accounts SET balance = balance + $2 WHERE id = $1', id, cents);
      await assertFits(page, `${what}, paid`);
      await assertSendIsFree(page, `${what}, paid`);
    }
    await page.context().close();
  });
}

for (const width of WIDTHS) {
  test(`requests, receipts and the question about a large sum fit into ${width} px`, async () => {
    const page = await newPage(browser, { viewport: { width, height: 700 } });
    for (const [turn, id] of ids.entries()) {
      const what = Object.keys(NAMES)[turn] ?? '';
      const other = ids[(turn + 1) % ids.length] ?? 1;
      const note = NOTES[turn % NOTES.length];
      await service.ask(id, other, 1_500_000_000_000_000, note);
      await page.goto(`${service.origin}/?as=${id}`);
      await page.getByText('Ask me before large sums').or(page.getByText('You are asked')).click();
      await page.getByLabel('Ask me before sums above').fill('1');
      await page.goto(`${service.origin}/requests/?as=${id}`);
      await page.getByRole('button', { name: 'Pay $15,000,000,000,000.00' }).first().click();
      await page.getByRole('alertdialog').waitFor();
      await assertFits(page, `${what}, asked`);
      await page.keyboard.press('Escape');
      await assertFits(page, `${what}, requests`);
      const received = (await service.payments(id)).find((payment) => payment.to_id === id);
      await page.goto(`${service.origin}/payment/?id=${received?.id}&as=${id}`);
      await page.getByRole('heading', { name: 'Give it back' }).waitFor();
      await assertFits(page, `${what}, receipt`);
    }
    await page.context().close();
  });
}

test('on a phone the account’s balance takes one line, however large it is', async () => {
  const page = await newPage(browser, { viewport: { width: 320, height: 700 } });
  await page.goto(`${service.origin}/?as=${ids[0]}`);
  const balance = page.getByTestId('balance');
  await balance.getByText('$90,071,992,547,409.91').waitFor();
  const [height, lineHeight] = await balance.evaluate((it) => [
    it.getBoundingClientRect().height,
    parseFloat(getComputedStyle(it).lineHeight),
  ]);
  assert.ok(height && lineHeight && height < 1.5 * lineHeight, `${height} of ${lineHeight}`);
});

test('large amounts fit into the experiments of the lab on a small phone', async () => {
  const page = await newPage(browser, { viewport: { width: 320, height: 700 } });
  await page.goto(`${service.origin}/lab/`);
  const run = async (name: string) => {
    await page.locator(`[data-experiment=${name}] button`).first().click();
    await page.locator(`[data-experiment=${name}][data-state=running]`).waitFor();
    await page
      .locator(`[data-experiment=${name}]:is([data-state=done], [data-state=failed])`)
      .waitFor();
    await isGone(page.locator(`[data-experiment=${name}]`).getByRole('alert'));
  };
  for (const name of ['atomicity', 'locks']) await run(name);
  await service.sql(
    'UPDATE accounts SET balance = $1 WHERE id BETWEEN 900000002 AND 900000003',
    CENTS_MAX - 1_000_000,
  );
  for (const name of ['atomicity', 'locks']) await run(name);
  await page.getByText('$90,071,992,537,409.91').first().waitFor();
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 320, `${wide} px`);
});

test('a text that is no token, however long, fits into the sign-in of a small phone', async () => {
  const page = await newPage(browser, { viewport: { width: 320, height: 700 } });
  await page.route('**/accounts*', (route) =>
    route.fulfill({ status: 401, headers: { 'WWW-Authenticate': 'Bearer realm="payonce"' } }),
  );
  await page.goto(service.origin);
  await page.getByLabel('Token').fill('x'.repeat(1_000));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('That is not a token').waitFor();
  await assertFits(page, 'signing in');
});
