/** Finding people, among many, and for those who may not list everybody. */

import assert from 'node:assert/strict';
import {
  browser,
  eventually,
  fillIn,
  isGone,
  newPage,
  progress,
  sendButton,
  service,
  signIn,
  startBoth,
  test,
} from './harness';
import { othersIn } from '../src/history/recent';
import { distinct, matching, numberIn } from '../src/people/search';
import type { Payment } from '../src/api/client';

const CROWD = 50_000;

startBoth(
  async () => {
    await service.sql(
      `INSERT INTO accounts (id, name)
       SELECT 1000000 + n, 'Crowd ' || n FROM generate_series(1, $1::int) AS n`,
      CROWD,
    );
    await service.sql('ANALYZE accounts');
  },
  { withTokens: true },
);

/** Somebody new with $100, signed in as no operator. */
async function holder(name = 'Holder') {
  const id = await service.open(name, 10_000);
  const page = await newPage(browser);
  const asked: string[] = [];
  page.on('request', (request) => asked.push(request.url().replace(service.origin, '')));
  await page.goto(service.origin);
  await signIn(page, await service.token(`--account=${id}`));
  await page.getByLabel('Your account').waitFor();
  // Before that, the page has found out that the service asks who one is.
  asked.length = 0;
  return { id, page, asked };
}

test('somebody among 50,000 is found by the beginning of the name, whatever its case, and paid', async () => {
  const { page, id, asked } = await holder();
  await page.getByText('Type the name of somebody.').waitFor();
  const search = page.getByLabel('Find somebody by name or number');
  await search.pressSequentially('cROWD 4321', { delay: 5 });
  await page
    .getByRole('radio', { name: 'Crowd 43210', exact: true })
    .waitFor({ state: 'attached' });
  await fillIn(page, 'Crowd 4321', '1.50');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.50 to Crowd 4321.').waitFor();
  assert.equal(await service.balance(1_004_321), 150);
  assert.equal(await service.balance(id), 9_850);
  // What was typed on the way was not looked for letter by letter, and nobody was listed.
  const looked = asked.filter((path) => path.startsWith('/accounts?name='));
  assert.ok(looked.length < 5, looked.join('\n'));
  assert.deepEqual(
    asked.filter((path) => /^\/accounts\?(limit|after)/.test(path)),
    [],
  );
});

test('names are shown to holders, though the list is not', async () => {
  const { page, id, asked } = await holder('Lena');
  await service.pay(1, id, 100);
  await page.locator('[data-payment]').first().getByText('From Ada').waitFor();
  assert.deepEqual(
    asked.filter((path) => /^\/accounts(\?(limit|after).*)?$/.test(path)),
    [],
  );
  await page.getByRole('link', { name: 'Requests' }).click();
  await page.getByRole('heading', { name: 'Asked of you' }).waitFor();
  await page.getByRole('link', { name: 'Lab' }).click();
  await page.getByRole('heading', { name: 'need an operator’s token' }).waitFor();
  await isGone(page.locator('main').getByRole('alert'));
});

test('whom one paid last is shown first, also after a reload', async () => {
  const { page, id } = await holder();
  await service.pay(id, 3, 100);
  await service.pay(id, 4, 100);
  await service.pay(id, 3, 100);
  await page.reload();
  const names = () =>
    page
      .locator('label[title]:has([type="radio"])')
      .evaluateAll((all) => all.map((it) => it.getAttribute('title')));
  await eventually('they are the faces', async () => (await names()).join() === 'Chloe,Dan');
  await fillIn(page, 'Eva', '1');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.00 to Eva.').waitFor();
  await page.getByLabel('Find somebody by name or number').fill('');
  await eventually('the latest is the first', async () => (await names())[0] === 'Eva');
});

test('somebody is found by number, and nobody is said to be nobody', async () => {
  const { page } = await holder();
  const search = page.getByLabel('Find somebody by name or number');
  await search.fill('1000007');
  await page.getByRole('radio', { name: 'Crowd 7', exact: true }).waitFor({ state: 'attached' });
  await search.fill('nobody at all');
  await page.getByText('Nobody is called that.').waitFor();
});

test('an operator finds whom to act for among all', async () => {
  const page = await newPage(browser);
  await page.goto(service.origin);
  await signIn(page, await service.token('--operator'));
  await page.getByLabel('Find yourself by name or number').fill('crowd 49999');
  await page.getByRole('button', { name: 'Crowd 49999' }).click();
  await page.getByLabel('Your account').getByText('Crowd 49999').waitFor();
});

test('those whom one paid come first, the latest first, then those who paid, each once', () => {
  const payment = (from_id: number, to_id: number) => ({ from_id, to_id }) as Payment;
  const payments = [payment(5, 1), payment(1, 2), payment(0, 1), payment(1, 3), payment(1, 2)];
  assert.deepEqual(othersIn(payments, 1), [2, 3, 5]);
});

test('people are matched by any part of a name, or the beginning of a number', () => {
  const people = [
    { id: 12, name: 'Ada' },
    { id: 21, name: 'Adam' },
  ];
  assert.deepEqual(matching(people, ' DA'), people);
  assert.deepEqual(matching(people, '2'), [people[1]]);
  assert.deepEqual(distinct([...people, ...people]), people);
  assert.deepEqual(
    [numberIn('7'), numberIn('07'), numberIn('x'), numberIn('9'.repeat(17))],
    [7, null, null, null],
  );
});
