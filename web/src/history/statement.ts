/** Statements as files. */

import { answered, api } from '../api/client';
import type { Month } from './months';

/** Reads an account's statement of a month and gives it to the browser as a download. */
export async function downloadStatement(account: number, month: Month): Promise<void> {
  // A link would not carry the token, so the file is fetched first. It may be long, and has no time limit.
  const { data } = await answered(
    api.GET('/accounts/{id}/statement', {
      params: {
        path: { id: account },
        query: { since: month.since, until: month.until ?? undefined },
      },
      headers: { Accept: 'text/csv' },
      parseAs: 'blob',
      cache: 'no-store',
    }),
  );
  const url = URL.createObjectURL(data);
  const link = document.createElement('a');
  link.href = url;
  link.download = `statement-${account}-${month.id}.csv`;
  link.click();
  // The browser has begun by the time that anything else runs; some look at the address a little later.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
