/**
 * One key's life: which records it has and what each says, but for the value. Keys, counts and revisions are therefore
 * answered without reading any record.
 *
 * The newest record stands in plain fields and the older ones in one flat array: a key that was put once is one object,
 * and a million objects more would cost the collector a quarter of a second (design section 2).
 */
import { fail } from "../base/assert.ts";

/** Numbers per older record: main, sub, createRevision, version, bytes. */
const WIDTH = 5;

export class KeyIndex {
  /** The newest record's place: main revision, and its rank within that revision. */
  main: number;
  sub: number;
  /** 0 for a tombstone. */
  create: number;
  /** 0 for a tombstone: the key does not exist from there on. */
  version: number;
  /** As its store keeps it: what dropping it frees, so that a drop need not read it. */
  bytes: number;
  #older: number[] | undefined = undefined;

  constructor(main: number, sub: number, create: number, version: number, bytes: number) {
    this.main = main;
    this.sub = sub;
    this.create = create;
    this.version = version;
    this.bytes = bytes;
  }

  get isLive(): boolean {
    return this.version !== 0;
  }

  /** Records are numbered by age, 0 is the oldest kept, `count - 1` the newest. */
  get count(): number {
    return this.#older === undefined ? 1 : this.#older.length / WIDTH + 1;
  }

  append(main: number, sub: number, create: number, version: number, bytes: number): void {
    if (main < this.main || (main === this.main && sub <= this.sub)) {
      fail("kv-order", `record ${main}.${sub} does not follow ${this.main}.${this.sub}`);
    }
    this.#older ??= [];
    this.#older.push(this.main, this.sub, this.create, this.version, this.bytes);
    this.main = main;
    this.sub = sub;
    this.create = create;
    this.version = version;
    this.bytes = bytes;
  }

  /** Number of the newest record at or below main revision `at`, a tombstone too; -1 if there is none. */
  find(at: number): number {
    const older = this.#older;
    const olderCount = older === undefined ? 0 : older.length / WIDTH;
    if (this.main <= at) return olderCount;
    if (older === undefined) return -1;
    let low = 0;
    let high = olderCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (older[middle * WIDTH]! <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Number of the record that a read at `at` sees; -1 if the key does not exist then. */
  findLive(at: number): number {
    if (this.main <= at) return this.version === 0 ? -1 : this.count - 1;
    const record = this.find(at);
    return record >= 0 && this.versionOf(record) !== 0 ? record : -1;
  }

  mainOf(record: number): number {
    return this.#field(record, 0) ?? this.main;
  }

  subOf(record: number): number {
    return this.#field(record, 1) ?? this.sub;
  }

  createOf(record: number): number {
    return this.#field(record, 2) ?? this.create;
  }

  versionOf(record: number): number {
    return this.#field(record, 3) ?? this.version;
  }

  bytesOf(record: number): number {
    return this.#field(record, 4) ?? this.bytes;
  }

  /**
   * Number of the first record that a compaction at `at` keeps; `count` if none is.
   *
   *    put@5 put@6 del@7 put@9        († is a tombstone)
   *    compact(6)  ->  6 7† 9         the newest at or below 6 still answers reads at 6
   *    compact(7)  ->  7† 9           a watch may still start at 7 and must see the delete (B52)
   *    compact(8)  ->  9              now the finished generation leaves no trace
   */
  firstKept(at: number): number {
    const record = this.find(at);
    if (record < 0) return 0;
    return this.versionOf(record) === 0 && this.mainOf(record) < at ? record + 1 : record;
  }

  /** Forgets the records before `first`, which must leave at least one. */
  dropBefore(first: number): void {
    const older = this.#older;
    if (first === 0 || older === undefined) return;
    if (first * WIDTH >= older.length) {
      this.#older = undefined;
      return;
    }
    // In place: a compaction of all keys would else leave as much garbage as it frees. By hand: three to twelve times as fast
    // as `copyWithin` on an array.
    for (let to = 0, from = first * WIDTH; from < older.length; to++, from++) older[to] = older[from]!;
    older.length -= first * WIDTH;
  }

  #field(record: number, field: number): number | undefined {
    const older = this.#older;
    if (older === undefined || record * WIDTH >= older.length) return undefined;
    return older[record * WIDTH + field];
  }
}
