/** The union of messages between members (raft-notes section 2). `from` and `to` travel beside it, never inside. */
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import type { Entry, EntryKind } from "./entry.ts";
import type { ConfState } from "./membership-types.ts";

export interface RequestVote {
  readonly kind: "requestVote" | "requestPreVote";
  readonly term: Term;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
  readonly transfer: boolean;
  /** What the sender knows committed (M13). */
  readonly commit: LogIndex;
  readonly commitTerm: Term;
}
export interface VoteResponse {
  readonly kind: "voteResponse" | "preVoteResponse";
  readonly term: Term;
  readonly granted: boolean;
  readonly commit: LogIndex;
  readonly commitTerm: Term;
}
export interface Append {
  readonly kind: "append";
  readonly term: Term;
  readonly prevIndex: LogIndex;
  readonly prevTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: LogIndex;
  /** Progress session the answer must name (A12). */
  readonly session: number;
}
export interface AppendResponse {
  readonly kind: "appendResponse";
  readonly term: Term;
  readonly session: number;
  /** Accepted: the index proven to match. Rejected: the `prevIndex` refused. */
  readonly index: LogIndex;
  readonly rejected: boolean;
  readonly hintIndex: LogIndex;
  readonly hintTerm: Term;
}
export interface Heartbeat {
  readonly kind: "heartbeat";
  readonly term: Term;
  readonly commit: LogIndex;
  /** Highest read position issued (R2); 0 before the first. */
  readonly readPosition: number;
}
export interface HeartbeatResponse {
  readonly kind: "heartbeatResponse";
  readonly term: Term;
  readonly readPosition: number;
}
/** A snapshot of which every byte has already arrived out of band and is durable at the receiver (design section 5). */
export interface InstallSnapshot {
  readonly kind: "installSnapshot";
  readonly term: Term;
  readonly index: LogIndex;
  readonly snapshotTerm: Term;
  readonly conf: ConfState;
  readonly session: number;
}
export interface TimeoutNow {
  readonly kind: "timeoutNow";
  readonly term: Term;
  readonly lastIndex: LogIndex;
  readonly lastTerm: Term;
}
/** Term-less: the leader treats them as local requests. */
export interface ForwardPropose {
  readonly kind: "forwardPropose";
  readonly proposals: readonly { readonly ref: number; readonly kind: EntryKind; readonly data: Uint8Array }[];
}
/** The leader (or who is no longer one) did not append these: they certainly did not happen. */
export interface ProposeRefused {
  readonly kind: "proposeRefused";
  readonly refs: readonly number[];
  readonly reason: DropReason;
}
export interface ForwardRead {
  readonly kind: "forwardRead";
  readonly ref: number;
}
/** `index` undefined: refused, ask again. */
export interface ReadResponse {
  readonly kind: "readResponse";
  readonly ref: number;
  readonly index: LogIndex | undefined;
}

export type Message =
  | RequestVote
  | VoteResponse
  | Append
  | AppendResponse
  | Heartbeat
  | HeartbeatResponse
  | InstallSnapshot
  | TimeoutNow
  | ForwardPropose
  | ProposeRefused
  | ForwardRead
  | ReadResponse;

/** U3: each means "certainly not executed". */
export type DropReason = "noLeader" | "transferring" | "busy" | "notMember" | "confChangePending" | "invalid";

export interface Outgoing {
  readonly to: MemberId;
  readonly message: Message;
}
