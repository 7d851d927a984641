/**
 * The real service, a real browser, and a wire between them that can be cut.
 *
 * The service is the playground's program, named by PAYONCE_BIN, on a port and a private Postgres of its
 * own; it serves the page that `npm run build` made.
 */

import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { isDeepStrictEqual, promisify } from 'node:util';
import {
  after,
  afterEach,
  before,
  beforeEach,
  test as nodeTest,
  type TestContext,
} from 'node:test';
import postgres from 'postgres';
import {
  chromium,
  type Browser,
  type BrowserContextOptions,
  type Locator,
  type Page,
} from 'playwright-core';
import type { Payment, PaymentRequest } from '../src/api/client';
import { closeAllBut, told, uncaught, watch, watched } from './evidence';

/**
 * How long a condition is awaited before a test fails. It costs nothing where tests pass; the page itself may wait for
 * 20 seconds between two tries, and the machine may have much else to do.
 */
export const PATIENCE_MS = 120_000;

const WEB = path.resolve(import.meta.dirname, '..');
const OUT = path.join(WEB, 'out');

export interface Service {
  origin: string;
  /** The ledger, for another service beside this one. */
  databaseUrl: string;
  /** An account of this test's own. */
  open(name: string, cents: number): Promise<number>;
  balance(account: number): Promise<number>;
  /** Pays with a key of its own, and fails where that is refused. */
  pay(from: number, to: number, amount: number, note?: string): Promise<Payment>;
  /** `to` asks `from` for money. */
  ask(from: number, to: number, amount: number, note?: string): Promise<PaymentRequest>;
  request(id: string): Promise<PaymentRequest>;
  /** All payments of an account that it did not get from the bank, newest first. */
  payments(account: number): Promise<Payment[]>;
  /**
   * Runs SQL in the ledger's database: for what the service does not take any more, and an older
   * one has.
   */
  sql(text: string, ...values: (string | number)[]): Promise<void>;
  /** A token, as the command of that name prints it; of a service with authorization. */
  token(...options: string[]): Promise<string>;
  /** The lines that it has logged. */
  log: string[];
  stop(): Promise<void>;
}

export interface Settings {
  /** Whether the service asks who one is. */
  withTokens?: boolean;
  /** The ledger to serve in place of a private one: without faults on demand, as where it is deployed. */
  databaseUrl?: string;
}

const SECRET = 'for nothing but the tests of the page';

/** Those of a test file that has called `startBoth`. */
export let service: Service;
export let browser: Browser;
/** That of a test in a file that has called `wireEach`. */
export let wire: Wire;

/**
 * A test with pages. None of them outlives it, to take time from the next one; where it fails, its error tells what they
 * were like. An error that no page has caught fails it, too.
 */
export function test(name: string, body: (context: TestContext) => Promise<void> | void) {
  nodeTest(name, async (context) => {
    const before = watched();
    const logged = service?.log.length ?? 0;
    try {
      await body(context);
      assert.deepEqual(uncaught(), []);
    } catch (error) {
      throw await told(name, error, service?.log.slice(logged) ?? []);
    } finally {
      await closeAllBut(before);
    }
  });
}

/**
 * Starts the service and a browser before the tests of a file, then prepares what they need, and
 * stops both after. All in one hook: Node 20 does not let a file's second hook wait for its first.
 */
export function startBoth(prepare = async () => {}, settings: Settings = {}) {
  before(async () => {
    // Without a browser no service is started that nobody would stop.
    browser = await startBrowser();
    service = await startService(settings);
    await prepare();
  });
  after(async () => {
    await browser?.close();
    await service?.stop();
  });
}

/** Gives each test of a file a wire of its own. */
export function wireEach() {
  beforeEach(async () => {
    wire = await startWire(service);
  });
  afterEach(() => wire.close());
}

export async function startService({
  withTokens = false,
  databaseUrl,
}: Settings = {}): Promise<Service> {
  const program = await programOfItsOwn();
  const { dataDir } = program;
  if (databaseUrl) program.env.DATABASE_URL = databaseUrl;
  if (withTokens) {
    Object.assign(program.env, { PAYONCE_AUTH__MODE: 'jwt', PAYONCE_AUTH__JWT_SECRET: SECRET });
  }
  const token = async (...options: string[]) => (await program.run('token', ...options)).trim();
  const operator = withTokens ? `Bearer ${await token('--operator')}` : undefined;
  const { origin, log, stop } = await program.start([], /listens on (http:\/\/127\.0\.0\.1:\d+)/);
  const call = async (method: string, target: string, body?: unknown) => {
    const response = await fetch(origin + target, {
      method,
      headers: {
        'content-type': 'application/json',
        ...(operator && { authorization: operator }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    assert.ok(response.ok, `${method} ${target}: ${response.status} ${text}`);
    return { body: JSON.parse(text), link: response.headers.get('link') };
  };
  const socketDir = encodeURIComponent(path.join(dataDir, 'socket'));
  return {
    origin,
    databaseUrl: databaseUrl ?? `postgres:///payonce?host=${socketDir}&user=payonce`,
    open: async (name, cents) =>
      (await call('POST', '/accounts', { name, opening_balance: cents })).body.id,
    balance: async (account) => (await call('GET', `/accounts/${account}`)).body.balance,
    pay: async (from, to, amount, note) => {
      const idempotency_key = crypto.randomUUID();
      return (await call('PUT', '/send_payment', { from, to, amount, idempotency_key, note })).body;
    },
    ask: async (from, to, amount, note) =>
      (await call('POST', '/payment_requests', { from, to, amount, note })).body,
    request: async (id) => (await call('GET', `/payment_requests/${id}`)).body,
    payments: async (account) => {
      const all: Payment[] = [];
      let next: string | undefined = `/payment_history/${account}`;
      while (next) {
        const page: { body: Payment[]; link: string | null } = await call('GET', next);
        all.push(...page.body);
        next = /<([^>]+)>/.exec(page.link ?? '')?.[1];
      }
      return all.filter((payment) => payment.from_id !== 0);
    },
    sql: async (text, ...values) => {
      const socket = path.join(dataDir, 'socket/.s.PGSQL.5432');
      const database = postgres({ path: socket, user: 'payonce', database: 'payonce', max: 1 });
      try {
        await database.unsafe(text, values);
      } finally {
        await database.end();
      }
    },
    token,
    log,
    stop,
  };
}

/** What `make cluster` runs: the page comes from one of its two services. */
export interface ClusterOfItsOwn extends Pick<Service, 'origin' | 'log' | 'stop'> {
  /** Checks the ledger's invariants, and fails where one does not hold. */
  audit(): Promise<void>;
}

/** Starts it, and waits until its leader can be lost. */
export async function startCluster(): Promise<ClusterOfItsOwn> {
  const program = await programOfItsOwn();
  program.env.PAYONCE_CLUSTER_DIR = path.join(program.dataDir, 'cluster');
  const started = await program.start(
    ['cluster'],
    /in front, .*?(http:\/\/127\.0\.0\.1:\d+)[^]*psql '(\S+)'[^]*All three are in step/,
  );
  const [, , databaseUrl] = started.said;
  return {
    ...started,
    audit: async () => {
      program.env.DATABASE_URL = databaseUrl;
      await program.run('audit');
    },
  };
}

/** The playground's program, with a directory of its own and without settings of one's shell. */
async function programOfItsOwn() {
  const binary = process.env.PAYONCE_BIN;
  if (!binary) throw new Error('PAYONCE_BIN is not set: run `make test-page`');
  if (!existsSync(path.join(OUT, 'index.html')))
    throw new Error('there is no page: run `make test-page`');
  const dataDir = await mkdtemp(path.join(tmpdir(), 'payonce-web-'));
  // As root the private Postgres runs as somebody else, who must be able to enter.
  await chmod(dataDir, 0o755);
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (/^(PAYONCE_|OTEL_|PG)|^(HOST|DATABASE_URL)$/.test(name)) delete env[name];
  }
  Object.assign(env, { PORT: '0', PAYONCE_DATA_DIR: dataDir, PAYONCE_PAGE__DIR: OUT });
  const program = path.resolve(binary);
  return {
    dataDir,
    /** May be added to before it is started. */
    env,
    /** Runs another of its commands, and returns what that prints. */
    run: async (...args: string[]) => (await promisify(execFile)(program, args, { env })).stdout,
    /** Starts it, and waits until it has said what is awaited, in which its origin comes first. */
    start: async (args: string[], awaited: RegExp) => {
      const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      const log: string[] = [];
      createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
      const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
      const said = await greeting(child, awaited, exited, log);
      return {
        said,
        origin: said[1] ?? '',
        log,
        stop: async () => {
          child.kill('SIGTERM');
          await exited;
          await rm(dataDir, { recursive: true, force: true });
        },
      };
    },
  };
}

async function greeting(
  child: ChildProcess,
  awaited: RegExp,
  exited: Promise<number | null>,
  log: string[],
): Promise<RegExpExecArray> {
  assert.ok(child.stdout);
  const lines = createInterface({ input: child.stdout });
  let text = '';
  const found = new Promise<RegExpExecArray>((resolve) => {
    lines.on('line', (line) => {
      text += `${line}\n`;
      const match = awaited.exec(text);
      if (match) resolve(match);
    });
  });
  const failed = exited.then((code) => {
    throw new Error(`the service ended at its start, with status ${code}:\n${log.join('\n')}`);
  });
  return Promise.race([found, failed]);
}

/** The fate of a request to pay on its way. */
export type Fate =
  | 'passes'
  /** The service answers, and the answer is lost. */
  | 'answer lost'
  /** It never arrives. */
  | 'request lost'
  /** The service has had too many, and wants to be left alone for a minute. */
  | 'too many'
  /** It is refused before anybody has looked for its key, with this status and code. */
  | { status: number; code: string }
  /** The service answers, and the answer is on its way until `letGo`. */
  | 'answer held'
  /** It is on its way to the service until `letGo`, even where nobody waits for an answer any more. */
  | 'request held';

/** Where a page asks for something that comes only when the test wants it. */
export const SLEEP_PATH = '/sleep';

export interface Wire {
  origin: string;
  /** Decides about the next requests to pay. */
  fate: Fate;
  /** Decides about the next requests to void a key. */
  voidFate: Fate;
  /** Lets everything arrive that is held. */
  letGo(): void;
  /** The next request for `SLEEP_PATH`: `sleeps` resolves when it is there, `wake` answers it. */
  sleeper(): { sleeps: Promise<void>; wake(): Promise<void> };
  /** The keys of the requests to pay that were seen, in order. */
  keys: string[];
  /** Those of the requests to void one. */
  voids: string[];
  /** The accounts that these were to be paid from, by the token that each came with. */
  senders: { payer: number; token: string | undefined }[];
  /** From now on the token is taken for expired. */
  expire(token: string): void;
  /** Cuts the streams that are open. */
  cutStreams(): void;
  /** The positions after which streams were asked for, in order; null where from then on. */
  positions: (string | null)[];
  close(): Promise<void>;
}

/** A proxy before the service, which the page takes for the service. */
export async function startWire(service: Service): Promise<Wire> {
  const target = new URL(service.origin);
  const held: (() => void)[] = [];
  const expired = new Set<string>();
  const streams: { token: string | undefined; end: () => void }[] = [];
  let fallsAsleep = (_: http.ServerResponse) => {};
  const server = http.createServer((request, response) => {
    if (request.url === SLEEP_PATH) return fallsAsleep(response);
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts);
      const isPayment = request.url === '/send_payment';
      const isVoid = request.url === '/voided_keys';
      const fate = isPayment ? wire.fate : isVoid ? wire.voidFate : 'passes';
      const token = request.headers.authorization?.replace('Bearer ', '');
      if (isPayment || isVoid) {
        const { from, idempotency_key } = JSON.parse(body.toString());
        (isPayment ? wire.keys : wire.voids).push(idempotency_key);
        wire.senders.push({ payer: from, token });
      }
      if (fate === 'request lost') return void request.socket.destroy();
      if (fate === 'too many')
        return refuse(response, 429, 'rate_limited', { 'retry-after': '60' });
      if (typeof fate === 'object') return refuse(response, fate.status, fate.code, {});
      if (token && expired.has(token)) {
        const challenge = 'Bearer realm="payonce", error="invalid_token"';
        return refuse(response, 401, 'unauthenticated', { 'www-authenticate': challenge });
      }
      const { method, url, headers } = request;
      const onward = http.request(
        { host: target.hostname, port: target.port, method, path: url, headers },
        (answer) => {
          if (fate === 'answer lost') {
            // The service has answered, so it has committed.
            answer.resume();
            answer.on('end', () => request.socket.destroy());
            return;
          }
          const pass = () => {
            response.writeHead(answer.statusCode ?? 502, answer.headers);
            answer.pipe(response);
          };
          if (fate === 'answer held') held.push(pass);
          else pass();
        },
      );
      onward.on('error', () => request.socket.destroy());
      // A stream ends when its reader leaves, and when its token expires.
      if (url?.endsWith('/events')) {
        response.on('close', () => onward.destroy());
        streams.push({ token, end: () => response.destroy() });
        wire.positions.push(headers['last-event-id']?.toString() ?? null);
      }
      if (fate === 'request held') held.push(() => onward.end(body));
      else onward.end(body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  assert.ok(address && typeof address === 'object');
  const wire: Wire = {
    origin: `http://127.0.0.1:${address.port}`,
    fate: 'passes',
    voidFate: 'passes',
    sleeper: () => {
      const asleep = new Promise<http.ServerResponse>((resolve) => {
        fallsAsleep = resolve;
      });
      return {
        sleeps: asleep.then(() => {}),
        wake: async () => void (await asleep).end(),
      };
    },
    letGo: () => held.splice(0).forEach((pass) => pass()),
    keys: [],
    voids: [],
    senders: [],
    expire: (token) => {
      expired.add(token);
      streams.filter((stream) => stream.token === token).forEach((stream) => stream.end());
    },
    cutStreams: () => streams.splice(0).forEach((stream) => stream.end()),
    positions: [],
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return wire;
}

/** Answers as the service would. */
function refuse(
  response: http.ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string>,
) {
  const problem = {
    type: '',
    title: '',
    status,
    detail: '',
    code,
    retryable: status === 429 || status >= 500,
  };
  response.writeHead(status, { 'content-type': 'application/problem+json', ...headers });
  response.end(JSON.stringify(problem));
}

// Chromium's own sandbox cannot be had as root or in a container; only our own page is opened.
export const BROWSER = {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
};

/** `args` are added to the browser's own. */
export async function startBrowser(args: string[] = []): Promise<Browser> {
  if (!existsSync(BROWSER.executablePath)) {
    throw new Error(
      `there is no browser at ${BROWSER.executablePath}: apt-get install chromium (or CHROMIUM=path)`,
    );
  }
  return chromium.launch({ ...BROWSER, args: [...BROWSER.args, ...args] });
}

export const PHONE = { width: 390, height: 844 };
export const DESKTOP = { width: 1280, height: 900 };

/** A page in a browser profile of its own. */
export async function newPage(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<Page> {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(PATIENCE_MS);
  watch(context);
  return context.newPage();
}

/** Pastes a token where the page asks for one. */
export async function signIn(page: Page, token: string) {
  await page.getByLabel('Token', { exact: true }).fill(token);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/**
 * Presses on somebody's face, once it stands still: the page may still be loading what is above it. Who is not
 * among the faces is looked for.
 */
export async function choosePayee(page: Page, name: string) {
  const radio = page.getByRole('radio', { name, exact: true });
  const search = page.getByLabel('Find somebody by name or number');
  await page.getByLabel('Loading the people').waitFor({ state: 'detached' });
  await radio.or(search).first().waitFor({ state: 'attached' });
  if ((await radio.count()) === 0 && (await search.inputValue()) === '') await search.fill(name);
  await choose(radio);
}

/** Presses on the face of a person, until it is the one that is chosen: faces move while their order is being read. */
export async function choose(radio: Locator) {
  await radio.waitFor({ state: 'attached' });
  await eventually('it is chosen', async () => {
    // Its label is what can be seen.
    if (!(await radio.isChecked())) await radio.locator('xpath=..').click();
    return radio.isChecked();
  });
}

/** Fills in the form of a page that shows it. */
export async function fillIn(page: Page, payee: string, amount: string, note = '') {
  await choosePayee(page, payee);
  await page.getByLabel('Amount in dollars').fill(amount);
  await page.getByLabel('What for?').fill(note);
}

export function sendButton(page: Page) {
  return page.locator('button[type=submit]');
}

export function progress(page: Page) {
  return page.getByTestId('progress');
}

/** From now on a pause of the page lasts until somebody ends it. */
export async function stopTheClock(page: Page) {
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 60_000);
}

/**
 * Presses a button that a page has between two tries only, and whose clock is stopped: else the next try might come
 * before the press.
 */
export async function betweenTries(
  page: Page,
  name: 'Ask again now' | 'Change the payment' | 'Ask later',
) {
  await progress(page).getByText('Next try in').waitFor();
  await progress(page).getByRole('button', { name }).click();
}

/** The middle of what stands still there by now: for clicks of a hand, which wait for nothing. */
export async function middleOf(target: Locator): Promise<[x: number, y: number]> {
  const box = await stands(() => target.boundingBox());
  assert.ok(box, 'it can be seen');
  return [box.x + box.width / 2, box.y + box.height / 2];
}

/** Puts something where the page of a payer has stored its slip. */
export async function store(page: Page, payer: number, value: unknown) {
  await page.evaluate(
    ([payer, value]) =>
      new Promise<void>((resolve, reject) => {
        const opening = indexedDB.open('payonce');
        opening.onerror = reject;
        opening.onsuccess = () => {
          const writing = opening.result.transaction('slips', 'readwrite');
          writing.objectStore('slips').put(value, payer as number);
          writing.onabort = reject;
          writing.oncomplete = () => resolve(opening.result.close());
        };
      }),
    [payer, value],
  );
}

/** The account, which had $100, has paid $5, once, and was asked for nothing else over the wire. */
export async function assertPaidOnce(id: number) {
  const sent = (await service.payments(id)).filter((payment) => payment.from_id === id);
  assert.deepEqual(
    sent.map((payment) => payment.amount),
    [500],
  );
  assert.equal(await service.balance(id), 9_500);
  assert.equal(new Set(wire.keys).size, 1);
}

/** The ids of the payments that the page shows, from the top. */
export function shownIds(page: Page): Promise<(string | null)[]> {
  return page
    .locator('[data-payment]')
    .evaluateAll((rows) => rows.map((row) => row.getAttribute('data-payment')));
}

/** Awaits a condition. */
export async function eventually(what: string, holds: () => Promise<boolean> | boolean) {
  const end = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `never came true: ${what}`);
    await aMoment();
  }
}

/** Awaits that what is read of a page is as expected: a page shows things when it is ready to, and not before. */
export async function becomes<T>(read: () => Promise<T> | T, expected: T | RegExp) {
  const end = Date.now() + PATIENCE_MS;
  const isIt = (now: T) =>
    expected instanceof RegExp ? expected.test(String(now)) : isDeepStrictEqual(now, expected);
  for (;;) {
    const now = await read();
    if (isIt(now)) return;
    if (Date.now() > end) {
      if (expected instanceof RegExp) assert.match(String(now), expected);
      return assert.deepEqual(now, expected);
    }
    await aMoment();
  }
}

/** What is read of a page once it stays the same. */
export async function stands<T>(read: () => Promise<T>): Promise<T> {
  let now = await read();
  let turns = 0;
  await eventually('it stands still', async () => {
    const before = now;
    now = await read();
    turns = isDeepStrictEqual(now, before) ? turns + 1 : 0;
    return turns >= 5;
  });
  return now;
}

/** What is read of a page at this moment: where something must not have changed, or must not be there. */
export function atOnce<T>(read: () => Promise<T>): Promise<T> {
  return read();
}

/** Awaits that nothing of the kind is there any more. */
export function isGone(target: Locator) {
  return becomes(() => target.count(), 0);
}

/** Awaits that the focus is there. */
export function hasFocus(target: Locator) {
  return becomes(() => target.evaluate((it) => it === document.activeElement), true);
}

function aMoment() {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
