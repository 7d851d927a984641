/**
 * Whether a press is the second one of a double click. It was meant for what was there at the first; where that was paid
 * meanwhile, something else has taken its place, which is not to be paid by it.
 */
export function isSecondOfTwo({ detail }: { detail: number }): boolean {
  return detail > 1;
}
