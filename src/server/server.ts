/**
 * One complete member: opens its data, joins consensus, serves requests, closes. Everything it takes from outside is in
 * `ServerWorld`, so the same code runs in production and in the simulator.
 */

import { InvariantError } from "../base/assert.ts";
import { equalBytes } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import {
  type ClusterId,
  formatId,
  type LogIndex,
  logIndex,
  type MemberId,
  revision,
  type Term,
  term,
} from "../base/ids.ts";
import { VERSION } from "../base/version.ts";
import type { Envelope } from "../machine/command.ts";
import { type Machine, seedMembers } from "../machine/machine.ts";
import type { Timer } from "../platform/clock.ts";
import type { CallOptions, Channel, ServedWatch, WatchOptions, WatchOutlet } from "../protocol/channel.ts";
import type { Member } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response, StatusResult } from "../protocol/responses.ts";
import { encodeConfState } from "../raft/codec.ts";
import type { ConfState } from "../raft/membership-types.ts";
import { membersOf } from "../raft/progress.ts";
import { Raft } from "../raft/raft.ts";
import { createDataDir, type DataDir, openDataDir, probeDataDir } from "../storage/data-dir.ts";
import type { StateBackend, StateSnapshot } from "../storage/state-backend.ts";
import { ClientListener } from "../transport/client-listener.ts";
import type { HttpAnswer } from "../transport/network.ts";
import { PeerMesh } from "../transport/peers.ts";
import { Applier } from "./applier.ts";
import { AutoCompactor, parseRetention } from "./auto-compactor.ts";
import { awaitWitnesses, BIRTH, birthOf } from "./bootstrap.ts";
import { CompactionRunner } from "./compaction-runner.ts";
import { Departure } from "./departure.ts";
import { bestSuccessor, Driver } from "./driver.ts";
import { Flusher } from "./flusher.ts";
import { healthAnswer } from "./health.ts";
import { decodeHello, encodeHello } from "./hello.ts";
import { inProcessChannel } from "./in-process.ts";
import { LeaseKeeper } from "./lease-keeper.ts";
import { LedgerKeeper } from "./ledger-keeper.ts";
import { CONF_KEY, confOf, decodeConf, finishMachine, loadMachine } from "./loading.ts";
import { MemberAdmin } from "./member-admin.ts";
import { type Figures, type MetricsSink, noMetrics } from "./metrics.ts";
import { DEFAULTS, LIMITS, type ServerOptions, type ServerWorld } from "./options.ts";
import { PEER_CALL, PeerCalls } from "./peer-calls.ts";
import { Proposals } from "./proposals.ts";
import { Publisher } from "./publisher.ts";
import { Queues } from "./queues.ts";
import { QuotaKeeper, quotaOf } from "./quota-keeper.ts";
import { Reads } from "./reads.ts";
import { Router } from "./router.ts";
import { SnapshotSessions } from "./snapshot-sessions.ts";
import { SnapshotReception, SnapshotSender } from "./snapshots.ts";
import { Watches } from "./watches.ts";

export interface ServerStatus {
  readonly id: MemberId;
  readonly role: "follower" | "preCandidate" | "candidate" | "leader";
  readonly leader: MemberId | undefined;
  readonly term: number;
  /** Its own (term, vote) is on disk: a candidate that crashes before that may vote again in this term. */
  readonly voteDurable: boolean;
  readonly commit: number;
  readonly applied: number;
  readonly firstIndex: number;
  readonly lastIndex: number;
  readonly stateHash: string;
  readonly conf: ConfState;
}

function options<T extends object>(given: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
}

export class Server {
  readonly id: MemberId;
  readonly clusterId: ClusterId;
  readonly name: string;
  /** Resolves when the member ended: with the error that ended it, or `undefined` after `close`. */
  readonly stopped: Promise<StoreError | undefined>;

  readonly #world: ServerWorld;
  readonly #options: ServerOptions & typeof DEFAULTS;
  readonly #metrics: MetricsSink;
  readonly #dir: DataDir;
  readonly #noted: Set<MemberId>;
  readonly #raft: Raft;
  readonly #applier: Applier;
  readonly #proposals: Proposals;
  readonly #reads: Reads;
  readonly #driver: Driver;
  readonly #flusher: Flusher;
  readonly #mesh: PeerMesh | undefined;
  readonly #calls: PeerCalls;
  readonly #admin: MemberAdmin;
  readonly #leases: LeaseKeeper;
  readonly #quota: QuotaKeeper;
  readonly #compaction: CompactionRunner;
  readonly #compactor: AutoCompactor | undefined;
  readonly #ledger: LedgerKeeper;
  readonly #router: Router;
  readonly #publisher: Publisher;
  readonly #departure: Departure;
  readonly #watches: Watches;
  readonly #queues: Queues;
  readonly #sender: SnapshotSender | undefined;
  readonly #reception: SnapshotReception;
  readonly #snapshots: SnapshotSessions;
  readonly #staticUrls = new Map<MemberId, readonly string[]>();
  /** Where members were last known to be: one that was removed may still have to be heard (M14). */
  readonly #lastUrls = new Map<MemberId, readonly string[]>();
  #listener: ClientListener | undefined;
  #state: StateBackend;
  /** The configuration as of the applied index, and as of the last flush. */
  #conf: ConfState;
  /** Changes of it that are applied, while the disk may not know that they are committed. */
  #unwrittenChanges = 0;
  #incoming: { readonly state: StateBackend; readonly machine: Machine } | undefined;
  #leaderChanges = 0;
  #installed = 0;
  #dbSize = 1;
  #walSize = 1;
  #sizeTimer: Timer | undefined;
  #phase: "running" | "closing" | "ended" = "running";
  /** Still serving while leadership is handed over. */
  #closeCalled = false;
  #end!: (error: StoreError | undefined) => void;
  #clientUrl: string | undefined;
  #peerUrl: string | undefined;

  /**
   * Opens a member. Resolves once it takes part in consensus (a leader need not be known yet). A new member of a
   * static cluster first waits for every other member; `aborted` ends that wait.
   * Throws `BAD_CONFIG`, `ADDRESS_IN_USE`, `DATA_DIR_IN_USE`, `DATA_DIR_MISMATCH`, `FORMAT_TOO_NEW`, `WAL_CORRUPT`,
   * `STATE_CORRUPT`, `MEMBER_DATA_LOST`.
   */
  static async open(
    world: ServerWorld,
    given: ServerOptions,
    metrics: MetricsSink = noMetrics,
    aborted: Promise<void> = new Promise(() => {}),
  ): Promise<Server> {
    const all = { ...DEFAULTS, ...options(given) } as ServerOptions & typeof DEFAULTS;
    if (all.electionTimeoutMs < 5 * all.heartbeatMs || all.heartbeatMs < all.tickMs) {
      throw new StoreError("BAD_CONFIG", {
        message: "quorate: the election timeout must be at least 5 heartbeats, and a heartbeat at least one tick",
      });
    }
    for (const name of LIMITS) {
      if (!(Number.isSafeInteger(all[name]) && all[name] > 0)) {
        throw new StoreError("BAD_CONFIG", {
          message: `quorate: ${name} must be a whole number above 0, not ${all[name]}`,
        });
      }
    }
    quotaOf(all.quotaBytes);
    parseRetention(all.autoCompactionMode, all.autoCompactionRetention);
    if (!(all.clientIdleMs > 0)) {
      throw new StoreError("BAD_CONFIG", { message: "quorate: clientIdleMs must be above 0" });
    }
    const { bootstrap } = all;
    if (bootstrap.kind === "static" && bootstrap.members.length > 1 && all.listenPeerUrl === undefined) {
      throw new StoreError("BAD_CONFIG", {
        message: "quorate: a member of a cluster needs a peer address to listen on",
      });
    }
    const { disk, checksum, log } = world;
    const birth = bootstrap.kind === "alone" ? undefined : birthOf(world, all, all.listenPeerUrl);
    if ((await probeDataDir(disk)) === "empty") {
      const born = birth ?? birthOf(world, all, all.listenPeerUrl);
      await awaitWitnesses(world, all, born, all.listenPeerUrl, aborted);
      const joins = bootstrap.kind === "join";
      await createDataDir(disk, {
        identity: { memberId: born.memberId, clusterId: born.clusterId, incarnation: 0 },
        conf: born.conf,
        base: joins ? { index: logIndex(0), term: term(0) } : BIRTH,
        seed: (store) => {
          seedMembers(store, born.members);
          store.write(CONF_KEY, encodeConfState(born.conf));
        },
        checksum,
      });
    }
    const dir = await openDataDir(disk, {
      checksum,
      log,
      clock: world.clock,
      ...(birth === undefined ? {} : { expect: { memberId: birth.memberId, clusterId: birth.clusterId } }),
    });
    try {
      const machine = await loadMachine(dir.state, world.clock);
      const server = new Server(world, all, metrics, dir, machine, birth?.members ?? []);
      await server.#start();
      return server;
    } catch (error) {
      await dir.close().catch(() => {});
      throw error;
    }
  }

  private constructor(
    world: ServerWorld,
    all: ServerOptions & typeof DEFAULTS,
    metrics: MetricsSink,
    dir: DataDir,
    machine: Machine,
    staticMembers: readonly Member[],
  ) {
    this.#world = world;
    this.#options = all;
    this.#metrics = metrics;
    this.#dir = dir;
    this.#state = dir.state;
    this.#noted = new Set(dir.recovered.noted);
    this.#proposals = new Proposals(dir.identity.incarnation);
    this.#reads = new Reads(dir.identity.incarnation);
    this.id = dir.identity.memberId;
    this.clusterId = dir.identity.clusterId;
    this.name = all.name;
    this.stopped = new Promise((resolve) => {
      this.#end = resolve;
    });
    for (const member of staticMembers) this.#staticUrls.set(member.id, member.peerUrls);
    this.#conf = confOf(dir.state);

    const { clock, random, log } = world;
    const electionTicks = Math.max(2, Math.round(all.electionTimeoutMs / all.tickMs));
    const { hardState, base, entries } = dir.recovered;
    const applied = machine.applied.index;
    const raft = new Raft(
      {
        id: this.id,
        electionTicks,
        heartbeatTicks: Math.max(1, Math.round(all.heartbeatMs / all.tickMs)),
        maxMessageBytes: 1 << 20,
        inflightCountMax: 256,
        inflightBytesMax: 16 << 20,
        uncommittedBytesMax: 64 << 20,
        applyBytesMax: 16 << 20,
        pendingReadsMax: 10_000,
        electionTimeout: () => electionTicks + Math.floor(random.next() * electionTicks),
      },
      {
        // W8: what the state has applied was committed, though the record that says so may not have been written.
        hardState: { ...hardState, commit: logIndex(Math.max(hardState.commit, applied)) },
        base,
        entries,
        applied,
        conf: this.#conf,
      },
    );
    this.#raft = raft;
    const isMine = (envelope: Envelope | undefined): envelope is Envelope =>
      envelope?.proposer === this.id && envelope.incarnation === dir.identity.incarnation;
    this.#applier = new Applier(machine, clock, {
      decoded: (index, at) => this.#proposals.decoded(index, at),
      wanted: (envelope) => isMine(envelope) && this.#proposals.waits(envelope.ref),
      isFull: () => this.#flusher.isOverfull,
      onApplied: (done, entry, change) => {
        if (entry.kind === "confChange") {
          const wasJoint = this.#conf.votersOutgoing.length > 0;
          this.#conf = raft.applyConfChange(entry.index, change);
          const isJoint = this.#conf.votersOutgoing.length > 0;
          log.info(
            { voters: this.#conf.voters.map(formatId), learners: this.#conf.learners.map(formatId) },
            wasJoint && !isJoint ? "left the joint configuration" : "configuration changed",
          );
          this.#state.write(CONF_KEY, encodeConfState(this.#conf));
          // Who hears of its removal may end, and of two nobody else could tell this one again: not before it is on disk (M14).
          this.#unwrittenChanges += 1;
          this.#driver.written().then(
            () => {
              this.#unwrittenChanges -= 1;
              this.#membersChanged();
            },
            () => {}, // it stops
          );
        }
        const { envelope } = done;
        this.#proposals.applied(done, isMine(envelope));
        this.#watches.published();
        if (entry.term > this.#lastAppliedTerm) {
          this.#lastAppliedTerm = entry.term;
          this.#proposals.newTermApplied(entry.term);
          this.#leases.follow();
        }
        this.#flusher.entryApplied(entry.index, entry.data.length + 24);
        if (envelope !== undefined && done.outcome.ok) this.#quota.applied(envelope.command);
        if (envelope?.command.kind === "compact" && done.outcome.ok) void this.#compaction.run();
      },
      onTurn: (index) => {
        raft.applied(index);
        this.#reads.applied(index);
        this.#driver.poke();
      },
      onFailure: (error) => this.#fail(error),
    });
    this.#lastAppliedTerm = machine.applied.term;
    dir.wal.onFsync = (seconds) => metrics.walFsync(seconds);

    if (all.listenPeerUrl !== undefined) {
      this.#mesh = new PeerMesh({
        network: world.network,
        clock,
        random,
        log,
        hmac: world.hmac,
        self: { id: this.id, clusterId: this.clusterId, incarnation: dir.identity.incarnation },
        ...(all.secret === undefined ? {} : { secret: all.secret }),
        listenUrl: all.listenPeerUrl,
        allowedOrigins: all.allowedOrigins ?? [],
        maxFrameBytes: 64 << 20,
        hello: () => encodeHello({ holdsData: true, noted: [...this.#noted] }),
        onHello: async (peer, bytes) => {
          const hello = decodeHello(bytes);
          if (!hello.holdsData || this.#noted.has(peer)) return;
          // Durable before the handshake ends: if that member comes back empty, this one will know.
          await this.#driver.noteMember(peer);
          this.#noted.add(peer);
        },
        onMessage: (from, message) => {
          if (message[0] === PEER_CALL) this.#calls.onMessage(from, message.slice());
          else this.#driver.onMessage(from, message);
        },
        onBurst: () => this.#driver.poke(),
        onUp: (peer) => {
          log.info({ peer: formatId(peer) }, "peer connected");
          this.#flusher.peerUp(peer);
        },
        onDown: (peer, reason) => {
          log.info({ peer: formatId(peer), reason }, "peer disconnected");
          this.#calls.peerDown(peer);
          this.#flusher.peerDown(peer);
          if (this.#phase !== "running") return;
          this.#driver.peerDown(peer);
        },
        onRoundTrip: (peer, ms) => metrics.peerRoundTrip(peer, ms / 1000),
        onStream: (from, connection) => this.#reception.accept(from, connection),
        isRemoved: (peer) => this.#unwrittenChanges === 0 && this.#applier.machine.removedMembers.has(peer),
        onRemoved: () => this.#departure.removed("told"),
      });
    }
    this.#driver = new Driver(
      {
        raft,
        wal: dir.wal,
        hardState,
        clock,
        log,
        applier: this.#applier,
        proposals: this.#proposals,
        reads: this.#reads,
        mesh: this.#mesh,
        tickMs: all.tickMs,
        electionTicks,
        electionTimeoutMs: all.electionTimeoutMs,
      },
      {
        onSoft: (soft) => {
          if (soft.leader !== undefined && soft.leader !== this.#lastLeader) this.#leaderChanges += 1;
          this.#lastLeader = soft.leader ?? this.#lastLeader;
          log.info(
            { role: soft.role, term: soft.term, leader: soft.leader === undefined ? undefined : formatId(soft.leader) },
            "role",
          );
          this.#leases.follow();
          this.#calls.leaderChanged(soft.leader);
          if (soft.term !== this.#told?.term || soft.leader !== this.#told.leader) this.#listener?.announceLeader();
          this.#told = soft;
          if (soft.leader !== undefined) this.#publisher.publish();
        },
        onSnapshots: (send, abort) => {
          for (const { to, session } of abort) this.#sender?.abort(to, session);
          for (const { to, session } of send) {
            if (this.#sender === undefined) raft.snapshotSent(to, session, "failed");
            else this.#sender.start(to, session);
          }
        },
        prepareInstall: async () => {
          await this.#flusher.pause();
          return this.#incoming!.state.generation;
        },
        installed: (meta) => this.#switchState(meta.index),
        onFailure: (error) => this.#fail(error),
      },
    );
    this.#flusher = new Flusher(dir.state, {
      raft,
      wal: dir.wal,
      clock,
      applier: this.#applier,
      intervalMs: all.flushIntervalMs,
      bytes: all.flushBytes,
      trailingEntries: all.trailingEntries,
      trailingBytes: all.trailingBytes,
      followerBytes: 64 << 20,
      sessionBytes: 256 << 20,
      sessionIndex: () => this.#sender?.lowestIndex(),
      observe: (seconds) => metrics.stateFlush(seconds),
      onFailure: (error) => this.#fail(error),
    });
    this.#reception = new SnapshotReception(world, 10 * all.electionTimeoutMs, {
      generation: () => this.#state.generation,
      // Until the switch to it is durable, another one could only take its place half-way.
      installing: () => this.#incoming !== undefined,
      applied: () => this.#applier.machine.applied.index,
      contact: (from) => raft.leaderContact(from),
      arrived: async (from, message, state, loader) => {
        const incoming = await finishMachine(loader, state, clock);
        // N9: what the message says and what the state holds must be one configuration.
        if (!equalBytes(encodeConfState(confOf(state)), encodeConfState(message.conf))) {
          throw new StoreError("INVALID_REQUEST", { message: "the snapshot's configuration is not its header's" });
        }
        if (this.#phase !== "running") {
          await state.close();
          return;
        }
        this.#incoming = { state, machine: incoming };
        try {
          raft.step(from, message);
        } catch (error) {
          this.#fail(error);
          return;
        }
        const { installing } = raft;
        if (
          installing === undefined ||
          installing.index !== message.index ||
          installing.term !== message.snapshotTerm
        ) {
          // N6 to N8, or a term that is over: the core has no use for it.
          this.#incoming = undefined;
          await state.close();
          await world.disk.remove(`state-${state.generation}`);
        }
        this.#driver.pump();
      },
    });
    if (this.#mesh !== undefined) {
      this.#sender = new SnapshotSender(this.#mesh, clock, log, 10 * all.electionTimeoutMs, {
        term: () => this.#driver.soft.term,
        snapshot: () => this.#state.snapshot(),
        confOf: async (state) => decodeConf(await state.read(CONF_KEY)),
        done: (to, session, status) => {
          if (this.#phase === "ended") return;
          raft.snapshotSent(to, session, status);
          this.#driver.poke();
        },
      });
    }
    const linearizable = (deadline: number): Promise<void> => {
      const waiting = this.#reads.wait(deadline);
      this.#driver.poke();
      return waiting;
    };
    this.#calls = new PeerCalls({
      clock,
      incarnation: dir.identity.incarnation,
      send: (to, message) => {
        const sent = this.#mesh?.send(to, message, true) ?? false;
        this.#mesh?.flush();
        return sent;
      },
      serve: async (request, deadline) => {
        if (this.#phase !== "running") throw new StoreError("STOPPED");
        switch (request.kind) {
          case "memberPromote":
            return this.#admin.servePromote(request, deadline);
          case "leaseKeepAlive":
          case "leaseTimeToLive":
            return this.#leases.serve(request, deadline);
          default:
            throw new StoreError("INVALID_REQUEST");
        }
      },
      header: () => ({
        clusterId: this.clusterId,
        memberId: this.id,
        revision: revision(0),
        raftTerm: this.#applier.machine.applied.term,
      }),
    });
    this.#leases = new LeaseKeeper({
      clock,
      random,
      electionTimeoutMs: all.electionTimeoutMs,
      heartbeatMs: all.heartbeatMs,
      checkpointIntervalMs: all.leaseCheckpointIntervalMs,
      soft: () => this.#driver.soft,
      machine: () => this.#applier.machine,
      atBoundary: (callback) => this.#applier.atBoundary(callback),
      calls: this.#calls,
      propose: (command, deadline, onlyIn) => this.#router.propose(command, deadline, { onlyIn }),
      linearizable,
    });
    this.#leases.attach(machine);
    this.#quota = new QuotaKeeper({
      self: this.id,
      clock,
      log,
      quotaBytes: all.quotaBytes,
      usedBytes: () => this.#state.recordBytes,
      machine: () => this.#applier.machine,
      propose: (command, deadline) => this.#router.propose(command, deadline),
    });
    this.#compaction = new CompactionRunner({
      applier: this.#applier,
      flusher: this.#flusher,
      clock,
      running: () => this.#phase === "running",
      onFailure: (error) => this.#fail(error),
    });
    const retention = parseRetention(all.autoCompactionMode, all.autoCompactionRetention);
    if (retention !== undefined) {
      this.#compactor = new AutoCompactor({
        retention,
        revisionIntervalMs: all.autoCompactionIntervalMs,
        clock,
        log,
        revision: () => this.#applier.machine.revision,
        compactRevision: () => this.#applier.machine.compactRevision,
        keys: () => this.#applier.machine.metrics.keys,
        soft: () => this.#driver.soft,
        propose: (command, deadline, onlyIn) => this.#router.propose(command, deadline, { onlyIn }),
      });
    }
    this.#ledger = new LedgerKeeper({
      clock,
      idleMs: all.clientIdleMs,
      soft: () => this.#driver.soft,
      machine: () => this.#applier.machine,
      propose: (command, deadline, onlyIn) => this.#router.propose(command, deadline, { onlyIn }),
    });
    const requestTimeoutMs = all.requestTimeoutMs ?? 5_000 + 2 * all.electionTimeoutMs;
    this.#queues = new Queues({
      clock,
      attemptMs: requestTimeoutMs,
      call: (request, call) => this.#router.handle(request, call),
      watch: (outlet, options) => this.#watches.open(outlet, options),
    });
    this.#watches = new Watches({
      observe: (name, outlet) => this.#queues.observe(name, outlet),
      source: machine,
      clock,
      random,
      electionTimeoutMs: all.electionTimeoutMs,
      progressIntervalMs: all.watchProgressIntervalMs,
      fragmentBytes: all.maxRequestBytes + (512 << 10),
      maxWatchers: all.maxWatchers,
      hasLeader: () => this.#driver.soft.leader !== undefined,
      isLearner: () => this.isLearner,
      header: () => ({
        clusterId: this.clusterId,
        memberId: this.id,
        raftTerm: this.#applier.machine.applied.term,
      }),
      onFailure: (error) => this.#fail(error),
    });
    this.#admin = new MemberAdmin({
      self: this.id,
      clock,
      random,
      raft,
      driver: () => this.#driver,
      machine: () => this.#applier.machine,
      propose: (command, deadline, change) => this.#router.propose(command, deadline, { change }),
      linearizable,
      connectedSince: (id) => this.#mesh?.connectedSince(id),
      transition: all.membershipTransition,
      calls: this.#calls,
    });
    this.#snapshots = new SnapshotSessions({
      clock,
      random,
      memberId: this.id,
      clusterId: this.clusterId,
      snapshot: () => this.#freshSnapshot(),
      sizeBytes: () => this.#state.sizeBytes(),
    });
    this.#departure = new Departure({
      self: this.id,
      name: this.name,
      clock,
      log,
      electionTimeoutMs: all.electionTimeoutMs,
      heartbeatMs: all.heartbeatMs,
      conf: () => this.#conf,
      leads: () => this.#driver.soft.role === "leader",
      isRunning: () => this.#phase === "running",
      end: (error) => this.#fail(error),
    });
    this.#publisher = new Publisher({
      self: this.id,
      name: this.name,
      clock,
      againMs: all.heartbeatMs,
      members: () => this.#applier.machine.members(),
      mayPublish: () => this.#phase === "running" && this.#driver.soft.leader !== undefined,
      clientUrls: () => {
        if (this.#clientUrl !== undefined) return [this.#clientUrl];
        return all.listenClientUrl === undefined ? [] : undefined;
      },
      peerUrl: () => (all.bootstrap.kind === "alone" ? this.#peerUrl : undefined),
      updatePeerUrl: (peerUrl, deadline) =>
        this.#admin.handle({ kind: "memberUpdate", id: this.id, peerUrls: [peerUrl] }, deadline),
      propose: (command, deadline) => this.#router.propose(command, deadline),
    });
    this.#router = new Router({
      memberId: this.id,
      clusterId: this.clusterId,
      incarnation: dir.identity.incarnation,
      clock,
      driver: this.#driver,
      applier: this.#applier,
      proposals: this.#proposals,
      reads: this.#reads,
      admin: this.#admin,
      leases: this.#leases,
      snapshots: this.#snapshots,
      quota: this.#quota,
      queues: this.#queues,
      maxTxnOps: all.maxTxnOps,
      maxRequestBytes: all.maxRequestBytes,
      maxPendingProposals: all.maxPendingProposals,
      maxPendingBytes: all.maxPendingBytes,
      requestTimeoutMs,
      isLearner: () => this.isLearner,
      status: async () => this.#statusResult(),
      readAhead: (key) => this.#state.readAhead(key).catch(() => 0),
      compacted: () => this.#compaction.run(),
    });
  }

  #lastAppliedTerm: Term;
  #lastLeader: MemberId | undefined;
  /** What clients were told of it. */
  #told: { readonly term: number; readonly leader: MemberId | undefined } | undefined;

  /** Where clients reach it, with the real port; `undefined` if it does not listen. */
  get clientUrl(): string | undefined {
    return this.#clientUrl;
  }

  get peerUrl(): string | undefined {
    return this.#peerUrl;
  }

  get isLearner(): boolean {
    return this.#conf.learners.includes(this.id) || this.#conf.learnersNext.includes(this.id);
  }

  get incarnation(): number {
    return this.#dir.identity.incarnation;
  }

  status(): ServerStatus {
    const { role, leader, term: at, commit, base, lastIndex, voteDurable } = this.#raft.status();
    const machine = this.#applier.machine;
    return {
      id: this.id,
      role,
      leader,
      term: at,
      voteDurable,
      commit,
      applied: machine.applied.index,
      firstIndex: base.index + 1,
      lastIndex,
      stateHash: machine.stateHash,
      conf: this.#conf,
    };
  }

  members(): readonly Member[] {
    return this.#applier.machine.members();
  }

  handle(request: Request, call: CallOptions): Promise<Response> {
    try {
      if (this.#phase !== "running") throw new StoreError("STOPPED");
      // Where the others are lost, a removed member's state may be the last there is.
      if (request.kind !== "snapshot") this.#departure.check();
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#router.handle(request, call);
  }

  /** The in-process way in: objects, no bytes. */
  channel(): Channel {
    return inProcessChannel({
      clock: this.#world.clock,
      handle: (request, call) => this.handle(request, call),
      answerNow: (request) => {
        if (this.#phase !== "running") throw new StoreError("STOPPED");
        this.#departure.check();
        return this.#router.answerNow(request);
      },
      watch: (outlet, options) => this.watch(outlet, options),
      stopped: this.stopped,
    });
  }

  /** Takes a watch stream in. What is refused ends in a later turn. */
  watch(outlet: WatchOutlet, options: WatchOptions): ServedWatch {
    if (this.#phase === "running") return this.#watches.open(outlet, options);
    this.#world.clock.defer(() => outlet.ended(new StoreError("STOPPED")));
    return { request() {}, resume() {}, close() {} };
  }

  async #start(): Promise<void> {
    const { network, clock, log } = this.#world;
    const all = this.#options;
    if (this.#mesh !== undefined) this.#peerUrl = await this.#mesh.listen();
    this.#driver.start();
    this.#flusher.start();
    this.#leases.start();
    this.#quota.start();
    this.#compactor?.start();
    this.#ledger.start();
    this.#watches.start();
    this.#membersChanged();
    if (this.#conf.voters.length === 1 && this.#conf.voters[0] === this.id) {
      this.#raft.campaign();
      this.#driver.poke();
    }
    if (this.#applier.machine.compactionPending) void this.#compaction.run();
    this.#sizeTimer = clock.every(5_000, () => void this.#measure());
    await this.#measure();
    if (all.listenClientUrl !== undefined) {
      try {
        this.#listener = new ClientListener({
          network,
          clock,
          log,
          url: all.listenClientUrl,
          allowedOrigins: all.allowedOrigins ?? [],
          maxFrameBytes: all.maxRequestBytes + (512 << 10),
          onHttp: (method, path) => this.#http(method, path),
          handle: (request, call) => this.handle(request, call),
          watch: (outlet, options) => this.watch(outlet, options),
          hello: () => ({ clusterId: this.clusterId, memberId: this.id }),
          leader: () => ({ term: this.#driver.soft.term, member: this.#driver.soft.leader }),
        });
        this.#clientUrl = await this.#listener.listen();
      } catch (error) {
        await this.close({ handOver: false });
        throw error;
      }
    }
    this.#publisher.publish();
  }

  /** Hands leadership over (unless told not to), drains, flushes and closes. Safe to call twice. */
  async close({ handOver = true }: { readonly handOver?: boolean } = {}): Promise<void> {
    if (this.#phase !== "running" || this.#closeCalled) {
      await this.stopped;
      return;
    }
    this.#closeCalled = true;
    if (handOver && this.#driver.soft.role === "leader") {
      const best = bestSuccessor(this.#raft.status());
      if (best !== undefined && this.#raft.transferLeader(best)) {
        this.#driver.poke();
        await this.#until(() => this.#driver.soft.role !== "leader", 2 * this.#options.electionTimeoutMs);
      }
    }
    // While what they hold can still be given back.
    this.#queues.end(new StoreError("STOPPED"));
    this.#phase = "closing";
    await this.#until(() => this.#proposals.count === 0 && this.#reads.count === 0, this.#options.electionTimeoutMs);
    const stopped = new StoreError("STOPPED");
    this.#watches.end(stopped);
    await this.#listener?.close();
    this.#proposals.endAll("STOPPED", stopped);
    this.#reads.endAll(stopped);
    await this.#flusher.flush().catch((error) => this.#world.log.warn({ error: String(error) }, "last flush failed"));
    this.#halt();
    await this.#mesh?.close();
    await this.#reception.close();
    await this.#dir.close().catch((error) => this.#world.log.warn({ error: String(error) }, "close failed"));
    if (this.#state !== this.#dir.state) await this.#state.close().catch(() => {});
    await this.#incoming?.state.close().catch(() => {});
    this.#phase = "ended";
    this.#end(undefined);
  }

  /** For the simulator: ends without another word, as a killed process does. Nothing is written or sent any more. */
  kill(): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    this.#halt();
    this.#end(undefined);
  }

  async #until(done: () => boolean, mostMs: number): Promise<void> {
    const { clock } = this.#world;
    const deadline = clock.now() + mostMs;
    await new Promise<void>((resolve) => {
      const timer = clock.every(5, () => {
        if (!done() && clock.now() < deadline) return;
        timer.cancel();
        resolve();
      });
    });
  }

  #halt(): void {
    this.#driver.stop();
    this.#queues.stop();
    this.#watches.stop();
    this.#leases.stop();
    this.#quota.stop();
    this.#compactor?.stop();
    this.#ledger.stop();
    this.#calls.endAll();
    this.#flusher.stop();
    this.#applier.stop();
    this.#sender?.close();
    void this.#reception.close();
    this.#snapshots.stop();
    this.#sizeTimer?.cancel();
  }

  /** A failed write or a broken invariant ends the member, never the embedding process. */
  #fail(cause: unknown): void {
    if (this.#phase === "ended") return;
    this.#phase = "ended";
    const error = StoreError.is(cause)
      ? cause
      : new StoreError("INTERNAL", {
          outcome: "unknown",
          cause,
          message:
            cause instanceof InvariantError
              ? `quorate: an invariant was broken: ${cause.message}`
              : `quorate: ${cause instanceof Error ? cause.message : String(cause)}`,
        });
    this.#world.log.error(
      { code: error.code, error: error.message, stack: cause instanceof Error ? cause.stack : undefined },
      "the member stops",
    );
    this.#watches.end(new StoreError("STOPPED", { cause: error }));
    this.#halt();
    this.#proposals.endAll(error.code, error);
    this.#reads.endAll(new StoreError("STOPPED", { cause: error }));
    // After a snapshot the live state is not the one that the directory was opened with.
    const states = [this.#state, this.#incoming?.state].filter((state) => state !== this.#dir.state);
    const ends = [
      this.#listener?.close(),
      this.#mesh?.close(),
      this.#reception.close(),
      this.#dir.close(),
      ...states.map((state) => state?.close()),
    ];
    void Promise.allSettled(ends).then(() => this.#end(error));
  }

  /** The state with everything that this member has applied by now. */
  async #freshSnapshot(): Promise<StateSnapshot> {
    const { index } = this.#applier.machine.applied;
    try {
      await this.#flusher.flush();
    } catch (error) {
      // As of any flush: nothing is known about what reached the disk.
      this.#fail(error);
      throw error;
    }
    if (this.#phase !== "running") throw new StoreError("STOPPED");
    if (this.#state.appliedIndex < index) {
      throw new StoreError("UNAVAILABLE", {
        message: "quorate: this member is about to take another member's state; ask again, or ask another",
      });
    }
    return this.#state.snapshot();
  }

  #switchState(index: LogIndex): void {
    const incoming = this.#incoming!;
    this.#incoming = undefined;
    const old = this.#state;
    this.#state = incoming.state;
    this.#conf = confOf(incoming.state);
    this.#applier.replace(incoming.machine);
    this.#leases.attach(incoming.machine);
    this.#watches.replace(incoming.machine);
    this.#flusher.resume(incoming.state);
    this.#proposals.replaced(index, incoming.machine.applied.term);
    this.#reads.applied(incoming.machine.applied.index);
    this.#lastAppliedTerm = incoming.machine.applied.term;
    this.#installed += 1;
    this.#membersChanged();
    // Whoever sent it was perhaps in the middle of one.
    if (incoming.machine.compactionPending) void this.#compaction.run();
    this.#world.log.info({ index }, "installed a snapshot");
    const { disk, log } = this.#world;
    old
      .close()
      .then(() => disk.remove(`state-${old.generation}`))
      .catch((error) => log.warn({ error: String(error) }, "could not remove the old state"));
  }

  #membersChanged(): void {
    if (this.#mesh === undefined || this.#unwrittenChanges > 0) return;
    const peers = new Map<MemberId, readonly string[]>();
    for (const { id, peerUrls } of this.#applier.machine.members()) {
      // What the operator wrote down comes first: addresses may have changed since the member was recorded.
      const urls = [...new Set([...(this.#staticUrls.get(id) ?? []), ...peerUrls])];
      this.#lastUrls.set(id, urls);
      peers.set(id, urls);
    }
    // A removed member counts until the joint phase is over, so until then it has to be reached.
    for (const id of membersOf(this.#conf)) {
      if (!peers.has(id)) peers.set(id, this.#lastUrls.get(id) ?? this.#staticUrls.get(id) ?? []);
    }
    peers.delete(this.id);
    this.#mesh.setPeers([...peers].map(([id, urls]) => ({ id, urls })));
    if (this.#applier.machine.removedMembers.has(this.id)) this.#departure.removed("applied");
  }

  async #measure(): Promise<void> {
    try {
      const [state, wal] = await Promise.all([this.#state.sizeBytes(), this.#dir.wal.sizeBytes()]);
      this.#dbSize = state;
      this.#walSize = Math.max(1, wal);
    } catch {
      // A figure only; the next round tries again.
    }
  }

  /** Never below what is in use, as LevelDB packs what it has; nor 0. */
  get #diskBytes(): number {
    return Math.max(1, this.#dbSize, this.#state.recordBytes);
  }

  #statusResult(): StatusResult {
    const status = this.status();
    const machine = this.#applier.machine;
    const errors = machine.alarms.list.map(({ member, alarm }) => `memberID:${member} alarm:${alarm.toUpperCase()} `);
    if (status.leader === undefined) errors.unshift("etcdserver: no leader");
    return {
      kind: "status",
      revision: machine.revision,
      version: VERSION,
      dbSize: this.#diskBytes,
      dbSizeInUse: this.#state.recordBytes,
      dbSizeQuota: this.#quota.quotaBytes,
      leader: status.leader,
      raftIndex: status.commit,
      raftTerm: status.term,
      raftAppliedIndex: status.applied,
      errors,
      isLearner: this.isLearner,
      stateHash: status.stateHash,
    };
  }

  figures(): Figures {
    const { role, leader } = this.#driver.soft;
    const { commit, base } = this.#raft.status();
    const machine = this.#applier.machine;
    const { keys, puts, deletes, txns, ranges, leases, ledger, leasesGranted, leasesRevoked, leasesExpired } =
      machine.metrics;
    const known = machine.members().filter(({ id }) => id !== this.id);
    return {
      hasLeader: leader !== undefined,
      isLeader: role === "leader",
      isLearner: this.isLearner,
      leaderChanges: this.#leaderChanges,
      proposalsCommitted: commit,
      proposalsApplied: machine.applied.index,
      proposalsPending: this.#proposals.count,
      proposalsFailed: this.#proposals.failed,
      dbSizeBytes: this.#diskBytes,
      dbSizeInUseBytes: this.#state.recordBytes,
      quotaBytes: this.#quota.quotaBytes,
      alarms: machine.alarms.list,
      leases,
      leasesGranted,
      leasesRevoked,
      leasesExpired,
      leasesRenewed: this.#leases.renewed,
      walSizeBytes: this.#walSize,
      stateUnflushedBytes: this.#state.unflushedBytes,
      firstIndex: base.index + 1,
      keys,
      revision: machine.revision,
      compactRevision: machine.compactRevision,
      puts,
      deletes,
      txns,
      ranges,
      registrations: ledger.registrations,
      ledgerHits: ledger.hits,
      ledgerClients: ledger.clients,
      ledgerOperations: ledger.operations,
      ledgerResultBytes: ledger.resultBytes,
      slowDisk: this.#driver.slowWrites,
      watchStreams: this.#watches.streams,
      watchers: this.#watches.watchers,
      slowWatchers: this.#watches.slowWatchers,
      watchesRefused: this.#watches.refused,
      snapshotsSent: this.#sender?.sent ?? 0,
      snapshotsInstalled: this.#installed,
      peersConnected: known.filter(({ id }) => this.#mesh?.connected(id) === true).length,
      peersKnown: known.length,
    };
  }

  async #http(method: string, path: string): Promise<HttpAnswer> {
    return healthAnswer(method, path, {
      alarms: () => this.#applier.machine.alarms.list.map(({ alarm }) => alarm.toUpperCase()),
      hasLeader: () => this.#driver.soft.leader !== undefined,
      isLearner: () => this.isLearner,
      read: (serializable) =>
        this.handle(
          { kind: "range", key: Uint8Array.of(0), limit: 1, keysOnly: true, serializable },
          { timeoutMs: this.#options.requestTimeoutMs ?? 5_000 + 2 * this.#options.electionTimeoutMs },
        ).then(() => {}),
      metrics: () => this.#metrics.render(() => this.figures()),
    });
  }
}
