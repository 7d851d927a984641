/** The laboratory's own accounts, so that experiments leave everybody else's money alone. */

import { answered, api, readSignal } from '../api/client';

/** Far above the numbers that the service gives by itself. */
const FIRST = 900_000_000;
const LAST = FIRST + 999;
const OPENING_CENTS = 1_000_000;

export function isLabAccount(id: number): boolean {
  return id >= FIRST && id <= LAST;
}

/** The laboratory's account with an index from 0 to 999, opened with money where it is not there yet. */
export async function labAccount(index: number): Promise<number> {
  const id = FIRST + index;
  const call = api.POST('/accounts', {
    body: { id, name: `Lab ${index}`, opening_balance: OPENING_CENTS },
    // A fixed key: asking again gives the account that was opened.
    params: { header: { 'Idempotency-Key': `playground-laboratory-${index}` } },
    signal: readSignal(),
  });
  await answered(call);
  return id;
}

/** Several of them. */
export async function labAccounts(first: number, count: number): Promise<number[]> {
  const ids: number[] = [];
  for (let index = first; index < first + count; index += 1) ids.push(await labAccount(index));
  return ids;
}

/** What an account has, in cents. */
export async function balanceOf(id: number): Promise<number> {
  const call = api.GET('/accounts/{id}', {
    params: { path: { id } },
    signal: readSignal(),
    cache: 'no-store',
  });
  return (await answered(call)).data.balance;
}
