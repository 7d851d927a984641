'use client';

import { useEffect, useId, useRef } from 'react';
import type { PaymentRequest } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { Trouble } from '../app/Trouble';
import { newKey } from '../intent/key';
import type { usePay } from '../intent/usePay';
import { useCalled } from '../people/people';
import { useNow } from '../useNow';
import type { Direction } from './requests';
import { Row } from './Row';
import { useLookAtRequests, useRequests } from './useRequests';

/** A minute's text is right for a quarter of one. */
const NOW_EVERY_MS = 15_000;

interface Props {
  me: number;
  title: string;
  direction: Direction;
  isOpenOnly: boolean;
  /** Said where there are none. */
  none: string;
  paying: ReturnType<typeof usePay>;
}

/** Requests in one direction, newest first; ten more at a time. */
export function List({ me, title, direction, isOpenOnly, none, paying }: Props) {
  const list = useRequests(me, direction, isOpenOnly);
  const look = useLookAtRequests(me);
  const now = useNow(NOW_EVERY_MS);
  const id = useId();
  const requests = list.data?.pages.flatMap((page) => page.requests) ?? [];
  const called = useCalled(requests.flatMap(({ from_id, to_id }) => [from_id, to_id]));
  const { pay, canPay, current } = paying;

  // A button that was pressed goes away with its request: then the focus goes to the title.
  const heading = useRef<HTMLHeadingElement>(null);
  const hasFocus = useRef(false);
  const shown = requests.map((request) => request.id + request.status).join(' ');
  useEffect(() => {
    if (hasFocus.current && document.activeElement === document.body)
      heading.current?.focus({ preventScroll: true });
  }, [shown]);

  return (
    <section
      aria-labelledby={id}
      className="card min-w-0 p-2 sm:p-4"
      onFocus={() => {
        hasFocus.current = true;
      }}
      onBlur={({ target }) => {
        hasFocus.current = !target.isConnected;
      }}
    >
      <h2 id={id} ref={heading} tabIndex={-1} className="px-3 pt-3 text-xl font-bold">
        {title}
      </h2>
      {list.isPending && (
        <div role="status" aria-label="Loading the requests" className="space-y-3 p-3">
          <div className="skeleton h-12" />
          <div className="skeleton h-12" />
        </div>
      )}
      {list.isSuccess && requests.length === 0 && <p className="px-3 py-6 text-muted">{none}</p>}
      {requests.length > 0 && (
        <ol className="mt-2 space-y-1">
          {requests.map((request) => (
            <Row
              key={request.id}
              me={me}
              request={request}
              called={called}
              nowMs={now}
              isPaying={current?.payment_request_id === request.id}
              canPay={canPay}
              pay={() => pay(intentOf(request))}
              look={look}
            />
          ))}
        </ol>
      )}
      {list.isError && requests.length === 0 && (
        <div className="px-3 pb-3">
          <Trouble
            title="The requests cannot be shown"
            why={whyReadFailed(list.error)}
            again={() => void list.refetch()}
          />
        </div>
      )}
      {list.hasNextPage && (
        <p className="py-3 text-center">
          <button
            type="button"
            className="button button-quiet"
            aria-disabled={list.isFetchingNextPage}
            onClick={() => !list.isFetchingNextPage && void list.fetchNextPage()}
          >
            {list.isFetchingNextPage ? 'Loading…' : 'Load more'}
          </button>
        </p>
      )}
    </section>
  );
}

/** The payment that a request asks for. */
function intentOf({ id, from_id, to_id, amount, note }: PaymentRequest) {
  return {
    from: from_id,
    to: to_id,
    amount,
    note,
    created_at: new Date().toISOString(),
    // The request is paid once whatever the key; the key is what a cancel settles.
    idempotency_key: newKey(),
    payment_request_id: id,
  };
}
