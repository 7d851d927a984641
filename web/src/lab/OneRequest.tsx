import { answered, api, readSignal, type PaymentRequest } from '../api/client';
import { newKey } from '../intent/key';
import { formatCents } from '../money';
import { balanceOf, labAccounts } from './accounts';
import { Experiment, Finding, Findings, Legend } from './Experiment';
import { PaidTile } from './PaidTile';
import { pay, request, type PaidAnswer } from './pay';
import { useExperiment } from './useExperiment';

const CLICKS = 5;
const AMOUNT_CENTS = 700;
const NOTE = 'your half of the pizza';

interface Seen {
  /** The answers to the clicks, in the order of sending; null while one is awaited. */
  clicks: (PaidAnswer | null)[];
  /** What was found afterwards. */
  after: { request: PaymentRequest; paidCents: number } | null;
}

async function experiment(tell: (seen: Seen) => void) {
  const [payer = 0, payee = 0] = await labAccounts(22, 2);
  const before = await balanceOf(payer);
  const asked = await ask(payer, payee);
  let clicks: Seen['clicks'] = new Array<null>(CLICKS).fill(null);
  tell({ clicks, after: null });
  await Promise.all(
    clicks.map(async (_, index) => {
      // Each has a key of its own, as if from another device.
      const intent = request(payer, payee, AMOUNT_CENTS, NOTE);
      const answer = await pay({ ...intent, payment_request_id: asked.id });
      clicks = clicks.with(index, answer);
      tell({ clicks, after: null });
    }),
  );
  const paidCents = before - (await balanceOf(payer));
  tell({ clicks, after: { request: await read(asked.id), paidCents } });
}

async function ask(from: number, to: number): Promise<PaymentRequest> {
  const call = api.POST('/payment_requests', {
    body: { from, to, amount: AMOUNT_CENTS, note: NOTE },
    params: { header: { 'Idempotency-Key': newKey() } },
    signal: readSignal(),
  });
  return (await answered(call)).data;
}

async function read(id: string): Promise<PaymentRequest> {
  const params = { path: { id } };
  const call = api.GET('/payment_requests/{id}', { params, signal: readSignal() });
  return (await answered(call)).data;
}

export function OneRequest() {
  const run = useExperiment('request', experiment);
  return (
    <Experiment
      number={6}
      name="request"
      title="One request, five clicks"
      run={run}
      action={`Pay one request ${CLICKS} times`}
      code={[
        ['src/domain/payment_request.rs', 'a request, and what became of it'],
        ['src/domain/ledger.rs', 'decides: open, or paid already'],
        [
          'migrations/0009_payments_of_requests.sql',
          'the database itself refuses a second payment',
        ],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      Somebody asks for money, and the payer presses Pay on {CLICKS} devices at once, each with a
      key of its own. The payment’s key comes from the request, whatever the devices send, so the
      request is paid once, and the other clicks get the same payment again, marked as a replay.
    </Experiment>
  );
}

function Picture({ seen: { clicks, after } }: { seen: Seen }) {
  const answers = clicks.filter((answer) => answer !== null);
  const payments = new Set(answers.map((answer) => answer.payment.id));
  const replays = answers.filter((answer) => answer.replayed).length;
  const isPaid =
    after?.request.status === 'paid' && payments.has(after.request.payment_id ?? 'none');
  return (
    <>
      <h3 className="font-semibold">
        {CLICKS} clicks, {CLICKS} keys, one request of {formatCents(AMOUNT_CENTS)}
      </h3>
      <ol className="mt-3 grid grid-cols-5 gap-2">
        {clicks.map((answer, index) => (
          <li key={index}>
            <PaidTile answer={answer} />
          </li>
        ))}
      </ol>
      <Legend
        entries={[
          ['bg-accent', 'paid'],
          ['border-2 border-accent bg-accent-soft', 'the same payment again'],
        ]}
      />
      <Findings isDone={after !== null}>
        <Finding
          what="Payments made"
          value={`${payments.size}`}
          holds={payments.size === 1 && answers.length === CLICKS}
        />
        <Finding
          what="Replays among the clicks"
          value={`${replays} of ${CLICKS}`}
          holds={replays === CLICKS - 1}
        />
        <Finding
          what="Taken from the payer"
          value={formatCents(after?.paidCents ?? 0)}
          holds={after?.paidCents === AMOUNT_CENTS}
        />
        <Finding what="The request is" value={after?.request.status ?? ''} holds={isPaid} />
      </Findings>
    </>
  );
}
