/**
 * The leader's half of leases at work: it keeps the deadlines (lease/expiry.ts says on which promises), renews, proposes
 * what is due, and answers what only the leader knows; a follower passes those questions on. Everything that it proposes
 * carries the term it leads in and is never forwarded: what a deposed leader still wants is of no interest (B49).
 */
import { fromByteString } from "../base/bytes.ts";
import { deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, leaseId, NO_LEASE, type Term } from "../base/ids.ts";
import { Expiry, type Renewal } from "../lease/expiry.ts";
import type { Lease } from "../lease/lease.ts";
import type { Lessor } from "../lease/lessor.ts";
import { effectiveTtl } from "../lease/ttl.ts";
import type { LeaseCommand, LeaseGrantCommand } from "../machine/command.ts";
import type { Applied, Machine } from "../machine/machine.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { LeaseGrantRequest, LeaseKeepAliveRequest, LeaseTimeToLiveRequest } from "../protocol/requests.ts";
import type { LeaseKeepAliveResult, LeaseTimeToLiveResult, ResultOf } from "../protocol/responses.ts";
import type { SoftState } from "../raft/ready.ts";
import { randomId } from "./bootstrap.ts";
import type { PeerCalls } from "./peer-calls.ts";

/** How often deadlines are looked at: what an expiry may be late in a healthy cluster, besides its commit. */
const ROUND_MS = 250;
/** Revokes under way. Each that is through lets the next one go, so this bounds memory and not the rate. */
const REVOKES_MAX = 256;
/** Leases in one checkpoint entry: etcd's number. */
const CHECKPOINTS_MAX = 1_000;
/** Inherited leases that get their timers in one turn of the loop. */
const ADOPTED_PER_TURN = 2_000;
/** etcd's pause before a member asks for the leader again (etcd-semantics 5.5). */
const RETRY_MS = 50;

/** What only the leader can answer. */
type Question = LeaseKeepAliveRequest | LeaseTimeToLiveRequest;

export interface LeaseKeeperOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly checkpointIntervalMs?: number | undefined;
  readonly soft: () => SoftState;
  readonly machine: () => Machine;
  /** Calls back between two entries. */
  readonly atBoundary: (callback: () => void) => void;
  readonly calls: PeerCalls;
  /** Places it in this member's own log as the leader of `onlyIn`, or rejects. */
  readonly propose: (command: LeaseCommand, deadline: number, onlyIn: Term) => Promise<Applied>;
  readonly linearizable: (deadline: number) => Promise<void>;
}

interface Clearing {
  readonly mark: number;
  readonly done: Promise<void>;
}

export class LeaseKeeper {
  readonly #o: LeaseKeeperOptions;
  readonly #expiry: Expiry;
  /** The term whose leases this member keeps: set from its first applied entry on, as long as it leads. */
  #term: Term | undefined;
  #lessor: Lessor | undefined;
  #timer: Timer | undefined;
  #lastRoundAt = 0;
  /** Told when a pending revoke is applied, or lost, or none of this member's business any more. */
  readonly #revokeEnds = new Map<Lease, Set<() => void>>();
  readonly #clearing = new Map<Lease, Clearing>();
  #checkpointing = false;
  /** Ends each wait early when the member stops. */
  readonly #waits = new Set<(error: StoreError) => void>();
  #stopped = false;
  /** Keep-alives answered, as the leader. */
  renewed = 0;

  constructor(options: LeaseKeeperOptions) {
    this.#o = options;
    this.#expiry = new Expiry({ checkpointIntervalMs: options.checkpointIntervalMs });
  }

  start(): void {
    this.#lastRoundAt = this.#o.clock.now();
    this.#timer = this.#o.clock.every(ROUND_MS, () => this.#round());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    for (const end of [...this.#waits]) end(new StoreError("STOPPED"));
    this.#demote();
  }

  // --- what the member tells it ---

  /** The machine is another one now: at the start, and where a snapshot took its place. */
  attach(machine: Machine): void {
    if (this.#lessor !== undefined) this.#lessor.observer = undefined;
    this.#lessor = machine.lessor;
    this.#lessor.observer = {
      granted: (lease) => this.#expiry.granted(lease, this.#o.clock.now()),
      revoked: (lease) => {
        this.#expiry.revoked(lease);
        this.#revokeEnded(lease);
      },
    };
  }

  /** Role, term or leader changed, or the first entry of a term was applied. */
  follow(): void {
    if (this.#stopped) return;
    const { role, term } = this.#o.soft();
    if (this.#term !== undefined && (role !== "leader" || term !== this.#term)) this.#demote();
    if (this.#term !== undefined || role !== "leader") return;
    const machine = this.#o.machine();
    // Every checkpoint of an earlier leader lies before the first entry of this one's term.
    if (machine.applied.term !== term) return;
    this.#term = term;
    this.#expiry.promote(machine.lessor.leases(), this.#o.clock.now());
    this.#adopt(term);
  }

  // --- requests ---

  /** The command for a grant. Throws `LEASE_TTL_TOO_LARGE`, `INVALID_REQUEST`. */
  grantCommand(request: LeaseGrantRequest): LeaseGrantCommand {
    const ttl = effectiveTtl(request.ttl, this.#o.electionTimeoutMs);
    let id = checkedId(request.id ?? NO_LEASE);
    const isChosenHere = id === NO_LEASE;
    while (id === NO_LEASE || (isChosenHere && this.#o.machine().lessor.lookup(id) !== undefined)) {
      id = leaseId(BigInt.asUintN(63, randomId(this.#o.random)));
    }
    return { kind: "leaseGrant", id, ttl };
  }

  /** Every lease that this member knows of, ascending. */
  list(): LeaseId[] {
    return this.#o.machine().lessor.list();
  }

  /** Here if this member leads, else by the leader, asked again while there is none or it changes. */
  async handle<Q extends Question>(request: Q, deadline: number): Promise<ResultOf<Q>> {
    checkedId(request.id);
    const { clock, soft, calls } = this.#o;
    for (;;) {
      try {
        const { role, leader } = soft();
        if (role === "leader") return (await this.serve(request, deadline)) as ResultOf<Q>;
        if (leader === undefined) throw new StoreError("NO_LEADER");
        return await calls.call(leader, request, deadline);
      } catch (error) {
        if (this.#stopped) throw new StoreError("STOPPED", { cause: error });
        if (!passes(error)) throw error;
        if (clock.now() + RETRY_MS >= deadline) {
          throw StoreError.is(error, "NO_LEADER") ? error : new StoreError("TIMEOUT", { cause: error });
        }
      }
      await this.#within(new Promise<void>(() => {}), clock.now() + RETRY_MS).catch(() => {});
    }
  }

  /** Only as the leader: else throws `NOT_LEADER`. */
  serve(request: Question, deadline: number): Promise<LeaseKeepAliveResult | LeaseTimeToLiveResult> {
    return request.kind === "leaseKeepAlive"
      ? this.#keepAlive(request.id, deadline)
      : this.#timeToLive(request.id, request.keys === true, deadline);
  }

  async #keepAlive(id: LeaseId, deadline: number): Promise<LeaseKeepAliveResult> {
    const { clock, machine, linearizable } = this.#o;
    const arrivedAt = clock.now();
    for (;;) {
      const term = await this.#primary(deadline);
      const lease = machine().lessor.lookup(id);
      if (lease === undefined) {
        // Its grant may be committed and not applied here yet.
        await linearizable(deadline);
        if (machine().lessor.lookup(id) === undefined) return { kind: "leaseKeepAlive", id, ttl: 0 };
        continue;
      }
      const renewal: Renewal = this.#expiry.renew(lease, arrivedAt);
      switch (renewal.kind) {
        case "demoted":
          throw new StoreError("NOT_LEADER");
        case "revoking":
          await this.#revokeEnd(lease, deadline);
          break;
        case "checkpointed":
          await this.#within(this.#clear(lease, renewal.mark, term), deadline);
          break;
        case "renewed":
          await linearizable(deadline);
          // A round that another leader answered proves nothing about this one's deadline.
          if (!this.#keeps(term)) throw new StoreError("NOT_LEADER");
          this.renewed += 1;
          return {
            kind: "leaseKeepAlive",
            id,
            ttl: machine().lessor.lookup(id) === lease ? lease.grantedTtl : 0,
          };
      }
    }
  }

  async #timeToLive(id: LeaseId, keys: boolean, deadline: number): Promise<LeaseTimeToLiveResult> {
    const { clock, machine, linearizable, atBoundary } = this.#o;
    const term = await this.#primary(deadline);
    await linearizable(deadline);
    // Half-way through an entry a lease has lost some of its keys and not the others.
    await this.#within(new Promise<void>((resolve) => atBoundary(resolve)), deadline);
    if (!this.#keeps(term)) throw new StoreError("NOT_LEADER");
    const { lessor } = machine();
    const left = this.#expiry.timeToLive(lessor.lookup(id), clock.now());
    if (left === undefined) throw new StoreError("NOT_LEADER");
    return { kind: "leaseTimeToLive", id, ...left, keys: keys ? lessor.keys(id).map(fromByteString) : [] };
  }

  /** The term that this member keeps the leases of. */
  async #primary(deadline: number): Promise<Term> {
    const { role, term } = this.#o.soft();
    if (role !== "leader") throw new StoreError("NOT_LEADER");
    // A new leader's read waits for the first entry of its term, which is what makes it the keeper.
    if (this.#term !== term) await this.#o.linearizable(deadline);
    if (!this.#keeps(term)) throw new StoreError("NOT_LEADER");
    return term;
  }

  #keeps(term: Term): boolean {
    const soft = this.#o.soft();
    return !this.#stopped && this.#term === term && soft.role === "leader" && soft.term === term;
  }

  // --- what is due ---

  #round(): void {
    const { clock, heartbeatMs, linearizable } = this.#o;
    const now = clock.now();
    const late = now - this.#lastRoundAt > ROUND_MS + 3 * heartbeatMs;
    this.#lastRoundAt = now;
    const term = this.#term;
    if (term === undefined) return;
    if (!late) {
      this.#propose(term);
      return;
    }
    // After a stall, keep-alives wait in the sockets, and another may lead: whoever still leads has read those first.
    linearizable(now + 2 * ROUND_MS).then(
      () => this.#propose(term),
      () => {}, // the next round tries again
    );
  }

  #propose(term: Term): void {
    if (!this.#keeps(term)) return;
    this.#revokeDue(term);
    this.#checkpointDue(term);
  }

  #revokeDue(term: Term): void {
    const room = REVOKES_MAX - this.#expiry.pendingRevokes;
    if (room <= 0) return;
    for (const lease of this.#expiry.due(this.#o.clock.now(), room)) void this.#revoke(lease, term);
  }

  async #revoke(lease: Lease, term: Term): Promise<void> {
    try {
      // Without a deadline: placed in a leader's own log it stays there for as long as that leader leads.
      await this.#o.propose({ kind: "leaseRevoke", id: lease.id, term }, Infinity, term);
    } catch (error) {
      if (!this.#keeps(term) || !StoreError.is(error) || error.outcome !== "rejected") return;
      this.#expiry.lostRevoke(lease);
      this.#revokeEnded(lease);
      return;
    }
    if (this.#keeps(term)) this.#revokeDue(term);
  }

  #checkpointDue(term: Term): void {
    if (this.#checkpointing) return;
    const due = this.#expiry.checkpointsDue(this.#o.clock.now(), CHECKPOINTS_MAX);
    if (due.length === 0) return;
    const checkpoints = due.map(({ lease, remainingTtl }) => ({ id: lease.id, remainingTtl }));
    this.#checkpointing = true;
    const done = (): void => {
      this.#checkpointing = false;
    };
    // Lost or not: the lease's next keep-alive clears what may be under way, and its next turn comes.
    this.#o.propose({ kind: "leaseCheckpoint", term, checkpoints }, Infinity, term).then(done, done);
  }

  /** One clearing checkpoint for all that wait for the same. Ends when it is applied. */
  #clear(lease: Lease, mark: number, term: Term): Promise<void> {
    const under = this.#clearing.get(lease);
    if (under !== undefined && under.mark >= mark) return under.done;
    const checkpoints = [{ id: lease.id, remainingTtl: lease.grantedTtl }];
    const done = this.#o
      .propose({ kind: "leaseCheckpoint", term, checkpoints }, Infinity, term)
      .then(({ outcome }) => {
        if (!outcome.ok) throw outcome.error;
        this.#expiry.cleared(lease, mark);
      })
      .finally(() => {
        if (this.#clearing.get(lease)?.done === done) this.#clearing.delete(lease);
      });
    this.#clearing.set(lease, { mark, done });
    return done;
  }

  #adopt(term: Term): void {
    if (this.#term !== term || this.#expiry.adopt(ADOPTED_PER_TURN)) return;
    this.#o.clock.defer(() => this.#adopt(term));
  }

  #demote(): void {
    if (this.#term === undefined) return;
    this.#term = undefined;
    this.#expiry.demote();
    this.#clearing.clear();
    for (const lease of [...this.#revokeEnds.keys()]) this.#revokeEnded(lease);
  }

  // --- waiting ---

  #revokeEnd(lease: Lease, deadline: number): Promise<void> {
    const ended = deferred<void>();
    let waiting = this.#revokeEnds.get(lease);
    if (waiting === undefined) this.#revokeEnds.set(lease, (waiting = new Set()));
    waiting.add(ended.resolve);
    return this.#within(ended.promise, deadline).finally(() => waiting.delete(ended.resolve));
  }

  #revokeEnded(lease: Lease): void {
    const waiting = this.#revokeEnds.get(lease);
    if (waiting === undefined) return;
    this.#revokeEnds.delete(lease);
    for (const end of waiting) end();
  }

  /** Rejects with `TIMEOUT` at the deadline and with `STOPPED` when the member stops. */
  #within<T>(promise: Promise<T>, deadline: number): Promise<T> {
    const { clock } = this.#o;
    return new Promise((resolve, reject) => {
      const end = (error: unknown): void => {
        done();
        reject(error);
      };
      const timer = clock.after(Math.max(0, deadline - clock.now()), () => end(new StoreError("TIMEOUT")));
      const done = (): void => {
        this.#waits.delete(end);
        timer.cancel();
      };
      this.#waits.add(end);
      promise.then((value) => {
        done();
        resolve(value);
      }, end);
    });
  }
}

/** Callers without types may give anything. */
export function checkedId(id: LeaseId): LeaseId {
  if (typeof id !== "bigint" || BigInt.asIntN(64, id) !== id) {
    throw new StoreError("INVALID_REQUEST", { message: "quorate: the request is malformed: lease" });
  }
  return id;
}

/** Asking again, of whoever leads by then, may help: and it is harmless. */
function passes(error: unknown): boolean {
  return (
    StoreError.is(error, "NOT_LEADER") ||
    StoreError.is(error, "NO_LEADER") ||
    StoreError.is(error, "LEADER_CHANGED") ||
    StoreError.is(error, "CONNECTION_LOST")
  );
}
