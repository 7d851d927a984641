'use client';

import { useEffect, useId, useRef, useState } from 'react';
import type { Payment } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { Trouble } from '../app/Trouble';
import { formatCents } from '../money';
import { inWords } from '../people/names';
import { useCalled } from '../people/people';
import { useNow } from '../useNow';
import { Row } from './Row';
import { Download } from './Download';
import { inPart, NEWS_MAX, PARTS, type Part } from './pages';
import { useHistory, useNews, type News } from './useHistory';
import { useScrolledPast } from './useScrolledPast';

/** A minute's text is right for a quarter of one. */
const NOW_EVERY_MS = 15_000;

/** The payments, newest first; ten more at a time. */
export function History({ me }: { me: number }) {
  const [part, setPart] = useState<Part>('all');
  const whole = useHistory(me);
  const history = useHistory(me, part);
  const { news, take } = useNews(me);
  const heading = useRef<HTMLHeadingElement>(null);
  const isPast = useScrolledPast(heading);
  const hasNews = news.payments.length > 0 || news.areMany;
  const areOwn = !news.areMany && news.payments.every(({ from_id }) => from_id === me);
  // The lines that are being read stay where they are: others' payments wait for a reader who has scrolled down.
  const taking = useRef(take);
  useEffect(() => {
    taking.current = take;
  });
  useEffect(() => {
    if (hasNews && (areOwn || !isPast)) taking.current();
  }, [hasNews, areOwn, isPast]);
  const now = useNow(NOW_EVERY_MS);
  const [all, read] = [whole, history].map(
    ({ data }) => data?.pages.flatMap((page) => page.payments) ?? [],
  ) as [Payment[], Payment[]];
  const payments = inPart(me, part, all, read);
  const latest = news.payments[0] ?? all[0];
  const called = useCalled(
    [...payments, ...(latest ? [latest] : [])].flatMap(({ from_id, to_id }) => [from_id, to_id]),
  );
  const end = useScrolledTo(history.hasNextPage && !history.isFetching, payments.length, () => {
    void history.fetchNextPage();
  });
  const newest = all[0];
  // The newest payment's time when the page was opened: later ones are news.
  const [since, setSince] = useState<string | null>(null);
  if (whole.isSuccess && since === null) setSince(newest?.created_at ?? '');
  const isNews = ({ created_at }: Payment) => since !== null && created_at > since;

  return (
    <section aria-labelledby="history" className="card min-w-0 p-2 sm:p-4">
      {hasNews && isPast && (
        <div className="sticky top-4 z-10 flex h-0 justify-center">
          <button
            type="button"
            className="button button-main h-fit shadow-card"
            onClick={() => {
              take();
              heading.current?.focus({ preventScroll: true });
              heading.current?.scrollIntoView({ block: 'start' });
            }}
          >
            {howMany(news)}
          </button>
        </div>
      )}
      <div className="flex flex-wrap items-center justify-between gap-x-3 gap-y-2 px-3 pt-3">
        <h2 id="history" ref={heading} tabIndex={-1} className="text-xl font-bold">
          History
        </h2>
        <Which part={part} choose={setPart} />
      </div>
      <p className="sr-only" role="status">
        {latest && isNews(latest) && latest.to_id === me
          ? `${inWords(called(latest.from_id))} sent you ${formatCents(latest.amount)}.`
          : ''}
      </p>
      {history.isPending && <Loading />}
      {history.isSuccess && payments.length === 0 && (
        <p className="px-3 py-10 text-center text-muted">{NOTHING[part]}</p>
      )}
      <ol aria-label="Payments, newest first" className="mt-2">
        {payments.map((payment) => (
          <Row
            key={payment.id}
            me={me}
            payment={payment}
            called={called}
            nowMs={now}
            isNews={isNews(payment)}
          />
        ))}
      </ol>
      {history.isError && (
        <div className="px-3 pb-3">
          <Trouble
            title={
              payments.length ? 'The next payments cannot be shown' : 'Your history cannot be shown'
            }
            why={whyReadFailed(history.error)}
            again={() => void (payments.length ? history.fetchNextPage() : history.refetch())}
          />
        </div>
      )}
      <div ref={end} className="px-3 py-4 text-center">
        {history.hasNextPage && !history.isError && (
          <button
            type="button"
            className="button button-quiet"
            aria-disabled={history.isFetchingNextPage}
            onClick={() => !history.isFetching && void history.fetchNextPage()}
          >
            {history.isFetchingNextPage ? 'Loading…' : 'Load more'}
          </button>
        )}
        {history.isSuccess && !history.hasNextPage && payments.length > 0 && (
          <p className="text-sm text-muted">That is everything.</p>
        )}
      </div>
      {all.length > 0 && <Download me={me} />}
    </section>
  );
}

const NOTHING: Record<Part, string> = {
  all: 'Nothing yet. What you send and receive will be here.',
  sent: 'You have sent nothing yet.',
  received: 'You have received nothing yet.',
};

const PART_NAMES: Record<Part, string> = { all: 'All', sent: 'Sent', received: 'Received' };

/** Chooses the part of the history that is shown. */
function Which({ part, choose }: { part: Part; choose: (part: Part) => void }) {
  const id = useId();
  return (
    <fieldset className="flex gap-1 rounded-full bg-paper p-1">
      <legend className="sr-only">Which payments</legend>
      {PARTS.map((each) => (
        <label
          key={each}
          className="cursor-pointer rounded-full px-3 py-1.5 text-sm font-medium text-muted has-checked:bg-accent has-checked:text-on-accent has-focus-visible:outline-3 has-focus-visible:outline-accent"
        >
          <input
            type="radio"
            name={`${id}-part`}
            className="sr-only"
            checked={part === each}
            onChange={() => choose(each)}
          />
          {PART_NAMES[each]}
        </label>
      ))}
    </fieldset>
  );
}

function howMany({ payments, areMany }: News): string {
  if (areMany) return `${NEWS_MAX} or more new payments`;
  return payments.length === 1 ? '1 new payment' : `${payments.length} new payments`;
}

/** Calls `more` when a person scrolls to the element; a page that is merely short loads nothing. */
function useScrolledTo(isWanted: boolean, rows: number, more: () => void) {
  const end = useRef<HTMLDivElement>(null);
  const [hasScrolled, setHasScrolled] = useState(false);
  const latest = useRef(more);
  useEffect(() => {
    latest.current = more;
  });
  useEffect(() => {
    const scrolled = () => setHasScrolled(true);
    window.addEventListener('scroll', scrolled, { once: true, passive: true });
    return () => window.removeEventListener('scroll', scrolled);
  }, []);
  useEffect(() => {
    if (!isWanted || !hasScrolled || !end.current) return;
    const observer = new IntersectionObserver(
      (entries) => entries.some((entry) => entry.isIntersecting) && latest.current(),
    );
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [isWanted, hasScrolled, rows]);
  return end;
}

function Loading() {
  return (
    <div role="status" aria-label="Loading your history" className="space-y-4 p-3">
      {Array.from({ length: 5 }, (_, index) => (
        <div key={index} className="flex items-center gap-3">
          <div className="skeleton size-11 rounded-full" />
          <div className="flex-1 space-y-2">
            <div className="skeleton h-4 w-2/5" />
            <div className="skeleton h-3 w-1/4" />
          </div>
          <div className="skeleton h-4 w-16" />
        </div>
      ))}
    </div>
  );
}
