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

/** A record as its store keeps it: one change, in that store's own bytes. */
type Kept = Uint8Array;

/**
 * The changes of one revision in the order of execution: a change's place here is its sub revision. Each is made when it is
 * asked for, so that a revision of thousands costs no more than what is read of it; all stay, whatever is evicted.
 */
export class Changes {
  readonly length: number;
  readonly #revision: number;
  readonly #kept: Kept | readonly Kept[];
  readonly #told: (revision: number, record: Kept) => Change;

  constructor(revision: number, kept: Kept | readonly Kept[], told: (revision: number, record: Kept) => Change) {
    this.length = kept instanceof Uint8Array ? 1 : kept.length;
    this.#revision = revision;
    this.#kept = kept;
    this.#told = told;
  }

  at(sub: number): Change {
    const kept = this.#kept;
    return this.#told(this.#revision, kept instanceof Uint8Array ? kept : kept[sub]!);
  }

  *[Symbol.iterator](): Generator<Change> {
    for (let sub = 0; sub < this.length; sub++) yield this.at(sub);
  }
}

/** What takes the place of an evicted revision until the array is cut. */
const EVICTED: readonly Kept[] = [];

/** What one record weighs beside its bytes: the objects that hold them (measured). */
const OVERHEAD = 250;

export class History {
  readonly #budget: number;
  readonly #told: (revision: number, record: Kept) => Change;
  /** By revision, from `#first` on; before `#head` all are evicted. Most revisions are one change. */
  #revisions: (Kept | readonly Kept[])[] = [];
  #head = 0;
  #bytes = 0;
  /** Events of all revisions from this one on are here. */
  #first: number;
  #next: number;
  #staged: Kept[] | undefined = [];
  #stagedBytes = 0;

  /** `next` is the first revision that will be told; `told` makes a change of its record. */
  constructor(budgetBytes: number, next: number, told: (revision: number, record: Uint8Array) => Change) {
    this.#budget = budgetBytes;
    this.#first = next;
    this.#next = next;
    this.#told = told;
  }

  /** First revision whose events are all here. Above the store's revision if none are. */
  get first(): number {
    return this.#first;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The next change of the revision being made. One revision larger than the budget is not kept at all. */
  stage(record: Uint8Array): void {
    if (this.#staged === undefined) return;
    this.#stagedBytes += weight(record);
    if (this.#stagedBytes > this.#budget) this.#staged = undefined;
    else this.#staged.push(record);
  }

  /** The staged changes became `revision`: all of it, or, if it was too large, a gap that only the state can fill. */
  publish(revision: number): void {
    const staged = this.#staged;
    const bytes = this.#stagedBytes;
    this.#stagedBytes = 0;
    this.#next = revision + 1;
    if (staged === undefined) {
      this.#staged = [];
      this.#revisions = [];
      this.#head = 0;
      this.#bytes = 0;
      this.#first = this.#next;
      return;
    }
    if (staged.length === 1) {
      this.#revisions.push(staged.pop()!);
    } else {
      this.#revisions.push(staged);
      this.#staged = [];
    }
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
    const kept = this.#revisions[this.#head + (revision - this.#first)]!;
    return new Changes(revision, kept, this.#told);
  }

  #evict(): void {
    const kept = this.#revisions[this.#head]!;
    if (kept instanceof Uint8Array) this.#bytes -= weight(kept);
    else for (const record of kept) this.#bytes -= weight(record);
    // So that the evicted bytes can be collected before the array is cut.
    this.#revisions[this.#head] = EVICTED;
    this.#head += 1;
    this.#first += 1;
  }
}

function weight(record: Kept): number {
  return record.length + OVERHEAD;
}
