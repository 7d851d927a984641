'use client';

import { useEffect, useId, useRef, useState, type FormEvent } from 'react';
import { useLookNow } from '../history/useHistory';
import { formatCents, parseDollars } from '../money';
import { useCalled, usePeople } from '../people/people';
import { NumberOf } from '../people/PersonName';
import { newKey } from './key';
import { NOTE_CHARS_MAX, asksFor, edit, submit, wishOf, type Draft } from './machine';
import { PayeePicker } from './PayeePicker';
import { Progress } from './Progress';
import { askNow } from './sender';
import { changeSlip, readSlip } from './store';
import { useSlip } from './useSlip';

/** Where typing is stopped: a little later than where it is refused, to say so. */
const NOTE_TYPED_MAX = 400;

/** A reason not to send, next to the field that it is about. */
interface Complaints {
  to?: string;
  amount?: string;
  note?: string;
  form?: string;
}

function complaintsOf({ to, amount, note }: Draft): Complaints {
  const parsed = parseDollars(amount);
  const tooLong = [...note].length - NOTE_CHARS_MAX;
  return {
    to: to === null ? 'Choose who gets it.' : undefined,
    amount: parsed.ok ? undefined : parsed.why,
    note: tooLong > 0 ? `The note is ${tooLong} characters too long.` : refusedIn(note),
  };
}

/** Tabs, line ends and the like come with what is pasted, and the service takes none of them. */
const CONTROLS = /\p{Cc}+/gu;

/** Why the service would refuse the note. */
function refusedIn(note: string): string | undefined {
  const found = note.trim().match(CONTROLS)?.[0];
  if (!found) return undefined;
  const kind = found.includes('\t')
    ? 'a tab'
    : /[\n\r]/.test(found)
      ? 'a new line'
      : 'a control character';
  return `There is ${kind} in the note, and a note is one line of plain text.`;
}

export function SendForm({ me }: { me: number }) {
  const slip = useSlip(me);
  const { draft, attempt, receipt } = slip;
  const [complaints, setComplaints] = useState<Complaints>({});
  const people = usePeople();
  const amount = useRef<HTMLInputElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const isAsking = attempt?.state === 'asking';
  const wish = wishOf(me, draft);
  const called = useCalled(draft.to === null ? [] : [draft.to]);

  const lookNow = useLookNow(me);
  const look = useRef(lookNow);
  useEffect(() => {
    look.current = lookNow;
  });
  const paid = receipt?.payment.id;
  useEffect(() => {
    if (paid) look.current();
  }, [paid]);

  const type = (change: Partial<Draft>) => {
    setComplaints({});
    keep(() => changeSlip(me, (now) => edit(now, change)));
  };

  const keep = (store: () => void) => {
    try {
      store();
    } catch {
      setComplaints({
        form: 'This browser does not let the page store anything, so a payment could not be kept safe. Nothing was sent.',
      });
    }
  };

  const send = (event: FormEvent) => {
    event.preventDefault();
    keep(() => {
      // What is stored counts, not what was drawn: between two clicks the payment may be made.
      const now = readSlip(me);
      const wanted = wishOf(me, now.draft);
      if (now.attempt?.state === 'asking') return;
      if (!wanted || refusedIn(now.draft.note)) {
        // The later clicks of a double click find an empty form, which is no mistake.
        const isEmpty = now.draft.amount === '' && now.draft.note === '' && now.draft.to !== null;
        if (isEmpty) amount.current?.focus();
        else complain(complaintsOf(now.draft));
        return;
      }
      setComplaints({});
      changeSlip(me, (slip) => submit(slip, wanted, newKey, new Date()));
      askNow(me);
    });
  };

  // A press on a button of the progress takes it away in the end. From "Change the payment" the focus
  // goes to where one types; else it goes to the button for the next payment.
  const wasAsking = useRef(isAsking);
  useEffect(() => {
    const hasEnded = wasAsking.current && !isAsking;
    wasAsking.current = isAsking;
    if (!hasEnded || document.activeElement !== document.body) return;
    if (readSlip(me).attempt) amount.current?.focus();
    else button.current?.focus({ preventScroll: true });
  }, [isAsking, me]);

  const complain = (found: Complaints) => {
    setComplaints(found);
    const first = found.to ? 'to' : found.amount ? 'amount' : 'note';
    form.current?.querySelector<HTMLElement>(`[data-field="${first}"]`)?.focus();
  };

  // Said at once: nobody sees a tab.
  const noteWhy = complaints.note ?? refusedIn(draft.note);
  const leavesAnotherOpen =
    attempt?.state === 'stopped' &&
    attempt.verdict?.kind === 'unknown' &&
    !(wish && asksFor(attempt, wish));

  return (
    <section aria-labelledby={`${id}-title`} className="card p-5 sm:p-6">
      <h2 id={`${id}-title`} className="text-xl font-bold">
        Send money
      </h2>
      <form ref={form} onSubmit={send} noValidate className="mt-3">
        {/* Not disabled: that would take the focus away from whoever pays by pressing Enter. */}
        <fieldset
          aria-disabled={isAsking}
          className="grid min-w-0 grid-cols-1 gap-4 aria-disabled:opacity-70"
        >
          <legend className="sr-only">Payment</legend>
          <PayeePicker
            me={me}
            people={people}
            chosen={draft.to}
            complaint={complaints.to}
            choose={(to) => type({ to })}
          />
          <div>
            <label htmlFor={`${id}-amount`} className="font-medium">
              Amount in dollars
            </label>
            <div className="relative mt-1">
              <span
                aria-hidden="true"
                className="absolute top-1/2 left-4 -translate-y-1/2 text-2xl font-semibold text-muted"
              >
                $
              </span>
              <input
                ref={amount}
                id={`${id}-amount`}
                data-field="amount"
                className="field pl-10 text-3xl font-semibold tabular-nums"
                inputMode="decimal"
                autoComplete="off"
                maxLength={30}
                readOnly={isAsking}
                placeholder="0.00"
                value={draft.amount}
                onChange={(event) => type({ amount: event.target.value })}
                aria-invalid={complaints.amount ? true : undefined}
                aria-describedby={complaints.amount ? `${id}-amount-why` : undefined}
              />
            </div>
            <Complaint id={`${id}-amount-why`} text={complaints.amount} />
          </div>
          <div>
            <label htmlFor={`${id}-note`} className="font-medium">
              What for? <span className="font-normal text-muted">(optional)</span>
            </label>
            <input
              id={`${id}-note`}
              data-field="note"
              className="field mt-1"
              autoComplete="off"
              maxLength={NOTE_TYPED_MAX}
              readOnly={isAsking}
              value={draft.note}
              onChange={(event) => type({ note: event.target.value })}
              aria-invalid={noteWhy ? true : undefined}
              aria-describedby={noteWhy ? `${id}-note-why` : undefined}
            />
            <Complaint id={`${id}-note-why`} text={noteWhy} />
            {refusedIn(draft.note) && (
              <button
                type="button"
                className="button button-quiet mt-2"
                onClick={() => {
                  type({ note: draft.note.replace(CONTROLS, ' ') });
                  form.current?.querySelector<HTMLElement>('[data-field="note"]')?.focus();
                }}
              >
                Put a space there
              </button>
            )}
          </div>
        </fieldset>
        {leavesAnotherOpen && attempt && (
          <p className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
            The earlier payment of {formatCents(attempt.request.amount)} may have gone through. What
            you send now is another one; look at the history first.
          </p>
        )}
        {/* Never disabled: a press while the payment is under way changes nothing. */}
        <button
          ref={button}
          type="submit"
          aria-disabled={isAsking}
          className="button button-main mt-5 w-full text-lg aria-disabled:opacity-70"
        >
          {isAsking ? (
            'Sending…'
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
    </section>
  );
}

function Complaint({ id, text }: { id: string; text: string | undefined }) {
  return text ? (
    <p id={id} role="alert" className="mt-1 font-medium text-bad">
      {text}
    </p>
  ) : null;
}
