import type { FeedPayment } from '../api/client';
import { watch } from '../live/events';
import { labAccount, labAccounts } from './accounts';
import { Count, Experiment, Finding, Findings, Legend } from './Experiment';
import { pay, request, sideBySide } from './pay';
import { Surprise, useExperiment } from './useExperiment';

const PAYMENTS = 60;
const CLIENTS = 3;
const AMOUNT_CENTS = 1;

/** The reader is killed when it has seen so many payments since it began last. */
const SEEN_MAX = 7;

/** How long it stays away: payments go on meanwhile. */
const AWAY_MS = 40;

/** How long it waits for the last payments. */
const PATIENCE_MS = 30_000;

interface Seen {
  /** What the reader was told, in that order: by each of its lives. */
  lives: FeedPayment[][];
  /** The payments that were acknowledged to their payers, by id. */
  paid: string[];
  isDone: boolean;
}

async function experiment(tell: (seen: Seen) => void) {
  const payee = await labAccount(30);
  const payers = await labAccounts(31, CLIENTS);
  const seen: Seen = { lives: [], paid: [], isDone: false };
  const patience = AbortSignal.timeout(PATIENCE_MS);
  let after: number | null = null;
  let paying: Promise<unknown> | null = null;
  let hasPaid = false;
  const count = () => seen.lives.flat().length;
  while (!(hasPaid && count() >= PAYMENTS)) {
    if (patience.aborted) break;
    const life: FeedPayment[] = [];
    seen.lives = [...seen.lives, life];
    const kill = new AbortController();
    const signal = AbortSignal.any([kill.signal, patience]);
    const read = watch(payee, after, signal, {
      began: (position) => {
        after = position;
        paying ??= payAll(payers, payee, (id) => {
          seen.paid = [...seen.paid, id];
          tell({ ...seen });
        }).then(() => (hasPaid = true));
      },
      paid: (payment) => {
        // What comes after the kill is not seen: it has to come again.
        if (signal.aborted) return;
        after = payment.position;
        // The payment that opened the account may get its position only now.
        if (!payers.includes(payment.from_id)) return;
        life.push(payment);
        tell({ ...seen });
        if (life.length >= SEEN_MAX || count() >= PAYMENTS) kill.abort();
      },
    });
    await read.catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
  }
  if (paying === null) throw new Surprise('The stream did not begin.');
  await paying;
  tell({ ...seen, isDone: true });
}

/** Several clients pay at once. */
function payAll(payers: number[], payee: number, paid: (id: string) => void) {
  return sideBySide(
    Array.from({ length: PAYMENTS }, (_, n) => payers[n % CLIENTS] ?? payee),
    async (payer) => paid((await pay(request(payer, payee, AMOUNT_CENTS, 'followed'))).payment.id),
  );
}

export function Follow() {
  const run = useExperiment('follow', experiment);
  return (
    <Experiment
      number={7}
      name="follow"
      title="Follow"
      run={run}
      action="Kill a reader again and again"
      code={[
        ['src/db/numbering.rs', 'positions for batches that are committed'],
        ['src/service/live.rs', 'one reader for all streams; what a stream has missed'],
        ['src/http/live.rs', 'the stream of events, and Last-Event-ID'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      Several clients pay one account {PAYMENTS} times, while a reader of its events is killed again
      and again. Every payment has a position that never changes, and the reader goes on after the
      last one that it has seen. So it sees each payment once, in order, however often it is killed.
    </Experiment>
  );
}

function Picture({ seen: { lives, paid, isDone } }: { seen: Seen }) {
  const all = lives.flat();
  const ids = new Set(all.map((payment) => payment.id));
  const missing = paid.filter((id) => !ids.has(id)).length;
  const isOrdered = all.every(
    ({ position }, n) => n === 0 || position > (all[n - 1]?.position ?? 0),
  );
  const told = lives.filter((life) => life.length > 0);
  return (
    <>
      <ol className="space-y-2">
        {told.map((life, index) => (
          <li key={index} className="grid grid-cols-[4.5rem_minmax(0,1fr)] items-center gap-2">
            <span className="text-sm font-medium">Reader {index + 1}</span>
            <ol className="flex flex-wrap gap-1">
              {life.map(({ id, position }) => (
                <li
                  key={id}
                  className="arrive rounded bg-accent px-1.5 py-0.5 text-xs font-semibold text-on-accent tabular-nums"
                >
                  {position}
                </li>
              ))}
            </ol>
          </li>
        ))}
      </ol>
      <Legend entries={[['bg-accent', 'a payment’s position in the feed of the whole ledger']]} />
      <Findings isDone={isDone}>
        <Finding
          what="Payments seen"
          value={`${ids.size} of ${paid.length}`}
          holds={ids.size === paid.length}
        />
        <Finding
          what="Seen twice"
          value={`${all.length - ids.size}`}
          holds={all.length === ids.size}
        />
        <Finding what="Missing" value={`${missing}`} holds={missing === 0} />
        <Finding what="In order" value={isOrdered ? 'yes' : 'no'} holds={isOrdered} />
        <Count what="Times killed" value={`${told.length - 1}`} />
      </Findings>
    </>
  );
}
