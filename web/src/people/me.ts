/**
 * Who is looking: whose token this window is signed in with. Where there is none, or it names nobody,
 * it is the `as` of the page's address, so that two windows can be two people, and the way back leads
 * to who one was. An address without it is opened as who this window was before, and else as who any
 * window was.
 */

import { useEffect, useState, useSyncExternalStore } from 'react';
import { forget, recall, remember } from '../session/remember';
import { readSession, subscribeToSession } from '../session/session';
import { accountIn } from '../session/token';

const ME = 'payonce.me';
const listeners = new Set<() => void>();

/** Calls back when this window becomes somebody else, or nobody. */
export function subscribeToMe(listener: () => void) {
  listeners.add(listener);
  window.addEventListener('popstate', listener);
  const unsubscribe = subscribeToSession(listener);
  return () => {
    unsubscribe();
    listeners.delete(listener);
    window.removeEventListener('popstate', listener);
  };
}

function ofToken(): number | null {
  const session = readSession();
  return session.state === 'in' ? session.token.account : null;
}

/** Whether this window may ask for the payer's payments: with nobody's token but the payer's own. */
export function mayPayFor(payer: number): boolean {
  const { state } = readSession();
  return state === 'open' || (state === 'in' && payer === (ofToken() ?? inAddress()));
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

/** Who is looking, for what is on every page: it changes nothing of the address. */
export function useWhoIsHere(): number | null {
  const owner = useSyncExternalStore(subscribeToMe, ofToken, () => null);
  const chosen = useSyncExternalStore(subscribeToMe, inAddress, () => null);
  return owner ?? chosen;
}

/** `undefined` while the page is not in a browser yet, `null` where nobody was chosen. */
export function useMe(): number | null | undefined {
  const owner = useSyncExternalStore(subscribeToMe, ofToken, () => null);
  const chosen = useSyncExternalStore(subscribeToMe, inAddress, () => null);
  const [isOpened, setIsOpened] = useState(false);
  useEffect(() => {
    const before = accountIn(recall('session', ME) ?? recall('local', ME));
    if (ofToken() === null && inAddress() === null && before !== null) correctAddress(before);
    setIsOpened(true);
  }, []);
  useEffect(() => {
    // The token says it; the address is not to say something else.
    if (owner !== null && chosen !== null) correctAddress(null);
    else if (chosen !== null) remember('session', ME, String(chosen));
  }, [owner, chosen]);
  return isOpened ? (owner ?? chosen) : undefined;
}

function correctAddress(id: number | null) {
  history.replaceState(null, '', addressOf(id));
  for (const listener of listeners) listener();
}

/** Becomes somebody, or nobody. */
export function become(id: number | null) {
  if (id === null) {
    forget('session', ME);
    forget('local', ME);
  } else {
    remember('local', ME, String(id));
  }
  history.pushState(null, '', addressOf(id));
  for (const listener of listeners) listener();
}
