/**
 * Slips in local storage, one for each payer: what is written here is there after a reload, after a
 * crash, and in every other tab.
 */

import { EMPTY, type Slip } from './machine';

const PREFIX = 'payonce.slip.';
const listeners = new Set<() => void>();
const parsed = new Map<string, { text: string; slip: Slip }>();

/** The payer's slip. The same object as long as nothing has changed. */
export function readSlip(payer: number): Slip {
  const name = PREFIX + payer;
  const text = localStorage.getItem(name);
  if (text === null) return EMPTY;
  const known = parsed.get(name);
  if (known?.text === text) return known.slip;
  const slip = parse(text);
  parsed.set(name, { text, slip });
  return slip;
}

function parse(text: string): Slip {
  try {
    const slip = JSON.parse(text) as Slip;
    return { ...EMPTY, ...slip };
  } catch {
    // Nobody but this page writes here, so this was half a write of a crashed browser.
    return EMPTY;
  }
}

/**
 * Changes the payer's slip, and returns it once it is stored.
 *
 * @throws where the browser cannot store it: then nothing has changed, and nothing may be sent.
 */
export function changeSlip(payer: number, change: (slip: Slip) => Slip): Slip {
  const before = readSlip(payer);
  const after = change(before);
  if (after !== before) {
    localStorage.setItem(PREFIX + payer, JSON.stringify(after));
    for (const listener of listeners) listener();
  }
  return after;
}

/** Those who have a payment under way. */
export function payersAsking(): number[] {
  return Object.keys(localStorage)
    .filter((name) => name.startsWith(PREFIX))
    .map((name) => Number(name.slice(PREFIX.length)))
    .filter((payer) => readSlip(payer).attempt?.state === 'asking');
}

/** Calls back when a slip changes, in this tab or in another. */
export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  window.addEventListener('storage', listener);
  return () => {
    listeners.delete(listener);
    window.removeEventListener('storage', listener);
  };
}
