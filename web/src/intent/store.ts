/**
 * Slips in the browser's database, one for each payer, shared by all windows: a slip that is written here is
 * there after a reload, after a crash, and in every other window.
 *
 * Each change reads what is stored and writes what becomes of it in one read-write transaction of
 * IndexedDB. Of these the browser runs one at a time over all windows, and each sees the one before: so
 * a window that slept changes what is stored when it wakes, not what it read when it fell asleep.
 * (Local storage has no such thing: each process reads its own copy, under a lock too. The Web Locks
 * API is missing where the page came over plain HTTP from another machine; IndexedDB is there as well.)
 */

import { newKey } from './key';
import { forget, freshSlip, isUnderWay, looksAlike, type Slip } from './machine';
import { adopt, slipFrom, slipOfVersion02 } from './stored';

/** Why nothing can be stored, so nothing can be sent. */
export type StoreTrouble = 'blocked' | 'full' | 'newer' | 'busy' | 'broken';

/** The browser has not stored a change: it is as if it had not been asked for. */
export class StoreFailure extends Error {
  constructor(readonly trouble: StoreTrouble) {
    super(trouble);
  }
}

type Change = (slip: Slip) => Slip;

/** A payer's slip, as this window knows it. */
interface Known {
  stored: Slip | null;
  /** Changes on their way into the database, shown already. */
  pending: Change[];
  /** The stored slip with these changes. */
  view: Slip | null;
  /** The last payment that was made before this page was opened, or was told on another one: history. */
  toldPayment: string | null;
  /** When the view last became something else than this window had made of it, as `performance.now()`. */
  surprisedAtMs: number;
}

const DATABASE = 'payonce';
/**
 * Of what is stored: a version of the page that stores something else has a higher one. (A page of version 1
 * would send what pays a request for money without its request.)
 */
const VERSION = 2;
const SLIPS = 'slips';
/** The names of slips of version 0.2 in local storage begin so. */
const PREFIX_OF_VERSION_02 = 'payonce.slip.';
/** How long a change waits for those of other windows. */
const WAIT_MS_MAX = 10_000;
/** How long after trouble it is looked whether that is over. */
const LOOK_AGAIN_MS = 5_000;

const listeners = new Set<() => void>();
const slips = new Map<number, Known>();
let trouble: StoreTrouble | null = null;
let lookingAgain: ReturnType<typeof setTimeout> | null = null;
let opening: Promise<IDBDatabase> | null = null;
let channel: BroadcastChannel | null = null;

/** The payer's slip as it is shown, the same object while nothing changes; null until it was read. */
export function viewSlip(payer: number): Slip | null {
  return slips.get(payer)?.view ?? null;
}

export function readTrouble(): StoreTrouble | null {
  return trouble;
}

/** Those who have a payment under way. */
export function payersAsking(): number[] {
  return [...slips].filter(([, { stored }]) => isUnderWay(stored?.attempt)).map(([id]) => id);
}

/** Calls back when a slip changes, in this window or in another, or can no longer be stored. */
export function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell() {
  for (const listener of listeners) listener();
}

function knownOf(payer: number): Known {
  const known = slips.get(payer) ?? {
    stored: null,
    pending: [],
    view: null,
    toldPayment: null,
    surprisedAtMs: 0,
  };
  slips.set(payer, known);
  return known;
}

function show(known: Known, isOwn = false) {
  const before = known.view;
  known.view = known.stored && known.pending.reduce((slip, change) => change(slip), known.stored);
  if (!before) known.toldPayment = paymentOf(known);
  const isSurprise = !isOwn && before && known.view && !looksAlike(before, known.view);
  if (isSurprise) known.surprisedAtMs = performance.now();
}

function paymentOf({ view }: Known): string | null {
  return view?.receipt?.payment.id ?? null;
}

/** Whether the payer was told of this payment before. */
export function wasTold(payer: number, payment: string): boolean {
  return slips.get(payer)?.toldPayment === payment;
}

/** Makes the payer's last payment history: the place that told of it is left. */
export function leaveTold(payer: number) {
  const known = slips.get(payer);
  if (known) known.toldPayment = paymentOf(known);
}

/** Whether somebody who did something at that time (of an event) may not have seen what is shown now. */
export function hadNotSeen(payer: number, atMs: number): boolean {
  return atMs < (slips.get(payer)?.surprisedAtMs ?? 0);
}

/**
 * Changes the payer's slip, and returns it once it is stored. The change is applied to what is stored
 * then; it may be applied more often than once, so it must not depend on anything else. `durability` is
 * that of IndexedDB: a slip that is sent next must be on the disk, mere typing need not.
 *
 * @throws StoreFailure where the browser cannot store it: then nothing has changed, and nothing may be sent.
 */
export async function changeSlip(
  payer: number,
  change: Change,
  durability: 'strict' | 'relaxed' = 'strict',
): Promise<Slip> {
  const known = knownOf(payer);
  known.pending.push(change);
  show(known, true);
  tell();
  try {
    const { before, after } = await changeStored(payer, change, durability);
    known.stored = after;
    trouble = null;
    if (after !== before) channel?.postMessage(payer);
    return after;
  } catch (error) {
    throw new StoreFailure(inTrouble(error));
  } finally {
    known.pending.splice(known.pending.indexOf(change), 1);
    show(known);
    tell();
  }
}

/** Forgets what anybody has typed here. What cannot be stored is told to those who subscribed. */
export async function forgetDrafts(): Promise<void> {
  const payers = [...slips.keys()];
  await Promise.allSettled(
    payers.map((payer) => {
      const key = newKey();
      return changeSlip(payer, (slip) => forget(slip, payer, key));
    }),
  );
}

function inTrouble(error: unknown): StoreTrouble {
  trouble = error instanceof StoreFailure ? error.trouble : 'broken';
  lookingAgain ??= setTimeout(() => {
    lookingAgain = null;
    void reload();
  }, LOOK_AGAIN_MS);
  return trouble;
}

async function changeStored(payer: number, change: Change, durability: 'strict' | 'relaxed') {
  const key = newKey();
  return inTransaction<{ before: Slip | null; after: Slip }>(
    'readwrite',
    durability,
    (store, done) => {
      store.get(payer).onsuccess = ({ target }) => {
        const value = (target as IDBRequest<unknown>).result;
        const before = value === undefined ? null : slipFrom(value, payer, key);
        const after = change(before ?? freshSlip(key));
        // A slip that was not whole is stored whole.
        if (after !== before || before.isUnread) store.put(after, payer);
        done({ before, after });
      };
    },
  );
}

/** Runs `work` in a transaction. Returns what it was done with, once that is committed. */
async function inTransaction<T>(
  mode: IDBTransactionMode,
  durability: IDBTransactionDurability,
  work: (store: IDBObjectStore, done: (result: T) => void) => void,
): Promise<T> {
  const database = await open();
  return new Promise<T>((resolve, reject) => {
    let transaction: IDBTransaction;
    try {
      transaction = database.transaction(SLIPS, mode, { durability });
    } catch {
      // The connection was closed under us. The next one is a new one.
      opening = null;
      return reject(new StoreFailure('broken'));
    }
    let result: T | undefined;
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      abort(transaction);
    }, WAIT_MS_MAX);
    transaction.oncomplete = () => {
      clearTimeout(timer);
      resolve(result as T);
    };
    transaction.onabort = () => {
      clearTimeout(timer);
      reject(new StoreFailure(isLate ? 'busy' : troubleOf(transaction.error)));
    };
    work(transaction.objectStore(SLIPS), (it) => {
      result = it;
    });
  });
}

function abort(transaction: IDBTransaction) {
  try {
    transaction.abort();
  } catch {
    // It is over: its own event says how.
  }
}

function troubleOf(error: unknown): StoreTrouble {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'QuotaExceededError') return 'full';
  if (name === 'VersionError') return 'newer';
  if (name === 'SecurityError' || name === 'InvalidStateError') return 'blocked';
  return isForbidden() ? 'blocked' : 'broken';
}

/** Of its database a browser may only say that it does not work; of the local storage it says why. */
function isForbidden(): boolean {
  try {
    void window.localStorage;
    return false;
  } catch {
    return true;
  }
}

function open(): Promise<IDBDatabase> {
  const mine = (opening ??= opened().catch((error: unknown) => {
    // The next change tries again.
    if (opening === mine) opening = null;
    throw error;
  }));
  return mine;
}

function opened(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    let request: IDBOpenDBRequest;
    try {
      request = indexedDB.open(DATABASE, VERSION);
    } catch (error) {
      return reject(new StoreFailure(error instanceof DOMException ? troubleOf(error) : 'blocked'));
    }
    const timer = setTimeout(() => reject(new StoreFailure('busy')), WAIT_MS_MAX);
    request.onupgradeneeded = () => {
      const { result } = request;
      // What version 1 has stored is read as it is.
      if (!result.objectStoreNames.contains(SLIPS)) result.createObjectStore(SLIPS);
    };
    request.onerror = () => {
      clearTimeout(timer);
      reject(new StoreFailure(troubleOf(request.error)));
    };
    request.onsuccess = () => {
      clearTimeout(timer);
      const database = request.result;
      const gone = () => {
        database.close();
        opening = null;
      };
      // A newer page wants to store something else, or somebody has cleared this site's data.
      database.onversionchange = gone;
      database.onclose = gone;
      resolve(database);
    };
  });
}

/** Reads a payer's slip, which gets its key where there was none. */
export async function loadSlip(payer: number): Promise<void> {
  // Those who subscribed are told of trouble.
  await changeSlip(payer, (slip) => slip).catch(() => {});
}

/** Reads all slips, and follows what other windows do to them. Returns how to stop following. */
export function followSlips(): () => void {
  const again = () => document.visibilityState === 'visible' && void reload();
  const adoptNew = ({ key }: StorageEvent) => {
    if (key?.startsWith(PREFIX_OF_VERSION_02)) void adoptVersion02();
  };
  try {
    channel = new BroadcastChannel(DATABASE);
    channel.onmessage = () => void reload();
  } catch {
    // Where the browser forbids this it forbids the database, too.
  }
  // A window that slept has perhaps heard nothing.
  document.addEventListener('visibilitychange', again);
  window.addEventListener('pageshow', again);
  window.addEventListener('storage', adoptNew);
  void adoptVersion02().then(reload);
  return () => {
    channel?.close();
    channel = null;
    document.removeEventListener('visibilitychange', again);
    window.removeEventListener('pageshow', again);
    window.removeEventListener('storage', adoptNew);
  };
}

async function reload() {
  try {
    const found = await inTransaction<[IDBValidKey, unknown][]>(
      'readonly',
      'relaxed',
      (store, done) => {
        const pairs: [IDBValidKey, unknown][] = [];
        done(pairs);
        store.openCursor().onsuccess = ({ target }) => {
          const cursor = (target as IDBRequest<IDBCursorWithValue | null>).result;
          if (!cursor) return;
          pairs.push([cursor.key, cursor.value]);
          cursor.continue();
        };
      },
    );
    for (const [payer, value] of found) {
      if (typeof payer !== 'number') continue;
      const known = knownOf(payer);
      known.stored = slipFrom(value, payer, newKey());
      show(known);
    }
    // That one can read says nothing about whether there is room to write.
    if (trouble !== 'full') trouble = null;
    tell();
    // Those that are shown and could not be stored yet.
    for (const [payer, { stored }] of slips) if (!stored) void loadSlip(payer);
  } catch (error) {
    inTrouble(error);
    tell();
  }
}

/** Takes over what version 0.2 has left in local storage, also from a window that still runs it. */
async function adoptVersion02() {
  for (const [name, text] of textsOfVersion02()) {
    const payer = Number(name.slice(PREFIX_OF_VERSION_02.length));
    if (!Number.isSafeInteger(payer)) continue;
    const other = slipOfVersion02(text, payer, newKey());
    try {
      await changeSlip(payer, (slip) => adopt(slip, other));
      if (localStorage.getItem(name) === text) localStorage.removeItem(name);
    } catch {
      // It stays where it is until it can be stored here.
    }
  }
}

function textsOfVersion02(): [name: string, text: string][] {
  try {
    return Object.entries(localStorage).filter(([name]) => name.startsWith(PREFIX_OF_VERSION_02));
  } catch {
    return [];
  }
}
