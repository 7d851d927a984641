'use client';

import { Atomicity } from './Atomicity';
import { Idempotency } from './Idempotency';
import { Locks } from './Locks';
import { Pagination } from './Pagination';

export function Lab() {
  return (
    <>
      <div className="max-w-2xl py-4 sm:py-8">
        <h1 className="text-3xl font-bold tracking-tight text-balance sm:text-4xl">
          Four promises, four experiments
        </h1>
        <p className="mt-3 text-lg text-muted">
          Each runs against the real service and its real database, with accounts of its own. What
          you see is what was measured in your browser just now.
        </p>
      </div>
      <div className="grid gap-6">
        <Idempotency />
        <Atomicity />
        <Locks />
        <Pagination />
      </div>
    </>
  );
}
