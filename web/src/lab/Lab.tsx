'use client';

import { usePeople } from '../people/people';
import { useIsOperator } from '../session/session';
import { Atomicity } from './Atomicity';
import { CancelAgainstPay } from './CancelAgainstPay';
import { Failover } from './Failover';
import { Follow } from './Follow';
import { Idempotency } from './Idempotency';
import { Locks } from './Locks';
import { OneRequest } from './OneRequest';
import { Pagination } from './Pagination';
import { NeedsOperator } from './operator';

export function Lab() {
  const mayRun = useIsOperator();
  // Something has to be asked of the service before it can ask who one is.
  usePeople();
  return (
    <>
      <div className="max-w-2xl py-4 sm:py-8">
        <h1 className="text-3xl font-bold tracking-tight text-balance sm:text-4xl">
          Eight promises, eight experiments
        </h1>
        <p className="mt-3 text-lg text-muted">
          Each runs against the real service and its real database, with accounts of its own. What
          you see is what was measured in your browser just now.
        </p>
      </div>
      {!mayRun && <NeedsOperator />}
      <div className="grid grid-cols-1 gap-6">
        <Idempotency />
        <Atomicity />
        <Locks />
        <Pagination />
        <CancelAgainstPay />
        <OneRequest />
        <Follow />
        <Failover />
      </div>
    </>
  );
}
