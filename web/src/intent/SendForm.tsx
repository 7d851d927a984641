'use client';

import { useEffect, useId, useRef, useState, type FormEvent, type SyntheticEvent } from 'react';
import { AmountField } from '../form/AmountField';
import { NoteField, whyNoNote } from '../form/NoteField';
import { formatCents, parseDollars } from '../money';
import { useCalled } from '../people/people';
import { NumberOf } from '../people/PersonName';
import { PersonPicker } from '../people/PersonPicker';
import { useConfirm } from './Confirm';
import { InDoubt } from './InDoubt';
import { newKey } from './key';
import { LimitSetting } from './LimitSetting';
import {
  edit,
  isUnderWay,
  outcomeOf,
  submit,
  wishOf,
  type Draft,
  type Outcome,
  type Slip,
} from './machine';
import { Progress } from './Progress';
import { askNow } from './sender';
import { changeSlip, hadNotSeen } from './store';
import { StoreTroubleBox } from './StoreTroubleBox';
import { useSlip, useStoreTrouble } from './useSlip';

/** A reason not to send, next to the field that it is about. */
interface Complaints {
  to?: string;
  amount?: string;
  note?: string;
  form?: string;
}

/** Why a press on Send has sent nothing, where the form itself does not show it. */
const WHY_NOT_SENT: Partial<Record<Outcome, string>> = {
  'changed meanwhile':
    'This payment was changed or paid in another window, so this press sent nothing. Look at what is here now, and press Send if you want to pay it.',
  'too much in doubt':
    'Too many payments have no answer yet, so nothing was sent. First find out what became of them.',
};

function complaintsOf(draft: Draft): Complaints {
  const parsed = parseDollars(draft.amount);
  return {
    to: draft.to === null ? 'Choose who gets it.' : undefined,
    amount: parsed.ok ? undefined : parsed.why,
    note: whyNoNote(draft.note),
  };
}

export function SendForm({ me }: { me: number }) {
  const slip = useSlip(me);
  const trouble = useStoreTrouble();
  const id = useId();
  return (
    <section aria-labelledby={`${id}-title`} className="card p-5 sm:p-6">
      <h2 id={`${id}-title`} className="text-xl font-bold">
        Send money
      </h2>
      {trouble && <StoreTroubleBox me={me} trouble={trouble} slip={slip} />}
      {!trouble && slip && <Form me={me} slip={slip} />}
      {!trouble && !slip && (
        <div role="status" aria-label="Loading the form" className="skeleton mt-3 h-80" />
      )}
    </section>
  );
}

function Form({ me, slip }: { me: number; slip: Slip }) {
  const { draft, attempt } = slip;
  const [complaints, setComplaints] = useState<Complaints>({});
  const amount = useRef<HTMLInputElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const isAsking = isUnderWay(attempt);
  const hasAttempt = attempt !== null;
  const wish = wishOf(me, draft);
  const called = useCalled(draft.to === null ? [] : [draft.to]);
  const { confirm, dialog } = useConfirm(me);

  const type = (change: Partial<Omit<Draft, 'key'>>) => {
    setComplaints({});
    const key = newKey();
    // Trouble is shown in place of the form.
    changeSlip(me, (now) => edit(now, me, draft.key, change, key), 'relaxed').catch(() => {});
  };

  // When the key or the button was pressed, which is earlier than now where the window slept; null where
  // something else than a hand presses.
  const pressedAtMs = useRef<number | null>(null);
  const noteTime = (event: SyntheticEvent) => {
    pressedAtMs.current = event.timeStamp;
  };
  const isPressed = useRef(false);
  const send = (event: FormEvent) => {
    event.preventDefault();
    if (isAsking || isPressed.current) return;
    const atMs = pressedAtMs.current;
    pressedAtMs.current = null;
    if (wish && atMs !== null && hadNotSeen(me, atMs)) {
      setComplaints({ form: WHY_NOT_SENT['changed meanwhile'] });
      return;
    }
    if (!wish || whyNoNote(draft.note)) {
      // The later clicks of a double click find an empty form, which is no mistake.
      const isEmpty = draft.amount === '' && draft.note === '' && draft.to !== null;
      if (isEmpty) amount.current?.focus();
      else complain(complaintsOf(draft));
      return;
    }
    setComplaints({});
    confirm(wish, () => void go(draft));
  };

  const go = async (draft: Draft) => {
    if (isPressed.current) return;
    isPressed.current = true;
    try {
      // The stored draft counts, and is sent only where it is the one that was seen.
      const now = new Date();
      const after = await changeSlip(me, (slip) => submit(slip, me, draft, now));
      setComplaints({ form: whyNotSent(after, draft) });
      askNow(me);
    } catch {
      // Nothing was sent. Why is shown in place of the form.
    } finally {
      isPressed.current = false;
    }
  };

  // A press on a button of the progress takes it away in the end. From "Change the payment" the focus
  // goes to where one types; else it goes to the button for the next payment.
  const wasAsking = useRef(isAsking);
  useEffect(() => {
    const hasEnded = wasAsking.current && !isAsking;
    wasAsking.current = isAsking;
    if (!hasEnded || document.activeElement !== document.body) return;
    if (hasAttempt) amount.current?.focus();
    else button.current?.focus({ preventScroll: true });
  }, [isAsking, hasAttempt]);

  const complain = (found: Complaints) => {
    setComplaints(found);
    const first = found.to ? 'to' : found.amount ? 'amount' : 'note';
    form.current?.querySelector<HTMLElement>(`[data-field="${first}"]`)?.focus();
  };

  return (
    <>
      <form
        ref={form}
        onKeyDownCapture={noteTime}
        onPointerDownCapture={noteTime}
        onSubmit={send}
        noValidate
        className="mt-3"
      >
        {/* Not disabled: that would take the focus away from people who pay by pressing Enter. */}
        <fieldset
          aria-disabled={isAsking}
          className="grid min-w-0 grid-cols-1 gap-4 aria-disabled:opacity-70"
        >
          <legend className="sr-only">Payment</legend>
          <PersonPicker
            title="To"
            me={me}
            chosen={draft.to}
            complaint={complaints.to}
            choose={(to) => type({ to })}
          />
          <AmountField
            input={amount}
            value={draft.amount}
            isFixed={isAsking}
            complaint={complaints.amount}
            change={(amount) => type({ amount })}
          />
          <NoteField
            value={draft.note}
            isFixed={isAsking}
            complaint={complaints.note}
            change={(note) => type({ note })}
          />
        </fieldset>
        <InDoubt me={me} slip={slip} />
        {/* Never disabled: a press while the payment is under way changes nothing. */}
        <button
          ref={button}
          type="submit"
          aria-disabled={isAsking}
          className="button button-main mt-5 w-full text-lg aria-disabled:opacity-70"
        >
          {isAsking ? (
            attempt?.state === 'cancelling' ? (
              'Cancelling…'
            ) : (
              'Sending…'
            )
          ) : wish ? (
            <>
              <span className="line-clamp-3 min-w-0">
                Send {formatCents(wish.amount)} to <bdi>{called(wish.to).name}</bdi>
              </span>{' '}
              <NumberOf called={called(wish.to)} />
            </>
          ) : (
            'Send'
          )}
        </button>
        {complaints.form && (
          <p role="alert" className="mt-4 rounded-2xl bg-bad-soft p-4 text-bad">
            {complaints.form}
          </p>
        )}
      </form>
      <Progress me={me} slip={slip} />
      <LimitSetting me={me} />
      {dialog}
    </>
  );
}

function whyNotSent(after: Slip, seen: Draft): string | undefined {
  const outcome = outcomeOf(after, seen);
  // The receipt says it, until the person goes on.
  if (outcome === 'paid before' && after.receipt?.isOld)
    return 'This payment was made before, from another window. This press sent nothing.';
  return WHY_NOT_SENT[outcome];
}
