/** Handing leadership over, on the leader's side (X1-X6). What the target does is in election.ts. */
import type { MemberId } from "../base/ids.ts";
import { findPeer } from "./progress.ts";
import type { CoreState } from "./state.ts";

/** X1. */
export function transferLeader(core: CoreState, target: MemberId): boolean {
  if (core.role !== "leader") return false;
  if (target === core.id) {
    const pending = core.leadTransferee !== undefined;
    core.leadTransferee = undefined;
    return pending;
  }
  const peer = findPeer(core.peers, target);
  if (peer === undefined || !(peer.isVoter || peer.isVoterOutgoing)) return false;
  if (core.leadTransferee === target) return true;
  core.leadTransferee = target;
  core.transferElapsed = 0;
  core.sendDue = true;
  sendTimeoutNow(core);
  return true;
}

/** X2: as soon as the target has everything. Sending it again is harmless. */
export function sendTimeoutNow(core: CoreState): void {
  if (core.leadTransferee === undefined) return;
  const peer = findPeer(core.peers, core.leadTransferee);
  const { lastId, term: at } = core;
  if (peer === undefined || peer.match !== lastId.index) return;
  core.send(peer.id, { kind: "timeoutNow", term: at, lastIndex: lastId.index, lastTerm: lastId.term });
}
