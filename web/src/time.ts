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

/** `20 seconds ago`, `2 minutes ago`; `just now` by a clock that is behind. */
export function momentsAgo(timestamp: string, nowMs: number): string {
  const seconds = Math.floor((nowMs - Date.parse(timestamp)) / 1_000);
  if (seconds < 1) return 'just now';
  if (seconds < 60) return relative.format(-seconds, 'second');
  return relative.format(-Math.floor(seconds / 60), 'minute');
}

/** `in 3 days`, `in 5 minutes`; `now` when it is less than a minute. */
export function timeUntil(timestamp: string, nowMs: number): string {
  const seconds = Math.floor((Date.parse(timestamp) - nowMs) / 1_000);
  const step = STEPS.find(([, size]) => seconds >= size);
  return step ? relative.format(Math.floor(seconds / step[1]), step[0]) : 'now';
}

/** The time where the reader is: `November 22, 2026 at 12:00 PM`. */
export function localTime(timestamp: string): string {
  return new Date(timestamp).toLocaleString('en', { dateStyle: 'long', timeStyle: 'short' });
}

/** The exact time, with the microseconds of the ledger: `2026-11-22 12:00:00.000001 UTC`. */
export function exactTime(timestamp: string): string {
  return timestamp.replace('T', ' ').replace('Z', ' UTC');
}
