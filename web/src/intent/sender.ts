/**
 * Sends what the slips ask for, again and again with the same key, until there is a definite answer.
 * Of several tabs one sends, the others watch; when it is closed, another goes on. A tab sends for
 * whoever is signed in there, and leaves the others' payments until they are.
 */

import { sendOnce } from '../api/send';
import { mayPayFor } from '../people/me';
import { judge, judged, pauseMs, tried } from './machine';
import { changeSlip, payersAsking, readSlip } from './store';

/** What the sender of this tab does for a payer right now. */
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
  for (const payer of payersAsking()) void ask(payer);
}

/** Somebody else may be here now: what is no longer this tab's to ask for is left to others. */
export function changeHands() {
  for (const [payer, wakeUp] of [...wakeUps]) if (!mayPayFor(payer)) wakeUp();
  resumeAll();
}

async function ask(payer: number) {
  if (running.has(payer) || !mayPayFor(payer)) return;
  running.add(payer);
  try {
    // Without locks (plain HTTP from another machine) two tabs may both ask: the key they share
    // makes that safe, only not economical.
    if (navigator.locks)
      await navigator.locks.request(`payonce.sender.${payer}`, () => settle(payer));
    else await settle(payer);
  } finally {
    running.delete(payer);
    show(payer, null);
  }
  // A click may have come between the last look at the slip and the end of this run.
  if (readSlip(payer).attempt?.state === 'asking') void ask(payer);
}

async function settle(payer: number) {
  for (;;) {
    const { attempt } = readSlip(payer);
    if (attempt?.state !== 'asking' || !mayPayFor(payer)) return;
    const { request } = attempt;
    const key = request.idempotency_key;
    changeSlip(payer, (slip) => tried(slip, key));
    show(payer, { kind: 'asking' });
    const verdict = judge(await sendOnce(request), request);
    const after = changeSlip(payer, (slip) => judged(slip, key, verdict)).attempt;
    if (after?.state !== 'asking' || after.request.idempotency_key !== key) continue;
    if (!mayPayFor(payer)) return;
    const asked = 'retryAfterMs' in verdict ? verdict.retryAfterMs : null;
    await pause(payer, pauseMs(after.tries, asked, Math.random()));
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
