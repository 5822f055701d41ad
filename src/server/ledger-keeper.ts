/**
 * The leader's half of the request ledger: proposes that clients be forgotten that nothing came from for long. Works as
 * leases do (lease-keeper.ts): what is proposed carries the leader's term and is never forwarded, and apply looks again
 * whether the client was seen meanwhile. A new leader begins to count anew.
 *
 * No client has a timer. The keeper notes how far the log was applied, and when; whatever client was last heard of before
 * a note that is old enough has been silent for as long.
 */
import type { LogIndex, Term } from "../base/ids.ts";
import type { ClientExpireCommand } from "../machine/command.ts";
import type { Applied, Machine } from "../machine/machine.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { SoftState } from "../raft/ready.ts";

/** Notes in one lifetime of a silent client: how exact its end is. */
const NOTES = 16;
/** Clients in one entry. */
const EXPIRIES_MAX = 1_000;

export interface LedgerKeeperOptions {
  readonly clock: Clock;
  readonly idleMs: number;
  readonly soft: () => SoftState;
  readonly machine: () => Machine;
  /** Places it in this member's own log as the leader of `onlyIn`, or rejects. */
  readonly propose: (command: ClientExpireCommand, deadline: number, onlyIn: Term) => Promise<Applied>;
}

export class LedgerKeeper {
  readonly #o: LedgerKeeperOptions;
  #timer: Timer | undefined;
  /** Of the term that this member leads. */
  #notes: { readonly at: number; readonly index: LogIndex }[] = [];
  #term: Term | undefined;
  #proposing = false;

  constructor(options: LedgerKeeperOptions) {
    this.#o = options;
  }

  start(): void {
    this.#timer = this.#o.clock.every(Math.max(1, this.#o.idleMs / NOTES), () => this.#round());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #round(): void {
    const { clock, idleMs, soft, machine } = this.#o;
    const { role, term } = soft();
    if (role !== "leader") {
      this.#term = undefined;
      return;
    }
    if (this.#term !== term) {
      this.#term = term;
      this.#notes = [];
    }
    const now = clock.now();
    this.#notes.push({ at: now, index: machine().applied.index });
    const old = this.#notes.findLastIndex(({ at }) => at <= now - idleMs);
    if (old < 0) return;
    this.#notes = this.#notes.slice(old);
    this.#expire(this.#notes[0]!.index, term);
  }

  #expire(silentSince: LogIndex, term: Term): void {
    if (this.#proposing) return;
    const clients = this.#o.machine().ledger.silentSince(silentSince, EXPIRIES_MAX);
    if (clients.length === 0) return;
    this.#proposing = true;
    const done = (): void => {
      this.#proposing = false;
    };
    // Lost or not: the next round looks again.
    this.#o.propose({ kind: "clientExpire", term, clients }, Infinity, term).then(done, done);
  }
}
