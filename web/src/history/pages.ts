/**
 * A history as the pages that were read. Payments never change and their times strictly increase
 * along an account, so new ones only ever join at the top, and the cursor at the end stays exact.
 */

import { answered, api, readSignal, type Payment } from '../api/client';

/** Where the next page begins: the texts that the service gave, unread. */
export interface Cursor {
  last_seen_timestamp: string;
  last_seen_id?: string;
}

export interface Page {
  payments: Payment[];
  /** Null on the last page. */
  next: Cursor | null;
}

/** The payments of a history that are looked at. */
export const PARTS = ['all', 'sent', 'received'] as const;
export type Part = (typeof PARTS)[number];

/** The brief's page. */
export const PAGE_SIZE = 10;

/** After so many pages of news in one look, the history is read anew instead. */
const NEWS_PAGES_MAX = 10;

/** So many news are there at least, then. */
export const NEWS_MAX = NEWS_PAGES_MAX * PAGE_SIZE;

/** Reads a page: the newest payments of a part, or those after a cursor. */
export async function readPage(
  account: number,
  cursor: Cursor | null,
  signal?: AbortSignal,
  part: Part = 'all',
): Promise<Page> {
  const direction = part === 'all' ? undefined : part;
  const { data, response } = await answered(
    api.GET('/payment_history/{user}', {
      params: { path: { user: account }, query: { ...cursor, direction, limit: PAGE_SIZE } },
      signal: readSignal(signal),
      // The browser's cache knows nothing of money.
      cache: 'no-store',
    }),
  );
  return { payments: data, next: nextCursor(response.headers.get('link')) };
}

/** The cursor in a `Link` header (RFC 8288) with `rel="next"`. */
export function nextCursor(link: string | null): Cursor | null {
  const target = /<([^>]*)>\s*;\s*rel="next"/.exec(link ?? '')?.[1];
  if (target === undefined) return null;
  const query = new URLSearchParams(target.slice(target.indexOf('?') + 1));
  const last_seen_timestamp = query.get('last_seen_timestamp');
  if (last_seen_timestamp === null) return null;
  const last_seen_id = query.get('last_seen_id');
  return last_seen_id === null ? { last_seen_timestamp } : { last_seen_timestamp, last_seen_id };
}

/**
 * The payments that are newer than the one with the id `newest`; `null` where they are so many that
 * reading anew is cheaper.
 */
export async function readNews(
  account: number,
  newest: string | null,
  signal?: AbortSignal,
): Promise<Payment[] | null> {
  const news: Payment[] = [];
  let cursor: Cursor | null = null;
  for (let pages = 0; pages < NEWS_PAGES_MAX; pages += 1) {
    const page = await readPage(account, cursor, signal);
    const known = page.payments.findIndex((payment) => payment.id === newest);
    if (known >= 0) return [...news, ...page.payments.slice(0, known)];
    news.push(...page.payments);
    if (!page.next) return news;
    cursor = page.next;
  }
  return null;
}

/** Puts news above the first page. What is there already is left out. */
export function withNews(pages: Page[], news: Payment[]): Page[] {
  const [first, ...rest] = pages;
  if (!first || news.length === 0) return pages;
  const known = new Set(first.payments.map((payment) => payment.id));
  const added = news.filter((payment) => !known.has(payment.id));
  return [{ ...first, payments: [...added, ...first.payments] }, ...rest];
}

/**
 * The payments of a part: those that were read as it, below those of the whole history that came later. News join the
 * whole alone, whose payments from its top down have no gap.
 */
export function inPart(account: number, part: Part, whole: Payment[], read: Payment[]): Payment[] {
  if (part === 'all') return whole;
  const isIn = ({ from_id }: Payment) => (from_id === account) === (part === 'sent');
  const newest = read[0]?.created_at ?? '';
  return [...whole.filter((it) => isIn(it) && it.created_at > newest), ...read];
}
