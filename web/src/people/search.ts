import type { NamedAccount } from '../api/client';
import { nameOf } from './names';
import { usePerson } from './people';

/** Those whose name or number has the text in it. */
export function matching(people: NamedAccount[], text: string): NamedAccount[] {
  const wanted = text.trim().toLowerCase();
  return people.filter(
    ({ id, name }) =>
      nameOf(id, name).toLowerCase().includes(wanted) || String(id).startsWith(wanted),
  );
}

/** The account with the number that was typed, where the list does not have it. */
export function useFound(people: NamedAccount[], text: string): NamedAccount[] {
  const id = /^[1-9]\d{0,15}$/.test(text.trim()) ? Number(text.trim()) : null;
  const isWanted =
    id !== null && Number.isSafeInteger(id) && !people.some((person) => person.id === id);
  const { data } = usePerson(isWanted ? id : null);
  return isWanted && data ? [data] : [];
}
