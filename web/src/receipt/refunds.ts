import type { Payment } from '../api/client';
import { BANK } from '../people/names';

/** The cents of a payment that were not given back. */
export function leftOf({ amount, refunded }: Payment): number {
  return Math.max(0, amount - (refunded ?? 0));
}

/** Whether a payment can be given back by somebody: by its payee, and neither a refund nor what the bank gave. */
export function isRefundableBy({ from_id, to_id, refund_of }: Payment, me: number | null): boolean {
  return to_id === me && from_id !== BANK && !refund_of;
}
