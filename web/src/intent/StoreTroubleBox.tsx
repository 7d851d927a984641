'use client';

import { Trouble } from '../app/Trouble';
import { formatCents } from '../money';
import { isUnderWay, mayBePaid, type Slip } from './machine';
import { loadSlip, type StoreTrouble } from './store';

const WHY: Record<StoreTrouble, string> = {
  blocked:
    'This browser does not let the page store anything. Allow this site to store data (cookies), or leave the private window.',
  full: 'This browser has no room left to store anything. Make some, on the disk or by removing the data of other sites.',
  newer: 'A newer version of this page is open in this browser. Reload this one.',
  busy: 'Another window of this page does not let go of what is stored. Close it, or wait for it.',
  broken: 'What this browser has stored can neither be read nor written. Restart the browser.',
};

/** A payment is kept in the browser before it is sent, so that it is never sent twice. Where it cannot be: why. */
export function StoreTroubleBox({
  me,
  trouble,
  slip,
}: {
  me: number;
  trouble: StoreTrouble;
  slip: Slip | null;
}) {
  const attempt = slip?.attempt;
  const isOpen = attempt && (isUnderWay(attempt) || mayBePaid(attempt));
  const open = isOpen
    ? ` Whether ${formatCents(attempt.request.amount)} went through is not known yet; it is asked for again when this is over.`
    : '';
  return (
    <Trouble
      title="Nothing can be sent from here"
      why={`${WHY[trouble]} A payment is sent only once it is kept safe.${open}`}
      again={() => void loadSlip(me)}
    />
  );
}
