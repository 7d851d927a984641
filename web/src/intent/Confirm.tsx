'use client';

import { useEffect, useId, useRef, useState } from 'react';
import { formatCents } from '../money';
import { useNames } from '../people/people';
import { useLimit } from './limit';

interface Sum {
  to: number;
  amount: number;
}

/** Asks before a sum is paid that is above the person's own limit. `dialog` is to be on the page. */
export function useConfirm(me: number) {
  const limit = useLimit(me);
  const [asked, setAsked] = useState<{ sum: Sum; go: () => void } | null>(null);
  const confirm = (sum: Sum, go: () => void) => {
    if (limit !== null && sum.amount > limit) setAsked({ sum, go });
    else go();
  };
  const dialog = asked && limit !== null && (
    <Confirm sum={asked.sum} limit={limit} go={asked.go} close={() => setAsked(null)} />
  );
  return { confirm, dialog };
}

interface Props {
  sum: Sum;
  limit: number;
  go: () => void;
  close: () => void;
}

function Confirm({ sum: { to, amount }, limit, go, close }: Props) {
  const box = useRef<HTMLDialogElement>(null);
  const id = useId();
  const payee = useNames([to])(to);
  useEffect(() => {
    const { current } = box;
    if (!current?.open) current?.showModal();
  }, []);
  return (
    <dialog
      ref={box}
      role="alertdialog"
      aria-labelledby={`${id}-title`}
      aria-describedby={`${id}-why`}
      className="card m-auto w-[min(28rem,calc(100vw-2rem))] p-6 text-ink backdrop:bg-black/50"
      onClose={close}
    >
      <h2 id={`${id}-title`} className="text-xl font-bold">
        Pay {formatCents(amount)} to {payee}?
      </h2>
      <p id={`${id}-why`} className="mt-2 text-muted">
        You wanted to be asked before sums above {formatCents(limit)}.
      </p>
      <div className="mt-5 flex flex-wrap gap-2">
        {/* The first one has the focus: Enter, pressed twice, pays nothing. */}
        <button type="button" className="button button-quiet" onClick={() => box.current?.close()}>
          Not now
        </button>
        <button
          type="button"
          className="button button-main"
          onClick={() => {
            box.current?.close();
            go();
          }}
        >
          Pay {formatCents(amount)}
        </button>
      </div>
    </dialog>
  );
}
