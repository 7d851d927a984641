/** People are found by what is typed: a part of a name that is known here, or the beginning of anybody's. */

import type { NamedAccount } from '../api/client';
import { useSettled } from '../useSettled';
import { nameOf } from './names';
import { useNamed, usePerson } from './people';

/** Whoever types on is not asked for yet. */
const PAUSE_MS = 200;

/** Those whose name or number has the text in it. */
export function matching(people: NamedAccount[], text: string): NamedAccount[] {
  const wanted = text.trim().toLowerCase();
  return people.filter(
    ({ id, name }) =>
      nameOf(id, name).toLowerCase().includes(wanted) || String(id).startsWith(wanted),
  );
}

/** Each account once, as it comes first. */
export function distinct(people: NamedAccount[]): NamedAccount[] {
  return people.filter(({ id }, index) => index === people.findIndex((other) => other.id === id));
}

/** The number that was typed, where it can be an account's. */
export function numberIn(text: string): number | null {
  const id = /^[1-9]\d{0,15}$/.test(text) ? Number(text) : null;
  return id !== null && Number.isSafeInteger(id) ? id : null;
}

/** Everybody who is meant by what was typed: of those who are known here at once, then of all. */
export function useSearch(known: NamedAccount[], text: string) {
  const wanted = text.trim();
  const settled = useSettled(wanted, PAUSE_MS);
  const named = useNamed(settled);
  const id = numberIn(settled);
  const numbered = usePerson(known.some((person) => person.id === id) ? null : id);
  const isCurrent = wanted === settled;
  const fromAll = isCurrent
    ? [...(named.data ?? []), ...(numbered.data ? [numbered.data] : [])]
    : [];
  return {
    found: wanted === '' ? [] : distinct([...matching(known, wanted), ...fromAll]),
    isSearching: wanted !== '' && (!isCurrent || named.isFetching || numbered.isFetching),
    named,
  };
}
