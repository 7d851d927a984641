/** Names as they are shown, also those that nobody can see or that look alike. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import { inWords, isolated, Known, legible, nameOf } from '../src/people/names';
import {
  becomes,
  browser,
  choose,
  fillIn,
  newPage,
  progress,
  sendButton,
  service,
  stands,
  startBoth,
  test,
} from './harness';

startBoth();

/** An account with a name that the service may refuse today. */
async function named(name: string): Promise<number> {
  const id = await service.open('Somebody', 10_000);
  await service.sql('UPDATE accounts SET name = $1 WHERE id = $2', name, id);
  return id;
}

async function find(page: Page, id: number) {
  await page.getByLabel('Find somebody by name or number').fill(String(id));
}

test('a name that nobody can see is the number of its account', () => {
  for (const name of ['', ' ', '\u00A0', '\u200B\u2060', '\u3164', '\u2800', '\u202E', '\u0301']) {
    assert.equal(nameOf(7, name), 'Account 7', JSON.stringify(name));
  }
  assert.equal(nameOf(7, null), 'Account 7');
  for (const name of ['Ada', '.', '🍕', '👨‍👩‍👧', 'محمد', '७']) assert.equal(nameOf(7, name), name);
});

test('names that are alike when they are seen or read aloud are told apart by their numbers', () => {
  const known = new Known([
    [1, 'Ada'],
    [2, 'ADA\u200B '],
    [3, 'Ben'],
    [4, 'The bank'],
    [5, 'Account 6'],
    [6, ' '],
  ]);
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6].map((id) => known.called(id).number),
    [1, 2, null, 4, 5, 6],
  );
  assert.equal(inWords(known.called(1)), 'Ada (number 1)');
  assert.equal(inWords(known.called(3)), 'Ben');
});

test('what is written from right to left turns nothing around it', () => {
  assert.equal(isolated('محمد'), '\u2068محمد\u2069');
  assert.equal(isolated('Ada'), 'Ada');
  assert.equal(legible('\u202Eevil\u2069\ttxt'), 'evil txt');
});

test('every button and choice has a name, also where an account has none that can be seen', async () => {
  const [blank, invisible] = [await named('   '), await named('\u200B\u3164')];
  const page = await newPage(browser);
  await page.goto(service.origin);
  for (const id of [blank, invisible]) {
    await page.getByRole('button', { name: `Account ${id}`, exact: true }).waitFor();
  }
  await page.getByRole('button', { name: `Account ${blank}` }).click();
  await page.getByLabel('Your account').getByText(`Account ${blank}`).waitFor();
  await find(page, invisible);
  await fillIn(page, `Account ${invisible}`, '1');
  await sendButton(page).click();
  await progress(page).getByText(`You sent $1.00 to Account ${invisible}.`).waitFor();
  await page.locator('[data-payment]').getByText(`To Account ${invisible}`).waitFor();
});

test('of two people with one name each is shown with the number, wherever one chooses or looks', async () => {
  const [one, two] = [await named('Quentin'), await named('quentin\u200B')];
  const page = await newPage(browser);
  await page.goto(service.origin);
  await page.getByRole('button', { name: `Quentin number ${one}`, exact: true }).waitFor();
  await page
    .getByRole('button', { name: /^quentin.* number \d+$/ })
    .last()
    .waitFor();
  await page.goto(`${service.origin}/?as=1`);
  await find(page, two);
  const payee = page.getByRole('radio', { name: `number ${two}` });
  await choose(payee);
  await page.getByLabel('Amount in dollars').fill('1');
  await becomes(() => sendButton(page).textContent(), new RegExp(`number ${two}$`));
  await sendButton(page).click();
  await progress(page).getByText(`(number ${two}).`).waitFor();
  await page.locator('[data-payment]').first().getByText(`number ${two}`).first().waitFor();
});

test('a name or note that turns the direction of text does not turn what is beside it', async () => {
  const id = await named('\u202Eevil\u2069\u202E name');
  const arab = await named('محمد 12');
  await service.pay(id, arab, 200, '\u202Enote\u2069\u202E 34');
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=${arab}`);
  const row = page.locator('[data-payment]').first();
  await row.getByText('From evil name').waitFor();
  const note = row.locator('summary bdi').nth(1);
  await becomes(() => note.textContent(), 'note 34');
  // The time is on the left of the note, as it was written.
  const [time, noted] = [
    await stands(() => row.locator('time').boundingBox()),
    await stands(() => note.boundingBox()),
  ];
  assert.ok(time && noted && time.x + time.width <= noted.x);
  for (const bdi of await page.locator('main bdi').all()) {
    await becomes(() => bdi.evaluate((it) => getComputedStyle(it).unicodeBidi), 'isolate');
  }
  await page.goto(`${service.origin}/?as=${id}`);
  await find(page, arab);
  await fillIn(page, 'محمد 12', '1');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.00 to \u2068محمد 12\u2069.').waitFor();
});
