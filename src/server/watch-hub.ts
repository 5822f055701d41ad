/**
 * Watches: each watcher is a cursor, the next revision it has not seen, and nothing is queued for it. One that has seen
 * everything sleeps until a change matches its span; one that has not is read for, a batch at a time, as fast as its
 * connection takes what it gets. So slow readers cost no memory, and resuming is watching from `next`.
 *
 * Two lanes read: one from the history, for those that keep up, one from the state, for those that do not. Each has one
 * batch under way at most, so that a catch-up never delays the news and memory never holds more than two batches and the
 * one that was read last.
 */
import { toByteString } from "../base/bytes.ts";
import { FAILURES } from "../base/errors.ts";
import { type Span, spanOf } from "../kv/range.ts";
import type { Budget, Slices } from "../kv/slices.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import { type WatchCreate, type WatchEvent, type WatchNews, weightOf } from "../protocol/watch.ts";
import { WatchIndex } from "./watch-index.ts";
import { type Batch, BatchReader, pinFor, revisionMissing, type Selection, type WatchSource } from "./watch-reader.ts";

export type { WatchCreate };

/** etcd's WatchResponse; whoever sends it on stamps the header with `revision`. */
export interface WatchMessage extends WatchNews {
  /** 0 where a compaction ended the watcher. */
  readonly revision: number;
}

/**
 * Where a stream's messages go. What is sent is always taken; events are only sent while `writable`, so at most one batch
 * of each lane goes beyond. The owner stops taking requests from a client whose sink is not writable, and calls `resume`
 * once it is again.
 */
export interface WatchSink {
  readonly writable: boolean;
  send(message: WatchMessage): void;
}

export interface WatchHubOptions {
  readonly source: WatchSource;
  readonly clock: Clock;
  readonly random: Random;
  /** Something that must stop the node was thrown: damage in the state, or a broken promise. The hub has stopped. */
  readonly onFailure: (error: unknown) => void;
  /** etcd's `watch-progress-notify-interval`; at least 100. */
  readonly progressIntervalMs?: number | undefined;
  /** A message that weighs this much is cut where the watcher asked for fragments. */
  readonly fragmentBytes?: number | undefined;
}

/** Why a creation is refused, in etcd's words. */
const REASON = {
  compacted: FAILURES.COMPACTED.message,
  emptyRange: "mvcc: watcher range is empty",
  duplicateId: "mvcc: duplicate watch ID provided on the WatchStream",
} as const;

const PROGRESS_INTERVAL_MS = 10 * 60_000;
/** Most bytes of a request, and 512 KiB. */
const FRAGMENT_BYTES = 2 << 20;

/** Steps in one turn of the loop: a change looked at, a watcher woken, an event taken; in the state each may be a disk read. */
const MATCH_STEPS = 2_048;
const LIVE_STEPS = 2_048;
const BEHIND_STEPS = 256;

const NO_EVENTS: readonly WatchEvent[] = [];

class Cursor {
  readonly stream: WatchStream;
  readonly id: number;
  readonly selection: Selection;
  readonly start: number;
  readonly progressNotify: boolean;
  readonly fragment: boolean;
  /** First revision not delivered whole. While synced it may lag: nothing that matches lies in between. */
  next: number;
  /** Of that revision, the first change not delivered. */
  sub = 0;
  /** What the parts of a revision are stamped with, while not all of them were delivered. */
  stamp: number | undefined;
  /** Everything was delivered up to the revision at which this became so; what comes later wakes it. */
  synced = false;
  /** Ended by a compaction; its id stays taken until the client cancels it. */
  compacted = false;
  hadEvents = false;

  constructor(stream: WatchStream, id: number, span: Span, request: WatchCreate, next: number) {
    this.stream = stream;
    this.id = id;
    this.selection = {
      span,
      noPut: request.noPut === true,
      noDelete: request.noDelete === true,
      prevKv: request.prevKv === true,
    };
    this.start = request.startRevision ?? 0;
    this.progressNotify = request.progressNotify === true;
    this.fragment = request.fragment === true;
    this.next = next;
  }
}

/** What was read last for a watcher that keeps up. Of thousands on one key each gets the same, read once. */
interface Shared {
  readonly selection: Selection;
  readonly fragment: boolean;
  readonly from: Pick<Batch, "next" | "sub">;
  /** The store's when the reading began. */
  readonly revision: number;
  readonly batch: Batch;
}

interface Lane {
  /** In the order of their coming. */
  readonly queue: Set<Cursor>;
  readonly budget: Budget;
  reading:
    | {
        readonly cursor: Cursor;
        readonly revision: number;
        readonly slices: Slices<Batch>;
        readonly unpin: () => void;
      }
    | undefined;
}

const newLane = (): Lane => ({ queue: new Set(), budget: { left: 0 }, reading: undefined });

export class WatchHub {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onFailure: (error: unknown) => void;
  readonly #progressIntervalMs: number;
  readonly #fragmentBytes: number;
  readonly #index = new WatchIndex<Cursor>();
  readonly #streams = new Set<WatchStream>();
  readonly #live = newLane();
  readonly #behind = newLane();
  readonly #matchBudget: Budget = { left: 0 };
  #matching: { readonly slices: Slices<true>; readonly unpin: () => void } | undefined;
  #source: WatchSource;
  #shared: Shared | undefined;
  /** Every watcher that a change up to here concerns has been woken. */
  #seen: number;
  #scheduled = false;
  #stopped = false;

  constructor(options: WatchHubOptions) {
    this.#source = options.source;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#onFailure = options.onFailure;
    this.#progressIntervalMs = Math.max(100, options.progressIntervalMs ?? PROGRESS_INTERVAL_MS);
    this.#fragmentBytes = options.fragmentBytes ?? FRAGMENT_BYTES;
    this.#seen = options.source.store.revision;
  }

  get streams(): number {
    return this.#streams.size;
  }

  /** Watchers that a change may still concern. */
  get watchers(): number {
    return this.#index.size;
  }

  /** Watchers that have something to read, or would if their connection took it. */
  get slowWatchers(): number {
    let count = 0;
    for (const stream of this.#streams) {
      for (const cursor of stream.cursors()) if (!cursor.synced && !cursor.compacted) count += 1;
    }
    return count;
  }

  open(sink: WatchSink): WatchStream {
    const stream: WatchStream = new WatchStream(sink, {
      create: (request, id) => this.#create(stream, request, id),
      remove: (cursor) => this.#remove(cursor),
      enqueue: (cursor) => this.#enqueue(cursor),
      progress: () => this.#progressRevision(),
      revision: () => this.#source.store.revision,
      closed: () => this.#streams.delete(stream),
      every: (callback) => this.#clock.every(this.#progressIntervalMs * (1 + this.#random.next() / 10), callback),
    });
    if (!this.#stopped) this.#streams.add(stream);
    return stream;
  }

  /** An entry was applied. Call after each, so that what it changed is still in the history. */
  published(): void {
    if (this.#stopped || this.#seen === this.#source.store.revision) return;
    this.#guarded(() => this.#match());
    this.#schedule();
  }

  /** A snapshot took the place of the state. Each watcher keeps its next revision, or ends as compacted (B51). */
  replace(source: WatchSource): void {
    this.#endReads();
    for (const stream of this.#streams) {
      for (const cursor of stream.cursors()) if (cursor.synced) cursor.next = Math.max(cursor.next, this.#seen + 1);
    }
    this.#source = source;
    this.#seen = source.store.revision;
    for (const stream of this.#streams) {
      for (const cursor of stream.cursors()) {
        cursor.synced = false;
        this.#enqueue(cursor);
      }
    }
  }

  /** Ends every stream, without a word on any. */
  stop(): void {
    this.#stopped = true;
    for (const stream of this.#streams) stream.close();
    this.#endReads();
  }

  #endReads(): void {
    this.#shared = undefined;
    this.#matching?.unpin();
    this.#matching = undefined;
    for (const lane of [this.#live, this.#behind]) {
      lane.reading?.unpin();
      lane.reading = undefined;
      lane.queue.clear();
    }
  }

  // --- watchers come and go ---

  #create(stream: WatchStream, request: WatchCreate, id: number): Cursor | undefined {
    if (this.#stopped) return undefined;
    const { store } = this.#source;
    const key = request.key.length === 0 ? Uint8Array.of(0) : request.key;
    const span = spanOf(key, request.rangeEnd);
    const start = request.startRevision ?? 0;
    const cursor = new Cursor(stream, id, span, request, start > 0 ? start : store.revision + 1);
    this.#index.add(span, cursor);
    if (cursor.next > store.revision) cursor.synced = true;
    else this.#enqueue(cursor);
    return cursor;
  }

  #remove(cursor: Cursor): void {
    this.#index.remove(cursor.selection.span, cursor);
    for (const lane of [this.#live, this.#behind]) {
      lane.queue.delete(cursor);
      if (lane.reading?.cursor !== cursor) continue;
      lane.reading.unpin();
      lane.reading = undefined;
    }
  }

  #enqueue(cursor: Cursor): void {
    if (this.#stopped || cursor.compacted) return;
    const isLive = cursor.next >= this.#source.store.history.first;
    (isLive ? this.#live : this.#behind).queue.add(cursor);
    this.#schedule();
  }

  // --- changes wake watchers ---

  #match(): void {
    if (this.#matching === undefined) {
      const { store } = this.#source;
      if (this.#seen >= store.revision) return;
      if (this.#index.size === 0) {
        this.#seen = store.revision;
        return;
      }
      this.#matching = { slices: this.#matchAll(), unpin: store.pin(Math.max(this.#seen, store.compactRevision)) };
    }
    this.#matchBudget.left = MATCH_STEPS;
    if (this.#matching.slices.next().done !== true) return;
    this.#matching.unpin();
    this.#matching = undefined;
  }

  *#matchAll(): Slices<true> {
    const { store } = this.#source;
    const budget = this.#matchBudget;
    while (this.#seen < store.revision) {
      const revision = this.#seen + 1;
      const wake = (cursor: Cursor): void => {
        if (!cursor.synced || revision < cursor.next) return;
        cursor.synced = false;
        cursor.next = revision;
        this.#enqueue(cursor);
      };
      const changes = store.history.changesAt(revision);
      for (let sub = 0; changes === undefined || sub < changes.length; sub++) {
        // A revision too large for the history is read back from the state; the pin keeps it whole.
        const kv = changes === undefined ? this.#source.find(revision, sub) : changes.at(sub);
        if (kv === undefined && sub === 0) throw revisionMissing(revision);
        if (kv === undefined) break;
        budget.left -= 1 + this.#index.matches(toByteString(kv.key), wake);
        if (budget.left <= 0) yield;
      }
      this.#seen = revision;
    }
    return true;
  }

  // --- reading ---

  #schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    if (!this.#hasWork()) {
      this.#shared = undefined;
      return;
    }
    this.#scheduled = true;
    this.#clock.defer(() => {
      this.#scheduled = false;
      if (this.#stopped) return;
      this.#guarded(() => {
        this.#match();
        this.#work(this.#live, LIVE_STEPS);
        this.#work(this.#behind, BEHIND_STEPS);
      });
      this.#schedule();
    });
  }

  #hasWork(): boolean {
    const isBusy = ({ queue, reading }: Lane): boolean => queue.size > 0 || reading !== undefined;
    return this.#matching !== undefined || isBusy(this.#live) || isBusy(this.#behind);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.stop();
      this.#onFailure(error);
    }
  }

  #work(lane: Lane, steps: number): void {
    lane.budget.left = steps;
    while (lane.budget.left > 0 && !this.#stopped) {
      if (lane.reading === undefined) {
        const [cursor] = lane.queue;
        if (cursor === undefined) return;
        lane.queue.delete(cursor);
        lane.budget.left -= 1;
        this.#begin(lane, cursor);
        continue;
      }
      const { cursor, revision, slices, unpin } = lane.reading;
      const { done, value } = slices.next();
      if (done !== true) continue;
      unpin();
      lane.reading = undefined;
      const { selection, fragment, next, sub } = cursor;
      if (lane === this.#live) this.#shared = { selection, fragment, from: { next, sub }, revision, batch: value };
      this.#deliver(cursor, value);
    }
  }

  #begin(lane: Lane, cursor: Cursor): void {
    const { store } = this.#source;
    if (!cursor.stream.writable) {
      cursor.stream.wait(cursor);
    } else if (cursor.next < store.compactRevision) {
      cursor.compacted = true;
      this.#index.remove(cursor.selection.span, cursor);
      cursor.stream.send(cursor.id, 0, { canceled: true, compactRevision: store.compactRevision });
    } else if (cursor.next > store.revision) {
      cursor.synced = true;
    } else if (cursor.next >= store.history.first !== (lane === this.#live)) {
      // The history moved on while it waited.
      this.#enqueue(cursor);
    } else if (lane === this.#live && this.#isShared(cursor)) {
      const { batch } = this.#shared!;
      // Nothing is read, but each watcher's copy has its price.
      lane.budget.left -= (batch.events.length >>> 2) + (batch.bytes >>> 14);
      this.#deliver(cursor, batch);
    } else {
      const { pinned, unpin } = pinFor(this.#source, cursor.next);
      const partBytes = cursor.fragment ? this.#fragmentBytes : undefined;
      const reader = new BatchReader(this.#source, cursor.selection, cursor, pinned, lane.budget, partBytes);
      lane.reading = { cursor, revision: store.revision, slices: reader.read(), unpin };
    }
  }

  /** Whether reading for this watcher would find just what was read last. */
  #isShared({ selection, fragment, next, sub }: Cursor): boolean {
    const shared = this.#shared;
    return (
      shared !== undefined &&
      shared.from.next === next &&
      shared.from.sub === sub &&
      shared.fragment === fragment &&
      shared.revision === this.#source.store.revision &&
      isSame(shared.selection, selection)
    );
  }

  #deliver(cursor: Cursor, { events, bytes, next, sub, isLive }: Batch): void {
    const last = events[events.length - 1];
    // Of parts all bear the same: the revision that they end with.
    const lastRevision = sub > 0 ? next : last?.kv.modRevision;
    const stamp = cursor.stamp ?? (isLive && lastRevision !== undefined ? lastRevision : this.#source.store.revision);
    const hasBegun = cursor.stamp !== undefined;
    cursor.next = next;
    cursor.sub = sub;
    cursor.stamp = sub > 0 ? stamp : undefined;
    // What was begun is ended, also if a compaction has taken the rest of it.
    if (last !== undefined || hasBegun) {
      cursor.hadEvents = true;
      if (sub > 0) cursor.stream.send(cursor.id, stamp, { events, fragment: true });
      else if (cursor.fragment && bytes >= this.#fragmentBytes) this.#sendParts(cursor, stamp, events);
      else cursor.stream.send(cursor.id, stamp, { events });
    }
    // What the sink did with it may have ended the watcher.
    if (!cursor.stream.has(cursor)) return;
    if (next > this.#source.store.revision) cursor.synced = true;
    else this.#enqueue(cursor);
  }

  #sendParts(cursor: Cursor, revision: number, events: readonly WatchEvent[]): void {
    let from = 0;
    let bytes = 0;
    for (let i = 0; i < events.length; i++) {
      const weight = weightOf(events[i]!);
      if (i > from && bytes + weight >= this.#fragmentBytes) {
        cursor.stream.send(cursor.id, revision, { events: events.slice(from, i), fragment: true });
        from = i;
        bytes = 0;
      }
      bytes += weight;
    }
    cursor.stream.send(cursor.id, revision, { events: events.slice(from) });
  }

  /** What a synced watcher has seen everything up to; `undefined` while changes are still being matched. */
  #progressRevision(): number | undefined {
    return this.#seen === this.#source.store.revision ? this.#seen : undefined;
  }
}

function isSame(a: Selection, b: Selection): boolean {
  return (
    a.span.low === b.span.low &&
    a.span.high === b.span.high &&
    a.span.single === b.span.single &&
    a.noPut === b.noPut &&
    a.noDelete === b.noDelete &&
    a.prevKv === b.prevKv
  );
}

/** What a stream asks of its hub. */
interface StreamHost {
  create(request: WatchCreate, id: number): Cursor | undefined;
  remove(cursor: Cursor): void;
  enqueue(cursor: Cursor): void;
  progress(): number | undefined;
  revision(): number;
  closed(): void;
  every(callback: () => void): Timer;
}

/** The watchers of one connection's stream. Made by `WatchHub.open`. */
export class WatchStream {
  readonly #sink: WatchSink;
  readonly #host: StreamHost;
  readonly #cursors = new Map<number, Cursor>();
  /** Cursors with something to read that the sink does not take. */
  #waiting = new Set<Cursor>();
  #nextId = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(sink: WatchSink, host: StreamHost) {
    this.#sink = sink;
    this.#host = host;
  }

  /** Answers with `created`, before any event; with `created` and `canceled` if it is refused (etcd-semantics 4.2). */
  create(request: WatchCreate): void {
    if (this.#closed) return;
    const { key, rangeEnd, startRevision = 0, watchId = 0 } = request;
    const span = spanOf(key.length === 0 ? Uint8Array.of(0) : key, rangeEnd);
    let cancelReason: string | undefined;
    if (startRevision < 0) cancelReason = REASON.compacted;
    else if (!span.single && span.low >= span.high) cancelReason = REASON.emptyRange;
    else if (watchId !== 0 && this.#cursors.has(watchId)) cancelReason = REASON.duplicateId;
    if (cancelReason !== undefined) {
      this.send(-1, this.#host.revision(), { created: true, canceled: true, cancelReason });
      return;
    }
    let id = watchId;
    if (id === 0) {
      while (this.#cursors.has(this.#nextId)) this.#nextId += 1;
      id = this.#nextId++;
    }
    this.send(id, this.#host.revision(), { created: true });
    // What the sink did with it may have ended the stream.
    const cursor = this.#closed ? undefined : this.#host.create(request, id);
    if (cursor === undefined) return;
    this.#cursors.set(id, cursor);
    if (cursor.progressNotify) this.#timer ??= this.#host.every(() => this.#notify());
  }

  /** An id that is not in use gets no answer, as in etcd. */
  cancel(id: number): void {
    const cursor = this.#cursors.get(id);
    if (cursor === undefined) return;
    this.#cursors.delete(id);
    this.#waiting.delete(cursor);
    this.#host.remove(cursor);
    this.send(id, this.#host.revision(), { canceled: true });
  }

  /** Answered only when every watcher has seen everything; else the client asks again (etcd-semantics 4.7). */
  progress(): void {
    const revision = this.#host.progress();
    if (revision === undefined || this.#cursors.size === 0 || !this.writable) return;
    for (const cursor of this.#cursors.values()) if (!cursor.synced || cursor.start > revision) return;
    this.send(-1, revision, {});
  }

  /** The sink is writable again. */
  resume(): void {
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const cursor of waiting) this.#host.enqueue(cursor);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    for (const cursor of this.#cursors.values()) this.#host.remove(cursor);
    this.#cursors.clear();
    this.#waiting.clear();
    this.#host.closed();
  }

  // --- for the hub ---

  /** @internal */
  get writable(): boolean {
    return !this.#closed && this.#sink.writable;
  }

  /** @internal */
  cursors(): IterableIterator<Cursor> {
    return this.#cursors.values();
  }

  /** @internal */
  has(cursor: Cursor): boolean {
    return this.#cursors.get(cursor.id) === cursor;
  }

  /** @internal */
  wait(cursor: Cursor): void {
    this.#waiting.add(cursor);
  }

  /** @internal */
  send(watchId: number, revision: number, rest: Partial<WatchMessage>): void {
    if (this.#closed) return;
    this.#sink.send({
      watchId,
      revision,
      created: rest.created ?? false,
      canceled: rest.canceled ?? false,
      compactRevision: rest.compactRevision ?? 0,
      cancelReason: rest.cancelReason ?? "",
      fragment: rest.fragment ?? false,
      events: rest.events ?? NO_EVENTS,
    });
  }

  #notify(): void {
    const revision = this.#host.progress();
    for (const cursor of this.#cursors.values()) {
      if (!cursor.progressNotify) continue;
      const isIdle = !cursor.hadEvents;
      cursor.hadEvents = false;
      if (!isIdle || revision === undefined || !cursor.synced || cursor.start > revision || !this.writable) continue;
      this.send(cursor.id, revision, {});
    }
  }
}
