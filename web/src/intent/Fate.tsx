'use client';

import { InDoubt } from './InDoubt';
import { Progress } from './Progress';
import { StoreTroubleBox } from './StoreTroubleBox';
import { useSlip, useStoreTrouble } from './useSlip';

/** The fate of the payer's payments, on a page that has no form to send. */
export function Fate({ me }: { me: number }) {
  const slip = useSlip(me);
  const trouble = useStoreTrouble();
  if (trouble) return <StoreTroubleBox me={me} trouble={trouble} slip={slip} />;
  if (!slip) return null;
  return (
    <>
      <InDoubt me={me} slip={slip} />
      <Progress me={me} slip={slip} />
    </>
  );
}
