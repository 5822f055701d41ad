/**
 * A group of cores with everything a host does around them, in the plainest form: a disk that forgets what was not
 * completed, a network that is a list, a state machine that is a hash. After every step the oracle compares them all
 * (docs/raft-notes.md section 13, O1-O9, O13). Nothing happens by itself: a test or the chaos driver moves each part.
 */
import type { LogIndex, MemberId } from "../../src/base/ids.ts";
import { logIndex, memberId, term } from "../../src/base/ids.ts";
import { prng, type RandomSource, randomInt } from "../../src/base/prng.ts";
import { decodeConfChange, decodeMessage, encodeMessage } from "../../src/raft/codec.ts";
import type { RaftConfig } from "../../src/raft/config.ts";
import type { Entry, EntryId } from "../../src/raft/entry.ts";
import type { ConfChange, ConfState } from "../../src/raft/membership-types.ts";
import type { Message } from "../../src/raft/message.ts";
import { Raft } from "../../src/raft/raft.ts";
import type { HardState, PersistBatch } from "../../src/raft/ready.ts";
import { Oracle } from "./oracle.ts";
import { printBatch, printMessage, printReady } from "./print.ts";

export interface MachineState {
  readonly applied: number;
  readonly term: number;
  readonly hash: number;
  readonly conf: ConfState;
}

export class Disk {
  hardState: HardState;
  base: EntryId;
  entries: Entry[] = [];
  state: MachineState;

  /** Founders begin at index 1, so that a member without its configuration can only get it with a snapshot (M12). */
  constructor(conf: ConfState) {
    const born = conf.voters.length > 0 ? 1 : 0;
    this.state = { applied: born, term: born, hash: 0, conf };
    this.base = { index: logIndex(born), term: term(born) };
    this.hardState = { term: term(born), votedFor: undefined, commit: logIndex(born) };
  }

  get last(): number {
    return this.base.index + this.entries.length;
  }

  termAt(index: number): number | undefined {
    return index === this.base.index ? this.base.term : this.entries[index - this.base.index - 1]?.term;
  }

  write(batch: PersistBatch, snapshot: MachineState | undefined): void {
    this.hardState = batch.hardState;
    if (batch.install !== undefined) {
      if (snapshot?.applied !== batch.install.index) throw new Error("N10: install without its data");
      this.base = { index: batch.install.index, term: batch.install.term };
      this.entries = [];
      this.state = snapshot;
    }
    if (batch.cutFrom !== undefined) this.#cut(batch.cutFrom);
    if (batch.entries.length > 0) {
      this.#cut(batch.entries[0]!.index);
      if (batch.entries[0]!.index !== this.last + 1) throw new Error("W3: a hole in the log on disk");
      this.entries.push(...batch.entries);
    }
    if (this.hardState.commit > this.last) throw new Error("W8: stored commit above the stored log");
  }

  #cut(index: number): void {
    if (index > this.base.index) this.entries.length = Math.min(this.entries.length, index - this.base.index - 1);
  }

  release(index: number): void {
    const at = this.termAt(index);
    if (at === undefined || index > this.state.applied) throw new Error("K1: released more than was flushed");
    this.entries = this.entries.slice(index - this.base.index);
    this.base = { index: logIndex(index), term: term(at) };
  }
}

export interface SimNode {
  readonly id: MemberId;
  readonly disk: Disk;
  raft: Raft;
  incarnation: number;
  up: boolean;
  writing: PersistBatch[];
  queue: Entry[];
  machine: MachineState;
  /** Snapshots of which all bytes are here, by index. */
  arrived: Map<number, MachineState>;
  installing: boolean;
}

export interface Packet {
  readonly from: MemberId;
  readonly to: MemberId;
  readonly toIncarnation: number;
  readonly fromIncarnation: number;
  readonly message: Message;
  /** Of a snapshot stream: what it carries. */
  readonly data: MachineState | undefined;
}

export interface GroupOptions {
  readonly voters: number;
  readonly learners?: number;
  readonly config?: Partial<RaftConfig>;
  readonly seed?: number;
  /** Batches that may be under way at once. */
  readonly writesMax?: number;
  /** Does nothing of its own accord: writes and applies wait for the test. */
  readonly manual?: boolean;
  readonly trace?: boolean;
}

export const m = (n: number): MemberId => memberId(n);
const encoder = new TextEncoder();

export const VETO = new Uint8Array([0xff]);

export class Group {
  readonly nodes: Map<MemberId, SimNode> = new Map();
  readonly oracle: Oracle = new Oracle();
  readonly random: RandomSource;
  readonly options: GroupOptions;
  readonly lines: string[] = [];
  network: Packet[] = [];
  /** `from>to` pairs that nothing passes. */
  readonly blocked: Set<string> = new Set();
  nextRef = 1;
  readonly placed: Map<number, EntryId> = new Map();
  readonly dropped: Map<number, string> = new Map();
  readonly reads: Map<number, { index: number | undefined }> = new Map();
  readonly payloads: Map<number, string> = new Map();

  constructor(options: GroupOptions) {
    this.options = options;
    this.random = prng(options.seed ?? 1);
    const voters = Array.from({ length: options.voters }, (_, i) => m(i + 1));
    const learners = Array.from({ length: options.learners ?? 0 }, (_, i) => m(options.voters + i + 1));
    const conf = { voters, votersOutgoing: [], learners, learnersNext: [], autoLeave: false };
    this.oracle.founded(conf);
    for (const id of [...voters, ...learners]) this.join(id, conf);
  }

  /** A member with an empty disk. Without `conf`: M12, it learns its place from the log. */
  join(
    id: MemberId,
    conf: ConfState = { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  ): SimNode {
    const disk = new Disk(conf);
    const node: SimNode = {
      id,
      disk,
      raft: this.#boot(id, disk),
      incarnation: 1,
      up: true,
      writing: [],
      queue: [],
      machine: disk.state,
      arrived: new Map(),
      installing: false,
    };
    this.nodes.set(id, node);
    return node;
  }

  #boot(id: MemberId, disk: Disk): Raft {
    const electionTicks = this.options.config?.electionTicks ?? 10;
    return new Raft(
      {
        id,
        electionTicks,
        heartbeatTicks: 2,
        maxMessageBytes: 4096,
        inflightCountMax: 8,
        inflightBytesMax: 65_536,
        uncommittedBytesMax: 65_536,
        applyBytesMax: 65_536,
        pendingReadsMax: 100,
        electionTimeout: () => electionTicks + randomInt(this.random, 0, electionTicks - 1),
        ...this.options.config,
      },
      {
        hardState: disk.hardState,
        base: disk.base,
        entries: disk.entries,
        applied: logIndex(disk.state.applied),
        conf: disk.state.conf,
      },
    );
  }

  node(n: number | MemberId): SimNode {
    const node = this.nodes.get(typeof n === "bigint" ? n : m(n));
    if (node === undefined) throw new Error(`no node ${n}`);
    return node;
  }

  get up(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.up);
  }

  leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const node of this.up) {
      const { role, term: at } = node.raft.status();
      if (role === "leader" && (best === undefined || at > best.raft.status().term)) best = node;
    }
    return best;
  }

  say(line: string): void {
    if (this.options.trace) this.lines.push(line);
  }

  /** Hands the core something and carries out what it answers. */
  act(n: number | MemberId, deed: (raft: Raft) => void): void {
    const node = this.node(n);
    if (!node.up) return;
    deed(node.raft);
    this.pump(node);
  }

  tick(n: number | MemberId, count = 1): void {
    for (let i = 0; i < count; i++) this.act(n, (raft) => raft.tick());
  }

  pump(node: SimNode): void {
    for (let rounds = 0; ; rounds++) {
      if (rounds > 100) throw new Error("takeReady never comes to rest");
      const ready = node.raft.takeReady();
      if (ready === undefined) break;
      if (this.options.trace) printReady(node.id, ready, (line) => this.say(line));
      for (const { to, message } of ready.messages) this.send(node, to, message);
      node.queue.push(...ready.committed);
      for (const { ref, id } of ready.placed) this.#settle(ref, () => this.placed.set(ref, id));
      for (const { ref, reason } of ready.dropped) this.#settle(ref, () => this.dropped.set(ref, reason));
      for (const { ref, index } of ready.reads) this.#served(ref, index);
      for (const { ref } of ready.readsDropped) this.#served(ref, undefined);
      for (const { to, session } of ready.sendSnapshots) this.#stream(node, to, session);
    }
    this.oracle.observe(this, node);
    this.takeWrites(node);
  }

  #settle(ref: number, record: () => void): void {
    if (this.placed.has(ref) || this.dropped.has(ref)) throw new Error(`U6: ref ${ref} came back twice`);
    record();
  }

  #served(ref: number, index: LogIndex | undefined): void {
    const read = this.reads.get(ref);
    if (read !== undefined) throw new Error(`U6: read ${ref} came back twice`);
    this.reads.set(ref, { index });
    if (index !== undefined) this.oracle.readServed(ref, index);
  }

  send(node: SimNode, to: MemberId, message: Message, data?: MachineState): void {
    this.oracle.sent(this, node, to, message);
    const target = this.nodes.get(to);
    if (target === undefined) return;
    this.network.push({
      from: node.id,
      to,
      toIncarnation: target.incarnation,
      fromIncarnation: node.incarnation,
      message,
      data,
    });
  }

  #stream(node: SimNode, to: MemberId, session: number): void {
    const { applied, term: at, conf } = node.disk.state;
    const message: Message = {
      kind: "installSnapshot",
      term: node.raft.status().term,
      index: logIndex(applied),
      snapshotTerm: term(at),
      conf,
      session,
    };
    if (applied === 0) node.raft.snapshotSent(to, session, "failed");
    else this.send(node, to, message, node.disk.state);
  }

  takeWrites(node: SimNode): void {
    const most = this.options.writesMax ?? 1;
    while (node.writing.length < most) {
      const batch = node.raft.takePersist();
      if (batch === undefined) break;
      node.writing.push(batch);
      this.oracle.batch(node, batch);
      if (batch.install !== undefined) node.installing = true;
    }
    if (!this.options.manual) while (node.writing.length > 0) this.completeWrite(node);
  }

  /** The oldest write under way is durable. `acked` false: the process dies before it hears of it. */
  completeWrite(node: SimNode, acked = true): void {
    const batch = node.writing.shift();
    if (batch === undefined) return;
    const snapshot = batch.install === undefined ? undefined : node.arrived.get(batch.install.index);
    if (this.options.trace) this.say(`${printBatch(node.id, batch)}${acked ? "" : ", and never hears of it"}`);
    node.disk.write(batch, snapshot);
    this.oracle.written(node, batch);
    if (!acked) return;
    if (snapshot !== undefined) {
      node.machine = snapshot;
      node.queue = [];
    }
    node.installing = node.writing.some(({ install }) => install !== undefined);
    node.raft.persisted(batch.seq);
    this.#forgetUnused(node);
    for (const { to, message } of batch.messagesAfter) this.send(node, to, message);
    this.pump(node);
  }

  /** The state machine takes up to `count` entries in one turn. */
  apply(node: SimNode, count = Number.POSITIVE_INFINITY): void {
    let done = 0;
    while (node.queue.length > 0 && done < count) {
      const entry = node.queue.shift()!;
      let { conf } = node.machine;
      if (entry.index !== node.machine.applied + 1) throw new Error(`Q4: ${entry.index} after ${node.machine.applied}`);
      if (entry.kind === "confChange") {
        const change = decodeConfChange(entry.data);
        conf = node.raft.applyConfChange(entry.index, change.context[0] === 0xff ? undefined : change);
        for (const id of [...conf.voters, ...conf.learners]) if (!this.nodes.has(id)) this.join(id);
      }
      node.machine = {
        applied: entry.index,
        term: entry.term,
        hash: this.oracle.fold(node.machine.hash, entry),
        conf,
      };
      this.oracle.applied(node, entry);
      done += 1;
    }
    if (done === 0) return;
    node.raft.applied(logIndex(node.machine.applied));
    this.pump(node);
  }

  flush(node: SimNode): void {
    if (!node.installing && node.arrived.size === 0) node.disk.state = node.machine;
  }

  /** Keeps `trailing` entries below what is flushed. */
  release(node: SimNode, trailing: number): void {
    const index = node.disk.state.applied - trailing;
    if (index <= node.disk.base.index || node.installing || node.arrived.size > 0) return;
    node.raft.release(logIndex(index));
    node.disk.release(index);
    this.pump(node);
  }

  passes(packet: Packet): boolean {
    const target = this.nodes.get(packet.to);
    return (
      target?.up === true &&
      target.incarnation === packet.toIncarnation &&
      !this.blocked.has(`${packet.from}>${packet.to}`)
    );
  }

  /** Takes one packet off the network and, unless it is lost on the way, hands it over. */
  deliver(at: number, keep = false): boolean {
    const packet = this.network[at]!;
    if (!keep) this.network.splice(at, 1);
    const arrives = this.passes(packet);
    if (packet.data !== undefined) this.#streamEnded(packet, arrives);
    if (!arrives) return false;
    const node = this.node(packet.to);
    this.say(`${packet.from} -> ${packet.to} ${printMessage(packet.message)}`);
    if (packet.data !== undefined) node.arrived.set(packet.data.applied, packet.data);
    node.raft.step(packet.from, decodeMessage(encodeMessage(packet.message)));
    this.pump(node);
    if (packet.data !== undefined) this.#forgetUnused(node);
    return true;
  }

  /** N6-N8: only what the core is installing, or a write under way still brings to disk, is kept. */
  #forgetUnused(node: SimNode): void {
    for (const index of node.arrived.keys()) {
      const writing = node.writing.some(({ install }) => install?.index === index);
      if (!writing && node.raft.installing?.index !== index) node.arrived.delete(index);
    }
  }

  #streamEnded(packet: Packet, arrived: boolean): void {
    const sender = this.nodes.get(packet.from);
    if (sender?.up !== true || sender.incarnation !== packet.fromIncarnation) return;
    if (packet.message.kind !== "installSnapshot") return;
    sender.raft.snapshotSent(packet.to, packet.message.session, arrived ? "ok" : "failed");
    this.pump(sender);
  }

  crash(n: number | MemberId, durable = 0): void {
    const node = this.node(n);
    if (!node.up) return;
    for (let i = 0; i < durable; i++) this.completeWrite(node, false);
    this.oracle.crashed(node.writing.length);
    node.up = false;
    node.writing = [];
    node.queue = [];
    node.arrived.clear();
    node.installing = false;
    this.say(`${node.id} crashes`);
  }

  restart(n: number | MemberId): void {
    const node = this.node(n);
    if (node.up) return;
    node.up = true;
    node.incarnation += 1;
    node.machine = node.disk.state;
    node.raft = this.#boot(node.id, node.disk);
    this.say(`${node.id} restarts`);
    this.oracle.restarted(node);
    this.pump(node);
  }

  propose(n: number | MemberId, text?: string): number {
    return this.proposeAll(n, [text])[0]!;
  }

  /** In one burst. */
  proposeAll(n: number | MemberId, texts: readonly (string | undefined)[]): number[] {
    const proposals = texts.map((text) => {
      const ref = this.nextRef++;
      const payload = text ?? `p${ref}`;
      this.payloads.set(ref, payload);
      return { ref, data: encoder.encode(payload) };
    });
    this.act(n, (raft) => raft.propose(proposals));
    return proposals.map(({ ref }) => ref);
  }

  change(n: number | MemberId, change: Partial<ConfChange> & Pick<ConfChange, "steps">): number {
    const ref = this.nextRef++;
    const whole = { transition: "auto" as const, context: encoder.encode(`c${ref}`), ...change };
    this.act(n, (raft) => raft.proposeConfChange(ref, whole));
    return ref;
  }

  read(n: number | MemberId): number {
    return this.readAll(n, 1)[0]!;
  }

  /** In one burst. */
  readAll(n: number | MemberId, count: number): number[] {
    const refs = Array.from({ length: count }, () => this.nextRef++);
    for (const ref of refs) this.oracle.readIssued(ref, this);
    this.act(n, (raft) => {
      for (const ref of refs) raft.readIndex(ref);
    });
    return refs;
  }

  /** Everything that is under way comes to its end, in order, without time passing. */
  settle(most = 20_000): void {
    for (let i = 0; i < most; i++) {
      if (!this.#settleOne()) return;
    }
    throw new Error("the group never comes to rest");
  }

  #settleOne(): boolean {
    for (const node of this.up) {
      if (node.writing.length > 0) {
        this.completeWrite(node);
        return true;
      }
      if (node.queue.length > 0) {
        this.apply(node);
        return true;
      }
    }
    if (this.network.length === 0) return false;
    this.deliver(0);
    return true;
  }

  /** `n` campaigns, and wins if nothing stands in the way. */
  elect(n: number | MemberId): void {
    this.act(n, (raft) => raft.campaign());
    this.settle();
  }

  /** Ticks everybody, settling in between, until `done`. */
  until(done: () => boolean, what: string, most = 400): void {
    for (let i = 0; i < most; i++) {
      if (done()) return;
      for (const node of this.up) this.tick(node.id);
      this.settle();
    }
    throw new Error(`O11: never happened: ${what}\n${this.summary()}`);
  }

  /** Nothing passes between `n` and the others. */
  isolate(n: number | MemberId): void {
    const id = this.node(n).id;
    for (const other of this.nodes.keys()) {
      if (other === id) continue;
      this.blocked.add(`${id}>${other}`);
      this.blocked.add(`${other}>${id}`);
    }
  }

  heal(): void {
    this.blocked.clear();
  }

  /** Drops what is on its way, or the part of it that `which` names. */
  lose(which: (packet: Packet) => boolean = () => true): void {
    this.network = this.network.filter((packet) => !which(packet));
  }

  summary(): string {
    const lines = [...this.nodes.values()].map((node) => {
      const s = node.raft.status();
      const peers = s.progress.map((p) => `${p.id}:${p.state}:${p.match}/${p.next}`).join(" ");
      const conf = `${s.conf.voters}|${s.conf.votersOutgoing}|${s.conf.learners}|${s.conf.learnersNext}`;
      return `${node.id}${node.up ? "" : " down"} ${s.role} t${s.term} lead ${s.leader} base ${s.base.index} applied ${s.applied}/${node.machine.applied} commit ${s.commit} durable ${s.persistedIndex} last ${s.lastIndex}@${node.raft.termAt(s.lastIndex)} conf ${conf} ${peers}`;
    });
    return lines.join("\n");
  }
}
