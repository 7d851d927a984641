import { useQuery } from '@tanstack/react-query';
import { answered, api, ApiFailure, readSignal } from '../api/client';

/** How often the page looks whether something was given back, while it is visible. */
const LOOK_EVERY_MS = 3_000;

export const paymentKey = ['payment'];

/** A payment with what was given back of it, looked at again and again. */
export function usePayment(id: string | null) {
  return useQuery({
    queryKey: [...paymentKey, id],
    queryFn: async ({ signal }) => {
      const call = api.GET('/payments/{id}', {
        params: { path: { id: id ?? '' } },
        signal: readSignal(signal),
        cache: 'no-store',
      });
      return (await answered(call)).data;
    },
    enabled: id !== null,
    refetchInterval: ({ state: { error } }) => {
      if (!(error instanceof ApiFailure)) return LOOK_EVERY_MS;
      // What does not exist will not.
      const mayHelp = error.problem === null || error.problem.retryable;
      return mayHelp && Math.max(LOOK_EVERY_MS, error.retryAfterMs);
    },
  });
}
