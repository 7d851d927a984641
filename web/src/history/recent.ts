import type { Payment } from '../api/client';
import { isLabAccount } from '../lab/accounts';
import { BANK } from '../people/names';
import { useHistory } from './useHistory';

/** Whom an account has paid, the latest first, and then who has paid it: each once. */
export function othersIn(payments: Payment[], me: number): number[] {
  const payees = payments.filter(({ from_id }) => from_id === me).map(({ to_id }) => to_id);
  const payers = payments.filter(({ to_id }) => to_id === me).map(({ from_id }) => from_id);
  const others = [...new Set([...payees, ...payers])];
  return others.filter((id) => id !== me && id !== BANK && !isLabAccount(id));
}

/** The same of the account's history, as far as it was read. */
export function useRecent(me: number): { recent: number[]; isPending: boolean } {
  const { data, isPending } = useHistory(me);
  const payments = data?.pages.flatMap((page) => page.payments) ?? [];
  return { recent: othersIn(payments, me), isPending };
}
