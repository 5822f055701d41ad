/** Lease calls of the client: `client.lease`. */
import { type Deferred, deferred } from "../base/deferred.ts";
import { type Status, StoreError } from "../base/errors.ts";
import type { LeaseId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response, ResultOf } from "../protocol/responses.ts";
import type { RequestOptions } from "./client.ts";

export interface LeaseAnswer {
  readonly header: ResponseHeader;
  readonly id: LeaseId;
  /** Seconds. */
  readonly ttl: number;
}

export interface KeepAliveAnswer extends LeaseAnswer {
  /**
   * Until when the lease certainly lives, in milliseconds of the client's clock: counted from when the renewal was sent,
   * so the server ends it no sooner, however long the answer took.
   */
  readonly deadline: number;
}

export interface KeepAliveOptions {
  readonly signal?: AbortSignal | undefined;
  /** The newest grant or renewal, where it is known: its deadline holds until the first answer. */
  readonly since?: Pick<KeepAliveAnswer, "ttl" | "deadline"> | undefined;
}

export interface TimeToLiveAnswer extends LeaseAnswer {
  /** 0 if there is no such lease; its `ttl` is -1 then. */
  readonly grantedTtl: number;
  /** With `keys`, what is attached to it, ascending. */
  readonly keys: readonly Uint8Array[];
}

export interface LeaseListAnswer {
  readonly header: ResponseHeader;
  /** Ascending. */
  readonly leases: readonly LeaseId[];
}

/** What leases need of the client. */
export interface LeaseHost {
  readonly clock: Clock;
  readonly send: <Q extends Request>(request: Q, options: RequestOptions) => Promise<Response<ResultOf<Q>>>;
  /** Rejects with `CANCELLED` when the signal aborts or the client is closed. */
  readonly pause: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** Leases: keys that live only as long as somebody keeps them alive. `client.lease`. */
export class Leases {
  readonly #host: LeaseHost;

  constructor(host: LeaseHost) {
    this.#host = host;
  }

  /**
   * A new lease that lasts `ttl` seconds unless it is kept alive. The server raises what is too short (the answer says to
   * what) and chooses an id unless one is given. Throws `LEASE_EXISTS`, `LEASE_TTL_TOO_LARGE`, and what a write throws.
   *
   * @example
   * const { id } = await client.lease.grant(30);
   * await client.put("services/7", "10.0.0.7:80", { lease: id });
   */
  async grant(ttl: number, options: RequestOptions & { readonly id?: LeaseId | undefined } = {}): Promise<LeaseAnswer> {
    const { id } = options;
    const request = { kind: "leaseGrant", ttl, ...(id === undefined ? {} : { id }) } as const;
    const { header, result } = await this.#host.send(request, options);
    return { header, id: result.id, ttl: result.ttl };
  }

  /** Ends a lease and deletes its keys, at one revision. Throws `LEASE_NOT_FOUND`, and what a write throws. */
  async revoke(id: LeaseId, options: RequestOptions = {}): Promise<{ readonly header: ResponseHeader }> {
    const { header } = await this.#host.send({ kind: "leaseRevoke", id }, options);
    return { header };
  }

  /** Renews once. Throws `LEASE_NOT_FOUND` if it has ended. */
  async keepAliveOnce(id: LeaseId, options: RequestOptions = {}): Promise<KeepAliveAnswer> {
    const sentAt = this.#host.clock.now();
    const { header, result } = await this.#host.send({ kind: "leaseKeepAlive", id }, options);
    if (result.ttl <= 0) throw notFound(id);
    return { header, id, ttl: result.ttl, deadline: sentAt + result.ttl * 1000 };
  }

  /**
   * Renews from now on, three times within each TTL, over lost connections and changes of leaders, whether or not anybody
   * looks at the answers (the newest waits for whoever does). Ends when the signal aborts or the iteration is left; with
   * `LEASE_NOT_FOUND` when the lease has ended, with `TIMEOUT` when its deadline passed without an answer: then it may
   * have ended, and whoever relied on it must stop.
   *
   * @example
   * for await (const { ttl } of client.lease.keepAlive(id, { signal })) console.log(`${ttl} s more`);
   */
  keepAlive(id: LeaseId, options: KeepAliveOptions = {}): KeepAlive {
    return new KeepAlive(this.#host, id, options);
  }

  /** How much a lease has left, and with `keys` what is attached to it. No such lease is `ttl: -1`, not an error. */
  async timeToLive(
    id: LeaseId,
    options: RequestOptions & { readonly keys?: boolean | undefined } = {},
  ): Promise<TimeToLiveAnswer> {
    const request = { kind: "leaseTimeToLive", id, ...(options.keys === true ? { keys: true } : {}) } as const;
    const { header, result } = await this.#host.send(request, options);
    return { header, id, ttl: result.ttl, grantedTtl: result.grantedTtl, keys: result.keys };
  }

  /** All leases, as the answering member knows them. */
  async list(options: RequestOptions = {}): Promise<LeaseListAnswer> {
    const { header, result } = await this.#host.send({ kind: "leaseList" }, options);
    return { header, leases: result.leases };
  }
}

/** Before the first answer nothing says how long it may take. */
const FIRST_MS = 5_000;
/** An attempt is given a third of the TTL, so that another member can be asked before the deadline; but so much. */
const ATTEMPT_MS_MIN = 500;
const ATTEMPT_MS_MAX = 5_000;
const RETRY_MS = 500;

/** A lease being kept alive: the answers, and until when it certainly lives. Leave the iteration or dispose of it to end it. */
export class KeepAlive implements AsyncIterableIterator<KeepAliveAnswer>, AsyncDisposable {
  readonly id: LeaseId;
  /** Resolves when it is kept alive no more: with the reason, or `undefined` where its owner ended it. */
  readonly ended: Promise<unknown>;
  readonly #host: LeaseHost;
  readonly #stop = new AbortController();
  #deadline: number | undefined;
  /** Fires at the deadline. */
  #overdue: Timer | undefined;
  /** The newest answer that nobody took yet. */
  #newest: KeepAliveAnswer | undefined;
  readonly #takers: Deferred<IteratorResult<KeepAliveAnswer, undefined>>[] = [];
  #end: { readonly reason: unknown } | undefined;
  #told = false;

  constructor(host: LeaseHost, id: LeaseId, { signal, since }: KeepAliveOptions) {
    this.#host = host;
    this.id = id;
    if (since !== undefined) this.#renewed(since.deadline);
    const onAbort = (): void => this.#stop.abort(new StoreError("CANCELLED", { cause: signal?.reason }));
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    const stopped = new Promise<unknown>((resolve) => {
      const { signal: stop } = this.#stop;
      if (stop.aborted) resolve(reasonOf(stop));
      else stop.addEventListener("abort", () => resolve(reasonOf(stop)), { once: true });
    });
    // Whatever is under way, its owner hears of the end at once.
    this.ended = Promise.race([stopped, this.#run(since === undefined ? FIRST_MS : attemptMs(since.ttl))]).then(
      (reason) => {
        signal?.removeEventListener("abort", onAbort);
        this.#overdue?.cancel();
        this.#stop.abort();
        this.#end = { reason };
        for (const taker of this.#takers.splice(0)) this.#tellEnd(taker);
        return reason;
      },
    );
  }

  /** See `KeepAliveAnswer`. `undefined` before the first answer. */
  get deadline(): number | undefined {
    return this.#deadline;
  }

  next(): Promise<IteratorResult<KeepAliveAnswer, undefined>> {
    const taker = deferred<IteratorResult<KeepAliveAnswer, undefined>>();
    const value = this.#newest;
    this.#newest = undefined;
    if (value !== undefined) taker.resolve({ done: false, value });
    else if (this.#end !== undefined) this.#tellEnd(taker);
    else this.#takers.push(taker);
    return taker.promise;
  }

  async return(): Promise<IteratorResult<KeepAliveAnswer, undefined>> {
    this.#stop.abort();
    await this.ended;
    this.#told = true;
    this.#newest = undefined;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  /** The reason goes to one that asks; whoever asks later only hears that it is over. */
  #tellEnd(taker: Deferred<IteratorResult<KeepAliveAnswer, undefined>>): void {
    const reason = this.#end?.reason;
    if (this.#told || reason === undefined) {
      taker.resolve({ done: true, value: undefined });
      return;
    }
    this.#told = true;
    taker.reject(reason);
  }

  #deliver(answer: KeepAliveAnswer): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#newest = answer;
    else taker.resolve({ done: false, value: answer });
  }

  #renewed(deadline: number): void {
    const { clock } = this.#host;
    this.#deadline = deadline;
    this.#overdue?.cancel();
    this.#overdue = clock.after(deadline - clock.now(), () => this.#stop.abort(tooLate()));
  }

  /** Resolves with why it ended; never rejects. */
  async #run(firstMs: number): Promise<unknown> {
    const { clock, send, pause } = this.#host;
    const { signal } = this.#stop;
    const request = { kind: "leaseKeepAlive", id: this.id } as const;
    let mostMs = firstMs;
    for (;;) {
      let wait: number;
      const sentAt = clock.now();
      try {
        const left = this.#deadline === undefined ? FIRST_MS : Math.max(1, this.#deadline - sentAt);
        const { header, result } = await send(request, { signal, timeoutMs: Math.min(mostMs, left) });
        const { ttl } = result;
        if (signal.aborted) return reasonOf(signal);
        if (ttl <= 0) return notFound(this.id);
        const deadline = sentAt + ttl * 1000;
        const now = clock.now();
        // The answer waited for too long to be of use: this process may have been stopped.
        if (deadline <= now) return tooLate();
        this.#renewed(deadline);
        this.#deliver({ header, id: this.id, ttl, deadline });
        mostMs = attemptMs(ttl);
        wait = Math.max(0, sentAt + (ttl * 1000) / 3 - now);
      } catch (error) {
        if (signal.aborted) return reasonOf(signal);
        if (this.#deadline === undefined || !StoreError.is(error) || FINAL.has(error.status)) return error;
        wait = RETRY_MS;
      }
      try {
        if (!signal.aborted) await pause(wait, signal);
      } catch (error) {
        if (!signal.aborted) return error;
      }
      if (signal.aborted) return reasonOf(signal);
      // A process that was stopped may run this before the timer.
      if (this.#deadline !== undefined && this.#deadline <= clock.now()) return tooLate();
    }
  }
}

/** Asking again would only repeat the refusal. */
const FINAL: ReadonlySet<Status> = new Set<Status>(["CANCELLED", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED"]);

function attemptMs(ttl: number): number {
  return Math.min(ATTEMPT_MS_MAX, Math.max(ATTEMPT_MS_MIN, (ttl * 1000) / 3));
}

function notFound(id: LeaseId): StoreError {
  return new StoreError("LEASE_NOT_FOUND", { details: { leaseId: id } });
}

/** `undefined` where its owner left. */
function reasonOf(stop: AbortSignal): unknown {
  return stop.reason instanceof StoreError ? stop.reason : undefined;
}

function tooLate(): StoreError {
  return new StoreError("TIMEOUT", {
    outcome: "unknown",
    message: "quorate: the lease was not renewed before its deadline",
  });
}
