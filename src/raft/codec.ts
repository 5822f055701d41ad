/**
 * Messages, entries and configurations as bytes, laid by hand: the hot path pays for no generic decoding. Everything
 * arriving from outside is checked here before any state sees it (J7); what does not fit throws a `RangeError`.
 * Counters are unsigned 64 bit, big endian. The numbers in the tables below are the wire's: append only.
 */
import { Reader, Writer } from "../base/binary.ts";
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

function writeEntry(w: Writer, entry: Entry): void {
  w.choice(ENTRY_KINDS, entry.kind);
  w.counter(entry.term);
  w.counter(entry.index);
  w.bytes(entry.data);
}

function readEntry(r: Reader): Entry {
  const kind = r.choice(ENTRY_KINDS, "entry kind");
  const term = readTerm(r);
  const index = readIndex(r);
  if (term === 0 || index === 0) throw new RangeError(`an entry at index ${index} of term ${term}`);
  return { term, index, kind, data: r.bytes() };
}

function readTerm(r: Reader): Term {
  return r.counter() as Term;
}

/** Of a message that carries one: no election has term 0. */
function readMessageTerm(r: Reader): Term {
  const term = readTerm(r);
  if (term === 0) throw new RangeError("a message of term 0");
  // Whoever adopted it could never campaign again.
  if (term === Number.MAX_SAFE_INTEGER) throw new RangeError("a message of the last term");
  return term;
}

function readIndex(r: Reader): LogIndex {
  return r.counter() as LogIndex;
}

function writeIds(w: Writer, ids: readonly MemberId[]): void {
  w.u32(ids.length);
  for (const id of ids) w.u64(id);
}

function readIds(r: Reader): MemberId[] {
  const ids: MemberId[] = [];
  for (let left = r.count(8); left > 0; left--) ids.push(r.member());
  return ids;
}

function writeConfState(w: Writer, conf: ConfState): void {
  writeIds(w, conf.voters);
  writeIds(w, conf.votersOutgoing);
  writeIds(w, conf.learners);
  writeIds(w, conf.learnersNext);
  w.flag(conf.autoLeave);
}

function readConfState(r: Reader): ConfState {
  const conf = {
    voters: readIds(r),
    votersOutgoing: readIds(r),
    learners: readIds(r),
    learnersNext: readIds(r),
    autoLeave: r.flag(),
  };
  const fault = confFault(conf);
  if (fault !== undefined) throw new RangeError(`configuration: ${fault}`);
  return conf;
}

function readVersion(r: Reader): void {
  const version = r.u8();
  if (version !== VERSION) throw new RangeError(`unknown version: ${version}`);
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
  const w = new Writer(new Uint8Array(2 + sizeOf(message)));
  w.u8(VERSION);
  w.choice(KINDS, message.kind);
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
      for (const entry of message.entries) writeEntry(w, entry);
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
      writeConfState(w, message.conf);
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
        w.choice(ENTRY_KINDS, kind);
        w.bytes(data);
      }
      break;
    case "proposeRefused":
      w.choice(REASONS, message.reason);
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
  return w.finish();
}

/**
 * Keeps nothing of `bytes`. The entries of one message are views of one copy: they stand together in the log and leave it
 * together, and one allocation costs less than one for each.
 */
export function decodeMessage(bytes: Uint8Array): Message {
  const r = new Reader(HAS_BLOBS.has(KINDS[bytes[1] ?? 0]!) ? copied(bytes) : bytes);
  readVersion(r);
  const message = readMessage(r, r.choice(KINDS, "message kind"));
  r.end();
  const fault = messageFault(message);
  if (fault !== undefined) throw new RangeError(`${message.kind}: ${fault}`);
  return message;
}

function readMessage(r: Reader, kind: Message["kind"]): Message {
  switch (kind) {
    case "requestVote":
    case "requestPreVote": {
      const term = readMessageTerm(r);
      const lastIndex = readIndex(r);
      const lastTerm = readTerm(r);
      const transfer = r.flag();
      return { kind, term, lastIndex, lastTerm, transfer, commit: readIndex(r), commitTerm: readTerm(r) };
    }
    case "voteResponse":
    case "preVoteResponse":
      return { kind, term: readMessageTerm(r), granted: r.flag(), commit: readIndex(r), commitTerm: readTerm(r) };
    case "append": {
      const term = readMessageTerm(r);
      const prevIndex = readIndex(r);
      const prevTerm = readTerm(r);
      const commit = readIndex(r);
      const session = r.counter();
      const entries: Entry[] = [];
      for (let left = r.count(ENTRY_HEADER); left > 0; left--) entries.push(readEntry(r));
      return { kind, term, prevIndex, prevTerm, entries, commit, session };
    }
    case "appendResponse": {
      const term = readMessageTerm(r);
      const session = r.counter();
      const index = readIndex(r);
      return { kind, term, session, index, rejected: r.flag(), hintIndex: readIndex(r), hintTerm: readTerm(r) };
    }
    case "heartbeat":
      return { kind, term: readMessageTerm(r), commit: readIndex(r), readPosition: r.counter() };
    case "heartbeatResponse":
      return { kind, term: readMessageTerm(r), readPosition: r.counter() };
    case "installSnapshot": {
      const term = readMessageTerm(r);
      const index = readIndex(r);
      const snapshotTerm = readTerm(r);
      const session = r.counter();
      return { kind, term, index, snapshotTerm, conf: readConfState(r), session };
    }
    case "timeoutNow":
      return { kind, term: readMessageTerm(r), lastIndex: readIndex(r), lastTerm: readTerm(r) };
    case "forwardPropose": {
      const proposals: { ref: number; kind: EntryKind; data: Uint8Array }[] = [];
      for (let left = r.count(PROPOSAL_HEADER); left > 0; left--) {
        proposals.push({ ref: r.counter(), kind: r.choice(ENTRY_KINDS, "entry kind"), data: r.bytes() });
      }
      return { kind, proposals };
    }
    case "proposeRefused": {
      const reason = r.choice(REASONS, "reason");
      const refs: number[] = [];
      for (let left = r.count(8); left > 0; left--) refs.push(r.counter());
      return { kind, refs, reason };
    }
    case "forwardRead":
      return { kind, ref: r.counter() };
    case "readResponse":
      return { kind, ref: r.counter(), index: r.flag() ? readIndex(r) : undefined };
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
  const w = new Writer(new Uint8Array(ENTRY_HEADER + entry.data.length));
  writeEntry(w, entry);
  return w.finish();
}

export function decodeEntry(bytes: Uint8Array): Entry {
  const r = new Reader(copied(bytes));
  const entry = readEntry(r);
  r.end();
  return entry;
}

/** A run of entries with its count in front. The order is the reader's to judge: a log on disk may begin anywhere. */
export function encodeEntries(entries: readonly Entry[]): Uint8Array {
  let size = 4;
  for (const entry of entries) size += ENTRY_HEADER + entry.data.length;
  const w = new Writer(new Uint8Array(size));
  w.u32(entries.length);
  for (const entry of entries) writeEntry(w, entry);
  return w.finish();
}

export function decodeEntries(bytes: Uint8Array): Entry[] {
  const r = new Reader(copied(bytes));
  const entries: Entry[] = [];
  for (let left = r.count(ENTRY_HEADER); left > 0; left--) entries.push(readEntry(r));
  r.end();
  return entries;
}

export function encodeConfChange(change: ConfChange): Uint8Array {
  const w = new Writer(new Uint8Array(2 + 4 + 9 * change.steps.length + 4 + change.context.length));
  w.u8(VERSION);
  w.choice(TRANSITIONS, change.transition);
  w.u32(change.steps.length);
  for (const { action, id } of change.steps) {
    w.choice(ACTIONS, action);
    w.u64(id);
  }
  w.bytes(change.context);
  return w.finish();
}

export function decodeConfChange(bytes: Uint8Array): ConfChange {
  const r = new Reader(copied(bytes));
  readVersion(r);
  const transition = r.choice(TRANSITIONS, "transition");
  const steps: ConfChangeStep[] = [];
  for (let left = r.count(9); left > 0; left--) steps.push({ action: r.choice(ACTIONS, "action"), id: r.member() });
  const context = r.bytes();
  r.end();
  return { steps, transition, context };
}

export function encodeConfState(conf: ConfState): Uint8Array {
  const w = new Writer(new Uint8Array(1 + confStateSize(conf)));
  w.u8(VERSION);
  writeConfState(w, conf);
  return w.finish();
}

export function decodeConfState(bytes: Uint8Array): ConfState {
  const r = new Reader(bytes);
  readVersion(r);
  const conf = readConfState(r);
  r.end();
  return conf;
}
