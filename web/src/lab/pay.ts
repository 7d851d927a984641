/** Payments of the laboratory. */

import type { Intent } from '../api/client';
import { sendOnce, type Answer } from '../api/send';
import { plainWords } from '../api/problems';
import { newKey } from '../intent/key';
import { pause } from '../pause';
import { Surprise } from './useExperiment';

/** A browser opens so many connections to one server; more requests would wait in the browser. */
export const CONNECTIONS = 6;

/** The pause before a retry, where the service asks for none. */
const PAUSE_MS = 1_000;

export function request(from: number, to: number, amount: number, note: string): Intent {
  return {
    from,
    to,
    amount,
    note,
    created_at: new Date().toISOString(),
    idempotency_key: newKey(),
  };
}

/** An answer that says the payment was made. */
export type PaidAnswer = Answer & { payment: NonNullable<Answer['payment']> };

/** Sends, and expects it to be paid. */
export async function pay(body: Intent): Promise<PaidAnswer> {
  const answer = await sendOnce(body);
  if (!answer) throw new Surprise('A request got no answer. Is the service running?');
  const { payment, problem } = answer;
  if (!payment) {
    throw new Surprise(
      problem ? plainWords(problem.code, problem.detail) : `Status ${answer.status} came back.`,
    );
  }
  return { ...answer, payment };
}

/**
 * Sends the same again until it is paid for certain; `again` hears of each try that was not, which may have been all the
 * same. It gives up when `signal` says so.
 */
export async function payForCertain(
  body: Intent,
  again: () => void,
  signal: AbortSignal,
): Promise<PaidAnswer> {
  for (;;) {
    const answer = await sendOnce(body, signal);
    if (answer?.payment) return { ...answer, payment: answer.payment };
    const problem = answer?.problem;
    if (problem && !problem.retryable) throw new Surprise(plainWords(problem.code, problem.detail));
    signal.throwIfAborted();
    again();
    await pause(answer?.retryAfterMs ?? PAUSE_MS, signal);
  }
}

/** Does all the work, as much at one time as there are connections; results in the order given. */
export async function sideBySide<T, R>(
  work: T[],
  each: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(work.length);
  let next = 0;
  const lane = async () => {
    while (next < work.length) {
      const index = next;
      next += 1;
      results[index] = await each(work[index] as T, index);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return results;
}
