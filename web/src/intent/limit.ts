/**
 * The sum above which a person wants to be asked before it is paid: of their own choice, for each account, and kept
 * in this browser. It is a help, not a lock: other devices know nothing of it.
 */

import { useSyncExternalStore } from 'react';
import { forget, recall, remember } from '../session/remember';

const nameOf = (me: number) => `payonce.limit.${me}`;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  // Another window has changed it.
  window.addEventListener('storage', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('storage', listener);
  };
}

function read(me: number): number | null {
  const text = recall('local', nameOf(me)) ?? '';
  return /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null;
}

/** Cents; null where nobody wants to be asked. */
export function useLimit(me: number): number | null {
  return useSyncExternalStore(
    subscribe,
    () => read(me),
    () => null,
  );
}

export function setLimit(me: number, cents: number | null) {
  if (cents === null) forget('local', nameOf(me));
  else remember('local', nameOf(me), String(cents));
  for (const listener of listeners) listener();
}
