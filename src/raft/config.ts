/** What a core is born with. Checked once, by the Raft constructor. */
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import type { Entry } from "./entry.ts";
import type { ConfState } from "./membership-types.ts";
import type { HardState } from "./ready.ts";

export interface RaftConfig {
  readonly id: MemberId;
  /** E: ticks without a leader until an election. Default 50 (1,000 ms at 20 ms a tick). */
  readonly electionTicks: number;
  /** H: ticks between heartbeats. Default 5. */
  readonly heartbeatTicks: number;
  readonly maxMessageBytes: number;
  readonly inflightCountMax: number;
  readonly inflightBytesMax: number;
  /** U1: bytes of own-term entries not yet applied above which proposals are refused as "busy". */
  readonly uncommittedBytesMax: number;
  /** Bytes of committed entries handed out and not yet reported applied (Q4). */
  readonly applyBytesMax: number;
  readonly pendingReadsMax: number;
  /** J4: the only chance in the core. Gives an election timeout in [E, 2E); called when the timer is reset. */
  readonly electionTimeout: () => number;
}

/** What survived the last run, as the host found it (G1). */
export interface Restored {
  readonly hardState: HardState;
  /** The log's base: the newest entry no longer in `entries` (index 0, term 0 at birth). */
  readonly base: { readonly index: LogIndex; readonly term: Term };
  readonly entries: readonly Entry[];
  /** The state machine's own applied index; `conf` is the configuration as of it. */
  readonly applied: LogIndex;
  readonly conf: ConfState;
}
