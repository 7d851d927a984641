/**
 * Who is looking: the `as` of the page's address, so that two windows can be two people, and the
 * way back leads to who one was. An address without it is opened as who this window was before, and
 * else as who any window was.
 */

import { useEffect, useState, useSyncExternalStore } from 'react';

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

function accountIn(text: string | null): number | null {
  const isNumber = text !== null && /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text));
  return isNumber ? Number(text) : null;
}

function inAddress(): number | null {
  return accountIn(new URLSearchParams(location.search).get('as'));
}

function addressOf(id: number | null): URL {
  const url = new URL(location.href);
  if (id === null) url.searchParams.delete('as');
  else url.searchParams.set('as', String(id));
  return url;
}

/** `undefined` while the page is not in a browser yet, `null` where nobody was chosen. */
export function useMe(): number | null | undefined {
  const me = useSyncExternalStore(subscribe, inAddress, () => null);
  const [isOpened, setIsOpened] = useState(false);
  useEffect(() => {
    const before = accountIn(sessionStorage.getItem(ME) ?? localStorage.getItem(ME));
    if (inAddress() === null && before !== null) {
      history.replaceState(null, '', addressOf(before));
      for (const listener of listeners) listener();
    }
    setIsOpened(true);
  }, []);
  useEffect(() => {
    if (me !== null) sessionStorage.setItem(ME, String(me));
  }, [me]);
  return isOpened ? me : undefined;
}

/** Becomes somebody, or nobody. */
export function become(id: number | null) {
  if (id === null) {
    sessionStorage.removeItem(ME);
    localStorage.removeItem(ME);
  } else {
    localStorage.setItem(ME, String(id));
  }
  history.pushState(null, '', addressOf(id));
  for (const listener of listeners) listener();
}
