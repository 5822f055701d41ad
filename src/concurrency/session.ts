/**
 * A lease kept alive: what locks and elections stand on. Its holder learns that it is lost no later than in the first turn
 * of its event loop after the deadline; `assertHeld` looks at the clock and knows at once.
 */
import { StoreError } from "../base/errors.ts";
import { type LeaseId, NO_LEASE } from "../base/ids.ts";
import type { RequestOptions } from "../client/client.ts";
import { invalid } from "../client/kv.ts";
import type { KeepAlive } from "../client/lease.ts";
import type { ClientView } from "../client/namespace.ts";

export interface SessionOptions extends RequestOptions {
  /** Seconds that the session outlives its holder. Default 60, as in etcd; the server raises what is too short. */
  readonly ttl?: number | undefined;
  /** A lease that exists already. It is renewed at once, and `ttl` does not count. */
  readonly lease?: LeaseId | undefined;
}

const TTL = 60;
const LOST_REVOKE_MS = 2_000;

/**
 * A lease that is kept alive until the session ends, over lost connections and changes of leaders. What hangs on it (a
 * lock, a candidacy, any key put with `lease: session.lease`) goes with it.
 *
 * A process that was stopped, or cut off for as long as its TTL, has lost the session, though nobody could tell it
 * meanwhile: then `signal` aborts in the first turn of the event loop, and `assertHeld()` throws even before that. What
 * must not happen afterwards belongs in a txn guarded by a fencing token (see `Mutex` and `Election`).
 *
 * @example
 * await using session = await Session.open(client, { ttl: 10 });
 * await client.put("workers/7", "here", { lease: session.lease });
 * session.signal.addEventListener("abort", () => stopWork());
 */
export class Session implements AsyncDisposable {
  readonly client: ClientView;
  readonly lease: LeaseId;
  /** Seconds, as the server granted them. */
  readonly ttl: number;
  readonly #keepAlive: KeepAlive;
  readonly #abort = new AbortController();
  #closing: Promise<void> | undefined;

  private constructor(client: ClientView, lease: LeaseId, ttl: number, deadline: number) {
    this.client = client;
    this.lease = lease;
    this.ttl = ttl;
    this.#keepAlive = client.lease.keepAlive(lease, { since: { ttl, deadline } });
    void this.#keepAlive.ended.then((reason) => this.#lose(reason));
  }

  /**
   * Takes a lease, or the one given, and begins to keep it alive. Throws `INVALID_REQUEST` (a TTL that is no whole number
   * of seconds from 1 on), `LEASE_TTL_TOO_LARGE`, `LEASE_NOT_FOUND` (the lease given), and what a write throws.
   */
  static async open(client: ClientView, options: SessionOptions = {}): Promise<Session> {
    const { ttl = TTL, lease, signal, timeoutMs } = options;
    const call = { signal, timeoutMs };
    if (lease === undefined) {
      if (!Number.isSafeInteger(ttl) || ttl < 1) {
        throw invalid(`the ttl of a session must be a whole number of seconds from 1 on, not ${ttl}`);
      }
      const sentAt = client.host.clock.now();
      const granted = await client.lease.grant(ttl, call);
      return new Session(client, granted.id, granted.ttl, sentAt + granted.ttl * 1000);
    }
    if (typeof lease !== "bigint" || lease === NO_LEASE) throw invalid("the lease of a session must be a lease's id");
    const { ttl: left, deadline } = await client.lease.keepAliveOnce(lease, call);
    return new Session(client, lease, left, deadline);
  }

  /** Aborts when the session has ended: lost, orphaned or closed. Its reason is a `StoreError` `SESSION_LOST`. */
  get signal(): AbortSignal {
    this.#look();
    return this.#abort.signal;
  }

  /** Until when the lease certainly lives, in milliseconds of the client's clock: its last renewal was sent a TTL before. */
  get deadline(): number {
    return this.#keepAlive.deadline ?? 0;
  }

  /** Throws `SESSION_LOST` unless the lease certainly lives now. Asks nobody: call it right before what relies on it. */
  assertHeld(): void {
    this.#look();
    if (this.#abort.signal.aborted) throw this.#abort.signal.reason;
  }

  /** Keeps the lease alive no more, without ending it: what hangs on it stays for up to a TTL. */
  orphan(): void {
    this.#end(this.#lost("quorate: the session is orphaned"));
  }

  /**
   * Ends the lease, and all that hangs on it in one revision. Rejects with what kept the server from it (within a TTL it
   * ends by itself); a lease that has ended already is no error. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** As `close`, but never rejects: a lease that could not be ended now ends by itself. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close().catch(() => {});
  }

  async #close(): Promise<void> {
    // One that is lost is most likely cut off: its lease ends by itself, and nobody waits a whole TTL for that.
    const timeoutMs = Math.min(this.ttl * 1000, this.#abort.signal.aborted ? LOST_REVOKE_MS : Infinity);
    this.#end(this.#lost("quorate: the session is closed"));
    try {
      await this.client.lease.revoke(this.lease, { timeoutMs });
    } catch (error) {
      if (!StoreError.is(error, "LEASE_NOT_FOUND")) throw error;
    }
  }

  /** A clock that has passed the deadline counts before any timer could run. */
  #look(): void {
    if (this.client.host.clock.now() >= this.deadline) this.#lose(undefined);
  }

  #lose(cause: unknown): void {
    this.#end(this.#lost(undefined, cause));
  }

  #lost(message?: string, cause?: unknown): StoreError {
    return new StoreError("SESSION_LOST", {
      details: { leaseId: this.lease },
      ...(message === undefined ? {} : { message }),
      ...(cause === undefined ? {} : { cause }),
    });
  }

  #end(reason: StoreError): void {
    if (this.#abort.signal.aborted) return;
    this.#abort.abort(reason);
    void this.#keepAlive.return();
  }
}
