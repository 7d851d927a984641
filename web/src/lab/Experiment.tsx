import { useId, type ReactNode } from 'react';
import { Trouble } from '../app/Trouble';
import { useIsOperator } from '../session/session';
import type { Run } from './useExperiment';

interface Props {
  number: number;
  /** Its place in the page's address. */
  name: string;
  title: string;
  /** Its purpose, in three sentences. */
  children: ReactNode;
  /** Files of the service, and what happens there. */
  code: [path: string, what: string][];
  run: Run<unknown>;
  action: string;
  picture: ReactNode;
}

export function Experiment({ number, name, title, children, code, run, action, picture }: Props) {
  const id = useId();
  const isRunning = run.state === 'running';
  const mayRun = useIsOperator();
  return (
    <section
      id={name}
      aria-labelledby={id}
      className="card min-w-0 scroll-mt-4 p-5 sm:p-8"
      data-experiment={name}
      data-state={run.state}
    >
      <div className="grid grid-cols-1 gap-6 lg:grid-cols-[20rem_minmax(0,1fr)] lg:gap-10">
        <div>
          <p className="text-sm font-semibold text-accent" aria-hidden="true">
            Experiment {number}
          </p>
          <h2 id={id} className="mt-1 text-2xl font-bold tracking-tight">
            {title}
          </h2>
          <p className="mt-3 leading-relaxed">{children}</p>
          <h3 className="mt-5 text-sm font-semibold">Where in the code</h3>
          <ul className="mt-1 space-y-1 text-sm text-muted">
            {code.map(([path, what]) => (
              <li key={path}>
                <code className="font-mono text-[0.8125rem] text-ink">{path}</code>: {what}
              </li>
            ))}
          </ul>
          {mayRun && (
            <button
              type="button"
              className="button button-main mt-6 w-full aria-disabled:opacity-70 sm:w-auto"
              aria-disabled={isRunning}
              onClick={run.start}
            >
              {isRunning ? 'Running…' : run.state === 'idle' ? action : 'Run it again'}
            </button>
          )}
        </div>
        <div className="min-w-0 self-start rounded-2xl bg-paper p-4 sm:p-6">
          {run.seen === null && run.why === null && (
            <p className="grid min-h-40 place-items-center text-center text-muted">
              {isRunning
                ? 'Preparing its accounts…'
                : mayRun
                  ? 'Run it, and see here what happened.'
                  : 'An operator can run it, and sees here what happened.'}
            </p>
          )}
          {run.seen !== null && picture}
          {run.why !== null && <Trouble title="The experiment stopped" why={run.why} />}
        </div>
      </div>
    </section>
  );
}

/** The checks, and how they came out. Read aloud when they are complete. */
export function Findings({ children, isDone }: { children: ReactNode; isDone: boolean }) {
  return (
    <div role="status">
      {isDone && <ul className="mt-5 grid grid-cols-2 gap-2 xl:grid-cols-3">{children}</ul>}
    </div>
  );
}

export function Finding({ holds, what, value }: { holds: boolean; what: string; value: string }) {
  return (
    <li
      className={`rounded-xl px-3 py-2 ${holds ? 'bg-accent-soft' : 'bg-bad-soft text-bad'}`}
      data-finding={what}
      data-holds={holds}
    >
      <span className="block text-sm">
        {what}
        <span className="sr-only">:</span>
      </span>
      <span className="text-lg font-bold tabular-nums">
        <span aria-hidden="true">{holds ? '✓ ' : '✗ '}</span>
        {value}
        <span className="sr-only">{holds ? ', as it should be' : ', which is wrong'}</span>
      </span>
    </li>
  );
}

/** Something that was counted, and may come out as it likes. */
export function Count({ what, value }: { what: string; value: string }) {
  return (
    <li className="rounded-xl border border-line px-3 py-2">
      <span className="block text-sm">
        {what}
        <span className="sr-only">:</span>
      </span>
      <span className="text-lg font-bold tabular-nums">{value}</span>
    </li>
  );
}

/** The meanings of the colours. */
export function Legend({ entries }: { entries: [className: string, meaning: string][] }) {
  return (
    <ul className="mt-3 flex flex-wrap gap-x-4 gap-y-1 text-sm text-muted">
      {entries.map(([className, meaning]) => (
        <li key={meaning} className="flex items-center gap-1.5">
          <span
            className={`inline-block size-3 shrink-0 rounded-sm ${className}`}
            aria-hidden="true"
          />
          {meaning}
        </li>
      ))}
    </ul>
  );
}
