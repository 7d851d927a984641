/** Whom the accounts belong to. */

import { useQuery } from '@tanstack/react-query';
import { answered, api, ApiFailure, readSignal, type NamedAccount } from '../api/client';
import { isLabAccount } from '../lab/accounts';

/** Where money enters the ledger. It is nobody to send money to. */
const BANK = 0;

/** The service's limit for one list. */
const LIST_SIZE = 100;

/** Accounts do not change their names while one looks. */
const NAMES_STAY_MS = 60_000;

const ASK_AGAIN_MS = 3_000;

/** What a person is called. */
export function nameOf(id: number, name: string | null | undefined): string {
  if (id === BANK) return 'The bank';
  return name ?? `Account ${id}`;
}

/** Soon after a failure that may pass. */
function askAgainMs(error: unknown): number | false {
  if (!error) return false;
  if (!(error instanceof ApiFailure)) return ASK_AGAIN_MS;
  if (error.problem && !error.problem.retryable) return false;
  return Math.max(ASK_AGAIN_MS, error.retryAfterMs);
}

/** The first hundred people. */
export function usePeople() {
  return useQuery({
    queryKey: ['people'],
    queryFn: async ({ signal }) => {
      const query = { limit: LIST_SIZE };
      const { data } = await answered(
        api.GET('/accounts', { params: { query }, signal: readSignal(signal) }),
      );
      return data.filter(({ id }) => id !== BANK && !isLabAccount(id));
    },
    staleTime: NAMES_STAY_MS,
    refetchInterval: ({ state: { error } }) => askAgainMs(error),
  });
}

/** The names of accounts beyond those, by their ids. */
export function useNames(ids: number[]): (id: number) => string {
  const people = usePeople().data ?? [];
  const known = new Map(people.map(({ id, name }) => [id, name]));
  const missing = [...new Set(ids)].filter((id) => !known.has(id)).sort((a, b) => a - b);
  const found = useQuery({
    queryKey: ['names', ...missing],
    queryFn: async ({ signal }) => byIds(missing.slice(0, LIST_SIZE), signal),
    enabled: missing.length > 0,
    staleTime: NAMES_STAY_MS,
    placeholderData: (before) => before,
  }).data;
  for (const { id, name } of found ?? []) known.set(id, name);
  return (id) => nameOf(id, known.get(id));
}

/** The account with this number, or null. */
export async function personById(id: number, signal?: AbortSignal): Promise<NamedAccount | null> {
  return (await byIds([id], signal))[0] ?? null;
}

async function byIds(ids: number[], signal?: AbortSignal): Promise<NamedAccount[]> {
  const query = { ids: ids.join(',') };
  return (await answered(api.GET('/accounts', { params: { query }, signal: readSignal(signal) })))
    .data;
}
