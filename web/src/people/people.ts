/** Whom the accounts belong to. */

import { skipToken, useQuery, useQueryClient, type QueryClient } from '@tanstack/react-query';
import { answered, api, ApiFailure, readSignal, type NamedAccount } from '../api/client';
import { isLabAccount } from '../lab/accounts';
import { useIsOperator } from '../session/session';
import { BANK, inWords, Known, type Called } from './names';

/** The service's limit for one list. */
const LIST_SIZE = 100;

/** The service's limit for a name. */
const NAME_CHARS_MAX = 100;

/** Accounts do not change their names while one looks. */
const NAMES_STAY_MS = 60_000;

const ASK_AGAIN_MS = 3_000;

/** Soon after a failure that may pass. */
function askAgainMs(error: unknown): number | false {
  if (!error) return false;
  if (!(error instanceof ApiFailure)) return ASK_AGAIN_MS;
  if (error.problem && !error.problem.retryable) return false;
  return Math.max(ASK_AGAIN_MS, error.retryAfterMs);
}

const KNOWN = ['known'];
const NOBODY = new Known();

/** Everybody whose name this window has read, until somebody else signs in. */
function useKnown(): Known {
  const { data } = useQuery<Known>({ queryKey: KNOWN, queryFn: skipToken, gcTime: Infinity });
  return data ?? NOBODY;
}

/** Remembers what accounts are called. */
export function getToKnow(client: QueryClient, accounts: { id: number; name?: string | null }[]) {
  client.setQueryData<Known>(KNOWN, (before = NOBODY) => before.with(accounts));
}

/** The first hundred people, for operators; the list is not read for others, who may not. */
export function usePeople() {
  const client = useQueryClient();
  const enabled = useIsOperator();
  return useQuery({
    enabled,
    queryKey: ['people'],
    queryFn: async ({ signal }) => {
      const query = { limit: LIST_SIZE };
      const { data } = await answered(
        api.GET('/accounts', { params: { query }, signal: readSignal(signal) }),
      );
      return peopleIn(client, data);
    },
    staleTime: NAMES_STAY_MS,
    refetchInterval: ({ state: { error } }) => askAgainMs(error),
  });
}

/** The first ten whose names begin with a text, whatever its case; nobody where there is none. */
export function useNamed(text: string) {
  const client = useQueryClient();
  return useQuery({
    queryKey: ['named', text.toLowerCase()],
    queryFn: async ({ signal }) => {
      const query = { name: text };
      const call = api.GET('/accounts', { params: { query }, signal: readSignal(signal) });
      return peopleIn(client, (await answered(call)).data);
    },
    enabled: text !== '' && [...text].length <= NAME_CHARS_MAX,
    staleTime: NAMES_STAY_MS,
  });
}

/** Those of the accounts that are somebody's. Remembers their names. */
function peopleIn(client: QueryClient, accounts: NamedAccount[]): NamedAccount[] {
  const people = accounts.filter(({ id }) => id !== BANK && !isLabAccount(id));
  getToKnow(client, people);
  return people;
}

/** The names of accounts, by their ids; asks for the names of these where it has to. */
export function useCalled(ids: number[] = []): (id: number) => Called {
  const client = useQueryClient();
  const known = useKnown();
  const missing = [...new Set(ids)].filter((id) => !known.has(id)).sort((a, b) => a - b);
  useQuery({
    queryKey: ['names', ...missing],
    queryFn: async ({ signal }) => byIds(client, missing.slice(0, LIST_SIZE), signal),
    enabled: missing.length > 0,
    staleTime: NAMES_STAY_MS,
  });
  return (id) => known.called(id);
}

/** The same as texts for sentences. */
export function useNames(ids: number[]): (id: number) => string {
  const called = useCalled(ids);
  return (id) => inWords(called(id));
}

/** The account with this number, or null. */
export function usePerson(id: number | null) {
  const client = useQueryClient();
  return useQuery({
    queryKey: ['person', id],
    queryFn: async ({ signal }) => (await byIds(client, [id ?? BANK], signal))[0] ?? null,
    enabled: id !== null,
  });
}

async function byIds(
  client: QueryClient,
  ids: number[],
  signal?: AbortSignal,
): Promise<NamedAccount[]> {
  const query = { ids: ids.join(',') };
  const call = api.GET('/accounts', { params: { query }, signal: readSignal(signal) });
  const { data } = await answered(call);
  getToKnow(client, data);
  return data;
}
