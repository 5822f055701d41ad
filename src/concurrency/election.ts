/** Elections over a cluster, with etcd's keys and transactions (etcd-semantics 6.3). */
import { compareBytes, equalBytes } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type Revision, revision } from "../base/ids.ts";
import type { RequestOptions } from "../client/client.ts";
import { bytesOf, type GetOpResult, invalid, type StoredKeyValue } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import { compare, op } from "../client/txn.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Compare } from "../protocol/requests.ts";
import { Bounds, type WaitOptions } from "./bounds.ts";
import { type Claim, claim, FIRST, keyOf, prefixOf, waitTurn } from "./queue.ts";
import type { Session } from "./session.ts";

const TIDY_MS = 5_000;

/** Who leads: its key, and in `kv.value` what it proclaims. */
export interface LeaderAnswer {
  readonly header: ResponseHeader;
  readonly kv: StoredKeyValue;
}

/**
 * One election by name. Candidates queue; the oldest leads until it resigns or its session ends. Programs that use etcd's
 * own packages can stand in the same election. Leading means nothing to one that was stopped and does not know yet that it
 * leads no more: put what must not happen then in a txn guarded by `isLeader()`; `token` rises from leader to leader.
 *
 * @example
 * await using session = await Session.open(client, { ttl: 10 });
 * const election = new Election(session, "scheduler");
 * await election.campaign("node-1", { signal });
 * while (!session.signal.aborted) await client.txn().if(election.isLeader()).then(op.put("tick", "...")).commit();
 */
export class Election {
  readonly session: Session;
  /** This session's place in the queue: `<name>/<lease in hexadecimal>`. */
  readonly key: Uint8Array;
  readonly #prefix: Uint8Array;
  /** The create revision of the key, and whether it is known to lead. */
  #place: { readonly token: Revision; readonly leads: boolean } | undefined;
  #header: ResponseHeader | undefined;
  #claim: Claim | undefined;
  #campaigning = false;

  /** Throws `INVALID_REQUEST` for an empty name. */
  constructor(session: Session, name: string | Uint8Array) {
    this.session = session;
    this.#prefix = prefixOf(name, "an election");
    this.key = keyOf(this.#prefix, session.lease);
  }

  /**
   * Goes on as the leader that an earlier `Election` of the same session (or lease) was. Whether it still is shows with
   * the next `proclaim`. Throws `INVALID_REQUEST` where `key` is not this session's.
   */
  static resume(
    session: Session,
    name: string | Uint8Array,
    leader: { readonly key: string | Uint8Array; readonly token: number },
  ): Election {
    const election = new Election(session, name);
    if (!equalBytes(bytesOf(leader.key, "leader key"), election.key)) {
      throw invalid("the leader key is not that of this election and session");
    }
    if (!Number.isSafeInteger(leader.token) || leader.token < 1) {
      throw invalid(`a leader's token is a revision, not ${leader.token}`);
    }
    election.#place = { token: revision(leader.token), leads: true };
    return election;
  }

  /** The fencing token while it leads: the create revision of `key`. Each leader's is above all earlier ones'. */
  get token(): Revision | undefined {
    return this.#place?.leads === true ? this.#place.token : undefined;
  }

  /** The answer by which it was elected, or to its last proclamation. */
  get header(): ResponseHeader | undefined {
    return this.#header;
  }

  /**
   * Stands for election with this value and waits until elected. A candidate that stands already only changes its value.
   * Throws `SESSION_LOST` when the session ends before; etcd's campaign may be won by a candidate whose lease has expired
   * meanwhile, ours looks again at the end. Throws `CANCELLED` and `DEADLINE_EXCEEDED` by its options: the candidacy is
   * withdrawn then.
   */
  async campaign(value: string | Uint8Array, options: WaitOptions = {}): Promise<void> {
    if (this.#campaigning) throw invalid("this election is campaigned for already");
    const bytes = bytesOf(value, "value");
    const { session } = this;
    const { client, lease } = session;
    session.assertHeld();
    this.#campaigning = true;
    const before = this.token;
    this.#claim ??= claim(session, this.key);
    try {
      using bounds = new Bounds(client, options, session.signal);
      const { header, succeeded, results } = await bounds.persist((call) =>
        client
          .txn(call)
          .if(compare.createRevision(this.key, "=", 0))
          .then(op.put(this.key, bytes, { lease }))
          .else(op.get(this.key))
          .commit(),
      );
      const mine = succeeded ? undefined : (results[0] as GetOpResult).kvs[0]!;
      const token = mine?.createRevision ?? header.revision;
      this.#place = { token, leads: before === token };
      if (mine !== undefined && compareBytes(mine.value, bytes) !== 0) {
        await this.#proclaim(token, bytes, { signal: bounds.signal });
      }
      await waitTurn(client, this.#prefix, token, bounds);
      // Nobody before us, but perhaps only because our own key went too.
      const { kvs } = await bounds.persist((call) => client.get(this.key, call));
      if (kvs[0]?.createRevision !== token) throw this.#expired();
      session.assertHeld();
      this.#place = { token, leads: true };
      this.#header = header;
    } catch (error) {
      const isOut =
        StoreError.is(error, "LEASE_NOT_FOUND") ||
        StoreError.is(error, "ELECTION_NOT_LEADER") ||
        StoreError.is(error, "SESSION_LOST");
      // Who led before, and whose key is there still, goes on leading.
      if (isOut || this.token === undefined) await this.#withdraw();
      throw isOut && error.code !== "SESSION_LOST" ? this.#expired(error) : error;
    } finally {
      this.#campaigning = false;
    }
  }

  /**
   * Changes the leader's value. Throws `ELECTION_NOT_LEADER` when it leads no more, and what a write throws: with outcome
   * "unknown" the value may have changed, or may change yet.
   */
  async proclaim(value: string | Uint8Array, options: RequestOptions = {}): Promise<void> {
    const bytes = bytesOf(value, "value");
    const { token } = this;
    if (token === undefined) throw new StoreError("ELECTION_NOT_LEADER");
    this.session.assertHeld();
    try {
      await this.#proclaim(token, bytes, options);
    } catch (error) {
      if (StoreError.is(error, "ELECTION_NOT_LEADER")) this.#place = undefined;
      throw error;
    }
  }

  /** Leads no more, and lets the next candidate lead. Says whether it still led; one that never stood resigns nothing. */
  async resign(options: WaitOptions = {}): Promise<boolean> {
    const place = this.#place;
    if (place === undefined) return false;
    using bounds = new Bounds(this.session.client, { timeoutMs: TIDY_MS, ...options });
    const had = await this.#leave(place.token, bounds);
    this.#place = undefined;
    this.#claim?.release();
    this.#claim = undefined;
    return had;
  }

  /** Holds as long as this candidate leads: for the `if` of a txn. Throws `ELECTION_NOT_LEADER` where it does not. */
  isLeader(): Compare {
    const { token } = this;
    if (token === undefined) throw new StoreError("ELECTION_NOT_LEADER");
    return compare.createRevision(this.key, "=", token);
  }

  /** Who leads now. Throws `ELECTION_NO_LEADER` where nobody does. */
  leader(options: RequestOptions = {}): Promise<LeaderAnswer> {
    return leaderOf(this.session.client, this.#prefix, options);
  }

  /** See `observeElection`. Needs no candidacy. */
  observe(options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<LeaderAnswer, void, undefined> {
    return observe(this.session.client, this.#prefix, options);
  }

  async #proclaim(token: Revision, value: Uint8Array, options: RequestOptions): Promise<void> {
    const { client, lease } = this.session;
    const { succeeded, header } = await client
      .txn(options)
      .if(compare.createRevision(this.key, "=", token))
      .then(op.put(this.key, value, { lease }))
      .commit();
    if (!succeeded) throw new StoreError("ELECTION_NOT_LEADER");
    this.#header = header;
  }

  async #leave(token: Revision, bounds: Bounds): Promise<boolean> {
    const { succeeded } = await bounds.persist((call) =>
      this.session.client
        .txn(call)
        .if(compare.createRevision(this.key, "=", token))
        .then(op.delete(this.key))
        .commit(),
    );
    return succeeded;
  }

  /** Leaves the queue. Where that fails the lease does it, at its end. */
  async #withdraw(): Promise<void> {
    const place = this.#place;
    this.#place = undefined;
    const { client, signal } = this.session;
    const isLast = this.#claim?.release() ?? false;
    this.#claim = undefined;
    if (signal.aborted || !isLast) return;
    try {
      using bounds = new Bounds(client, { timeoutMs: TIDY_MS }, signal);
      if (place !== undefined) await this.#leave(place.token, bounds);
      else await bounds.persist((call) => client.delete(this.key, call));
    } catch (error) {
      if (!StoreError.is(error)) throw error;
    }
  }

  #expired(cause?: unknown): StoreError {
    return new StoreError("SESSION_LOST", {
      message: "election: session is expired",
      details: { leaseId: this.session.lease },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

async function leaderOf(client: ClientView, prefix: Uint8Array, options: RequestOptions): Promise<LeaderAnswer> {
  const { header, kvs } = await client.get(prefix, { ...FIRST, ...options });
  const kv = kvs[0];
  if (kv === undefined) throw new StoreError("ELECTION_NO_LEADER");
  return { header, kv };
}

/**
 * Who leads an election, and what it proclaims, for whoever does not stand in it: the leader there is, then each change,
 * for ever. Always ends with the newest; a slow reader may miss what lies between. Between two leaders it waits. Ends when
 * it is left; with `CANCELLED` when `signal` aborts.
 *
 * @example
 * for await (const { kv } of observeElection(client, "scheduler", { signal })) console.log("leader:", kv.text());
 */
export function observeElection(
  client: ClientView,
  name: string | Uint8Array,
  options: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<LeaderAnswer, void, undefined> {
  return observe(client, prefixOf(name, "an election"), options);
}

async function* observe(
  client: ClientView,
  prefix: Uint8Array,
  options: { readonly signal?: AbortSignal | undefined },
): AsyncGenerator<LeaderAnswer, void, undefined> {
  using bounds = new Bounds(client, options);
  let told = 0;
  for (;;) {
    const { header, kvs } = await bounds.persist((call) => client.get(prefix, { ...FIRST, ...call }));
    let at = kvs[0] === undefined ? undefined : { header, kv: kvs[0], next: header.revision + 1 };
    try {
      at ??= await firstPut(client, prefix, header.revision, bounds);
      // Not once more what was told before the watch was lost.
      if (at.kv.modRevision !== told) yield { header: at.header, kv: at.kv };
      told = at.kv.modRevision;
      await using watch = client.watch(at.kv.key, { startRevision: at.next, signal: bounds.signal });
      leads: for await (const batch of watch) {
        for (const { type, kv } of batch.events) {
          if (type === "delete") break leads;
          told = kv.modRevision;
          yield { header: batch.header, kv };
        }
      }
    } catch (error) {
      // What was missed, or cannot be told now: who leads is read anew.
      if (!StoreError.is(error, "COMPACTED")) await bounds.passed(error);
    }
  }
}

/** The first candidate of an election that had none. */
async function firstPut(
  client: ClientView,
  prefix: Uint8Array,
  from: Revision,
  bounds: Bounds,
): Promise<{ readonly header: ResponseHeader; readonly kv: StoredKeyValue; readonly next: number }> {
  await using watch = client.watch(prefix, {
    prefix: true,
    startRevision: from,
    noDelete: true,
    signal: bounds.signal,
  });
  for await (const { header, events } of watch) {
    const kv = events[0]?.kv;
    if (kv !== undefined) return { header, kv, next: kv.modRevision + 1 };
  }
  throw new StoreError("CANCELLED");
}
