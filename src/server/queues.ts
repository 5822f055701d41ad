/**
 * etcd's lock and election services (etcd-semantics 6.6): the recipes of section 6, done by the member for whoever asks.
 * Made of nothing but what any client may ask of a member, with etcd's keys and transactions, so that callers of the
 * service, our own recipes and Go programs stand in the same queue.
 *
 * A place in a queue is a key under the caller's lease, so it ends with that lease whatever happens here. A call that ends
 * before its turn gives the place up at once, unless another call of the same lease has taken it over meanwhile: each one
 * that finds its key there writes it again, and takes it away only as it wrote it.
 */
import { concatBytes, EMPTY, encodeUtf8 } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, NO_LEASE, type Revision } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { CallOptions, ServedWatch, WatchOptions, WatchOutlet } from "../protocol/channel.ts";
import type { KeyValue, ResponseHeader } from "../protocol/key-value.ts";
import type {
  CampaignRequest,
  Compare,
  LeaderKey,
  LockRequest,
  QueueRequest,
  RangeRequest,
  Request,
  RequestOp,
} from "../protocol/requests.ts";
import type { OpResult, QueueResult, RangeResult, Response, ResultOf, TxnResult } from "../protocol/responses.ts";

/** Seconds, of a lease that a call did not bring: nobody keeps it alive. */
const LEASE_TTL = 60;
/** Calls and observers that wait here at one time. */
const WAITING_MAX = 16_384;
/** How long the key of a call that was given up is looked after before its lease has to end it. */
const TIDY_MS = 5_000;
const RETRY_MS = 100;

export interface QueuesOptions {
  readonly clock: Clock;
  /** Of one attempt at a step. */
  readonly attemptMs: number;
  /** What this member answers to anybody. */
  readonly call: (request: Request, options: CallOptions) => Promise<Response>;
  readonly watch: (outlet: WatchOutlet, options: WatchOptions) => ServedWatch;
}

export interface QueueAnswer {
  readonly header: ResponseHeader;
  readonly result: QueueResult;
}

interface Place {
  readonly key: Uint8Array;
  readonly prefix: Uint8Array;
  /** The key's create revision, and the revision at which this call wrote it. */
  readonly token: Revision;
  readonly written: Revision;
}

/** What may end a wait. */
class Wait {
  readonly #abort = new AbortController();
  readonly #clock: Clock;
  readonly #timer: Timer | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = (): void => this.end(new StoreError("CANCELLED", { cause: this.#signal?.reason }));
  readonly #patienceMs: number;
  #error: StoreError | undefined;
  /** An attempt may have done what it was to do, though nobody was told. */
  isUncertain = false;

  /** `patienceMs`: so long a member is asked that cannot answer. Another one may. */
  constructor(clock: Clock, patienceMs: number, { signal, timeoutMs }: Partial<CallOptions>) {
    this.#clock = clock;
    this.#patienceMs = patienceMs;
    this.#signal = signal;
    if (signal?.aborted === true) this.#onAbort();
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (timeoutMs !== undefined) {
      this.#timer = clock.after(timeoutMs, () => this.end(new StoreError("DEADLINE_EXCEEDED")));
    }
  }

  end(error: StoreError): void {
    this.#error ??= error;
    this.#abort.abort(error);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  throwIfEnded(): void {
    if (this.#error !== undefined) throw this.#error;
  }

  /** Again and again, until it is done, refused for good, or nobody waits any more: only for what may be done twice. */
  async persist<T>(attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const giveUpAt = this.#clock.now() + this.#patienceMs;
    for (;;) {
      this.throwIfEnded();
      try {
        return await attempt(this.signal);
      } catch (error) {
        if (StoreError.is(error) && error.outcome !== "rejected") this.isUncertain = true;
        this.throwIfEnded();
        if (!passes(error) || this.#clock.now() >= giveUpAt) throw error;
      }
      await this.#pause();
    }
  }

  /** Resolves once `begin` has called back, or rejects with what ended the wait. */
  until(begin: (done: (error?: StoreError) => void) => () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      let cleanUp: (() => void) | undefined;
      let isDone = false;
      const done = (error?: StoreError): void => {
        if (isDone) return;
        isDone = true;
        this.signal.removeEventListener("abort", onAbort);
        cleanUp?.();
        if (error === undefined) resolve();
        else reject(error);
      };
      const onAbort = (): void => done(this.#error);
      if (this.signal.aborted) {
        onAbort();
        return;
      }
      this.signal.addEventListener("abort", onAbort, { once: true });
      cleanUp = begin(done);
      if (isDone) cleanUp();
    });
  }

  #pause(): Promise<void> {
    return this.until((done) => {
      const timer = this.#clock.after(RETRY_MS, () => done());
      return () => timer.cancel();
    });
  }

  close(): void {
    this.#timer?.cancel();
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }
}

export class Queues {
  readonly #o: QueuesOptions;
  readonly #waiting = new Set<Wait>();
  #isStopped = false;

  constructor(options: QueuesOptions) {
    this.#o = options;
  }

  async handle(request: QueueRequest, options: CallOptions): Promise<QueueAnswer> {
    switch (request.kind) {
      case "lock": {
        const { place, header } = await this.#turn(request, EMPTY, "mutex", options);
        return { header, result: { kind: "lock", key: place.key, token: place.token } };
      }
      case "unlock": {
        const { header } = await this.#o.call({ kind: "deleteRange", key: request.key }, options);
        return { header, result: { kind: "unlock" } };
      }
      case "campaign": {
        const { place, header, lease } = await this.#turn(request, request.value, "election", options);
        const leader = { name: request.name, key: place.key, revision: place.token, lease };
        return { header, result: { kind: "campaign", leader } };
      }
      case "proclaim": {
        const { key, lease, ...leader } = given(request.leader);
        const put: RequestOp = { kind: "put", key, value: request.value, lease };
        const { header, result } = await this.#txn([createdAt(key, leader.revision)], [put], [], options);
        if (!result.succeeded) throw new StoreError("ELECTION_NOT_LEADER");
        return { header, result: { kind: "proclaim" } };
      }
      case "resign": {
        const { key, revision: token } = given(request.leader);
        const { header } = await this.#txn([createdAt(key, token)], [{ kind: "deleteRange", key }], [], options);
        return { header, result: { kind: "resign" } };
      }
      case "leader": {
        const { header, result } = await this.#call(first(prefixOf(request.name, "an election")), options);
        const [kv] = result.kvs;
        if (kv === undefined) throw new StoreError("ELECTION_NO_LEADER");
        return { header, result: { kind: "leader", kv } };
      }
    }
  }

  /** Tells an outlet who leads, from now on: always the newest, and whatever lies between as far as the outlet keeps up. */
  observe(name: Uint8Array, outlet: WatchOutlet): Pick<ServedWatch, "resume" | "close"> {
    const isFull = this.#isFull;
    const wait = this.#begin({});
    // Not thrown: a request on a stream may have waited for its turn, and nobody is there to catch what comes of it.
    if (isFull) wait.end(new StoreError("TOO_MANY_REQUESTS"));
    let resumed = (): void => {};
    const tell = async (): Promise<void> => {
      const prefix = prefixOf(name, "an election");
      let told = 0;
      for (;;) {
        await wait.until((done) => {
          resumed = () => {
            if (outlet.writable) done();
          };
          resumed();
          return () => {};
        });
        const { header, result } = await this.#read(first(prefix), wait);
        const [kv] = result.kvs;
        if (kv !== undefined && kv.modRevision !== told) {
          outlet.send(news(header, kv));
          told = kv.modRevision;
        }
        // Whatever happens there: who leads is read anew.
        await this.#change(kv === undefined ? [{ key: prefix, rangeEnd: endOf(prefix) }] : [kv], {
          from: header.revision + 1,
          wait,
        });
      }
    };
    void tell()
      .catch((error) => outlet.ended(StoreError.is(error) ? error : new StoreError("INTERNAL", { cause: error })))
      .finally(() => this.#end(wait));
    return { resume: () => resumed(), close: () => wait.end(new StoreError("CANCELLED")) };
  }

  /** The member stops: whoever waits is told, and gives its place up while that can still be written. */
  end(error: StoreError): void {
    for (const wait of [...this.#waiting]) wait.end(error);
  }

  /** Without another word: nothing can be written any more. */
  stop(): void {
    this.#isStopped = true;
    this.end(new StoreError("STOPPED", { outcome: "unknown" }));
  }

  /** Takes a place, and waits until nobody is left who came before. */
  async #turn(
    { name, lease: brought = NO_LEASE }: LockRequest | CampaignRequest,
    value: Uint8Array,
    what: "mutex" | "election",
    options: CallOptions,
  ): Promise<{ readonly place: Place; readonly header: ResponseHeader; readonly lease: LeaseId }> {
    const prefix = prefixOf(name, what === "mutex" ? "a lock" : "an election");
    if (this.#isFull) throw new StoreError("TOO_MANY_REQUESTS");
    const wait = this.#begin(options);
    let lease = brought;
    let place: Place | undefined;
    try {
      if (lease === NO_LEASE) {
        // Not persisted in: an attempt whose answer was lost has left a lease that nobody knows.
        const granted = await this.#call({ kind: "leaseGrant", ttl: LEASE_TTL } as const, this.#attempt());
        lease = granted.result.id;
      }
      const key = concatBytes([prefix, encodeUtf8(lease.toString(16))]);
      const stood = await this.#stand(prefix, key, value, lease, what, wait);
      const isHeld = stood.isFirst && stood.place.token !== stood.place.written;
      // What this lease held before, it goes on holding, whoever gives up now.
      if (isHeld) return { ...stood, lease };
      place = stood.place;
      wait.throwIfEnded();
      if (stood.isFirst) return { ...stood, lease };
      const header = await this.#waitTurn(place, what, wait);
      return { place, header, lease };
    } catch (error) {
      const left = await this.#giveUp(place, brought === NO_LEASE ? lease : NO_LEASE);
      const outcome = left ?? (wait.isUncertain ? "unknown" : undefined);
      if (!StoreError.is(error) || outcome === undefined || error.outcome === outcome) throw error;
      const { code, message, details } = error;
      throw new StoreError(code, { outcome, message, details, cause: error });
    } finally {
      this.#end(wait);
    }
  }

  /**
   * Takes a place in the queue, or takes over the one that this lease has. No attempt ends by the caller's giving up: its
   * answer says what is to be taken back.
   */
  async #stand(
    prefix: Uint8Array,
    key: Uint8Array,
    value: Uint8Array,
    lease: LeaseId,
    what: "mutex" | "election",
    wait: Wait,
  ): Promise<{ readonly place: Place; readonly header: ResponseHeader; readonly isFirst: boolean }> {
    const put: RequestOp = { kind: "put", key, value, lease };
    for (;;) {
      const { header, result } = await wait.persist(() =>
        this.#txn([createdAt(key, 0)], [put, first(prefix)], [{ kind: "range", key }, first(prefix)], this.#attempt()),
      );
      const [mine, owner] = [result.results[0]!, firstOf(result.results[1]!)];
      if (result.succeeded) {
        const place = { key, prefix, token: header.revision, written: header.revision };
        return { place, header, isFirst: owner === undefined || owner.createRevision === place.token };
      }
      const token = firstOf(mine)!.createRevision;
      const taken = await wait.persist(() => this.#txn([createdAt(key, token)], [put], [], this.#attempt()));
      // It went in between: a place at the end is what is left.
      if (!taken.result.succeeded) continue;
      const place = { key, prefix, token, written: taken.header.revision };
      return { place, header: what === "mutex" ? header : taken.header, isFirst: owner?.createRevision === token };
    }
  }

  async #waitTurn({ key, prefix, token }: Place, what: string, wait: Wait): Promise<ResponseHeader> {
    for (;;) {
      const before = await this.#read({ ...first(prefix), sortOrder: "descend", maxCreateRevision: token - 1 }, wait);
      const [predecessor] = before.result.kvs;
      // Nobody came before us, but perhaps only because our own key is gone too.
      const mine = await this.#read({ kind: "range", key }, wait);
      if (mine.result.kvs[0]?.createRevision !== token) {
        throw new StoreError("SESSION_LOST", { message: `${what}: session is expired` });
      }
      if (predecessor === undefined) return mine.header;
      // Only the one right before: when it goes, one of those who wait wakes, not all. Or our own.
      await this.#change([predecessor, { key }], { from: before.header.revision + 1, wait, onlyDeletions: true });
    }
  }

  /** Resolves after something has happened to one of these keys from a revision on, or may have. */
  #change(
    selected: readonly { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array | undefined }[],
    {
      from,
      wait,
      onlyDeletions = false,
    }: { readonly from: number; readonly wait: Wait; readonly onlyDeletions?: boolean },
  ): Promise<void> {
    return wait.until((done) => {
      const stream = this.#o.watch(
        {
          writable: true,
          send: ({ events, canceled }) => {
            if (canceled || events.length > 0) done();
          },
          ended: (error) => done(error),
        },
        {},
      );
      for (const { key, rangeEnd } of selected) {
        stream.request({
          kind: "create",
          key,
          ...(rangeEnd === undefined ? {} : { rangeEnd }),
          startRevision: from,
          noPut: onlyDeletions,
        });
      }
      return () => stream.close();
    });
  }

  /** Takes the place back. Where that fails its lease does it, at its end. Nothing to take back: `undefined`. */
  async #giveUp(place: Place | undefined, granted: LeaseId): Promise<"rejected" | "unknown" | undefined> {
    if (place === undefined && granted === NO_LEASE) return undefined;
    if (this.#isStopped) return "unknown";
    const options = { timeoutMs: TIDY_MS };
    try {
      if (granted !== NO_LEASE) await this.#o.call({ kind: "leaseRevoke", id: granted }, options);
      else if (place !== undefined) {
        const { key, token, written } = place;
        const asWritten: Compare = { key, result: "equal", target: "mod", modRevision: written };
        await this.#txn([createdAt(key, token), asWritten], [{ kind: "deleteRange", key }], [], options);
      }
      return "rejected";
    } catch (error) {
      if (!StoreError.is(error)) throw error;
      return "unknown";
    }
  }

  get #isFull(): boolean {
    return this.#waiting.size >= WAITING_MAX;
  }

  #begin(options: Partial<CallOptions>): Wait {
    const wait = new Wait(this.#o.clock, 3 * this.#o.attemptMs, options);
    this.#waiting.add(wait);
    return wait;
  }

  #end(wait: Wait): void {
    wait.close();
    this.#waiting.delete(wait);
  }

  #read(request: RangeRequest, wait: Wait): Promise<{ readonly header: ResponseHeader; readonly result: RangeResult }> {
    return wait.persist((signal) => this.#call(request, this.#attempt(signal)));
  }

  #attempt(signal?: AbortSignal): CallOptions {
    return { timeoutMs: this.#o.attemptMs, signal };
  }

  #txn(
    compare: readonly Compare[],
    success: readonly RequestOp[],
    failure: readonly RequestOp[],
    options: CallOptions,
  ): Promise<Response<TxnResult>> {
    return this.#call({ kind: "txn", compare, success, failure }, options);
  }

  async #call<Q extends Request>(request: Q, { timeoutMs, signal }: CallOptions): Promise<Response<ResultOf<Q>>> {
    return (await this.#o.call(request, { timeoutMs, signal })) as Response<ResultOf<Q>>;
  }
}

/** Under which a queue lies. As in etcd, the queue of `a` holds that of `a/b` too. */
function prefixOf(name: Uint8Array, what: string): Uint8Array {
  if (!(name instanceof Uint8Array) || name.length === 0) {
    throw new StoreError("INVALID_REQUEST", { message: `quorate: the request is malformed: ${what} needs a name` });
  }
  return concatBytes([name, encodeUtf8("/")]);
}

/** The key after all of a prefix that ends with a slash. */
function endOf(prefix: Uint8Array): Uint8Array {
  const end = prefix.slice();
  end[end.length - 1]! += 1;
  return end;
}

function given(leader: LeaderKey | undefined): LeaderKey {
  if (leader === undefined || leader === null) throw new StoreError("ELECTION_LEADER_MISSING");
  return leader;
}

function createdAt(key: Uint8Array, createRevision: number): Compare {
  return { key, result: "equal", target: "create", createRevision };
}

/** Who has the turn. */
function first(prefix: Uint8Array): RangeRequest {
  return { kind: "range", key: prefix, rangeEnd: endOf(prefix), sortOrder: "ascend", sortTarget: "create", limit: 1 };
}

function firstOf(result: OpResult): KeyValue | undefined {
  return (result as RangeResult).kvs[0];
}

function news(header: ResponseHeader, kv: KeyValue): Parameters<WatchOutlet["send"]>[0] {
  const none = { watchId: 0, created: false, canceled: false, compactRevision: 0, cancelReason: "", fragment: false };
  return { ...none, header, events: [{ type: "put", kv }] };
}

/** Whether the same may succeed later. */
function passes(error: unknown): boolean {
  if (!StoreError.is(error)) return false;
  switch (error.code) {
    case "NO_LEADER":
    case "LEADER_CHANGED":
    case "TIMEOUT":
    case "TOO_MANY_REQUESTS":
      return true;
    default:
      return false;
  }
}
