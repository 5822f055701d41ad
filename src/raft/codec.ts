/**
 * Messages, entries and configurations as bytes, laid by hand: the hot path pays for no generic decoding. Everything
 * arriving from outside is checked here before any state sees it (J7); what does not fit throws a `RangeError`.
 * Counters are unsigned 64 bit, big endian. The numbers in the tables below are the wire's: append only.
 */
import { readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import type { LogIndex, MemberId, Term } from "../base/ids.ts";
import type { Entry, EntryKind } from "./entry.ts";
import { confFault } from "./membership.ts";
import type { ConfChange, ConfChangeStep, ConfState } from "./membership-types.ts";
import type { DropReason, Message } from "./message.ts";

const VERSION = 1;

const KINDS: readonly Message["kind"][] = [
  "requestVote",
  "requestPreVote",
  "voteResponse",
  "preVoteResponse",
  "append",
  "appendResponse",
  "heartbeat",
  "heartbeatResponse",
  "installSnapshot",
  "timeoutNow",
  "forwardPropose",
  "proposeRefused",
  "forwardRead",
  "readResponse",
];
const ENTRY_KINDS: readonly EntryKind[] = ["normal", "confChange"];
const REASONS: readonly DropReason[] = [
  "noLeader",
  "transferring",
  "busy",
  "notMember",
  "confChangePending",
  "invalid",
];
const ACTIONS: readonly ConfChangeStep["action"][] = ["addVoter", "addLearner", "remove", "updateNode"];
const TRANSITIONS: readonly ConfChange["transition"][] = ["auto", "joint"];

const HAS_BLOBS: ReadonlySet<Message["kind"]> = new Set(["append", "forwardPropose"]);

/** kind, term, index, length. `ENTRY_OVERHEAD` in log.ts is the same number. */
const ENTRY_HEADER = 21;
/** ref, kind, length. */
const PROPOSAL_HEADER = 13;

class Writer {
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
    this.#view = viewOf(this.bytes);
  }

  u8(value: number): void {
    this.bytes[this.#at++] = value;
  }

  flag(value: boolean): void {
    this.bytes[this.#at++] = value ? 1 : 0;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }

  counter(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a counter: ${value}`);
    writeCounter(this.#view, this.#at, value);
    this.#at += 8;
  }

  id(value: MemberId): void {
    this.#view.setBigUint64(this.#at, value);
    this.#at += 8;
  }

  ids(values: readonly MemberId[]): void {
    this.u32(values.length);
    for (const value of values) this.id(value);
  }

  blob(value: Uint8Array): void {
    this.u32(value.length);
    this.bytes.set(value, this.#at);
    this.#at += value.length;
  }

  entry(entry: Entry): void {
    this.u8(ENTRY_KINDS.indexOf(entry.kind));
    this.counter(entry.term);
    this.counter(entry.index);
    this.blob(entry.data);
  }

  confState(conf: ConfState): void {
    this.ids(conf.voters);
    this.ids(conf.votersOutgoing);
    this.ids(conf.learners);
    this.ids(conf.learnersNext);
    this.flag(conf.autoLeave);
  }
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  #take(size: number): number {
    if (size > this.left) throw new RangeError(`truncated: ${size} bytes wanted, ${this.left} left`);
    const at = this.#at;
    this.#at += size;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  flag(): boolean {
    const value = this.u8();
    if (value > 1) throw new RangeError(`not a flag: ${value}`);
    return value === 1;
  }

  of<T>(table: readonly T[], what: string): T {
    const value = this.u8();
    const found = table[value];
    if (found === undefined) throw new RangeError(`unknown ${what}: ${value}`);
    return found;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  counter(): number {
    return readCounter(this.#view, this.#take(8));
  }

  term(): Term {
    return this.counter() as Term;
  }

  /** Of a message that carries one: no election has term 0. */
  messageTerm(): Term {
    const term = this.term();
    if (term === 0) throw new RangeError("a message of term 0");
    // Whoever adopted it could never campaign again.
    if (term === Number.MAX_SAFE_INTEGER) throw new RangeError("a message of the last term");
    return term;
  }

  index(): LogIndex {
    return this.counter() as LogIndex;
  }

  id(): MemberId {
    const id = this.#view.getBigUint64(this.#take(8));
    if (id === 0n) throw new RangeError("member id 0");
    return id as MemberId;
  }

  /** The bytes that `count` items take at least must be there before anything is allocated for them. */
  count(itemBytes: number): number {
    const count = this.u32();
    if (count * itemBytes > this.left) throw new RangeError(`${count} items in ${this.left} bytes`);
    return count;
  }

  ids(): MemberId[] {
    const ids: MemberId[] = [];
    for (let left = this.count(8); left > 0; left--) ids.push(this.id());
    return ids;
  }

  /** A view: whoever keeps it owns what is read. */
  blob(): Uint8Array {
    const length = this.u32();
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  entry(): Entry {
    const kind = this.of(ENTRY_KINDS, "entry kind");
    const term = this.term();
    const index = this.index();
    if (term === 0 || index === 0) throw new RangeError(`an entry at index ${index} of term ${term}`);
    return { term, index, kind, data: this.blob() };
  }

  confState(): ConfState {
    const conf = {
      voters: this.ids(),
      votersOutgoing: this.ids(),
      learners: this.ids(),
      learnersNext: this.ids(),
      autoLeave: this.flag(),
    };
    const fault = confFault(conf);
    if (fault !== undefined) throw new RangeError(`configuration: ${fault}`);
    return conf;
  }

  end(): void {
    if (this.left > 0) throw new RangeError(`${this.left} bytes too many`);
  }

  version(): void {
    const version = this.u8();
    if (version !== VERSION) throw new RangeError(`unknown version: ${version}`);
  }
}

/** Not `slice`: a Buffer's gives a view of the same bytes. */
function copied(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function confStateSize(conf: ConfState): number {
  const ids = conf.voters.length + conf.votersOutgoing.length + conf.learners.length + conf.learnersNext.length;
  return 4 * 4 + 8 * ids + 1;
}

function sizeOf(message: Message): number {
  switch (message.kind) {
    case "requestVote":
    case "requestPreVote":
      return 41;
    case "voteResponse":
    case "preVoteResponse":
      return 25;
    case "append": {
      let size = 44;
      for (const entry of message.entries) size += ENTRY_HEADER + entry.data.length;
      return size;
    }
    case "appendResponse":
      return 41;
    case "heartbeat":
      return 24;
    case "heartbeatResponse":
      return 16;
    case "installSnapshot":
      return 32 + confStateSize(message.conf);
    case "timeoutNow":
      return 24;
    case "forwardPropose": {
      let size = 4;
      for (const { data } of message.proposals) size += PROPOSAL_HEADER + data.length;
      return size;
    }
    case "proposeRefused":
      return 5 + 8 * message.refs.length;
    case "forwardRead":
      return 8;
    case "readResponse":
      return message.index === undefined ? 9 : 17;
  }
}

export function encodeMessage(message: Message): Uint8Array {
  const w = new Writer(2 + sizeOf(message));
  w.u8(VERSION);
  w.u8(KINDS.indexOf(message.kind));
  switch (message.kind) {
    case "requestVote":
    case "requestPreVote":
      w.counter(message.term);
      w.counter(message.lastIndex);
      w.counter(message.lastTerm);
      w.flag(message.transfer);
      w.counter(message.commit);
      w.counter(message.commitTerm);
      break;
    case "voteResponse":
    case "preVoteResponse":
      w.counter(message.term);
      w.flag(message.granted);
      w.counter(message.commit);
      w.counter(message.commitTerm);
      break;
    case "append":
      w.counter(message.term);
      w.counter(message.prevIndex);
      w.counter(message.prevTerm);
      w.counter(message.commit);
      w.counter(message.session);
      w.u32(message.entries.length);
      for (const entry of message.entries) w.entry(entry);
      break;
    case "appendResponse":
      w.counter(message.term);
      w.counter(message.session);
      w.counter(message.index);
      w.flag(message.rejected);
      w.counter(message.hintIndex);
      w.counter(message.hintTerm);
      break;
    case "heartbeat":
      w.counter(message.term);
      w.counter(message.commit);
      w.counter(message.readPosition);
      break;
    case "heartbeatResponse":
      w.counter(message.term);
      w.counter(message.readPosition);
      break;
    case "installSnapshot":
      w.counter(message.term);
      w.counter(message.index);
      w.counter(message.snapshotTerm);
      w.counter(message.session);
      w.confState(message.conf);
      break;
    case "timeoutNow":
      w.counter(message.term);
      w.counter(message.lastIndex);
      w.counter(message.lastTerm);
      break;
    case "forwardPropose":
      w.u32(message.proposals.length);
      for (const { ref, kind, data } of message.proposals) {
        w.counter(ref);
        w.u8(ENTRY_KINDS.indexOf(kind));
        w.blob(data);
      }
      break;
    case "proposeRefused":
      w.u8(REASONS.indexOf(message.reason));
      w.u32(message.refs.length);
      for (const ref of message.refs) w.counter(ref);
      break;
    case "forwardRead":
      w.counter(message.ref);
      break;
    case "readResponse":
      w.counter(message.ref);
      w.flag(message.index !== undefined);
      if (message.index !== undefined) w.counter(message.index);
  }
  return w.bytes;
}

/**
 * Keeps nothing of `bytes`. The entries of one message are views of one copy: they stand together in the log and leave it
 * together, and one allocation costs less than one for each.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const r = new Reader(HAS_BLOBS.has(KINDS[bytes[1] ?? 0]!) ? copied(bytes) : bytes);
  r.version();
  const message = readMessage(r, r.of(KINDS, "message kind"));
  r.end();
  const fault = messageFault(message);
  if (fault !== undefined) throw new RangeError(`${message.kind}: ${fault}`);
  return message;
}

function readMessage(r: Reader, kind: Message["kind"]): Message {
  switch (kind) {
    case "requestVote":
    case "requestPreVote": {
      const term = r.messageTerm();
      const lastIndex = r.index();
      const lastTerm = r.term();
      const transfer = r.flag();
      return { kind, term, lastIndex, lastTerm, transfer, commit: r.index(), commitTerm: r.term() };
    }
    case "voteResponse":
    case "preVoteResponse":
      return { kind, term: r.messageTerm(), granted: r.flag(), commit: r.index(), commitTerm: r.term() };
    case "append": {
      const term = r.messageTerm();
      const prevIndex = r.index();
      const prevTerm = r.term();
      const commit = r.index();
      const session = r.counter();
      const entries: Entry[] = [];
      for (let left = r.count(ENTRY_HEADER); left > 0; left--) entries.push(r.entry());
      return { kind, term, prevIndex, prevTerm, entries, commit, session };
    }
    case "appendResponse": {
      const term = r.messageTerm();
      const session = r.counter();
      const index = r.index();
      return { kind, term, session, index, rejected: r.flag(), hintIndex: r.index(), hintTerm: r.term() };
    }
    case "heartbeat":
      return { kind, term: r.messageTerm(), commit: r.index(), readPosition: r.counter() };
    case "heartbeatResponse":
      return { kind, term: r.messageTerm(), readPosition: r.counter() };
    case "installSnapshot": {
      const term = r.messageTerm();
      const index = r.index();
      const snapshotTerm = r.term();
      const session = r.counter();
      return { kind, term, index, snapshotTerm, conf: r.confState(), session };
    }
    case "timeoutNow":
      return { kind, term: r.messageTerm(), lastIndex: r.index(), lastTerm: r.term() };
    case "forwardPropose": {
      const proposals: { ref: number; kind: EntryKind; data: Uint8Array }[] = [];
      for (let left = r.count(PROPOSAL_HEADER); left > 0; left--) {
        proposals.push({ ref: r.counter(), kind: r.of(ENTRY_KINDS, "entry kind"), data: r.blob() });
      }
      return { kind, proposals };
    }
    case "proposeRefused": {
      const reason = r.of(REASONS, "reason");
      const refs: number[] = [];
      for (let left = r.count(8); left > 0; left--) refs.push(r.counter());
      return { kind, refs, reason };
    }
    case "forwardRead":
      return { kind, ref: r.counter() };
    case "readResponse":
      return { kind, ref: r.counter(), index: r.flag() ? r.index() : undefined };
  }
}

/** J7: what no correct member can have sent, whatever its state. */
export function messageFault(message: Message): string | undefined {
  switch (message.kind) {
    case "append":
      return appendFault(message.term, message.prevIndex, message.prevTerm, message.entries);
    case "requestVote":
    case "requestPreVote":
      if (message.lastTerm >= message.term) return "the last entry is of the term to be won or later";
      if (message.commit > message.lastIndex) return "committed beyond its last entry";
      return message.commitTerm > message.lastTerm ? "committed in a later term than its last entry's" : undefined;
    case "voteResponse":
    case "preVoteResponse":
      return message.commitTerm > message.term ? "committed in a later term" : undefined;
    case "timeoutNow":
      return message.lastTerm > message.term ? "the last entry is of a later term" : undefined;
    case "installSnapshot":
      if (message.index === 0 || message.snapshotTerm === 0) return "an empty snapshot";
      if (message.snapshotTerm > message.term) return "the snapshot is of a later term";
      return confFault(message.conf);
    default:
      return undefined;
  }
}

function appendFault(term: number, prevIndex: number, prevTerm: number, entries: readonly Entry[]): string | undefined {
  if ((prevIndex === 0) !== (prevTerm === 0)) return "index 0 and term 0 belong together";
  let index = prevIndex;
  let at = prevTerm;
  for (const entry of entries) {
    index += 1;
    if (entry.index !== index) return `entry ${entry.index} where ${index} was due`;
    if (entry.term < at) return `term ${entry.term} after ${at}`;
    at = entry.term;
  }
  return at > term ? `an entry of term ${at}, a message of ${term}` : undefined;
}

export function encodeEntry(entry: Entry): Uint8Array {
  const w = new Writer(ENTRY_HEADER + entry.data.length);
  w.entry(entry);
  return w.bytes;
}

export function decodeEntry(bytes: Uint8Array): Entry {
  const r = new Reader(copied(bytes));
  const entry = r.entry();
  r.end();
  return entry;
}

/** A run of entries with its count in front. The order is the reader's to judge: a log on disk may begin anywhere. */
export function encodeEntries(entries: readonly Entry[]): Uint8Array {
  let size = 4;
  for (const entry of entries) size += ENTRY_HEADER + entry.data.length;
  const w = new Writer(size);
  w.u32(entries.length);
  for (const entry of entries) w.entry(entry);
  return w.bytes;
}

export function decodeEntries(bytes: Uint8Array): Entry[] {
  const r = new Reader(copied(bytes));
  const entries: Entry[] = [];
  for (let left = r.count(ENTRY_HEADER); left > 0; left--) entries.push(r.entry());
  r.end();
  return entries;
}

export function encodeConfChange(change: ConfChange): Uint8Array {
  const w = new Writer(2 + 4 + 9 * change.steps.length + 4 + change.context.length);
  w.u8(VERSION);
  w.u8(TRANSITIONS.indexOf(change.transition));
  w.u32(change.steps.length);
  for (const { action, id } of change.steps) {
    w.u8(ACTIONS.indexOf(action));
    w.id(id);
  }
  w.blob(change.context);
  return w.bytes;
}

export function decodeConfChange(bytes: Uint8Array): ConfChange {
  const r = new Reader(copied(bytes));
  r.version();
  const transition = r.of(TRANSITIONS, "transition");
  const steps: ConfChangeStep[] = [];
  for (let left = r.count(9); left > 0; left--) steps.push({ action: r.of(ACTIONS, "action"), id: r.id() });
  const context = r.blob();
  r.end();
  return { steps, transition, context };
}

export function encodeConfState(conf: ConfState): Uint8Array {
  const w = new Writer(1 + confStateSize(conf));
  w.u8(VERSION);
  w.confState(conf);
  return w.bytes;
}

export function decodeConfState(bytes: Uint8Array): ConfState {
  const r = new Reader(bytes);
  r.version();
  const conf = r.confState();
  r.end();
  return conf;
}
