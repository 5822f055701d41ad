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
  /** First revision that the batch does not tell whole. */
  next: number;
  /** Of that revision, the first change that is not told; 0: it says nothing about it. */
  sub: number;
  /** It began in the history: the watcher keeps up. */
  readonly isLive: boolean;
}

/** A batch ends with the revision in which it reaches one of these. */
const BATCH_EVENTS = 128;
const BATCH_BYTES = 512 << 10;
const BATCH_REVISIONS = 1_000;
/**
 * A revision of more than this is told in parts to those who take parts, each a batch of its own: so a range delete of a
 * million keys neither holds the loop while it is encoded, nor fills a connection that is not read.
 */
const PART_EVENTS = 1_024;

/** A span with at most so many keys is read key by key; a wider one revision by revision. */
const NARROW_KEYS = 1_024;

/** What a key looked up costs, in revisions of the history looked at. */
const REVISIONS_PER_KEY = 4;

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
  /** The last revision that is read. What was begun in parts is ended first: whoever gets parts keeps them until then. */
  readonly #until: number;
  /** Above it, nothing can be dropped. At it a compaction may have dropped all but a key's last record. */
  readonly #pinned: number;
  readonly #budget: Budget;
  /** Bytes of a part; `undefined`: a revision is told whole. */
  #partBytes: number | undefined;
  /** Of the first revision, where an earlier batch ended. */
  #from: number;

  constructor(
    source: WatchSource,
    selection: Selection,
    from: Pick<Batch, "next" | "sub">,
    pinned: number,
    budget: Budget,
    partBytes?: number,
  ) {
    this.#source = source;
    this.#selection = selection;
    this.#until = from.sub > 0 ? from.next : source.store.revision;
    this.#pinned = pinned;
    this.#budget = budget;
    this.#from = from.sub;
    this.#partBytes = partBytes === undefined ? undefined : Math.min(partBytes, BATCH_BYTES);
    this.#batch = { events: [], bytes: 0, next: from.next, sub: 0, isLive: from.next >= source.store.history.first };
  }

  *read(): Slices<Batch> {
    const batch = this.#batch;
    // Of the revision compacted at only the history has everything.
    if (batch.isLive && batch.next <= this.#pinned) yield* this.#readRevisions(batch.next);
    if (batch.sub > 0 || this.#isFull()) return batch;
    const names = this.#names(this.#keysMax());
    if (names === undefined) yield* this.#readRevisions(Math.min(this.#until, batch.next + BATCH_REVISIONS - 1));
    else yield* this.#readKeys(names);
    return batch;
  }

  /**
   * Up to so many keys are looked up one by one, rather than looking for them in all revisions: in the state a revision may
   * be a disk read; in the history it is cheap, but a watcher that was away may have thousands of them before it.
   */
  #keysMax(): number {
    if (!this.#batch.isLive) return NARROW_KEYS;
    return Math.min(NARROW_KEYS, Math.floor((this.#until - this.#batch.next + 1) / REVISIONS_PER_KEY));
  }

  *#readRevisions(end: number): Slices<void> {
    const batch = this.#batch;
    while (batch.next <= end && !this.#isFull()) {
      const changes = this.#source.store.history.changesAt(batch.next);
      let isWhole: boolean;
      if (changes !== undefined) isWhole = yield* this.#readChanges(batch.next, changes);
      else if (batch.next > this.#pinned) isWhole = yield* this.#readRevision(batch.next);
      else isWhole = yield* this.#readCompacted(batch.next);
      if (!isWhole) return;
      batch.next += 1;
      this.#from = 0;
    }
  }

  /** One revision of the history: all of it, whatever a compaction dropped meanwhile. False: the batch ends within it. */
  *#readChanges(revision: number, changes: Changes): Slices<boolean> {
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
      for (const sub of subs) if (sub >= this.#from && !(yield* this.#take(changes.at(sub), sub))) return false;
      return true;
    }
    for (let sub = this.#from; sub < changes.length; sub++) {
      const kv = changes.at(sub);
      this.#budget.left -= 1;
      if (holds(span, toByteString(kv.key)) && !(yield* this.#take(kv, sub))) return false;
      if (this.#budget.left <= 0) yield;
    }
    return true;
  }

  /** One revision of the state, record by record: all are there, numbered from 0. */
  *#readRevision(revision: number): Slices<boolean> {
    // An empty store stands at revision 1, which changed nothing.
    if (revision <= 1) return true;
    for (let sub = this.#from; ; sub++) {
      const kv = this.#source.find(revision, sub);
      if (kv === undefined) {
        if (sub > 0) return true;
        throw revisionMissing(revision);
      }
      if (!holds(this.#selection.span, toByteString(kv.key))) this.#budget.left -= 1;
      else if (!(yield* this.#take(kv, sub))) return false;
      if (this.#budget.left <= 0) yield;
    }
  }

  /** The revision compacted at, whose records may have gaps: where a key has two of them, the first may be gone. */
  *#readCompacted(revision: number): Slices<boolean> {
    // What is left of it is looked for among all keys: not again for each part.
    this.#partBytes = undefined;
    let subs: number[] = [];
    const { store } = this.#source;
    yield* store.walk(this.#selection.span, this.#budget, (name) => {
      this.#recordsAt(name, revision, subs);
    });
    subs = yield* sortInSlices(subs, (a, b) => a - b, this.#budget);
    for (const sub of subs) if (sub >= this.#from) yield* this.#take(store.records.read(revision, sub), sub);
    return true;
  }

  /** A few keys: their records are known, so nothing else is read. */
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
          if (main === batch.next && index.subOf(record) < this.#from) continue;
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
      const kv = store.history.changesAt(main)?.at(sub) ?? store.records.read(main, sub);
      if (!(yield* this.#take(kv, sub))) {
        batch.next = main;
        return;
      }
    }
    batch.next = complete + 1;
  }

  /** False: the batch ends before this change of its revision. */
  *#take(kv: Change, sub: number): Slices<boolean> {
    const { noPut, noDelete, prevKv } = this.#selection;
    this.#budget.left -= 1;
    const isDelete = kv.version === 0;
    if (isDelete ? noDelete : noPut) return true;
    const previous = prevKv ? this.#previous(kv) : undefined;
    const batch = this.#batch;
    const event: WatchEvent =
      kv.expired === true
        ? { type: "delete", kv, prevKv: previous, expired: true }
        : { type: isDelete ? "delete" : "put", kv, prevKv: previous };
    const weight = weightOf(event);
    if (this.#partBytes !== undefined && batch.events.length > 0) {
      if (batch.events.length >= PART_EVENTS || batch.bytes + weight >= this.#partBytes) {
        batch.sub = sub;
        return false;
      }
    }
    batch.events.push(event);
    batch.bytes += weight;
    if (this.#budget.left <= 0) yield;
    return true;
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
    if (max < 1) return undefined;
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
