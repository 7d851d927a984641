import { useEffect, useSyncExternalStore } from 'react';
import { type Slip } from './machine';
import { subscribeToMe } from '../people/me';
import { activityOf, changeHands, resumeAll, subscribeToActivity, type Activity } from './sender';
import {
  followSlips,
  loadSlip,
  payersAsking,
  readTrouble,
  subscribe,
  viewSlip,
  type StoreTrouble,
} from './store';

/** The payer's slip, followed through every tab; null until it was read. */
export function useSlip(payer: number): Slip | null {
  useEffect(() => void loadSlip(payer), [payer]);
  return useSyncExternalStore(
    subscribe,
    () => viewSlip(payer),
    () => null,
  );
}

/** Why this browser cannot store a payment, so that none can be sent; null where it can. */
export function useStoreTrouble(): StoreTrouble | null {
  return useSyncExternalStore(subscribe, readTrouble, () => null);
}

/** The work of this tab's sender for the payer; null while it does nothing, or another tab sends. */
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
    const unsubscribe = subscribe(resumeAll);
    const unfollow = followSlips();
    return () => {
      unsubscribe();
      unfollow();
    };
  }, []);
  useEffect(() => subscribeToMe(changeHands), []);
}
