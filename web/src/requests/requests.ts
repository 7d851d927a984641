/** Requests for money: asked of the service, read and closed. */

import { answered, api, ApiFailure, readSignal, type PaymentRequest } from '../api/client';
import { plainWords } from '../api/problems';
import { nextCursor, PAGE_SIZE, type Cursor } from '../history/pages';

/** Who is asked: the account (`incoming`), or others, by it. */
export type Direction = 'incoming' | 'outgoing';

export interface RequestPage {
  requests: PaymentRequest[];
  /** Null on the last page. */
  next: Cursor | null;
}

/** Reads a page, newest first: of those that are open, or of all. */
export async function readRequests(
  account: number,
  direction: Direction,
  isOpenOnly: boolean,
  cursor: Cursor | null,
  signal?: AbortSignal,
): Promise<RequestPage> {
  const status = isOpenOnly ? ({ status: 'open' } as const) : {};
  const { data, response } = await answered(
    api.GET('/payment_requests', {
      params: { query: { account, direction, ...status, ...cursor, limit: PAGE_SIZE } },
      signal: readSignal(signal),
      cache: 'no-store',
    }),
  );
  return { requests: data, next: nextCursor(response.headers.get('link')) };
}

/** A request as somebody wants to make it; with its key it is made once, however often it is sent. */
export interface Ask {
  key: string;
  from: number;
  to: number;
  /** Cents. */
  amount: number;
  note: string | null;
  /** RFC 3339; null: it stays open. */
  expires_at: string | null;
}

/** What became of it, as far as it is known. */
export type Asked =
  | { kind: 'asked'; request: PaymentRequest }
  | { kind: 'refused'; why: string }
  | { kind: 'unknown' };

export async function ask({ key, from, to, amount, note, expires_at }: Ask): Promise<Asked> {
  const body = { from, to, amount, note, ...(expires_at !== null && { expires_at }) };
  try {
    const call = api.POST('/payment_requests', {
      body,
      params: { header: { 'Idempotency-Key': key } },
      signal: readSignal(),
    });
    return { kind: 'asked', request: (await answered(call)).data };
  } catch (error) {
    const problem = error instanceof ApiFailure ? error.problem : null;
    if (!problem || problem.retryable) return { kind: 'unknown' };
    return { kind: 'refused', why: plainWords(problem.code, problem.detail) };
  }
}

/** Declines a request that was asked of one, or cancels one's own: both are final. */
export async function close(id: string, how: 'decline' | 'cancel'): Promise<PaymentRequest> {
  const options = { params: { path: { id } }, signal: readSignal() };
  const call =
    how === 'decline'
      ? api.POST('/payment_requests/{id}/decline', options)
      : api.POST('/payment_requests/{id}/cancel', options);
  return (await answered(call)).data;
}
