import { sendOnce } from '../api/send';
import { readPage } from '../history/pages';
import { formatCents } from '../money';
import { labAccounts } from './accounts';
import { Experiment, Finding, Findings, Legend } from './Experiment';
import { PaidTile } from './PaidTile';
import { pay, request, type PaidAnswer } from './pay';
import { useExperiment } from './useExperiment';

const COPIES = 20;
const AMOUNT_CENTS = 100;

interface Seen {
  /** The answers to the copies, in the order of sending; null while one is awaited. */
  copies: (PaidAnswer | null)[];
  /** The answer to the retry of a request whose own answer was thrown away. */
  retry: PaidAnswer | null;
  /** Payments with the two ids in the payer's history. */
  made: [copies: number, retried: number] | null;
}

async function experiment(tell: (seen: Seen) => void) {
  const [payer = 0, payee = 0] = await labAccounts(0, 2);
  let seen: Seen = { copies: new Array<null>(COPIES).fill(null), retry: null, made: null };
  const know = (more: Partial<Seen>) => {
    seen = { ...seen, ...more };
    tell(seen);
  };
  know({});

  const intent = request(payer, payee, AMOUNT_CENTS, 'sent twenty times');
  const answers = await Promise.all(
    seen.copies.map(async (_, index) => {
      const answer = await pay(intent);
      know({ copies: seen.copies.with(index, answer) });
      return answer;
    }),
  );

  const lost = request(payer, payee, AMOUNT_CENTS, 'its answer was thrown away');
  await sendOnce(lost);
  const retry = await pay(lost);
  know({ retry });

  const { payments } = await readPage(payer, null);
  const times = (id: string | undefined) => payments.filter((payment) => payment.id === id).length;
  know({ made: [times(answers[0]?.payment.id), times(retry.payment.id)] });
}

export function Idempotency() {
  const run = useExperiment('idempotency', experiment);
  return (
    <Experiment
      number={1}
      name="idempotency"
      title="Idempotency"
      run={run}
      action={`Send one payment ${COPIES} times`}
      code={[
        ['src/domain/idempotency.rs', 'keys, and what a key was first used for'],
        ['src/domain/ledger.rs', 'decides: pay, or give the stored answer'],
        ['src/db/posting.rs', 'the key is written with the money, in one statement'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      One intent, with one key, is sent {COPIES} times at once, and another one is sent again
      because its answer was thrown away. The service pays each of them once, and every other
      request gets the stored answer, the same to the byte, marked as a replay. So a page that does
      not know whether a payment went through simply asks again.
    </Experiment>
  );
}

function Picture({ seen: { copies, retry, made } }: { seen: Seen }) {
  const answers = copies.filter((answer) => answer !== null);
  const replays = answers.filter((answer) => answer.replayed).length;
  const different = new Set(answers.map((answer) => answer.text)).size;
  return (
    <>
      <h3 className="font-semibold">
        {COPIES} requests, one key: {formatCents(AMOUNT_CENTS)}
      </h3>
      <ol className="mt-3 grid grid-cols-5 gap-2 sm:grid-cols-10">
        {copies.map((answer, index) => (
          <li key={index}>
            <PaidTile answer={answer} />
          </li>
        ))}
      </ol>
      <h3 className="mt-6 font-semibold">One request whose answer was thrown away</h3>
      <div className="mt-3 flex items-center gap-3">
        <span className="grid h-12 w-24 place-items-center rounded-xl border-2 border-dashed border-edge text-sm text-muted">
          answer lost
        </span>
        <svg viewBox="0 0 40 12" className="w-10 text-muted" aria-hidden="true">
          <path d="M0 6h36M31 1l6 5-6 5" fill="none" stroke="currentColor" strokeWidth="2" />
        </svg>
        <span className="sr-only">then asked again:</span>
        <div className="w-24">
          <PaidTile answer={retry} />
        </div>
      </div>
      <Legend
        entries={[
          ['bg-accent', 'paid'],
          ['border-2 border-accent bg-accent-soft', 'replay of the stored answer'],
        ]}
      />
      <Findings isDone={made !== null}>
        <Finding
          what="Payments made by the copies"
          value={`${made?.[0]}`}
          holds={made?.[0] === 1}
        />
        <Finding
          what="Replays among the copies"
          value={`${replays} of ${COPIES}`}
          holds={replays === COPIES - 1}
        />
        <Finding what="Different answers" value={`${different}`} holds={different === 1} />
        <Finding
          what="Payments made by the retried one"
          value={`${made?.[1]}`}
          holds={made?.[1] === 1}
        />
        <Finding
          what="Its retry was a replay"
          value={retry?.replayed ? 'yes' : 'no'}
          holds={retry?.replayed === true}
        />
      </Findings>
    </>
  );
}
