/**
 * Drops, slice by slice, the records that a compaction allows to forget (etcd-semantics 3.2, 3.3). It is each member's
 * own affair: what a read may see was settled when the compaction was applied.
 *
 * Safe to break off anywhere. A key's records go oldest first, so its tombstone goes last: were it the other way, a
 * crash in between would bring a deleted key back.
 */
import type { KeyIndex } from "./key-index.ts";
import { TOP } from "./sorted-map.ts";
import type { Store } from "./store.ts";

/** Keys taken from the index at once. */
const PAGE = 256;

export class Compactor {
  readonly #store: Store;
  readonly #onFinished: (revision: number) => void;
  #finished: number;
  /** What this pass drops up to, and the first key it has not done with. */
  #target: number;
  #next = "";
  /** Records of the key `#next` dropped already. */
  #dropped = 0;

  /** `finished`: the revision up to which everything was dropped in an earlier run; -1 if never. */
  constructor(store: Store, finished: number, onFinished: (revision: number) => void) {
    this.#store = store;
    this.#finished = finished;
    this.#target = finished;
    this.#onFinished = onFinished;
  }

  get pending(): boolean {
    return this.#finished < this.#store.compactRevision;
  }

  get finished(): number {
    return this.#finished;
  }

  /** Visits at most `budget` keys or records; true = nothing is left to drop. A pinned read may hold it back. */
  step(budget: number): boolean {
    if (!this.pending) return true;
    if (this.#target <= this.#finished) {
      // A new pass. No reader can pin a revision below its target later: reads below the compact revision are refused.
      this.#target = this.#store.droppable;
      if (this.#target <= this.#finished) return false;
      this.#next = "";
      this.#dropped = 0;
    }
    let left = Math.max(1, budget);
    while (left > 0) {
      const max = Math.min(PAGE, left);
      const page = this.#store.keys.page(this.#next, TOP, max);
      left -= 1;
      for (const key of page) {
        this.#next = key;
        left = this.#compactKey(key, this.#store.keys.get(key)!, left - 1);
        if (this.#dropped > 0) return false;
        this.#next = key + "\0";
        if (left <= 0) return false;
      }
      if (page.length < max) {
        this.#finished = this.#target;
        this.#onFinished(this.#finished);
        return !this.pending;
      }
    }
    return false;
  }

  /** Leaves `#dropped` above 0 if the key has more records to drop than the budget allows. */
  #compactKey(key: string, index: KeyIndex, left: number): number {
    const end = index.firstKept(this.#target);
    while (this.#dropped < end) {
      const record = this.#dropped;
      this.#store.records.drop(index.mainOf(record), index.subOf(record), index.bytesOf(record));
      this.#dropped += 1;
      left -= 1;
      if (left <= -PAGE && this.#dropped < end) return left;
    }
    if (end === index.count) this.#store.keys.delete(key);
    else index.dropBefore(end);
    this.#dropped = 0;
    return left;
  }
}
