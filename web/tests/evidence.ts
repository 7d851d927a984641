/** The pages of a test, watched: what they were like is told where it fails. */

import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { inspect, stripVTControlCharacters } from 'node:util';
import type { BrowserContext, Page } from 'playwright-core';

/** Pictures of pages, and what the service has logged meanwhile, of tests that failed. */
const KEPT = path.resolve(import.meta.dirname, '../test-failures');

/** So much of what a page has said and shows is told. */
const LINES_MAX = 20;
const TEXT_CHARS_MAX = 1_500;

/** How long is waited for a page that sleeps. */
const WAIT_MS_MAX = 10_000;

/** What a browser profile has said. */
interface Said {
  lines: string[];
  /** The errors that nobody caught and no test was told of. */
  uncaught: Error[];
}

const profiles = new Map<BrowserContext, Said>();

/** The profiles that are open. */
export function watched(): Set<BrowserContext> {
  return new Set(profiles.keys());
}

/** Remembers what all pages of a profile say. */
export function watch(context: BrowserContext) {
  const said: Said = { lines: [], uncaught: [] };
  profiles.set(context, said);
  context.on('console', (line) => said.lines.push(`${line.type()}: ${line.text()}`));
  context.on('requestfailed', (request) =>
    said.lines.push(`${request.method()} ${request.url()}: ${request.failure()?.errorText}`),
  );
  context.on('weberror', (error) => said.uncaught.push(error.error()));
  context.on('close', () => profiles.delete(context));
}

/** The errors that no page has caught since they were looked for last. */
export function uncaught(): Error[] {
  return [...profiles.values()].flatMap((said) => said.uncaught.splice(0));
}

export async function closeAllBut(these: Set<BrowserContext>) {
  const others = [...profiles.keys()].filter((context) => !these.has(context));
  await inTime(Promise.allSettled(others.map((context) => context.close())));
}

/** The error of a test, with what its pages were like. */
export async function told(test: string, error: unknown, log: string[]): Promise<Error> {
  const file = path.relative(path.resolve(KEPT, '..'), process.argv[1] ?? '');
  const kept = path.join(KEPT, test.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 100));
  await mkdir(KEPT, { recursive: true });
  await writeFile(`${kept}.log`, log.join('\n'));
  const pages: string[] = [];
  for (const [context, { lines, uncaught }] of profiles) {
    for (const page of context.pages()) pages.push(await lookOf(page, kept, pages.length + 1));
    pages.push(...lines.slice(-LINES_MAX).map((line) => `  ${line}`));
    pages.push(...uncaught.splice(0).map((it) => `  uncaught ${inspect(it)}`));
  }
  const what = [`${file}: ${test}`, inspect(error), ...pages, `The service's log: ${kept}.log`];
  const failure = new Error(stripVTControlCharacters(what.join('\n')));
  // What was wrong, and where, is in its text.
  failure.stack = failure.message;
  return failure;
}

async function lookOf(page: Page, kept: string, number: number): Promise<string> {
  const file = `${kept}-${number}.png`;
  const picture = await inTime(page.screenshot({ path: file }).then(() => file));
  const text = await inTime(page.locator('body').innerText());
  return `${page.url()} (${picture ?? 'no picture'}) shows:\n${indented(text ?? 'it sleeps')}`;
}

function indented(text: string): string {
  return text.replace(/\n+/g, '\n').slice(0, TEXT_CHARS_MAX).replace(/^/gm, '    ');
}

/** Null where it fails, or takes too long. */
function inTime<T>(work: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout>;
  const limit = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), WAIT_MS_MAX);
  });
  return Promise.race([work.catch(() => null), limit]).finally(() => clearTimeout(timer));
}
