/** Signing in: whose money moves, and what stays of a token and of what was typed. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import {
  atOnce,
  becomes,
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
  stopTheClock,
  store,
  test,
  wire,
  wireEach,
} from './harness';

startBoth(undefined, { withTokens: true });
wireEach();

const OPEN = "We don't know yet whether it went through; asking again is safe.";

/** Somebody new with $100, and a token of theirs. */
async function somebody(name = 'Somebody') {
  const id = await service.open(name, 10_000);
  return { id, token: await service.token(`--account=${id}`) };
}

/** Another token of an account's. */
function another(id: number) {
  return service.token(`--account=${id}`, '--expires-in-seconds=1800');
}

/** A page behind the wire that asks for a token. */
async function signedOut(): Promise<Page> {
  const page = await newPage(browser);
  await page.goto(wire.origin);
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  return page;
}

function account(page: Page) {
  return page.getByLabel('Your account');
}

async function assertPaidOnce(id: number, cents: number) {
  const sent = (await service.payments(id)).filter((payment) => payment.from_id === id);
  assert.deepEqual(
    sent.map(({ amount }) => amount),
    [cents],
  );
}

/** Sends $5 to Ben, whose answer is lost, and then lets the token expire. */
async function sendAndExpire(page: Page, { id, token }: { id: number; token: string }) {
  await signIn(page, token);
  await fillIn(page, 'Ben', '5');
  wire.fate = 'answer lost';
  await sendButton(page).click();
  await progress(page).getByText(OPEN).waitFor();
  wire.expire(token);
  wire.fate = 'passes';
  await page.getByText('Your token is not valid any more.').waitFor();
  await page
    .getByText(
      `Sign in again as account ${id} to find out whether it went through; asking again is safe.`,
    )
    .waitFor();
}

test('a person signs in with a token, sends money, and sees it in the history', async () => {
  const { id, token } = await somebody('Sonja');
  const page = await signedOut();
  await signIn(page, `Bearer ${token}\n`);
  await account(page).getByText('Sonja').waitFor();
  await fillIn(page, 'Ben', '12.34', 'lunch');
  await sendButton(page).click();
  await progress(page).getByText('You sent $12.34 to Ben.').waitFor();
  const sent = page.locator('[data-payment]').first();
  await sent.getByText('To Ben').waitFor();
  await account(page).getByText('$87.66').waitFor();
  await assertPaidOnce(id, 1_234);
});

test('the token is in the session of the window, and nowhere else', async () => {
  const { token } = await somebody();
  const page = await signedOut();
  const said: string[] = [];
  page.on('console', (message) => said.push(message.text()));
  page.on('request', (request) => said.push(request.url()));
  await signIn(page, token);
  await account(page).waitFor();
  const kept = await page.evaluate(() => ({
    local: JSON.stringify(localStorage),
    session: JSON.stringify(sessionStorage),
    cookies: document.cookie,
    page: document.documentElement.outerHTML,
  }));
  assert.ok(kept.session.includes(token));
  for (const text of [kept.local, kept.cookies, kept.page, page.url(), ...said]) {
    assert.ok(!text.includes(token), text);
  }
});

test('a reload keeps the token, and a new window asks for one', async () => {
  const { token } = await somebody('Renate');
  const page = await signedOut();
  await signIn(page, token);
  await account(page).getByText('Renate').waitFor();
  await page.reload();
  await account(page).getByText('Renate').waitFor();
  const other = await page.context().newPage();
  await other.goto(wire.origin);
  await other.getByRole('heading', { name: 'Sign in' }).waitFor();
});

test('who one is comes from the token, whatever the address says', async () => {
  const { token } = await somebody('Tom');
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=1`);
  await signIn(page, token);
  await account(page).getByText('Tom').waitFor();
  await becomes(() => page.url(), `${wire.origin}/`);
});

test('why somebody cannot sign in is said in plain words', async () => {
  const page = await signedOut();
  const { token } = await somebody();
  const [head, payload, signature] = token.split('.');
  const expired = await service.token('--account=1', '--expires-in-seconds=0');
  await eventually('it has expired', async () => {
    const headers = { authorization: `Bearer ${expired}` };
    return (await fetch(`${service.origin}/accounts`, { headers })).status === 401;
  });
  const unknown = await service.token('--account=123456789');
  const encode = (claims: object) => Buffer.from(JSON.stringify(claims)).toString('base64url');
  for (const [pasted, why] of [
    ['', 'Paste a token.'],
    ['my password', 'That is not a token'],
    [`${head}.${payload}`, 'That is not a token'],
    [`${head}.bm90IEpTT04.${signature}`, 'That is not a token'],
    [`${head}.${encode({ sub: 'night-shift' })}.${signature}`, 'This token names no account'],
    [`${head}.${encode({ sub: '1', exp: 2 ** 33 })}.${signature}`, 'Its signature is wrong.'],
    [expired, 'It has expired. Ask for a new one.'],
    [unknown, 'There is no account 123456789 here.'],
  ] as const) {
    await signIn(page, pasted);
    await page.getByRole('alert').getByText(why).waitFor();
    await becomes(() => page.getByLabel('Token').getAttribute('aria-invalid'), 'true');
  }
  // None of them has signed anybody in.
  await page.reload();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await signIn(page, token);
  await account(page).waitFor();
});

test('a token that expires while a payment has no answer: signed in again, it is one payment', async () => {
  const me = await somebody();
  const page = await signedOut();
  await sendAndExpire(page, me);
  await signIn(page, await another(me.id));
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await progress(page).getByText('It had gone through already').waitFor();
  await assertPaidOnce(me.id, 500);
  assert.equal(new Set(wire.keys).size, 1);
});

test('a token that expires before a payment arrives: signed in again, it is one payment', async () => {
  const me = await somebody();
  const page = await signedOut();
  // The end of its stream would tell the page before the payment does.
  await page.route('**/events', (route) => route.abort());
  await signIn(page, me.token);
  await fillIn(page, 'Ben', '5', 'kept');
  wire.expire(me.token);
  await sendButton(page).click();
  await page.getByText('Your token is not valid any more.').waitFor();
  await page.reload();
  await page.getByText(`A payment from account ${me.id} is still open.`).waitFor();
  await signIn(page, await another(me.id));
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(me.id, 500);
  assert.equal(new Set(wire.keys).size, 1);
});

test('while somebody else is signed in, a payment is neither sent with their token nor lost', async () => {
  const me = await somebody();
  const page = await signedOut();
  await sendAndExpire(page, me);
  for (const other of [
    (await somebody('Olga')).token,
    await service.token('--account=3', '--operator'),
    await service.token('--operator'),
  ]) {
    const sent = wire.keys.length;
    await signIn(page, other);
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
    await page.reload();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByText(`A payment from account ${me.id} is still open.`).waitFor();
    assert.equal(wire.keys.length, sent);
  }
  const again = await another(me.id);
  await signIn(page, again);
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(me.id, 500);
  assert.equal(new Set(wire.keys).size, 1);
  for (const { token } of wire.senders) assert.ok(token === me.token || token === again);
});

test('whoever signs out during a pause leaves the payment to another window of theirs', async () => {
  const me = await somebody();
  const page = await signedOut();
  await signIn(page, me.token);
  await fillIn(page, 'Ben', '5');
  wire.fate = 'too many';
  await sendButton(page).click();
  await progress(page).getByText('Next try in').waitFor();
  const other = await page.context().newPage();
  await other.goto(wire.origin);
  await signIn(other, await another(me.id));
  await progress(other).getByText('Another window is asking.').waitFor();
  wire.fate = 'passes';
  await page.getByRole('button', { name: 'Sign out' }).click();
  await progress(other).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(me.id, 500);
  assert.equal(new Set(wire.keys).size, 1);
});

test('two windows with two tokens are two people', async () => {
  const [ada, ben] = [await somebody('Adele'), await somebody('Bernd')];
  const first = await signedOut();
  await signIn(first, ada.token);
  const second = await first.context().newPage();
  await second.goto(wire.origin);
  await signIn(second, ben.token);
  await account(second).getByText('Bernd').waitFor();
  await first.getByLabel('Find somebody by name or number').fill('Bernd');
  await fillIn(first, 'Bernd', '7');
  await sendButton(first).click();
  await progress(first).getByText('You sent $7.00 to Bernd.').waitFor();
  await account(first).getByText('Adele').waitFor();
  // Bernd's page looks by itself.
  await second.locator('[data-payment]').first().getByText('From Adele').waitFor();
  await assertPaidOnce(ada.id, 700);
});

test('whoever signs out leaves nothing behind', async () => {
  const { id, token } = await somebody('Vera');
  await service.pay(1, id, 4_321, 'for nobody else');
  const page = await signedOut();
  await signIn(page, token);
  await page.getByText('for nobody else').first().waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  assert.equal(await atOnce(() => page.getByText('for nobody else').count()), 0);
  const kept = await page.evaluate(() => JSON.stringify(sessionStorage));
  assert.ok(!kept.includes(token));
  await page.goBack();
  await page.goForward();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  // The next one sees what is theirs, from the first moment.
  await signIn(page, (await somebody('Walter')).token);
  await account(page).getByText('Walter').waitFor();
  await page.getByText('From The bank').waitFor();
});

test('what was typed is forgotten when one signs out', async () => {
  const me = await somebody('Xenia');
  const page = await signedOut();
  await signIn(page, me.token);
  await fillIn(page, 'Ben', '5', 'for later');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, (await somebody('Yvonne')).token);
  await account(page).getByText('Yvonne').waitFor();
  await becomes(() => page.getByLabel('What for?').inputValue(), '');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, me.token);
  await account(page).getByText('Xenia').waitFor();
  await becomes(() => page.getByLabel('What for?').inputValue(), '');
  await fillIn(page, 'Ben', '5', 'now');
  await sendButton(page).click();
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(me.id, 500);
});

test('what was typed to ask somebody for money is forgotten when one signs out, too', async () => {
  const me = await somebody('Zora');
  const page = await signedOut();
  await signIn(page, me.token);
  // The form to send has the same field.
  const goToRequests = async () => {
    await page.getByRole('link', { name: 'Requests' }).click();
    await page.getByRole('heading', { name: 'Ask for money' }).waitFor();
  };
  await goToRequests();
  await page.getByLabel('What for?').fill('a secret');
  await page.reload();
  await becomes(() => page.getByLabel('What for?').inputValue(), 'a secret');
  await page.getByRole('link', { name: 'Send' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  const kept = await page.evaluate(() => JSON.stringify(sessionStorage));
  assert.ok(!kept.includes('a secret'));
  await signIn(page, me.token);
  await goToRequests();
  await becomes(() => page.getByLabel('What for?').inputValue(), '');
});

test('one whose token expired cancels the payment in doubt once signed in again', async () => {
  const me = await somebody();
  const page = await signedOut();
  // The end of its stream would tell the page before the cancel does.
  await page.route('**/events', (route) => route.abort());
  await signIn(page, me.token);
  await fillIn(page, 'Ben', '5');
  // So would the next try.
  await stopTheClock(page);
  wire.fate = 'request lost';
  await sendButton(page).click();
  await progress(page).getByText(OPEN).waitFor();
  await progress(page).getByText('Next try in').waitFor();
  wire.expire(me.token);
  await progress(page).getByRole('button', { name: 'Cancel the payment' }).click();
  await page.getByText('Your token is not valid any more.').waitFor();
  await page.getByText(`A payment from account ${me.id} is still open.`).waitFor();
  await page.clock.resume();
  await signIn(page, await another(me.id));
  await progress(page).getByText('Cancelled: $5.00 to Ben was not paid.').waitFor();
  assert.deepEqual(await service.payments(me.id), []);
});

test('a receipt and the requests ask for a token, and then show what is one’s own alone', async () => {
  const [me, other] = [await somebody('Ulla'), await somebody('Veit')];
  const { id } = await service.pay(me.id, other.id, 500, 'between us');
  await service.ask(other.id, me.id, 600);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/payment/?id=${id}`);
  await signIn(page, other.token);
  await page.locator(`[data-receipt="${id}"]`).getByText('between us').waitFor();
  await page.getByTestId('asked-of-me').getByText('1').waitFor();
  const stranger = await newPage(browser);
  await stranger.goto(`${wire.origin}/payment/?id=${id}`);
  await signIn(stranger, (await somebody()).token);
  await stranger.getByRole('heading', { name: 'No such payment' }).waitFor();
});

test('an operator acts as the account of the token; without one, as whom he chooses', async () => {
  const page = await signedOut();
  await signIn(page, await service.token('--operator', '--account=5'));
  await account(page).getByText('Eva').waitFor();
  await account(page).getByRole('button', { name: 'Sign out' }).click();
  await signIn(page, await service.token('--operator'));
  await page.getByRole('button', { name: 'Finn' }).click();
  await account(page).getByText('Finn').waitFor();
  await fillIn(page, 'Ben', '1.50');
  await sendButton(page).click();
  await progress(page).getByText('You sent $1.50 to Ben.').waitFor();
  await account(page).getByRole('button', { name: 'Switch person' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await assertPaidOnce(6, 150);
});

test('what a token does not allow is said in plain words', async () => {
  const { id, token } = await somebody();
  const page = await signedOut();
  await signIn(page, token);
  await fillIn(page, 'Ben', '5');
  const draft = { key: 'a-key', to: 0, amount: '5', note: '' };
  await store(page, id, { draft, attempt: null, setAside: [], receipt: null, isUnread: false });
  await page.reload();
  await sendButton(page).click();
  await progress(page).getByText('The token does not allow this.').waitFor();
  assert.deepEqual(await service.payments(id), []);
});

test('the lab says that it needs an operator, and how to get a token of one', async () => {
  const page = await newPage(browser);
  const needs = page.getByRole('heading', { name: 'The experiments need an operator’s token' });
  const runs = page.locator('[data-experiment] button');
  await page.goto(`${wire.origin}/lab/`);
  await needs.waitFor();
  await page.getByText('payonce token --operator').waitFor();
  await isGone(runs);
  await signIn(page, (await somebody()).token);
  const isNone = page.getByText('You are signed in, but not as an operator.');
  await isNone.waitFor();
  await isGone(runs);
  // A token that is refused does not take the place of the one there is.
  await signIn(page, `${await service.token('--operator')}x`);
  await page.getByText('The token is refused.').waitFor();
  await isNone.waitFor();
  await signIn(page, await service.token('--operator'));
  await needs.waitFor({ state: 'detached' });
  for (const name of ['idempotency', 'atomicity', 'locks', 'pagination', 'cancel', 'request']) {
    await page.locator(`[data-experiment=${name}] button`).click();
    await page.locator(`[data-experiment=${name}][data-state=done]`).waitFor();
  }
});

test('a statement is downloaded with the token', async () => {
  const { id, token } = await somebody();
  await service.pay(1, id, 250);
  const page = await signedOut();
  await signIn(page, token);
  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download statement' }).click();
  const text = await readFile(await (await saved).path(), 'utf8');
  assert.match(text, /,closing_balance,.*,102\.50,/);
});
