/** One union of what a server answers, mirroring the requests kind by kind. */
import type { LeaseId, MemberId, Revision } from "../base/ids.ts";
import type { KeyValue, Member, ResponseHeader } from "./key-value.ts";
import type { AlarmType, LeaderKey, Request } from "./requests.ts";

export interface RangeResult {
  readonly kind: "range";
  readonly revision: Revision;
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  /** Live keys in the range at that revision, before filters and limit. */
  readonly count: number;
}
export interface PutResult {
  readonly kind: "put";
  readonly revision: Revision;
  readonly prevKv?: KeyValue | undefined;
}
export interface DeleteRangeResult {
  readonly kind: "deleteRange";
  readonly revision: Revision;
  readonly deleted: number;
  readonly prevKvs: readonly KeyValue[];
}
/** One result per operation of the branch taken, in its order. */
export interface TxnResult {
  readonly kind: "txn";
  readonly revision: Revision;
  readonly succeeded: boolean;
  readonly results: readonly OpResult[];
}
export type OpResult = RangeResult | PutResult | DeleteRangeResult | TxnResult;
export interface CompactResult {
  readonly kind: "compact";
  readonly revision: Revision;
}
export interface LeaseGrantResult {
  readonly kind: "leaseGrant";
  readonly revision: Revision;
  readonly id: LeaseId;
  /** Seconds: what was asked for, or the server's minimum. */
  readonly ttl: number;
}
export interface LeaseRevokeResult {
  readonly kind: "leaseRevoke";
  /** After the deletion of the lease's keys. */
  readonly revision: Revision;
}
export interface LeaseKeepAliveResult {
  readonly kind: "leaseKeepAlive";
  readonly id: LeaseId;
  /** Seconds from the sending of the request on. 0: there is no such lease (any more). */
  readonly ttl: number;
}
export interface LeaseTimeToLiveResult {
  readonly kind: "leaseTimeToLive";
  readonly id: LeaseId;
  /** Whole seconds left; 0 or less when overdue, -1 if there is no such lease. */
  readonly ttl: number;
  /** 0 if there is no such lease. */
  readonly grantedTtl: number;
  /** Ascending. Empty unless asked for. */
  readonly keys: readonly Uint8Array[];
}
export interface LeaseListResult {
  readonly kind: "leaseList";
  /** Ascending. */
  readonly leases: readonly LeaseId[];
}
export interface RegisterResult {
  readonly kind: "register";
  readonly clientId: number;
}
export interface MembersResult {
  readonly kind: "members";
  /** The member added, for `memberAdd`. */
  readonly member?: Member | undefined;
  readonly members: readonly Member[];
}
export interface MoveLeaderResult {
  readonly kind: "moveLeader";
}
export interface StatusResult {
  readonly kind: "status";
  readonly revision: Revision;
  readonly version: string;
  /** Bytes on disk; never below what is in use, and never 0: etcdctl divides by it. */
  readonly dbSize: number;
  /** Bytes of the records that this member's state holds: what the quota is held against. */
  readonly dbSizeInUse: number;
  /** 0: no quota. */
  readonly dbSizeQuota: number;
  readonly leader?: MemberId | undefined;
  readonly raftIndex: number;
  readonly raftTerm: number;
  readonly raftAppliedIndex: number;
  readonly errors: readonly string[];
  readonly isLearner: boolean;
  /** quorate's own: the chained hash of everything replicated, comparable at equal `raftAppliedIndex`. */
  readonly stateHash: string;
}
/** An alarm stands for one member; it is a fact of the whole cluster. */
export interface Alarm {
  readonly member: MemberId;
  readonly alarm: AlarmType;
}
/** Those asked for; the one raised; the one released, if it stood. By member, ascending. */
export interface AlarmResult {
  readonly kind: "alarm";
  readonly alarms: readonly Alarm[];
}
export interface HashKvResult {
  readonly kind: "hashKv";
  readonly revision: Revision;
  readonly hash: number;
  readonly compactRevision: number;
  readonly hashRevision: number;
}

export interface SnapshotPartResult {
  readonly kind: "snapshot";
  /** The revision of the state that is sent. */
  readonly revision: Revision;
  readonly session: number;
  readonly bytes: Uint8Array;
  /** There is no more, nor in this one: the session is over. */
  readonly isLast: boolean;
  /** About how many bytes there are in all. Never 0. */
  readonly aboutBytes: number;
  /** The member's release. */
  readonly version: string;
}

export interface LockResult {
  readonly kind: "lock";
  readonly key: Uint8Array;
  /** The key's create revision: the fencing token. Ours; etcd does not tell. */
  readonly token: Revision;
}
export interface UnlockResult {
  readonly kind: "unlock";
}
export interface CampaignResult {
  readonly kind: "campaign";
  readonly leader: LeaderKey;
}
export interface ProclaimResult {
  readonly kind: "proclaim";
}
export interface ResignResult {
  readonly kind: "resign";
}
export interface LeaderResult {
  readonly kind: "leader";
  readonly kv: KeyValue;
}
export type QueueResult = LockResult | UnlockResult | CampaignResult | ProclaimResult | ResignResult | LeaderResult;

export type Result =
  | OpResult
  | CompactResult
  | LeaseGrantResult
  | LeaseRevokeResult
  | LeaseKeepAliveResult
  | LeaseTimeToLiveResult
  | LeaseListResult
  | RegisterResult
  | MembersResult
  | MoveLeaderResult
  | StatusResult
  | HashKvResult
  | SnapshotPartResult
  | AlarmResult
  | QueueResult;

/** What travels back: the result and its stamp. */
export type Response<R extends Result = Result> = { readonly header: ResponseHeader; readonly result: R };

/** Which result answers which request. */
export type ResultOf<Q extends Request> = Q["kind"] extends
  | "memberList"
  | "memberAdd"
  | "memberRemove"
  | "memberUpdate"
  | "memberPromote"
  ? MembersResult
  : Extract<Result, { readonly kind: Q["kind"] }>;
