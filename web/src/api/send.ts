/** One try at `PUT /send_payment`. */

import {
  api,
  problemOf,
  retryAfterMs,
  type Payment,
  type PaymentRequest,
  type Problem,
} from './client';

/** Where a payment's time went, in ms, and which commit it shared. */
export interface Timing {
  queue: number;
  lock: number;
  commit: number;
  batch: string;
}

/** An answer as it came over the wire. */
export interface Answer {
  status: number;
  /** The body's bytes, as text: equal answers are equal here. */
  text: string;
  payment: Payment | null;
  problem: Problem | null;
  /** The payment had been made by an earlier request with the same key. */
  replayed: boolean;
  retryAfterMs: number | null;
  timing: Timing | null;
}

/** Longer than the service ever takes: then the wire is dead, not slow. */
const TRY_TIMEOUT_MS = 15_000;

/** Sends a payment once. `null`: there was no answer, so nothing is known. */
export async function sendOnce(body: PaymentRequest): Promise<Answer | null> {
  try {
    const signal = AbortSignal.timeout(TRY_TIMEOUT_MS);
    const { data, error, response } = await api.PUT('/send_payment', {
      body,
      signal,
      parseAs: 'text',
    });
    const text = typeof data === 'string' ? data : '';
    return {
      status: response.status,
      text,
      payment: response.ok ? paymentOf(text) : null,
      problem: response.ok ? null : problemOf(error),
      replayed: response.headers.get('idempotency-replayed') === 'true',
      retryAfterMs: retryAfterMs(response),
      timing: timingOf(response.headers.get('server-timing')),
    };
  } catch {
    return null;
  }
}

function paymentOf(text: string): Payment | null {
  try {
    const body = JSON.parse(text) as Partial<Payment> | null;
    return typeof body?.id === 'string' && typeof body.amount === 'number'
      ? (body as Payment)
      : null;
  } catch {
    return null;
  }
}

/** Reads `queue;dur=1.2, lock;dur=0.1, commit;dur=0.5, batch;desc="name"` (W3C Server Timing). */
export function timingOf(header: string | null): Timing | null {
  const duration = (name: string) =>
    Number(new RegExp(`(?:^|,\\s*)${name};dur=([\\d.]+)`).exec(header ?? '')?.[1] ?? Number.NaN);
  const batch = /batch;desc="([^"]*)"/.exec(header ?? '')?.[1];
  const [queue, lock, commit] = [duration('queue'), duration('lock'), duration('commit')];
  if (batch === undefined || [queue, lock, commit].some(Number.isNaN)) return null;
  return { queue, lock, commit, batch };
}
