/**
 * Names of people on the page. Somebody typed each of them: it may be blank, invisible, or
 * written from right to left, and it may be another one's, too.
 */

/** Where money enters the ledger. It is nobody to send money to. */
export const BANK = 0;

/** Names are cut where there is little room, so those that begin alike look alike. */
const LIKE_CHARS = 24;

/** More marks on one letter than any language has would cover the lines around it. */
const TOO_MANY_MARKS = /(\p{M}{6})\p{M}+/gu;

/** Letters, digits, punctuation and symbols that are drawn: U+2800 and U+1D159 are not. */
const VISIBLE = /(?![\p{Default_Ignorable_Code_Point}\u2800\u{1D159}])[\p{L}\p{N}\p{P}\p{S}]/u;

/** Embeddings, overrides and isolates: they would turn the text around that comes after. */
const TURNS = /[\u202A-\u202E\u2066-\u2069]/g;

/** Letters and digits that are read from right to left, or decide so. */
const RIGHT_TO_LEFT =
  /[\u0590-\u08FF\u200F\uFB1D-\uFDFF\uFE70-\uFEFE\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u;

/** A name or note as it can be shown beside other text, in one line. */
export function legible(text: string): string {
  return text
    .replace(TURNS, '')
    .replace(/\p{Cc}+/gu, ' ')
    .replace(TOO_MANY_MARKS, '$1')
    .trim();
}

/** The name of an account; its number where the name cannot be seen. */
export function nameOf(id: number, name: string | null | undefined): string {
  if (id === BANK) return 'The bank';
  const shown = legible(name ?? '');
  return VISIBLE.test(shown) ? shown : `Account ${id}`;
}

/** The text, whose direction says nothing about the text around it (U+2068, U+2069). */
export function isolated(text: string): string {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

/** A person in words. */
export interface Called {
  name: string;
  /** The account's number, where the name could be somebody else's. */
  number: number | null;
}

/** The same as one text, for the middle of a sentence. */
export function inWords({ name, number }: Called): string {
  return isolated(name) + (number === null ? '' : ` (number ${number})`);
}

/** Equal for names that look alike, or sound alike when they are read aloud. */
function likeness(name: string): string {
  const plain = name.normalize('NFKC').replace(/\p{Default_Ignorable_Code_Point}/gu, '');
  const letters = plain
    .toLowerCase()
    .replace(/[\s\u2800]+/g, ' ')
    .trim();
  return [...letters].slice(0, LIKE_CHARS).join('');
}

/** Those whose names are known, so that two who look alike can be told apart. */
export class Known {
  readonly #names: ReadonlyMap<number, string | null>;
  readonly #alike = new Map<string, number>();

  constructor(names: Iterable<[number, string | null]> = []) {
    this.#names = new Map([...names, [BANK, null]]);
    for (const [id, name] of this.#names) {
      const like = likeness(nameOf(id, name));
      this.#alike.set(like, (this.#alike.get(like) ?? 0) + 1);
    }
  }

  has(id: number): boolean {
    return this.#names.has(id);
  }

  called(id: number): Called {
    const name = nameOf(id, this.#names.get(id));
    const alike = this.#alike.get(likeness(name)) ?? 0;
    const others = this.has(id) ? alike - 1 : alike;
    return { name, number: others > 0 && id !== BANK ? id : null };
  }

  /** With these, too; the same where there is nothing new. */
  with(accounts: { id: number; name?: string | null }[]): Known {
    const isOld = accounts.every(
      ({ id, name }) => this.has(id) && (id === BANK || this.#names.get(id) === (name ?? null)),
    );
    if (isOld) return this;
    const news = accounts.map(({ id, name }): [number, string | null] => [id, name ?? null]);
    return new Known([...this.#names, ...news]);
  }
}
