/** Sending money, as a person does it. */

import assert from 'node:assert/strict';
import {
  atOnce,
  becomes,
  browser,
  eventually,
  fillIn,
  hasFocus,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  stopTheClock,
  test,
} from './harness';

startBoth();

test('a person says who they are, sends money, and both sides see it', async () => {
  const [ada, ben] = [await newPage(browser), await newPage(browser)];
  await ben.goto(`${service.origin}/?as=2`);
  await ben.getByText('Nothing yet').or(ben.locator('[data-payment]')).first().waitFor();
  await ada.goto(service.origin);
  await ada.getByRole('button', { name: 'Ada' }).click();
  await fillIn(ada, 'Ben', '12.34', 'lunch');
  await sendButton(ada).click();
  await progress(ada).getByText('You sent $12.34 to Ben.').waitFor();

  const sent = ada.locator('[data-payment]').first();
  await sent.getByText('−$12.34').waitFor();
  await sent.getByText('To Ben').waitFor();
  await sent.getByText('lunch').first().waitFor();
  await ada.getByTestId('balance').getByText('$987.66').waitFor();

  // Ben did nothing: his page looks by itself.
  const received = ben.locator('[data-payment]').first();
  await received.getByText('+$12.34').waitFor();
  await received.getByText('From Ada').waitFor();
  await ben.getByTestId('balance').getByText('$1,012.34').waitFor();
  await ben.getByText('Ada sent you $12.34.').waitFor({ state: 'attached' });
  assert.equal(await service.balance(1), 98_766);
  assert.equal(await service.balance(2), 101_234);
});

test('a payment opens to show its exact time, to the microsecond', async () => {
  const { created_at } = await service.pay(3, 4, 100, 'for the details');
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=3`);
  const row = page.locator('[data-payment]').first();
  const time = row.locator('time');
  await becomes(() => time.getAttribute('datetime'), created_at);
  await becomes(() => time.getAttribute('title'), /\.\d{6} UTC$/);
  await row.locator('summary').click();
  await row.getByText('Exact time').waitFor();
});

test('without enough money nothing is paid, it is said in plain words, and what was typed stays', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=5`);
  await fillIn(page, 'Ada', '5,000', 'a car');
  await sendButton(page).click();
  await progress(page)
    .getByText('There is not enough money in the account. Nothing was paid.')
    .waitFor();
  await becomes(() => page.getByLabel('Amount in dollars').inputValue(), '5,000');
  await becomes(() => page.getByLabel('What for?').inputValue(), 'a car');
  assert.deepEqual(await service.payments(5), []);

  // Once there is money, the same payment goes through.
  await service.pay(await service.open('Rich', 500_000), 5, 500_000);
  await sendButton(page).click();
  await progress(page).getByText('You sent $5,000.00 to Ada.').waitFor();
  assert.equal(await service.balance(5), 100_000);
});

test('what is missing or wrong is said next to the field, and nothing is sent', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=10`);
  await page.getByRole('radio', { name: 'Ben' }).waitFor({ state: 'attached' });
  await sendButton(page).click();
  await page.getByText('Choose who gets it.').waitFor();
  await page.getByText('Type an amount.').waitFor();
  await fillIn(page, 'Ben', '12,5');
  await sendButton(page).click();
  await page.getByText('Write cents after a point').waitFor();
  const amount = page.getByLabel('Amount in dollars');
  await becomes(() => amount.getAttribute('aria-invalid'), 'true');
  await hasFocus(amount);
  await fillIn(page, 'Ben', '1', 'x'.repeat(281));
  await sendButton(page).click();
  await page.getByText('The note is 1 character too long.').waitFor();
  assert.equal((await service.payments(10)).length, 0);
});

test('a note is counted as the service counts it, never cut, and refused where it is too long', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=10`);
  await fillIn(page, 'Ben', '1');
  const note = '🎉'.repeat(280);
  await page.getByLabel('What for?').focus();
  await page.keyboard.insertText(`${note}🎉🎉`);
  await page.getByText('282 of 280 characters').waitFor();
  await sendButton(page).click();
  await page.getByText('The note is 2 characters too long.').waitFor();
  await becomes(() => page.getByLabel('What for?').inputValue(), `${note}🎉🎉`);
  await page.keyboard.press('Backspace');
  await page.keyboard.press('Backspace');
  await page.getByText('280 of 280 characters').waitFor();
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.00 to Ben.').waitFor();
  assert.equal((await service.payments(10))[0]?.note, note);
});

test('everything can be done with the keyboard', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=4`);
  await page.getByRole('radio', { name: 'Ada' }).focus();
  await page.keyboard.press('Space');
  await page.keyboard.press('Tab');
  await page.keyboard.type('3');
  await page.keyboard.press('Tab');
  await page.keyboard.type('by keyboard');
  await page.keyboard.press('Enter');
  await progress(page).getByText('You sent $3.00 to Ada.').waitFor();
});

test('two windows are two people, also on the way through the lab', async () => {
  const first = await newPage(browser);
  await first.goto(service.origin);
  await first.getByRole('button', { name: 'Hugo' }).click();
  const second = await first.context().newPage();
  await second.goto(`${service.origin}/?as=9`);
  await second.getByRole('button', { name: 'Switch person' }).click();
  await second.getByRole('button', { name: 'Jack' }).click();
  for (const [page, name] of [
    [first, 'Hugo'],
    [second, 'Jack'],
  ] as const) {
    await page.getByRole('link', { name: 'Lab' }).click();
    await page.getByRole('heading', { name: 'Idempotency' }).waitFor();
    await page.getByRole('link', { name: 'Send' }).click();
    await page.getByLabel('Your account').getByText(name).waitFor();
  }
});

test('somebody beyond the first faces is found by number, and paid', async () => {
  const id = await service.open('Zoe', 0);
  await Promise.all(Array.from({ length: 3 }, () => service.open('Filler', 0)));
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=2`);
  await page.getByLabel('Find somebody by name or number').fill(String(id));
  await fillIn(page, 'Zoe', '1.50');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.50 to Zoe.').waitFor();
  assert.equal(await service.balance(id), 150);
});

test('the way back leads to who one was', async () => {
  const page = await newPage(browser);
  await page.goto(service.origin);
  const account = page.getByLabel('Your account');
  await page.getByRole('button', { name: 'Ada' }).click();
  await account.getByRole('button', { name: 'Switch person' }).click();
  await page.getByRole('button', { name: 'Ben' }).click();
  await account.getByText('Ben').waitFor();
  await page.goBack();
  await page.getByRole('heading', { name: 'Who are you?' }).waitFor();
  await page.goBack();
  await account.getByText('Ada').waitFor();
});

test('what is typed survives a reload', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=6`);
  await fillIn(page, 'Jack', '7.50', 'later');
  await page.reload();
  await page.getByRole('radio', { name: 'Jack' }).waitFor({ state: 'attached' });
  await becomes(() => page.getByRole('radio', { name: 'Jack' }).isChecked(), true);
  await becomes(() => page.getByLabel('Amount in dollars').inputValue(), '7.50');
});

test('an account that does not exist, and a service that is gone, are said in plain words', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=12345`);
  await page.getByText('There is no such account. Choose somebody else.').waitFor();
  await page.route('**/payment_history/**', (route) => route.abort());
  await page.goto(`${service.origin}/?as=7`);
  await page.getByText('Your history cannot be shown').waitFor();
  await page.unroute('**/payment_history/**');
  await page.getByRole('button', { name: 'Try again' }).click();
  await eventually(
    'the history is shown',
    async () => (await page.getByText('cannot be shown').count()) === 0,
  );
});

test('whoever pays by pressing Enter stays where the typing was, during the payment and after', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=7`);
  await fillIn(page, 'Ben', '2', 'quick');
  const note = page.getByLabel('What for?');
  await note.evaluate((field) => {
    field.addEventListener('blur', () => field.setAttribute('data-left', 'true'));
  });
  await page.keyboard.press('Enter');
  await progress(page).getByText('You sent $2.00 to Ben.').waitFor();
  await hasFocus(note);
  assert.equal(await atOnce(() => note.getAttribute('data-left')), null);
});

test('a button that goes away when the payment is made leaves the focus at Send', async () => {
  const page = await newPage(browser);
  await page.route('**/send_payment', (route) => route.abort());
  await page.goto(`${service.origin}/?as=8`);
  await fillIn(page, 'Ben', '2');
  await stopTheClock(page);
  await sendButton(page).click();
  await progress(page).getByText('Next try in').waitFor();
  await page.unroute('**/send_payment');
  await page.getByRole('button', { name: 'Ask again now' }).focus();
  await page.clock.resume();
  await progress(page).getByText('You sent $2.00 to Ben.').waitFor();
  await hasFocus(sendButton(page));
});

test('a tab in a pasted note is named at the note before anything is sent, and can be taken out', async () => {
  const page = await newPage(browser);
  await page.goto(`${service.origin}/?as=9`);
  await fillIn(page, 'Ben', '1.25', 'rent\tMay');
  const note = page.getByLabel('What for?');
  await page.getByText('There is a tab in the note').waitFor();
  await becomes(() => note.getAttribute('aria-invalid'), 'true');
  await sendButton(page).click();
  await hasFocus(note);
  assert.deepEqual(await service.payments(9), []);
  await page.getByRole('button', { name: 'Put a space there' }).click();
  await becomes(() => note.inputValue(), 'rent May');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.25 to Ben.').waitFor();
});
