import { readPage, type Cursor } from '../history/pages';
import { formatCents } from '../money';
import { labAccount, labAccounts } from './accounts';
import { Count, Experiment, Finding, Findings, Legend } from './Experiment';
import { CONNECTIONS, pay, request, sideBySide, type PaidAnswer } from './pay';
import { Surprise, useExperiment } from './useExperiment';

const PAYERS = 8;
const PAYMENTS = 24;
const AMOUNT_CENTS = 100;

/** One payment, from the click to its answer, in ms since the first one was sent. */
interface Bar {
  payer: number;
  sentMs: number;
  answeredMs: number;
  answer: PaidAnswer;
  /** The payee's balance after it. */
  balance: number;
}

/** In the ledger's order. */
interface Seen {
  bars: Bar[];
}

async function experiment(tell: (seen: Seen) => void) {
  const payee = await labAccount(2);
  const payers = await labAccounts(10, PAYERS);
  const turns = Array.from({ length: PAYMENTS }, (_, turn) => turn % PAYERS);
  const startedAt = performance.now();
  const since = () => performance.now() - startedAt;
  const sent = await sideBySide(turns, async (payer) => {
    const sentMs = since();
    const answer = await pay(request(payers[payer] ?? 0, payee, AMOUNT_CENTS, 'all to one'));
    return { payer: payer + 1, sentMs, answeredMs: since(), answer };
  });
  const balances = await balancesAfter(payee, new Set(sent.map((it) => it.answer.payment.id)));
  const bars = sent.map((it) => ({ ...it, balance: balances.get(it.answer.payment.id) ?? 0 }));
  // Text in one format, with six decimals: its order is the order in time.
  const time = (bar: Bar) => bar.answer.payment.created_at;
  tell({ bars: bars.sort((a, b) => (time(a) < time(b) ? -1 : 1)) });
}

/** The payee's balance after each of the payments: only the payee's own history shows it. */
async function balancesAfter(payee: number, ids: Set<string>): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  let cursor: Cursor | null = null;
  for (let pages = 0; pages < 20; pages += 1) {
    const page = await readPage(payee, cursor);
    for (const { id, balance_after } of page.payments) {
      if (ids.has(id)) found.set(id, balance_after ?? 0);
    }
    if (found.size === ids.size) return found;
    if (!page.next) break;
    cursor = page.next;
  }
  throw new Surprise(
    'Not every payment was found in the history: is somebody else paying this account?',
  );
}

export function Locks() {
  const run = useExperiment('locks', experiment);
  return (
    <Experiment
      number={3}
      name="locks"
      title="Locks"
      run={run}
      action={`${PAYERS} people pay one person`}
      code={[
        ['src/service/payments/intake.rs', 'who goes into which batch'],
        ['src/db/posting.rs', 'locks payers and payees in id order, FOR UPDATE'],
        ['src/domain/ledger.rs', 'applies a batch, one payment after another'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      {PAYERS} people pay the same person, {CONNECTIONS} requests at a time, as many as a browser
      sends to one server. The payee’s row is locked, so the payments are applied strictly one after
      another, each with a time and a balance of its own, and none is lost. Those that wait together
      are written with one commit, a batch, which is why waiting for one’s turn costs so little.
    </Experiment>
  );
}

function Picture({ seen: { bars } }: { seen: Seen }) {
  const endMs = Math.max(...bars.map((bar) => bar.answeredMs), 1);
  const batches = [...new Set(bars.map((bar) => bar.answer.timing?.batch))];
  const letter = (bar: Bar) => batches.indexOf(bar.answer.timing?.batch) + 1;
  const inOrder = bars.every((bar, index) => {
    const before = bars[index - 1];
    return !before || bar.balance === before.balance + AMOUNT_CENTS;
  });
  const times = new Set(bars.map((bar) => bar.answer.payment.created_at)).size;
  return (
    <>
      <div
        className="overflow-x-auto"
        tabIndex={0}
        role="region"
        aria-label="Timeline of the payments"
      >
        <table className="w-full border-separate border-spacing-y-0.5 text-sm tabular-nums">
          <caption className="mb-2 text-left">
            In the ledger’s order, over {endMs.toFixed(0)} ms
          </caption>
          <thead className="text-left text-muted">
            <tr>
              <th scope="col" className="pr-2 font-medium whitespace-nowrap">
                Payer
              </th>
              <th scope="col" className="w-full font-medium">
                Request
              </th>
              <th scope="col" className="px-1 font-medium whitespace-nowrap sm:px-2">
                Batch
              </th>
              <th scope="col" className="text-right font-medium whitespace-nowrap">
                Payee has
              </th>
            </tr>
          </thead>
          <tbody>
            {bars.map((bar) => (
              <tr key={bar.answer.payment.id} className={letter(bar) % 2 ? 'bg-card' : ''}>
                <th scope="row" className="rounded-l-md pl-2 font-normal">
                  {bar.payer}
                </th>
                <td className="min-w-24">
                  <Timeline bar={bar} endMs={endMs} />
                </td>
                <td className="px-1 text-center font-semibold sm:px-2">{letter(bar)}</td>
                <td className="rounded-r-md pr-2 text-right whitespace-nowrap">
                  {formatCents(bar.balance)}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Legend
        entries={[
          ['bg-wait', 'queued'],
          ['bg-lock', 'waiting for locks'],
          ['bg-rest', 'reading, deciding, writing; the wire'],
          ['bg-accent', 'committing'],
        ]}
      />
      <Findings isDone>
        <Finding
          what="Payments, each with its own time"
          value={`${times} of ${PAYMENTS}`}
          holds={times === PAYMENTS}
        />
        <Finding
          what="Each balance is the one before plus $1.00"
          value={inOrder ? 'yes' : 'no'}
          holds={inOrder}
        />
        <Count what="Commits it took, each for one batch" value={`${batches.length}`} />
      </Findings>
    </>
  );
}

/** From sending to the answer; the service's own times within, the rest between them. */
function Timeline({ bar, endMs }: { bar: Bar; endMs: number }) {
  const { timing } = bar.answer;
  const totalMs = bar.answeredMs - bar.sentMs;
  const { queue, lock, commit } = timing ?? { queue: 0, lock: 0, commit: 0 };
  const rest = Math.max(0, totalMs - queue - lock - commit);
  const parts: [string, number][] = [
    ['bg-wait', queue],
    ['bg-lock', lock],
    ['bg-rest', rest],
    ['bg-accent', commit],
  ];
  const said = `${totalMs.toFixed(1)} ms: ${queue} queued, ${lock} for locks, ${commit} committing`;
  return (
    <span
      role="img"
      aria-label={said}
      title={said}
      className="flex h-4 overflow-hidden rounded"
      style={{
        marginLeft: `${(100 * bar.sentMs) / endMs}%`,
        width: `${(100 * totalMs) / endMs}%`,
        minWidth: 4,
      }}
    >
      {parts.map(([className, ms]) => (
        <span key={className} className={className} style={{ flexGrow: ms }} />
      ))}
    </span>
  );
}
