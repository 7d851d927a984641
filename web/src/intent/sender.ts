/**
 * Sends the payments that the slips ask for, again and again with the same key, until there is a definite answer.
 * Of several tabs one sends, the others watch; when it is closed, another goes on. A tab sends for
 * the person who is signed in there, and leaves the others' payments until they are. A tab that hangs keeps the
 * others waiting: they cannot know what it has sent, and a payment that waits is better than two.
 */

import { sendOnce } from '../api/send';
import { mayPayFor } from '../people/me';
import { newKey } from './key';
import { judge, judged, notSent, pauseMs, tried } from './machine';
import { changeSlip, payersAsking, readTrouble, StoreFailure } from './store';

/** The work of this tab's sender for a payer right now. */
export type Activity = { kind: 'asking' } | { kind: 'pausing'; untilMs: number };

const activities = new Map<number, Activity>();
const listeners = new Set<() => void>();
const running = new Set<number>();
const wakeUps = new Map<number, () => void>();

export function activityOf(payer: number): Activity | null {
  return activities.get(payer) ?? null;
}

export function subscribeToActivity(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function show(payer: number, activity: Activity | null) {
  if (activity) activities.set(payer, activity);
  else activities.delete(payer);
  for (const listener of listeners) listener();
}

/** Ends a pause: the person asks, or the network is back. */
export function askNow(payer: number) {
  wakeUps.get(payer)?.();
}

/** Takes up every unfinished payment that this tab may ask for. Harmless to call at any time. */
export function resumeAll() {
  // A payment that cannot be stored is not sent.
  if (readTrouble()) return;
  for (const payer of payersAsking()) void ask(payer);
}

/** Somebody else may be here now: payments that this tab may not ask for any more are left to others. */
export function changeHands() {
  for (const [payer, wakeUp] of [...wakeUps]) if (!mayPayFor(payer)) wakeUp();
  resumeAll();
}

async function ask(payer: number) {
  if (running.has(payer) || !mayPayFor(payer)) return;
  running.add(payer);
  try {
    // Without locks (plain HTTP from another machine) two windows may both ask: the key they share
    // makes that safe, only not economical.
    if (navigator.locks)
      await navigator.locks.request(`payonce.sender.${payer}`, () => settle(payer));
    else await settle(payer);
  } catch (error) {
    // A payment that cannot be stored is not sent. The store has told why, and goes on when it can.
    if (!(error instanceof StoreFailure)) throw error;
    return;
  } finally {
    running.delete(payer);
    show(payer, null);
  }
  // A click may have come between the last look at the slip and the end of this run.
  if (payersAsking().includes(payer)) void ask(payer);
}

/** Asks until there is nothing to ask for. Each request is sent as it was stored just before. */
async function settle(payer: number) {
  while (mayPayFor(payer)) {
    const { attempt } = await changeSlip(payer, tried);
    if (attempt?.state !== 'asking') return;
    const { request } = attempt;
    const key = request.idempotency_key;
    if (!mayPayFor(payer)) {
      // Somebody else has signed in while this was written down.
      await changeSlip(payer, (slip) => notSent(slip, key));
      return;
    }
    show(payer, { kind: 'asking' });
    const verdict = judge(await sendOnce(request), request);
    const nextKey = newKey();
    const after = await changeSlip(payer, (slip) => judged(slip, key, verdict, nextKey));
    const now = after.attempt;
    if (now?.state !== 'asking' || now.request.idempotency_key !== key) continue;
    if (!mayPayFor(payer)) return;
    const asked = 'retryAfterMs' in verdict ? verdict.retryAfterMs : null;
    await pause(payer, pauseMs(now.tries, asked, Math.random()));
  }
}

function pause(payer: number, ms: number): Promise<void> {
  show(payer, { kind: 'pausing', untilMs: Date.now() + ms });
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      wakeUps.delete(payer);
      window.removeEventListener('online', done);
      resolve();
    }
    wakeUps.set(payer, done);
    window.addEventListener('online', done);
  });
}
