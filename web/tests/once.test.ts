/** A payment happens once, whatever happens to its answers, its tab and its clicks. */

import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import {
  assertPaidOnce,
  atOnce,
  becomes,
  betweenTries,
  browser,
  eventually,
  type Fate,
  fillIn,
  middleOf,
  newPage,
  progress,
  sendButton,
  service,
  startBoth,
  stopTheClock,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

/** A page as somebody new with $100, behind the wire. */
async function somebody(): Promise<{ page: Page; id: number }> {
  const id = await service.open('Somebody', 10_000);
  const page = await newPage(browser);
  await page.goto(`${wire.origin}/?as=${id}`);
  return { page, id };
}

/** A page as somebody new who sends Ben $5, which does not come back with an answer. */
async function unanswered(fate: Fate, prepare = async (_: Page) => {}) {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '5');
  await prepare(page);
  wire.fate = fate;
  await sendButton(page).click();
  await progress(page).getByText("We don't know yet whether it went through").waitFor();
  return { page, id };
}

test('ten fast clicks are one payment', async () => {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '5');
  await sendButton(page).evaluate((button: HTMLButtonElement) => {
    for (let click = 0; click < 10; click += 1) button.click();
  });
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
  assert.equal(wire.keys.length, 1);
});

test('ten fast clicks of a hand, before, while and after it is paid, are one payment', async () => {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '5');
  const [x, y] = await middleOf(sendButton(page));
  for (let click = 0; click < 10; click += 1) await page.mouse.click(x, y);
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
  assert.equal(wire.keys.length, 1);
});

test('an answer that is cut off after the service has committed is asked for again', async () => {
  const { page, id } = await unanswered('answer lost');
  // The money has moved, and the page cannot know.
  assert.equal(await service.balance(id), 9_500);
  wire.fate = 'passes';
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await progress(page).getByText('It had gone through already').waitFor();
  await assertPaidOnce(id);
  assert.ok(wire.keys.length >= 2);
});

test('offline, reload, back online: one payment', async () => {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '5', 'from the tunnel');
  await page.context().setOffline(true);
  await sendButton(page).click();
  await progress(page).getByText('You are offline.').waitFor();
  // Back in a network that loads the page, but loses what pays.
  wire.fate = 'request lost';
  await page.context().setOffline(false);
  await page.reload();
  await progress(page).getByText("We don't know yet whether it went through").waitFor();
  await becomes(() => page.getByLabel('What for?').inputValue(), 'from the tunnel');
  wire.fate = 'passes';
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
});

test('a tab that dies while the answer is awaited leaves a payment that the next one finishes', async () => {
  const { page, id } = await unanswered('answer lost');
  const next = await page.context().newPage();
  await page.close();
  wire.fate = 'passes';
  await next.goto(`${wire.origin}/?as=${id}`);
  await progress(next).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
});

test('an unfinished payment resumes on the page of the lab, too', async () => {
  const { page, id } = await unanswered('request lost');
  wire.fate = 'passes';
  await page.reload();
  await page.getByRole('link', { name: 'Lab' }).click();
  await page.getByRole('heading', { name: 'Eight promises, eight experiments' }).waitFor();
  await eventually('it is paid', async () => (await service.balance(id)) === 9_500);
  await assertPaidOnce(id);
});

test('of two tabs one asks, the other one watches, and both see how it ends', async () => {
  const { page, id } = await unanswered('request lost');
  const other = await page.context().newPage();
  await other.goto(`${wire.origin}/?as=${id}`);
  await progress(other).getByText('Another window is asking.').waitFor();
  wire.fate = 'passes';
  for (const tab of [page, other])
    await progress(tab).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
});

test('when the tab that asks is closed, the one that watched goes on', async () => {
  const { page, id } = await unanswered('request lost');
  const other = await page.context().newPage();
  await other.goto(`${wire.origin}/?as=${id}`);
  await progress(other).getByText('Another window is asking.').waitFor();
  await page.close();
  wire.fate = 'passes';
  await progress(other).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
});

test('who does not want to wait for the next try asks at once', async () => {
  const { page, id } = await unanswered('answer lost', stopTheClock);
  wire.fate = 'passes';
  await betweenTries(page, 'Ask again now');
  await progress(page).getByText('It had gone through already').waitFor();
  await assertPaidOnce(id);
});

test('after too many requests it is asked again with the same key, and no sooner than the service wants', async () => {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '5');
  await stopTheClock(page);
  wire.fate = 'too many';
  await sendButton(page).click();
  await progress(page).getByText('That was a lot of requests in a short time.').waitFor();
  await progress(page).getByText('Next try in 60 s.').waitFor();
  wire.fate = 'passes';
  await page.clock.runFor(59_000);
  assert.equal(wire.keys.length, 1);
  await page.clock.runFor(2_000);
  await progress(page).getByText('You sent $5.00 to Ben.').waitFor();
  await assertPaidOnce(id);
  assert.equal(wire.keys.length, 2);
});

test('an unanswered payment that is sent again unchanged keeps its key', async () => {
  const { page, id } = await unanswered('answer lost', stopTheClock);
  await betweenTries(page, 'Change the payment');
  wire.fate = 'passes';
  await sendButton(page).click();
  await progress(page).getByText('It had gone through already').waitFor();
  await assertPaidOnce(id);
});

test('an unanswered payment that is edited is another one, and the page warns of the first', async () => {
  const { page, id } = await unanswered('answer lost', stopTheClock);
  await betweenTries(page, 'Change the payment');
  wire.fate = 'passes';
  await fillIn(page, 'Ben', '6');
  await page.getByText('The earlier payment of $5.00 may have gone through.').waitFor();
  await sendButton(page).click();
  await progress(page).getByText('You sent $6.00 to Ben.').waitFor();
  assert.equal(new Set(wire.keys).size, 2);
  const amounts = (await service.payments(id))
    .filter((it) => it.from_id === id)
    .map((it) => it.amount);
  assert.deepEqual(amounts, [600, 500]);
});

test('what is refused after a try without an answer is not said to be unpaid', async () => {
  for (const [status, code] of [
    [400, 'invalid_request'],
    [403, 'forbidden'],
    [404, 'account_not_found'],
    [500, 'internal'],
  ] as const) {
    wire.keys.length = 0;
    const { page, id } = await unanswered('answer lost', stopTheClock);
    wire.fate = { status, code };
    await betweenTries(page, 'Ask again now');
    await progress(page)
      .getByText(status === 500 ? 'Something broke inside' : 'an earlier one got no answer')
      .waitFor();
    const said = await atOnce(() => progress(page).innerText());
    assert.match(said, /We don't know yet/);
    assert.doesNotMatch(said, /was not sent|[Nn]othing was paid/);
    // Its own key tells.
    wire.fate = 'passes';
    if (status === 500) await betweenTries(page, 'Ask again now');
    else await sendButton(page).click();
    await progress(page).getByText('It had gone through already').waitFor();
    await assertPaidOnce(id);
    await page.context().close();
  }
});

test('that there is not enough money is the last word, after a try without an answer too', async () => {
  const { page, id } = await somebody();
  await fillIn(page, 'Ben', '500');
  await stopTheClock(page);
  wire.fate = 'answer lost';
  await sendButton(page).click();
  await progress(page).getByText("We don't know yet whether it went through").waitFor();
  wire.fate = 'passes';
  await betweenTries(page, 'Ask again now');
  await progress(page).getByText('$500.00 was not sent.').waitFor();
  assert.equal(await service.balance(id), 10_000);
});
