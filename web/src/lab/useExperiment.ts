import { skipToken, useQuery, useQueryClient } from '@tanstack/react-query';
import { whyReadFailed } from '../api/problems';

/** An experiment that a person runs, watches, and may run again. */
export interface Run<T> {
  state: 'idle' | 'running' | 'done' | 'failed';
  /** The findings so far. */
  seen: T | null;
  why: string | null;
  start: () => void;
}

type State<T> = Omit<Run<T>, 'start'>;

/**
 * `experiment` tells what it sees by calling `tell`; a rejection is told in plain words. What was seen
 * stays while one looks at another page, until somebody else signs in.
 */
export function useExperiment<T>(
  name: string,
  experiment: (tell: (seen: T) => void) => Promise<void>,
): Run<T> {
  const client = useQueryClient();
  const queryKey = ['experiment', name];
  const idle: State<T> = { state: 'idle', seen: null, why: null };
  const { data } = useQuery<State<T>>({ queryKey, queryFn: skipToken, gcTime: Infinity });
  const run = data ?? idle;
  const change = (to: Partial<State<T>>) =>
    client.setQueryData<State<T>>(queryKey, (now = idle) => ({ ...now, ...to }));
  const start = () => {
    if (run.state === 'running') return;
    // The address leads back to it.
    history.replaceState(null, '', `#${name}`);
    change({ state: 'running', seen: null, why: null });
    experiment((seen) => change({ seen })).then(
      () => change({ state: 'done' }),
      (error: unknown) => {
        const why = error instanceof Surprise ? error.message : whyReadFailed(error);
        change({ state: 'failed', why });
      },
    );
  };
  return { ...run, start };
}

/** Why an experiment could not be finished, in plain words. */
export class Surprise extends Error {}
