/** An account's payments as they are made: Server-Sent Events, read by `fetch`, which sends the token. */

import { createParser } from 'eventsource-parser';
import { api, ApiFailure, problemOf, retryAfterMs, type FeedPayment } from '../api/client';

/** The service sends a comment every 15 seconds at least: without a word for so long, the wire is cut. */
const SILENCE_MS_MAX = 40_000;

/** The events of a stream. */
export interface Watcher {
  /** It has begun: the payments come after this position. */
  began: (position: number) => void;
  paid: (payment: FeedPayment) => void;
}

/**
 * Reads a stream to its end, from the position that was seen last or from now on. Rejects with an `ApiFailure` where the
 * service refuses it, or the wire breaks.
 */
export async function watch(
  account: number,
  after: number | null,
  signal: AbortSignal,
  { began, paid }: Watcher,
): Promise<void> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS_MAX);
  };
  const parser = createParser({
    onEvent: ({ event, id, data }) => {
      if (event === 'begin') began(Number(id));
      else if (event === undefined) paid(JSON.parse(data) as FeedPayment);
    },
  });
  try {
    const { data, error, response } = await api.GET('/accounts/{id}/events', {
      params: { path: { id: account }, header: after === null ? {} : { 'Last-Event-ID': after } },
      parseAs: 'stream',
      signal: AbortSignal.any([signal, silence.signal]),
      cache: 'no-store',
    });
    if (!data) throw new ApiFailure(problemOf(error), retryAfterMs(response) ?? 0);
    const reader = data.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parser.feed(value);
    }
  } catch (error) {
    throw error instanceof ApiFailure ? error : new ApiFailure(null);
  } finally {
    clearTimeout(timer);
  }
}
