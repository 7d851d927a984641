import { useState } from 'react';
import { whyReadFailed } from '../api/problems';

/** An experiment that a person runs, watches, and may run again. */
export interface Run<T> {
  state: 'idle' | 'running' | 'done' | 'failed';
  /** What is known so far. */
  seen: T | null;
  why: string | null;
  start: () => void;
}

/** `experiment` tells what it sees by calling `tell`; a rejection is told in plain words. */
export function useExperiment<T>(experiment: (tell: (seen: T) => void) => Promise<void>): Run<T> {
  const [run, setRun] = useState<Omit<Run<T>, 'start'>>({ state: 'idle', seen: null, why: null });
  const start = () => {
    if (run.state === 'running') return;
    setRun({ state: 'running', seen: null, why: null });
    const tell = (seen: T) => setRun((now) => ({ ...now, seen }));
    experiment(tell).then(
      () => setRun((now) => ({ ...now, state: 'done' })),
      (error: unknown) => {
        const why = error instanceof Surprise ? error.message : whyReadFailed(error);
        setRun((now) => ({ ...now, state: 'failed', why }));
      },
    );
  };
  return { ...run, start };
}

/** Why an experiment could not be finished, in plain words. */
export class Surprise extends Error {}
