/** A bearer token (RFC 6750) that is a JSON Web Token (RFC 7519), as the page reads it. */

export interface Token {
  text: string;
  /** Whose it is; null where that is no account's number, as operators' may be. */
  account: number | null;
  isOperator: boolean;
}

/** Three parts of base64url (RFC 7515, section 7.1), so it can be sent in a header. */
const SHAPE = /^[\w-]+\.([\w-]+)\.[\w-]+$/;

/** Reads what was pasted; null where it is no token. Whether it is a good one, the service says. */
export function readToken(pasted: string): Token | null {
  const text = pasted.trim().replace(/^bearer\s+/i, '');
  const claims = claimsOf(SHAPE.exec(text)?.[1] ?? '');
  if (!claims) return null;
  const { sub, scope } = claims;
  const scopes = typeof scope === 'string' ? scope.split(' ') : Array.isArray(scope) ? scope : [];
  return { text, account: accountIn(sub), isOperator: scopes.includes('operator') };
}

function claimsOf(payload: string): Record<string, unknown> | null {
  try {
    const binary = atob(payload.replaceAll('-', '+').replaceAll('_', '/'));
    const bytes = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === 'object' ? (claims as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

/** The account's number in a text, or a number. */
export function accountIn(value: unknown): number | null {
  const text = typeof value === 'number' ? String(value) : value;
  const isNumber =
    typeof text === 'string' && /^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text));
  return isNumber ? Number(text) : null;
}
