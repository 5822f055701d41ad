/** What the store holds and how each answer is stamped. */
import type { ClusterId, LeaseId, MemberId, Revision, Term } from "../base/ids.ts";

/** One key at one revision. `lease` is 0n where there is none, as on etcd's wire. */
export interface KeyValue {
  readonly key: Uint8Array;
  /** Main revision at which the key last came into existence. */
  readonly createRevision: Revision;
  /** Main revision of the last put. */
  readonly modRevision: Revision;
  /** 1 at creation, +1 with each put. */
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: LeaseId;
}

/** Stamped on each answer by the member that gives it. */
export interface ResponseHeader {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
  /** The store's revision, by the rules of etcd-semantics section 1.4. 0 for membership calls. */
  readonly revision: Revision;
  /** Term of the answering member's last applied entry. */
  readonly raftTerm: Term;
}

/** A cluster member as listed to clients. A member that was added but never started has an empty name. */
export interface Member {
  readonly id: MemberId;
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}
