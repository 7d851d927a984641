/**
 * Whether this window is told of payments as they are made. Then it need not ask again and again; where it is not told,
 * because the wire is cut, a proxy keeps answers back or another window is told, it asks as if nobody could tell it.
 */

let isTold = false;

export function tellLive(is: boolean) {
  isTold = is;
}

/** How much seldomer a window asks that is told. What no payment changes is asked for all the same. */
const SELDOMER = 15;

/** The pause of a look that payments make unnecessary. */
export function lookEveryMs(ms: number): number {
  return isTold ? ms * SELDOMER : ms;
}
