import type { Metadata } from 'next';
import { Lab } from '../../lab/Lab';

export const metadata: Metadata = { title: 'Lab' };

export default function Page() {
  return <Lab />;
}
