/** The address of a payment's own page. */
export function receiptPath(id: string): string {
  return `/payment/?id=${id}`;
}
