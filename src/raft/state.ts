/**
 * All that a core knows, and what it wants done. No rule lives here: elections are in election.ts, the log's way
 * through the group in replication.ts, changes of configuration in reconfigure.ts, reads in reads.ts.
 */
import { fail } from "../base/assert.ts";
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import { logIndex, term } from "../base/ids.ts";
import type { RaftConfig, Restored } from "./config.ts";
import type { Entry, EntryId, EntryKind } from "./entry.ts";
import { entryBytes, RaftLog } from "./log.ts";
import { confFault } from "./membership.ts";
import type { ConfState, SnapshotMeta } from "./membership-types.ts";
import type { DropReason, Message, Outgoing } from "./message.ts";
import type { Progress } from "./progress.ts";
import { findPeer } from "./progress.ts";
import { ReadRounds } from "./read-index.ts";
import type { Ready, Role, SoftState } from "./ready.ts";
import { Writes } from "./writes.ts";

export class CoreState {
  readonly config: RaftConfig;
  readonly id: MemberId;
  readonly log: RaftLog;
  readonly writes: Writes;
  readonly reads: ReadRounds = new ReadRounds();

  /** T9: the only one. */
  term: Term;
  votedFor: MemberId | undefined;
  role: Role = "follower";
  leader: MemberId | undefined;
  conf: ConfState;

  /** base <= applied <= handedOut <= commit <= last, and handedOut <= durable (V2). */
  commit: LogIndex;
  applied: LogIndex;
  handedOut: LogIndex;
  /** Q4: bytes handed out and not reported applied. */
  applyBytes: number = 0;
  /** Q5: nothing is handed out above this configuration change until it is applied. */
  applyGate: number = 0;
  /** Highest configuration change activated; `applied` follows when the host's turn ends. */
  confApplied: number = 0;

  electionElapsed: number = 0;
  electionTimeout: number;
  heartbeatElapsed: number = 0;
  /** E7: first answer of each member in this round. Never iterated (J2). */
  readonly tally: Map<MemberId, boolean> = new Map();

  /** In id order, this member too. Empty unless leading. */
  peers: Progress[] = [];
  lastSession: number = 0;
  /** M4: no change is proposed before this index is applied. */
  confBarrier: number = 0;
  /** U1: data bytes of own-term entries not applied. 0 unless leading. */
  uncommittedBytes: number = 0;
  leadTransferee: MemberId | undefined;
  transferElapsed: number = 0;
  /** M8: no voter any more, by the change at this index; leads until a quorum of the others knows that. 0: stays. */
  leavesAt: number = 0;
  /** Something a follower may want was changed: look at each at the next take. */
  sendDue: boolean = false;
  /** What was copied out of the log for one follower often serves the next. Only within one take. */
  cut: readonly Entry[] | undefined;

  /** W6: the newest snapshot whose install is not durable. */
  install: SnapshotMeta | undefined;
  installUnwritten: boolean = false;
  /** M14: a change was applied, and that it is committed may not be known to the disk. */
  confUnwritten: boolean = false;
  /** Reads sent to the leader and not answered, oldest first. */
  readonly forwardedReads: Set<number> = new Set();

  messages: Outgoing[] = [];
  messagesAfter: Outgoing[] = [];
  readsDone: { readonly ref: number; readonly index: LogIndex }[] = [];
  readsDropped: { readonly ref: number; readonly reason: DropReason }[] = [];
  placed: { readonly ref: number; readonly id: EntryId }[] = [];
  dropped: { readonly ref: number; readonly reason: DropReason }[] = [];
  sendSnapshots: Ready["sendSnapshots"][number][] = [];
  abortSnapshots: Ready["abortSnapshots"][number][] = [];
  soft: SoftState;

  constructor(config: RaftConfig, restored: Restored) {
    checkConfig(config);
    const { hardState, base, entries, applied, conf } = restored;
    this.config = config;
    this.id = config.id;
    this.log = new RaftLog(base, entries);
    this.writes = new Writes(hardState, this.log.lastIndex);
    // W9: any vote of the last entry's term would have been durable, so this one gave none.
    const ahead = this.log.lastTerm > hardState.term;
    this.term = ahead ? this.log.lastTerm : hardState.term;
    this.votedFor = ahead ? undefined : hardState.votedFor;
    this.commit = logIndex(Math.max(hardState.commit, applied));
    // B44: clamping would hide that entries this member acknowledged are gone.
    if (this.commit > this.log.lastIndex)
      fail("W8", `commit ${this.commit} above the last entry ${this.log.lastIndex}`);
    if (applied < base.index) fail("V2", `applied ${applied} below the base ${base.index}`);
    const fault = confFault(conf);
    if (fault !== undefined) fail("V9", fault);
    this.applied = applied;
    this.handedOut = applied;
    this.confApplied = applied;
    this.conf = conf;
    this.electionTimeout = config.electionTimeout();
    this.soft = { role: this.role, term: this.term, leader: this.leader };
  }

  /** S4: may leave at once, whatever the disk does. */
  send(to: MemberId, message: Message): void {
    this.messages.push({ to, message });
  }

  /** Promises, and refusals too, so that they never overtake an earlier acceptance. */
  sendAfter(to: MemberId, message: Message): void {
    this.messagesAfter.push({ to, message });
  }

  /** Nothing has to be written before what waits in `messagesAfter` may leave. */
  get clean(): boolean {
    const unwritten = this.log.hasUnwritten || this.installUnwritten || this.confUnwritten;
    return this.writes.handed(this.term, this.votedFor) && !unwritten;
  }

  get peerSelf(): Progress | undefined {
    return findPeer(this.peers, this.id);
  }

  get lastId(): EntryId {
    return { term: this.log.lastTerm, index: this.log.lastIndex };
  }

  get commitTerm(): Term {
    return this.log.termAt(this.commit) ?? term(0);
  }

  /** E1. J4: the one place that asks for chance. */
  resetElectionTimer(): void {
    this.electionElapsed = 0;
    this.electionTimeout = this.config.electionTimeout();
  }

  /** V5: a leader only appends. */
  appendOwn(kind: EntryKind, data: Uint8Array): EntryId {
    const entry = { term: this.term, index: logIndex(this.log.lastIndex + 1), kind, data };
    this.log.append(entry);
    this.uncommittedBytes += data.length;
    this.sendDue = true;
    return entry;
  }

  /** V3. The cut clips what is durable and what every write under way may claim (W5). */
  truncateFrom(index: number): void {
    if (index <= this.commit) fail("V3", `cut at ${index}, committed ${this.commit}`);
    if (this.role === "leader") fail("V5", "a leader rewrites its own log");
    this.log.truncateFrom(index);
    this.writes.clip(index - 1);
    this.withdrawAcks(index);
  }

  /** V10: whoever led the entries that stood there must not count them on a disk that will never hold them. */
  withdrawAcks(from: number): void {
    if (this.messagesAfter.length === 0) return;
    this.messagesAfter = this.messagesAfter.filter(
      ({ message }) => message.kind !== "appendResponse" || message.rejected || message.index < from,
    );
  }

  /** V10: an acknowledgement leaves with a write after which the disk holds what it says. */
  checkPromises(last: number): void {
    for (const { message } of this.messagesAfter) {
      if (message.kind !== "appendResponse" || message.rejected || message.index <= last) continue;
      fail("V10", `acknowledges ${message.index}, the disk will end at ${last}`);
    }
  }

  /** V3. Who calls has proven that the entry at `index` is the committed one. */
  commitTo(index: number, rule: string): boolean {
    if (index <= this.commit) return false;
    if (index > this.log.lastIndex) fail(rule, `commit ${index} above the last entry ${this.log.lastIndex}`);
    this.commit = logIndex(index);
    return true;
  }

  /** Q4, U2: what the state machine is through with no longer counts against any bound. */
  advanceApplied(index: LogIndex): void {
    for (let at = this.applied + 1; at <= index; at++) {
      const entry = this.log.entryAt(at);
      // Absent only below a base that a pending install has just set; its counts are zero already.
      if (entry === undefined) continue;
      this.applyBytes -= entryBytes(entry);
      if (this.role === "leader" && entry.term === this.term) this.uncommittedBytes -= entry.data.length;
    }
    this.applied = index;
    if (this.install === undefined && this.applyBytes < 0) fail("V12", `apply bytes ${this.applyBytes}`);
    if (this.uncommittedBytes < 0) fail("V12", `uncommitted bytes ${this.uncommittedBytes}`);
  }

  dropForwardedReads(): void {
    for (const ref of this.forwardedReads) this.readsDropped.push({ ref, reason: "noLeader" });
    this.forwardedReads.clear();
  }

  checkPointers(): void {
    const { log, commit, applied, handedOut, writes } = this;
    if (commit > log.lastIndex || handedOut > commit || applied > handedOut) {
      fail("V2", `applied ${applied}, handed out ${handedOut}, commit ${commit}, last ${log.lastIndex}`);
    }
    if (writes.durableIndex > log.lastIndex) fail("V2", `durable ${writes.durableIndex}, last ${log.lastIndex}`);
    if (this.role === "leader") this.#checkLeader();
    else if (this.peers.length + this.reads.count > 0) fail("V11", `a ${this.role} has peers or reads pending`);
    else if (this.uncommittedBytes !== 0) fail("V12", `a ${this.role} counts ${this.uncommittedBytes} bytes`);
    if (this.install !== undefined) return;
    if (applied < log.base.index) fail("V2", `applied ${applied} below the base ${log.base.index}`);
    if (handedOut > writes.durableIndex) fail("W10", `handed out ${handedOut}, durable ${writes.durableIndex}`);
    if (log.lastTerm > this.term) fail("V4", `last term ${log.lastTerm} above ${this.term}`);
  }

  #checkLeader(): void {
    const { log, peers, uncommittedBytes } = this;
    for (const { id, match, next, state, inflights } of peers) {
      if (match >= next || match > log.lastIndex || next > log.lastIndex + 1) {
        fail("V6", `${id}: match ${match}, next ${next}, last ${log.lastIndex}`);
      }
      if (state !== "replicate" && inflights.count > 0) fail("V6", `${id}: in flight while in ${state}`);
      if (inflights.count === 0 && inflights.bytes !== 0) fail("V6", `${id}: ${inflights.bytes} bytes of nothing`);
      if (id === this.id && match > this.writes.durableIndex) fail("V7", `own match ${match} is not durable`);
    }
    if (this.applied === log.lastIndex && uncommittedBytes !== 0) {
      fail("V12", `${uncommittedBytes} bytes uncommitted, nothing is outstanding`);
    }
  }
}

function checkConfig(config: RaftConfig): void {
  const counts = [
    config.electionTicks,
    config.heartbeatTicks,
    config.maxMessageBytes,
    config.inflightCountMax,
    config.inflightBytesMax,
    config.uncommittedBytesMax,
    config.applyBytesMax,
    config.pendingReadsMax,
  ];
  for (const count of counts) if (!Number.isSafeInteger(count) || count < 1) fail("config", `not a bound: ${count}`);
  if (config.electionTicks <= config.heartbeatTicks) fail("config", "electionTicks must exceed heartbeatTicks");
  if (config.inflightBytesMax < config.maxMessageBytes) fail("F1", "inflightBytesMax is below maxMessageBytes");
}
