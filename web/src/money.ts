/**
 * Money is an integer of cents. What a person types becomes cents digit by digit, and cents become
 * text digit by digit: no amount is ever a fraction in a float.
 */

/** 2^53 - 1 cents, the service's own limit: the largest integer that JavaScript reads exactly. */
export const CENTS_MAX = Number.MAX_SAFE_INTEGER;

export type ParsedAmount = { ok: true; cents: number } | { ok: false; why: string };

const refused = (why: string): ParsedAmount => ({ ok: false, why });

/** Reads what a person typed: `12`, `12.5`, `.50`, `$1,234.56`. At least one cent. */
export function parseDollars(typed: string): ParsedAmount {
  const text = typed.trim().replace(/^\$\s*/, '');
  if (text === '') return refused('Type an amount.');
  if (text.startsWith('-')) return refused('The amount must be more than zero.');
  if (/^\d+,\d{1,2}$/.test(text)) {
    return refused('Write cents after a point, like 12.50.');
  }
  const parts = /^(\d*|\d{1,3}(?:,\d{3})+)(?:\.(\d*))?$/.exec(text);
  const whole = parts?.[1]?.replaceAll(',', '') ?? '';
  const fraction = parts?.[2] ?? '';
  if (!parts || whole + fraction === '') return refused('Type an amount like 12 or 12.50.');
  if (fraction.length > 2)
    return refused('A cent is the smallest amount: two digits after the point.');
  const cents = BigInt(whole + fraction.padEnd(2, '0'));
  if (cents === 0n) return refused('The amount must be more than zero.');
  if (cents > BigInt(CENTS_MAX)) return refused('That is more than the ledger can hold.');
  return { ok: true, cents: Number(cents) };
}

/** `$1,234.56`, and `−$1,234.56` below zero. */
export function formatCents(cents: number): string {
  const digits = Math.abs(cents).toString().padStart(3, '0');
  const whole = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ',');
  return `${cents < 0 ? '−' : ''}$${whole}.${digits.slice(-2)}`;
}
