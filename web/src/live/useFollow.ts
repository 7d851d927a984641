import { useQueryClient } from '@tanstack/react-query';
import { useEffect } from 'react';
import { ApiFailure } from '../api/client';
import { lookNow } from '../history/useHistory';
import { pause } from '../pause';
import { watch } from './events';
import { tellLive } from './live';

/** One window of a browser at a time is told: a browser opens six connections to a server, and each takes one. */
const LOCK = 'payonce.live';

/** The pauses before a stream that broke is opened again. */
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 30_000;

/** Looks at everything of an account's as soon as a payment has changed it, while the window is visible. */
export function useFollow(account: number) {
  const client = useQueryClient();
  useEffect(() => {
    // Where the page is not served securely there are no locks, and it asks.
    if (!('locks' in navigator)) return;
    let stop = new AbortController();
    const begin = () => {
      stop.abort();
      stop = new AbortController();
      if (document.visibilityState === 'hidden') return;
      const { signal } = stop;
      navigator.locks
        .request(LOCK, { signal }, () =>
          follow(
            account,
            signal,
            oneAtATime(() => lookNow(client, account)),
          ),
        )
        // It was stopped: before it was its turn, or in a pause.
        .catch(() => {});
    };
    begin();
    document.addEventListener('visibilitychange', begin);
    return () => {
      document.removeEventListener('visibilitychange', begin);
      stop.abort();
    };
  }, [account, client]);
}

/** Follows an account until it is stopped, or the service refuses it for good. */
async function follow(account: number, signal: AbortSignal, look: () => void) {
  let seen: number | null = null;
  let pauseMs = PAUSE_MS_MIN;
  while (!signal.aborted) {
    let failure: unknown = null;
    try {
      await watch(account, seen, signal, {
        began: (position) => {
          // What was made before has to be looked for; what was missed comes.
          if (seen === null) look();
          seen = position;
          pauseMs = PAUSE_MS_MIN;
          tellLive(true);
        },
        paid: ({ position }) => {
          seen = position;
          look();
        },
      });
    } catch (error) {
      failure = error;
    }
    tellLive(false);
    if (signal.aborted) return;
    const problem = failure instanceof ApiFailure ? failure.problem : null;
    if (problem && !problem.retryable) {
      if (problem.code !== 'invalid_request' || seen === null) return;
      // The position is of another ledger.
      seen = null;
    }
    // It asks again, from now on.
    if (seen !== null) look();
    const wantedMs = failure instanceof ApiFailure ? failure.retryAfterMs : 0;
    await pause(Math.max(wantedMs, pauseMs * (0.5 + Math.random() / 2)), signal);
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
  }
}

/** Looks, and once more after that where it was asked to meanwhile: many payments do not break a look off. */
function oneAtATime(look: () => Promise<unknown>): () => void {
  let isLooking = false;
  let isAskedAgain = false;
  const begin = async () => {
    if (isLooking) {
      isAskedAgain = true;
      return;
    }
    isLooking = true;
    do {
      isAskedAgain = false;
      await look();
    } while (isAskedAgain);
    isLooking = false;
  };
  return () => void begin();
}
