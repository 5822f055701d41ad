/**
 * Linearizable reads: all that arrive together share one ReadIndex round, and each waits until this member has applied
 * what was committed when the round began (raft-notes section 9). An attempt that is refused or lost is asked again
 * under a fresh ref: a read is always safe to repeat.
 */
import { type Deferred, deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { LogIndex } from "../base/ids.ts";
import { firstRef } from "./refs.ts";

interface Waiter {
  readonly ready: Deferred<void>;
  readonly deadline: number;
}

interface Round {
  readonly waiters: Waiter[];
  readonly askedAt: number;
}

/** Reads that wait at once; one more is refused. */
const WAITERS_MAX = 100_000;
/** etcd asks again after as long (etcd-semantics section 13.2). */
const RETRY_MS = 500;

export class Reads {
  #queued: Waiter[] = [];
  readonly #rounds = new Map<number, Round>();
  /** Confirmed, waiting for apply; sorted only as far as needed: indexes of rounds never fall. */
  #confirmed: { readonly index: LogIndex; readonly waiters: Waiter[] }[] = [];
  #nextRef: number;
  #count = 0;
  /** Set when the last attempt was refused: wait for news (a leader, or the retry interval) before asking again. */
  #refusedAt: number | undefined;

  /** An answer to an earlier run's read would prove nothing for one of this run's. */
  constructor(incarnation: number) {
    this.#nextRef = firstRef(incarnation);
  }

  get waiting(): boolean {
    return this.#queued.length > 0;
  }

  get count(): number {
    return this.#count;
  }

  /** Resolves when a read at this member's current revision is linearizable. Rejects with `TOO_MANY_REQUESTS` at once. */
  wait(deadline: number): Promise<void> {
    if (this.#count >= WAITERS_MAX) return Promise.reject(new StoreError("TOO_MANY_REQUESTS"));
    this.#count += 1;
    const waiter: Waiter = { ready: deferred<void>(), deadline };
    this.#queued.push(waiter);
    return waiter.ready.promise;
  }

  /** Takes all that wait into one round; the caller hands the ref to the core. `undefined`: nothing to ask now. */
  begin(now: number): number | undefined {
    if (this.#queued.length === 0 || (this.#refusedAt !== undefined && now - this.#refusedAt < RETRY_MS))
      return undefined;
    this.#refusedAt = undefined;
    const ref = this.#nextRef++;
    this.#rounds.set(ref, { waiters: this.#queued, askedAt: now });
    this.#queued = [];
    return ref;
  }

  confirmed(ref: number, index: LogIndex, applied: LogIndex): void {
    const round = this.#rounds.get(ref);
    if (round === undefined) return;
    this.#rounds.delete(ref);
    if (index <= applied) {
      this.#serve(round.waiters);
    } else {
      this.#confirmed.push({ index, waiters: round.waiters });
    }
  }

  refused(ref: number, now: number): void {
    const round = this.#rounds.get(ref);
    if (round === undefined) return;
    this.#rounds.delete(ref);
    this.#refusedAt = now;
    this.#queued = this.#queued.concat(round.waiters);
  }

  /** The leader is another one now, or known again: ask at once. */
  leaderChanged(): void {
    this.#refusedAt = undefined;
    for (const [ref, round] of this.#rounds) {
      this.#rounds.delete(ref);
      this.#queued = this.#queued.concat(round.waiters);
    }
  }

  applied(index: LogIndex): void {
    if (this.#confirmed.length === 0) return;
    const still = [];
    for (const entry of this.#confirmed) {
      if (entry.index > index) still.push(entry);
      else this.#serve(entry.waiters);
    }
    this.#confirmed = still;
  }

  expire(now: number): void {
    const alive = (waiter: Waiter): boolean => {
      if (waiter.deadline > now) return true;
      this.#count -= 1;
      waiter.ready.reject(new StoreError("TIMEOUT", { outcome: "rejected" }));
      return false;
    };
    this.#queued = this.#queued.filter(alive);
    for (const [ref, round] of [...this.#rounds]) {
      const waiters = round.waiters.filter(alive);
      this.#rounds.delete(ref);
      if (now - round.askedAt >= RETRY_MS) this.#queued = this.#queued.concat(waiters);
      else if (waiters.length > 0) this.#rounds.set(ref, { waiters, askedAt: round.askedAt });
    }
    this.#confirmed = this.#confirmed
      .map(({ index, waiters }) => ({ index, waiters: waiters.filter(alive) }))
      .filter(({ waiters }) => waiters.length > 0);
  }

  endAll(error: StoreError): void {
    const all = [this.#queued];
    for (const round of this.#rounds.values()) all.push(round.waiters);
    for (const { waiters } of this.#confirmed) all.push(waiters);
    this.#queued = [];
    this.#rounds.clear();
    this.#confirmed = [];
    this.#count = 0;
    for (const waiters of all) for (const waiter of waiters) waiter.ready.reject(error);
  }

  #serve(waiters: readonly Waiter[]): void {
    this.#count -= waiters.length;
    for (const waiter of waiters) waiter.ready.resolve();
  }
}
