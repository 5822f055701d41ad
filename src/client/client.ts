/**
 * The client: one interface over sockets and within the process. Here a call finds its way: to a member, to another when
 * that one fails, until it is answered or its time is up. The outcome of its error speaks of the whole call.
 */
import { EMPTY } from "../base/bytes.ts";
import { deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { MemberId } from "../base/ids.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Channel } from "../protocol/channel.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { RangeRequest, Request, RequestOp } from "../protocol/requests.ts";
import type { HashKvResult, RangeResult, Response, ResultOf, StatusResult } from "../protocol/responses.ts";
import { Alarms } from "./alarms.ts";
import { type Dial, Endpoints, mayPass, textOf } from "./endpoints.ts";
import { InProcessRoute } from "./in-process.ts";
import {
  type DeleteOptions,
  type DeleteResult,
  deleteRequest,
  deleteResult,
  type GetOptions,
  type GetResult,
  invalid,
  type PutOptions,
  type PutOutcome,
  putRequest,
  putResult,
  rangeRequest,
  stampedGet,
} from "./kv.ts";
import { type LeaseHost, Leases } from "./lease.ts";
import { Members } from "./members.ts";
import { type ClientHost, type ClientView, Namespace } from "./namespace.ts";
import { type Operation, Registrations } from "./once.ts";
import { Elections, Locks, type QueueHost } from "./queues.ts";
import {
  concernsLeader,
  endOf,
  isMemberTrouble,
  isNumbered,
  isRefusedHere,
  mayRetry,
  nextStep,
  pauseMs,
} from "./retry.ts";
import { CLOSED, type Route } from "./route.ts";
import { type SnapshotOptions, SnapshotStream } from "./snapshot.ts";
import { Txn } from "./txn.ts";
import { Watch, type WatchOptions } from "./watch.ts";

/** What every call takes. */
export interface RequestOptions {
  /** Ends the call with `CANCELLED`; what it wrote may still happen unless the outcome is "rejected". */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call, attempts and pauses included. Default: the client's. */
  readonly timeoutMs?: number | undefined;
}

export interface ClientOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Any members of one cluster. */
  readonly endpoints: readonly string[];
  /** Opens a channel to one of them. Called when a call needs it. */
  readonly dial: Dial;
  /** Milliseconds that a call may take unless it says otherwise. Default 5,000. */
  readonly timeoutMs?: number | undefined;
  /** Milliseconds to wait for a connection before a call without one ends as `UNAVAILABLE`. Default 2,000. */
  readonly dialTimeoutMs?: number | undefined;
  /**
   * Registers the client before its first write, and repeats writes whose outcome is unknown: they apply once. Default
   * true. Without it writes are sent as to etcd, and an unknown outcome is told to the caller.
   */
  readonly exactlyOnce?: boolean | undefined;
  /**
   * Turns to the leader, where that is one of the endpoints, with the first call that it has to do with (a write, a linearizable
   * read, a keep-alive): one hop less. The calls and watches after it go there too. Default true; without it, and with calls that
   * any member answers by itself, the client stays with the member first reached.
   */
  readonly preferLeader?: boolean | undefined;
}

export interface InProcessOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** A member's own. */
  readonly channel: Channel;
  /** Told once the client is closed. */
  readonly onClosed?: (() => void) | undefined;
  readonly timeoutMs?: number | undefined;
  readonly exactlyOnce?: boolean | undefined;
}

/** How a member sees itself and its cluster. */
export type StatusAnswer = StatusResult & { readonly header: ResponseHeader };
/** A member's hash of its history. */
export type HashAnswer = HashKvResult & { readonly header: ResponseHeader };

const TIMEOUT_MS = 5_000;
const DIAL_TIMEOUT_MS = 2_000;
/** A first part waits for a flush of the member's state. */
const SNAPSHOT_PART_MS = 30_000;
/** What any member answers by itself. */
const ANY_KEY: RangeRequest = { kind: "range", key: new Uint8Array(1), serializable: true };
/** Calls that wait for a connection or for their next attempt, and the bytes of their requests. */
const WAITING_MAX = 1 << 16;
const WAITING_BYTES_MAX = 64 << 20;

/**
 * A client of one cluster. Keys and values are text or bytes; results hold bytes, with `text()` and `json()` beside them.
 * Every call takes `{ signal, timeoutMs }` and rejects with `StoreError`: its `code` says what happened, its `outcome`
 * whether the operation did. Calls are repeated on other members while time is left; a write applies once, however often
 * it was sent (`exactlyOnce`). After `close` every call rejects with `CANCELLED`.
 *
 * @example
 * await using client = await connect({ endpoints: ["127.0.0.1:7400"] });
 * await client.put("greeting", "hello");
 * const { kvs } = await client.get("greeting");
 * console.log(kvs[0]?.text());
 */
export class Client implements ClientView, AsyncDisposable {
  /** Who belongs to the cluster. */
  readonly members: Members;
  /** Keys that live only as long as somebody keeps them alive. */
  readonly lease: Leases;
  /** What members say is wrong. */
  readonly alarms: Alarms;
  /** Locks held by a member on the caller's behalf: etcd's lock service. `Mutex` is the recipe for programs that can. */
  readonly locks: Locks;
  /** Elections by a member on the caller's behalf: etcd's election service. `Election` is the recipe. */
  readonly elections: Elections;
  readonly #route: Route;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #timeoutMs: number;
  readonly #dialTimeoutMs: number;
  /** Ends a wait early: one for each call that waits for anything but an answer. */
  readonly #waits = new Set<(error: StoreError) => void>();
  readonly #watches = new Set<Watch>();
  readonly #onClosed: (() => void) | undefined;
  readonly #registrations: Registrations | undefined;
  #waitingCalls = 0;
  #waitingBytes = 0;
  #closed = false;

  private constructor(
    route: Route,
    options: Omit<InProcessOptions, "channel"> & { readonly dialTimeoutMs?: number | undefined },
  ) {
    this.#route = route;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    this.#dialTimeoutMs = options.dialTimeoutMs ?? DIAL_TIMEOUT_MS;
    this.#onClosed = options.onClosed;
    this.#registrations = options.exactlyOnce === false ? undefined : new Registrations();
    this.members = new Members((request, call) => this.request(request, call));
    this.lease = this.#leases((request, call) => this.request(request, call));
    this.alarms = new Alarms((request, call) => this.request(request, call));
    const queues = this.#queues((request, call) => this.request(request, call), EMPTY);
    this.locks = new Locks(queues);
    this.elections = new Elections(queues);
  }

  /** Over several endpoints; connects when first needed. Throws `BAD_CONFIG`. In Node use `connect`. */
  static async open(options: ClientOptions): Promise<Client> {
    const { clock, random, endpoints, dial, dialTimeoutMs = DIAL_TIMEOUT_MS, preferLeader = true } = options;
    if (endpoints.length === 0 || endpoints.some((endpoint) => typeof endpoint !== "string" || endpoint === "")) {
      throw new StoreError("BAD_CONFIG", {
        message: "quorate: a client needs at least one endpoint, and no empty one",
      });
    }
    for (const [name, ms] of Object.entries({ timeoutMs: options.timeoutMs, dialTimeoutMs })) {
      if (ms !== undefined && !(ms > 0)) {
        throw new StoreError("BAD_CONFIG", { message: `quorate: ${name} must be above 0, not ${ms}` });
      }
    }
    return new Client(new Endpoints({ clock, random, endpoints, dial, dialTimeoutMs, preferLeader }), options);
  }

  /** Within a member's process, without a socket. `status` and `hashKv` are that member's, whatever endpoint is named. */
  static inProcess(options: InProcessOptions): Client {
    return new Client(new InProcessRoute(options.channel, options.clock), options);
  }

  /**
   * Reads one key or a range. Linearizable: sees every write acknowledged before the call. With `serializable`, answers
   * from one member alone and may be stale. Nothing found is an empty `kvs`. Throws `EMPTY_KEY`, `COMPACTED`,
   * `FUTURE_REVISION`, `TIMEOUT`, `UNAVAILABLE`; a read is always safe to repeat.
   *
   * @example
   * const { kvs } = await client.get("jobs/", { prefix: true, limit: 10 });
   * for (const kv of kvs) console.log(kv.keyText(), kv.json());
   */
  async get(key: string | Uint8Array, options: GetOptions & RequestOptions = {}): Promise<GetResult> {
    const request = rangeRequest(key, options);
    const { header, result } = this.#now(request, options) ?? (await this.#send(request, options));
    return stampedGet(header, result);
  }

  /** Within a process, a read that waits for nobody is a plain call. */
  #now(request: RangeRequest, options: RequestOptions): Response<RangeResult> | undefined {
    if (request.serializable !== true) return undefined;
    const channel = this.#route.current;
    if (channel?.answerNow === undefined) return undefined;
    this.#begin(options);
    return channel.answerNow(request);
  }

  /**
   * Writes one key. Resolves once a majority has it on disk. Throws `EMPTY_KEY`, `LEASE_NOT_FOUND`, `KEY_NOT_FOUND`,
   * `VALUE_PROVIDED`, `LEASE_PROVIDED`, `REQUEST_TOO_LARGE`, `NO_SPACE`, `TOO_MANY_REQUESTS`; with outcome "unknown", when
   * its time is up or its signal aborts before an attempt was answered, `TIMEOUT`, `LEADER_CHANGED`, `CONNECTION_LOST`,
   * `CANCELLED` and others: then only a read can tell; with outcome "applied" `RESULT_NOT_KEPT`.
   *
   * @example
   * const { revision } = await client.put("jobs/7", JSON.stringify({ state: "running" }));
   */
  async put(
    key: string | Uint8Array,
    value: string | Uint8Array,
    options: PutOptions & RequestOptions = {},
  ): Promise<PutOutcome> {
    const { header, result } = await this.#send(putRequest(key, value, options), options);
    return { header, ...putResult(result) };
  }

  /**
   * Deletes one key or a range, at one revision. Nothing to delete is `deleted: 0`. Errors as of `put`.
   *
   * @example
   * const { deleted } = await client.delete("jobs/", { prefix: true });
   */
  async delete(key: string | Uint8Array, options: DeleteOptions & RequestOptions = {}): Promise<DeleteResult> {
    const { header, result } = await this.#send(deleteRequest(key, options), options);
    return { header, ...deleteResult(result) };
  }

  /**
   * A transaction: compares, and one of two lists of operations, all at one revision. Results are typed by the operations.
   *
   * @example
   * const created = await client
   *   .txn()
   *   .if(compare.version("lock", "=", 0))
   *   .then(op.put("lock", "mine"))
   *   .else(op.get("lock"))
   *   .commit();
   * if (!created.succeeded) console.log("held by", created.results[0].kvs[0]?.text());
   */
  txn(options: RequestOptions = {}): Txn {
    return new Txn((request) => this.request(request, options));
  }

  /**
   * Watches one key or a range: batches of whole revisions, in order, none missed and none twice. Goes on by itself after a
   * lost connection, a lost leader or a member's end, on any member; ends as `COMPACTED` when it cannot. A reader that is
   * slow costs the server nothing. Ends with `close`, `signal`, or when a `for await` is left. Throws `INVALID_REQUEST`.
   *
   * @example
   * for await (const { revision, events } of client.watch("jobs/", { prefix: true })) {
   *   for (const { type, kv } of events) console.log(revision, type, kv.keyText());
   * }
   */
  watch(key: string | Uint8Array, options: WatchOptions = {}): Watch {
    return this.#watch(key, options, undefined);
  }

  #watch(key: string | Uint8Array, options: WatchOptions, prefix: Uint8Array | undefined): Watch {
    if (this.#closed) throw new StoreError("CANCELLED", { message: CLOSED });
    const watch: Watch = new Watch(
      {
        clock: this.#clock,
        random: this.#random,
        members: () => this.#route.size,
        channel: async () => this.#route.current ?? this.#route.connect(),
        failed: (channel) => this.#route.failed(channel),
        ended: () => this.#watches.delete(watch),
        prefix,
      },
      key,
      options,
    );
    this.#watches.add(watch);
    return watch;
  }

  /**
   * What is there now, and a watch of everything that happens after it: together they miss nothing. Errors as of `get` and
   * `watch`.
   *
   * @example
   * const { kvs, watch } = await client.getAndWatch("config/", { prefix: true });
   */
  async getAndWatch(
    key: string | Uint8Array,
    options: Omit<WatchOptions, "startRevision"> & Pick<RequestOptions, "timeoutMs"> = {},
  ): Promise<GetResult & { readonly watch: Watch }> {
    const { prefix, fromKey, rangeEnd, signal, timeoutMs } = options;
    const now = await this.get(key, { prefix, fromKey, rangeEnd, signal, timeoutMs });
    return { ...now, watch: this.watch(key, { ...options, startRevision: now.header.revision + 1 }) };
  }

  /**
   * Forgets the history below `revision`: reads and watches from there on fail as `COMPACTED`. With `physical`, resolves
   * once the answering member has dropped it. Throws `COMPACTED` if that was done before, `FUTURE_REVISION`.
   */
  async compact(
    revision: number,
    options: RequestOptions & { readonly physical?: boolean | undefined } = {},
  ): Promise<{ readonly header: ResponseHeader }> {
    const { physical } = options;
    const { header } = await this.request(
      { kind: "compact", revision, ...(physical === undefined ? {} : { physical }) },
      options,
    );
    return { header };
  }

  /** Hands leadership to another voter. Throws `BAD_LEADER_TRANSFEREE`, `LEADER_TRANSFER_TIMEOUT`, `NOT_LEADER`. */
  async moveLeader(target: MemberId, options: RequestOptions = {}): Promise<void> {
    await this.request({ kind: "moveLeader", target }, options);
  }

  /** What this member says of itself: whom it follows, how far it is. Asked of that endpoint alone. */
  async status(endpoint: string, options: RequestOptions = {}): Promise<StatusAnswer> {
    const { header, result } = await this.#ask(endpoint, { kind: "status" }, options);
    return { header, ...result };
  }

  /**
   * This member's hash of its history up to `revision` (default: its newest). Equal on all members at equal revision and
   * compaction. Asked of that endpoint alone. Throws `COMPACTED`, `FUTURE_REVISION`.
   */
  async hashKv(
    endpoint: string,
    options: RequestOptions & { readonly revision?: number | undefined } = {},
  ): Promise<HashAnswer> {
    const { revision } = options;
    const request = { kind: "hashKv", ...(revision === undefined ? {} : { revision }) } as const;
    const { header, result } = await this.#ask(endpoint, request, options);
    return { header, ...result };
  }

  /**
   * A member's state at one revision, as the bytes of a snapshot file: to keep, and to restore a cluster from
   * (docs/backup.md). Holds everything that this member had applied when it was asked, whether or not a majority can be
   * reached. In Node, `saveSnapshot` writes it to a file and proves it readable.
   *
   * @example
   * for await (const bytes of client.snapshot()) await file.write(bytes);
   */
  snapshot(options: SnapshotOptions = {}): SnapshotStream {
    const { endpoint, signal, timeoutMs = SNAPSHOT_PART_MS } = options;
    const call = { signal, timeoutMs };
    return new SnapshotStream({
      open: async () => {
        const request = { kind: "snapshot" } as const;
        const deadline = this.#begin(call);
        for (let attempts = 1; ; attempts++) {
          const channel =
            endpoint === undefined
              ? (this.#route.current ?? (await this.#connected(request, deadline, signal, undefined)))
              : await this.#reached(request, endpoint, deadline, signal);
          try {
            // A removed member gives its snapshot, perhaps the last copy, to whoever names it; this call would not.
            if (endpoint === undefined) await channel.call(ANY_KEY, call);
            return [channel, await channel.call(request, call)];
          } catch (error) {
            if (isMemberTrouble(error)) this.#route.failed(channel);
            // Another member may be asked once; what goes wrong later ends the snapshot.
            if (endpoint !== undefined || this.#closed || !isMemberTrouble(error) || attempts >= this.#route.size) {
              throw error;
            }
          }
        }
      },
      call: (channel, request) => channel.call(request, request.close === true ? { timeoutMs } : call),
    });
  }

  /**
   * A view of the keys that begin with `prefix`, which shows and takes them without it: nothing done through it reaches any
   * other key. Shares this client's connections, and ends with it.
   *
   * @example
   * const app = client.namespace("app/");
   * await app.put("greeting", "hello"); // the key app/greeting
   */
  namespace(prefix: string | Uint8Array): Namespace {
    return new Namespace(
      {
        host: this.host,
        request: (request, options) => this.request(request, options),
        watch: (key, options, below) => this.#watch(key, options, below),
        leases: (send) => this.#leases(send),
        queues: (send, below) => this.#queues(send, below),
      },
      prefix,
    );
  }

  #queues(send: QueueHost["send"], prefix: Uint8Array): QueueHost {
    return {
      prefix,
      clock: this.#clock,
      random: this.#random,
      send,
      members: () => this.#route.size,
      channel: async () => this.#route.current ?? this.#route.connect(),
      failed: (channel) => this.#route.failed(channel),
    };
  }

  #leases(send: LeaseHost["send"]): Leases {
    return new Leases({
      clock: this.#clock,
      send,
      pause: (ms, signal) => this.#pause({ kind: "leaseList" }, ms, this.#clock.now() + 2 * ms + 1, signal),
    });
  }

  /** @internal What recipes need beside calls: time, chance, and whether there is but the one member of this process. */
  get host(): ClientHost {
    return { clock: this.#clock, random: this.#random, isInProcess: this.#route.size === 0 };
  }

  /** One request as it travels: what the calls above are made of. Asks another member where that is safe. */
  async request<Q extends Request>(request: Q, options: RequestOptions = {}): Promise<Response<ResultOf<Q>>> {
    return this.#send(request, options);
  }

  /** Throws at once what is wrong with the options. */
  #send<Q extends Request>(request: Q, options: RequestOptions): Promise<Response<ResultOf<Q>>> {
    const deadline = this.#begin(options);
    if (this.#registrations !== undefined && isNumbered(request)) {
      return this.#once(this.#registrations, request, deadline, options.signal);
    }
    return this.#request(request, deadline, options.signal);
  }

  async #request<Q extends Request>(
    request: Q,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Response<ResultOf<Q>>> {
    let last: unknown;
    let refusedBy: Set<Channel> | undefined;
    for (let attempts = 1; ; attempts++) {
      const channel = this.#open(request) ?? (await this.#connected(request, deadline, signal, last));
      try {
        return await channel.call(request, { timeoutMs: Math.max(1, deadline - this.#clock.now()), signal });
      } catch (error) {
        const { size } = this.#route;
        if (isMemberTrouble(error)) this.#route.failed(channel);
        if (isRefusedHere(error)) refusedBy = (refusedBy ?? new Set()).add(channel);
        if (this.#closed || !mayRetry(request, error, refusedBy?.size ?? 0, size)) throw error;
        const pause = pauseMs(attempts, size, this.#random.next());
        // With no time left for another attempt this one's error says most.
        if (this.#clock.now() + pause >= deadline) throw error;
        if (pause > 0) await this.#pause(request, pause, deadline, signal);
        last = error;
      }
    }
  }

  /** Where the request goes if a connection is open. */
  #open(request: Request): Channel | undefined {
    if (concernsLeader(request)) this.#route.turnToLeader();
    return this.#route.current;
  }

  /**
   * A write that applies once: every attempt has the same number, so an unknown outcome is no reason to give up. The
   * error at the end speaks of all attempts.
   */
  async #once<Q extends Request>(
    registrations: Registrations,
    request: Q,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Response<ResultOf<Q>>> {
    let operation: Operation | undefined;
    let wasUnknown = false;
    let last: unknown;
    let refusedBy: Set<Channel> | undefined;
    try {
      for (let attempts = 1; ; attempts++) {
        operation ??= registrations.take() ?? (await this.#registered(registrations, request, deadline, signal));
        const channel = this.#open(request) ?? (await this.#connected(request, deadline, signal, last));
        try {
          const timeoutMs = Math.max(1, deadline - this.#clock.now());
          return await channel.call(request, { timeoutMs, signal, operation });
        } catch (error) {
          const { size } = this.#route;
          if (isMemberTrouble(error)) this.#route.failed(channel);
          if (isRefusedHere(error)) refusedBy = (refusedBy ?? new Set()).add(channel);
          wasUnknown ||= StoreError.is(error) && error.outcome === "unknown";
          const step = this.#closed ? "end" : nextStep(error, refusedBy?.size ?? 0, size, wasUnknown);
          if (StoreError.is(error, "CLIENT_EXPIRED")) operation.expire();
          if (step === "end") throw error;
          if (step === "anew") {
            operation.end();
            operation = undefined;
          }
          const pause = pauseMs(attempts, size, this.#random.next());
          // With no time left for another attempt this one's error says most.
          if (this.#clock.now() + pause >= deadline) throw error;
          if (pause > 0) await this.#pause(request, pause, deadline, signal);
          last = error;
        }
      }
    } catch (error) {
      throw endOf(error, wasUnknown);
    } finally {
      operation?.end();
    }
  }

  /** Waits for a registration with room. One request serves all who wait; its time is the client's, not the first one's. */
  async #registered(
    registrations: Registrations,
    request: Request,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Operation> {
    for (let attempts = 1; ; attempts++) {
      const operation = registrations.take();
      if (operation !== undefined) return operation;
      if (!registrations.hasRoom) throw new StoreError("TOO_MANY_REQUESTS");
      const register = async (): Promise<number> => {
        const until = this.#clock.now() + this.#timeoutMs;
        const { result } = await this.#request({ kind: "register" } as const, until, undefined);
        return result.clientId;
      };
      try {
        await this.#within(request, registrations.more(register), deadline, signal);
      } catch (error) {
        // This call may have more time than that.
        if (this.#closed || signal?.aborted === true || !mayRetry({ kind: "register" }, error, 0, 0)) throw error;
        const pause = pauseMs(attempts, 1, this.#random.next());
        if (this.#clock.now() + pause >= deadline) throw error;
        await this.#pause(request, pause, deadline, signal);
      }
    }
  }

  /** Ends connections and calls under way (`CANCELLED`; writes "unknown"). Safe to call twice. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of [...this.#waits]) end(new StoreError("CANCELLED", { message: CLOSED }));
    for (const watch of [...this.#watches]) watch.cancel();
    this.#route.close();
    this.#onClosed?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Of one member alone: what is asked of it, no other can answer. Only for what changes nothing. */
  async #ask<Q extends Request>(endpoint: string, request: Q, options: RequestOptions): Promise<Response<ResultOf<Q>>> {
    const { signal } = options;
    const deadline = this.#begin(options);
    for (let attempts = 1; ; attempts++) {
      const channel = await this.#reached(request, endpoint, deadline, signal);
      try {
        return await channel.call(request, { timeoutMs: Math.max(1, deadline - this.#clock.now()), signal });
      } catch (error) {
        // A connection from before the member's restart: a fresh one tells.
        if (attempts > 1 || !StoreError.is(error, "CONNECTION_LOST")) throw error;
      }
    }
  }

  async #reached(
    request: Request,
    endpoint: string,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<Channel> {
    try {
      return await this.#within(request, this.#route.connectTo(endpoint), deadline, signal);
    } catch (error) {
      throw unreachable(error);
    }
  }

  /** When the call has to end. */
  #begin({ signal, timeoutMs = this.#timeoutMs }: RequestOptions): number {
    if (this.#closed) throw new StoreError("CANCELLED", { message: CLOSED });
    if (!(timeoutMs > 0)) throw invalid(`timeoutMs must be above 0, not ${timeoutMs}`);
    if (signal?.aborted === true) throw new StoreError("CANCELLED", { cause: signal.reason });
    return this.#clock.now() + timeoutMs;
  }

  async #connected(
    request: Request,
    deadline: number,
    signal: AbortSignal | undefined,
    last: unknown,
  ): Promise<Channel> {
    const giveUpAt = this.#clock.now() + this.#dialTimeoutMs;
    for (let rounds = 1; ; rounds++) {
      try {
        return await this.#within(request, this.#route.connect(), deadline, signal, last);
      } catch (error) {
        if (this.#closed || !mayPass(error)) throw error;
        const pause = pauseMs(rounds, 1, this.#random.next());
        if (this.#clock.now() + pause >= Math.min(deadline, giveUpAt)) throw unreachable(error);
        await this.#pause(request, pause, deadline, signal);
      }
    }
  }

  async #pause(request: Request, ms: number, deadline: number, signal: AbortSignal | undefined): Promise<void> {
    const over = deferred<void>();
    const timer = this.#clock.after(ms, over.resolve);
    try {
      await this.#within(request, over.promise, deadline, signal);
    } finally {
      timer.cancel();
    }
  }

  /** Waits for it, but no longer than the call may take. While it waits nothing of the call is under way. */
  #within<T>(
    request: Request,
    promise: Promise<T>,
    deadline: number,
    signal: AbortSignal | undefined,
    cause?: unknown,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const size = sizeOf(request);
      if (this.#waitingCalls >= WAITING_MAX || this.#waitingBytes + size > WAITING_BYTES_MAX) {
        promise.catch(() => {}); // others wait for it too, or nobody does
        throw new StoreError("TOO_MANY_REQUESTS");
      }
      this.#waitingCalls += 1;
      this.#waitingBytes += size;
      const done = (): void => {
        if (!this.#waits.delete(end)) return;
        this.#waitingCalls -= 1;
        this.#waitingBytes -= size;
        timer.cancel();
        signal?.removeEventListener("abort", onAbort);
      };
      const end = (error: StoreError): void => {
        done();
        reject(error);
      };
      const onAbort = (): void => end(new StoreError("CANCELLED", { cause: signal?.reason }));
      const timer = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () =>
        end(new StoreError("DEADLINE_EXCEEDED", { cause })),
      );
      this.#waits.add(end);
      signal?.addEventListener("abort", onAbort, { once: true });
      promise.then(
        (value) => {
          done();
          resolve(value);
        },
        (error) => {
          done();
          reject(error);
        },
      );
    });
  }
}

/** No member could be reached, so nothing was asked of any. */
function unreachable(error: unknown): unknown {
  if (!mayPass(error)) return error;
  return new StoreError("UNAVAILABLE", {
    message: `quorate: no endpoint could be reached: ${textOf(error)}`,
    cause: error,
  });
}

/** About what the request weighs while it waits. */
function sizeOf(request: Request): number {
  switch (request.kind) {
    case "range":
    case "put":
    case "deleteRange":
      return opSize(request);
    case "txn":
      return txnSize(request.success) + txnSize(request.failure);
    default:
      return 64;
  }
}

function txnSize(ops: readonly RequestOp[]): number {
  let size = 64;
  for (const each of ops) size += each.kind === "txn" ? txnSize(each.success) + txnSize(each.failure) : opSize(each);
  return size;
}

function opSize(request: Exclude<RequestOp, { readonly kind: "txn" }>): number {
  return 64 + request.key.length + (request.kind === "put" ? request.value.length : (request.rangeEnd?.length ?? 0));
}
