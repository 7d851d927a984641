/** The place in a page stays, whatever arrives and wherever one goes meanwhile. */

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Page } from 'playwright-core';
import {
  atOnce,
  becomes,
  browser,
  eventually,
  hasFocus,
  newPage,
  service,
  shownIds,
  stands,
  startBoth,
  startBrowser,
  test,
} from './harness';

startBoth();

/** Somebody with so many payments. */
async function withPayments(count: number): Promise<number> {
  const id = await service.open('Reader', 0);
  await Promise.all(Array.from({ length: count }, () => service.pay(1, id, 1)));
  return id;
}

/** Scrolls until so many payments are shown, and on to the last of them. */
async function scrollTo(page: Page, count: number) {
  await page.locator('[data-payment]').first().waitFor();
  await eventually(`${count} payments are shown`, async () => {
    await page.mouse.wheel(0, 2_000);
    return (await shownIds(page)).length >= count;
  });
  await page
    .locator('[data-payment]')
    .nth(count - 5)
    .evaluate((it) => it.scrollIntoView());
}

/** Where the payments are in the window, by their ids. */
function tops(page: Page): Promise<[string, number][]> {
  return page
    .locator('[data-payment]')
    .evaluateAll((rows) =>
      rows.map((it) => [it.getAttribute('data-payment') ?? '', it.getBoundingClientRect().top]),
    );
}

test('payments that arrive while one has scrolled down wait behind a button, and move nothing', async () => {
  const id = await withPayments(30);
  const page = await newPage(browser, { viewport: { width: 390, height: 700 } });
  await page.goto(`${service.origin}/?as=${id}`);
  await scrollTo(page, 30);
  const before = await stands(() => tops(page));
  const news = [(await service.pay(1, id, 2)).id];
  await page.getByRole('button', { name: '1 new payment', exact: true }).waitFor();
  for (let turn = 0; turn < 2; turn += 1) news.unshift((await service.pay(1, id, 2)).id);
  const button = page.getByRole('button', { name: '3 new payments' });
  await button.waitFor();
  assert.deepEqual(await atOnce(() => tops(page)), before);
  await page.getByText('Ada sent you $0.02.').waitFor({ state: 'attached' });
  await button.click();
  await eventually('they are shown', async () => (await shownIds(page)).length === 33);
  await becomes(async () => (await shownIds(page)).slice(0, 3), news);
  const heading = page.getByRole('heading', { name: 'History' });
  await hasFocus(heading);
  await eventually('the newest is in sight', () =>
    page
      .locator('[data-payment]')
      .first()
      .evaluate((it) => {
        const { top } = it.getBoundingClientRect();
        return top >= 0 && top < innerHeight;
      }),
  );
});

test('hundreds of payments that arrive while one has scrolled down move nothing either', async () => {
  const id = await withPayments(30);
  const page = await newPage(browser, { viewport: { width: 390, height: 700 } });
  await page.goto(`${service.origin}/?as=${id}`);
  await scrollTo(page, 30);
  const before = await stands(() => tops(page));
  await page.context().setOffline(true);
  await Promise.all(Array.from({ length: 130 }, () => service.pay(1, id, 1)));
  await page.context().setOffline(false);
  const button = page.getByRole('button', { name: '100 or more new payments' });
  await button.waitFor();
  assert.deepEqual(await atOnce(() => tops(page)), before);
  await button.click();
  const [newest] = await service.payments(id);
  await eventually('the newest is on top', async () => (await shownIds(page))[0] === newest?.id);
});

test('the way back from the lab leads to the place in the history', async () => {
  const id = await withPayments(40);
  const page = await newPage(browser, { viewport: { width: 390, height: 700 } });
  await page.goto(`${service.origin}/?as=${id}`);
  await scrollTo(page, 40);
  const place = await stands(() => page.evaluate(() => scrollY));
  assert.ok(place > 1_000);
  await page.getByRole('link', { name: 'Lab' }).evaluate((it: HTMLElement) => it.click());
  await page.getByRole('heading', { name: 'Idempotency' }).waitFor();
  await becomes(() => page.evaluate(() => scrollY), 0);
  await page.goBack();
  const isThere = () => page.evaluate((place) => Math.abs(scrollY - place) < 2, place);
  await eventually('the place is the same', isThere);
});

test('the way back to the lab leads to the experiment one ran, and to what was seen', async () => {
  const page = await newPage(browser, { viewport: { width: 390, height: 700 } });
  await page.goto(`${service.origin}/lab/`);
  for (const name of ['idempotency', 'pagination']) {
    await page.locator(`[data-experiment=${name}] button`).click();
    await page.locator(`[data-experiment=${name}][data-state=done]`).waitFor();
  }
  assert.equal(new URL(page.url()).hash, '#pagination');
  const seen = page.locator('[data-experiment=pagination] [data-finding]').first();
  await seen.evaluate((it) => it.scrollIntoView({ block: 'center' }));
  const place = await stands(() => page.evaluate(() => scrollY));
  const isThere = () => page.evaluate((place) => Math.abs(scrollY - place) < 2, place);
  await page.getByRole('link', { name: 'Send' }).evaluate((it: HTMLElement) => it.click());
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await page.goBack();
  await seen.waitFor();
  await eventually('the place is the same', isThere);
  // A reload begins anew, at the experiment that the address names.
  await page.reload();
  await eventually('the experiment is in sight', () =>
    page.locator('#pagination').evaluate((it) => it.getBoundingClientRect().top < innerHeight),
  );
});

test('without scripts the page says what it needs them for', async () => {
  const page = await newPage(browser, { javaScriptEnabled: false });
  for (const address of ['/', '/lab/']) {
    await page.goto(service.origin + address);
    await page.getByRole('heading', { name: 'This page needs JavaScript' }).waitFor();
  }
});

test('an address that leads nowhere has a page of its own, with a way home', async () => {
  const html = await readFile(path.resolve(import.meta.dirname, '../out/404.html'));
  // The service sends it for unknown addresses; everything else comes from the service here, too.
  const server = createServer((request, response) => {
    if (request.url === '/un/known?as=1') {
      response.writeHead(404, { 'content-type': 'text/html; charset=utf-8' }).end(html);
      return;
    }
    void fetch(service.origin + request.url).then(async (answer) => {
      const type = answer.headers.get('content-type') ?? '';
      response.writeHead(answer.status, { 'content-type': type });
      response.end(Buffer.from(await answer.arrayBuffer()));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const { port } = server.address() as { port: number };
    const page = await newPage(browser, { viewport: { width: 320, height: 700 } });
    const errors: string[] = [];
    page.on('console', (message) => {
      const isOfTheAddress = message.text().includes('404');
      if (message.type() === 'error' && !isOfTheAddress) errors.push(message.text());
    });
    await page.goto(`http://127.0.0.1:${port}/un/known?as=1`);
    await page.getByRole('heading', { name: 'Nothing is here' }).waitFor();
    await becomes(() => page.title(), 'Nothing is here · payonce');
    await page.getByRole('link', { name: 'Send money' }).click();
    await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
    assert.deepEqual(errors, []);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

test('where authorization is off and the host another, the service’s own words are shown, and no token', async () => {
  const elsewhere = await startBrowser(['--host-resolver-rules=MAP elsewhere.example 127.0.0.1']);
  try {
    const { port } = new URL(service.origin);
    const page = await newPage(elsewhere);
    for (const address of ['/?as=1', '/']) {
      await page.goto(`http://elsewhere.example:${port}${address}`);
      await eventually('it is said once', async () => {
        const said = page.getByText('the service answers to localhost and to loopback addresses');
        return (await said.count()) === 1;
      });
      const said = await atOnce(() => page.locator('main').innerText());
      assert.doesNotMatch(said, /token|sign in/i);
    }
  } finally {
    await elsewhere.close();
  }
});
