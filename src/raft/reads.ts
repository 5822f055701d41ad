/** The rules around read-index.ts: who may be answered when (raft-notes section 9). */
import type { MemberId } from "../base/ids.ts";
import { isJoint } from "./membership.ts";
import type { DropReason, ReadResponse } from "./message.ts";
import { quorumReached } from "./progress.ts";
import type { PendingRead } from "./read-index.ts";
import type { CoreState } from "./state.ts";

function refuse(core: CoreState, ref: number, from: MemberId | undefined, reason: DropReason): void {
  if (from === undefined) core.readsDropped.push({ ref, reason });
  else core.send(from, { kind: "readResponse", ref, index: undefined });
}

function answer(core: CoreState, reads: readonly PendingRead[]): void {
  for (const { ref, from, index } of reads) {
    if (from === undefined) core.readsDone.push({ ref, index });
    else core.send(from, { kind: "readResponse", ref, index });
  }
}

/** R1: what earlier leaders committed is known only once an entry of this term is. */
function ownTermCommitted(core: CoreState): boolean {
  return core.commitTerm === core.term;
}

/** R6: all four, or an old leader answers alone (B02, B03). */
function answersAlone(core: CoreState): boolean {
  const { conf } = core;
  return !isJoint(conf) && conf.voters.length === 1 && conf.voters[0] === core.id && ownTermCommitted(core);
}

/** `from` is undefined for a read of our own. */
export function acceptRead(core: CoreState, ref: number, from: MemberId | undefined): void {
  const { reads } = core;
  if (core.role !== "leader") {
    if (from === undefined && core.leader !== undefined) forward(core, ref, core.leader);
    else refuse(core, ref, from, "noLeader");
    return;
  }
  // R10: rounds would keep the followers loyal to a leader that wants to go, or has to.
  if (core.leadTransferee !== undefined || core.leavesAt > 0) {
    refuse(core, ref, from, "transferring");
    return;
  }
  if (reads.count >= core.config.pendingReadsMax) {
    refuse(core, ref, from, "busy");
    return;
  }
  const read = { ref, from, index: core.commit };
  if (!ownTermCommitted(core)) reads.park(read);
  else reads.add(read);
}

/** R8. The oldest one gives way: its answer was lost, or the host has asked anew since. */
function forward(core: CoreState, ref: number, leader: MemberId): void {
  if (core.forwardedReads.size >= core.config.pendingReadsMax) {
    const [oldest] = core.forwardedReads;
    core.forwardedReads.delete(oldest!);
    core.readsDropped.push({ ref: oldest!, reason: "busy" });
  }
  core.forwardedReads.add(ref);
  core.send(leader, { kind: "forwardRead", ref });
}

/** An answer to a ref that nobody waits for is a duplicate, or one that was given up. */
export function handleReadResponse(core: CoreState, message: ReadResponse): void {
  const { ref, index } = message;
  if (!core.forwardedReads.delete(ref)) return;
  if (index === undefined) core.readsDropped.push({ ref, reason: "noLeader" });
  else core.readsDone.push({ ref, index });
}

/** R5: everything that arrived since the last round shares the next. True if its heartbeats have to be sent. */
export function beginReadRound(core: CoreState): boolean {
  const { reads } = core;
  if (answersAlone(core)) {
    answer(core, reads.takeAccepted());
    return false;
  }
  if (!reads.roundDue) return false;
  const position = reads.begin();
  const self = core.peerSelf;
  if (self !== undefined) self.readAck = position;
  confirmReads(core);
  return true;
}

/** R2. Asked after each echo and after each change of the quorum (B07). */
export function confirmReads(core: CoreState): void {
  if (core.reads.roundUnderWay) answer(core, core.reads.confirm(quorumReached(core.peers, "readAck")));
}

/** R1. */
export function releaseParkedReads(core: CoreState): void {
  if (core.reads.parkedCount > 0 && ownTermCommitted(core)) core.reads.release(core.commit);
}
