/** What a log entry asks of the machine. The bytes of an envelope are laid out in envelope-codec.ts. */
import type { LeaseId, MemberId, Term } from "../base/ids.ts";
import type { AlarmType, CompactRequest, DeleteRangeRequest, PutRequest, TxnRequest } from "../protocol/requests.ts";

/** Membership commands travel as the context of a configuration change; the machine may veto one (M6). */
export type MembershipCommand =
  | {
      readonly kind: "memberAdd";
      readonly id: MemberId;
      readonly name: string;
      readonly peerUrls: readonly string[];
      readonly clientUrls: readonly string[];
      readonly isLearner: boolean;
    }
  | { readonly kind: "memberRemove"; readonly id: MemberId }
  | { readonly kind: "memberUpdate"; readonly id: MemberId; readonly peerUrls: readonly string[] }
  | { readonly kind: "memberPromote"; readonly id: MemberId };

/** A member tells the others its name and client addresses after each start. An ordinary entry. */
export interface PublishCommand {
  readonly kind: "memberPublish";
  readonly id: MemberId;
  readonly name: string;
  readonly clientUrls: readonly string[];
}

/** The server chose the id and raised the TTL: what an entry does may not hang on one member's options or chance. */
export interface LeaseGrantCommand {
  readonly kind: "leaseGrant";
  readonly id: LeaseId;
  /** Seconds. */
  readonly ttl: number;
}

export interface LeaseRevokeCommand {
  readonly kind: "leaseRevoke";
  readonly id: LeaseId;
  /** Set where the leader of this term found the lease expired: an entry of another term changes nothing (B49). */
  readonly term?: Term | undefined;
}

/** What leases have left, as the leader of this term knows it: an entry of another term changes nothing. */
export interface LeaseCheckpointCommand {
  readonly kind: "leaseCheckpoint";
  readonly term: Term;
  /** Seconds; the TTL clears an earlier checkpoint. */
  readonly checkpoints: readonly { readonly id: LeaseId; readonly remainingTtl: number }[];
}

export type LeaseCommand = LeaseGrantCommand | LeaseRevokeCommand | LeaseCheckpointCommand;

/** A member raises and releases its own; an operator may release any. */
export interface AlarmCommand {
  readonly kind: "alarm";
  readonly action: "activate" | "deactivate";
  readonly member: MemberId;
  readonly alarm: AlarmType;
}

/** Does nothing but register a client: its id is this entry's index. */
export interface ClientRegisterCommand {
  readonly kind: "clientRegister";
}

/** Clients that the leader of this term has not heard of for long: an entry of another term changes nothing. */
export interface ClientExpireCommand {
  readonly kind: "clientExpire";
  readonly term: Term;
  /** Each stays if it was seen with a later sequence meanwhile. */
  readonly clients: readonly { readonly id: number; readonly lastSequence: number }[];
}

export type Command =
  | PutRequest
  | DeleteRangeRequest
  | TxnRequest
  | CompactRequest
  | LeaseCommand
  | ClientRegisterCommand
  | ClientExpireCommand
  | PublishCommand
  | AlarmCommand
  | MembershipCommand;

/** A command and who waits for it. */
export interface Envelope {
  /** The member whose caller waits, the run of it, and its own number for the call. */
  readonly proposer: MemberId;
  readonly incarnation: number;
  readonly ref: number;
  /** 0 = a plain request without exactly-once (design section 7). */
  readonly clientId: number;
  readonly sequence: number;
  readonly lowestUnacknowledged: number;
  readonly command: Command;
}
