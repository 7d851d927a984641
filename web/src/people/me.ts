/** Who is looking: the `as` of the page's address, so that two windows can be two people. */

import { useSyncExternalStore } from 'react';

const LAST = 'payonce.me';
const listeners = new Set<() => void>();

function subscribe(listener: () => void) {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

function read(): number | null {
  const text = new URLSearchParams(location.search).get('as') ?? localStorage.getItem(LAST) ?? '';
  return /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null;
}

/** `undefined` while the page is not in a browser yet, `null` where nobody was chosen. */
export function useMe(): number | null | undefined {
  return useSyncExternalStore<number | null | undefined>(subscribe, read, () => undefined);
}

/** Becomes somebody, or nobody. */
export function become(id: number | null) {
  const url = new URL(location.href);
  if (id === null) {
    url.searchParams.delete('as');
    localStorage.removeItem(LAST);
  } else {
    url.searchParams.set('as', String(id));
    localStorage.setItem(LAST, String(id));
  }
  history.pushState(null, '', url);
  for (const listener of listeners) listener();
}
