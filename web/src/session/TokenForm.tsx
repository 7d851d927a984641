'use client';

import { useId, useState, type FormEvent } from 'react';
import { signIn } from './signIn';

/** Where one pastes a token. What comes after signing in takes its place. */
export function TokenForm({ autoFocus = false }: { autoFocus?: boolean }) {
  const [pasted, setPasted] = useState('');
  const [complaint, setComplaint] = useState<string | null>(null);
  const [isTrying, setIsTrying] = useState(false);
  const id = useId();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isTrying) return;
    setIsTrying(true);
    setComplaint(null);
    const why = await signIn(pasted);
    setIsTrying(false);
    setComplaint(why);
    if (!why) setPasted('');
  };

  return (
    <form onSubmit={(event) => void submit(event)} noValidate className="mt-6">
      <label htmlFor={id} className="font-medium">
        Token
      </label>
      {/* Dots, which nobody reads over a shoulder; without a name, it is in no address. */}
      <input
        id={id}
        type="password"
        className="field mt-1"
        autoComplete="off"
        autoFocus={autoFocus}
        value={pasted}
        onChange={(event) => {
          setPasted(event.target.value);
          setComplaint(null);
        }}
        aria-invalid={complaint ? true : undefined}
        aria-describedby={complaint ? `${id}-why` : undefined}
      />
      {complaint && (
        <p id={`${id}-why`} role="alert" className="mt-1 font-medium text-bad">
          {complaint}
        </p>
      )}
      <button
        type="submit"
        aria-disabled={isTrying}
        className="button button-main mt-4 w-full aria-disabled:opacity-70"
      >
        {isTrying ? 'Signing in…' : 'Sign in'}
      </button>
    </form>
  );
}
