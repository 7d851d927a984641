import type { ReactNode } from 'react';

/** A fact about a payment, in a list of them. */
export function Detail({ title, children }: { title: string; children: ReactNode }) {
  return (
    <>
      <dt className="text-muted">{title}</dt>
      <dd>{children}</dd>
    </>
  );
}
