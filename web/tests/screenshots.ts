/** Makes the pictures of the README: `npm run screenshots`, with PAYONCE_BIN. */

import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import {
  DESKTOP,
  fillIn,
  newPage,
  PHONE,
  progress,
  sendButton,
  startBrowser,
  startService,
  startWire,
} from './harness';

const INTO = path.resolve(import.meta.dirname, '../../docs/screenshots');

const EXPERIMENTS = [
  'idempotency',
  'atomicity',
  'locks',
  'pagination',
  'cancel',
  'request',
  'follow',
];

await mkdir(INTO, { recursive: true });
const browser = await startBrowser();
const service = await startService();
const wire = await startWire(service);
try {
  const stories: [from: number, to: number, cents: number, note?: string][] = [
    [3, 1, 4_200, 'Rent for the parking space'],
    [1, 4, 1_850, 'Pizza night 🍕'],
    [5, 1, 900, 'Coffee, at last'],
    [1, 2, 6_430, 'Train to the lake'],
    [6, 1, 12_000, 'Your bike!'],
    [1, 7, 2_999],
    [8, 1, 500, 'Lost the bet'],
    [1, 9, 3_310, 'Flowers for Iris’ mother'],
    [2, 1, 3_215, 'My half of the groceries'],
    [1, 10, 750, 'Ice cream'],
    [4, 1, 1_850, 'And back, thank you'],
    [1, 3, 2_000, 'Cinema'],
  ];
  for (const [from, to, cents, note] of stories) await service.pay(from, to, cents, note);

  await picture('send-desktop', { viewport: { ...DESKTOP, height: 1_000 } }, async (page) => {
    await home(page);
    await fillIn(page, 'Ben', '12.50', 'Lunch');
    await sendButton(page).click();
    await progress(page).getByText('You sent').waitFor();
    await page.locator('[data-payment]').first().getByText('Lunch').first().waitFor();
    await page.evaluate(() => scrollTo(0, 0));
  });
  const phone: BrowserContextOptions = { viewport: PHONE, deviceScaleFactor: 2, hasTouch: true };
  await picture('requests-phone', phone, async (page) => {
    await service.ask(1, 4, 1_850, 'Pizza night 🍕');
    await service.ask(1, 9, 2_400, 'Flowers, my half');
    await service.ask(6, 1, 900, 'The puncture');
    await page.goto(`${wire.origin}/requests/?as=1`);
    await page.locator('[data-request]').nth(2).waitFor();
    await page.getByRole('radio', { name: 'Ben' }).waitFor({ state: 'attached' });
  });
  await picture('retry-phone', { ...phone, colorScheme: 'dark' }, async (page) => {
    await home(page);
    await fillIn(page, 'Ben', '5', 'From the tunnel');
    wire.fate = 'answer lost';
    await sendButton(page).click();
    await progress(page).getByText('Next try in').waitFor();
    await progress(page).scrollIntoViewIfNeeded();
  });
  await picture('lab-desktop', { viewport: DESKTOP }, lab, true);
} finally {
  await wire.close();
  await browser.close();
  await service.stop();
}

async function home(page: Page) {
  wire.fate = 'passes';
  await page.goto(`${wire.origin}/?as=1`);
  await page.locator('[data-payment]').first().waitFor();
  await page.getByRole('radio', { name: 'Ben' }).waitFor({ state: 'attached' });
}

async function lab(page: Page) {
  wire.fate = 'passes';
  await page.goto(`${wire.origin}/lab/`);
  for (const name of EXPERIMENTS) {
    await page.locator(`[data-experiment=${name}] button`).first().click();
    await page
      .locator(`[data-experiment=${name}]:is([data-state=done], [data-state=failed])`)
      .waitFor();
  }
}

async function picture(
  name: string,
  options: BrowserContextOptions,
  show: (page: Page) => Promise<void>,
  fullPage = false,
) {
  const page = await newPage(browser as Browser, {
    colorScheme: 'light',
    reducedMotion: 'reduce',
    ...options,
  });
  await show(page);
  // A pressed button would be drawn with the ring of the focus.
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  await page.screenshot({ path: path.join(INTO, `${name}.png`), fullPage });
  await page.context().close();
}
