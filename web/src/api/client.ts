/** The client of the service, typed by its own OpenAPI document (`npm run api`). */

import createClient from 'openapi-fetch';
import { authorization, refused } from '../session/session';
import type { components, paths } from './schema';

export type Payment = components['schemas']['Payment'];
export type FeedPayment = components['schemas']['FeedPayment'];
export type PaymentRequest = components['schemas']['PaymentRequest'];
export type Account = components['schemas']['Account'];
export type NamedAccount = components['schemas']['NamedAccount'];
export type Problem = components['schemas']['Problem'];
export type Crash = components['schemas']['Crash'];
export type Cluster = components['schemas']['Cluster'];

/** A payment as a person wants it. Unlike in the document, the page always has a key. */
export interface Intent {
  from: number;
  to: number;
  /** Cents. */
  amount: number;
  note: string | null;
  /** The time of the first click, RFC 3339. */
  created_at: string;
  idempotency_key: string;
  /** The payment that this one gives back. */
  refund_of?: string;
  /** The request for money that this one pays. */
  payment_request_id?: string;
}

/** The service's origin: the page's own, unless it is configured or the page is being developed. */
export const API_ORIGIN =
  process.env.NEXT_PUBLIC_API_BASE_URL ??
  (process.env.NODE_ENV === 'development' ? 'http://localhost:4000' : '');

/** Every request passes through here: this is where the token's header is added. */
export const api = createClient<paths>({
  baseUrl: API_ORIGIN,
  // Looked up at each call, so that tools which replace `fetch` are heard.
  fetch: (request) => fetch(request),
});

api.use({
  onRequest({ request }) {
    const header = authorization();
    // A request that tries a token out brings its own.
    if (header && !request.headers.has('Authorization')) {
      request.headers.set('Authorization', header);
    }
    return request;
  },
  onResponse({ request, response }) {
    const challenge = response.headers.get('WWW-Authenticate') ?? '';
    // A proxy may ask for something else.
    if (response.status === 401 && /^bearer\b/i.test(challenge)) {
      refused(request.headers.get('Authorization'));
    }
  },
});

/** An answer other than success, or none at all (`problem` is null). */
export class ApiFailure extends Error {
  constructor(
    readonly problem: Problem | null,
    /** How long the service wants not to be asked again. */
    readonly retryAfterMs = 0,
  ) {
    super(problem?.detail ?? 'The service did not answer.');
  }
}

/** The wait that an answer asks for. */
export function retryAfterMs(response: Response): number | null {
  const header = response.headers.get('Retry-After');
  return header && /^\d{1,5}$/.test(header) ? Number(header) * 1_000 : null;
}

/** How long a read may take before the page says that the service does not answer. */
const READ_TIMEOUT_MS = 10_000;

/** Ends a read when its page is left, or after its time. */
export function readSignal(signal?: AbortSignal): AbortSignal {
  const limit = AbortSignal.timeout(READ_TIMEOUT_MS);
  return signal ? AbortSignal.any([signal, limit]) : limit;
}

/** The data of an answer, or an `ApiFailure`. */
export async function answered<T>(
  call: Promise<{ data?: T; error?: unknown; response: Response }>,
): Promise<{ data: T; response: Response }> {
  const { data, error, response } = await call.catch(() => {
    throw new ApiFailure(null);
  });
  if (!response.ok || data === undefined) {
    throw new ApiFailure(problemOf(error), retryAfterMs(response) ?? 0);
  }
  return { data, response };
}

/** The problem in an error's body, where it is one of the service's. */
export function problemOf(body: unknown): Problem | null {
  const is = typeof body === 'object' && body !== null && 'code' in body && 'retryable' in body;
  return is ? (body as Problem) : null;
}
