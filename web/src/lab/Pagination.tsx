import type { Payment } from '../api/client';
import { PAGE_SIZE, readPage, type Cursor } from '../history/pages';
import { labAccount } from './accounts';
import { Experiment, Finding, Findings, Legend } from './Experiment';
import { pay, request, sideBySide } from './pay';
import { useExperiment } from './useExperiment';

/** Payments that are there before the first page is read. */
const BEFORE = 40;
/** Payments that arrive between one page and the next. */
const BETWEEN = 3;
const AMOUNT_CENTS = 1;

interface Seen {
  pages: Payment[][];
  /** Payments that arrived since the first page. */
  arrived: number;
  /** The payments that were there before the first page, by id. */
  expected: Set<string>;
  isDone: boolean;
}

async function experiment(tell: (seen: Seen) => void) {
  const reader = await labAccount(5);
  const sender = await labAccount(6);
  const receive = async (count: number) => {
    const paid = await sideBySide(new Array<null>(count).fill(null), () =>
      pay(request(sender, reader, AMOUNT_CENTS, 'one more')),
    );
    return paid.map((it) => it.payment.id);
  };
  const seen: Seen = {
    pages: [],
    arrived: 0,
    expected: new Set(await receive(BEFORE)),
    isDone: false,
  };
  let cursor: Cursor | null = null;
  for (;;) {
    const page = await readPage(reader, cursor);
    seen.pages = [...seen.pages, page.payments];
    // Earlier runs' payments come after those of this one.
    seen.isDone = !page.next || seen.pages.length * PAGE_SIZE >= BEFORE;
    tell({ ...seen });
    if (seen.isDone) return;
    cursor = page.next;
    seen.arrived += (await receive(BETWEEN)).length;
  }
}

export function Pagination() {
  const run = useExperiment('pagination', experiment);
  return (
    <Experiment
      number={4}
      name="pagination"
      title="Pagination"
      run={run}
      action="Read while money arrives"
      code={[
        ['src/db/history.rs', 'the page after a cursor, from two indexes'],
        ['src/domain/cursor.rs', 'last seen time and id'],
        ['src/domain/ledger.rs', 'strictly increasing times along an account'],
      ]}
      picture={run.seen && <Picture seen={run.seen} />}
    >
      A history of {BEFORE} payments is read {PAGE_SIZE} at a time while {BETWEEN} new payments
      arrive between one page and the next. Each page begins after the last payment that was seen,
      not after a count of rows, so what arrives at the top moves nothing further down. No payment
      is seen twice and none is missing.
    </Experiment>
  );
}

function Picture({ seen: { pages, arrived, expected, isDone } }: { seen: Seen }) {
  const rows = pages.flat();
  const ids = new Set(rows.map((row) => row.id));
  const missing = [...expected].filter((id) => !ids.has(id)).length;
  return (
    <>
      <ol className="space-y-3">
        {arrived > 0 && (
          <li className="grid grid-cols-[4.5rem_minmax(0,1fr)] items-center gap-2">
            <span className="text-sm text-muted">Arrived later</span>
            <Squares count={arrived} className="border-2 border-dashed border-wait" />
          </li>
        )}
        {pages.map((page, index) => (
          <li key={index} className="grid grid-cols-[4.5rem_minmax(0,1fr)] items-center gap-2">
            <span className="text-sm font-medium">Page {index + 1}</span>
            <Squares
              count={page.length}
              className="arrive bg-accent"
              first={index * PAGE_SIZE + 1}
            />
          </li>
        ))}
      </ol>
      <Legend
        entries={[
          ['bg-accent', 'a payment that was read'],
          ['border-2 border-dashed border-wait', 'arrived after the first page was read'],
        ]}
      />
      <Findings isDone={isDone}>
        <Finding
          what="Payments seen"
          value={`${ids.size} of ${expected.size}`}
          holds={ids.size === expected.size}
        />
        <Finding
          what="Seen twice"
          value={`${rows.length - ids.size}`}
          holds={rows.length === ids.size}
        />
        <Finding what="Missing" value={`${missing}`} holds={missing === 0} />
      </Findings>
      {isDone && (
        <p className="mt-4 text-sm text-muted">
          Counting rows from the top instead (OFFSET) would have shown {arrived} of them twice.
        </p>
      )}
    </>
  );
}

function Squares({
  count,
  className,
  first,
}: {
  count: number;
  className: string;
  first?: number;
}) {
  return (
    <span className="grid max-w-md grid-cols-10 gap-1" role="img" aria-label={`${count} payments`}>
      {Array.from({ length: count }, (_, index) => (
        <span
          key={index}
          className={`grid aspect-square place-items-center rounded text-[0.625rem] font-semibold text-on-accent sm:rounded-lg sm:text-xs ${className}`}
        >
          {first !== undefined && first + index}
        </span>
      ))}
    </span>
  );
}
