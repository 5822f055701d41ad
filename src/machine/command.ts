/** What a log entry asks of the machine. The bytes of an envelope are laid out in envelope-codec.ts. */
import type { LeaseId, MemberId } from "../base/ids.ts";
import type { CompactRequest, DeleteRangeRequest, PutRequest, TxnRequest } from "../protocol/requests.ts";

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

export type Command =
  | PutRequest
  | DeleteRangeRequest
  | TxnRequest
  | CompactRequest
  | PublishCommand
  | MembershipCommand;

/** A command and who waits for it. Client id, sequence and lease id have their place from the first format on. */
export interface Envelope {
  /** The member whose caller waits, the run of it, and its own number for the call. */
  readonly proposer: MemberId;
  readonly incarnation: number;
  readonly ref: number;
  /** 0 = a plain request without exactly-once (design section 7). */
  readonly clientId: number;
  readonly sequence: number;
  readonly lowestUnacknowledged: number;
  /** Chosen by the server before proposing; 0n = none. */
  readonly leaseId: LeaseId;
  readonly command: Command;
}
