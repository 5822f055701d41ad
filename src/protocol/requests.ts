/** One union of what a client can ask. Keys and values are bytes here; the client's door turns text into bytes. */
import type { LeaseId, MemberId } from "../base/ids.ts";

export type SortOrder = "none" | "ascend" | "descend";
export type SortTarget = "key" | "version" | "create" | "mod" | "value";

/** etcd's RangeRequest. `rangeEnd`: absent = one key, one zero byte = all keys from `key` on (etcd-semantics 1.3). */
export interface RangeRequest {
  readonly kind: "range";
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
  /** Most key-values returned; 0 or less = no limit. */
  readonly limit?: number | undefined;
  /** 0 or less = the current one. May be negative inside a txn, where it is not mapped to current (section 2.5). */
  readonly revision?: number | undefined;
  readonly sortOrder?: SortOrder | undefined;
  readonly sortTarget?: SortTarget | undefined;
  readonly serializable?: boolean | undefined;
  readonly keysOnly?: boolean | undefined;
  readonly countOnly?: boolean | undefined;
  readonly minModRevision?: number | undefined;
  readonly maxModRevision?: number | undefined;
  readonly minCreateRevision?: number | undefined;
  readonly maxCreateRevision?: number | undefined;
}

export interface PutRequest {
  readonly kind: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease?: LeaseId | undefined;
  readonly prevKv?: boolean | undefined;
  readonly ignoreValue?: boolean | undefined;
  readonly ignoreLease?: boolean | undefined;
}

export interface DeleteRangeRequest {
  readonly kind: "deleteRange";
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
  readonly prevKv?: boolean | undefined;
}

export type CompareResult = "equal" | "greater" | "less" | "notEqual";

/** Left side: the stored field. Right side: the value given here. */
export type Compare = {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
  readonly result: CompareResult;
} & (
  | { readonly target: "version"; readonly version: number }
  | { readonly target: "create"; readonly createRevision: number }
  | { readonly target: "mod"; readonly modRevision: number }
  | { readonly target: "value"; readonly value: Uint8Array }
  | { readonly target: "lease"; readonly lease: LeaseId }
);

export type RequestOp = RangeRequest | PutRequest | DeleteRangeRequest | TxnRequest;

/** Transactions within transactions. Deeper ones are refused: neither the wire nor the log holds them. */
export const TXN_DEPTH_MAX = 256;

export interface TxnRequest {
  readonly kind: "txn";
  readonly compare: readonly Compare[];
  readonly success: readonly RequestOp[];
  readonly failure: readonly RequestOp[];
}

export interface CompactRequest {
  readonly kind: "compact";
  readonly revision: number;
  /** Answer only once this member has physically dropped what the compaction allows. */
  readonly physical?: boolean | undefined;
}

export interface LeaseGrantRequest {
  readonly kind: "leaseGrant";
  /** Seconds. What is below the server's minimum is raised to it. */
  readonly ttl: number;
  /** Absent or 0n: the server chooses one. */
  readonly id?: LeaseId | undefined;
}
export interface LeaseRevokeRequest {
  readonly kind: "leaseRevoke";
  readonly id: LeaseId;
}
export interface LeaseKeepAliveRequest {
  readonly kind: "leaseKeepAlive";
  readonly id: LeaseId;
}
export interface LeaseTimeToLiveRequest {
  readonly kind: "leaseTimeToLive";
  readonly id: LeaseId;
  /** Names the attached keys too. */
  readonly keys?: boolean | undefined;
}
/** As the answering member knows them. */
export interface LeaseListRequest {
  readonly kind: "leaseList";
}

/** Registers a client, whose writes then carry an `OperationId`. */
export interface RegisterRequest {
  readonly kind: "register";
}

export interface MemberListRequest {
  readonly kind: "memberList";
  readonly linearizable?: boolean | undefined;
}
export interface MemberAddRequest {
  readonly kind: "memberAdd";
  readonly peerUrls: readonly string[];
  readonly isLearner?: boolean | undefined;
}
export interface MemberRemoveRequest {
  readonly kind: "memberRemove";
  readonly id: MemberId;
}
export interface MemberUpdateRequest {
  readonly kind: "memberUpdate";
  readonly id: MemberId;
  readonly peerUrls: readonly string[];
}
export interface MemberPromoteRequest {
  readonly kind: "memberPromote";
  readonly id: MemberId;
}
export interface MoveLeaderRequest {
  readonly kind: "moveLeader";
  readonly target: MemberId;
}
export interface StatusRequest {
  readonly kind: "status";
}
/** "corrupt" is etcd's name for a member whose data differs; nothing here raises it. */
export type AlarmType = "nospace" | "corrupt";

/** etcd's AlarmRequest. A request to raise or release one names both the member and the alarm; a question may name a kind. */
export interface AlarmRequest {
  readonly kind: "alarm";
  readonly action: "get" | "activate" | "deactivate";
  readonly member?: MemberId | undefined;
  readonly alarm?: AlarmType | undefined;
}
export interface HashKvRequest {
  readonly kind: "hashKv";
  /** 0 = the current revision. */
  readonly revision?: number | undefined;
}

/**
 * A member's own state as a file, part by part: the first request opens a session, the next ones carry its number. The
 * member keeps the state for it until the last part, or until nobody has asked for a while.
 */
export interface SnapshotRequest {
  readonly kind: "snapshot";
  /** Absent: a new one. */
  readonly session?: number | undefined;
  /** Parts in order, from 0. */
  readonly part?: number | undefined;
  /** No part: the session is not needed any more. */
  readonly close?: boolean | undefined;
}

/** etcd's lock service: takes a place in the queue `<name>/` under the lease, and answers once it is the first. */
export interface LockRequest {
  readonly kind: "lock";
  readonly name: Uint8Array;
  /** Absent or 0n: the member grants one of 60 seconds, which nobody keeps alive. */
  readonly lease?: LeaseId | undefined;
}
export interface UnlockRequest {
  readonly kind: "unlock";
  readonly key: Uint8Array;
}

/** Who leads an election, as its campaign was told: the key is `<name>/<lease in hexadecimal>`. */
export interface LeaderKey {
  readonly name: Uint8Array;
  readonly key: Uint8Array;
  /** The key's create revision: the fencing token. */
  readonly revision: number;
  readonly lease: LeaseId;
}

/** etcd's election service. Answers once elected. */
export interface CampaignRequest {
  readonly kind: "campaign";
  readonly name: Uint8Array;
  readonly value: Uint8Array;
  /** As of a lock. */
  readonly lease?: LeaseId | undefined;
}
export interface ProclaimRequest {
  readonly kind: "proclaim";
  readonly leader?: LeaderKey | undefined;
  readonly value: Uint8Array;
}
export interface ResignRequest {
  readonly kind: "resign";
  readonly leader?: LeaderKey | undefined;
}
export interface LeaderRequest {
  readonly kind: "leader";
  readonly name: Uint8Array;
}

export type QueueRequest =
  | LockRequest
  | UnlockRequest
  | CampaignRequest
  | ProclaimRequest
  | ResignRequest
  | LeaderRequest;

export type Request =
  | RangeRequest
  | PutRequest
  | DeleteRangeRequest
  | TxnRequest
  | CompactRequest
  | LeaseGrantRequest
  | LeaseRevokeRequest
  | LeaseKeepAliveRequest
  | LeaseTimeToLiveRequest
  | LeaseListRequest
  | RegisterRequest
  | MemberListRequest
  | MemberAddRequest
  | MemberRemoveRequest
  | MemberUpdateRequest
  | MemberPromoteRequest
  | MoveLeaderRequest
  | StatusRequest
  | HashKvRequest
  | SnapshotRequest
  | AlarmRequest
  | QueueRequest;
