import { answered, api, readSignal, type Cluster, type Payment } from '../api/client';
import { readPage, type Cursor } from '../history/pages';
import { formatCents } from '../money';
import { pause } from '../pause';
import { balanceOf, labAccount, labAccounts } from './accounts';
import { Count, Experiment, Finding, Findings, Legend } from './Experiment';
import { payForCertain, request } from './pay';
import { offered } from './playground';
import { Surprise, useExperiment } from './useExperiment';

const CLIENTS = 4;
const AMOUNT_CENTS = 1;

/** A client's pause between two payments. */
const PAUSE_MS = 100;

/** Payments flow for so long before the leader is killed, and so long after another one leads. */
const BEFORE_MS = 2_000;
const AFTER_MS = 3_000;

/** How often is asked who leads. */
const LOOK_MS = 500;

/** How long a new leader and the last payments are waited for. */
const PATIENCE_MS = 120_000;

/** The picture is in parts of so long, and of so many at least. */
const PART_MS = 500;
const PARTS_MIN = 60;

/** Something that a server was seen to do, in ms since the first payment was sent. */
interface Moment {
  server: string;
  ms: number;
}

interface Seen {
  /** Tries that were answered, in this order. */
  tries: { ms: number; isPaid: boolean }[];
  killed: Moment | null;
  leads: Moment | null;
  nowMs: number;
  /** After the last payment. */
  checked: Checked | null;
}

interface Checked {
  /** The payments that clients were told of, by id. */
  acknowledged: string[];
  /** Those that had been made by a try whose answer did not come. */
  replays: number;
  /** The payee's payments since the first was sent, by id. */
  found: string[];
  /** Cents that the payers have less, and the payee more. */
  takenCents: number;
  arrivedCents: number;
}

async function experiment(tell: (seen: Seen) => void) {
  const { obstacle } = await readCluster();
  if (obstacle) throw new Surprise(obstacle);
  const payee = await labAccount(40);
  const payers = await labAccounts(41, CLIENTS);
  const newest = (await readPage(payee, null)).payments[0]?.id ?? null;
  const had = await balances(payers, payee);

  const seen: Seen = { tries: [], killed: null, leads: null, nowMs: 0, checked: null };
  const startedAt = performance.now();
  const know = (more: Partial<Seen> = {}) => {
    Object.assign(seen, more, { nowMs: performance.now() - startedAt });
    tell({ ...seen });
  };
  const tried = (isPaid: boolean) =>
    know({ tries: [...seen.tries, { ms: performance.now() - startedAt, isPaid }] });

  const patience = AbortSignal.timeout(PATIENCE_MS);
  const failed = new AbortController();
  const signal = AbortSignal.any([patience, failed.signal]);
  const acknowledged: string[] = [];
  let replays = 0;
  let isEnough = false;
  const client = async (payer: number) => {
    while (!isEnough) {
      const intent = request(payer, payee, AMOUNT_CENTS, 'paid through a failover');
      const { payment, replayed } = await payForCertain(intent, () => tried(false), signal);
      acknowledged.push(payment.id);
      if (replayed) replays += 1;
      tried(true);
      await pause(PAUSE_MS, signal);
    }
  };
  const failover = async () => {
    await pause(BEFORE_MS, signal);
    const killed = await killLeader();
    know({ killed: { server: killed, ms: performance.now() - startedAt } });
    for (;;) {
      await pause(LOOK_MS, signal);
      const { leader } = await readCluster();
      know();
      if (leader && leader !== killed) {
        know({ leads: { server: leader, ms: seen.nowMs } });
        break;
      }
    }
    const flows = () => seen.tries.some((it) => it.isPaid && it.ms > (seen.leads?.ms ?? 0));
    while (!flows()) await pause(LOOK_MS, signal);
    await pause(AFTER_MS, signal);
    isEnough = true;
  };
  try {
    await Promise.all([failover(), ...payers.map(client)]);
  } catch (error) {
    if (patience.aborted) {
      throw new Surprise(
        `After ${PATIENCE_MS / 1_000} s payments did not flow again. The terminal of \`make cluster\` says who leads.`,
      );
    }
    throw error;
  } finally {
    failed.abort();
  }

  const found = await paymentsSince(payee, newest);
  const has = await balances(payers, payee);
  const takenCents = had.payers - has.payers;
  const arrivedCents = has.payee - had.payee;
  know({
    checked: {
      acknowledged,
      replays,
      found: found.map((payment) => payment.id),
      takenCents,
      arrivedCents,
    },
  });
}

function readCluster(): Promise<Cluster> {
  return offered(
    api.GET('/playground/cluster', { signal: readSignal(), cache: 'no-store' }),
    'This service kills nobody: only the playground that `make cluster` starts does, on three servers of its own.',
  );
}

/** Which server it was. */
async function killLeader(): Promise<string> {
  const call = api.POST('/playground/failover', { signal: readSignal() });
  const { killed, obstacle } = (await answered(call)).data;
  if (!killed) throw new Surprise(obstacle ?? 'Nothing was killed.');
  return killed;
}

async function balances(payers: number[], payee: number) {
  const [of = 0, ...others] = await Promise.all([payee, ...payers].map(balanceOf));
  return { payee: of, payers: others.reduce((sum, it) => sum + it, 0) };
}

/** The payments of an account that are newer than one of them. */
async function paymentsSince(account: number, newest: string | null): Promise<Payment[]> {
  const found: Payment[] = [];
  let cursor: Cursor | null = null;
  do {
    const page = await readPage(account, cursor);
    const known = page.payments.findIndex((payment) => payment.id === newest);
    if (known >= 0) return [...found, ...page.payments.slice(0, known)];
    found.push(...page.payments);
    cursor = page.next;
  } while (cursor);
  return found;
}

export function Failover() {
  const run = useExperiment('failover', experiment);
  return (
    <Experiment
      number={8}
      name="failover"
      title="Failover"
      run={run}
      action="Kill the leader under payments"
      code={[
        ['deploy/cluster/cluster.yml', 'a commit waits for a second server'],
        ['src/db/connect/search.rs', 'finds the server that takes writes'],
        ['src/service/retry.rs', 'what follows a lost connection'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      {CLIENTS} clients pay while the leader of the three servers that{' '}
      <code className="font-mono text-[0.875em]">make cluster</code> starts is killed, as if its
      machine were gone. No payment is acknowledged before a second server has it, and that one
      leads after some 20 seconds. Until then each client sends its payment again, with the same
      key.
    </Experiment>
  );
}

function Picture({ seen }: { seen: Seen }) {
  const { tries, killed, leads, nowMs, checked } = seen;
  const gap = longestGap(seen);
  const retries = tries.filter((it) => !it.isPaid).length;
  const paid = tries.length - retries;
  return (
    <>
      <Timeline seen={seen} gap={gap} paid={paid} retries={retries} />
      <Legend
        entries={[
          ['bg-accent', 'paid'],
          ['bg-wait', 'to be tried again'],
          ['border-2 border-dashed border-wait', 'nothing is paid'],
        ]}
      />
      <div role="log" aria-label="What happened" className="mt-4 text-sm tabular-nums">
        <ol className="space-y-1">
          {killed && (
            <li>
              {seconds(killed.ms)}: {killed.server}, which leads, is killed
            </li>
          )}
          {leads && (
            <li>
              {seconds(leads.ms)}: {leads.server} leads
            </li>
          )}
        </ol>
      </div>
      {killed && !leads && (
        <p className="mt-1 text-sm text-muted tabular-nums">
          Nobody leads, since {seconds(nowMs - killed.ms)}; it takes some 20 s.
        </p>
      )}
      <Findings isDone={checked !== null}>
        {checked && <Checks checked={checked} retries={retries} gapMs={gap.endMs - gap.beginMs} />}
      </Findings>
    </>
  );
}

function Checks({ checked, retries, gapMs }: { checked: Checked; retries: number; gapMs: number }) {
  const { acknowledged, replays, found, takenCents, arrivedCents } = checked;
  const there = new Set(found);
  const kept = acknowledged.filter((id) => there.has(id));
  const lost = acknowledged.length - kept.length;
  // Every key was asked for until it was paid, so one payment of each is acknowledged.
  const more = found.length - new Set(kept).size;
  const wantedCents = acknowledged.length * AMOUNT_CENTS;
  return (
    <>
      <Finding
        what="Paid, and in the history"
        value={`${kept.length} of ${acknowledged.length}`}
        holds={lost === 0 && acknowledged.length > 0}
      />
      <Finding what="Lost" value={`${lost}`} holds={lost === 0} />
      <Finding what="Paid twice" value={`${more}`} holds={more === 0} />
      <Finding
        what="Taken from the payers"
        value={formatCents(takenCents)}
        holds={takenCents === wantedCents}
      />
      <Finding
        what="Arrived at the payee"
        value={formatCents(arrivedCents)}
        holds={arrivedCents === wantedCents}
      />
      <Count what="Without a payment" value={milliseconds(gapMs)} />
      <Count what="Retries" value={`${retries}`} />
      <Count what="Retries of what was paid already" value={`${replays}`} />
    </>
  );
}

/** The longest time between two payments, or since the last one where that is longer. */
function longestGap({ tries, nowMs, checked }: Seen) {
  const paid = tries.filter((it) => it.isPaid).map((it) => it.ms);
  const ends = checked ? paid : [...paid, nowMs];
  let longest = { beginMs: 0, endMs: 0 };
  ends.forEach((endMs, index) => {
    const beginMs = ends[index - 1] ?? endMs;
    if (endMs - beginMs > longest.endMs - longest.beginMs) longest = { beginMs, endMs };
  });
  return longest;
}

interface TimelineProps {
  seen: Seen;
  gap: ReturnType<typeof longestGap>;
  paid: number;
  retries: number;
}

/** Answers over time: above those that say paid, below those after which a client tries again. */
function Timeline({ seen: { tries, killed, leads, nowMs }, gap, paid, retries }: TimelineProps) {
  const parts = Math.max(PARTS_MIN, Math.ceil(nowMs / PART_MS));
  const endMs = parts * PART_MS;
  const gapMs = gap.endMs - gap.beginMs;
  const at = (ms: number) => `${(100 * ms) / endMs}%`;
  const said =
    `${paid} answers said paid, after ${retries} a client tried again, over ${seconds(nowMs)}.` +
    (killed ? ` The leader was killed after ${seconds(killed.ms)}.` : '') +
    (leads ? ` Another one leads since ${seconds(leads.ms)}.` : '') +
    (killed ? ` Nothing was paid for ${milliseconds(gapMs)}.` : '');
  return (
    <div role="img" aria-label={said} className="text-sm">
      <div className="grid grid-cols-[4.5rem_minmax(0,1fr)] gap-x-2 gap-y-3">
        <span className="self-end font-medium">Paid</span>
        <Bars
          counts={counted(tries, true, parts)}
          className="h-20 border-b border-edge"
          bar="bg-accent"
        />
        <span className="self-end font-medium">Try again</span>
        <Bars
          counts={counted(tries, false, parts)}
          className="h-10 border-b border-edge"
          bar="bg-wait"
        />
        <span className="self-center font-medium">Gap</span>
        <div className="relative h-8">
          {killed && (
            <span
              className="absolute inset-y-0 grid place-items-center rounded-md border-2 border-dashed border-wait whitespace-nowrap tabular-nums"
              style={{ left: at(gap.beginMs), width: at(gapMs) }}
            >
              {milliseconds(gapMs)}
            </span>
          )}
        </div>
        <span />
        <div className="relative h-5 text-xs text-muted tabular-nums">
          <span className="absolute left-0">0 s</span>
          <span className="absolute right-0">{endMs / 1_000} s</span>
        </div>
      </div>
    </div>
  );
}

/** The answers of a kind in each part of the time. */
function counted(tries: Seen['tries'], isPaid: boolean, parts: number): number[] {
  const counts = new Array<number>(parts).fill(0);
  for (const it of tries) {
    const part = Math.floor(it.ms / PART_MS);
    if (it.isPaid === isPaid) counts[part] = (counts[part] ?? 0) + 1;
  }
  return counts;
}

function Bars({ counts, className, bar }: { counts: number[]; className: string; bar: string }) {
  const most = Math.max(...counts, 1);
  return (
    <div className={`flex items-end ${className}`}>
      {counts.map((count, index) => (
        <span
          key={index}
          className={`flex-1 ${count > 0 ? bar : ''}`}
          style={{ height: `${(100 * count) / most}%`, minHeight: count > 0 ? 4 : 0 }}
        />
      ))}
    </div>
  );
}

function milliseconds(ms: number): string {
  return `${Math.round(ms).toLocaleString('en-US')} ms`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
