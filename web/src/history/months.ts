/** Months, as the reader's calendar has them. */

export interface Month {
  /** `2026-11`. */
  id: string;
  /** `November 2026`. */
  name: string;
  /** Where it begins, RFC 3339. */
  since: string;
  /** Where the next one begins; null where that is still to come. */
  until: string | null;
}

/** So many months are offered. */
const MONTHS_MAX = 60;

/** The months since an account was opened, the current one first. */
export function monthsSince(openedAt: string, nowMs: number): Month[] {
  const [opened, now] = [new Date(openedAt), new Date(nowMs)];
  const back = (now.getFullYear() - opened.getFullYear()) * 12 + now.getMonth() - opened.getMonth();
  // A clock that is behind the ledger's has a month, too.
  const count = Math.min(MONTHS_MAX, Math.max(0, back) + 1);
  return Array.from({ length: count }, (_, turn) => {
    const [begin, end] = [turn, turn - 1].map(
      (months) => new Date(now.getFullYear(), now.getMonth() - months, 1),
    ) as [Date, Date];
    return {
      id: `${begin.getFullYear()}-${String(begin.getMonth() + 1).padStart(2, '0')}`,
      name: begin.toLocaleDateString('en', { month: 'long', year: 'numeric' }),
      since: begin.toISOString(),
      until: turn === 0 ? null : end.toISOString(),
    };
  });
}
