/** Configuration changes: proposing, activating, leaving a joint phase (raft-notes section 8). */
import { fail } from "../base/assert.ts";
import { EMPTY } from "../base/bytes.ts";
import type { LogIndex, MemberId } from "../base/ids.ts";
import { encodeConfChange } from "./codec.ts";
import type { EntryId } from "./entry.ts";
import { changeConf, confFault, isJoint, isVoter } from "./membership.ts";
import type { ConfChange, ConfState } from "./membership-types.ts";
import type { DropReason } from "./message.ts";
import { findPeer, membersOf, newProgress, type Progress } from "./progress.ts";
import { confirmReads } from "./reads.ts";
import { broadcastHeartbeat, maybeCommit } from "./replication.ts";
import type { CoreState } from "./state.ts";

const LEAVE: ConfChange = { steps: [], transition: "auto", context: EMPTY };

/** M7: who stays keeps its progress, who is new begins a session (A12), who goes loses its stream (N5). */
export function rebuildPeers(core: CoreState): void {
  const before = core.peers;
  // E12 against M7: at an election everybody starts over at the end of the log, and has to prove it is alive.
  const elected = before.length === 0;
  const next = elected ? core.log.lastIndex + 1 : Math.max(core.log.lastIndex, 1);
  const peers: Progress[] = [];
  for (const id of membersOf(core.conf)) {
    let peer = findPeer(before, id);
    if (peer === undefined) {
      core.lastSession += 1;
      peer = newProgress(id, core.lastSession, next, !elected || id === core.id, core.config);
      if (id === core.id) {
        peer.match = core.writes.durableIndex;
        peer.next = core.log.lastIndex + 1;
      }
    }
    peer.isVoter = core.conf.voters.includes(id);
    peer.isVoterOutgoing = core.conf.votersOutgoing.includes(id);
    peers.push(peer);
  }
  for (const peer of before) {
    if (peer.snapshotSession !== 0 && !peers.includes(peer)) {
      core.abortSnapshots.push({ to: peer.id, session: peer.snapshotSession });
    }
  }
  core.peers = peers;
}

/** M4: placed in the log, or why not. The caller is the leader. */
export function proposeConfChange(core: CoreState, change: ConfChange): EntryId | DropReason {
  const busy = core.applied < core.confBarrier || core.commitTerm !== core.term;
  if (busy || (isJoint(core.conf) && change.steps.length > 0)) return "confChangePending";
  if (!changeConf(core.conf, change).ok) return "invalid";
  const id = core.appendOwn("confChange", encodeConfChange(change));
  core.confBarrier = id.index;
  return id;
}

/** M5: every leader does this, not only the one that entered. */
export function maybeLeaveJoint(core: CoreState): void {
  if (core.role !== "leader" || !core.conf.autoLeave || core.leavesAt > 0) return;
  // X6: nothing slips in behind what the target of a transfer was measured by.
  if (core.leadTransferee !== undefined) return;
  if (core.applied < core.confBarrier || core.commitTerm !== core.term) return;
  core.confBarrier = core.appendOwn("confChange", encodeConfChange(LEAVE)).index;
}

/**
 * M2, M6: a change takes effect when it is applied. A veto, and a change that does not fit the configuration it meets,
 * change nothing, on every member alike.
 */
export function activate(core: CoreState, index: LogIndex, change: ConfChange | undefined): ConfState {
  // An install got ahead of the state machine: the snapshot's configuration holds this change already.
  if (index <= core.confApplied) return core.conf;
  if (index > core.handedOut) fail("M2", `configuration change ${index} was not handed out`);
  core.confApplied = index;
  const result = change === undefined ? undefined : changeConf(core.conf, change);
  if (result?.ok) {
    // M14: the only voter left cannot learn from others that it is.
    core.confUnwritten = true;
    switchConf(core, result.conf);
  }
  return core.conf;
}

/** M8. */
export function switchConf(core: CoreState, conf: ConfState): void {
  const fault = confFault(conf);
  if (fault !== undefined) fail("V9", fault);
  core.conf = conf;
  if (core.role !== "leader") return;
  rebuildPeers(core);
  core.sendDue = true;
  if (core.leadTransferee !== undefined && !votes(core, core.leadTransferee)) core.leadTransferee = undefined;
  maybeCommit(core);
  confirmReads(core);
  // Not at once: the others are told of the commit first, or two of them would be one short of a quorum for ever (M14).
  if (isVoter(conf, core.id) || core.leavesAt > 0) return;
  core.leavesAt = core.confApplied;
  broadcastHeartbeat(core);
}

function votes(core: CoreState, id: MemberId): boolean {
  return isVoter(core.conf, id);
}
