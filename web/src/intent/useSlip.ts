import { useEffect, useSyncExternalStore } from 'react';
import { type Slip } from './machine';
import { subscribeToMe } from '../people/me';
import { activityOf, changeHands, resumeAll, subscribeToActivity, type Activity } from './sender';
import { payersAsking, readSlip, subscribe } from './store';

/** The payer's slip, followed through every tab. */
export function useSlip(payer: number): Slip {
  return useSyncExternalStore(subscribe, () => readSlip(payer));
}

/** What this tab's sender does for the payer; null while it does nothing, or another tab sends. */
export function useActivity(payer: number): Activity | null {
  return useSyncExternalStore(subscribeToActivity, () => activityOf(payer));
}

/** Those who have a payment under way in this browser. */
export function usePayersAsking(): number[] {
  // As a text, which stays equal while nothing changes.
  const text = useSyncExternalStore(subscribe, () => payersAsking().join(' '));
  return text.split(' ').filter(Boolean).map(Number);
}

/** Takes up what is unfinished: now, and whenever a slip changes in any tab, or who is here. */
export function useSender() {
  useEffect(() => {
    resumeAll();
    return subscribe(resumeAll);
  }, []);
  useEffect(() => subscribeToMe(changeHands), []);
}
