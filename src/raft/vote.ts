/** Whether to vote for somebody. Decides and changes nothing: the caller persists before it answers. */
import type { MemberId, Term } from "../base/ids.ts";
import { compareEntryIds, type EntryId } from "./entry.ts";

export type VoteDecision =
  | { readonly kind: "grant" }
  | { readonly kind: "reject"; readonly reason: "stale-term" | "already-voted" | "sticky-leader" | "log-behind" };

export interface Voter {
  readonly term: Term;
  readonly votedFor: MemberId | undefined;
  readonly leader: MemberId | undefined;
  /** E11: it heard from that leader less than an election timeout ago. */
  readonly sticky: boolean;
  readonly last: EntryId;
}

export interface Candidacy {
  readonly candidate: MemberId;
  readonly term: Term;
  readonly preVote: boolean;
  readonly last: EntryId;
}

const GRANT: VoteDecision = { kind: "grant" };
const STALE: VoteDecision = { kind: "reject", reason: "stale-term" };
const VOTED: VoteDecision = { kind: "reject", reason: "already-voted" };
const STICKY: VoteDecision = { kind: "reject", reason: "sticky-leader" };
const BEHIND: VoteDecision = { kind: "reject", reason: "log-behind" };

/** E5 for real votes (the voter has adopted the term already), P2 for pre-votes (it never does). */
export function decideVote(voter: Voter, request: Candidacy): VoteDecision {
  if (request.term < voter.term) return STALE;
  if (request.preVote && voter.sticky) return STICKY;
  if (request.term === voter.term) {
    const repeated = voter.votedFor === request.candidate;
    const free = voter.votedFor === undefined && voter.leader === undefined;
    if (!repeated && !free) return VOTED;
  } else if (!request.preVote) {
    return STALE;
  }
  // Election restriction (Raft paper section 5.4.1), for a repeated request too (B12).
  return compareEntryIds(request.last, voter.last) < 0 ? BEHIND : GRANT;
}
