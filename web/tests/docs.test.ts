/** The page that explains the API. */

import assert from 'node:assert/strict';
import { browser, newPage, service, startBoth, test } from './harness';

startBoth();

test('the API document can be read and tried, with nothing from another host', async () => {
  const page = await newPage(browser);
  const asked: string[] = [];
  const complaints: string[] = [];
  page.on('request', (request) => asked.push(request.url()));
  page.on('console', (line) => {
    if (line.type() === 'error') complaints.push(line.text());
  });
  await page.goto(`${service.origin}/docs`);
  const list = page.locator('#operations-accounts-list');
  await list.getByText('Accounts without balances').click();
  await list.getByRole('button', { name: 'Try it out' }).click();
  await list.getByRole('button', { name: 'Execute' }).click();
  await list.locator('.live-responses-table').getByText('Ada').waitFor();

  const elsewhere = asked.filter(
    (url) => !url.startsWith('data:') && !url.startsWith(service.origin),
  );
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(complaints, []);
});
