import { useInfiniteQuery, useQuery, useQueryClient } from '@tanstack/react-query';
import { ApiFailure } from '../api/client';
import type { Cursor } from '../history/pages';
import { readRequests, type Direction, type RequestPage } from './requests';

/** How often the page looks for requests, while it is visible. */
const LOOK_EVERY_MS = 3_000;

/** When to look again: not before the service wants to be asked. */
function lookAgainMs({ state: { error } }: { state: { error: unknown } }): number {
  return Math.max(LOOK_EVERY_MS, error instanceof ApiFailure ? error.retryAfterMs : 0);
}

export const requestsKey = (account: number) => ['requests', account];

/** Requests of an account, newest first, as far as they were loaded. */
export function useRequests(account: number, direction: Direction, isOpenOnly: boolean) {
  return useInfiniteQuery({
    queryKey: [...requestsKey(account), direction, isOpenOnly],
    queryFn: ({ pageParam, signal }) =>
      readRequests(account, direction, isOpenOnly, pageParam, signal),
    initialPageParam: null as Cursor | null,
    getNextPageParam: (page: RequestPage) => page.next,
    refetchInterval: lookAgainMs,
  });
}

/** How many open requests an account is asked to pay, as a text: `3`, `10+`; null where there are none. */
export function useAskedOf(account: number | null): string | null {
  const { data } = useQuery({
    queryKey: [...requestsKey(account ?? 0), 'count'],
    queryFn: ({ signal }) => readRequests(account ?? 0, 'incoming', true, null, signal),
    enabled: account !== null,
    refetchInterval: lookAgainMs,
    // The header is no place to say that the service does not answer.
    retry: false,
  });
  if (account === null || !data || data.requests.length === 0) return null;
  return `${data.requests.length}${data.next ? '+' : ''}`;
}

/** Looks at once: for somebody who has just changed one. */
export function useLookAtRequests(account: number) {
  const client = useQueryClient();
  return () => void client.invalidateQueries({ queryKey: requestsKey(account) });
}
