/** The experiments of the lab. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  atOnce,
  becomes,
  browser,
  isGone,
  newPage,
  service,
  stands,
  startBoth,
  startService,
  test,
} from './harness';

let page: Page;

startBoth(async () => {
  page = await newPage(browser);
  await page.goto(`${service.origin}/lab/`);
});

/** Runs an experiment to its end, and returns what it found. */
async function run(name: string): Promise<Record<string, string>> {
  const experiment = page.locator(`[data-experiment="${name}"]`);
  await experiment.locator('button').first().click();
  await page
    .locator(`[data-experiment="${name}"]:is([data-state=done], [data-state=failed])`)
    .waitFor();
  assert.equal(await atOnce(() => experiment.getByRole('alert').count()), 0);
  const findings = await stands(() =>
    experiment.locator('[data-finding]').evaluateAll((items) =>
      items.map((item) => ({
        what: item.getAttribute('data-finding') ?? '',
        holds: item.getAttribute('data-holds'),
        text: item.textContent ?? '',
      })),
    ),
  );
  assert.ok(findings.length > 0);
  for (const finding of findings) assert.equal(finding.holds, 'true', JSON.stringify(finding));
  return Object.fromEntries(findings.map((it) => [it.what, it.text]));
}

test('idempotency: twenty copies are one payment, and the others are replays', async () => {
  const findings = await run('idempotency');
  assert.match(findings['Payments made by the copies'] ?? '', /✓ 1\b/);
  assert.match(findings['Replays among the copies'] ?? '', /19 of 20/);
  assert.match(findings['Different answers'] ?? '', /✓ 1\b/);
  assert.match(findings['Payments made by the retried one'] ?? '', /✓ 1\b/);
});

test('atomicity: a session killed before COMMIT changes nothing, and the retry pays', async () => {
  const findings = await run('atomicity');
  assert.match(findings['Money lost by the crash'] ?? '', /\$0\.00/);
  assert.match(findings['Paid by the retry'] ?? '', /\$5\.00/);
});

test('atomicity: a service that offers no faults is told from one that fails', async () => {
  const deployed = await startService({ databaseUrl: service.databaseUrl });
  const other = await newPage(browser);
  try {
    await other.goto(`${deployed.origin}/lab/`);
    const experiment = other.locator('[data-experiment=atomicity]');
    await experiment.locator('button').first().click();
    await experiment.getByRole('alert').getByText('does not offer the fault').waitFor();
  } finally {
    await other.context().close();
    await deployed.stop();
  }
});

test('locks: payments to one person are applied one after another', async () => {
  const findings = await run('locks');
  assert.match(findings['Payments, each with its own time'] ?? '', /24 of 24/);
  const rows = page.locator('[data-experiment=locks] tbody tr');
  await becomes(() => rows.count(), 24);
  await rows
    .first()
    .getByRole('img', { name: /queued, .* for locks, .* committing/ })
    .waitFor();
});

test('pagination: pages read while payments arrive repeat and miss nothing', async () => {
  const findings = await run('pagination');
  assert.match(findings['Payments seen'] ?? '', /40 of 40/);
  assert.match(findings['Seen twice'] ?? '', /✓ 0\b/);
});

test('cancel against pay: one of the two wins each time, and both are told which', async () => {
  const findings = await run('cancel');
  assert.match(findings['Rounds with exactly one winner'] ?? '', /20 of 20/);
  assert.match(findings['Both were told the same'] ?? '', /20 of 20/);
});

test('one request, five clicks: it is paid once, and the others are replays', async () => {
  const findings = await run('request');
  assert.match(findings['Payments made'] ?? '', /✓ 1\b/);
  assert.match(findings['Replays among the clicks'] ?? '', /4 of 5/);
  assert.match(findings['Taken from the payer'] ?? '', /\$7\.00/);
});

test('follow: a reader that is killed again and again sees every payment once, in order', async () => {
  const findings = await run('follow');
  assert.match(findings['Payments seen'] ?? '', /60 of 60/);
  assert.match(findings['Seen twice'] ?? '', /✓ 0\b/);
});

test('failover: a ledger on one server is told from one that fails, and what it takes is said', async () => {
  const other = await newPage(browser);
  await other.goto(`${service.origin}/lab/`);
  const experiment = other.locator('[data-experiment=failover]');
  await experiment.locator('button').first().click();
  await experiment.getByRole('alert').getByText('make cluster').waitFor();
});

test('an experiment can be run again', async () => {
  await run('pagination');
  await run('idempotency');
});

test('the laboratory leaves the people alone', async () => {
  await page.goto(`${service.origin}/?as=1`);
  await page.getByRole('radio', { name: 'Ben' }).waitFor({ state: 'attached' });
  await isGone(page.getByText(/^Lab \d/));
  assert.equal((await service.payments(1)).length, 0);
});
