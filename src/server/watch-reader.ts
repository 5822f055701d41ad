/**
 * Reads what a watcher has not seen yet, as whole revisions in order: from the history where that still has them, else
 * from the state. In slices; the caller keeps the revisions readable by a pin (`pinFor`) until the batch is done.
 */
import { toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Change, Changes } from "../kv/history.ts";
import type { Span } from "../kv/range.ts";
import { type Budget, type Slices, sortInSlices } from "../kv/slices.ts";
import type { Store } from "../kv/store.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import { type WatchEvent, weightOf } from "../protocol/watch.ts";

/** What watches read; the machine provides it. */
export interface WatchSource {
  readonly store: Store;
  /** A record that may not be there. A tombstone has version 0. Throws `STATE_CORRUPT` if it is there and damaged. */
  find(main: number, sub: number): Change | undefined;
}

export type { WatchEvent };

/** What a watcher wants to see. */
export interface Selection {
  readonly span: Span;
  readonly noPut: boolean;
  readonly noDelete: boolean;
  readonly prevKv: boolean;
}

export interface Batch {
  readonly events: WatchEvent[];
  bytes: number;
  /** First revision that the batch says nothing about. */
  next: number;
  /** It began in the history: the watcher keeps up. */
  readonly isLive: boolean;
}

/** A batch ends with the revision in which it reaches one of these. */
const BATCH_EVENTS = 128;
const BATCH_BYTES = 512 << 10;
const BATCH_REVISIONS = 1_000;

/** A span with at most so many keys is read key by key; a wider one revision by revision. */
const NARROW_KEYS = 1_024;

/** Keeps every record that a read from `next` on needs, whatever is compacted meanwhile. `next` is not compacted yet. */
export function pinFor({ store }: WatchSource, next: number): { readonly pinned: number; readonly unpin: () => void } {
  const pinned = Math.max(next - 1, store.compactRevision);
  return { pinned, unpin: store.pin(pinned) };
}

export const holds = ({ single, low, high }: Span, key: string): boolean =>
  single ? key === low : low <= key && key < high;

export class BatchReader {
  readonly #source: WatchSource;
  readonly #selection: Selection;
  readonly #batch: Batch;
  readonly #until: number;
  /** Above it, nothing can be dropped. At it a compaction may have dropped all but a key's last record. */
  readonly #pinned: number;
  readonly #budget: Budget;

  constructor(source: WatchSource, selection: Selection, next: number, pinned: number, budget: Budget) {
    this.#source = source;
    this.#selection = selection;
    this.#until = source.store.revision;
    this.#pinned = pinned;
    this.#budget = budget;
    this.#batch = { events: [], bytes: 0, next, isLive: next >= source.store.history.first };
  }

  *read(): Slices<Batch> {
    const batch = this.#batch;
    const names = batch.isLive ? undefined : this.#names(NARROW_KEYS);
    if (names !== undefined) {
      yield* this.#readKeys(names);
      return batch;
    }
    const end = Math.min(this.#until, batch.next + BATCH_REVISIONS - 1);
    while (batch.next <= end && !this.#isFull()) {
      const changes = this.#source.store.history.changesAt(batch.next);
      if (changes !== undefined) yield* this.#readChanges(batch.next, changes);
      else if (batch.next > this.#pinned) yield* this.#readRevision(batch.next);
      else yield* this.#readCompacted(batch.next);
      batch.next += 1;
    }
    return batch;
  }

  /** One revision of the history: all of it, whatever a compaction dropped meanwhile. */
  *#readChanges(revision: number, changes: Changes): Slices<void> {
    const { span } = this.#selection;
    // Among the many changes of one revision, those of a few keys are found through the keys.
    const isLong = span.single ? changes.length > 1 : changes.length > NARROW_KEYS;
    const names = isLong && revision > this.#pinned ? this.#names(NARROW_KEYS) : undefined;
    if (names !== undefined) {
      const subs: number[] = [];
      for (const name of names) {
        this.#recordsAt(name, revision, subs);
        this.#budget.left -= 1;
        if (this.#budget.left <= 0) yield;
      }
      subs.sort((a, b) => a - b);
      for (const sub of subs) yield* this.#take(changes[sub]!);
      return;
    }
    for (const kv of changes) {
      this.#budget.left -= 1;
      if (holds(span, toByteString(kv.key))) yield* this.#take(kv);
      if (this.#budget.left <= 0) yield;
    }
  }

  /** One revision of the state, record by record: all are there, numbered from 0. */
  *#readRevision(revision: number): Slices<void> {
    // An empty store stands at revision 1, which changed nothing.
    if (revision <= 1) return;
    for (let sub = 0; ; sub++) {
      const kv = this.#source.find(revision, sub);
      if (kv === undefined) {
        if (sub > 0) return;
        throw revisionMissing(revision);
      }
      if (holds(this.#selection.span, toByteString(kv.key))) yield* this.#take(kv);
      else this.#budget.left -= 1;
      if (this.#budget.left <= 0) yield;
    }
  }

  /** The revision compacted at, whose records may have gaps: where a key has two of them, the first may be gone. */
  *#readCompacted(revision: number): Slices<void> {
    let subs: number[] = [];
    const { store } = this.#source;
    yield* store.walk(this.#selection.span, this.#budget, (name) => {
      this.#recordsAt(name, revision, subs);
    });
    subs = yield* sortInSlices(subs, (a, b) => a - b, this.#budget);
    for (const sub of subs) yield* this.#take(store.records.read(revision, sub));
  }

  /** A few keys, from the state: their records are known, so nothing else is read. */
  *#readKeys(names: readonly string[]): Slices<void> {
    const { store } = this.#source;
    const { noPut, noDelete } = this.#selection;
    const batch = this.#batch;
    /** All records up to here are among those found. */
    let complete = this.#until;
    let found: { readonly main: number; readonly sub: number }[] = [];
    for (const name of names) {
      const index = store.keys.get(name);
      this.#budget.left -= 1;
      if (index !== undefined) {
        let taken = 0;
        let last = 0;
        let record = Math.max(index.find(batch.next - 1) + 1, index.firstKept(this.#pinned));
        for (; record < index.count; record++) {
          const main = index.mainOf(record);
          if (main > this.#until) break;
          if (taken >= BATCH_EVENTS && main !== last) {
            complete = Math.min(complete, last);
            break;
          }
          taken += 1;
          last = main;
          this.#budget.left -= 1;
          if (index.versionOf(record) === 0 ? noDelete : noPut) continue;
          found.push({ main, sub: index.subOf(record) });
        }
      }
      if (this.#budget.left <= 0) yield;
    }
    found = yield* sortInSlices(found, (a, b) => a.main - b.main || a.sub - b.sub, this.#budget);
    let done = 0;
    for (const { main, sub } of found) {
      if (main > complete) break;
      if (main !== done && this.#isFull()) {
        batch.next = main;
        return;
      }
      done = main;
      yield* this.#take(store.records.read(main, sub));
    }
    batch.next = complete + 1;
  }

  *#take(kv: Change): Slices<void> {
    const { noPut, noDelete, prevKv } = this.#selection;
    this.#budget.left -= 1;
    const isDelete = kv.version === 0;
    if (isDelete ? noDelete : noPut) return;
    const previous = prevKv ? this.#previous(kv) : undefined;
    const batch = this.#batch;
    const event: WatchEvent =
      kv.expired === true
        ? { type: "delete", kv, prevKv: previous, expired: true }
        : { type: isDelete ? "delete" : "put", kv, prevKv: previous };
    batch.events.push(event);
    batch.bytes += weightOf(event);
    if (this.#budget.left <= 0) yield;
  }

  /** The key as it was before the event's revision; none if it is created there, or if that is compacted (section 4.5). */
  #previous(kv: KeyValue): KeyValue | undefined {
    const { store } = this.#source;
    const at = kv.modRevision - 1;
    if (kv.version === 1 || at < store.compactRevision) return undefined;
    const index = store.keys.get(toByteString(kv.key));
    const record = index?.findLive(at) ?? -1;
    if (index === undefined || record < 0) return undefined;
    this.#budget.left -= 1;
    return store.records.read(index.mainOf(record), index.subOf(record));
  }

  /** Adds the sub revisions of one key's records in a revision, without any that a compaction may have dropped. */
  #recordsAt(name: string, revision: number, subs: number[]): number[] {
    const index = this.#source.store.keys.get(name);
    if (index === undefined) return subs;
    const first = index.firstKept(this.#pinned);
    for (let record = index.find(revision); record >= first && index.mainOf(record) === revision; record--) {
      subs.push(index.subOf(record));
    }
    return subs;
  }

  #isFull(): boolean {
    return this.#batch.events.length >= BATCH_EVENTS || this.#batch.bytes >= BATCH_BYTES;
  }

  /** The keys of the span that have any record; `undefined` if there are more than `max`. */
  #names(max: number): readonly string[] | undefined {
    const { single, low, high } = this.#selection.span;
    if (single) return [low];
    const names = this.#source.store.keys.page(low, high, max + 1);
    this.#budget.left -= names.length >>> 4;
    return names.length > max ? undefined : names;
  }
}

/** Every revision above the compact revision has a record: it exists because something changed. */
export function revisionMissing(revision: number): StoreError {
  return new StoreError("STATE_CORRUPT", {
    message: `quorate: the state database is damaged: revision ${revision} is missing`,
  });
}
