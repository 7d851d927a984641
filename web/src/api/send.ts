/** One try at `PUT /send_payment`, or at `PUT /voided_keys`, which settles its key. */

import { api, problemOf, retryAfterMs, type Intent, type Payment, type Problem } from './client';

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

/** An answer about a key: it is voided, or `payment` had been made under it. */
export interface VoidAnswer {
  status: number;
  voided: boolean;
  payment: Payment | null;
  /** Its bytes, as text. */
  text: string;
  problem: Problem | null;
  retryAfterMs: number | null;
}

/** Longer than the service ever takes: then the wire is dead, not slow. */
const TRY_TIMEOUT_MS = 15_000;

interface Came {
  text: string;
  problem: Problem | null;
  response: Response;
}

type Call = (
  signal: AbortSignal,
) => Promise<{ data?: unknown; error?: unknown; response: Response }>;

/** Asks once. `null`: there was no answer, so nothing is known. */
async function once(call: Call, signal?: AbortSignal): Promise<Came | null> {
  const limit = AbortSignal.timeout(TRY_TIMEOUT_MS);
  try {
    const given = await call(signal ? AbortSignal.any([signal, limit]) : limit);
    const { data, error, response } = given;
    return {
      text: typeof data === 'string' ? data : '',
      problem: response.ok ? null : problemOf(error),
      response,
    };
  } catch {
    return null;
  }
}

/** Sends a payment once. Nobody waits for the answer any longer once `signal` says so. */
export async function sendOnce(
  body: Intent & { unless_similar_within_seconds?: number },
  signal?: AbortSignal,
): Promise<Answer | null> {
  const call: Call = (signal) => api.PUT('/send_payment', { body, signal, parseAs: 'text' });
  const came = await once(call, signal);
  if (!came) return null;
  const { text, problem, response } = came;
  return {
    status: response.status,
    text,
    payment: response.ok ? paymentIn(parsed(text)) : null,
    problem,
    replayed: response.headers.get('idempotency-replayed') === 'true',
    retryAfterMs: retryAfterMs(response),
    timing: timingOf(response.headers.get('server-timing')),
  };
}

/** Asks once to void the key of a payment. */
export async function voidOnce({ from, idempotency_key }: Intent): Promise<VoidAnswer | null> {
  const body = { from, idempotency_key };
  const call: Call = (signal) => api.PUT('/voided_keys', { body, signal, parseAs: 'text' });
  const came = await once(call);
  if (!came) return null;
  const { text, problem, response } = came;
  const { voided, payment } = fieldsOf(response.ok ? parsed(text) : null);
  return {
    status: response.status,
    voided: voided === true,
    payment: voided === false ? paymentIn(payment) : null,
    text,
    problem,
    retryAfterMs: retryAfterMs(response),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function paymentIn(value: unknown): Payment | null {
  const { id, amount } = fieldsOf(value);
  return typeof id === 'string' && typeof amount === 'number' ? (value as Payment) : null;
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
