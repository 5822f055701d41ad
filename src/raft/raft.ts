/**
 * The consensus core: what happens goes in by calls, what has to be done comes out of `takeReady` and `takePersist`.
 * No I/O, no clock, no promise; the same calls give the same answers. The rules are in the files beside this one and
 * carry the ids of docs/reference/raft-notes.md; here are the doors, the term rules (T), and the takes.
 */
import { fail } from "../base/assert.ts";
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import { decodeConfChange, encodeConfChange, messageFault } from "./codec.ts";
import type { RaftConfig, Restored } from "./config.ts";
import {
  campaign,
  handleTimeoutNow,
  handleVoteRequest,
  handleVoteResponse,
  isSticky,
  maybeWin,
  takeCommitHint,
  tick,
} from "./election.ts";
import type { Entry, EntryId, EntryKind } from "./entry.ts";
import { ENTRY_OVERHEAD, entryBytes } from "./log.ts";
import { isVoter } from "./membership.ts";
import type { ConfChange, ConfState, SnapshotMeta } from "./membership-types.ts";
import type { DropReason, ForwardPropose, Message, Outgoing } from "./message.ts";
import type { ProgressState } from "./progress.ts";
import { acceptRead, handleReadResponse } from "./reads.ts";
import type { PersistBatch, Ready, Role, SoftState } from "./ready.ts";
import { activate, maybeLeaveJoint, proposeConfChange, switchConf } from "./reconfigure.ts";
import {
  answerStaleLeader,
  handleAppend,
  handleAppendResponse,
  handleHeartbeat,
  handleHeartbeatResponse,
  handleInstall,
  handleSnapshotSent,
  handleUnreachable,
  ownProgress,
  sendDueMessages,
} from "./replication.ts";
import { becomeFollower, setLeader } from "./roles.ts";
import { CoreState } from "./state.ts";
import { transferLeader } from "./transfer.ts";

export interface PeerStatus {
  readonly id: MemberId;
  readonly match: LogIndex;
  readonly next: LogIndex;
  readonly state: ProgressState;
  readonly recentActive: boolean;
  readonly isLearner: boolean;
}

export interface RaftStatus {
  readonly id: MemberId;
  readonly role: Role;
  readonly term: Term;
  readonly votedFor: MemberId | undefined;
  readonly leader: MemberId | undefined;
  readonly commit: LogIndex;
  readonly applied: LogIndex;
  readonly lastIndex: LogIndex;
  readonly persistedIndex: LogIndex;
  /** E6: its vote in this term is on disk. False while it gave none. */
  readonly voteDurable: boolean;
  readonly base: EntryId;
  readonly conf: ConfState;
  /** The leader's view of every member, this one too. Empty elsewhere. */
  readonly progress: readonly PeerStatus[];
  readonly uncommittedBytes: number;
  readonly leadTransferee: MemberId | undefined;
}

/** A proposal before it has its place. `from` is the member that forwarded it. */
interface Offer {
  readonly ref: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

const NONE: readonly never[] = [];

function handOut<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? NONE : list;
}

export class Raft {
  readonly #core: CoreState;

  constructor(config: RaftConfig, restored: Restored) {
    this.#core = new CoreState(config, restored);
  }

  /** One tick of the host's clock: election timeouts, heartbeats, check-quorum. */
  tick(): void {
    tick(this.#core);
  }

  /** `from` is what the transport authenticated. A message that no correct member can have sent is dropped (J7). */
  step(from: MemberId, message: Message): void {
    const core = this.#core;
    if (from === core.id || messageFault(message) !== undefined) return;
    switch (message.kind) {
      // T1: term-less, treated as local requests.
      case "forwardPropose":
        this.#forwarded(from, message);
        return;
      case "proposeRefused":
        for (const ref of message.refs) core.dropped.push({ ref, reason: message.reason });
        return;
      case "forwardRead":
        acceptRead(core, message.ref, from);
        return;
      case "readResponse":
        handleReadResponse(core, message);
        return;
    }
    if (!this.#meetTerm(from, message)) return;
    switch (message.kind) {
      case "requestVote":
      case "requestPreVote":
        handleVoteRequest(core, from, message);
        return;
      case "voteResponse":
      case "preVoteResponse":
        handleVoteResponse(core, from, message);
        return;
      case "append":
        handleAppend(core, from, message);
        return;
      case "appendResponse":
        handleAppendResponse(core, from, message);
        return;
      case "heartbeat":
        handleHeartbeat(core, from, message);
        return;
      case "heartbeatResponse":
        handleHeartbeatResponse(core, from, message);
        return;
      case "installSnapshot":
        handleInstall(core, from, message);
        return;
      case "timeoutNow":
        handleTimeoutNow(core, from, message);
        return;
    }
  }

  /** T2-T8. True if the message is to be handled. */
  #meetTerm(from: MemberId, message: Exclude<Message, { kind: TermlessKind }>): boolean {
    const core = this.#core;
    const { kind, term } = message;
    const asks = kind === "requestVote" || kind === "requestPreVote";
    const leads = kind === "append" || kind === "heartbeat" || kind === "installSnapshot";
    // T2: without even adopting the term.
    if (asks && term > core.term && !message.transfer && isSticky(core)) return false;
    if (asks || kind === "voteResponse" || kind === "preVoteResponse") takeCommitHint(core, message);
    if (term > core.term) {
      // T3: a pre-vote's term is hypothetical, and so is the one in a granted answer. T4: not in a refusal (B31).
      const hypothetical = kind === "requestPreVote" || (kind === "preVoteResponse" && message.granted);
      if (!hypothetical) becomeFollower(core, term, leads ? from : undefined);
    } else if (term < core.term) {
      // T6, T7: whoever is behind learns the term, or it would be stuck with pre-vote and check-quorum on.
      if (kind === "append" || kind === "heartbeat") answerStaleLeader(core, from);
      return kind === "requestPreVote";
    }
    if (!leads) return true;
    if (core.role === "leader") fail("T8", `${from} leads term ${term} too`);
    if (core.leader !== undefined && core.leader !== from) fail("T8", `${core.leader} and ${from} lead term ${term}`);
    if (core.role !== "follower") becomeFollower(core, term, from);
    // A1.
    setLeader(core, from);
    core.electionElapsed = 0;
    return true;
  }

  /** Each ref comes back once: in `Ready.placed` or `Ready.dropped`, or, sent on to the leader, perhaps not at all. */
  propose(proposals: readonly { readonly ref: number; readonly data: Uint8Array }[]): void {
    const core = this.#core;
    if (core.role === "leader") {
      for (const { ref, data } of proposals) {
        const result = this.#place("normal", data, true);
        if (typeof result === "string") core.dropped.push({ ref, reason: result });
        else core.placed.push({ ref, id: result });
      }
      return;
    }
    const { leader } = core;
    if (leader === undefined) {
      for (const { ref } of proposals) core.dropped.push({ ref, reason: "noLeader" });
      return;
    }
    let batch: Offer[] = [];
    let bytes = 0;
    for (const { ref, data } of proposals) {
      if (batch.length > 0 && bytes + data.length + ENTRY_OVERHEAD > core.config.maxMessageBytes) {
        core.send(leader, { kind: "forwardPropose", proposals: batch });
        batch = [];
        bytes = 0;
      }
      batch.push({ ref, kind: "normal", data });
      bytes += data.length + ENTRY_OVERHEAD;
    }
    if (batch.length > 0) core.send(leader, { kind: "forwardPropose", proposals: batch });
  }

  proposeConfChange(ref: number, change: ConfChange): void {
    const core = this.#core;
    const { leader } = core;
    if (core.role === "leader") {
      const result = this.#placeChange(change, true);
      if (typeof result === "string") core.dropped.push({ ref, reason: result });
      else core.placed.push({ ref, id: result });
    } else if (leader === undefined) {
      core.dropped.push({ ref, reason: "noLeader" });
    } else {
      const data = encodeConfChange(change);
      core.send(leader, { kind: "forwardPropose", proposals: [{ ref, kind: "confChange", data }] });
    }
  }

  /** U5: not sent on a second time. Who asked somebody who does not lead asks again. */
  #forwarded(from: MemberId, message: ForwardPropose): void {
    const core = this.#core;
    const refused = new Map<DropReason, number[]>();
    for (const { ref, kind, data } of message.proposals) {
      const result = core.role === "leader" ? this.#place(kind, data, false) : "noLeader";
      if (typeof result !== "string") continue;
      const refs = refused.get(result);
      if (refs === undefined) refused.set(result, [ref]);
      else refs.push(ref);
    }
    for (const [reason, refs] of refused) core.send(from, { kind: "proposeRefused", refs, reason });
  }

  /** U1-U3. A string says that it certainly did not happen. */
  #place(kind: EntryKind, data: Uint8Array, own: boolean): EntryId | DropReason {
    if (kind === "confChange") {
      try {
        return this.#placeChange(decodeConfChange(data), own);
      } catch (error) {
        if (error instanceof RangeError) return "invalid";
        throw error;
      }
    }
    const core = this.#core;
    const refusal = this.#refusal(own);
    if (refusal !== undefined) return refusal;
    const { uncommittedBytes } = core;
    if (data.length > 0 && uncommittedBytes > 0 && uncommittedBytes + data.length > core.config.uncommittedBytesMax) {
      return "busy";
    }
    return core.appendOwn("normal", data);
  }

  #placeChange(change: ConfChange, own: boolean): EntryId | DropReason {
    return this.#refusal(own) ?? proposeConfChange(this.#core, change);
  }

  #refusal(own: boolean): DropReason | undefined {
    const core = this.#core;
    // M8: on its way out. The others only have to find its successor.
    if (!isVoter(core.conf, core.id)) return own ? "notMember" : "noLeader";
    return core.leadTransferee === undefined ? undefined : "transferring";
  }

  /** A fresh ref for each attempt (R8). */
  readIndex(ref: number): void {
    acceptRead(this.#core, ref, undefined);
  }

  /** False if this member does not lead, or the target cannot. Naming this member itself ends a pending transfer. */
  transferLeader(target: MemberId): boolean {
    const done = transferLeader(this.#core, target);
    // X3: what the transfer held back.
    maybeLeaveJoint(this.#core);
    return done;
  }

  campaign(): void {
    campaign(this.#core, false);
  }

  /** Advice that the leader is dead: this member may vote at once. Any message of the leader takes it back. */
  forgetLeader(): void {
    if (this.#core.role === "follower") setLeader(this.#core, undefined);
  }

  /**
   * The message lane's work; undefined, and nothing allocated, if there is none. With `holdAppends` a leader keeps
   * entries and commits for a later take, so that they leave in fewer and larger appends; whoever holds must take again
   * soon. Heartbeats and read rounds are never held.
   */
  takeReady(holdAppends: boolean = false): Ready | undefined {
    const core = this.#core;
    if (core.role === "leader") sendDueMessages(core, holdAppends);
    const committed = this.#takeCommitted();
    // Their promises are durable already, so there is nothing to write for them.
    if (core.messagesAfter.length > 0 && core.clean && core.writes.idle) {
      core.checkPromises(core.writes.durableIndex);
      for (const message of core.messagesAfter) core.messages.push(message);
      core.messagesAfter = [];
    }
    const soft = this.#takeSoft();
    core.checkPointers();
    if (
      soft === undefined &&
      committed.length + core.messages.length + core.readsDone.length + core.readsDropped.length === 0 &&
      core.placed.length + core.dropped.length + core.sendSnapshots.length + core.abortSnapshots.length === 0
    ) {
      return undefined;
    }
    // J3: an empty list of ours would fill up in the hands of the host.
    const ready: Ready = {
      messages: handOut(core.messages),
      committed,
      reads: handOut(core.readsDone),
      readsDropped: handOut(core.readsDropped),
      placed: handOut(core.placed),
      dropped: handOut(core.dropped),
      soft,
      sendSnapshots: handOut(core.sendSnapshots),
      abortSnapshots: handOut(core.abortSnapshots),
    };
    if (ready.messages.length > 0) core.messages = [];
    if (ready.reads.length > 0) core.readsDone = [];
    if (ready.readsDropped.length > 0) core.readsDropped = [];
    if (ready.placed.length > 0) core.placed = [];
    if (ready.dropped.length > 0) core.dropped = [];
    if (ready.sendSnapshots.length > 0) core.sendSnapshots = [];
    if (ready.abortSnapshots.length > 0) core.abortSnapshots = [];
    return ready;
  }

  /** W10: committed and locally durable. Q4: as much as the state machine may have waiting. Q5: up to a change. */
  #takeCommitted(): readonly Entry[] {
    const core = this.#core;
    const limit = Math.min(core.commit, core.writes.durableIndex);
    if (core.handedOut >= limit || core.install !== undefined || core.applyGate > core.applied) return NONE;
    const bytesMax = core.config.applyBytesMax;
    if (core.applyBytes >= bytesMax) return NONE;
    const entries: Entry[] = [];
    for (let at = core.handedOut + 1; at <= limit; at++) {
      const entry = core.log.entryAt(at);
      if (entry === undefined) fail("V2", `committed entry ${at} is not in the log`);
      const bytes = entryBytes(entry);
      if (core.applyBytes > 0 && core.applyBytes + bytes > bytesMax) break;
      core.applyBytes += bytes;
      entries.push(entry);
      core.handedOut = entry.index;
      if (entry.kind === "confChange") {
        core.applyGate = entry.index;
        break;
      }
    }
    return entries;
  }

  #takeSoft(): SoftState | undefined {
    const { role, term, leader, soft } = this.#core;
    if (soft.role === role && soft.term === term && soft.leader === leader) return undefined;
    this.#core.soft = { role, term, leader };
    return this.#core.soft;
  }

  /** The disk lane's work: everything since the last take in one write. Several may be under way, in order (S4). */
  takePersist(): PersistBatch | undefined {
    const core = this.#core;
    if (core.clean) return undefined;
    core.checkPromises(core.log.lastIndex);
    const install = core.installUnwritten ? core.install : undefined;
    const { cutFrom, entries } = core.log.takeUnwritten();
    const messagesAfter: readonly Outgoing[] = core.messagesAfter;
    core.messagesAfter = [];
    core.installUnwritten = false;
    core.confUnwritten = false;
    const seq = core.writes.add(core.term, core.votedFor, install, core.log.lastIndex);
    const hardState = { term: core.term, votedFor: core.votedFor, commit: core.commit };
    return { seq, hardState, cutFrom, entries, install, messagesAfter };
  }

  /** W4: this batch and every earlier one are durable. */
  persisted(seq: number): void {
    const core = this.#core;
    const installed = core.writes.persisted(seq);
    if (installed !== undefined) {
      // The host's state machine is the snapshot's now.
      core.applied = installed.index;
      core.handedOut = installed.index;
      core.confApplied = installed.index;
      core.applyGate = 0;
      core.applyBytes = 0;
      switchConf(core, installed.conf);
      // B33: a newer one may be on its way already.
      if (core.install?.index === installed.index) core.install = undefined;
    }
    ownProgress(core);
    maybeWin(core);
  }

  /** Everything up to `index` has gone through the state machine. Calls from before an install are ignored. */
  applied(index: LogIndex): void {
    const core = this.#core;
    if (index <= core.applied) return;
    if (index > core.handedOut) fail("V2", `applied ${index}, handed out ${core.handedOut}`);
    core.advanceApplied(index);
    maybeLeaveJoint(core);
  }

  /** Called when a change is applied, before `applied`; undefined is a veto (M6). The configuration from then on. */
  applyConfChange(index: LogIndex, change: ConfChange | undefined): ConfState {
    return activate(this.#core, index, change);
  }

  snapshotSent(to: MemberId, session: number, status: "ok" | "failed" | "aborted"): void {
    handleSnapshotSent(this.#core, to, session, status === "ok");
  }

  unreachable(peer: MemberId): void {
    handleUnreachable(this.#core, peer);
  }

  /** N13: a snapshot's chunks are a sign of life. */
  leaderContact(from: MemberId): void {
    const core = this.#core;
    if (core.role === "follower" && core.leader === from) core.electionElapsed = 0;
  }

  /** K1, K2: drops the log up to and including `index`, which becomes the base. The host knows it flushed. */
  release(index: LogIndex): void {
    const core = this.#core;
    if (core.install !== undefined || index <= core.log.base.index) return;
    if (index > core.applied) fail("K1", `release ${index}, applied ${core.applied}`);
    // K4: who is behind it learns that it needs a snapshot when it next answers a heartbeat.
    core.log.release(index);
  }

  get conf(): ConfState {
    return this.#core.conf;
  }

  /** The snapshot whose install is not durable yet, if any. */
  get installing(): SnapshotMeta | undefined {
    return this.#core.install;
  }

  /** Undefined below the base and above the end. */
  termAt(index: LogIndex): Term | undefined {
    return this.#core.log.termAt(index);
  }

  status(): RaftStatus {
    const core = this.#core;
    const progress: PeerStatus[] = [];
    for (const { id, match, next, state, recentActive, isVoter, isVoterOutgoing } of core.peers) {
      progress.push({
        id,
        match: match as LogIndex,
        next: next as LogIndex,
        state,
        recentActive,
        isLearner: !isVoter && !isVoterOutgoing,
      });
    }
    return {
      id: core.id,
      role: core.role,
      term: core.term,
      votedFor: core.votedFor,
      leader: core.leader,
      commit: core.commit,
      applied: core.applied,
      lastIndex: core.log.lastIndex,
      voteDurable: core.votedFor !== undefined && core.writes.voteDurable(core.term, core.votedFor),
      persistedIndex: core.writes.durableIndex as LogIndex,
      base: core.log.base,
      conf: core.conf,
      progress,
      uncommittedBytes: core.uncommittedBytes,
      leadTransferee: core.leadTransferee,
    };
  }
}

type TermlessKind = "forwardPropose" | "proposeRefused" | "forwardRead" | "readResponse";
