/** The page where the browser keeps nothing, or something else than the page has stored. */

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chromium, type Page } from 'playwright-core';
import {
  assertPaidOnce,
  atOnce,
  becomes,
  browser,
  BROWSER,
  fillIn,
  isGone,
  newPage,
  PATIENCE_MS,
  progress,
  sendButton,
  service,
  startBoth,
  store,
  test,
  wire,
  wireEach,
} from './harness';
import { watch } from './evidence';

startBoth();
wireEach();

const NOTHING_SENT = 'Nothing can be sent from here';

/** The page shows the account, says why nothing can be sent, and has sent nothing. */
async function assertReadOnly(page: Page, why: string) {
  await page.getByText(NOTHING_SENT).waitFor();
  await page.getByText(why).waitFor();
  await page.getByTestId('balance').getByText('$100.00').waitFor();
  await page.locator('[data-payment]').first().waitFor();
  await isGone(sendButton(page));
  assert.deepEqual(wire.keys, []);
}

/** A payment of version 0.2 as it was stored, one that was sent and has no answer. */
function inDoubt(from: number, idempotency_key: string) {
  const created_at = '2026-11-22T12:00:00.000Z';
  const request = { from, to: 2, amount: 500, note: null, created_at, idempotency_key };
  const verdict = { kind: 'unknown', code: null, retryAfterMs: null };
  return { request, state: 'stopped', tries: 1, inDoubt: 1, verdict };
}

async function payWith(attempt: { request: object }) {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify(attempt.request);
  const answer = await fetch(`${service.origin}/send_payment`, { method: 'PUT', headers, body });
  assert.equal(answer.status, 200);
}

/** A page of a browser whose profile is prepared, as somebody new. */
async function withProfile(
  prepare: (folder: string) => Promise<void>,
  look: (page: Page, id: number, folder: string) => Promise<void>,
) {
  const id = await service.open('Somebody', 10_000);
  const profile = await mkdtemp(path.join(tmpdir(), 'payonce-profile-'));
  const folder = path.join(profile, 'Default');
  await mkdir(folder);
  await prepare(folder);
  const context = await chromium.launchPersistentContext(profile, BROWSER);
  try {
    context.setDefaultTimeout(PATIENCE_MS);
    watch(context);
    const page = await context.newPage();
    await page.goto(`${wire.origin}/?as=${id}`);
    await look(page, id, folder);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  }
}

test('where cookies are blocked, one sees everything and is told why nothing can be sent', async () => {
  const settings = { profile: { default_content_setting_values: { cookies: 2 } } };
  const block = (folder: string) =>
    writeFile(path.join(folder, 'Preferences'), JSON.stringify(settings));
  await withProfile(block, async (page) => {
    await assert.rejects(atOnce(() => page.evaluate(() => localStorage.length)));
    await assertReadOnly(page, 'This browser does not let the page store anything.');
    // Also on the way through the pages that remember who one is.
    await page.getByRole('button', { name: 'Switch person' }).click();
    await page.getByRole('button', { name: 'Ada' }).click();
    await page.getByLabel('Your account').getByText('Ada').waitFor();
  });
});

test('where the browser’s database is broken, one is told so, and it goes on once it is mended', async () => {
  // A file where the browser wants a folder.
  const inTheWay = (folder: string) => path.join(folder, 'IndexedDB');
  const spoil = (folder: string) => writeFile(inTheWay(folder), '');
  await withProfile(spoil, async (page, id, folder) => {
    await assertReadOnly(page, 'What this browser has stored can neither be read nor written.');
    await rm(inTheWay(folder));
    await fillIn(page, 'Ben', '5');
    await sendButton(page).click();
    await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
    assert.equal(await service.balance(id), 9_500);
  });
});

test('where the browser has no room, one is told so, and it goes on once there is some', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  const debug = await page.context().newCDPSession(page);
  const { origin } = wire;
  // One byte: 0 is no limit.
  await debug.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 1 });
  await page.goto(`${origin}/?as=${id}`);
  await assertReadOnly(page, 'This browser has no room left to store anything.');
  await debug.send('Storage.overrideQuotaForOrigin', { origin });
  await fillIn(page, 'Ben', '5');
  await sendButton(page).click();
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
});

test('where a newer version of the page has stored something, this one leaves it alone', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/docs`);
  await page.evaluate(
    () =>
      new Promise((resolve, reject) => {
        const request = indexedDB.open('payonce', 1_000);
        request.onerror = reject;
        request.onsuccess = () => resolve(request.result.close());
      }),
  );
  await page.goto(`${wire.origin}/?as=${id}`);
  await assertReadOnly(page, 'A newer version of this page is open in this browser.');
});

test('what the version before has stored is read as it is, and its payment in doubt is finished', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  const attempt = { ...inDoubt(id, 'key-of-version-1'), state: 'asking' };
  await payWith(attempt);
  const draft = { key: 'key-of-version-1', to: 2, amount: '5', note: '' };
  await page.goto(`${wire.origin}/docs`);
  await page.evaluate(
    ([payer, slip]) =>
      new Promise<void>((resolve, reject) => {
        const opening = indexedDB.open('payonce', 1);
        opening.onupgradeneeded = () => opening.result.createObjectStore('slips');
        opening.onerror = reject;
        opening.onsuccess = () => {
          const writing = opening.result.transaction('slips', 'readwrite');
          writing.objectStore('slips').put(slip, payer as number);
          writing.oncomplete = () => resolve(opening.result.close());
        };
      }),
    [id, { draft, attempt, setAside: [], receipt: null, isUnread: false }] as const,
  );
  await page.goto(`${wire.origin}/?as=${id}`);
  await progress(page).getByText('It had gone through already').waitFor();
  assert.deepEqual(wire.keys, ['key-of-version-1']);
  assert.equal(await service.balance(id), 9_500);
});

test('a slip of another shape is replaced, and one is told to look at the history first', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  for (const shape of ['a text', { draft: { to: 'Ben' }, attempt: 'x' }, [1, 2]]) {
    await page.goto(`${wire.origin}/?as=${id}`);
    await sendButton(page).waitFor();
    await store(page, id, shape);
    await page.reload();
    await page.getByText('Some of what this browser has kept here cannot be read').waitFor();
  }
  await fillIn(page, 'Ben', '5');
  await sendButton(page).click();
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await isGone(page.getByText('cannot be read'));
});

test('of a slip that is broken the payment in doubt is kept, with its key', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  await sendButton(page).waitFor();
  const attempt = inDoubt(id, 'the-key-of-before');
  await payWith(attempt);
  await store(page, id, { draft: 7, attempt });
  await page.reload();
  await page.getByRole('button', { name: 'Finish $5.00 to Ben' }).click();
  await progress(page).getByText('It had gone through already').waitFor();
  assert.deepEqual(wire.keys, ['the-key-of-before']);
  assert.equal(await service.balance(id), 9_500);
});

test('a payment that version 0.2 has left without an answer is asked for with the key it had', async () => {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  const attempt = { ...inDoubt(id, 'key-of-version-0.2'), state: 'asking' };
  await payWith(attempt);
  const slip = { draft: { to: 2, amount: '5', note: '' }, attempt, receipt: null };
  await page.goto(`${wire.origin}/docs`);
  const name = `payonce.slip.${id}`;
  await page.evaluate(
    ([name, text]) => localStorage.setItem(name ?? '', text ?? ''),
    [name, JSON.stringify(slip)],
  );
  await page.goto(`${wire.origin}/?as=${id}`);
  await progress(page).getByText('It had gone through already').waitFor();
  await becomes(() => page.getByLabel('Amount in dollars').inputValue(), '');
  await becomes(() => page.evaluate((name) => localStorage.getItem(name), name), null);
  await page.reload();
  await sendButton(page).waitFor();
  assert.deepEqual(wire.keys, ['key-of-version-0.2']);
  assert.equal(await service.balance(id), 9_500);
});
