/**
 * The replicated log as the core sees it: everything above the base, in memory, the tail of which is not written yet.
 * What is durable is known to writes.ts; what is committed to state.ts.
 */
import { fail } from "../base/assert.ts";
import type { LogIndex, Term } from "../base/ids.ts";
import { logIndex } from "../base/ids.ts";
import type { Entry, EntryId } from "./entry.ts";

/** Bytes an entry costs beside its data, in a message (codec.ts) and in every limit that counts bytes. */
export const ENTRY_OVERHEAD = 21;

/** U2: the one size function, for growing and shrinking alike. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD;
}

/** What the next write has to bring to disk. */
export interface Unwritten {
  readonly cutFrom: LogIndex | undefined;
  readonly entries: readonly Entry[];
}

const NONE: readonly Entry[] = [];

export class RaftLog {
  #base: EntryId;
  #entries: Entry[];
  /** J5: first index and term of each run of equal terms. The first run begins at the base. */
  #runFirst: number[] = [];
  #runTerm: Term[] = [];
  /** Indexes of configuration changes, ascending (M9 asks often). */
  #confIndexes: number[] = [];
  /** First index not handed out for writing. */
  #unwrittenFrom: number;
  /** Lowest index at which something handed out for writing was cut away since the last take. */
  #cutFrom: number | undefined;

  constructor(base: EntryId, entries: readonly Entry[]) {
    this.#base = { term: base.term, index: base.index };
    this.#entries = [];
    this.#runFirst.push(base.index);
    this.#runTerm.push(base.term);
    this.#unwrittenFrom = base.index + 1;
    for (const entry of entries) this.append(entry);
    this.#unwrittenFrom = this.lastIndex + 1;
  }

  get base(): EntryId {
    return this.#base;
  }

  get lastIndex(): LogIndex {
    return (this.#base.index + this.#entries.length) as LogIndex;
  }

  get lastTerm(): Term {
    return this.#runTerm[this.#runTerm.length - 1]!;
  }

  get hasUnwritten(): boolean {
    return this.#cutFrom !== undefined || this.#unwrittenFrom <= this.lastIndex;
  }

  /** `undefined` below the base and above the end: unknown is never a conflict (A2, K2). */
  termAt(index: number): Term | undefined {
    const at = index - this.#base.index;
    if (at === 0) return this.#base.term;
    return at > 0 ? this.#entries[at - 1]?.term : undefined;
  }

  entryAt(index: number): Entry | undefined {
    const at = index - this.#base.index - 1;
    return at < 0 ? undefined : this.#entries[at];
  }

  /** V4: contiguous, terms never fall. */
  append(entry: Entry): void {
    if (entry.index !== this.lastIndex + 1) fail("V4", `entry ${entry.index} cannot follow ${this.lastIndex}`);
    if (entry.term < this.lastTerm) fail("V4", `term ${entry.term} at ${entry.index} falls below ${this.lastTerm}`);
    if (entry.term !== this.lastTerm || this.#entries.length === 0) {
      // The base has a run of its own, so that a release always finds its boundary.
      this.#runFirst.push(entry.index);
      this.#runTerm.push(entry.term);
    }
    this.#entries.push(entry);
    if (entry.kind === "confChange") this.#confIndexes.push(entry.index);
  }

  /** W3: everything at or above `index` goes. The caller has checked that nothing of it is committed (V3). */
  truncateFrom(index: number): void {
    if (index <= this.#base.index) fail("V3", `cut at ${index}, base ${this.#base.index}`);
    if (index > this.lastIndex) return;
    this.#entries.length = index - this.#base.index - 1;
    while (this.#runFirst.length > 1 && this.#runFirst[this.#runFirst.length - 1]! >= index) {
      this.#runFirst.pop();
      this.#runTerm.pop();
    }
    while (this.#confIndexes.length > 0 && this.#confIndexes[this.#confIndexes.length - 1]! >= index) {
      this.#confIndexes.pop();
    }
    if (index >= this.#unwrittenFrom) return;
    this.#unwrittenFrom = index;
    if (this.#cutFrom === undefined || index < this.#cutFrom) this.#cutFrom = index;
  }

  /** N9: the whole log goes, whatever stood above the new base. The write that carries the install replaces all. */
  reset(base: EntryId): void {
    this.#base = { term: base.term, index: base.index };
    this.#entries = [];
    this.#runFirst = [base.index];
    this.#runTerm = [base.term];
    this.#confIndexes = [];
    this.#unwrittenFrom = base.index + 1;
    this.#cutFrom = undefined;
  }

  /** K1, K2: `index` becomes the base; its term stays known. */
  release(index: LogIndex): void {
    const term = this.termAt(index);
    if (term === undefined || index > this.lastIndex) fail("K1", `release of unknown entry ${index}`);
    this.#entries = this.#entries.slice(index - this.#base.index);
    this.#base = { term, index };
    let keep = 0;
    while (keep < this.#runFirst.length && this.#runFirst[keep]! <= index) keep += 1;
    const first = this.#entries[0];
    const splits = first !== undefined && this.#runFirst[keep] !== first.index;
    const runFirst: number[] = [index];
    const runTerm: Term[] = [term];
    if (splits) {
      runFirst.push(first.index);
      runTerm.push(first.term);
    }
    for (let i = keep; i < this.#runFirst.length; i++) {
      runFirst.push(this.#runFirst[i]!);
      runTerm.push(this.#runTerm[i]!);
    }
    this.#runFirst = runFirst;
    this.#runTerm = runTerm;
    let confs = 0;
    while (confs < this.#confIndexes.length && this.#confIndexes[confs]! <= index) confs += 1;
    if (confs > 0) this.#confIndexes = this.#confIndexes.slice(confs);
  }

  /**
   * A7, A9: the largest index at or below `index` whose term is at most `term`. One below the base if there is none:
   * what lies there is unknown, which `termAt` then says.
   */
  floor(index: number, term: number): number {
    let limit = Math.min(index, this.lastIndex);
    for (let run = this.#runFirst.length - 1; run >= 0; run--) {
      const first = this.#runFirst[run]!;
      if (first > limit) continue;
      if (this.#runTerm[run]! <= term) return limit;
      limit = first - 1;
    }
    return Math.max(0, Math.min(limit, this.#base.index - 1));
  }

  /** A3: how many of `entries` are already here, from the first on. All of them: nothing to append. */
  matching(entries: readonly Entry[]): number {
    let i = 0;
    while (i < entries.length && this.termAt(entries[i]!.index) === entries[i]!.term) i += 1;
    return i;
  }

  /** M9: is there a configuration change in (after, upTo]? */
  hasConfChange(after: number, upTo: number): boolean {
    for (const index of this.#confIndexes) {
      if (index > upTo) return false;
      if (index > after) return true;
    }
    return false;
  }

  /** F5: entries from `first` on, at most `maxBytes` of them and always one. A copy of the array (J3). */
  from(first: number, maxBytes: number): readonly Entry[] {
    const start = first - this.#base.index - 1;
    if (start < 0) fail("F6", `read of released entry ${first}`);
    if (start >= this.#entries.length) return NONE;
    let end = start;
    let bytes = 0;
    while (end < this.#entries.length) {
      bytes += entryBytes(this.#entries[end]!);
      if (bytes > maxBytes && end > start) break;
      end += 1;
    }
    return this.#entries.slice(start, end);
  }

  /** What no write has taken yet; afterwards it counts as handed out. */
  takeUnwritten(): Unwritten {
    const start = this.#unwrittenFrom - this.#base.index - 1;
    const entries = start < this.#entries.length ? this.#entries.slice(start) : NONE;
    const cutFrom = this.#cutFrom === undefined ? undefined : logIndex(this.#cutFrom);
    this.#cutFrom = undefined;
    this.#unwrittenFrom = this.lastIndex + 1;
    return { cutFrom, entries };
  }
}
