/**
 * Whether this window is signed in, and with which token. The token is kept in the window's session
 * storage: two windows can be two people, a reload keeps it, and closing the window forgets it.
 */

import { useSyncExternalStore } from 'react';
import { forget, recall, remember } from './remember';
import { readToken, type Token } from './token';

export type Session =
  /** The service has not asked who one is: authorization is off, or nothing was asked of it yet. */
  | { state: 'open' }
  /** It asks, and there is no token, or the one there was is refused. */
  | { state: 'out'; isRefused: boolean }
  | { state: 'in'; token: Token };

const TOKEN = 'payonce.token';
const OPEN: Session = { state: 'open' };

const listeners = new Set<() => void>();
let session: Session | null = null;

export function readSession(): Session {
  session ??= stored();
  return session;
}

function stored(): Session {
  const token = readToken(recall('session', TOKEN) ?? '');
  return token ? { state: 'in', token } : OPEN;
}

function change(to: Session) {
  if (to.state === 'in') remember('session', TOKEN, to.token.text);
  else forget('session', TOKEN);
  session = to;
  for (const listener of listeners) listener();
}

/** Calls back when somebody signs in or out in this window. */
export function subscribeToSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function useSession(): Session {
  return useSyncExternalStore(subscribeToSession, readSession, () => OPEN);
}

/** Whether this window may do what operators may: where authorization is off, everybody may. */
export function useIsOperator(): boolean {
  const now = useSession();
  return now.state === 'open' || (now.state === 'in' && now.token.isOperator);
}

/** The header of this window's requests, where it is signed in. */
export function authorization(): string | null {
  const now = readSession();
  return now.state === 'in' ? headerOf(now.token) : null;
}

export function headerOf(token: Token): string {
  return `Bearer ${token.text}`;
}

/** The service knows the token. */
export function enter(token: Token) {
  change({ state: 'in', token });
}

export function leave() {
  change({ state: 'out', isRefused: false });
}

/** The service did not take a request with this header. A late answer says nothing about now. */
export function refused(header: string | null) {
  const now = readSession();
  if (header !== authorization() || now.state === 'out') return;
  change({ state: 'out', isRefused: now.state === 'in' });
}
