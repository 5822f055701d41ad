/**
 * A watch as its reader sees it: batches of whole revisions, in order, without a gap or a repeat, whatever happens to
 * connections, leaders and members meanwhile. Each watch has a stream of its own, so a slow reader holds up nobody else.
 */
import { compareBytes } from "../base/bytes.ts";
import { type Deferred, deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import { type Revision, revision } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Channel, WatchStream } from "../protocol/channel.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { WatchCreate, WatchResponse, WatchEvent as WireEvent } from "../protocol/watch.ts";
import { mayPass } from "./endpoints.ts";
import { invalid, type RangeSelection, StoredKeyValue, selection, ZERO } from "./kv.ts";
import { prefixed, strippedEvent } from "./prefix.ts";
import { isMemberTrouble, isRefusedHere, pauseMs } from "./retry.ts";
import { CLOSED } from "./route.ts";

export interface WatchOptions extends RangeSelection {
  /** From this revision on, inclusive; it may lie ahead. Default: what happens after the watch was opened. */
  readonly startRevision?: number | undefined;
  /** Each event tells what the key was before. */
  readonly prevKv?: boolean | undefined;
  readonly noPut?: boolean | undefined;
  readonly noDelete?: boolean | undefined;
  /** A batch without events now and then: all up to its revision was delivered. */
  readonly progressNotify?: boolean | undefined;
  /** Leaves a member that has been without a leader for long, for another. Default true; etcd's clients: false. */
  readonly requireLeader?: boolean | undefined;
  /** Ends the watch: whoever reads it gets `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
}

export interface WatchEvent {
  readonly type: "put" | "delete";
  /** Of a deletion: the key, and in `modRevision` the revision that deleted it. */
  readonly kv: StoredKeyValue;
  /** With `prevKv`, the key as it was before; absent if it did not exist, or if that is compacted. */
  readonly prevKv?: StoredKeyValue;
  /** Of a deletion: the key's lease had expired. */
  readonly expired?: true;
}

/** Every event of one or more revisions, none of them split. */
export interface WatchBatch {
  /** Its revision may lie beyond the batch's: what the member had when it sent it. */
  readonly header: ResponseHeader;
  /** Everything up to here has been delivered: a watch from the next revision on goes on where this batch ends. */
  readonly revision: Revision;
  /** In the order in which they happened. Empty: progress. */
  readonly events: readonly WatchEvent[];
}

/** What a watch needs of its client. */
export interface WatchHost {
  readonly clock: Clock;
  readonly random: Random;
  /** Members to turn to; 0 if only the one in this process. */
  readonly members: () => number;
  readonly channel: () => Promise<Channel>;
  readonly failed: (channel: Channel) => void;
  readonly ended: () => void;
  /** Of a namespace: keys go out with it and come back without. */
  readonly prefix?: Uint8Array | undefined;
}

interface Queued {
  readonly batch: WatchBatch;
  readonly bytes: number;
}

/**
 * Made by `client.watch`. One reader: a second `next` before the first was answered is refused. `close`, leaving a
 * `for await`, and `await using` end it.
 */
export class Watch implements AsyncIterableIterator<WatchBatch>, AsyncDisposable {
  readonly #host: WatchHost;
  readonly #request: WatchCreate;
  readonly #requireLeader: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: () => void;
  readonly #opened: Deferred<ResponseHeader> = deferred();
  #queue: Queued[] = [];
  #reading: Deferred<IteratorResult<WatchBatch, undefined>> | undefined;
  #stream: WatchStream | undefined;
  /** First revision not received; 0 until the member has told where the watch begins. */
  #next: number;
  /** Of a message that comes in parts, those that came. */
  #parts: WireEvent[] = [];
  /** Attempts since the last one that was let in. */
  #attempts = 0;
  /** Members that cannot serve a watch, since then. */
  readonly #refusedBy = new Set<Channel>();
  #lost = false;
  #pause: Timer | undefined;
  #end: { readonly error: StoreError | undefined } | undefined;

  /** @internal */
  constructor(host: WatchHost, key: string | Uint8Array, options: WatchOptions) {
    this.#host = host;
    const request = watchRequest(key, options);
    // An empty key is the lowest one here, unlike elsewhere.
    const lowest = request.key.length === 0 ? { ...request, key: ZERO } : request;
    this.#request = host.prefix === undefined ? request : prefixed(host.prefix, lowest);
    this.#requireLeader = options.requireLeader ?? true;
    this.#next = options.startRevision ?? 0;
    this.#signal = options.signal;
    this.#onAbort = () => this.#finish(new StoreError("CANCELLED", { cause: this.#signal?.reason }), true);
    if (this.#signal?.aborted === true) throw new StoreError("CANCELLED", { cause: this.#signal.reason });
    this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#opened.promise.catch(() => {}); // only some callers ask
    this.#open();
  }

  /**
   * Resolves once a member has taken the watch in; without a `startRevision` it sees everything above the header's
   * revision. Rejects with what ended it before that.
   */
  opened(): Promise<ResponseHeader> {
    return this.#opened.promise;
  }

  /** Asks for a batch without events that tells how far the watch is; none comes while it has not caught up. */
  requestProgress(): void {
    this.#stream?.request({ kind: "progress" });
  }

  /**
   * The next batch. Rejects with `COMPACTED` (details: `compactRevision`) when what comes next is gone: read anew and watch
   * from there. With `CANCELLED` after its signal or its client ended it. Everything that passes is waited for.
   */
  next(): Promise<IteratorResult<WatchBatch, undefined>> {
    if (this.#reading !== undefined) return Promise.reject(invalid("a watch has one reader at a time"));
    const first = this.#queue.shift();
    if (first !== undefined) {
      this.#stream?.consumed(first.bytes);
      if (this.#queue.length === 0 && this.#lost) this.#reopen();
      return Promise.resolve({ done: false, value: first.batch });
    }
    if (this.#end !== undefined) return this.#result(this.#end.error);
    this.#reading = deferred();
    return this.#reading.promise;
  }

  /** Called by `for await` when it is left. */
  async return(): Promise<IteratorResult<WatchBatch, undefined>> {
    this.#finish(undefined, true);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends it; whoever reads it is told that it is over. Safe to call twice. */
  async close(): Promise<void> {
    this.#finish(undefined, true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#finish(undefined, true);
  }

  /** @internal The client is closed. */
  cancel(): void {
    this.#finish(new StoreError("CANCELLED", { message: CLOSED }), true);
  }

  #result(error: StoreError | undefined): Promise<IteratorResult<WatchBatch, undefined>> {
    return error === undefined ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(error);
  }

  #open(): void {
    this.#host.channel().then(
      (channel) => {
        if (this.#end === undefined) this.#openOn(channel);
      },
      (error) => {
        if (this.#end !== undefined) return;
        this.#attempts += 1;
        // Each member was tried.
        if (mayPass(error)) this.#openLater(1);
        else this.#finish(asStoreError(error), false);
      },
    );
  }

  #openOn(channel: Channel): void {
    let isOver = false;
    const stream = channel.watch(
      {
        receive: (response, bytes) => {
          if (!isOver && this.#end === undefined) this.#receive(stream, response, bytes);
        },
        ended: (error) => {
          if (isOver) return;
          isOver = true;
          if (this.#end === undefined) this.#streamEnded(channel, error);
        },
      },
      { requireLeader: this.#requireLeader },
    );
    this.#stream = stream;
    stream.request({ kind: "create", ...this.#request, startRevision: this.#next });
  }

  #receive(stream: WatchStream, response: WatchResponse, bytes: number): void {
    const { header, compactRevision } = response;
    if (response.canceled) {
      stream.close();
      this.#finish(canceledError(response), false);
      return;
    }
    if (response.created) {
      this.#attempts = 0;
      this.#refusedBy.clear();
      if (this.#next === 0) this.#next = header.revision + 1;
      this.#opened.resolve(header);
      stream.consumed(bytes);
      return;
    }
    if (compactRevision !== 0) return;
    if (response.fragment) {
      for (const event of response.events) this.#parts.push(event);
      // The reader gets a revision whole, so its parts cannot wait for the reader.
      stream.consumed(bytes);
      return;
    }
    const events = this.#parts.length > 0 ? this.#parts.concat(response.events) : response.events;
    const weight = bytes;
    this.#parts = [];
    const last = events.at(-1);
    const at = last === undefined ? header.revision : last.kv.modRevision;
    this.#next = Math.max(this.#next, at + 1);
    const batch: WatchBatch = { header, revision: revision(at), events: events.map((event) => this.#event(event)) };
    const reading = this.#reading;
    if (reading === undefined) {
      this.#queue.push({ batch, bytes: weight });
      return;
    }
    this.#reading = undefined;
    stream.consumed(weight);
    reading.resolve({ done: false, value: batch });
  }

  #event(event: WireEvent): WatchEvent {
    const { prefix } = this.#host;
    return eventOf(prefix === undefined ? event : strippedEvent(prefix, event));
  }

  #streamEnded(channel: Channel, error: StoreError): void {
    this.#stream = undefined;
    // What came of a message in parts comes again, whole.
    this.#parts = [];
    const members = this.#host.members();
    this.#attempts += 1;
    if (isRefusedHere(error)) this.#refusedBy.add(channel);
    if (!mayResume(error, this.#refusedBy.size, members)) {
      this.#finish(error, false);
      return;
    }
    if (isMemberTrouble(error)) this.#host.failed(channel);
    this.#openLater(members);
  }

  #openLater(members: number): void {
    const { clock, random } = this.#host;
    this.#pause = clock.after(pauseMs(this.#attempts, members, random.next()), () => {
      this.#lost = true;
      // What the reader has not taken yet is all that is kept: more comes once it has.
      if (this.#queue.length === 0) this.#reopen();
    });
  }

  #reopen(): void {
    this.#lost = false;
    this.#open();
  }

  /** `dropped`: what was received and not read is not delivered either. */
  #finish(error: StoreError | undefined, dropped: boolean): void {
    if (dropped) this.#queue = [];
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#stream?.close();
    this.#stream = undefined;
    this.#parts = [];
    this.#pause?.cancel();
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#opened.reject(error ?? new StoreError("CANCELLED"));
    this.#host.ended();
    const reading = this.#reading;
    this.#reading = undefined;
    if (error === undefined) reading?.resolve({ done: true, value: undefined });
    else reading?.reject(error);
  }
}

function watchRequest(key: string | Uint8Array, options: WatchOptions): WatchCreate {
  const { startRevision = 0, prevKv, noPut, noDelete, progressNotify } = options;
  if (!Number.isSafeInteger(startRevision) || startRevision < 0) {
    throw invalid(`startRevision must be a whole number from 0 on, not ${startRevision}`);
  }
  const range = selection(key, options);
  const { rangeEnd } = range;
  const isOpenEnded = rangeEnd?.length === 1 && rangeEnd[0] === 0;
  if (rangeEnd !== undefined && rangeEnd.length > 0 && !isOpenEnded && compareBytes(range.key, rangeEnd) >= 0) {
    throw invalid("mvcc: watcher range is empty");
  }
  return { ...range, prevKv, noPut, noDelete, progressNotify, fragment: true };
}

function eventOf({ type, kv, prevKv, expired }: WireEvent): WatchEvent {
  return {
    type,
    kv: new StoredKeyValue(kv),
    ...(prevKv === undefined ? {} : { prevKv: new StoredKeyValue(prevKv) }),
    ...(expired === true ? { expired } : {}),
  };
}

function canceledError({ compactRevision, cancelReason, created }: WatchResponse): StoreError {
  if (compactRevision > 0) return new StoreError("COMPACTED", { details: { compactRevision } });
  if (created) return invalid(cancelReason);
  return new StoreError("CANCELLED", cancelReason === "" ? {} : { message: cancelReason });
}

/** Whether the same watch may go on elsewhere, or later. */
function mayResume(error: StoreError, refusals: number, members: number): boolean {
  if (error.code === "NO_LEADER") return true;
  // The only member there is has stopped, or cannot do it.
  if (members === 0) return false;
  if (isRefusedHere(error)) return refusals < members;
  return error.code === "LEADER_CHANGED" || isMemberTrouble(error);
}

function asStoreError(error: unknown): StoreError {
  return StoreError.is(error) ? error : new StoreError("INTERNAL", { outcome: "unknown", cause: error });
}
