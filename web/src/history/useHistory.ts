import {
  useInfiniteQuery,
  useQuery,
  useQueryClient,
  type InfiniteData,
} from '@tanstack/react-query';
import { answered, api, ApiFailure, readSignal } from '../api/client';
import { readNews, readPage, withNews, type Cursor, type Page } from './pages';

/** How often the page looks for money that arrived, while it is visible. */
const LOOK_EVERY_MS = 2_000;

/** When to look again: not before the service wants to be asked. */
function lookAgainMs({ state: { error } }: { state: { error: unknown } }): number {
  return Math.max(LOOK_EVERY_MS, error instanceof ApiFailure ? error.retryAfterMs : 0);
}

type Pages = InfiniteData<Page, Cursor | null>;

const historyKey = (account: number) => ['history', account];

/** The account's payments, newest first, as far as they were scrolled to. */
export function useHistory(account: number) {
  return useInfiniteQuery({
    queryKey: historyKey(account),
    queryFn: ({ pageParam, signal }) => readPage(account, pageParam, signal),
    initialPageParam: null as Cursor | null,
    getNextPageParam: (page: Page) => page.next,
    // What was read stays true; what is new comes from `useNews`.
    staleTime: Infinity,
  });
}

/** The account itself, looked at again and again. */
export function useAccount(account: number) {
  return useQuery({
    queryKey: ['account', account],
    queryFn: async ({ signal }) => {
      const path = { path: { id: account } };
      const call = api.GET('/accounts/{id}', {
        params: path,
        signal: readSignal(signal),
        cache: 'no-store',
      });
      return (await answered(call)).data;
    },
    refetchInterval: lookAgainMs,
  });
}

/** Looks for new payments and puts them at the top of the history. */
export function useNews(account: number) {
  const client = useQueryClient();
  const key = historyKey(account);
  return useQuery({
    queryKey: ['news', account],
    queryFn: async ({ signal }) => {
      const before = client.getQueryData<Pages>(key);
      if (!before) return 0;
      const newest = before.pages[0]?.payments[0]?.id ?? null;
      const news = await readNews(account, newest, signal);
      if (news === null) {
        await client.resetQueries({ queryKey: key });
      } else if (news.length > 0) {
        client.setQueryData<Pages>(
          key,
          (now) => now && { ...now, pages: withNews(now.pages, news) },
        );
      }
      return news?.length ?? 0;
    },
    refetchInterval: lookAgainMs,
  });
}

/** Looks at once: for whoever has just paid. */
export function useLookNow(account: number) {
  const client = useQueryClient();
  return () => {
    void client.invalidateQueries({ queryKey: ['account', account] });
    void client.invalidateQueries({ queryKey: ['news', account] });
  };
}
