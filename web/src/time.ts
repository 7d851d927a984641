/**
 * The ledger's timestamps stay the text that the service gave (`Date` would cut their microseconds
 * off, and a cursor without them skips payments). `Date` is used for reading aloud only.
 */

const STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
];

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/** `just now`, `5 minutes ago`, `yesterday`; a date when it is more than a week ago. */
export function timeAgo(timestamp: string, nowMs: number): string {
  const seconds = Math.round((Date.parse(timestamp) - nowMs) / 1_000);
  if (seconds > -45) return 'just now';
  if (seconds < -7 * 86_400) {
    return new Date(timestamp).toLocaleDateString('en', {
      day: 'numeric',
      month: 'short',
      year: 'numeric',
    });
  }
  const [unit, size] = STEPS.find(([, size]) => -seconds >= size) ?? ['minute', 60];
  return relative.format(Math.min(-1, Math.round(seconds / size)), unit);
}

/** The exact time, with the microseconds of the ledger: `2026-11-22 12:00:00.000001 UTC`. */
export function exactTime(timestamp: string): string {
  return timestamp.replace('T', ' ').replace('Z', ' UTC');
}
