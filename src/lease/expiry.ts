/**
 * The leader's half of leases: when each may end. Not replicated: a new leader starts from the lessor, a deposed one
 * forgets. Time is an argument, in milliseconds of one clock that never goes back.
 *
 * The promise behind it: no lease is due before its TTL has passed since its last acknowledged renewal, whoever led
 * meanwhile. It rests on this order of things, which the caller keeps:
 *
 * - `promote` comes after the first entry of the leader's own term is applied, so that every checkpoint that an earlier
 *   leader may have got into the log is in the lessor by then;
 * - a renewal is acknowledged after a ReadIndex round begun after its arrival (a leader that is none any more cannot finish
 *   one), and, where `renew` says "checkpointed", after a clearing checkpoint proposed after its arrival is applied;
 * - proposals of `due` and `checkpointsDue` carry the leader's term, are never forwarded, and apply ignores them in an
 *   entry of another term (B49).
 */
import { NO_LEASE } from "../base/ids.ts";
import { Lease } from "./lease.ts";

/** A lease that nobody renewed for this long, with more than this left, gets a checkpoint: etcd's interval. */
export const CHECKPOINT_INTERVAL_MS: number = 5 * 60_000;

export type Renewal =
  /** The deadline has moved: acknowledge after the read round. */
  | { readonly kind: "renewed" }
  /**
   * It has moved, but a new leader would know less: first commit a checkpoint of the full TTL, proposed now or later, and
   * hand `mark` to `cleared` once it is applied. Renewals with one mark may share that proposal.
   */
  | { readonly kind: "checkpointed"; readonly mark: number }
  /** A revoke is proposed. Wait until it is applied (the answer is TTL 0) or lost (then renew again). */
  | { readonly kind: "revoking" }
  /** This member does not lead. */
  | { readonly kind: "demoted" };

const RENEWED: Renewal = { kind: "renewed" };
const REVOKING: Renewal = { kind: "revoking" };
const DEMOTED: Renewal = { kind: "demoted" };

export interface Checkpoint {
  readonly lease: Lease;
  /** Seconds. */
  readonly remainingTtl: number;
}

export interface TimeToLive {
  /** Whole seconds left, truncated: 0 or less when overdue, -1 for no lease. */
  readonly ttl: number;
  readonly grantedTtl: number;
}

export class Expiry {
  /** A binary heap by deadline; each lease knows its place, so that renewing and removing cost O(log n) and leave nothing. */
  #heap: Lease[] = [];
  #revoking = new Set<Lease>();
  /** Head of a ring: leases long enough for a checkpoint, in the order in which they were last touched. */
  #untouched = new Lease(NO_LEASE, 0, 0);
  readonly #checkpointIntervalMs: number;
  #primary = false;
  /** Counts changes of leadership, so that forgetting every timer is one step. */
  #reign = 1;
  /** Leases that were there before this leader, as far as they have no timer yet, and when they got their time. */
  #inherited: Iterator<Lease> | undefined = undefined;
  #inheritedAt = 0;
  #now = -Infinity;

  constructor(options: { readonly checkpointIntervalMs?: number | undefined } = {}) {
    this.#checkpointIntervalMs = options.checkpointIntervalMs ?? CHECKPOINT_INTERVAL_MS;
  }

  get isPrimary(): boolean {
    return this.#primary;
  }

  /** Leases that wait for their deadline. */
  get waiting(): number {
    return this.#heap.length;
  }

  /** Leases whose revoke is proposed. */
  get pendingRevokes(): number {
    return this.#revoking.size;
  }

  // --- who leads ---

  /**
   * This member leads: each lease gets what its checkpoint says, or its TTL, from now on. Then call `adopt` until it is
   * through; only then has every lease its timer.
   *
   * No election timeout on top, as etcd gives: a renewal is acknowledged only once a quorum has confirmed its leader after it
   * came, so each one was sent before this member was elected.
   *
   * No deadlines are spread as etcd does with a thousand leases and more: that would extend some beyond what is promised,
   * and the limit of `due` bounds the work of each turn anyway.
   */
  promote(leases: Iterable<Lease>, now: number): void {
    this.demote();
    this.#primary = true;
    this.#inheritedAt = this.#tick(now);
    this.#inherited = leases[Symbol.iterator]();
  }

  /** Starts the timers of at most `count` inherited leases; true = all have theirs. Those that are asked about come first. */
  adopt(count: number): boolean {
    for (let i = 0; i < count && this.#inherited !== undefined; i++) {
      const next = this.#inherited.next();
      if (next.done === true) this.#inherited = undefined;
      else this.#know(next.value);
    }
    return this.#inherited === undefined;
  }

  /** This member leads no more: every deadline is "never", every proposal none of its business. */
  demote(): void {
    this.#primary = false;
    this.#reign += 1;
    this.#inherited = undefined;
    this.#heap = [];
    this.#revoking = new Set();
    this.#untouched = new Lease(NO_LEASE, 0, 0);
  }

  // --- what entries do ---

  /** A grant was applied. */
  granted(lease: Lease, now: number): void {
    const at = this.#tick(now);
    if (this.#primary) this.#start(lease, at + lease.grantedTtl * 1000, at);
  }

  /** A revoke was applied, whoever asked for it. Tell it whether this member leads or not. */
  revoked(lease: Lease): void {
    if (lease.reign === this.#reign) this.#remove(lease);
    this.#revoking.delete(lease);
    unlink(lease);
    // Known and ended, so that nothing starts it again.
    lease.reign = this.#reign;
    lease.position = -1;
    lease.revoking = true;
  }

  /** A clearing checkpoint that was proposed when `renew` gave this mark, or later, was applied. */
  cleared(lease: Lease, mark: number): void {
    if (lease.reign === this.#reign && mark > lease.cleared) lease.cleared = mark;
  }

  // --- keep-alives ---

  /**
   * A keep-alive arrived at `now`. Never shortens what the lease has, so that keep-alives may be handled out of order. One
   * that comes after the deadline, but before a revoke is proposed, still counts.
   */
  renew(lease: Lease, now: number): Renewal {
    this.#tick(now);
    if (!this.#primary) return DEMOTED;
    this.#know(lease);
    if (lease.revoking) return REVOKING;
    const deadline = now + lease.grantedTtl * 1000;
    if (deadline > lease.deadline) {
      lease.deadline = deadline;
      this.#sink(lease.position);
    }
    this.#touch(lease, this.#now);
    // The record shows what was applied, the marks what may be under way.
    return lease.remainingTtl < lease.grantedTtl || lease.checkpoints > lease.cleared
      ? { kind: "checkpointed", mark: lease.checkpoints }
      : RENEWED;
  }

  /** True while a keep-alive of this lease has to wait for its revoke. */
  pendingRevoke(lease: Lease): boolean {
    return this.#revoking.has(lease);
  }

  // --- what to propose ---

  /**
   * At most `limit` leases to propose a revoke for, in the order of their deadlines, then of their ids. Each is pending from
   * now on, until `revoked` or `lostRevoke`.
   */
  due(now: number, limit: number): Lease[] {
    const at = this.#tick(now);
    const due: Lease[] = [];
    while (due.length < limit) {
      const first = this.#heap[0];
      if (first === undefined || first.deadline > at) break;
      this.#remove(first);
      first.revoking = true;
      this.#revoking.add(first);
      due.push(first);
    }
    return due;
  }

  /**
   * A proposed revoke certainly never applies: it was refused before it was in the log. (A time-out is no such proof: the
   * entry may be committed later, after the lease was renewed. And once this member leads no more, `demote` is the word.)
   */
  lostRevoke(lease: Lease): void {
    if (!this.#revoking.delete(lease)) return;
    lease.revoking = false;
    this.#insert(lease);
  }

  /**
   * At most `limit` leases whose remaining TTL is worth committing, so that a leader to come extends them by less. Only
   * leases that nobody renewed for the interval: one that is kept alive has little to lose, and a checkpoint would cost its
   * next keep-alive an entry. A lease checked is touched: its turn comes again after the interval.
   */
  checkpointsDue(now: number, limit: number): Checkpoint[] {
    const at = this.#tick(now);
    const due: Checkpoint[] = [];
    while (due.length < limit) {
      const lease = this.#untouched.newer;
      if (lease === this.#untouched || at - lease.touched < this.#checkpointIntervalMs) break;
      // Rounded up: a checkpoint may promise more than is left, never less.
      const remainingTtl = Math.ceil((lease.deadline - at) / 1000);
      this.#touch(lease, at);
      if (lease.newer === lease || remainingTtl >= lease.remainingTtl) continue;
      lease.checkpoints += 1;
      due.push({ lease, remainingTtl });
    }
    return due;
  }

  // --- questions ---

  /** `undefined` if this member does not lead, and so does not know. Pass what `lookup` found, or did not. */
  timeToLive(lease: Lease | undefined, now: number): TimeToLive | undefined {
    const at = this.#tick(now);
    if (!this.#primary) return undefined;
    if (lease === undefined) return { ttl: -1, grantedTtl: 0 };
    this.#know(lease);
    return { ttl: Math.trunc((lease.deadline - at) / 1000) + 0, grantedTtl: lease.grantedTtl };
  }

  // ---

  /** A clock that went back would end leases early; so its highest value counts. */
  #tick(now: number): number {
    if (now > this.#now) this.#now = now;
    return this.#now;
  }

  /** An inherited lease gets its timer when it is first met. */
  #know(lease: Lease): void {
    if (lease.reign === this.#reign) return;
    this.#start(lease, this.#inheritedAt + lease.remainingTtl * 1000, this.#now);
  }

  #start(lease: Lease, deadline: number, at: number): void {
    unlink(lease);
    lease.reign = this.#reign;
    lease.deadline = deadline;
    lease.revoking = false;
    lease.checkpoints = 0;
    lease.cleared = 0;
    this.#insert(lease);
    this.#touch(lease, at);
  }

  /** Puts a lease last among those that wait for a checkpoint, or out of them if it has too little left for one. */
  #touch(lease: Lease, at: number): void {
    lease.touched = at;
    unlink(lease);
    if (lease.deadline - at <= this.#checkpointIntervalMs) return;
    const head = this.#untouched;
    lease.newer = head;
    lease.older = head.older;
    head.older.newer = lease;
    head.older = lease;
  }

  #insert(lease: Lease): void {
    lease.position = this.#heap.length;
    this.#heap.push(lease);
    this.#rise(lease.position);
  }

  #remove(lease: Lease): void {
    const at = lease.position;
    if (at < 0) return;
    lease.position = -1;
    const last = this.#heap.pop()!;
    if (last === lease) return;
    this.#heap[at] = last;
    last.position = at;
    this.#rise(at);
    this.#sink(last.position);
  }

  #rise(at: number): void {
    const heap = this.#heap;
    const lease = heap[at]!;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      const parent = heap[above]!;
      if (!comesBefore(lease, parent)) break;
      heap[at] = parent;
      parent.position = at;
      at = above;
    }
    heap[at] = lease;
    lease.position = at;
  }

  #sink(at: number): void {
    const heap = this.#heap;
    const lease = heap[at]!;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && comesBefore(heap[below + 1]!, heap[below]!)) below += 1;
      const child = heap[below]!;
      if (!comesBefore(child, lease)) break;
      heap[at] = child;
      child.position = at;
      at = below;
    }
    heap[at] = lease;
    lease.position = at;
  }
}

/** By deadline; ties by id, so that the order does not hang on how this member came to know the leases. */
function comesBefore(a: Lease, b: Lease): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.id < b.id);
}

function unlink(lease: Lease): void {
  lease.older.newer = lease.newer;
  lease.newer.older = lease.older;
  lease.older = lease;
  lease.newer = lease;
}
