import type { PaidAnswer } from './pay';

/** Whether an answer was the payment or its replay; a place for it while there is none. */
export function PaidTile({ answer }: { answer: PaidAnswer | null }) {
  const shape = 'grid h-12 w-full place-items-center rounded-xl text-sm font-semibold';
  if (!answer) return <span className={`${shape} skeleton text-muted`}>…</span>;
  return answer.replayed ? (
    <span className={`${shape} border-2 border-accent bg-accent-soft`}>replay</span>
  ) : (
    <span className={`${shape} bg-accent text-on-accent`}>paid</span>
  );
}
