import type { Metadata } from 'next';
import { Requests } from '../../requests/Requests';

export const metadata: Metadata = { title: 'Requests' };

export default function Page() {
  return <Requests />;
}
