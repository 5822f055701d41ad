/** One core with its disk and its peers played by the test: what goes in and what comes out, step by step. */
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { LogIndex, MemberId } from "../../src/base/ids.ts";
import { logIndex, memberId, term } from "../../src/base/ids.ts";
import type { RaftConfig } from "../../src/raft/config.ts";
import type { Entry, EntryKind } from "../../src/raft/entry.ts";
import type { ConfState } from "../../src/raft/membership-types.ts";
import type {
  Append,
  AppendResponse,
  Heartbeat,
  InstallSnapshot,
  Message,
  Outgoing,
  RequestVote,
  VoteResponse,
} from "../../src/raft/message.ts";
import { Raft } from "../../src/raft/raft.ts";
import type { PersistBatch, Ready } from "../../src/raft/ready.ts";

export const m = (n: number): MemberId => memberId(n);
export const at = (n: number): LogIndex => logIndex(n);

export function conf(
  voters: readonly number[],
  more: Partial<Record<keyof ConfState, readonly number[]>> = {},
): ConfState {
  const ids = (list: readonly number[] = []): MemberId[] => list.map(m);
  const outgoing = ids(more.votersOutgoing);
  return {
    voters: ids(voters),
    votersOutgoing: outgoing,
    learners: ids(more.learners),
    learnersNext: ids(more.learnersNext),
    autoLeave: outgoing.length > 0,
  };
}

export function entry(index: number, at: number, data = `${index}@${at}`, kind: EntryKind = "normal"): Entry {
  return { index: logIndex(index), term: term(at), kind, data: encodeUtf8(data) };
}

/** Entries of the given terms, the first of them at `from`. */
export function run(from: number, terms: readonly number[]): Entry[] {
  return terms.map((t, i) => entry(from + i, t));
}

export interface CoreOptions {
  readonly id?: number;
  readonly conf?: ConfState;
  /** Terms of the entries above the base. */
  readonly log?: readonly number[];
  readonly entries?: readonly Entry[];
  readonly base?: readonly [index: number, term: number];
  readonly term?: number;
  readonly votedFor?: number;
  readonly commit?: number;
  readonly applied?: number;
  readonly config?: Partial<RaftConfig>;
}

export class Core {
  readonly raft: Raft;
  /** Everything taken so far and not looked at. */
  messages: Outgoing[] = [];
  committed: Entry[] = [];
  readys: Ready[] = [];
  batches: PersistBatch[] = [];

  constructor(options: CoreOptions = {}) {
    const [baseIndex, baseTerm] = options.base ?? [0, 0];
    const entries = options.entries ?? run(baseIndex + 1, options.log ?? []);
    const lastTerm = entries.at(-1)?.term ?? baseTerm;
    this.raft = new Raft(
      {
        id: m(options.id ?? 1),
        electionTicks: 10,
        heartbeatTicks: 1,
        maxMessageBytes: 1 << 20,
        inflightCountMax: 256,
        inflightBytesMax: 16 << 20,
        uncommittedBytesMax: 64 << 20,
        applyBytesMax: 16 << 20,
        pendingReadsMax: 100,
        electionTimeout: () => 10,
        ...options.config,
      },
      {
        hardState: {
          term: term(options.term ?? lastTerm),
          votedFor: options.votedFor === undefined ? undefined : m(options.votedFor),
          commit: logIndex(options.commit ?? baseIndex),
        },
        base: { index: logIndex(baseIndex), term: term(baseTerm) },
        entries,
        applied: logIndex(options.applied ?? baseIndex),
        conf: options.conf ?? conf([1, 2, 3]),
      },
    );
  }

  step(from: number, message: Message): this {
    this.raft.step(m(from), message);
    return this;
  }

  tick(count = 1): this {
    for (let i = 0; i < count; i++) this.raft.tick();
    return this;
  }

  /** The message lane, until it is quiet. What it said since the last `take`. */
  take(): Outgoing[] {
    for (let ready = this.raft.takeReady(); ready !== undefined; ready = this.raft.takeReady()) {
      this.readys.push(ready);
      this.messages.push(...ready.messages);
      this.committed.push(...ready.committed);
    }
    const messages = this.messages;
    this.messages = [];
    return messages;
  }

  /** Starts a write; `finish` completes the oldest. */
  begin(): PersistBatch | undefined {
    const batch = this.raft.takePersist();
    if (batch !== undefined) this.batches.push(batch);
    return batch;
  }

  finish(): PersistBatch {
    const batch = this.batches.shift()!;
    this.raft.persisted(batch.seq);
    this.messages.push(...batch.messagesAfter);
    return batch;
  }

  /** Everything there is to write is written. What was said since the last `take`. */
  sync(): Outgoing[] {
    const said = this.take();
    while (this.begin() !== undefined || this.batches.length > 0) {
      this.finish();
      said.push(...this.take());
    }
    return said;
  }

  /** Written, and what is committed is applied. */
  settle(): Outgoing[] {
    const said = this.sync();
    while (this.committed.length > 0) {
      const done = this.committed;
      this.committed = [];
      this.raft.applied(done.at(-1)!.index);
      said.push(...this.sync());
    }
    return said;
  }

  get placed(): { ref: number; index: number }[] {
    return this.readys.flatMap(({ placed }) => placed.map(({ ref, id }) => ({ ref, index: id.index })));
  }

  get dropped(): { ref: number; reason: string }[] {
    return this.readys.flatMap(({ dropped }) => [...dropped]);
  }

  get reads(): { ref: number; index: number }[] {
    return this.readys.flatMap(({ reads }) => [...reads]);
  }

  get readsDropped(): { ref: number; reason: string }[] {
    return this.readys.flatMap(({ readsDropped }) => [...readsDropped]);
  }

  get role(): string {
    return this.raft.status().role;
  }

  get term(): number {
    return this.raft.status().term;
  }

  peer(n: number): { match: number; next: number; state: string; recentActive: boolean } {
    return this.raft.status().progress.find(({ id }) => id === m(n))!;
  }

  /** The session that appends to `n` name. */
  session(n: number): number {
    const session = this.#sessions.get(n);
    if (session === undefined) throw new Error(`nothing was sent to ${n}`);
    return session;
  }

  readonly #sessions = new Map<number, number>();

  /** Remembers the sessions of what was said. */
  heard(messages: readonly Outgoing[]): readonly Outgoing[] {
    for (const { to, message } of messages) {
      if (message.kind === "append") this.#sessions.set(Number(to), message.session);
    }
    return messages;
  }
}

/** A leader of voters 1 to 3 whose followers have everything and stream. */
export function leader(options: CoreOptions = {}): Core {
  const core = new Core(options);
  core.raft.campaign();
  const said = [...core.sync()];
  const answer = (kind: VoteResponse["kind"], want: RequestVote["kind"]): void => {
    for (const { to, message } of said.splice(0)) {
      if (message.kind === want) core.raft.step(to, voted(message.term, true, kind));
    }
    said.push(...core.sync());
  };
  answer("preVoteResponse", "requestPreVote");
  answer("voteResponse", "requestVote");
  if (core.role !== "leader") throw new Error(`not elected: ${core.role}`);
  core.heard(said);
  acknowledgeAll(core, said);
  return core;
}

/** Every append among `said`, and every one that the answers cause, is acknowledged in full. */
export function acknowledgeAll(core: Core, said: readonly Outgoing[], but: readonly number[] = []): void {
  let waiting = said;
  for (let rounds = 0; waiting.length > 0 && rounds < 100; rounds++) {
    for (const { to, message } of waiting) {
      if (message.kind !== "append" || but.includes(Number(to))) continue;
      core.raft.step(to, ok(message.term, message.prevIndex + message.entries.length, message.session));
    }
    waiting = core
      .heard(core.settle())
      .filter(({ message }) => message.kind === "append" && message.entries.length > 0);
  }
}

export function voted(
  at: number,
  granted: boolean,
  kind: VoteResponse["kind"] = "voteResponse",
  hint = [0, 0],
): VoteResponse {
  return { kind, term: term(at), granted, commit: logIndex(hint[0]!), commitTerm: term(hint[1]!) };
}

export function vote(
  at: number,
  [lastIndex, lastTerm]: readonly [number, number],
  more: Partial<RequestVote> = {},
): RequestVote {
  return {
    kind: "requestVote",
    term: term(at),
    lastIndex: logIndex(lastIndex),
    lastTerm: term(lastTerm),
    transfer: false,
    commit: logIndex(0),
    commitTerm: term(0),
    ...more,
  };
}

export function preVote(at: number, last: readonly [number, number], more: Partial<RequestVote> = {}): RequestVote {
  return vote(at, last, { kind: "requestPreVote", ...more });
}

export function append(
  at: number,
  [prevIndex, prevTerm]: readonly [number, number],
  terms: readonly number[],
  more: Partial<Append> = {},
): Append {
  return {
    kind: "append",
    term: term(at),
    prevIndex: logIndex(prevIndex),
    prevTerm: term(prevTerm),
    entries: run(prevIndex + 1, terms),
    commit: logIndex(0),
    session: 1,
    ...more,
  };
}

export function ok(at: number, index: number, session: number): AppendResponse {
  return {
    kind: "appendResponse",
    term: term(at),
    session,
    index: logIndex(index),
    rejected: false,
    hintIndex: logIndex(0),
    hintTerm: term(0),
  };
}

export function refused(at: number, index: number, session: number, hint: readonly [number, number]): AppendResponse {
  return { ...ok(at, index, session), rejected: true, hintIndex: logIndex(hint[0]), hintTerm: term(hint[1]) };
}

export function heartbeat(at: number, commit = 0, readPosition = 0): Heartbeat {
  return { kind: "heartbeat", term: term(at), commit: logIndex(commit), readPosition };
}

export function beat(at: number, readPosition = 0): Message {
  return { kind: "heartbeatResponse", term: term(at), readPosition };
}

export function install(
  at: number,
  [index, snapshotTerm]: readonly [number, number],
  of: ConfState = conf([1, 2, 3]),
  session = 1,
): InstallSnapshot {
  return {
    kind: "installSnapshot",
    term: term(at),
    index: logIndex(index),
    snapshotTerm: term(snapshotTerm),
    conf: of,
    session,
  };
}

type Of<K extends Message["kind"], M = Message> = M extends { readonly kind: infer N }
  ? K extends N
    ? M
    : never
  : never;

/** The messages of one kind, as the test wants to look at them. */
export function only<K extends Message["kind"]>(
  messages: readonly Outgoing[],
  kind: K,
): { to: number; message: Of<K> }[] {
  const found: { to: number; message: Of<K> }[] = [];
  for (const { to, message } of messages) if (isOf(message, kind)) found.push({ to: Number(to), message });
  return found;
}

function isOf<K extends Message["kind"]>(message: Message, kind: K): message is Message & Of<K> {
  return message.kind === kind;
}
