/**
 * The replicated half of leases: which exist, and which keys live as long as each. Equal on all members at equal applied
 * index. Knows no time: when a lease has ended is for the leader's `Expiry` to find and for the log to decide.
 *
 * A key belongs to one lease at most. Attachments are not stored: each live key's record names its lease, so they are
 * derived from the keys whenever a state is opened.
 */
import { fail } from "../base/assert.ts";
import { StoreError } from "../base/errors.ts";
import { formatId, type LeaseId, NO_LEASE } from "../base/ids.ts";
import { Lease } from "./lease.ts";
import { TTL_MAX } from "./ttl.ts";

/** What a state stores of a lease. */
export interface LeaseRecord {
  readonly id: LeaseId;
  /** Seconds, 1 at least. */
  readonly grantedTtl: number;
  /** Seconds, from 1 to `grantedTtl`; equal to it where no checkpoint says less. */
  readonly remainingTtl: number;
}

/** Where leases live between restarts. The machine implements it over its `StateStore` and puts each into the state hash. */
export interface LeaseRecords {
  write(record: LeaseRecord): void;
  delete(id: LeaseId): void;
}

/** Told of each lease that comes or goes, while the entry that does it is applied. It must not change anything here. */
export interface LeaseObserver {
  granted(lease: Lease): void;
  revoked(lease: Lease): void;
}

export class Lessor {
  /** The leader's timer listens here; whether anybody does is no part of the state. */
  observer: LeaseObserver | undefined = undefined;
  readonly #records: LeaseRecords;
  readonly #leases: Map<LeaseId, Lease>;
  /** Keys that have a lease. */
  readonly #leaseOf: Map<string, Lease>;

  constructor(records: LeaseRecords, leases: Map<LeaseId, Lease> = new Map(), leaseOf: Map<string, Lease> = new Map()) {
    this.#records = records;
    this.#leases = leases;
    this.#leaseOf = leaseOf;
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Keys with a lease. */
  get attached(): number {
    return this.#leaseOf.size;
  }

  // --- questions ---

  lookup(id: LeaseId): Lease | undefined {
    return this.#leases.get(id);
  }

  /** In the order of grants or of loading: not the same on all members, so for nothing that an entry decides. */
  leases(): IterableIterator<Lease> {
    return this.#leases.values();
  }

  /** Every id, ascending. */
  list(): LeaseId[] {
    return [...this.#leases.keys()].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  }

  leaseOf(key: string): LeaseId {
    return this.#leaseOf.get(key)?.id ?? NO_LEASE;
  }

  /**
   * The keys attached to a lease, ascending; none if there is no such lease. Ask between entries: while one is half-way,
   * its first changes show here already.
   */
  keys(id: LeaseId): string[] {
    const lease = this.#leases.get(id);
    return lease === undefined ? [] : sortedKeys(lease);
  }

  // --- changes, each by an entry ---

  /**
   * `ttl` is what `effectiveTtl` made of the request. Throws `LEASE_TTL_TOO_LARGE`, `LEASE_EXISTS` (details: `leaseId`),
   * or `LEASE_NOT_FOUND` for the id 0, which the server should have replaced.
   */
  grant(id: LeaseId, ttl: number): Lease {
    if (id === NO_LEASE) throw notFound(id);
    if (ttl > TTL_MAX) throw new StoreError("LEASE_TTL_TOO_LARGE");
    if (this.#leases.has(id)) throw new StoreError("LEASE_EXISTS", { details: { leaseId: id } });
    const effective = Math.max(1, ttl);
    const lease = new Lease(id, effective, effective);
    this.#leases.set(id, lease);
    this.#write(lease);
    this.observer?.granted(lease);
    return lease;
  }

  /**
   * Ends a lease and lets go of its keys, which the caller deletes in one revision; they come ascending, as etcd deletes
   * them. Throws `LEASE_NOT_FOUND`.
   *
   * One sort and one pass over the keys: where a lease has so many that this would hold the loop, the caller takes
   * `lookup(id).keys`, sorts and deletes them in slices, detaching each, and revokes last, when none is left.
   */
  revoke(id: LeaseId): string[] {
    const lease = this.#require(id);
    const keys = sortedKeys(lease);
    for (const key of keys) this.#leaseOf.delete(key);
    lease.keys = undefined;
    this.#leases.delete(id);
    this.#records.delete(id);
    this.observer?.revoked(lease);
    return keys;
  }

  /** A put gave `key` this lease; whichever it had before lets go. That the lease exists was checked before the put. */
  attach(key: string, id: LeaseId): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) fail("lease-attach", `no lease ${formatId(id)}`);
    const before = this.#leaseOf.get(key);
    if (before === lease) return;
    if (before !== undefined) release(before, key);
    this.#leaseOf.set(key, lease);
    lease.keys ??= new Set();
    lease.keys.add(key);
  }

  /** `key` was deleted, or put without a lease. Most keys have none: then this is one look-up. */
  detach(key: string): void {
    const lease = this.#leaseOf.get(key);
    if (lease === undefined) return;
    this.#leaseOf.delete(key);
    release(lease, key);
  }

  /**
   * What a new leader gives this lease from now on; its TTL or more, or 0 and less, clear an earlier checkpoint. False,
   * and no change, if there is no such lease any more: checkpoints come in batches, and their leases end meanwhile.
   */
  checkpoint(id: LeaseId, remainingTtl: number): boolean {
    const lease = this.#leases.get(id);
    if (lease === undefined) return false;
    const remaining = remainingTtl <= 0 ? lease.grantedTtl : Math.min(remainingTtl, lease.grantedTtl);
    if (remaining !== lease.remainingTtl) {
      lease.remainingTtl = remaining;
      this.#write(lease);
    }
    return true;
  }

  #require(id: LeaseId): Lease {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw notFound(id);
    return lease;
  }

  #write({ id, grantedTtl, remainingTtl }: Lease): void {
    this.#records.write({ id, grantedTtl, remainingTtl });
  }
}

/** What a stored state holds of leases: what a lessor begins with. */
export interface LoadedLeases {
  readonly leases: Map<LeaseId, Lease>;
  /** Keys that have one. */
  readonly leaseOf: Map<string, Lease>;
}

/** Keys that the loader joins with their leases between two yields. */
export const LOADED_AT_ONCE = 256;

/**
 * Builds the lessor of a stored state. Leases and keys may come in any order, so that a lease read after its keys does not
 * lose them (B50).
 */
export class LessorLoader {
  readonly #granted = new Map<LeaseId, Lease>();
  /** Named by a key before its own record came. */
  readonly #expected = new Map<LeaseId, Lease>();
  readonly #leaseOf = new Map<string, Lease>();
  #last: Lease | undefined;

  /** Throws `STATE_CORRUPT` for what no lessor ever wrote. */
  lease({ id, grantedTtl, remainingTtl }: LeaseRecord): void {
    const isTtl = (ttl: number): boolean => Number.isSafeInteger(ttl) && ttl >= 1 && ttl <= TTL_MAX;
    if (id === NO_LEASE || !isTtl(grantedTtl) || !isTtl(remainingTtl) || remainingTtl > grantedTtl) {
      throw damaged(`lease ${formatId(id)} is granted for ${grantedTtl} s and has ${remainingTtl} s left`);
    }
    if (this.#granted.has(id)) throw damaged(`lease ${formatId(id)} is there twice`);
    this.#granted.set(id, new Lease(id, grantedTtl, remainingTtl));
  }

  /** What the newest record of `key` seen so far says; `NO_LEASE` also for a tombstone. A later call for it wins. */
  key(key: string, id: LeaseId): void {
    if (id === NO_LEASE) {
      if (this.#leaseOf.size > 0) this.#leaseOf.delete(key);
      return;
    }
    // Keys of one lease tend to follow each other, and finding a bigint is dear.
    let lease = this.#last;
    if (lease?.id !== id) {
      lease = this.#expected.get(id);
      if (lease === undefined) this.#expected.set(id, (lease = new Lease(id, 0, 0)));
      this.#last = lease;
    }
    this.#leaseOf.set(key, lease!);
  }

  /** Throws `STATE_CORRUPT` if a key has a lease that does not exist: revoking one deletes its keys in the same step. */
  finish(records: LeaseRecords): Lessor {
    for (const work = this.finishing(); ; ) {
      const { done, value } = work.next();
      if (done === true) return new Lessor(records, value.leases, value.leaseOf);
    }
  }

  /** The same with a pause after each `LOADED_AT_ONCE` keys. */
  *finishing(): Generator<undefined, LoadedLeases, undefined> {
    const leaseOf = new Map<string, Lease>();
    for (const [key, { id }] of this.#leaseOf) {
      if (leaseOf.size % LOADED_AT_ONCE === LOADED_AT_ONCE - 1) yield;
      let lease = this.#last;
      if (lease?.id !== id || lease.grantedTtl === 0) {
        lease = this.#granted.get(id);
        if (lease === undefined) throw damaged(`a key has lease ${formatId(id)}, which does not exist`);
        this.#last = lease;
      }
      leaseOf.set(key, lease);
      lease.keys ??= new Set();
      lease.keys.add(key);
    }
    return { leases: this.#granted, leaseOf };
  }
}

function sortedKeys(lease: Lease): string[] {
  return lease.keys === undefined ? [] : [...lease.keys].sort();
}

function release(lease: Lease, key: string): void {
  lease.keys!.delete(key);
  if (lease.keys!.size === 0) lease.keys = undefined;
}

function notFound(id: LeaseId): StoreError {
  return new StoreError("LEASE_NOT_FOUND", { details: { leaseId: id } });
}

function damaged(what: string): StoreError {
  return new StoreError("STATE_CORRUPT", { message: `quorate: the state database is damaged: ${what}` });
}
