import { answered, api, ApiFailure, readSignal, type Intent, type Payment } from '../api/client';
import { sendOnce, voidOnce, type Answer, type VoidAnswer } from '../api/send';
import { formatCents } from '../money';
import { balanceOf, labAccounts } from './accounts';
import { Count, Experiment, Finding, Findings, Legend } from './Experiment';
import { request } from './pay';
import { Surprise, useExperiment } from './useExperiment';

const ROUNDS = 20;
const AMOUNT_CENTS = 100;
/** The second of the two is sent so much later at the most: then either can win. */
const HEAD_START_MS_MAX = 4;

/** One payment, and the wish to cancel it, sent at the same time. */
interface Round {
  winner: 'pay' | 'cancel' | 'both or none';
  /** Both answers, and what the service says of the key afterwards, are one story. */
  isOneStory: boolean;
}

interface Seen {
  /** Null while its answers are awaited. */
  rounds: (Round | null)[];
  /** What the payer has paid in all; null before the end. */
  paidCents: number | null;
}

async function experiment(tell: (seen: Seen) => void) {
  const [payer = 0, payee = 0] = await labAccounts(20, 2);
  const before = await balanceOf(payer);
  let rounds: Seen['rounds'] = new Array<null>(ROUNDS).fill(null);
  tell({ rounds, paidCents: null });
  for (let turn = 0; turn < ROUNDS; turn += 1) {
    const round = await race(request(payer, payee, AMOUNT_CENTS, 'paid or cancelled'), turn % 2);
    rounds = rounds.with(turn, round);
    tell({ rounds, paidCents: null });
  }
  tell({ rounds, paidCents: before - (await balanceOf(payer)) });
}

async function race(intent: Intent, first: number): Promise<Round> {
  const waitMs = Math.random() * HEAD_START_MS_MAX;
  const later = () => new Promise((resolve) => setTimeout(resolve, waitMs));
  const [paid, voided] = await Promise.all([
    (first === 0 ? Promise.resolve() : later()).then(() => sendOnce(intent)),
    (first === 1 ? Promise.resolve() : later()).then(() => voidOnce(intent)),
  ]);
  if (!paid || !voided) throw new Surprise('A request got no answer. Is the service running?');
  return told(paid, voided, await outcome(intent));
}

function told(paid: Answer, voided: VoidAnswer, made: Payment | null): Round {
  const isPaid = paid.payment !== null;
  const isCancelled = voided.voided && paid.problem?.code === 'idempotency_key_voided';
  return {
    winner: isPaid && !voided.voided ? 'pay' : isCancelled && !isPaid ? 'cancel' : 'both or none',
    isOneStory: isPaid
      ? voided.payment?.id === paid.payment?.id && made?.id === paid.payment?.id
      : isCancelled && made === null,
  };
}

/** The payment that was made under the key; null where there is none. */
async function outcome({ from, idempotency_key }: Intent): Promise<Payment | null> {
  const params = { query: { from, idempotency_key } };
  try {
    const call = api.GET('/payments', { params, signal: readSignal(), cache: 'no-store' });
    return (await answered(call)).data;
  } catch (error) {
    if (error instanceof ApiFailure && error.problem?.code === 'payment_not_found') return null;
    throw error;
  }
}

export function CancelAgainstPay() {
  const run = useExperiment('cancel', experiment);
  return (
    <Experiment
      number={5}
      name="cancel"
      title="Cancel against pay"
      run={run}
      action={`Race them ${ROUNDS} times`}
      code={[
        ['src/domain/instruction.rs', 'a payment and a cancel wait in the same queue'],
        ['src/domain/ledger.rs', 'decides: paid before, or void for ever'],
        ['src/db/posting.rs', 'the key is settled under the payer’s lock'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      A payment and the wish to cancel it are sent at the same time, {ROUNDS} times. Both take the
      lock of the payer, so one of them is first, and the other is told so: either it was paid, and
      it is too late, or its key is void, and no copy that arrives later ever pays. So nobody has to
      guess what became of a payment.
    </Experiment>
  );
}

const TILES = {
  pay: ['bg-accent text-on-accent', 'paid'],
  cancel: ['border-2 border-wait bg-card', 'void'],
  'both or none': ['bg-bad text-card', '✗'],
} as const;

function Picture({ seen: { rounds, paidCents } }: { seen: Seen }) {
  const ended = rounds.filter((round) => round !== null);
  const won = (winner: Round['winner']) => ended.filter((it) => it.winner === winner).length;
  const decided = ended.length - won('both or none');
  const agreed = ended.filter((it) => it.isOneStory).length;
  return (
    <>
      <ol className="grid grid-cols-5 gap-2 sm:grid-cols-10">
        {rounds.map((round, index) => (
          <li key={index}>
            {round ? (
              <span
                className={`grid h-12 place-items-center rounded-xl text-xs font-semibold ${TILES[round.winner][0]}`}
              >
                {TILES[round.winner][1]}
              </span>
            ) : (
              <span className="skeleton block h-12 rounded-xl" />
            )}
          </li>
        ))}
      </ol>
      <Legend
        entries={[
          ['bg-accent', 'the payment was first'],
          ['border-2 border-wait', 'the cancel was first'],
        ]}
      />
      <Findings isDone={paidCents !== null}>
        <Finding
          what="Rounds with exactly one winner"
          value={`${decided} of ${ROUNDS}`}
          holds={decided === ROUNDS}
        />
        <Finding
          what="Both were told the same"
          value={`${agreed} of ${ROUNDS}`}
          holds={agreed === ROUNDS}
        />
        <Finding
          what="Paid in all"
          value={formatCents(paidCents ?? 0)}
          holds={paidCents === won('pay') * AMOUNT_CENTS}
        />
        <Count what="Won by the payment" value={`${won('pay')}`} />
        <Count what="Won by the cancel" value={`${won('cancel')}`} />
      </Findings>
    </>
  );
}
