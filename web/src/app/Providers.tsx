'use client';

import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { useEffect, useState, type ReactNode } from 'react';
import { ApiFailure } from '../api/client';
import { useSender } from '../intent/useSlip';
import { subscribeToSession } from '../session/session';

/** Reads are tried so often before the page says that they failed. */
const READ_TRIES_MAX = 3;

function mayHelp(failures: number, error: unknown): boolean {
  const problem = error instanceof ApiFailure ? error.problem : null;
  if (problem?.code === 'rate_limited') return false;
  return failures < READ_TRIES_MAX - 1 && (problem === null || problem.retryable);
}

export function Providers({ children }: { children: ReactNode }) {
  const [client] = useState(
    () =>
      new QueryClient({
        defaultOptions: {
          // The service may run on this machine: it answers while the browser thinks it is offline.
          queries: { retry: mayHelp, networkMode: 'always' },
        },
      }),
  );
  useSender();
  // Nothing that one person has seen is left for the next one.
  useEffect(() => subscribeToSession(() => client.clear()), [client]);
  return <QueryClientProvider client={client}>{children}</QueryClientProvider>;
}
