import {
  useInfiniteQuery,
  useQuery,
  useQueryClient,
  type InfiniteData,
  type QueryClient,
} from '@tanstack/react-query';
import { answered, api, ApiFailure, readSignal, type Payment } from '../api/client';
import { lookEveryMs } from '../live/live';
import { getToKnow } from '../people/people';
import { paymentKey } from '../receipt/usePayment';
import { requestsKey } from '../requests/useRequests';
import { readNews, readPage, withNews, type Cursor, type Page, type Part } from './pages';

/** How often the page looks for money that arrived, while it is visible and not told. */
const LOOK_EVERY_MS = 2_000;

/** When to look again: not before the service wants to be asked. */
function lookAgainMs({ state: { error } }: { state: { error: unknown } }): number {
  return Math.max(lookEveryMs(LOOK_EVERY_MS), error instanceof ApiFailure ? error.retryAfterMs : 0);
}

type Pages = InfiniteData<Page, Cursor | null>;

const historyKey = (account: number, part: Part = 'all') => ['history', account, part];

/** The account's payments, or a part of them, newest first, as far as they were scrolled to. */
export function useHistory(account: number, part: Part = 'all') {
  return useInfiniteQuery({
    queryKey: historyKey(account, part),
    queryFn: ({ pageParam, signal }) => readPage(account, pageParam, signal, part),
    initialPageParam: null as Cursor | null,
    getNextPageParam: (page: Page) => page.next,
    // Pages that were read stay true; new payments come from `useNews`.
    staleTime: Infinity,
  });
}

/** The account itself, looked at again and again. */
export function useAccount(account: number) {
  const client = useQueryClient();
  return useQuery({
    queryKey: ['account', account],
    queryFn: async ({ signal }) => {
      const path = { path: { id: account } };
      const call = api.GET('/accounts/{id}', {
        params: path,
        signal: readSignal(signal),
        cache: 'no-store',
      });
      const { data } = await answered(call);
      getToKnow(client, [data]);
      return data;
    },
    refetchInterval: lookAgainMs,
  });
}

/** Payments that have come since the newest one that is shown. */
export interface News {
  /** Newest first; none of them where they are many. */
  payments: Payment[];
  /** They are so many that the history is to be read anew. */
  areMany: boolean;
}

const NO_NEWS: News = { payments: [], areMany: false };

const newsKey = (account: number) => ['news', account];

/** Looks for new payments, which wait until they are taken: put at the top of the history. */
export function useNews(account: number): { news: News; take: () => void } {
  const client = useQueryClient();
  const { data } = useQuery({
    queryKey: newsKey(account),
    queryFn: async ({ signal }) => {
      const shown = client.getQueryData<Pages>(historyKey(account));
      const waiting = client.getQueryData<News>(newsKey(account)) ?? NO_NEWS;
      if (!shown || waiting.areMany) return waiting;
      const newest = waiting.payments[0] ?? shown.pages[0]?.payments[0];
      const news = await readNews(account, newest?.id ?? null, signal);
      if (news === null) return { payments: [], areMany: true };
      // Those that waited may have been taken meanwhile.
      const still = client.getQueryData<News>(newsKey(account)) ?? NO_NEWS;
      return { payments: [...news, ...still.payments], areMany: false };
    },
    refetchInterval: lookAgainMs,
  });
  const take = () => {
    const { payments, areMany } = client.getQueryData<News>(newsKey(account)) ?? NO_NEWS;
    if (areMany) void client.resetQueries({ queryKey: historyKey(account) });
    client.setQueryData<Pages>(
      historyKey(account),
      (now) => now && { ...now, pages: withNews(now.pages, payments) },
    );
    client.setQueryData<News>(newsKey(account), NO_NEWS);
  };
  return { news: data ?? NO_NEWS, take };
}

/** Looks at once at everything that a payment may have changed. */
export async function lookNow(client: QueryClient, account: number): Promise<void> {
  const all = [
    ['account', account],
    newsKey(account),
    // What was paid may be a request, or give something back.
    requestsKey(account),
    paymentKey,
  ];
  await Promise.all(all.map((queryKey) => client.invalidateQueries({ queryKey })));
}

/** The same, for a payer who has just paid. */
export function useLookNow(account: number) {
  const client = useQueryClient();
  return () => void lookNow(client, account);
}
