/**
 * The form to ask for money as it was typed, kept in this window until it was asked, and forgotten when one signs
 * out. The key is made with it; who presses again after no answer has asked once.
 */

import { newKey } from '../intent/key';
import { forget, recall, remember } from '../session/remember';

export interface AskDraft {
  key: string;
  from: number | null;
  /** Dollars, as they were typed. */
  amount: string;
  note: string;
  /** For so many days it can be paid; null: until it is paid, declined or cancelled. */
  days: number | null;
}

const NAME = 'payonce.ask';

export function freshAsk(): AskDraft {
  return { key: newKey(), from: null, amount: '', note: '', days: null };
}

/** The draft of the account, where this window has kept one. */
export function keptAsk(me: number): AskDraft {
  const fresh = freshAsk();
  try {
    const kept: unknown = JSON.parse(recall('session', NAME) ?? 'null');
    const { draft, of } = (kept ?? {}) as { draft?: Partial<AskDraft>; of?: unknown };
    if (of !== me || !draft) return fresh;
    return {
      key: typeof draft.key === 'string' && draft.key ? draft.key : fresh.key,
      from: Number.isSafeInteger(draft.from) ? (draft.from as number) : null,
      amount: typeof draft.amount === 'string' ? draft.amount : '',
      note: typeof draft.note === 'string' ? draft.note : '',
      days: Number.isSafeInteger(draft.days) ? (draft.days as number) : null,
    };
  } catch {
    return fresh;
  }
}

export function keepAsk(me: number, draft: AskDraft) {
  remember('session', NAME, JSON.stringify({ of: me, draft }));
}

export function forgetAsk() {
  forget('session', NAME);
}
