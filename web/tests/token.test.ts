/** Reading tokens, without a browser. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readToken } from '../src/session/token';

/** A token with such a payload, signed by nobody. */
function token(payload: unknown): string {
  const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString('base64url');
  return `${encode({ alg: 'HS256' })}.${encode(payload)}.c2lnbmF0dXJl`;
}

test('a token says whose it is, and whether an operator’s', () => {
  for (const [claims, account, isOperator] of [
    [{ sub: '7' }, 7, false],
    [{ sub: 7 }, 7, false],
    [{ sub: '7', scope: 'operator' }, 7, true],
    [{ sub: 'night-shift', scope: 'read operator' }, null, true],
    [{ scope: ['operator'] }, null, true],
    [{ sub: '7', scope: 'operators' }, 7, false],
    [{ sub: '-7' }, null, false],
    [{ sub: '7.5' }, null, false],
    [{ sub: '9007199254740993' }, null, false],
    [{ sub: { id: 7 }, scope: 1 }, null, false],
    [{ sub: '7', name: 'Zoë 🍕 ÿ>?' }, 7, false],
  ] as const) {
    const text = token(claims);
    assert.deepEqual(readToken(text), { text, account, isOperator }, JSON.stringify(claims));
  }
});

test('what is copied with it does not matter', () => {
  const text = token({ sub: '7' });
  assert.equal(readToken(`\n Bearer ${text} \n`)?.text, text);
});

test('what is no token is none', () => {
  const text = token({ sub: '7' });
  for (const pasted of ['', 'a.b', 'a.b.c', `${text}.x`, text.replace('.', ' '), token(null)]) {
    assert.equal(readToken(pasted), null, pasted);
  }
});
