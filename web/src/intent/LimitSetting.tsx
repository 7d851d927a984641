'use client';

import { useId, useState } from 'react';
import { Complaint } from '../form/Complaint';
import { formatCents, parseDollars } from '../money';
import { setLimit, useLimit } from './limit';

/** Where a person says above which sum to be asked. */
export function LimitSetting({ me }: { me: number }) {
  const limit = useLimit(me);
  // What is typed, while it is not what is kept.
  const [typed, setTyped] = useState<string | null>(null);
  const id = useId();
  const parsed = parseDollars(typed ?? '');
  const why = typed?.trim() && !parsed.ok ? parsed.why : undefined;
  const kept = limit === null ? '' : formatCents(limit).slice(1);
  const change = (text: string) => {
    setTyped(text);
    const now = parseDollars(text);
    if (now.ok) setLimit(me, now.cents);
    else if (text.trim() === '') setLimit(me, null);
  };
  return (
    <details className="mt-5 text-sm">
      <summary className="w-fit rounded-lg text-muted hover:text-ink">
        {limit === null
          ? 'Ask me before large sums'
          : `You are asked before sums above ${formatCents(limit)}`}
      </summary>
      <label htmlFor={id} className="mt-3 block font-medium">
        Ask me before sums above, in dollars
      </label>
      <input
        id={id}
        className="field mt-1 tabular-nums"
        inputMode="decimal"
        autoComplete="off"
        maxLength={30}
        placeholder="Never"
        value={typed ?? kept}
        onChange={(event) => change(event.target.value)}
        onBlur={() => !why && setTyped(null)}
        aria-invalid={why ? true : undefined}
        aria-describedby={`${id}-what${why ? ` ${id}-why` : ''}`}
      />
      <Complaint id={`${id}-why`} text={why} />
      <p id={`${id}-what`} className="mt-1 text-muted">
        Kept in this browser. Empty: never.
      </p>
    </details>
  );
}
