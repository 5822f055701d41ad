/**
 * The one place where consensus meets the world, in two lanes (design section 4). The message lane carries out what
 * the core wants done at once, whatever the disk is doing; the disk lane writes one batch at a time, and all that
 * arrives meanwhile is the next one.
 */
import { StoreError } from "../base/errors.ts";
import type { MemberId, Term } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import { decodeMessage, encodeMessage } from "../raft/codec.ts";
import type { SnapshotMeta } from "../raft/membership-types.ts";
import type { Message, Outgoing } from "../raft/message.ts";
import type { Raft } from "../raft/raft.ts";
import type { HardState, Ready, SoftState } from "../raft/ready.ts";
import type { Wal } from "../storage/wal.ts";
import type { PeerMesh } from "../transport/peers.ts";
import type { Applier } from "./applier.ts";
import type { Proposal, Proposals } from "./proposals.ts";
import type { Reads } from "./reads.ts";

/** Pre-votes asked for on the hint that a leader is gone, before the election timer takes over. */
const HINT_ATTEMPTS = 5;
/** How often deadlines are looked at: the precision of a time-out. */
const EXPIRE_MS = 100;

export interface DriverOptions {
  readonly raft: Raft;
  readonly wal: Wal;
  readonly hardState: HardState;
  readonly clock: Clock;
  readonly log: Logger;
  readonly applier: Applier;
  readonly proposals: Proposals;
  readonly reads: Reads;
  /** Absent for a member that nobody can reach. */
  readonly mesh: PeerMesh | undefined;
  readonly tickMs: number;
  readonly electionTicks: number;
  readonly electionTimeoutMs: number;
}

export interface DriverHost {
  onSoft(soft: SoftState): void;
  onSnapshots(send: Ready["sendSnapshots"], abort: Ready["abortSnapshots"]): void;
  /** The generation to name in the record that switches to a received snapshot. */
  prepareInstall(meta: SnapshotMeta): Promise<number>;
  /** The switch is durable: exchange state and machine in this very turn. */
  installed(meta: SnapshotMeta): void;
  onFailure(error: unknown): void;
}

/** Who waits for the next write, and the member seen with data that it says. */
interface Note {
  readonly id: MemberId | undefined;
  done(): void;
  failed(error: unknown): void;
}

export class Driver {
  readonly #o: DriverOptions;
  readonly #host: DriverHost;
  #hardState: HardState;
  #soft: SoftState;
  #ticker: Timer | undefined;
  /** Runs out into a campaign after the leader's connection ended. */
  #hint: Timer | undefined;
  #lastTickAt: number;
  #scheduled = false;
  #writing = false;
  #writeStartedAt = 0;
  #slowWriteReported = false;
  #stopped = false;
  /** Messages wait for `#flush`: some that must not wait longer, or appends without entries. */
  #urgent = false;
  #newsWaits = false;
  #newsLeaves = false;
  #expiredAt = 0;
  #outbox: Proposal[] = [];
  #notes: Note[] = [];
  readonly #unreachable = new Set<MemberId>();
  /** Writes that took longer than an election timeout. */
  slowWrites = 0;

  constructor(options: DriverOptions, host: DriverHost) {
    this.#o = options;
    this.#host = host;
    this.#hardState = options.hardState;
    const { role, term, leader } = options.raft.status();
    this.#soft = { role, term, leader };
    this.#lastTickAt = options.clock.now();
  }

  get soft(): SoftState {
    return this.#soft;
  }

  start(): void {
    this.#lastTickAt = this.#o.clock.now();
    this.#ticker = this.#o.clock.every(this.#o.tickMs, () => this.#onTimer());
    this.poke();
  }

  /** Nothing is sent or written any more; a write under way is left to itself. */
  stop(): void {
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#hint?.cancel();
    for (const note of this.#notes) note.failed(new StoreError("STOPPED"));
    this.#notes = [];
  }

  /** Something was handed to the core: look at it once everything that arrived with it is in. */
  poke(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#o.clock.defer(() => {
      this.#scheduled = false;
      this.pump();
    });
  }

  propose(proposal: Proposal): void {
    this.#outbox.push(proposal);
    this.poke();
  }

  onMessage(from: MemberId, bytes: Uint8Array): void {
    if (this.#stopped) return;
    let message: Message;
    try {
      message = decodeMessage(bytes);
    } catch (error) {
      // Nothing has changed yet: what the core itself throws is another matter.
      this.#o.log.warn({ from, error: String(error) }, "dropped a malformed message");
      return;
    }
    try {
      this.#o.raft.step(from, message);
    } catch (error) {
      this.#host.onFailure(error);
    }
  }

  /**
   * The connection to a peer ended. Of the leader that is a hint, not a proof: this member forgets it and asks for votes
   * after a few ticks, in the order of ids so that the others do not ask at the same time. Pre-vote and stickiness keep a
   * wrong hint harmless (design section 4).
   */
  peerDown(peer: MemberId): void {
    if (this.#stopped) return;
    const { raft, tickMs } = this.#o;
    raft.unreachable(peer);
    const { role, leader, term } = this.#soft;
    if (role === "follower" && leader === peer) {
      const { id, conf, votedFor } = raft.status();
      const rank = conf.voters.filter((voter) => voter !== peer).indexOf(id);
      raft.forgetLeader();
      if (rank >= 0) this.#campaignAfter((1 + rank) * tickMs, HINT_ATTEMPTS, term, votedFor);
    }
    this.poke();
  }

  /**
   * Asks for pre-votes, and again while nothing has come of it: the first may have reached a member that had not yet
   * noticed that the leader is gone, or that has the longer log and asks later.
   */
  #campaignAfter(ms: number, attempts: number, term: Term, votedFor: MemberId | undefined): void {
    const { raft, clock, tickMs } = this.#o;
    this.#hint?.cancel();
    this.#hint = clock.after(ms, () => {
      const now = raft.status();
      // A higher term, a vote given or a leader heard of: somebody else is at it already.
      if (this.#stopped || (now.role !== "follower" && now.role !== "preCandidate")) return;
      if (now.term !== term || now.votedFor !== votedFor || now.leader !== undefined) return;
      raft.campaign();
      this.poke();
      if (attempts > 1) this.#campaignAfter(2 * now.conf.voters.length * tickMs, attempts - 1, term, votedFor);
    });
  }

  /** Durable before it resolves: this member has seen `id` with data. */
  noteMember(id: MemberId): Promise<void> {
    return this.#noted(id);
  }

  /** Resolves when all that the core holds now is durable. */
  written(): Promise<void> {
    return this.#noted(undefined);
  }

  #noted(id: MemberId | undefined): Promise<void> {
    if (this.#stopped) return Promise.reject(new StoreError("STOPPED"));
    return new Promise((done, failed) => {
      this.#notes.push({ id, done, failed });
      this.poke();
    });
  }

  /**
   * The message lane. While a write is under way a leader's appends wait for its end (a tick at the most): its own copy
   * could not be written sooner, and one append for all that arrived costs every member less than one for each.
   */
  pump(holdAppends: boolean = this.#writing): void {
    if (this.#stopped) return;
    const { raft, reads, clock } = this.#o;
    try {
      this.#handOver();
      const ref = reads.waiting ? reads.begin(clock.now()) : undefined;
      if (ref !== undefined) raft.readIndex(ref);
      for (let ready = raft.takeReady(holdAppends); ready !== undefined; ready = raft.takeReady(holdAppends)) {
        this.#carryOut(ready);
        if (this.#stopped) return;
      }
      this.#flush();
      if (!this.#writing) void this.#persist();
    } catch (error) {
      this.#host.onFailure(error);
    }
  }

  /**
   * What waits for a peer leaves now, but for news of a commit alone: those wake the followers up, which on a small machine
   * would keep the answers to the same commit from leaving, so they leave behind these, two phases of the loop later. Whatever
   * else leaves meanwhile takes them along.
   */
  #flush(): void {
    const { mesh, clock } = this.#o;
    if (mesh === undefined) return;
    if (this.#urgent) mesh.flush();
    else if (this.#newsWaits && !this.#newsLeaves) {
      this.#newsLeaves = true;
      clock.defer(() => clock.defer(() => this.#flushNews()));
    }
    this.#urgent = false;
    this.#newsWaits = false;
  }

  #flushNews(): void {
    this.#newsLeaves = false;
    if (this.#stopped) return;
    try {
      this.#o.mesh?.flush();
    } catch (error) {
      this.#host.onFailure(error);
    }
  }

  #handOver(): void {
    if (this.#outbox.length === 0) return;
    const { raft } = this.#o;
    const outbox = this.#outbox;
    this.#outbox = [];
    const leads = this.#soft.role === "leader";
    // The core's own word: it may have stepped down since the last soft state.
    const own = outbox.some(({ onlyIn }) => onlyIn !== undefined) ? raft.status() : undefined;
    const normal: { ref: number; data: Uint8Array }[] = [];
    for (const proposal of outbox) {
      // Its time was up meanwhile: whoever waited was told that it certainly did not happen.
      if (!this.#o.proposals.waits(proposal.ref)) continue;
      if (proposal.onlyIn !== undefined && (own?.role !== "leader" || own.term !== proposal.onlyIn)) {
        this.#o.proposals.outOfTerm(proposal);
        continue;
      }
      // Before the call: a refusal takes both marks back.
      proposal.handedOver = true;
      proposal.forwardedIn = leads ? undefined : this.#soft.term;
      if (proposal.change === undefined) normal.push({ ref: proposal.ref, data: proposal.data });
      else raft.proposeConfChange(proposal.ref, proposal.change);
    }
    if (normal.length > 0) raft.propose(normal);
  }

  #carryOut(ready: Ready): void {
    const { proposals, reads, applier, clock } = this.#o;
    this.#send(ready.messages);
    if (ready.soft !== undefined) {
      const before = this.#soft;
      this.#soft = ready.soft;
      if (ready.soft.leader !== undefined && ready.soft.leader !== before.leader) {
        reads.leaderChanged();
        this.#offerParked();
      }
      this.#host.onSoft(ready.soft);
    }
    for (const { ref, id } of ready.placed) proposals.placed(ref, id);
    for (const { ref, reason } of ready.dropped) proposals.dropped(ref, reason);
    for (const { ref } of ready.readsDropped) reads.refused(ref, clock.now());
    for (const { ref, index } of ready.reads) reads.confirmed(ref, index, applier.machine.applied.index);
    if (ready.committed.length > 0) applier.push(ready.committed);
    if (ready.sendSnapshots.length > 0 || ready.abortSnapshots.length > 0) {
      this.#host.onSnapshots(ready.sendSnapshots, ready.abortSnapshots);
    }
  }

  #send(messages: readonly Outgoing[]): void {
    const { mesh } = this.#o;
    for (const { to, message } of messages) {
      const bulk = message.kind === "append" || message.kind === "forwardPropose";
      if (message.kind === "append" && message.entries.length === 0) this.#newsWaits = true;
      else this.#urgent = true;
      const sent = mesh?.send(to, encodeMessage(message), !bulk) ?? false;
      if (sent) continue;
      // Certainly not sent: the caller need not wait for a time-out to know.
      if (message.kind === "forwardPropose") {
        for (const { ref } of message.proposals) this.#o.proposals.dropped(ref, "noLeader");
      }
      if (message.kind === "append") this.#unreachable.add(to);
    }
    if (this.#unreachable.size === 0) return;
    for (const peer of this.#unreachable) this.#o.raft.unreachable(peer);
    this.#unreachable.clear();
  }

  /** The disk lane: one write at a time. */
  async #persist(): Promise<void> {
    this.#writing = true;
    let notes: readonly Note[] = [];
    try {
      while (!this.#stopped) {
        const batch = this.#o.raft.takePersist();
        notes = this.#notes;
        if (batch === undefined && notes.length === 0) break;
        this.#notes = [];
        const noteMembers = notes.flatMap(({ id }) => (id === undefined ? [] : [id]));
        if (batch !== undefined) this.#hardState = batch.hardState;
        if (batch?.cutFrom !== undefined) this.#o.log.info({ from: batch.cutFrom }, "cut the end of the log");
        this.#writeStartedAt = this.#o.clock.now();
        const generation = batch?.install === undefined ? undefined : await this.#host.prepareInstall(batch.install);
        await this.#o.wal.append(
          batch ?? { hardState: this.#hardState, cutFrom: undefined, entries: [], install: undefined },
          {
            ...(generation === undefined ? {} : { generation }),
            ...(noteMembers.length === 0 ? {} : { noteMembers }),
          },
        );
        if (this.#stopped) return;
        this.#slowWriteReported = false;
        for (const note of notes) note.done();
        notes = [];
        if (batch !== undefined) {
          if (batch.install !== undefined) this.#host.installed(batch.install);
          this.#o.raft.persisted(batch.seq);
          this.#send(batch.messagesAfter);
        }
        // With `#writing` still set: the message lane runs, and this loop takes the next batch itself.
        this.pump(false);
      }
    } catch (error) {
      this.#host.onFailure(error);
    } finally {
      for (const note of notes) note.failed(new StoreError("STOPPED"));
      this.#writing = false;
    }
  }

  #onTimer(): void {
    if (this.#stopped) return;
    const missed = Math.floor((this.#o.clock.now() - this.#lastTickAt) / this.#o.tickMs);
    // After a stall, what waits in the sockets may say that the leader is well: read that first.
    if (missed > 2) this.#o.clock.defer(() => this.#tick());
    else this.#tick();
  }

  #tick(): void {
    if (this.#stopped) return;
    const { clock, tickMs, electionTicks, raft, proposals, reads } = this.#o;
    const now = clock.now();
    const elapsed = Math.floor((now - this.#lastTickAt) / tickMs);
    if (elapsed <= 0) return;
    this.#lastTickAt += elapsed * tickMs;
    try {
      for (let i = Math.min(elapsed, electionTicks - 1); i > 0; i--) raft.tick();
    } catch (error) {
      this.#host.onFailure(error);
      return;
    }
    this.#watchDisk(now);
    // Deadlines are seconds away: looking at each tick would only cost.
    if (now - this.#expiredAt >= EXPIRE_MS) {
      this.#expiredAt = now;
      proposals.expire(now);
      reads.expire(now);
    }
    if (proposals.parkedCount > 0 && this.#soft.leader !== undefined) this.#offerParked();
    this.pump(false);
  }

  #offerParked(): void {
    for (const proposal of this.#o.proposals.takeParked()) this.#outbox.push(proposal);
    if (this.#outbox.length > 0) this.poke();
  }

  /** A leader whose disk stalls hands over: its followers' disks may be well (design section 4). */
  #watchDisk(now: number): void {
    if (!this.#writing || this.#slowWriteReported || now - this.#writeStartedAt < this.#o.electionTimeoutMs) return;
    this.#slowWriteReported = true;
    this.slowWrites += 1;
    this.#o.log.warn({ ms: now - this.#writeStartedAt }, "a write to the log takes longer than an election timeout");
    const status = this.#o.raft.status();
    if (status.role !== "leader" || status.conf.voters.length < 2) return;
    const best = bestSuccessor(status);
    if (best !== undefined) this.#o.raft.transferLeader(best);
  }
}

/** The voter that is furthest along and was heard of lately. */
export function bestSuccessor(status: ReturnType<Raft["status"]>): MemberId | undefined {
  let best: { id: MemberId; match: number } | undefined;
  for (const peer of status.progress) {
    if (peer.id === status.id || peer.isLearner || !peer.recentActive) continue;
    if (best === undefined || peer.match > best.match) best = { id: peer.id, match: peer.match };
  }
  return best?.id;
}
