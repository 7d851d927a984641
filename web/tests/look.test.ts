/** The page as it is seen, read aloud and reached by keyboard, and how much it loads. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import type { AxeResults } from 'axe-core';
import type { Page } from 'playwright-core';
import {
  browser,
  choosePayee,
  DESKTOP,
  hasFocus,
  newPage,
  PHONE,
  progress,
  service,
  startBoth,
  test,
} from './harness';

/** How much script the page may load at first, compressed. */
const SCRIPT_KB_MAX = 200;

const WCAG_AA = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

startBoth(async () => {
  for (let turn = 0; turn < 12; turn += 1) {
    await service.pay(
      1 + (turn % 2),
      2 - (turn % 2),
      1_234,
      'a note of some length, to be cut off where there is no room',
    );
  }
});

/** Each view of the page, ready to be looked at. */
const VIEWS: [name: string, show: (page: Page) => Promise<void>][] = [
  [
    'choosing a person',
    async (page) => {
      await page.goto(service.origin);
      await page.getByRole('button', { name: 'Ada' }).waitFor();
    },
  ],
  [
    'signing in, with something that is no token',
    async (page) => {
      await askForToken(page);
      await page.goto(service.origin);
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('Paste a token.').waitFor();
    },
  ],
  [
    'the lab, for whom it does not let run its experiments',
    async (page) => {
      await askForToken(page);
      await page.goto(`${service.origin}/lab/`);
      await page.getByRole('heading', { name: 'need an operator’s token' }).waitFor();
    },
  ],
  [
    'sending',
    async (page) => {
      await page.goto(`${service.origin}/?as=1`);
      await page.locator('[data-payment]').first().waitFor();
      await page.getByRole('radio', { name: 'Ben' }).waitFor({ state: 'attached' });
    },
  ],
  [
    'sending something wrong, with a payment open',
    async (page) => {
      await page.goto(`${service.origin}/?as=2`);
      await page.locator('[data-payment] summary').first().click();
      await page.locator('button[type=submit]').click();
      await page.getByText('Type an amount.').waitFor();
    },
  ],
  [
    'a payment that was declined',
    async (page) => {
      await page.goto(`${service.origin}/?as=3`);
      await choosePayee(page, 'Ben');
      await page.getByLabel('Amount in dollars').fill('1,000,000');
      await page.locator('button[type=submit]').click();
      await page.getByText('There is not enough money').waitFor();
    },
  ],
  [
    'a payment without an answer',
    async (page) => {
      await page.route('**/send_payment', (route) => route.abort());
      await page.goto(`${service.origin}/?as=4`);
      await choosePayee(page, 'Ben');
      await page.getByLabel('Amount in dollars').fill('5');
      await page.locator('button[type=submit]').click();
      await progress(page).getByText("We don't know yet").waitFor();
    },
  ],
  [
    'a payment that was cancelled, and one that is to be cancelled',
    async (page) => {
      await page.route('**/send_payment', (route) => route.abort());
      await page.route('**/voided_keys', (route) => route.abort());
      await page.goto(`${service.origin}/?as=5`);
      await choosePayee(page, 'Ben');
      await page.getByLabel('Amount in dollars').fill('5');
      await page.locator('button[type=submit]').click();
      await progress(page).getByRole('button', { name: 'Cancel the payment' }).click();
      await progress(page).getByText('could be cancelled').waitFor();
      await assertAccessible(page);
      await page.unroute('**/voided_keys');
      await progress(page).getByText('Cancelled: $5.00 to Ben').waitFor();
    },
  ],
  [
    'a payment like one of a moment ago',
    async (page) => {
      const id = await service.open('Twice', 10_000);
      await service.pay(id, 2, 500);
      await page.goto(`${service.origin}/?as=${id}`);
      await choosePayee(page, 'Ben');
      await page.getByLabel('Amount in dollars').fill('5');
      await page.locator('button[type=submit]').click();
      await progress(page).getByRole('button', { name: 'Send again' }).waitFor();
    },
  ],
  [
    'a sum that one wanted to be asked about',
    async (page) => {
      await page.goto(`${service.origin}/?as=6`);
      await page.getByText('Ask me before large sums').click();
      await page.getByLabel('Ask me before sums above').fill('10');
      await choosePayee(page, 'Ben');
      await page.getByLabel('Amount in dollars').fill('11');
      await page.locator('button[type=submit]').click();
      await page.getByRole('alertdialog').waitFor();
    },
  ],
  [
    'requests for money',
    async (page) => {
      const id = await service.open('Asked', 10_000);
      await service.ask(
        id,
        2,
        1_234,
        'a note of some length, to be cut off where there is no room',
      );
      await service.ask(2, id, 99_999_999);
      await page.goto(`${service.origin}/requests/?as=${id}`);
      await page.locator('[data-request]').nth(1).waitFor();
      await page.getByTestId('asked-of-me').waitFor();
      await page.getByRole('button', { name: 'Ask', exact: true }).click();
      await page.getByText('Choose whom to ask.').waitFor();
    },
  ],
  [
    'a receipt that something can be given back of',
    async (page) => {
      const { id } = await service.pay(1, 2, 1_234, 'for the receipt');
      await page.goto(`${service.origin}/payment/?id=${id}&as=2`);
      await page.locator('[data-receipt]').waitFor();
      await page.getByRole('heading', { name: 'Give it back' }).waitFor();
    },
  ],
  [
    'a receipt of nothing',
    async (page) => {
      await page.goto(`${service.origin}/payment/?id=none&as=2`);
      await page.getByRole('heading', { name: 'No such payment' }).waitFor();
    },
  ],
  [
    'the lab after its experiments',
    async (page) => {
      await page.goto(`${service.origin}/lab/`);
      for (const name of ['idempotency', 'locks', 'pagination', 'cancel', 'request', 'atomicity']) {
        await page.locator(`[data-experiment=${name}] button`).first().click();
        await page
          .locator(`[data-experiment=${name}]:is([data-state=done], [data-state=failed])`)
          .waitFor();
      }
    },
  ],
];

/** Has every request refused, as a service does that asks who one is. */
async function askForToken(page: Page) {
  await page.route('**/accounts*', (route) =>
    route.fulfill({ status: 401, headers: { 'WWW-Authenticate': 'Bearer realm="payonce"' } }),
  );
}

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

async function assertAccessible(page: Page) {
  await page.evaluate(await axe);
  const results = await page.evaluate(
    (tags) =>
      (globalThis as unknown as { axe: typeof import('axe-core') }).axe.run({
        runOnly: tags,
      }) as Promise<AxeResults>,
    WCAG_AA,
  );
  const found = results.violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}\n${nodes.map((it) => `  ${it.html}\n  ${it.failureSummary}`).join('\n')}`,
  );
  assert.equal(found.length, 0, found.join('\n'));
}

async function assertNoSidewaysScroll(page: Page) {
  const { wide, window } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    window: innerWidth,
  }));
  assert.ok(wide <= window, `the page is ${wide} px wide in a window of ${window}`);
}

for (const [name, show] of VIEWS) {
  test(`${name}: accessible in light on a desktop, and in dark on a phone; no sideways scroll`, async () => {
    const light = await newPage(browser, {
      viewport: DESKTOP,
      colorScheme: 'light',
      reducedMotion: 'reduce',
    });
    await show(light);
    await assertAccessible(light);
    await assertNoSidewaysScroll(light);
    await light.context().close();
    const dark = await newPage(browser, {
      viewport: PHONE,
      colorScheme: 'dark',
      reducedMotion: 'reduce',
      hasTouch: true,
    });
    await show(dark);
    await assertAccessible(dark);
    await assertNoSidewaysScroll(dark);
    await dark.setViewportSize({ width: 320, height: 640 });
    await assertNoSidewaysScroll(dark);
    await dark.context().close();
  });
}

for (const path of ['/', '/lab/', '/requests/', '/payment/']) {
  test(`the first load of ${path} needs under ${SCRIPT_KB_MAX} kB of script, and nothing from another host`, async (context) => {
    const page = await newPage(browser);
    const scripts: Promise<Buffer>[] = [];
    const hosts = new Set<string>();
    page.on('response', (response) => {
      hosts.add(new URL(response.url()).origin);
      if (response.request().resourceType() === 'script') scripts.push(response.body());
    });
    await page.goto(service.origin + path, { waitUntil: 'networkidle' });
    const sizes = (await Promise.all(scripts)).map((body) => gzipSync(body).length);
    const kb = sizes.reduce((sum, size) => sum + size, 0) / 1_000;
    context.diagnostic(`${kb.toFixed(1)} kB of script, compressed`);
    assert.ok(sizes.length > 0);
    assert.ok(kb < SCRIPT_KB_MAX, `${kb.toFixed(1)} kB`);
    assert.deepEqual([...hosts], [service.origin]);
  });
}

test('the skip link is the first stop of the keyboard', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=1`);
  await page.keyboard.press('Tab');
  await hasFocus(page.getByRole('link', { name: 'Skip to content' }));
});
