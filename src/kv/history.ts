/**
 * The newest events by revision, within a budget of bytes: what watches read as long as they keep up. Older events are
 * read from the state, and below the compact revision nowhere.
 */
import type { KeyValue } from "../protocol/key-value.ts";

/** A key's change. A tombstone has version 0 and no value. Bytes are shared with whoever made the change: read only. */
export interface Change {
  readonly kv: KeyValue;
  /** Rank within its revision: the order of execution. */
  readonly sub: number;
}

interface Batch {
  readonly changes: readonly Change[];
  readonly bytes: number;
}

/** What takes the place of an evicted batch until the array is cut. */
const EVICTED: Batch = { changes: [], bytes: 0 };

/** What one change weighs beside its bytes: its objects, and the views and buffers that hold the bytes. */
const OVERHEAD = 500;

export class History {
  readonly #budget: number;
  #batches: Batch[] = [];
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

  /** One change of the revision being made. One revision larger than the budget is not kept at all. */
  stage(kv: KeyValue, sub: number): void {
    if (this.#staged === undefined) return;
    this.#stagedBytes += kv.key.length + kv.value.length + OVERHEAD;
    if (this.#stagedBytes > this.#budget) this.#staged = undefined;
    else this.#staged.push({ kv, sub });
  }

  /** The staged changes became `revision`: all of it, or, if it was too large, a gap that only the state can fill. */
  publish(revision: number): void {
    const changes = this.#staged;
    const bytes = this.#stagedBytes;
    this.#staged = [];
    this.#stagedBytes = 0;
    this.#next = revision + 1;
    if (changes === undefined) {
      this.#batches = [];
      this.#head = 0;
      this.#bytes = 0;
      this.#first = this.#next;
      return;
    }
    // A copy of exact size: an array that was pushed to has room for sixteen more, and most revisions are one change.
    this.#batches.push({ changes: changes.length === 1 ? [changes[0]!] : changes.slice(), bytes });
    this.#bytes += bytes;
    while (this.#bytes > this.#budget) this.#evict();
    if (this.#head > 1024 && this.#head * 2 > this.#batches.length) {
      this.#batches = this.#batches.slice(this.#head);
      this.#head = 0;
    }
  }

  /** The changes of one revision in their order; `undefined` if it is not here (any more, or yet). */
  changesAt(revision: number): readonly Change[] | undefined {
    if (revision < this.#first || revision >= this.#next) return undefined;
    return this.#batches[this.#head + (revision - this.#first)]?.changes;
  }

  #evict(): void {
    this.#bytes -= this.#batches[this.#head]!.bytes;
    // So that the evicted bytes can be collected before the array is cut.
    this.#batches[this.#head] = EVICTED;
    this.#head += 1;
    this.#first += 1;
  }
}
