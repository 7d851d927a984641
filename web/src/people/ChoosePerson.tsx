'use client';

import { useState } from 'react';
import { Avatar } from './Avatar';
import { become } from './me';
import { useSession } from '../session/session';
import { signOut } from '../session/signOut';
import { useCalled, usePeople } from './people';
import { NumberOf } from './PersonName';
import { PeopleTrouble } from './PeopleTrouble';
import { useSearch } from './search';

/** Nobody is signed in here: one says who one is. */
export function ChoosePerson() {
  const people = usePeople();
  const called = useCalled();
  const isOperator = useSession().state === 'in';
  const [search, setSearch] = useState('');
  const { found, isSearching } = useSearch(people.data ?? [], search);
  const shown = search.trim() ? found : (people.data ?? []);
  return (
    <div className="card mx-auto mt-4 max-w-2xl p-6 sm:mt-10 sm:p-10">
      <h1 className="text-3xl font-bold tracking-tight text-balance">Who are you?</h1>
      <p className="mt-2 text-muted">
        {isOperator
          ? 'You are signed in as an operator, and may act for anybody.'
          : 'This is a playground: be anybody, and send the others money. Open a second window to be two people at once.'}
      </p>
      {isOperator && (
        <button type="button" onClick={() => void signOut()} className="button button-quiet mt-4">
          Sign out
        </button>
      )}
      {people.isPending && (
        <div
          className="mt-6 grid grid-cols-2 gap-3 sm:grid-cols-3"
          aria-label="Loading"
          role="status"
        >
          {Array.from({ length: 6 }, (_, index) => (
            <div key={index} className="skeleton h-16 rounded-2xl" />
          ))}
        </div>
      )}
      <PeopleTrouble people={people} />
      {people.isSuccess && people.data.length > 12 && (
        <label className="mt-6 block font-medium">
          Find yourself by name or number
          <input
            type="search"
            className="field mt-1"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </label>
      )}
      {people.isSuccess && shown.length === 0 && !isSearching && (
        <p className="mt-6">
          {search.trim()
            ? 'Nobody is called that.'
            : 'There are no accounts yet. Open some with POST /accounts.'}
        </p>
      )}
      <ul className="mt-6 grid grid-cols-2 gap-3 sm:grid-cols-3">
        {shown.slice(0, 30).map(({ id }) => (
          <li key={id}>
            <button
              type="button"
              onClick={() => become(id)}
              title={called(id).name}
              className="flex h-full w-full items-center gap-3 rounded-2xl border border-line p-3 text-left font-medium hover:border-accent hover:bg-accent-soft"
            >
              <Avatar id={id} name={called(id).name} />
              <span className="min-w-0">
                <bdi className="line-clamp-3">{called(id).name}</bdi>{' '}
                <NumberOf called={called(id)} />
              </span>
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
