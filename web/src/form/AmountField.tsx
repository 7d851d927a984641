import { useId, type RefObject } from 'react';
import { Complaint } from './Complaint';

interface Props {
  /** Dollars, as they were typed. */
  value: string;
  /** Nothing can be typed right now. */
  isFixed?: boolean;
  complaint: string | undefined;
  change: (typed: string) => void;
  input?: RefObject<HTMLInputElement | null>;
}

export function AmountField({ value, isFixed = false, complaint, change, input }: Props) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="font-medium">
        Amount in dollars
      </label>
      <div className="relative mt-1">
        <span
          aria-hidden="true"
          className="absolute top-1/2 left-4 -translate-y-1/2 text-2xl font-semibold text-muted"
        >
          $
        </span>
        <input
          ref={input}
          id={id}
          data-field="amount"
          className="field pl-10 text-3xl font-semibold tabular-nums"
          inputMode="decimal"
          autoComplete="off"
          maxLength={30}
          readOnly={isFixed}
          placeholder="0.00"
          value={value}
          onChange={(event) => change(event.target.value)}
          aria-invalid={complaint ? true : undefined}
          aria-describedby={complaint ? `${id}-why` : undefined}
        />
      </div>
      <Complaint id={`${id}-why`} text={complaint} />
    </div>
  );
}
