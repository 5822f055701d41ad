/** Becoming a follower: the one transition that every other rule may ask for. */
import { fail } from "../base/assert.ts";
import type { MemberId, Term } from "../base/ids.ts";
import type { CoreState } from "./state.ts";

export function setLeader(core: CoreState, leader: MemberId | undefined): void {
  if (core.leader === leader) return;
  core.leader = leader;
  core.dropForwardedReads();
}

/** E9: the vote goes with the term and with nothing else. E2: a mere new term leaves a follower's timer alone. */
export function becomeFollower(core: CoreState, term: Term, leader: MemberId | undefined): void {
  if (term < core.term) fail("V1", `term ${term} below ${core.term}`);
  if (term > core.term) {
    core.term = term;
    core.votedFor = undefined;
  }
  if (core.role === "leader") leaveLeadership(core);
  if (core.role !== "follower") core.resetElectionTimer();
  core.role = "follower";
  core.tally.clear();
  setLeader(core, leader);
}

/** N5, R7, X3: streams lose their purpose, reads are failed by name, a transfer is over. */
function leaveLeadership(core: CoreState): void {
  for (const peer of core.peers) {
    if (peer.snapshotSession !== 0) core.abortSnapshots.push({ to: peer.id, session: peer.snapshotSession });
  }
  core.peers = [];
  core.uncommittedBytes = 0;
  core.leadTransferee = undefined;
  core.leavesAt = 0;
  core.sendDue = false;
  for (const { ref, from } of core.reads.takeAll()) {
    if (from === undefined) core.readsDropped.push({ ref, reason: "noLeader" });
    else core.send(from, { kind: "readResponse", ref, index: undefined });
  }
}
