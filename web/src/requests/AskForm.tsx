'use client';

import { useId, useRef, useState, type FormEvent } from 'react';
import { AmountField } from '../form/AmountField';
import { NoteField, whyNoNote } from '../form/NoteField';
import { formatCents, parseDollars } from '../money';
import { useCalled, useNames } from '../people/people';
import { NumberOf } from '../people/PersonName';
import { PersonPicker } from '../people/PersonPicker';
import { freshAsk, keepAsk, keptAsk, type AskDraft } from './draft';
import { ask, type Asked } from './requests';
import { useLookAtRequests } from './useRequests';

const DAY_MS = 86_400_000;

const DAYS: [days: number | null, text: string][] = [
  [null, 'at any time'],
  [1, 'for a day'],
  [7, 'for a week'],
  [30, 'for a month'],
];

interface Complaints {
  from?: string;
  amount?: string;
  note?: string;
}

/** Asks somebody for money. */
export function AskForm({ me }: { me: number }) {
  const [draft, setDraft] = useState(() => keptAsk(me));
  const [complaints, setComplaints] = useState<Complaints>({});
  const [isAsking, setIsAsking] = useState(false);
  const [asked, setAsked] = useState<Asked | null>(null);
  const form = useRef<HTMLFormElement>(null);
  const look = useLookAtRequests(me);
  const called = useCalled(draft.from === null ? [] : [draft.from]);
  const id = useId();
  const parsed = parseDollars(draft.amount);

  const keep = (next: AskDraft) => {
    setDraft(next);
    keepAsk(me, next);
  };
  const type = (change: Partial<Omit<AskDraft, 'key'>>) => {
    if (isAsking) return;
    setComplaints({});
    // Whatever was asked before, this is another one.
    const isOld = asked !== null;
    keep({ ...draft, ...change, ...(isOld && { key: freshAsk().key }) });
    setAsked(null);
  };

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isAsking) return;
    const { key, from, note, days } = draft;
    const found: Complaints = {
      from: from === null ? 'Choose whom to ask.' : undefined,
      amount: parsed.ok ? undefined : parsed.why,
      note: whyNoNote(note),
    };
    if (from === null || !parsed.ok || found.note) {
      // The second click of two finds an empty form.
      const isEmpty = asked?.kind === 'asked' && draft.amount === '';
      if (isEmpty) return;
      setComplaints(found);
      const first = found.from ? 'to' : found.amount ? 'amount' : 'note';
      form.current?.querySelector<HTMLElement>(`[data-field="${first}"]`)?.focus();
      return;
    }
    setIsAsking(true);
    const expires_at = days === null ? null : new Date(Date.now() + days * DAY_MS).toISOString();
    const { cents: amount } = parsed;
    const outcome = await ask({ key, from, to: me, amount, note: note.trim() || null, expires_at });
    setIsAsking(false);
    setAsked(outcome);
    if (outcome.kind === 'asked') keep({ ...freshAsk(), from });
    look();
  };

  return (
    <section aria-labelledby={`${id}-title`} className="card p-5 sm:p-6">
      <h2 id={`${id}-title`} className="text-xl font-bold">
        Ask for money
      </h2>
      <form ref={form} onSubmit={(event) => void submit(event)} noValidate className="mt-3">
        <div className="grid min-w-0 grid-cols-1 gap-4">
          <PersonPicker
            title="Whom do you ask?"
            me={me}
            chosen={draft.from}
            complaint={complaints.from}
            choose={(from) => type({ from })}
          />
          <AmountField
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
          <div>
            <label htmlFor={`${id}-days`} className="font-medium">
              It can be paid
            </label>
            <select
              id={`${id}-days`}
              className="field mt-1"
              value={draft.days ?? ''}
              onChange={(event) => type({ days: Number(event.target.value) || null })}
            >
              {DAYS.map(([days, text]) => (
                <option key={text} value={days ?? ''}>
                  {text}
                </option>
              ))}
            </select>
          </div>
        </div>
        <button
          type="submit"
          aria-disabled={isAsking}
          className="button button-main mt-5 w-full text-lg aria-disabled:opacity-70"
        >
          {isAsking ? (
            'Asking…'
          ) : draft.from !== null && parsed.ok ? (
            <>
              <span className="line-clamp-3 min-w-0">
                Ask <bdi>{called(draft.from).name}</bdi> for {formatCents(parsed.cents)}
              </span>{' '}
              <NumberOf called={called(draft.from)} />
            </>
          ) : (
            'Ask'
          )}
        </button>
      </form>
      <Outcome asked={asked} />
    </section>
  );
}

/** What became of it, in words. */
function Outcome({ asked }: { asked: Asked | null }) {
  const from = asked?.kind === 'asked' ? asked.request.from_id : null;
  const name = useNames(from === null ? [] : [from]);
  return (
    <div role="status">
      {asked?.kind === 'asked' && (
        <p className="mt-4 rounded-2xl bg-accent-soft p-4 font-semibold">
          You asked {name(asked.request.from_id)} for {formatCents(asked.request.amount)}.
        </p>
      )}
      {asked?.kind === 'refused' && (
        <p className="mt-4 rounded-2xl bg-bad-soft p-4 text-bad">{asked.why}</p>
      )}
      {asked?.kind === 'unknown' && (
        <p className="mt-4 rounded-2xl bg-warn-soft p-4 text-warn">
          No answer came back, so we don’t know yet whether it was asked. Press again: unchanged, it
          is asked once at the most.
        </p>
      )}
    </div>
  );
}
