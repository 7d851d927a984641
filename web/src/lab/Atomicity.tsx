import { api, readSignal, type Crash } from '../api/client';
import { formatCents } from '../money';
import { balanceOf, labAccounts } from './accounts';
import { Experiment, Finding, Findings } from './Experiment';
import { pay, request } from './pay';
import { offered } from './playground';
import { useExperiment } from './useExperiment';

const AMOUNT_CENTS = 500;

type Balances = Crash['before'];

interface Seen {
  crash: Crash;
  /** Both balances after the retry; null before. */
  retried: Balances | null;
}

async function experiment(tell: (seen: Seen) => void) {
  const [from = 0, to = 0] = await labAccounts(3, 2);
  const intent = request(from, to, AMOUNT_CENTS, 'survived a crash');
  const crash = await crashed(intent);
  tell({ crash, retried: null });
  await pay(intent);
  const [payer, payee] = await Promise.all([balanceOf(from), balanceOf(to)]);
  tell({ crash, retried: { from: payer, to: payee } });
}

/** Has the payment's database session killed just before it commits. */
function crashed(body: ReturnType<typeof request>): Promise<Crash> {
  return offered(
    api.POST('/playground/crash', { body, signal: readSignal() }),
    'This service does not offer the fault: only the playground of `make run` and `make cluster` does, on its private ledger.',
  );
}

export function Atomicity() {
  const run = useExperiment('atomicity', experiment);
  return (
    <Experiment
      number={2}
      name="atomicity"
      title="Atomicity"
      run={run}
      action="Kill a payment halfway"
      code={[
        ['src/service/payments/batch.rs', 'lock, read, decide, write: one transaction'],
        ['src/db/posting.rs', 'balances, payment and key in one statement'],
        ['src/service/session.rs', 'the only place that begins and commits'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      The payer’s balance is lowered and the payee’s is raised, and then, before COMMIT, the
      payment’s database session is killed. Both balances are at once what they were: there is no
      moment at which money has left one account and not reached the other. Sent again with the same
      key, the payment is made as if nothing had happened.
    </Experiment>
  );
}

function Picture({ seen: { crash, retried } }: { seen: Seen }) {
  const { before, written, after, error } = crash;
  const sum = (balances: Balances) => balances.from + balances.to;
  const isSame = (a: Balances, b: Balances) => a.from === b.from && a.to === b.to;
  return (
    <>
      <ol className="grid grid-cols-2 gap-2 sm:gap-3 xl:grid-cols-4">
        <Frame title="Before" balances={before} since={before} />
        <Frame title="Written, not committed" balances={written} since={before} tone="bold" />
        <Frame title="After the crash" balances={after} since={before} tone="crash" />
        {retried ? (
          <Frame title="After the retry" balances={retried} since={before} />
        ) : (
          <li className="skeleton min-h-32 rounded-xl" />
        )}
      </ol>
      <p className="mt-4 text-sm">
        <span className="text-muted">COMMIT ended with: </span>
        <q className="font-mono">{error}</q>
      </p>
      <Findings isDone={retried !== null}>
        <Finding
          what="Money lost by the crash"
          value={formatCents(sum(before) - sum(after))}
          holds={isSame(before, after)}
        />
        <Finding
          what="Paid by the retry"
          value={formatCents(before.from - (retried?.from ?? 0))}
          holds={retried !== null && isSame(retried, written)}
        />
        <Finding
          what="Sum of both, all the time"
          value={formatCents(sum(before))}
          holds={
            retried !== null && [written, after, retried].every((it) => sum(it) === sum(before))
          }
        />
      </Findings>
    </>
  );
}

interface FrameProps {
  title: string;
  balances: Balances;
  since: Balances;
  tone?: 'plain' | 'bold' | 'crash';
}

const TONES = {
  plain: 'border border-line bg-card',
  bold: 'border-2 border-dashed border-wait bg-card',
  crash: 'border-2 border-bad bg-card',
};

function Frame({ title, balances, since, tone = 'plain' }: FrameProps) {
  return (
    <li className={`rounded-xl p-3 ${TONES[tone]}`}>
      <h3 className="text-sm font-semibold min-h-10">{title}</h3>
      <dl className="mt-2 space-y-2 text-sm">
        <Side name="Payer" cents={balances.from} change={balances.from - since.from} />
        <Side name="Payee" cents={balances.to} change={balances.to - since.to} />
      </dl>
    </li>
  );
}

function Side({ name, cents, change }: { name: string; cents: number; change: number }) {
  return (
    <div>
      <dt className="text-muted">{name}</dt>
      <dd className="tabular-nums">
        <span className="block font-semibold">{formatCents(cents)}</span>
        <span className={change === 0 ? 'text-muted' : change > 0 ? 'text-accent' : 'text-bad'}>
          {change === 0 ? 'unchanged' : `${change > 0 ? '+' : ''}${formatCents(change)}`}
        </span>
      </dd>
    </div>
  );
}
