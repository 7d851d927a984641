import { answered, api, ApiFailure, readSignal } from '../api/client';
import { whyReadFailed } from '../api/problems';
import { enter, headerOf } from './session';
import { readToken, type Token } from './token';

/** Signs this window in with what was pasted. Returns why it could not. */
export async function signIn(pasted: string): Promise<string | null> {
  if (pasted.trim() === '') return 'Paste a token.';
  const token = readToken(pasted);
  if (!token) {
    return 'That is not a token: a token is one long text of three parts, with points between them. Was all of it copied?';
  }
  if (token.account === null && !token.isOperator) {
    return 'This token names no account, so there is nobody to be. Ask for one that names yours.';
  }
  try {
    await tryOut(token);
  } catch (error) {
    const problem = error instanceof ApiFailure ? error.problem : null;
    if (problem?.code === 'unauthenticated') return `${problem.detail} Ask for a new one.`;
    if (problem?.code === 'account_not_found') return `There is no account ${token.account} here.`;
    return whyReadFailed(error);
  }
  enter(token);
  return null;
}

/** Asks for something that the token must allow. */
async function tryOut({ text, account, isOperator }: Token) {
  const headers = { Authorization: headerOf({ text, account, isOperator }) };
  const signal = readSignal();
  if (account === null) {
    const params = { query: { limit: 1 } };
    await answered(api.GET('/accounts', { params, headers, signal }));
  } else {
    const params = { path: { id: account } };
    await answered(api.GET('/accounts/{id}', { params, headers, signal, cache: 'no-store' }));
  }
}
