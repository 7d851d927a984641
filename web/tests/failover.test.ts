/** The lab in front of a cluster whose leader is killed. */

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import type { Browser } from 'playwright-core';
import { newPage, stands, startBrowser, startCluster, test, type ClusterOfItsOwn } from './harness';

let browser: Browser;
let cluster: ClusterOfItsOwn;

before(async () => {
  browser = await startBrowser();
  cluster = await startCluster();
});
after(async () => {
  await browser?.close();
  await cluster?.stop();
});

test('failover: no payment is lost and none is made twice while the leader is killed, and it is killed in step only', async () => {
  const page = await newPage(browser, { viewport: { width: 320, height: 700 } });
  await page.goto(`${cluster.origin}/lab/`);
  const experiment = page.locator('[data-experiment=failover]');
  await experiment.locator('button').first().click();
  await page
    .locator('[data-experiment=failover]:is([data-state=done], [data-state=failed])')
    .waitFor();
  const holds = await stands(() =>
    experiment
      .locator('[data-finding]')
      .evaluateAll((items) =>
        Object.fromEntries(
          items.map((it) => [it.getAttribute('data-finding'), it.getAttribute('data-holds')]),
        ),
      ),
  );
  assert.deepEqual(holds, {
    'Paid, and in the history': 'true',
    Lost: 'true',
    'Paid twice': 'true',
    'Taken from the payers': 'true',
    'Arrived at the payee': 'true',
  });
  const happened = experiment.getByRole('log').getByRole('listitem');
  const [killed, leads] = await stands(async () => {
    const texts = await happened.allTextContents();
    return texts.map((text) => /\bdb\d\b/.exec(text)?.[0]);
  });
  assert.ok(killed && leads && killed !== leads, `${killed}, then ${leads}`);
  await experiment.getByRole('img', { name: /Nothing was paid for [\d,]+ ms/ }).waitFor();
  const wide = await stands(() => page.evaluate(() => document.documentElement.scrollWidth));
  assert.ok(wide <= 320, `${wide} px`);

  // The one that was killed does not follow yet.
  await experiment.locator('button').first().click();
  await experiment.getByRole('alert').getByText(`${leads} must not be lost now`).waitFor();

  // The service survived it: a session can be killed there, too.
  const atomicity = page.locator('[data-experiment=atomicity]');
  await atomicity.locator('button').first().click();
  await atomicity.locator('[data-finding="Paid by the retry"][data-holds=true]').waitFor();
  await cluster.audit();
});
