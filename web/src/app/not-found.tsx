import type { Metadata } from 'next';
import Link from 'next/link';

export const metadata: Metadata = { title: 'Nothing is here' };

export default function NotFound() {
  return (
    <div className="card mx-auto mt-4 max-w-lg p-6 text-center sm:mt-10 sm:p-10">
      <h1 className="text-3xl font-bold tracking-tight text-balance">Nothing is here</h1>
      <p className="mt-2 text-muted">
        This address leads nowhere. Perhaps a part of it is missing; no payment is lost by that.
      </p>
      <div className="mt-6 flex flex-wrap justify-center gap-3">
        <Link href="/" className="button button-main">
          Send money
        </Link>
        <Link href="/lab/" className="button button-quiet">
          See the lab
        </Link>
      </div>
    </div>
  );
}
