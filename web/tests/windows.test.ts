/**
 * Two windows of one person, each a process of its own, of which one sleeps at the worst moments: what
 * is typed and clicked meanwhile happens when it wakes.
 */

import assert from 'node:assert/strict';
import type { CDPSession, Page } from 'playwright-core';
import {
  assertPaidOnce,
  becomes,
  browser,
  eventually,
  fillIn,
  isGone,
  middleOf,
  newPage,
  progress,
  sendButton,
  service,
  SLEEP_PATH,
  startBoth,
  test,
  wire,
  wireEach,
} from './harness';

startBoth();
wireEach();

const RECEIPT = 'You sent $5.00 to Ben.';
const IN_DOUBT = "We don't know yet whether it went through";

/** Two windows of somebody new with $100, who has typed in one of them that Ben gets $5. */
async function twoWindows(): Promise<{ first: Page; second: Page; id: number }> {
  const id = await service.open('Somebody', 10_000);
  const first = await newPage(browser);
  const second = await first.context().newPage();
  for (const window of [first, second]) await window.goto(`${wire.origin}/?as=${id}`);
  await fillIn(first, 'Ben', '5', 'lunch');
  for (const window of [first, second]) await shows(window, 'Send $5.00 to Ben');
  await becomes(() => note(second), 'lunch');
  return { first, second, id };
}

function shows(window: Page, text: string) {
  return window.getByRole('button', { name: text }).waitFor();
}

function note(window: Page) {
  return window.getByLabel('What for?').inputValue();
}

/** It has paid Ben $5, once, and all windows say so. */
async function assertAllSayPaid(id: number, ...windows: Page[]) {
  for (const window of windows) await progress(window).getByText(RECEIPT).waitFor();
  await assertPaidOnce(id);
  for (const window of windows) {
    await becomes(() => window.getByLabel('Amount in dollars').inputValue(), '');
    // Nothing is under way any more.
    await becomes(() => sendButton(window).getAttribute('aria-disabled'), 'false');
  }
}

interface Sleeper {
  /** Resolves once it sleeps. */
  sleeps: Promise<void>;
  wake(): Promise<void>;
}

/** Has the window fall asleep at what `arrange` says, by its debugger. */
async function sleepAt(
  window: Page,
  arrange: (debug: CDPSession) => Promise<unknown>,
): Promise<Sleeper> {
  const debug = await window.context().newCDPSession(window);
  const sleeps = new Promise<void>((resolve) => debug.once('Debugger.paused', () => resolve()));
  await debug.send('Debugger.enable');
  await arrange(debug);
  const wake = async () => {
    // Everything goes that would put it to sleep again, then it goes on.
    await debug.send('Debugger.disable');
    await debug.detach();
  };
  return { sleeps, wake };
}

/**
 * Puts the window to sleep now: its script waits for a request, and can do nothing else meanwhile. What
 * is typed and clicked waits with it.
 */
async function sleep(window: Page): Promise<Sleeper> {
  const { sleeps, wake } = wire.sleeper();
  void window
    .evaluate((path) => {
      const request = new XMLHttpRequest();
      request.open('GET', path, false);
      request.send();
    }, SLEEP_PATH)
    .catch(() => {});
  await sleeps;
  return { sleeps, wake };
}

/** Falls asleep between reading what is stored and writing what becomes of it. */
function asleepInItsTransaction(window: Page) {
  return sleepAt(window, (debug) =>
    debug.send('DOMDebugger.setEventListenerBreakpoint', { eventName: 'success' }),
  );
}

/** Falls asleep when everything is stored and the request is to be sent. */
function asleepBeforeItSends(window: Page) {
  return sleepAt(window, (debug) =>
    debug.send('DOMDebugger.setXHRBreakpoint', { url: 'send_payment' }),
  );
}

/** A click of a hand, which waits where the window sleeps. */
async function click(window: Page): Promise<() => Promise<void>> {
  const [x, y] = await middleOf(sendButton(window));
  return () => window.mouse.click(x, y);
}

test('two windows that are pressed at once, both busy, pay once', async () => {
  for (let turn = 0; turn < 6; turn += 1) {
    wire.keys.length = 0;
    const { first, second, id } = await twoWindows();
    const press = (window: Page) =>
      sendButton(window).evaluate((button: HTMLButtonElement) => {
        const end = performance.now() + 100;
        while (performance.now() < end);
        button.click();
      });
    await Promise.all([press(first), press(second)]);
    await assertAllSayPaid(id, first, second);
    await first.context().close();
  }
});

test('a window that slept while the other one paid, and was pressed in its sleep, pays nothing', async () => {
  const { first, second, id } = await twoWindows();
  const press = await click(second);
  const sleeper = await sleep(second);
  const pressed = press();
  await sendButton(first).click();
  await progress(first).getByText(RECEIPT).waitFor();
  await sleeper.wake();
  await pressed;
  await assertAllSayPaid(id, first, second);
});

test('a window that slept while the other one got no answer, and was pressed in its sleep, asks for the same', async () => {
  const { first, second, id } = await twoWindows();
  const press = await click(second);
  const sleeper = await sleep(second);
  const pressed = press();
  wire.fate = 'answer lost';
  await sendButton(first).click();
  await progress(first).getByText(IN_DOUBT).waitFor();
  await sleeper.wake();
  await pressed;
  await progress(second).getByText(IN_DOUBT).waitFor();
  wire.fate = 'passes';
  await assertAllSayPaid(id, first, second);
});

test('while the answer to one window is on its way, a press in the other one is nothing new', async () => {
  const { first, second, id } = await twoWindows();
  const press = await click(second);
  const sleeper = await sleep(second);
  const pressed = press();
  wire.fate = 'answer held';
  await sendButton(first).click();
  await eventually('it is paid', async () => (await service.balance(id)) === 9_500);
  await sleeper.wake();
  await pressed;
  await progress(second).getByText('Sending $5.00 to Ben…').waitFor();
  wire.letGo();
  await assertAllSayPaid(id, first, second);
});

test('a window that falls asleep between reading and writing has the other one wait, and both pay once', async () => {
  const { first, second, id } = await twoWindows();
  const sleeper = await asleepInItsTransaction(second);
  const press = await click(second);
  const pressed = press();
  await sleeper.sleeps;
  await sendButton(first).click();
  await shows(first, 'Sending…');
  assert.equal(wire.keys.length, 0);
  await sleeper.wake();
  await pressed;
  await assertAllSayPaid(id, first, second);
});

test('a window that falls asleep between storing and sending has the other one wait, and both pay once', async () => {
  const { first, second, id } = await twoWindows();
  const sleeper = await asleepBeforeItSends(second);
  const press = await click(second);
  const pressed = press();
  await sleeper.sleeps;
  await shows(first, 'Sending…');
  await (
    await click(first)
  )();
  assert.equal(wire.keys.length, 0);
  await sleeper.wake();
  await pressed;
  await assertAllSayPaid(id, first, second);
});

test('a window that dies in its sleep between storing and sending leaves the payment to the other one', async () => {
  const { first, second, id } = await twoWindows();
  const sleeper = await asleepBeforeItSends(second);
  const press = await click(second);
  void press().catch(() => {});
  await sleeper.sleeps;
  await second.close();
  await assertAllSayPaid(id, first);
});

test('a window that dies with the answer in its hands leaves the payment to the other one', async () => {
  const { first, second, id } = await twoWindows();
  wire.fate = 'answer held';
  await sendButton(second).click();
  await eventually('it is paid', async () => (await service.balance(id)) === 9_500);
  const sleeper = await sleep(second);
  wire.letGo();
  wire.fate = 'passes';
  await sleeper.sleeps;
  await second.close();
  await progress(first).getByText('It had gone through already').waitFor();
  await assertAllSayPaid(id, first);
});

test('what was paid and typed again is not sent by a window that slept since', async () => {
  const { first, second, id } = await twoWindows();
  const press = await click(second);
  const sleeper = await sleep(second);
  const pressed = press();
  await sendButton(first).click();
  await progress(first).getByText(RECEIPT).waitFor();
  await fillIn(first, 'Ben', '5', 'lunch');
  await sleeper.wake();
  await pressed;
  await second.getByText('This payment was made before, from another window.').waitFor();
  await becomes(() => note(second), 'lunch');
  const sent = (await service.payments(id)).filter((payment) => payment.from_id === id);
  assert.equal(sent.length, 1);
  // Seen and pressed, it is another payment, which the person is sure of.
  await sendButton(second).click();
  await progress(second).getByRole('button', { name: 'Send again' }).click();
  await eventually('it is paid', async () => (await service.balance(id)) === 9_000);
});

test('what was typed in one window is not sent by a press in another that does not show it yet', async () => {
  const { first, second, id } = await twoWindows();
  const press = await click(second);
  const sleeper = await sleep(second);
  const pressed = press();
  await first.getByLabel('Amount in dollars').fill('50');
  await shows(first, 'Send $50.00 to Ben');
  await sleeper.wake();
  await pressed;
  await second.getByText('This payment was changed or paid in another window').waitFor();
  await shows(second, 'Send $50.00 to Ben');
  assert.deepEqual(wire.keys, []);
  assert.equal(await service.balance(id), 10_000);
});

test('an edit in a window that slept takes nothing from a payment in doubt, and its press sends nothing', async () => {
  const { first, second, id } = await twoWindows();
  await second.getByLabel('Amount in dollars').focus();
  await second.keyboard.press('End');
  const sleeper = await sleep(second);
  const typed = Promise.all([second.keyboard.press('0'), second.keyboard.press('Enter')]);
  wire.fate = 'answer lost';
  await sendButton(first).click();
  // The button can be pressed between two tries. When something is pressed counts here, so the clock goes on.
  await eventually('nobody asks any more', async () => {
    const change = progress(first).getByRole('button', { name: 'Change the payment' });
    await change.click({ timeout: 2_000 }).catch(() => {});
    return (await progress(first).getByText('Press Send to ask again').count()) > 0;
  });
  await sleeper.wake();
  await typed;
  await second.getByText('This payment was changed or paid in another window').waitFor();
  for (const window of [first, second]) {
    await shows(window, 'Send $50.00 to Ben');
    await window.getByText('The earlier payment of $5.00 may have gone through.').waitFor();
  }
  assert.equal(new Set(wire.keys).size, 1);
  wire.fate = 'passes';
  await second.getByRole('button', { name: 'Finish $5.00 to Ben' }).click();
  for (const window of [first, second]) {
    await progress(window).getByText('It had gone through already').waitFor();
    await shows(window, 'Send $50.00 to Ben');
    await isGone(window.getByText('The earlier payment'));
  }
  assert.equal(new Set(wire.keys).size, 1);
  assert.equal(await service.balance(id), 9_500);
});
