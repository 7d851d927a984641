/** Problems in plain words: one sentence on what happened, one on what to do. */

import { ApiFailure } from './client';

const WORDS: Record<string, string> = {
  invalid_request:
    'The service did not understand the payment, so nothing was paid. Please check what you typed.',
  idempotency_key_missing:
    'The payment had no key, so nothing was paid. Please reload the page and try again.',
  unauthenticated: 'Your token is not valid any more. Sign in again; asking again is safe.',
  not_found: 'The service does not offer this.',
  account_not_found: 'That account does not exist. Nothing was paid; please choose somebody else.',
  payment_not_found: 'That payment does not exist, or is not yours.',
  payment_request_not_found: 'That request does not exist, or is not yours. Nothing was paid.',
  method_not_allowed: 'The service does not offer this.',
  request_timeout: 'Your connection was too slow.',
  body_too_large: 'The note is too long. Nothing was paid; please shorten it.',
  unsupported_media_type: 'The service did not understand the page. Please reload it.',
  request_in_progress: 'This payment is under way already. Asking again tells how it ends.',
  account_exists: 'An account with that number exists already.',
  insufficient_funds: 'There is not enough money in the account. Nothing was paid.',
  same_account: 'You cannot send money to yourself. Nothing was paid.',
  invalid_amount: 'That amount is not possible. Nothing was paid.',
  balance_limit: 'The other account cannot hold that much. Nothing was paid.',
  idempotency_key_reused:
    'This payment clashed with an earlier one, so it was not made. Please send it again.',
  idempotency_key_voided: 'This payment was cancelled, so it will never be paid.',
  similar_payment: 'The same was paid a moment ago, so nothing was paid now.',
  request_mismatch:
    'The request asks for something else. Nothing was paid; please reload the page.',
  request_not_open:
    'The request was paid, declined or cancelled meanwhile, or its time is over. Nothing was paid.',
  refund_exceeds_payment: 'That is more than is left of the payment. Nothing was given back.',
  not_refundable: 'That payment cannot be given back. Nothing was paid.',
  account_frozen: 'One of the two accounts is frozen at the moment. Nothing was paid.',
  account_closed: 'One of the two accounts is closed. Nothing was paid.',
  rate_limited: 'That was a lot of requests in a short time.',
  internal: 'Something broke inside the service. Asking again is safe.',
  overloaded: 'The service is very busy.',
  account_busy: 'Somebody else is using one of these accounts right now.',
  database_unavailable: 'The ledger cannot be reached at the moment. Asking again is safe.',
};

/**
 * The plain words for a problem's code; the service's own where the code is a new one, or has several
 * reasons: of `forbidden` a token is only one.
 */
export function plainWords(code: string, detail: string): string {
  return WORDS[code] ?? detail;
}

/** Those that say what to do, and nothing of what became of the payment. */
const SAYS_NOTHING_OF_IT = new Set([
  'unauthenticated',
  'request_timeout',
  'request_in_progress',
  'rate_limited',
  'internal',
  'overloaded',
  'account_busy',
  'database_unavailable',
]);

/** The words for the latest answer about a payment of which an earlier try is in doubt. */
export function wordsInDoubt(code: string): string {
  if (SAYS_NOTHING_OF_IT.has(code)) return plainWords(code, '');
  return `The latest try was refused (${code.replaceAll('_', ' ')}), but an earlier one got no answer and may have been paid. Look at the history.`;
}

const READ_WORDS: Record<string, string> = {
  unauthenticated: 'Your token is not valid any more. Sign in again.',
  account_not_found: 'That account does not exist.',
  payment_request_not_found: 'That request does not exist, or is not yours.',
  rate_limited: 'That was a lot of requests in a short time. Wait a little before the next one.',
};

/** Plain words for a read that failed. */
export function whyReadFailed(error: unknown): string {
  const problem = error instanceof ApiFailure ? error.problem : null;
  if (!problem) return 'The service did not answer. Is it running, and are you online?';
  const words = READ_WORDS[problem.code];
  if (words) return words;
  if (problem.retryable) return 'The service is busy, or its ledger cannot be reached right now.';
  return problem.detail;
}
