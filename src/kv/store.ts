/**
 * The multi-version store: every key at every revision since the last compaction. Owns the key index and the rules of
 * revisions; the records themselves (values above all) live behind `RecordStore`.
 *
 * Work that may be long is written as slices. A write becomes visible at its end, in one step: between its slices reads
 * go on at the revisions below it.
 */
import { fail } from "../base/assert.ts";
import { compareBytes, EMPTY, fromByteString, toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, NO_LEASE, type Revision, revision } from "../base/ids.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { PutRequest, RangeRequest } from "../protocol/requests.ts";
import type { RangeResult } from "../protocol/responses.ts";
import { type Change, History } from "./history.ts";
import { KeyIndex } from "./key-index.ts";
import { type Span, spanOf } from "./range.ts";
import { type ResultRoom, UNBOUNDED } from "./result-room.ts";
import { type Budget, type Slices, sortInSlices } from "./slices.ts";
import type { SortedMap } from "./sorted-map.ts";

/** Where records live, by (main, sub). Implemented by `machine/records.ts`. */
export interface RecordStore {
  /** A tombstone comes back with version 0. Throws `STATE_CORRUPT` if there is none: the index said there is. */
  read(main: number, sub: number): Change;
  /** As `read`, but the bytes are the caller's: the key, which it knows, and a copy of the value. */
  readOwn(main: number, sub: number, key: Uint8Array): Change;
  /** What was written, in a form that only `told` understands. */
  put(kv: KeyValue, sub: number): Uint8Array;
  tombstone(key: Uint8Array, main: number, sub: number, expired: boolean): Uint8Array;
  told(main: number, record: Uint8Array): Change;
  /** `bytes`: the length of what was written. */
  drop(main: number, sub: number, bytes: number): void;
}

export interface StoreState {
  /** Keys in ascending order, with their records. */
  readonly keys: SortedMap<KeyIndex>;
  /** Keys whose newest record is no tombstone. */
  readonly liveKeys: number;
  readonly revision: number;
  readonly compactRevision: number;
}

/** A key-value of a range before its value is read. */
interface Found {
  readonly key: string;
  readonly main: number;
  readonly sub: number;
  readonly create: number;
  readonly version: number;
}

/** Keys taken from the index at once: bounds how far a slice may overrun. */
const PAGE = 256;

export class Store {
  readonly history: History;
  readonly #records: RecordStore;
  readonly #keys: SortedMap<KeyIndex>;
  readonly #pins = new Map<number, number>();
  #revision: Revision;
  #compactRevision: number;
  #liveKeys: number;
  /** Changes made by the open write; -1 if none is open. */
  #changes = -1;
  #liveDelta = 0;

  constructor(records: RecordStore, state: StoreState, historyBytes: number) {
    this.#records = records;
    this.#keys = state.keys;
    this.#revision = revision(state.revision);
    this.#compactRevision = state.compactRevision;
    this.#liveKeys = state.liveKeys;
    this.history = new History(historyBytes, state.revision + 1, (main, record) => records.told(main, record));
  }

  get revision(): Revision {
    return this.#revision;
  }

  /** -1 until the first compaction. */
  get compactRevision(): number {
    return this.#compactRevision;
  }

  /** Keys that exist at the current revision. */
  get liveKeys(): number {
    return this.#liveKeys;
  }

  /** For compaction and hashing, which need every record. Others ask for ranges. */
  get keys(): SortedMap<KeyIndex> {
    return this.#keys;
  }

  get records(): RecordStore {
    return this.#records;
  }

  // --- writes ---

  /** Opens a write at the next revision. One at a time; nothing of it is visible before `endWrite`. */
  beginWrite(): void {
    if (this.#changes >= 0) fail("kv-write", "a write is open");
    this.#changes = 0;
    this.#liveDelta = 0;
  }

  /** True once the open write changed something. */
  get changed(): boolean {
    return this.#changes > 0;
  }

  /** Inside an open write: the revision it stands at. A write that changed nothing moves nothing. */
  get writeRevision(): Revision {
    return this.#changes > 0 ? revision(this.#revision + 1) : this.#revision;
  }

  /** Makes the open write visible. */
  endWrite(): void {
    if (this.#changes > 0) {
      this.#revision = revision(this.#revision + 1);
      this.#liveKeys += this.#liveDelta;
      this.history.publish(this.#revision);
    }
    this.#changes = -1;
  }

  /** Returns what the key was before, where the request asks for it. Its preconditions are checked before. */
  put(request: PutRequest, room: ResultRoom = UNBOUNDED): KeyValue | undefined {
    const { key } = request;
    const name = toByteString(key);
    const main = revision(this.#revision + 1);
    const sub = this.#changes++;
    const index = this.#keys.get(name);
    const live = index?.isLive === true;
    const asked = request.prevKv === true && room.wanted;
    const previous =
      live && (asked || request.ignoreValue || request.ignoreLease)
        ? this.#records.read(index.main, index.sub)
        : undefined;
    const kv: KeyValue = {
      key,
      createRevision: live ? (index.create as Revision) : main,
      modRevision: main,
      version: live ? index.version + 1 : 1,
      value: request.ignoreValue ? (previous?.value ?? EMPTY) : request.value,
      lease: request.ignoreLease ? (previous?.lease ?? NO_LEASE) : ((request.lease ?? NO_LEASE) as LeaseId),
    };
    const record = this.#records.put(kv, sub);
    this.history.stage(record);
    if (index === undefined) {
      this.#keys.insert(name, new KeyIndex(main, sub, main, 1, record.length));
    } else {
      index.append(main, sub, kv.createRevision, kv.version, record.length);
    }
    if (!live) this.#liveDelta += 1;
    return asked && previous !== undefined && room.take(previous) ? previous : undefined;
  }

  /**
   * Number of keys deleted; they go to `previous` as they were, if given, in key order, as long as there is `room`.
   * `expired` marks the events.
   */
  *deleteRange(
    span: Span,
    previous: KeyValue[] | undefined,
    budget: Budget,
    expired: boolean = false,
    room: ResultRoom = UNBOUNDED,
  ): Slices<number> {
    const main = revision(this.#revision + 1);
    let deleted = 0;
    const visit = (name: string, index: KeyIndex): void => {
      if (!index.isLive) return;
      if (previous !== undefined && room.wanted) {
        const kv = this.#records.read(index.main, index.sub);
        if (room.take(kv)) previous.push(kv);
        budget.left -= 1;
      }
      const key = fromByteString(name);
      const sub = this.#changes++;
      const record = this.#records.tombstone(key, main, sub, expired);
      this.history.stage(record);
      index.append(main, sub, 0, 0, record.length);
      this.#liveDelta -= 1;
      deleted += 1;
      budget.left -= 1;
    };
    yield* this.walk(span, budget, visit);
    return deleted;
  }

  // --- reads ---

  /** The record of one key that a read at `at` sees. */
  get(key: Uint8Array, at: number): KeyIndex | undefined {
    const index = this.#keys.get(toByteString(key));
    return index !== undefined && index.findLive(at) >= 0 ? index : undefined;
  }

  /** Every key of the span that has any record, in ascending order. Keys may be added and removed between slices. */
  *walk(span: Span, budget: Budget, visit: (key: string, index: KeyIndex) => unknown): Slices<void> {
    if (span.single) {
      const index = this.#keys.get(span.low);
      budget.left -= 1;
      if (index !== undefined) visit(span.low, index);
      return;
    }
    let low = span.low;
    for (;;) {
      const max = Math.max(1, Math.min(PAGE, budget.left));
      const page = this.#keys.page(low, span.high, max);
      budget.left -= page.length + 1;
      for (const key of page) if (visit(key, this.#keys.get(key)!) === false) return;
      if (page.length < max) return;
      low = page[page.length - 1]! + "\0";
      if (budget.left <= 0) yield;
    }
  }

  /**
   * The revision that a range reads. Throws `FUTURE_REVISION`, `COMPACTED`. `current` is the revision the reader
   * stands at: inside a write that changed something, one above the store's.
   */
  readRevision(requested: number | undefined, current: number): number {
    const wanted = requested ?? 0;
    if (wanted > current) throw new StoreError("FUTURE_REVISION");
    const at = wanted <= 0 ? current : wanted;
    if (at < this.#compactRevision) throw this.compacted();
    return at;
  }

  compacted(): StoreError {
    return new StoreError("COMPACTED", { details: { compactRevision: this.#compactRevision } });
  }

  /** A range of one key, which needs no slices. As `range` answers it; `own`: in bytes that nobody else has. */
  rangeOne(request: RangeRequest, at: number, current: Revision, room: ResultRoom, own: boolean): RangeResult {
    const kvs: KeyValue[] = [];
    const name = toByteString(request.key);
    const index = this.#keys.get(name);
    const record = index === undefined ? -1 : index.findLive(at);
    if (index === undefined || record < 0) return { kind: "range", revision: current, kvs, more: false, count: 0 };
    if (!request.countOnly) {
      const found = foundIn(name, index, record);
      if (filterOf(request)?.(found) !== false) {
        const kv = this.#read(found, request, own);
        if (room.take(kv)) kvs.push(kv);
      }
    }
    return { kind: "range", revision: current, kvs, more: false, count: 1 };
  }

  /** `own`: of a request for this one key. */
  #read(found: Found, request: RangeRequest, own: boolean): KeyValue {
    if (request.keysOnly && request.sortTarget !== "value") return withoutValue(found);
    const { main, sub } = found;
    const kv = own ? this.#records.readOwn(main, sub, request.key) : this.#records.read(main, sub);
    return request.keysOnly ? { ...kv, value: EMPTY } : kv;
  }

  /**
   * Answers a range at revision `at`; `current` is the revision the answer is stamped with (etcd-semantics 2.1). Where
   * the room ends, so does the work.
   */
  *range(
    request: RangeRequest,
    at: number,
    current: Revision,
    budget: Budget,
    room: ResultRoom = UNBOUNDED,
  ): Slices<RangeResult> {
    if (!room.wanted) return { kind: "range", revision: current, kvs: [], more: false, count: 0 };
    const span = spanOf(request.key, request.rangeEnd);
    if (span.single) {
      budget.left -= 2;
      return this.rangeOne(request, at, current, room, false);
    }
    let count = 0;
    if (request.countOnly) {
      yield* this.walk(span, budget, (_key, index) => {
        if (index.findLive(at) >= 0) count += 1;
      });
      return { kind: "range", revision: current, kvs: [], more: false, count };
    }
    const limit = Math.max(0, request.limit ?? 0);
    const target = request.sortTarget ?? "key";
    const order = request.sortOrder ?? "none";
    const keep = filterOf(request);
    // Cut in key order where nothing after the cut could choose others; `none` with another target is cut too, and only
    // then sorted: etcd's way, kept.
    const cuts = limit > 0 && keep === undefined && (order === "none" || (order === "ascend" && target === "key"));
    let found: Found[] = [];
    yield* this.walk(span, budget, (key, index) => {
      const record = index.findLive(at);
      if (record < 0) return;
      count += 1;
      if (cuts && found.length > limit) return;
      const entry = foundIn(key, index, record);
      if (keep === undefined || keep(entry)) found.push(entry);
    });
    const withLimit = (n: number): number => (limit > 0 ? Math.min(limit, n) : n);
    const more = limit > 0 && found.length > limit;
    const kvs: KeyValue[] = [];
    if (target === "value") {
      let read: KeyValue[] = [];
      for (const entry of found) {
        read.push(this.#records.read(entry.main, entry.sub));
        budget.left -= 1;
        if (budget.left <= 0) yield;
      }
      const sign = order === "descend" ? -1 : 1;
      read = yield* sortInSlices(read, (a, b) => sign * compareBytes(a.value, b.value), budget);
      for (let i = 0; i < withLimit(read.length); i++) {
        const kv = request.keysOnly ? { ...read[i]!, value: EMPTY } : read[i]!;
        if (!room.take(kv)) break;
        kvs.push(kv);
        budget.left -= 1;
        if (budget.left <= 0) yield;
      }
    } else {
      const sorted = sortOf(target, order);
      if (sorted !== undefined) found = yield* sortInSlices(found, sorted, budget);
      for (let i = 0; i < withLimit(found.length); i++) {
        const kv = this.#read(found[i]!, request, false);
        if (!room.take(kv)) break;
        kvs.push(kv);
        budget.left -= 1;
        if (budget.left <= 0) yield;
      }
    }
    return { kind: "range", revision: current, kvs, more, count };
  }

  // --- compaction, as far as it is logical ---

  /** Throws `COMPACTED` or `FUTURE_REVISION`; else nothing below `at` can be read any more (etcd-semantics 3.1). */
  compact(at: number): void {
    if (at <= this.#compactRevision) throw this.compacted();
    if (at > this.#revision) throw new StoreError("FUTURE_REVISION");
    this.#compactRevision = at;
  }

  /** Keeps what a read at `at` sees from being dropped until the function returned is called. */
  pin(at: number): () => void {
    this.#pins.set(at, (this.#pins.get(at) ?? 0) + 1);
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const left = this.#pins.get(at)! - 1;
      if (left === 0) this.#pins.delete(at);
      else this.#pins.set(at, left);
    };
  }

  /** How far records may be dropped: the compact revision, or the lowest revision that a reader still holds. */
  get droppable(): number {
    let lowest = this.#compactRevision;
    for (const at of this.#pins.keys()) if (at < lowest) lowest = at;
    return lowest;
  }
}

/** As an event shows it: the key and the revision of its deletion, nothing else. */
export function tombstoneOf(key: Uint8Array, main: Revision, expired: boolean = false): Change {
  const tombstone = {
    key,
    createRevision: 0 as Revision,
    modRevision: main,
    version: 0,
    value: EMPTY,
    lease: NO_LEASE,
  };
  return expired ? { ...tombstone, expired } : tombstone;
}

function foundIn(key: string, index: KeyIndex, record: number): Found {
  return {
    key,
    main: index.mainOf(record),
    sub: index.subOf(record),
    create: index.createOf(record),
    version: index.versionOf(record),
  };
}

function withoutValue(found: Found): KeyValue {
  return {
    key: fromByteString(found.key),
    createRevision: found.create as Revision,
    modRevision: found.main as Revision,
    version: found.version,
    value: EMPTY,
    lease: NO_LEASE,
  };
}

/** 0 switches a bound off; any other value, a negative one too, is a bound. */
function filterOf(request: RangeRequest): ((found: Found) => boolean) | undefined {
  const minMod = request.minModRevision ?? 0;
  const maxMod = request.maxModRevision ?? 0;
  const minCreate = request.minCreateRevision ?? 0;
  const maxCreate = request.maxCreateRevision ?? 0;
  if (minMod === 0 && maxMod === 0 && minCreate === 0 && maxCreate === 0) return undefined;
  return ({ main, create }) =>
    (maxMod === 0 || main <= maxMod) &&
    (minMod === 0 || main >= minMod) &&
    (maxCreate === 0 || create <= maxCreate) &&
    (minCreate === 0 || create >= minCreate);
}

/** Keys arrive ascending, so the stable sort leaves ties in key order. */
function sortOf(
  target: "key" | "version" | "create" | "mod",
  order: "none" | "ascend" | "descend",
): ((a: Found, b: Found) => number) | undefined {
  const sign = order === "descend" ? -1 : 1;
  switch (target) {
    case "key":
      return order === "descend" ? (a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0) : undefined;
    case "version":
      return (a, b) => sign * (a.version - b.version);
    case "create":
      return (a, b) => sign * (a.create - b.create);
    case "mod":
      return (a, b) => sign * (a.main - b.main);
  }
}
