'use client';

import { useId, useState } from 'react';
import { Avatar } from '../people/Avatar';
import { useCalled, type usePeople } from '../people/people';
import { PeopleTrouble } from '../people/PeopleTrouble';
import { NumberOf } from '../people/PersonName';
import { matching, useFound } from '../people/search';

/** So many faces are shown at once; the rest are found by typing. */
const SHOWN_MAX = 10;

interface Props {
  me: number;
  people: ReturnType<typeof usePeople>;
  chosen: number | null;
  complaint: string | undefined;
  choose: (id: number) => void;
}

export function PayeePicker({ me, people, chosen, complaint, choose }: Props) {
  const [search, setSearch] = useState('');
  const id = useId();
  const others = (people.data ?? []).filter((person) => person.id !== me);
  const found = useFound(people.data ?? [], search);
  const matches = matching(others, search).concat(found);
  const shown = matches.slice(0, SHOWN_MAX);
  // The chosen payee stays in sight.
  const isMissing = people.isSuccess && chosen !== null && !shown.some(({ id }) => id === chosen);
  if (isMissing) shown.unshift({ id: chosen, name: null });
  const called = useCalled(isMissing ? [chosen] : []);

  return (
    <fieldset className="min-w-0" aria-describedby={complaint ? `${id}-why` : undefined}>
      <legend className="font-medium">To</legend>
      {people.isPending && (
        <div
          role="status"
          aria-label="Loading the people"
          className="mt-2 grid grid-cols-4 gap-1 min-[22.5rem]:grid-cols-5"
        >
          {Array.from({ length: 10 }, (_, index) => (
            <div key={index} className="skeleton mx-auto size-12 rounded-full" />
          ))}
        </div>
      )}
      <PeopleTrouble people={people} />
      {others.length > SHOWN_MAX && (
        <input
          type="search"
          className="field mt-2"
          aria-label="Find somebody by name or number"
          placeholder="Name or number"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
          // Enter looks for somebody; it does not send money.
          onKeyDown={(event) => event.key === 'Enter' && event.preventDefault()}
        />
      )}
      <div className="mt-2 grid grid-cols-4 gap-1 min-[22.5rem]:grid-cols-5">
        {shown.map((person, index) => {
          const payee = called(person.id);
          return (
            <label
              key={person.id}
              title={payee.name}
              className="group flex min-w-0 cursor-pointer flex-col items-center gap-1 rounded-2xl px-0.5 py-2 text-[0.8125rem] sm:px-1 sm:text-sm has-checked:bg-accent-soft has-checked:font-semibold has-focus-visible:outline-3 has-focus-visible:outline-accent hover:bg-accent-soft"
            >
              <input
                type="radio"
                name={`${id}-to`}
                className="sr-only"
                data-field={index === 0 ? 'to' : undefined}
                checked={person.id === chosen}
                onChange={() => choose(person.id)}
              />
              <span className="rounded-full ring-accent ring-offset-2 ring-offset-card group-has-checked:ring-3">
                <Avatar id={person.id} name={payee.name} size="size-12" />
              </span>
              <span className="w-full text-center">
                <bdi className="line-clamp-3">{payee.name}</bdi> <NumberOf called={payee} />
              </span>
            </label>
          );
        })}
      </div>
      {people.isSuccess && shown.length === 0 && (
        <p className="mt-2 text-muted">
          {search ? 'Nobody is called that.' : 'There is nobody else yet.'}
        </p>
      )}
      {complaint && (
        <p id={`${id}-why`} role="alert" className="mt-1 font-medium text-bad">
          {complaint}
        </p>
      )}
    </fieldset>
  );
}
