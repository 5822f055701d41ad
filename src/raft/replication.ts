/** The log's way through the group: appends and their answers, commits, heartbeats, snapshots (raft-notes section 4, 7). */
import { fail } from "../base/assert.ts";
import type { MemberId } from "../base/ids.ts";
import { logIndex, term } from "../base/ids.ts";
import type { Entry } from "./entry.ts";
import { entryBytes } from "./log.ts";
import { isMember } from "./membership.ts";
import type { Append, AppendResponse, Heartbeat, HeartbeatResponse, InstallSnapshot } from "./message.ts";
import { findPeer, type Progress, quorumReached } from "./progress.ts";
import { beginReadRound, confirmReads, releaseParkedReads } from "./reads.ts";
import { becomeFollower } from "./roles.ts";
import type { CoreState } from "./state.ts";
import { sendTimeoutNow } from "./transfer.ts";

// -- the follower's half ---------------------------------------------------------------------------------------------

/** Q3: one acknowledgement per batch is enough, the highest. Only neighbours merge: a refusal keeps its place. */
function acknowledge(core: CoreState, to: MemberId, session: number, index: number): void {
  const waiting = core.messagesAfter;
  const last = waiting[waiting.length - 1];
  if (last?.to === to && last.message.kind === "appendResponse") {
    const { rejected, session: at, term: when } = last.message;
    if (!rejected && at === session && when === core.term) {
      if (last.message.index >= index) return;
      waiting.pop();
    }
  }
  core.sendAfter(to, {
    kind: "appendResponse",
    term: core.term,
    session,
    index: logIndex(index),
    rejected: false,
    hintIndex: logIndex(0),
    hintTerm: term(0),
  });
}

/** T6: an answer that says nothing but "my term is newer". */
export function answerStaleLeader(core: CoreState, to: MemberId): void {
  core.sendAfter(to, {
    kind: "appendResponse",
    term: core.term,
    session: 0,
    index: logIndex(0),
    rejected: true,
    hintIndex: logIndex(0),
    hintTerm: term(0),
  });
}

export function handleAppend(core: CoreState, from: MemberId, message: Append): void {
  const { prevIndex, prevTerm, entries, session } = message;
  const { log } = core;
  // A2: also when `prevIndex` is released. Released is never a conflict (B22).
  if (prevIndex < core.commit) {
    acknowledge(core, from, session, core.commit);
    return;
  }
  if (log.termAt(prevIndex) !== prevTerm) {
    // A7.
    const hint = log.floor(prevIndex, prevTerm);
    core.sendAfter(from, {
      kind: "appendResponse",
      term: core.term,
      session,
      index: prevIndex,
      rejected: true,
      hintIndex: logIndex(hint),
      hintTerm: log.termAt(hint) ?? term(0),
    });
    return;
  }
  // A3, A4: what matches stays, and so does what follows it.
  const known = log.matching(entries);
  if (known < entries.length) {
    const first = entries[known]!.index;
    if (first <= core.commit) fail("A3", `entry ${first} conflicts with a committed one`);
    if (first <= log.lastIndex) core.truncateFrom(first);
    for (let i = known; i < entries.length; i++) log.append(entries[i]!);
  }
  // A5, A6: the tail beyond may belong to a dead leader (B20).
  const proven = prevIndex + entries.length;
  core.commitTo(Math.min(message.commit, proven), "A6");
  acknowledge(core, from, session, proven);
}

/** A14: clamped by the leader to what this member acknowledged. Q8: the answer waits for no disk. */
export function handleHeartbeat(core: CoreState, from: MemberId, message: Heartbeat): void {
  core.commitTo(message.commit, "A14");
  core.send(from, { kind: "heartbeatResponse", term: core.term, readPosition: message.readPosition });
}

/** N6-N12. The data is durable already; what is left is whether the log may begin there. */
export function handleInstall(core: CoreState, from: MemberId, message: InstallSnapshot): void {
  const { index, snapshotTerm, conf, session } = message;
  const { log } = core;
  const known = log.termAt(index);
  if (index <= core.commit) {
    // N11: two committed histories (B21).
    if (known !== undefined && known !== snapshotTerm) fail("N11", `snapshot ${index} of another term than committed`);
    acknowledge(core, from, session, core.commit);
    return;
  }
  if (known === snapshotTerm) {
    core.commitTo(index, "N7");
    acknowledge(core, from, session, index);
    return;
  }
  if (!isMember(conf, core.id)) return;
  // N9, B21: nothing of the old log stays, above the boundary either. What was handed out is on a log that goes.
  core.writes.clip(index - 1);
  core.withdrawAcks(core.commit + 1);
  log.reset({ index, term: snapshotTerm });
  core.commit = index;
  core.applyBytes = 0;
  core.install = { index, term: snapshotTerm, conf };
  core.installUnwritten = true;
  acknowledge(core, from, session, index);
}

// -- the leader's half -----------------------------------------------------------------------------------------------

/** A13, A17: by counting, an entry of this term only; older ones come along with it (Raft paper section 5.4.2). */
export function maybeCommit(core: CoreState): void {
  if (core.role !== "leader") return;
  const index = quorumReached(core.peers, "match");
  if (index <= core.commit || !Number.isFinite(index) || core.log.termAt(index) !== core.term) return;
  core.commitTo(index, "V8");
  core.sendDue = true;
  releaseParkedReads(core);
}

/** A15: the leader's own copy counts from the moment it is durable. */
export function ownProgress(core: CoreState): void {
  if (core.role !== "leader") return;
  const self = core.peerSelf;
  if (self === undefined) return;
  if (core.writes.durableIndex < self.match) fail("V6", "the leader's own match falls");
  self.match = core.writes.durableIndex;
  self.next = core.log.lastIndex + 1;
  maybeCommit(core);
}

/** A12: sessions only grow, so an older one belongs to a member of that name that was removed since (B24). */
function isCurrent(core: CoreState, peer: Progress, session: number): boolean {
  return session >= peer.session && session <= core.lastSession;
}

export function handleAppendResponse(core: CoreState, from: MemberId, message: AppendResponse): void {
  if (core.role !== "leader") return;
  const peer = findPeer(core.peers, from);
  if (peer === undefined) return;
  peer.recentActive = true;
  if (!isCurrent(core, peer, message.session)) return;
  if (message.rejected) {
    handleRejection(core, peer, message);
    return;
  }
  const { index } = message;
  // Nobody can have what was never sent.
  if (index > core.log.lastIndex) return;
  // B40: a caught-up member that is being probed must get back to streaming.
  if (index < peer.match || (index === peer.match && peer.state !== "probe")) return;
  peer.match = index;
  peer.next = Math.max(peer.next, index + 1);
  if (peer.state === "probe") peer.becomeReplicate();
  else if (peer.state === "replicate") peer.inflights.freeTo(index);
  else if (index >= core.log.base.index) {
    core.abortSnapshots.push({ to: peer.id, session: peer.snapshotSession });
    peer.snapshotSession = 0;
    peer.becomeReplicate();
  }
  core.sendDue = true;
  maybeCommit(core);
  sendTimeoutNow(core);
  if (core.leavesAt > 0 && peer.toldAt === 0 && peer.match >= core.leavesAt) broadcastHeartbeat(core);
}

/** A8-A10. */
function handleRejection(core: CoreState, peer: Progress, message: AppendResponse): void {
  const { index: rejected, hintIndex, hintTerm } = message;
  if (peer.state === "snapshot") return;
  if (peer.state === "replicate") {
    if (rejected <= peer.match) return;
    peer.becomeProbe(peer.match + 1, false);
  } else {
    if (rejected !== peer.next - 1) return;
    const floor = hintTerm === 0 ? hintIndex : core.log.floor(hintIndex, hintTerm);
    // G6: refusing what was acknowledged is late news, or a disk that lost it. Asking at once would go on for ever.
    const suspect = rejected <= peer.match;
    peer.becomeProbe(Math.max(peer.match + 1, Math.min(rejected, floor + 1)), suspect);
  }
  core.sendDue = true;
}

export function handleHeartbeatResponse(core: CoreState, from: MemberId, message: HeartbeatResponse): void {
  if (core.role !== "leader") return;
  const peer = findPeer(core.peers, from);
  if (peer === undefined) return;
  peer.recentActive = true;
  peer.paused = false;
  // F2, F3: whatever was in flight may be lost.
  if (peer.match < core.log.lastIndex || peer.state === "probe") {
    peer.force = true;
    core.sendDue = true;
  }
  // R2; an echo of what was never issued confirms nothing.
  if (message.readPosition > peer.readAck && message.readPosition <= core.reads.position) {
    peer.readAck = message.readPosition;
    confirmReads(core);
    maybeLeave(core);
  }
}

export function broadcastHeartbeat(core: CoreState): void {
  core.heartbeatElapsed = 0;
  // M8: an echo of this very heartbeat says that what it told has arrived.
  if (core.leavesAt > 0) core.reads.mint();
  for (const peer of core.peers) {
    if (peer.id === core.id) continue;
    const commit = logIndex(Math.min(peer.match, core.commit));
    if (core.leavesAt > 0 && commit >= core.leavesAt && peer.toldAt === 0) peer.toldAt = core.reads.position;
    core.send(peer.id, { kind: "heartbeat", term: core.term, commit, readPosition: core.reads.position });
  }
}

/**
 * M8: a removed leader goes once a quorum of the others knows that it was removed. Whoever has everything may follow it
 * at once; without that they would wait for their timers.
 */
function maybeLeave(core: CoreState): void {
  if (core.leavesAt === 0 || quorumReached(core.peers, "told") < 1) return;
  const { term: at, lastId } = core;
  const heir = core.peers.find((peer) => peer.isVoter && peer.recentActive && peer.match === lastId.index);
  if (heir !== undefined) {
    core.send(heir.id, { kind: "timeoutNow", term: at, lastIndex: lastId.index, lastTerm: lastId.term });
  }
  becomeFollower(core, core.term, undefined);
}

/** F4. Paused, or a send that fails at once would be repeated at once. */
export function handleUnreachable(core: CoreState, id: MemberId): void {
  const peer = core.role === "leader" ? findPeer(core.peers, id) : undefined;
  if (peer === undefined || peer.id === core.id) return;
  if (peer.state === "replicate") peer.becomeProbe(peer.match + 1, true);
  else if (peer.state === "probe") peer.paused = true;
}

/**
 * N3: exactly one answer ends a stream. "ok" says that the bytes arrived: the log is probed from its first entry, and
 * only after an answer of the member, which may still be busy making the install durable.
 */
export function handleSnapshotSent(core: CoreState, to: MemberId, session: number, ok: boolean): void {
  const peer = core.role === "leader" ? findPeer(core.peers, to) : undefined;
  if (peer === undefined || session === 0 || peer.snapshotSession !== session) return;
  peer.snapshotSession = 0;
  if (peer.state !== "snapshot") return;
  peer.becomeProbe(ok ? Math.max(peer.match, core.log.base.index) + 1 : peer.match + 1, true);
}

/** F6: reads the log as it is now. Everything proposed since the last take goes out in one append per follower. */
export function sendAppends(core: CoreState): void {
  core.sendDue = false;
  for (const peer of core.peers) if (peer.id !== core.id) sendTo(core, peer);
  core.cut = undefined;
}

function sendTo(core: CoreState, peer: Progress): void {
  switch (peer.state) {
    case "snapshot":
      return;
    case "probe":
      if (peer.paused || !sendOne(core, peer, false)) return;
      peer.force = false;
      peer.paused = true;
      return;
    case "replicate": {
      let sent = false;
      while (peer.state === "replicate" && peer.next <= core.log.lastIndex && !peer.inflights.full) {
        if (!sendOne(core, peer, false)) return;
        sent = true;
      }
      // A16: who can use the commit and was not told. A full window is told by the acks and heartbeats that drain it.
      const tell = !peer.inflights.full && peer.sentCommit < Math.min(core.commit, peer.next - 1);
      if (!sent && (peer.force || tell)) sendOne(core, peer, true);
      peer.force = false;
    }
  }
}

/** False if the log no longer reaches back far enough: then the member needs a snapshot (K4, B39). */
function sendOne(core: CoreState, peer: Progress, empty: boolean): boolean {
  const { log, commit, config } = core;
  const prevIndex = peer.next - 1;
  const prevTerm = log.termAt(prevIndex);
  if (prevTerm === undefined) {
    needSnapshot(core, peer);
    return false;
  }
  let entries: readonly Entry[] = NO_ENTRIES;
  if (!empty && peer.next <= log.lastIndex) {
    if (core.cut?.[0]?.index !== peer.next) core.cut = log.from(peer.next, config.maxMessageBytes);
    entries = core.cut;
  }
  core.send(peer.id, {
    kind: "append",
    term: core.term,
    prevIndex: logIndex(prevIndex),
    prevTerm,
    entries,
    commit,
    session: peer.session,
  });
  const last = prevIndex + entries.length;
  peer.sentCommit = Math.max(peer.sentCommit, Math.min(commit, last));
  if (peer.state === "replicate" && entries.length > 0) {
    let bytes = 0;
    for (const entry of entries) bytes += entryBytes(entry);
    peer.inflights.add(last, bytes);
    peer.next = last + 1;
  }
  return true;
}

const NO_ENTRIES: readonly Entry[] = [];

/** F7: only to a member that was heard of lately. */
function needSnapshot(core: CoreState, peer: Progress): void {
  peer.force = false;
  if (!peer.recentActive) {
    if (peer.state === "probe") peer.paused = true;
    return;
  }
  core.lastSession += 1;
  peer.becomeSnapshot(core.lastSession);
  core.sendSnapshots.push({ to: peer.id, session: core.lastSession });
}

/** R5, A16: the leader's part of a take. */
export function sendDueMessages(core: CoreState, holdAppends: boolean): void {
  if (beginReadRound(core)) broadcastHeartbeat(core);
  if (core.sendDue && !holdAppends) sendAppends(core);
}
