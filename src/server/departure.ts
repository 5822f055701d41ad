/**
 * How a removed member ends: its callers get their answers first, and it stays while the others may need it. It votes until
 * a joint phase is over, and leads until they know of its removal (M8). Of two, the other one is told by nobody else, and
 * can be elected by nobody else before it is (M14). That wait has no bound: a vote that a majority may need is never given up,
 * and it holds what may be the last copy. It says what it waits for, again and again, and gives snapshots meanwhile.
 */
import { StoreError } from "../base/errors.ts";
import { formatId, type MemberId } from "../base/ids.ts";
import type { Clock } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import { isVoter } from "../raft/membership.ts";
import type { ConfState } from "../raft/membership-types.ts";

/** A log that is read hours later should still show it. */
const REMIND_MS = 60_000;

export interface DepartureOptions {
  readonly self: MemberId;
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly conf: () => ConfState;
  readonly leads: () => boolean;
  readonly isRunning: () => boolean;
  readonly end: (error: StoreError) => void;
}

export class Departure {
  readonly #o: DepartureOptions;
  /** `told`: by another member, which therefore knows it itself. */
  #removed: "no" | "applied" | "told" = "no";
  #waits = false;
  #remindsAt = 0;

  constructor(options: DepartureOptions) {
    this.#o = options;
  }

  /** Throws `MEMBER_REMOVED` once everybody had time for an answer: the text is what `/readyz` shows. */
  check(): void {
    if (this.#waits) throw this.#removedError(`it stays until ${this.#whatFor()}: leave it running`);
  }

  /** By its own log, or by the word of another: a member that was down at its removal is never sent that entry. */
  removed(by: "applied" | "told"): void {
    const before = this.#removed;
    if (before !== "told") this.#removed = by;
    if (before === "no") this.#o.clock.after(this.#o.electionTimeoutMs, () => this.#leave());
  }

  #leave(): void {
    const { self, clock, log, heartbeatMs, conf, leads, isRunning, end } = this.#o;
    if (!isRunning()) return;
    const { voters } = conf();
    const isNeeded = isVoter(conf(), self) || leads() || voters.length < 2;
    if (this.#removed === "told" || !isNeeded) {
      end(this.#removedError("its directory can be deleted"));
      return;
    }
    this.#waits = true;
    if (clock.now() >= this.#remindsAt) {
      log.warn({ voters: voters.map(formatId) }, `removed; stays until ${this.#whatFor()} (docs/guarantees.md)`);
      this.#remindsAt = clock.now() + REMIND_MS;
    }
    clock.after(heartbeatMs, () => this.#leave());
  }

  #whatFor(): string {
    const { self, conf } = this.#o;
    const { voters } = conf();
    if (isVoter(conf(), self)) return "the change that removed it is complete, which needs its vote";
    if (voters.length < 2) return `member ${voters.map(formatId).join()}, the only voter left, knows of it`;
    return "a quorum of the others knows of it";
  }

  #removedError(whatNow: string): StoreError {
    const { name, self } = this.#o;
    return new StoreError("MEMBER_REMOVED", {
      message: `quorate: member ${name} (${formatId(self)}) was removed from the cluster; ${whatNow}`,
    });
  }
}
