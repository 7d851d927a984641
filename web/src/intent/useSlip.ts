import { useEffect, useSyncExternalStore } from 'react';
import { type Slip } from './machine';
import { activityOf, resumeAll, subscribeToActivity, type Activity } from './sender';
import { readSlip, subscribe } from './store';

/** The payer's slip, followed through every tab. */
export function useSlip(payer: number): Slip {
  return useSyncExternalStore(subscribe, () => readSlip(payer));
}

/** What this tab's sender does for the payer; null while it does nothing, or another tab sends. */
export function useActivity(payer: number): Activity | null {
  return useSyncExternalStore(subscribeToActivity, () => activityOf(payer));
}

/** Takes up what is unfinished: now, and whenever a slip changes in any tab. */
export function useSender() {
  useEffect(() => {
    resumeAll();
    return subscribe(resumeAll);
  }, []);
}
