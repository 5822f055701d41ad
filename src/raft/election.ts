/** Elections, pre-votes, leadership transfer (raft-notes section 3). */
import { fail } from "../base/assert.ts";
import { EMPTY } from "../base/bytes.ts";
import type { MemberId } from "../base/ids.ts";
import { term } from "../base/ids.ts";
import { compareEntryIds } from "./entry.ts";
import { isVoter } from "./membership.ts";
import type { RequestVote, TimeoutNow, VoteResponse } from "./message.ts";
import { quorumReached } from "./progress.ts";
import { voteResult } from "./quorum.ts";
import { maybeLeaveJoint, rebuildPeers } from "./reconfigure.ts";
import { broadcastHeartbeat, maybeCommit } from "./replication.ts";
import { becomeFollower, setLeader } from "./roles.ts";
import type { CoreState } from "./state.ts";
import { decideVote } from "./vote.ts";

/** M9, whoever proposed it: two quorums without overlap otherwise (B25). */
function confChangePending(core: CoreState): boolean {
  return core.log.hasConfChange(Math.max(core.applied, core.confApplied), core.commit);
}

/** E3. */
function promotable(core: CoreState): boolean {
  return isVoter(core.conf, core.id) && core.install === undefined && !confChangePending(core);
}

/** E11: it would help to depose a leader that is well. A leader counts for itself until check-quorum says otherwise. */
export function isSticky(core: CoreState): boolean {
  return core.leader !== undefined && core.electionElapsed < core.config.electionTicks;
}

export function tick(core: CoreState): void {
  core.electionElapsed += 1;
  if (core.role === "leader") tickLeader(core);
  else if (core.electionElapsed >= core.electionTimeout) campaign(core, false);
}

function tickLeader(core: CoreState): void {
  const { electionTicks, heartbeatTicks } = core.config;
  if (core.leadTransferee !== undefined) {
    core.transferElapsed += 1;
    // X3: the target did not make it in time; proposals resume.
    if (core.transferElapsed >= electionTicks) {
      core.leadTransferee = undefined;
      maybeLeaveJoint(core);
    }
  }
  if (core.electionElapsed >= electionTicks) {
    core.electionElapsed = 0;
    if (!checkQuorum(core)) return;
  }
  core.heartbeatElapsed += 1;
  if (core.heartbeatElapsed >= heartbeatTicks) broadcastHeartbeat(core);
}

/** C1: a leader that no quorum answers steps down, and is silent from then on (C4). */
function checkQuorum(core: CoreState): boolean {
  const self = core.peerSelf;
  if (self !== undefined) self.recentActive = true;
  const held = quorumReached(core.peers, "active") >= 1;
  for (const peer of core.peers) peer.recentActive = peer.id === core.id;
  if (!held) becomeFollower(core, core.term, undefined);
  return held;
}

/** P4: a transfer goes without a pre-vote. X6: its privilege lives for this one campaign. */
export function campaign(core: CoreState, transfer: boolean): void {
  if (core.role === "leader" || !promotable(core)) return;
  if (transfer) becomeCandidate(core, true);
  else becomePreCandidate(core);
}

/** P1: nothing is promised and nothing persisted. */
function becomePreCandidate(core: CoreState): void {
  core.role = "preCandidate";
  setLeader(core, undefined);
  core.resetElectionTimer();
  core.tally.clear();
  core.tally.set(core.id, true);
  if (voteResult(core.conf, core.tally) === "won") becomeCandidate(core, false);
  else requestVotes(core, "requestPreVote", core.term + 1, false);
}

/** E4. */
function becomeCandidate(core: CoreState, transfer: boolean): void {
  core.term = term(core.term + 1);
  core.votedFor = core.id;
  core.role = "candidate";
  setLeader(core, undefined);
  core.resetElectionTimer();
  core.tally.clear();
  core.tally.set(core.id, true);
  requestVotes(core, "requestVote", core.term, transfer);
}

function requestVotes(core: CoreState, kind: RequestVote["kind"], at: number, transfer: boolean): void {
  const { conf, lastId, commit, commitTerm } = core;
  const message = {
    kind,
    term: term(at),
    lastIndex: lastId.index,
    lastTerm: lastId.term,
    transfer,
    commit,
    commitTerm,
  };
  for (const id of conf.voters) if (id !== core.id) core.send(id, message);
  for (const id of conf.votersOutgoing) {
    if (id !== core.id && !conf.voters.includes(id)) core.send(id, message);
  }
}

/** E6: asked after each answer and after each completed write. */
export function maybeWin(core: CoreState): void {
  if (core.role !== "candidate" || voteResult(core.conf, core.tally) !== "won") return;
  // A leader that acts before (term, own vote) is durable can crash, forget the term, and lead it twice (B01).
  if (core.writes.voteDurable(core.term, core.id)) becomeLeader(core);
}

/** E12. */
function becomeLeader(core: CoreState): void {
  if (core.votedFor !== core.id || !core.writes.voteDurable(core.term, core.id))
    fail("V7", "leads without its own vote");
  if (core.install !== undefined) fail("N12", "leads while a snapshot is being installed");
  core.role = "leader";
  core.leader = core.id;
  core.resetElectionTimer();
  core.heartbeatElapsed = 0;
  core.uncommittedBytes = 0;
  core.leadTransferee = undefined;
  core.leavesAt = 0;
  // M4: whatever configuration change may lie in the log is applied before the next one is proposed.
  core.confBarrier = core.log.lastIndex;
  core.peers = [];
  rebuildPeers(core);
  core.appendOwn("normal", EMPTY);
  maybeCommit(core);
}

/** The term has been looked at: a pre-vote changes nothing, a vote request has brought this member to its term. */
export function handleVoteRequest(core: CoreState, from: MemberId, message: RequestVote): void {
  const preVote = message.kind === "requestPreVote";
  const decision = decideVote(
    { term: core.term, votedFor: core.votedFor, leader: core.leader, sticky: isSticky(core), last: core.lastId },
    {
      candidate: from,
      term: message.term,
      preVote,
      last: { term: message.lastTerm, index: message.lastIndex },
    },
  );
  const granted = decision.kind === "grant";
  const { commit, commitTerm } = core;
  if (preVote) {
    const at = granted ? message.term : core.term;
    core.send(from, { kind: "preVoteResponse", term: at, granted, commit, commitTerm });
    return;
  }
  if (granted) {
    if (core.votedFor !== undefined && core.votedFor !== from) fail("V1", "a second vote in one term");
    core.votedFor = from;
    core.resetElectionTimer();
  }
  core.sendAfter(from, { kind: "voteResponse", term: core.term, granted, commit, commitTerm });
}

/** E7: the first answer of a member in this round, of the kind that the round asks for. */
export function handleVoteResponse(core: CoreState, from: MemberId, message: VoteResponse): void {
  const preVote = message.kind === "preVoteResponse";
  if (core.role !== (preVote ? "preCandidate" : "candidate")) return;
  if (message.term !== (preVote && message.granted ? core.term + 1 : core.term)) return;
  if (core.tally.has(from)) return;
  core.tally.set(from, message.granted);
  const result = voteResult(core.conf, core.tally);
  if (result === "lost") becomeFollower(core, core.term, undefined);
  else if (result === "won" && !preVote) maybeWin(core);
  else if (result === "won") {
    if (promotable(core)) becomeCandidate(core, false);
    else becomeFollower(core, core.term, undefined);
  }
}

/** M13: what somebody knows committed is committed. A candidate that learns of an unapplied change steps back. */
export function takeCommitHint(core: CoreState, message: RequestVote | VoteResponse): void {
  if (core.role === "leader" || core.log.termAt(message.commit) !== message.commitTerm) return;
  if (!core.commitTo(message.commit, "M13")) return;
  if (core.role !== "follower" && confChangePending(core)) becomeFollower(core, core.term, undefined);
}

/** X5: from the leader it follows, with everything that leader had. A learner or removed member does nothing (B34). */
export function handleTimeoutNow(core: CoreState, from: MemberId, message: TimeoutNow): void {
  if (core.role !== "follower" || core.leader !== from) return;
  if (compareEntryIds(core.lastId, { term: message.lastTerm, index: message.lastIndex }) < 0) return;
  campaign(core, true);
}
