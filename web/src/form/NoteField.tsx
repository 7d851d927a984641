import { useId, useRef } from 'react';
import { NOTE_CHARS_MAX, noteChars } from '../intent/machine';
import { Complaint } from './Complaint';

/** Tabs, line ends and the like come with what is pasted, and the service takes none of them. */
const CONTROLS = /\p{Cc}+/gu;

/** Why the service would refuse the note. */
export function whyNoNote(note: string): string | undefined {
  const tooLong = noteChars({ note }) - NOTE_CHARS_MAX;
  return tooLong > 0
    ? `The note is ${tooLong} ${tooLong === 1 ? 'character' : 'characters'} too long.`
    : refusedIn(note);
}

function refusedIn(note: string): string | undefined {
  const found = note.trim().match(CONTROLS)?.[0];
  if (!found) return undefined;
  const kind = found.includes('\t')
    ? 'a tab'
    : /[\n\r]/.test(found)
      ? 'a new line'
      : 'a control character';
  return `There is ${kind} in the note, and a note is one line of plain text.`;
}

interface Props {
  value: string;
  /** Nothing can be typed right now. */
  isFixed?: boolean;
  complaint: string | undefined;
  change: (typed: string) => void;
}

export function NoteField({ value, isFixed = false, complaint, change }: Props) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  // Said at once: nobody sees a tab.
  const why = complaint ?? refusedIn(value);
  return (
    <div>
      <label htmlFor={id} className="font-medium">
        What for? <span className="font-normal text-muted">(optional)</span>
      </label>
      <input
        ref={input}
        id={id}
        data-field="note"
        className="field mt-1"
        autoComplete="off"
        readOnly={isFixed}
        value={value}
        onChange={(event) => change(event.target.value)}
        aria-invalid={why ? true : undefined}
        aria-describedby={`${id}-count${why ? ` ${id}-why` : ''}`}
      />
      <NoteCount id={`${id}-count`} chars={noteChars({ note: value })} />
      <Complaint id={`${id}-why`} text={why} />
      {refusedIn(value) && (
        <button
          type="button"
          className="button button-quiet mt-2"
          onClick={() => {
            change(value.replace(CONTROLS, ' '));
            input.current?.focus();
          }}
        >
          Put a space there
        </button>
      )}
    </div>
  );
}

/** How much of the note's room is taken, as the service counts it. */
function NoteCount({ id, chars }: { id: string; chars: number }) {
  const isOver = chars > NOTE_CHARS_MAX;
  return (
    <p
      id={id}
      data-testid="note-count"
      className={`mt-1 text-right text-sm tabular-nums ${isOver ? 'font-medium text-bad' : 'text-muted'}`}
    >
      {chars} of {NOTE_CHARS_MAX} characters
    </p>
  );
}
