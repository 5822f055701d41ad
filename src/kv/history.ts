/**
 * The newest events by revision, within a budget of bytes: what watches read as long as they keep up. Older events are
 * read from the state, and below the compact revision nowhere.
 */
import type { KeyValue } from "../protocol/key-value.ts";

/** A key-value as a revision left it. A tombstone has version 0 and no value. */
export interface Change extends KeyValue {
  /** Of a tombstone: the key went because its lease expired, not because somebody deleted it or revoked the lease. */
  readonly expired?: true;
}

/**
 * The changes of one revision in the order of execution: a change's place here is its sub revision. Bytes are shared
 * with whoever made the change: read only.
 */
export type Changes = readonly Change[];

/** What takes the place of an evicted revision until the array is cut. */
const EVICTED: Changes = [];

/** What one change weighs beside its bytes: its objects, and the views and buffers that hold the bytes (measured). */
const OVERHEAD = 500;

export function weightOf({ key, value }: KeyValue): number {
  return key.length + value.length + OVERHEAD;
}

export class History {
  readonly #budget: number;
  /** By revision, from `#first` on; before `#head` all are evicted. */
  #revisions: Changes[] = [];
  #head = 0;
  #bytes = 0;
  /** Events of all revisions from this one on are here. */
  #first: number;
  #next: number;
  #staged: Change[] | undefined = [];
  #stagedBytes = 0;

  /** `next` is the first revision that will be told. */
  constructor(budgetBytes: number, next: number) {
    this.#budget = budgetBytes;
    this.#first = next;
    this.#next = next;
  }

  /** First revision whose events are all here. Above the store's revision if none are. */
  get first(): number {
    return this.#first;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The next change of the revision being made. One revision larger than the budget is not kept at all. */
  stage(kv: Change): void {
    if (this.#staged === undefined) return;
    this.#stagedBytes += weightOf(kv);
    if (this.#stagedBytes > this.#budget) this.#staged = undefined;
    else this.#staged.push(kv);
  }

  /** The staged changes became `revision`: all of it, or, if it was too large, a gap that only the state can fill. */
  publish(revision: number): void {
    const changes = this.#staged;
    const bytes = this.#stagedBytes;
    this.#staged = [];
    this.#stagedBytes = 0;
    this.#next = revision + 1;
    if (changes === undefined) {
      this.#revisions = [];
      this.#head = 0;
      this.#bytes = 0;
      this.#first = this.#next;
      return;
    }
    // A copy of exact size: an array that was pushed to has room for sixteen more, and most revisions are one change.
    this.#revisions.push(changes.length === 1 ? [changes[0]!] : changes.slice());
    this.#bytes += bytes;
    while (this.#bytes > this.#budget) this.#evict();
    if (this.#head > 1024 && this.#head * 2 > this.#revisions.length) {
      this.#revisions = this.#revisions.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The changes of one revision; `undefined` if it is not here (any more, or yet). */
  changesAt(revision: number): Changes | undefined {
    if (revision < this.#first || revision >= this.#next) return undefined;
    return this.#revisions[this.#head + (revision - this.#first)];
  }

  #evict(): void {
    for (const kv of this.#revisions[this.#head]!) this.#bytes -= weightOf(kv);
    // So that the evicted bytes can be collected before the array is cut.
    this.#revisions[this.#head] = EVICTED;
    this.#head += 1;
    this.#first += 1;
  }
}
