import Link from 'next/link';

export default function NotFound() {
  return (
    <div className="card mx-auto mt-12 max-w-md p-8 text-center">
      <h1 className="text-2xl font-bold">Nothing is here</h1>
      <p className="mt-2 text-muted">This address leads nowhere.</p>
      <Link href="/" className="button button-main mt-6">
        Send money
      </Link>
    </div>
  );
}
