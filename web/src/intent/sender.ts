/**
 * Sends the payments that the slips ask for, and cancels those that are not wanted any more, again and again with
 * the same key, until there is a definite answer. Of several tabs one asks, the others watch; when it is
 * closed, another goes on. A tab asks for the person who is signed in there, and leaves the others' payments
 * until they are. A tab that hangs keeps the others waiting: they cannot know what it has sent, and a
 * payment that waits is better than two.
 */

import { sendOnce, voidOnce } from '../api/send';
import { mayPayFor } from '../people/me';
import { newKey } from './key';
import {
  bodyOf,
  cancelJudged,
  isUnderWay,
  judge,
  judged,
  judgeVoid,
  notSent,
  pauseMs,
  tried,
  type Attempt,
} from './machine';
import { changeSlip, payersAsking, readTrouble, StoreFailure, viewSlip } from './store';

/** The work of this tab's sender for a payer right now. */
export type Activity = { kind: 'asking' } | { kind: 'pausing'; untilMs: number };

const activities = new Map<number, Activity>();
const listeners = new Set<() => void>();
const running = new Set<number>();

/** What can be interrupted of the work for a payer. */
interface Work {
  kind: Activity['kind'];
  /** Whether it is about paying, and not about cancelling. */
  isToPay: boolean;
  interrupt: () => void;
}

const working = new Map<number, Work>();

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
  const work = working.get(payer);
  if (work?.kind === 'pausing') work.interrupt();
}

/** Takes up every unfinished payment that this tab may ask about. Harmless to call at any time. */
export function resumeAll() {
  // A payment that cannot be stored is not sent.
  if (readTrouble()) return;
  for (const payer of payersAsking()) void ask(payer);
  for (const [payer, { isToPay, interrupt }] of [...working]) {
    // Who wants to cancel waits for no answer to the payment: the answer about its key tells more.
    if (isToPay && viewSlip(payer)?.attempt?.state === 'cancelling') interrupt();
  }
}

/** Somebody else may be here now: payments that this tab may not ask about any more are left to others. */
export function changeHands() {
  for (const [payer, { kind, interrupt }] of [...working])
    if (kind === 'pausing' && !mayPayFor(payer)) interrupt();
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
    if (!attempt || !isUnderWay(attempt)) return;
    const { request, state } = attempt;
    const key = request.idempotency_key;
    const isToPay = state === 'asking';
    if (!mayPayFor(payer)) {
      // Somebody else has signed in while this was written down.
      if (isToPay) await changeSlip(payer, (slip) => notSent(slip, key));
      return;
    }
    show(payer, { kind: 'asking' });
    const verdict = isToPay
      ? judge(await sent(payer, attempt), request)
      : judgeVoid(await voidOnce(request), request);
    const nextKey = newKey();
    const end = isToPay ? judged : cancelJudged;
    const after = await changeSlip(payer, (slip) => end(slip, key, verdict, nextKey));
    const now = after.attempt;
    // Something else is to be asked about, or in another way.
    if (now?.state !== state || now.request.idempotency_key !== key) continue;
    if (!mayPayFor(payer)) return;
    const asked = 'retryAfterMs' in verdict ? verdict.retryAfterMs : null;
    await pause(payer, isToPay, pauseMs(now.tries, asked, Math.random()));
  }
}

/** The answer to a payment; null where somebody wants to cancel it first. */
async function sent(payer: number, attempt: Attempt) {
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  working.set(payer, { kind: 'asking', isToPay: true, interrupt });
  try {
    return await sendOnce(bodyOf(attempt), controller.signal);
  } finally {
    working.delete(payer);
  }
}

function pause(payer: number, isToPay: boolean, ms: number): Promise<void> {
  show(payer, { kind: 'pausing', untilMs: Date.now() + ms });
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      working.delete(payer);
      window.removeEventListener('online', done);
      resolve();
    }
    working.set(payer, { kind: 'pausing', isToPay, interrupt: done });
    window.addEventListener('online', done);
  });
}
