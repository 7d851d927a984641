/**
 * Who is looking: the `as` of the page's address, so that two windows can be two people; without it
 * who this window was before, and then who any window was.
 */

import { useEffect, useSyncExternalStore } from 'react';

const ME = 'payonce.me';
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
  const asked = new URLSearchParams(location.search).get('as');
  const text = asked ?? sessionStorage.getItem(ME) ?? localStorage.getItem(ME) ?? '';
  return /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : null;
}

/** `undefined` while the page is not in a browser yet, `null` where nobody was chosen. */
export function useMe(): number | null | undefined {
  const me = useSyncExternalStore<number | null | undefined>(subscribe, read, () => undefined);
  useEffect(() => {
    if (typeof me === 'number') sessionStorage.setItem(ME, String(me));
  }, [me]);
  return me;
}

/** Becomes somebody, or nobody. */
export function become(id: number | null) {
  const url = new URL(location.href);
  if (id === null) {
    url.searchParams.delete('as');
    sessionStorage.removeItem(ME);
    localStorage.removeItem(ME);
  } else {
    url.searchParams.set('as', String(id));
    localStorage.setItem(ME, String(id));
  }
  history.pushState(null, '', url);
  for (const listener of listeners) listener();
}
