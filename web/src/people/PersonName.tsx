import type { Called } from './names';

/** The number, where the name alone could be somebody else's: beside a name that may be cut. */
export function NumberOf({ called: { number } }: { called: Called }) {
  if (number === null) return null;
  return (
    <span className="font-normal">
      <span aria-hidden="true">#</span>
      <span className="sr-only">number </span>
      {number}
    </span>
  );
}
