'use client';

import { useEffect, useId, useState, type FormEvent } from 'react';
import type { Payment } from '../api/client';
import { AmountField } from '../form/AmountField';
import { isSecondOfTwo } from '../form/press';
import { Fate } from '../intent/Fate';
import { newKey } from '../intent/key';
import { usePay } from '../intent/usePay';
import { useSlip } from '../intent/useSlip';
import { formatCents, parseDollars } from '../money';
import { useNames } from '../people/people';
import { leftOf } from './refunds';

/** Gives a payment back that one has received: all that is left of it, or a part. */
export function RefundForm({ me, payment }: { me: number; payment: Payment }) {
  const left = leftOf(payment);
  // It belongs to what is seen here: a press on a form that was paid meanwhile pays nothing.
  const [key, setKey] = useState(newKey);
  const [typed, setTyped] = useState<string | null>(null);
  const [complaint, setComplaint] = useState<string>();
  const { pay, canPay, current, why, dialog } = usePay(me);
  const payer = useNames([payment.from_id])(payment.from_id);
  const receipt = useSlip(me)?.receipt;
  const id = useId();
  useEffect(() => {
    if (receipt?.payment.refund_of !== payment.id) return;
    setKey(newKey());
    setTyped(null);
  }, [receipt?.payment.id, receipt?.payment.refund_of, payment.id]);

  const text = typed ?? formatCents(left).slice(1);
  const parsed = parseDollars(text);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!canPay) return;
    if (!parsed.ok) return setComplaint(parsed.why);
    if (parsed.cents > left)
      return setComplaint(`That is more than is left: ${formatCents(left)}.`);
    setComplaint(undefined);
    pay({
      from: me,
      to: payment.from_id,
      amount: parsed.cents,
      note: null,
      created_at: new Date().toISOString(),
      idempotency_key: key,
      refund_of: payment.id,
    });
  };

  return (
    <section aria-labelledby={`${id}-title`} className="card mt-4 p-5 sm:p-8 print:hidden">
      <h2 id={`${id}-title`} className="text-xl font-bold">
        Give it back
      </h2>
      {left > 0 && (
        <form onSubmit={submit} noValidate className="mt-3">
          <AmountField
            value={text}
            isFixed={current !== null}
            complaint={complaint}
            change={(text) => {
              setTyped(text);
              setComplaint(undefined);
            }}
          />
          <p className="mt-1 text-sm text-muted">
            {formatCents(left)} of it {payment.refunded ? 'are left' : 'can be given back'}, at once
            or in parts.
          </p>
          <button
            type="submit"
            aria-disabled={!canPay}
            onClick={(event) => isSecondOfTwo(event) && event.preventDefault()}
            className="button button-main mt-4 w-full aria-disabled:opacity-70"
          >
            {current?.refund_of === payment.id ? (
              'Giving back…'
            ) : (
              <span className="line-clamp-3 min-w-0">
                Give {parsed.ok ? formatCents(parsed.cents) : 'it'} back to {payer}
              </span>
            )}
          </button>
        </form>
      )}
      {left === 0 && <p className="mt-2 text-muted">All of it was given back.</p>}
      {why && (
        <p role="alert" className="mt-4 rounded-2xl bg-bad-soft p-4 text-bad">
          {why}
        </p>
      )}
      <Fate me={me} />
      {dialog}
    </section>
  );
}
