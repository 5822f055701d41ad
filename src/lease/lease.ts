/** One lease: its replicated facts, and beside them the timer that the leader's `Expiry` keeps on it. */
import type { LeaseId } from "../base/ids.ts";

/**
 * The timer's fields stand here, in the open, because a table of a hundred thousand bigint keys takes 200 ms to build. They
 * are no part of the replicated state: nothing that applies an entry may read them, and only `Expiry` writes them.
 */
export class Lease {
  readonly id: LeaseId;
  /** Seconds. */
  readonly grantedTtl: number;
  /** Seconds that a new leader gives it: the TTL, or less where a checkpoint says so. Written by `Lessor` alone. */
  remainingTtl: number;
  /** Attached keys, as byte strings, in no order that means anything. Written by `Lessor` alone. */
  keys: Set<string> | undefined = undefined;

  /** The leadership that the fields below belong to; they mean nothing in any other. */
  reign = 0;
  /** When the leader may end it, in its own clock's milliseconds. */
  deadline: number = Infinity;
  /** Place in the heap of deadlines; -1 = not in it. */
  position = -1;
  /** Its revoke is proposed. */
  revoking = false;
  /** When the lease was last granted, renewed or checkpointed. */
  touched: number = -Infinity;
  /** Neighbours among those that wait for a checkpoint; itself = in no list. */
  older: Lease = this;
  newer: Lease = this;
  /** Checkpoints taken, and how many of those a clearing one is known to have overruled. */
  checkpoints = 0;
  cleared = 0;

  constructor(id: LeaseId, grantedTtl: number, remainingTtl: number) {
    this.id = id;
    this.grantedTtl = grantedTtl;
    this.remainingTtl = remainingTtl;
  }
}
