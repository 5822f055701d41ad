/**
 * What must happen outside the core, and in which order. Two lanes: a `Ready` may be carried out at once, a
 * `PersistBatch` must be durable before what it holds back may leave (design section 4, raft-notes S4).
 */
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import type { Entry, EntryId } from "./entry.ts";
import type { SnapshotMeta } from "./membership-types.ts";
import type { DropReason, Outgoing } from "./message.ts";

export type Role = "follower" | "preCandidate" | "candidate" | "leader";

/** Everything of the core that must survive a crash besides the log. */
export interface HardState {
  readonly term: Term;
  readonly votedFor: MemberId | undefined;
  readonly commit: LogIndex;
}

export interface SoftState {
  readonly role: Role;
  readonly term: Term;
  readonly leader: MemberId | undefined;
}

/** The message lane's work. The host carries it out at once, whatever the disk does. */
export interface Ready {
  readonly messages: readonly Outgoing[];
  /** Contiguous, committed and locally durable (W10). Ends at a confChange entry (Q5). Report with `applied`. */
  readonly committed: readonly Entry[];
  /** Reads confirmed: serve each once applied >= index. */
  readonly reads: readonly { readonly ref: number; readonly index: LogIndex }[];
  readonly readsDropped: readonly { readonly ref: number; readonly reason: DropReason }[];
  /** Local proposals that got their place in this member's own log (it leads). */
  readonly placed: readonly { readonly ref: number; readonly id: EntryId }[];
  /** Local proposals that certainly did not happen (U3), whether refused here or by the leader. */
  readonly dropped: readonly { readonly ref: number; readonly reason: DropReason }[];
  /** Present when role, term or leader changed. */
  readonly soft: SoftState | undefined;
  /** Followers to stream the newest durable state to. Answer each once with `snapshotSent`. */
  readonly sendSnapshots: readonly { readonly to: MemberId; readonly session: number }[];
  /** Streams that lost their purpose (N5). */
  readonly abortSnapshots: readonly { readonly to: MemberId; readonly session: number }[];
}

/** The disk lane's work: one atomic, synchronous write. Complete in order through `persisted(seq)`. */
export interface PersistBatch {
  readonly seq: number;
  /** Always whole (W2). */
  readonly hardState: HardState;
  /** Everything at or above is discarded before `entries` are written (W3). */
  readonly cutFrom: LogIndex | undefined;
  readonly entries: readonly Entry[];
  /** A snapshot becomes the base of the log in the same write; the whole old log goes (N9). */
  readonly install: SnapshotMeta | undefined;
  /** Vote grants and acknowledgements: promises kept once this and every earlier batch are durable. */
  readonly messagesAfter: readonly Outgoing[];
}
