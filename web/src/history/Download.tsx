'use client';

import { useMutation } from '@tanstack/react-query';
import { useId, useState } from 'react';
import { whyReadFailed } from '../api/problems';
import { monthsSince } from './months';
import { downloadStatement } from './statement';
import { useAccount } from './useHistory';

/** The statement of a month, as a file. */
export function Download({ me }: { me: number }) {
  const account = useAccount(me);
  const [chosen, setChosen] = useState<string | null>(null);
  const id = useId();
  const download = useMutation({
    mutationFn: ({ id }: { id: string | null }) => {
      // The month may have ended since the page was opened.
      const months = monthsSince(account.data?.created_at ?? '', Date.now());
      const month = months.find((month) => month.id === id) ?? months[0];
      return month ? downloadStatement(me, month) : Promise.resolve();
    },
    retry: false,
  });
  if (!account.data) return null;
  const months = monthsSince(account.data.created_at, Date.now());
  return (
    <div
      role="group"
      aria-label="Statement"
      className="flex flex-wrap items-end gap-3 border-t border-line px-3 py-4"
    >
      <div className="min-w-0 flex-[1_1_10rem]">
        <label htmlFor={id} className="mb-1 block text-sm font-medium">
          Statement of
        </label>
        <select
          id={id}
          className="field"
          value={chosen ?? months[0]?.id}
          onChange={({ target }) => {
            setChosen(target.value);
            download.reset();
          }}
        >
          {months.map((month) => (
            <option key={month.id} value={month.id}>
              {month.name}
            </option>
          ))}
        </select>
      </div>
      <button
        type="button"
        className="button button-quiet"
        aria-disabled={download.isPending}
        onClick={() => !download.isPending && download.mutate({ id: chosen })}
      >
        {download.isPending ? 'Downloading…' : 'Download statement'}
      </button>
      {download.isError && (
        <p role="alert" className="w-full text-sm text-bad">
          The statement was not downloaded. {whyReadFailed(download.error)}
        </p>
      )}
    </div>
  );
}
