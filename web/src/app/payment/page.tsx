import type { Metadata } from 'next';
import { Suspense } from 'react';
import { Receipt } from '../../receipt/Receipt';
import { Waiting } from '../Waiting';

export const metadata: Metadata = { title: 'Receipt' };

export default function Page() {
  // Which one it is says the address, which a build does not know.
  return (
    <Suspense fallback={<Waiting />}>
      <Receipt />
    </Suspense>
  );
}
