/**
 * Messages declared as tables: a message is its number and its fields in the wire's order, a field is how it is written
 * and what must hold when it is read. Encoder and decoder both follow the table, so they cannot differ.
 */
import { copyBytes } from "../base/bytes.ts";
import { type ErrorCode, StoreError } from "../base/errors.ts";
import {
  type LeaseId,
  leaseId,
  type MemberId,
  memberId,
  revision as mintRevision,
  type Revision,
} from "../base/ids.ts";

export type Fields = readonly unknown[];

export interface Field<T> {
  write(value: T): unknown;
  /** Throws `RangeError` on what `write` could not have written. `undefined`: the message does not say. */
  read(value: unknown): T;
  /** What stands there if the message does not say. Nil unless given. */
  readonly blank?: false;
  /** What is absent at the end of a message costs no byte. */
  readonly trims?: true;
  /** Neighbours of which this is so share one number. */
  readonly isBit?: true;
}

/** How an array holds a `T`. */
export interface Layout<T> {
  /** A message's number stands in front; an array within a message has none. */
  write(value: T, number?: number): Fields;
  read(fields: Fields): T;
}

/** Every property but `kind`, in the order of the wire. */
export type FieldsOf<T> = { readonly [K in Exclude<keyof T, "kind">]-?: Field<T[K]> };

// --- values ---

export function isSome(value: unknown): boolean {
  return value !== undefined && value !== null;
}

export function atMost(fields: Fields, length: number): void {
  if (fields.length > length) throw new RangeError("too many fields");
}

export function readBytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new RangeError("bytes expected");
  // It outlives the frame that it came in.
  return copyBytes(value);
}

export function readInteger(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new RangeError("integer expected");
  return value as number;
}

export function readCount(value: unknown): number {
  const n = readInteger(value);
  if (n < 0) throw new RangeError("negative count");
  return n;
}

export function readRevision(value: unknown): Revision {
  return mintRevision(readInteger(value));
}

export function readId(value: unknown): bigint {
  if (typeof value !== "bigint") throw new RangeError("id expected");
  return value;
}

export function readBoolean(value: unknown): boolean {
  if (typeof value !== "boolean") throw new RangeError("boolean expected");
  return value;
}

export function readText(value: unknown): string {
  if (typeof value !== "string") throw new RangeError("text expected");
  return value;
}

export function readList(value: unknown): Fields {
  if (!Array.isArray(value)) throw new RangeError("list expected");
  return value;
}

export function readBits(value: unknown, known: number): number {
  if (!isSome(value)) return 0;
  const bits = readCount(value);
  if ((bits & known) !== bits) throw new RangeError("unknown flag");
  return bits;
}

function as<T>(read: (value: unknown) => T): Field<T> {
  return { write: (value) => value, read };
}

export const bytes: Field<Uint8Array> = as(readBytes);
export const integer: Field<number> = as(readInteger);
export const count: Field<number> = as(readCount);
export const revision: Field<Revision> = as(readRevision);
export const boolean: Field<boolean> = as(readBoolean);
export const text: Field<string> = as(readText);
export const lease: Field<LeaseId> = as((value) => leaseId(readId(value)));
export const member: Field<MemberId> = as((value) => memberId(readId(value)));

/** A flag that is always there. Of a request: what is not set stays absent. */
export const flag: Field<boolean | undefined> = {
  write: (value) => value === true,
  read: (value) => readBoolean(value) || undefined,
  blank: false,
};

/** Flags that share one number, which is left out when none is set. */
export function bits<N extends string>(numbers: Numbers<N>): Readonly<Record<N, Field<boolean | undefined>>> {
  const known = Object.values<number>(numbers).reduce((all, number) => all | number, 0);
  const fieldOf = (number: number): Field<boolean | undefined> => ({
    write: (value) => (value === true ? number : null),
    read: (value) => (readBits(value, known) & number) !== 0 || undefined,
    trims: true,
    isBit: true,
  });
  const fields = Object.entries<number>(numbers).map(([name, number]) => [name, fieldOf(number)]);
  return Object.fromEntries(fields) as Readonly<Record<N, Field<boolean | undefined>>>;
}

/** Nil where there is nothing, also at the end. */
export function orNil<T>(field: Field<T>): Field<T | undefined> {
  return {
    write: (value) => (value === undefined || value === null ? null : field.write(value)),
    read: (value) => (isSome(value) ? field.read(value) : undefined),
  };
}

export function optional<T>(field: Field<T>): Field<T | undefined> {
  return { ...orNil(field), trims: true };
}

/** Of a flag: nothing unless it is set. */
export const mark: Field<boolean | undefined> = {
  write: (value) => (value === true ? true : null),
  read: (value) => (isSome(value) ? readBoolean(value) || undefined : undefined),
  trims: true,
};

export function listOf<T>(field: Field<T>): Field<readonly T[]> {
  return {
    write: (values) => values.map((value) => field.write(value)),
    read: (value) => readList(value).map((each) => field.read(each)),
  };
}

export type Numbers<W extends string = string> = Readonly<Record<W, number>>;

/** Words, each a number on the wire. Callers without types may give any: `refusal` is what they get. */
export function oneOf<W extends string>(numbers: Numbers<W>, what: string, refusal?: ErrorCode): Field<W> {
  const words: (W | undefined)[] = [];
  for (const word of Object.keys(numbers) as W[]) words[numbers[word]] = word;
  return {
    write(word) {
      if (Object.hasOwn(numbers, word)) return numbers[word];
      throw refusal === undefined ? new RangeError(`unknown ${what}`) : new StoreError(refusal);
    },
    read(value) {
      const word = typeof value === "number" ? words[value] : undefined;
      if (word === undefined) throw new RangeError(`unknown ${what}`);
      return word;
    },
  };
}

// --- arrays of fields ---

interface Place {
  readonly at: number;
  readonly name: string;
  readonly field: Field<unknown>;
}

type Properties = Record<string, unknown>;

class Table<T extends object> implements Layout<T> {
  /** A message names its kind, and its number stands in front. */
  readonly #kind: string | undefined;
  readonly #places: readonly Place[];
  readonly #byName = new Map<string, Place>();
  /** What stands where if nothing is said: to write a message costs by what it says, not by what it could say. */
  readonly #blank: readonly unknown[];
  /** As many fields as are always written. */
  readonly #least: number;

  constructor(fields: FieldsOf<T>, kind?: string) {
    this.#kind = kind;
    const blank: unknown[] = kind === undefined ? [] : [0];
    const places: Place[] = [];
    let least = blank.length;
    for (const [name, field] of Object.entries(fields as Record<string, Field<unknown>>)) {
      const joins = field.isBit === true && places.at(-1)?.field.isBit === true;
      if (!joins) blank.push(field.blank ?? null);
      if (field.trims !== true) least = blank.length;
      places.push({ at: blank.length - 1, name, field });
    }
    for (const place of places) this.#byName.set(place.name, place);
    this.#places = places;
    this.#blank = blank;
    this.#least = least;
  }

  write(value: T, number?: number): Fields {
    const out = this.#blank.slice();
    if (number !== undefined) out[0] = number;
    let length = this.#least;
    for (const name in value) {
      const place = this.#byName.get(name);
      if (place === undefined) continue;
      const { at, field } = place;
      const written = field.write(value[name]);
      if (written === null || written === undefined) continue;
      out[at] = field.isBit === true ? (out[at] as number) | (written as number) : written;
      if (at >= length) length = at + 1;
    }
    return length === out.length ? out : out.slice(0, length);
  }

  read(fields: Fields): T {
    atMost(fields, this.#blank.length);
    const value: Properties = {};
    if (this.#kind !== undefined) value.kind = this.#kind;
    const end = Math.max(this.#least, fields.length);
    for (const { at, name, field } of this.#places) {
      if (at >= end) break;
      const read = field.read(fields[at]);
      if (read !== undefined) value[name] = read;
    }
    return value as T;
  }
}

/** An array within a message. */
export function tuple<T extends object>(fields: FieldsOf<T>): Field<T> {
  return arrayOf(new Table<T>(fields));
}

export function arrayOf<T>(layout: Layout<T>): Field<T> {
  return { write: (value) => layout.write(value), read: (value) => layout.read(readList(value)) };
}

// --- messages ---

type Kinded = { readonly kind: string };
type Of<M extends Kinded, K> = Extract<M, { readonly kind: K }>;

/** Number and fields of each kind; the layout instead where one is written by hand because it travels most. */
export type MessageTable<M extends Kinded> = {
  readonly [K in M["kind"]]: readonly [
    number: number,
    fields: FieldsOf<Of<M, K>> | { readonly layout: Layout<Of<M, K>> },
  ];
};

/** Several kinds of message: the number of its kind in front of each. */
export class Messages<M extends Kinded> {
  readonly numbers: Numbers<M["kind"]>;
  readonly #what: string;
  readonly #byKind = new Map<unknown, { readonly number: number; readonly layout: Layout<M> }>();
  readonly #byNumber: (Layout<M> | undefined)[] = [];

  constructor(what: string, table: MessageTable<M>) {
    this.#what = what;
    const numbers: Record<string, number> = {};
    const entries = Object.entries(table) as [string, readonly [number, FieldsOf<M> | { layout: Layout<M> }]][];
    for (const [kind, [number, given]] of entries) {
      const layout = "layout" in given ? given.layout : new Table<M>(given, kind);
      numbers[kind] = number;
      this.#byKind.set(kind, { number, layout });
      this.#byNumber[number] = layout;
    }
    this.numbers = numbers as Numbers<M["kind"]>;
  }

  write(message: M): Fields {
    const found = this.#byKind.get(message.kind);
    if (found === undefined) throw new RangeError(`unknown ${this.#what}`);
    return found.layout.write(message, found.number);
  }

  read(fields: Fields): M {
    const [number] = fields;
    const layout = typeof number === "number" ? this.#byNumber[number] : undefined;
    if (layout === undefined) throw new RangeError(`unknown ${this.#what}`);
    return layout.read(fields);
  }

  /** Some of the kinds, within another message. */
  only<K extends M["kind"]>(what: string, ...kinds: readonly K[]): Field<Of<M, K>> {
    const check = (known: boolean): void => {
      if (!known) throw new RangeError(`unknown ${what}`);
    };
    const numbers = kinds.map((kind) => this.numbers[kind]);
    return {
      write: (message) => {
        check(kinds.includes(message.kind as K));
        return this.write(message);
      },
      read: (value) => {
        const fields = readList(value);
        check(numbers.includes(fields[0] as number));
        return this.read(fields) as Of<M, K>;
      },
    };
  }
}
