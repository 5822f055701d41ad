/**
 * Linearizable reads without the log (raft-notes section 9): a read is answered at the commit index of its arrival
 * once a quorum has confirmed, in a round that began after it arrived, that this leader still leads.
 */
import { fail } from "../base/assert.ts";
import type { LogIndex, MemberId } from "../base/ids.ts";

export interface PendingRead {
  readonly ref: number;
  /** The member that forwarded it; undefined for a read of our own. */
  readonly from: MemberId | undefined;
  /** Commit index when it was accepted. Parked reads get theirs when they are released (R1). */
  readonly index: LogIndex;
}

const NONE: readonly PendingRead[] = [];

export class ReadRounds {
  /** R1: no entry of this leader's term is committed yet. */
  #parked: PendingRead[] = [];
  /** R5: arrived while a round was under way. They wait for the next. */
  #waiting: PendingRead[] = [];
  #round: PendingRead[] = [];
  /** R3: positions are ours. Never reset, so they strictly increase over leaderships too (V11). */
  #position = 0;

  get position(): number {
    return this.#position;
  }

  get count(): number {
    return this.#parked.length + this.#waiting.length + this.#round.length;
  }

  get roundUnderWay(): boolean {
    return this.#round.length > 0;
  }

  get roundDue(): boolean {
    return this.#round.length === 0 && this.#waiting.length > 0;
  }

  park(read: PendingRead): void {
    this.#parked.push(read);
  }

  add(read: PendingRead): void {
    this.#waiting.push(read);
  }

  /** R1: the first entry of this term is committed. */
  release(commit: LogIndex): void {
    for (const { ref, from } of this.#parked) this.#waiting.push({ ref, from, index: commit });
    this.#parked = [];
  }

  get parkedCount(): number {
    return this.#parked.length;
  }

  /** R4: only echoes of the position minted here, after these reads arrived, confirm them. */
  begin(): number {
    if (this.#round.length > 0) fail("V11", "a read round began before the last one ended");
    this.#round = this.#waiting;
    this.#waiting = [];
    return this.mint();
  }

  /** The next position, whether or not reads wait for it. A round under way is confirmed by its echo as well. */
  mint(): number {
    this.#position += 1;
    return this.#position;
  }

  /** What a quorum's echo of `reached` confirms. */
  confirm(reached: number): readonly PendingRead[] {
    if (this.#round.length === 0 || reached < this.#position) return NONE;
    const confirmed = this.#round;
    this.#round = [];
    return confirmed;
  }

  /** R6: a sole voter asks nobody. */
  takeAccepted(): readonly PendingRead[] {
    if (this.#round.length === 0 && this.#waiting.length === 0) return NONE;
    const all = this.#round.concat(this.#waiting);
    this.#round = [];
    this.#waiting = [];
    return all;
  }

  /** R7: none of them is confirmed any more. */
  takeAll(): readonly PendingRead[] {
    if (this.count === 0) return NONE;
    const all = this.#round.concat(this.#waiting, this.#parked);
    this.#round = [];
    this.#waiting = [];
    this.#parked = [];
    return all;
  }
}
