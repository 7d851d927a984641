'use client';

import { useId, useState } from 'react';
import { useRecent } from '../history/recent';
import { Avatar } from './Avatar';
import { useIsOperator } from '../session/session';
import { useCalled, usePeople } from './people';
import { PeopleTrouble } from './PeopleTrouble';
import { NumberOf } from './PersonName';
import { distinct, useSearch } from './search';

/** So many faces are shown at once; the rest are found by typing. */
const SHOWN_MAX = 10;

interface Props {
  /** What the person is chosen for. */
  title: string;
  me: number;
  chosen: number | null;
  complaint: string | undefined;
  choose: (id: number) => void;
}

/** Chooses somebody: of those whom one paid last, of the others, or of everybody by name or number. */
export function PersonPicker({ title, me, chosen, complaint, choose }: Props) {
  const [text, setText] = useState('');
  const id = useId();
  const mayList = useIsOperator();
  const people = usePeople();
  const { recent, isPending } = useRecent(me);
  const others = (people.data ?? []).filter((person) => person.id !== me);
  const known = distinct([...recent.map((id) => ({ id, name: null })), ...others]);
  const { found, isSearching, named } = useSearch(others, text);
  const isLoading = isPending || people.isLoading;
  const candidates = text.trim() ? found.filter((person) => person.id !== me) : known;
  const ids = isLoading ? [] : candidates.slice(0, SHOWN_MAX).map((person) => person.id);
  // The chosen one stays in sight.
  if (!isLoading && chosen !== null && !ids.includes(chosen)) ids.unshift(chosen);
  const called = useCalled(ids);

  return (
    <fieldset className="min-w-0" aria-describedby={complaint ? `${id}-why` : undefined}>
      <legend className="font-medium">{title}</legend>
      {isLoading && (
        <div
          role="status"
          aria-label="Loading the people"
          className="mt-2 grid grid-cols-4 gap-1 min-[22.5rem]:grid-cols-5"
        >
          {Array.from({ length: mayList ? SHOWN_MAX : SHOWN_MAX / 2 }, (_, index) => (
            <div key={index} className="skeleton mx-auto size-12 rounded-full" />
          ))}
        </div>
      )}
      <PeopleTrouble people={named.isError ? named : people} />
      {(!mayList || others.length > SHOWN_MAX) && (
        <input
          type="search"
          className="field mt-2"
          aria-label="Find somebody by name or number"
          placeholder="Name or number"
          data-field={ids.length === 0 ? 'to' : undefined}
          autoComplete="off"
          value={text}
          onChange={(event) => setText(event.target.value)}
          // Enter looks for somebody; it does not send money.
          onKeyDown={(event) => event.key === 'Enter' && event.preventDefault()}
        />
      )}
      <div
        className="mt-2 grid grid-cols-4 gap-1 min-[22.5rem]:grid-cols-5"
        aria-busy={isSearching}
      >
        {ids.map((person, index) => {
          const other = called(person);
          return (
            <label
              key={person}
              title={other.name}
              className="group flex min-w-0 cursor-pointer flex-col items-center gap-1 rounded-2xl px-0.5 py-2 text-[0.8125rem] sm:px-1 sm:text-sm has-checked:bg-accent-soft has-checked:font-semibold has-focus-visible:outline-3 has-focus-visible:outline-accent hover:bg-accent-soft"
            >
              <input
                type="radio"
                name={`${id}-to`}
                className="sr-only"
                data-field={index === 0 ? 'to' : undefined}
                checked={person === chosen}
                onChange={() => choose(person)}
              />
              <span className="rounded-full ring-accent ring-offset-2 ring-offset-card group-has-checked:ring-3">
                <Avatar id={person} name={other.name} size="size-12" />
              </span>
              <span className="w-full text-center">
                <bdi className="line-clamp-3">{other.name}</bdi> <NumberOf called={other} />
              </span>
            </label>
          );
        })}
      </div>
      <p role="status" className="mt-2 text-muted empty:hidden">
        {!isLoading && whoIsMissing(text.trim(), candidates.length, isSearching, mayList)}
      </p>
      {complaint && (
        <p id={`${id}-why`} role="alert" className="mt-1 font-medium text-bad">
          {complaint}
        </p>
      )}
    </fieldset>
  );
}

function whoIsMissing(text: string, count: number, isSearching: boolean, mayList: boolean): string {
  if (count > 0) return '';
  if (isSearching) return 'Looking…';
  if (text) return 'Nobody is called that.';
  return mayList ? 'There is nobody else yet.' : 'Type the name of somebody.';
}
