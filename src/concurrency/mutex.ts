/** Mutual exclusion over a cluster, with etcd's keys and transactions (etcd-semantics 6.2). */
import { StoreError } from "../base/errors.ts";
import type { Revision } from "../base/ids.ts";
import { type GetOpResult, invalid } from "../client/kv.ts";
import { compare, op } from "../client/txn.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Compare } from "../protocol/requests.ts";
import { Bounds, type WaitOptions } from "./bounds.ts";
import { type Claim, claim, FIRST, keyOf, prefixOf, waitTurn } from "./queue.ts";
import type { Session } from "./session.ts";

/** How long the key of an attempt that was given up is looked after before its lease has to end it. */
const TIDY_MS = 5_000;

/**
 * One lock by name. Whoever stands in the queue first has it; a holder that dies or is cut off loses it with its session.
 * One session is one holder: as in etcd, it enters again at once. Tasks that exclude each other take a session each.
 *
 * **A lock alone protects nothing from a holder that was stopped and does not know yet that its time is over.** Put what
 * must not happen then in a txn guarded by `isOwner()`: no effect of an older holder lands after a newer one's. `token`
 * says the same to other systems; it rises from holder to holder.
 *
 * @example
 * await using session = await Session.open(client, { ttl: 10 });
 * const mutex = new Mutex(session, "jobs/nightly");
 * await mutex.lock({ signal });
 * try {
 *   await client.txn().if(mutex.isOwner()).then(op.put("report", "...")).commit();
 * } finally {
 *   await mutex.unlock();
 * }
 */
export class Mutex {
  readonly session: Session;
  /** This session's place in the queue: `<name>/<lease in hexadecimal>`. */
  readonly key: Uint8Array;
  readonly #prefix: Uint8Array;
  #token: Revision | undefined;
  #header: ResponseHeader | undefined;
  #claim: Claim | undefined;
  #locking = false;

  /** Throws `INVALID_REQUEST` for an empty name. */
  constructor(session: Session, name: string | Uint8Array) {
    this.session = session;
    this.#prefix = prefixOf(name, "a lock");
    this.key = keyOf(this.#prefix, session.lease);
  }

  /** The fencing token while it is locked: the create revision of `key`. Each holder's is above all earlier ones'. */
  get token(): Revision | undefined {
    return this.#token;
  }

  /** The answer that gave it the lock. */
  get header(): ResponseHeader | undefined {
    return this.#header;
  }

  /**
   * Waits for the lock, through everything that passes. Throws `SESSION_LOST` when the session ends before; etcd's lock
   * may be given to a holder whose lease has expired meanwhile, ours looks again at the end. Throws `CANCELLED` and
   * `DEADLINE_EXCEEDED` by its options: its place in the queue is given up then.
   */
  async lock(options: WaitOptions = {}): Promise<void> {
    await this.#enter(options, true);
  }

  /** Takes the lock if it is free, and says whether it did. Errors as of `lock`. */
  async tryLock(options: WaitOptions = {}): Promise<boolean> {
    return this.#enter(options, false);
  }

  /**
   * Gives the lock up; says whether it still had it. Throws `LOCK_RELEASED` where it was not locked, and what a write
   * throws: then the lock counts as held, and `unlock` may be called again.
   */
  async unlock(options: WaitOptions = {}): Promise<boolean> {
    const token = this.#token;
    if (token === undefined || this.#locking) throw new StoreError("LOCK_RELEASED");
    using bounds = new Bounds(this.session.client, { timeoutMs: TIDY_MS, ...options });
    const had = await this.#release(token, bounds);
    this.#token = undefined;
    this.#claim?.release();
    this.#claim = undefined;
    return had;
  }

  /** Holds as long as this lock is held: for the `if` of a txn. Throws `LOCK_RELEASED` where it is not locked. */
  isOwner(): Compare {
    if (this.#token === undefined) throw new StoreError("LOCK_RELEASED");
    return compare.createRevision(this.key, "=", this.#token);
  }

  async #enter(options: WaitOptions, wait: boolean): Promise<boolean> {
    if (this.#locking) throw invalid("a lock is waited for once at a time: take a session and a Mutex for each task");
    const { session } = this;
    session.assertHeld();
    this.#locking = true;
    const held = this.#token;
    this.#claim ??= claim(session, this.key);
    let place: Revision | undefined;
    let settled = false;
    try {
      using bounds = new Bounds(session.client, options, session.signal);
      const entered = await this.#stand(bounds);
      place = entered.place;
      let header = entered.header;
      if (!entered.first) {
        if (!wait) {
          // Not left to the tidying: a place that stays would hold up others.
          if (this.#claim.release()) await this.#release(place, bounds);
          this.#claim = undefined;
          // Somebody else has it: whatever was held before is not any more.
          this.#token = undefined;
          settled = true;
          return false;
        }
        await waitTurn(session.client, this.#prefix, place, bounds);
        // Nobody before us, but perhaps only because our own key went too.
        const mine = await bounds.persist((call) => session.client.get(this.key, call));
        if (mine.kvs[0]?.createRevision !== place) throw expired(this.session);
        header = mine.header;
      }
      session.assertHeld();
      this.#token = place;
      this.#header = header;
      settled = true;
      return true;
    } catch (error) {
      throw StoreError.is(error, "LEASE_NOT_FOUND") ? expired(this.session, error) : error;
    } finally {
      this.#locking = false;
      // A place that was held before stays held.
      if (!settled && (held === undefined || (place !== undefined && place !== held))) {
        this.#token = undefined;
        await this.#tidy(place);
      }
    }
  }

  /** Takes a place in the queue, or finds the one that this session has. */
  async #stand(
    bounds: Bounds,
  ): Promise<{ readonly place: Revision; readonly first: boolean; readonly header: ResponseHeader }> {
    const { client, lease } = this.session;
    const { header, succeeded, results } = await bounds.persist((call) =>
      client
        .txn(call)
        .if(compare.createRevision(this.key, "=", 0))
        .then(op.put(this.key, "", { lease }), op.get(this.#prefix, FIRST))
        .else(op.get(this.key), op.get(this.#prefix, FIRST))
        .commit(),
    );
    const place = succeeded ? header.revision : (results[0] as GetOpResult).kvs[0]!.createRevision;
    const owner = results[1].kvs[0];
    return { place, header, first: owner === undefined || owner.createRevision === place };
  }

  /** Guarded by the place: a deletion that was delayed for long must not hit a later one. */
  async #release(place: Revision, bounds: Bounds): Promise<boolean> {
    const { succeeded } = await bounds.persist((call) =>
      this.session.client
        .txn(call)
        .if(compare.createRevision(this.key, "=", place))
        .then(op.delete(this.key))
        .commit(),
    );
    return succeeded;
  }

  /**
   * Leaves the queue. Where that fails the lease does it, at its end. Without an answer to the first request there may be a
   * place still: it is looked for too.
   */
  async #tidy(place: Revision | undefined): Promise<void> {
    const { client, signal } = this.session;
    const isLast = this.#claim?.release() ?? false;
    this.#claim = undefined;
    if (signal.aborted || !isLast) return;
    try {
      using bounds = new Bounds(client, { timeoutMs: TIDY_MS }, signal);
      if (place !== undefined) await this.#release(place, bounds);
      else await bounds.persist((call) => client.delete(this.key, call));
    } catch (error) {
      if (!StoreError.is(error)) throw error;
    }
  }
}

function expired({ lease }: Session, cause?: unknown): StoreError {
  return new StoreError("SESSION_LOST", {
    message: "mutex: session is expired",
    details: { leaseId: lease },
    ...(cause === undefined ? {} : { cause }),
  });
}
