import { useRef, useState, type ReactNode } from 'react';
import type { Intent } from '../api/client';
import { useConfirm } from './Confirm';
import { isUnderWay, outcomeOfPay, pay, type Outcome } from './machine';
import { askNow } from './sender';
import { changeSlip } from './store';
import { useSlip, useStoreTrouble } from './useSlip';

/** Why a press has paid nothing, where nothing else shows it. */
const WHY_NOT_PAID: Partial<Record<Outcome, string>> = {
  'changed meanwhile':
    'Another payment of yours is under way, so this press paid nothing. Wait for its end, then press again.',
  'too much in doubt':
    'Too many payments have no answer yet, so this press paid nothing. First find out what became of them.',
};

interface Paying {
  /** Pays, once. */
  pay: (intent: Intent) => void;
  /** Whether a press can pay something now. */
  canPay: boolean;
  /** The payment that is under way. */
  current: Intent | null;
  /** Why the latest press has paid nothing. */
  why: string | undefined;
  /** To be on the page. */
  dialog: ReactNode;
}

/** Pays what is no draft: a request, or a refund. It is stored before it is sent, as drafts are. */
export function usePay(me: number): Paying {
  const slip = useSlip(me);
  const trouble = useStoreTrouble();
  const { confirm, dialog } = useConfirm(me);
  const [why, setWhy] = useState<string>();
  const isPressed = useRef(false);
  const attempt = slip?.attempt;
  const isAsking = isUnderWay(attempt);
  const canPay = slip !== null && trouble === null && !isAsking;

  const go = async (intent: Intent) => {
    if (isPressed.current) return;
    isPressed.current = true;
    try {
      const after = await changeSlip(me, (slip) => pay(slip, intent));
      setWhy(WHY_NOT_PAID[outcomeOfPay(after, intent)]);
      askNow(me);
    } catch {
      // Nothing was sent, and the page says why nothing can be stored.
    } finally {
      isPressed.current = false;
    }
  };
  return {
    pay: (intent) => canPay && confirm(intent, () => void go(intent)),
    canPay,
    current: attempt && isAsking ? attempt.request : null,
    why,
    dialog,
  };
}
