/** Shapes of a configuration and of a change to it. The rules live in membership.ts. */
import type { LogIndex, MemberId, Term } from "../base/ids.ts";

/** M1. Every list is sorted by id. A joint configuration has a non-empty `votersOutgoing`. */
export interface ConfState {
  readonly voters: readonly MemberId[];
  readonly votersOutgoing: readonly MemberId[];
  readonly learners: readonly MemberId[];
  readonly learnersNext: readonly MemberId[];
  readonly autoLeave: boolean;
}

export interface ConfChangeStep {
  readonly action: "addVoter" | "addLearner" | "remove" | "updateNode";
  readonly id: MemberId;
}

/** An empty list of steps leaves a joint configuration. `context` is the host's own data, carried with the entry. */
export interface ConfChange {
  readonly steps: readonly ConfChangeStep[];
  /** "auto": joint only where more than one voter changes. Both "auto" and "joint" leave by themselves. */
  readonly transition: "auto" | "joint";
  readonly context: Uint8Array;
}

/** Everything a snapshot says of the log it replaces. */
export interface SnapshotMeta {
  readonly index: LogIndex;
  readonly term: Term;
  readonly conf: ConfState;
}
