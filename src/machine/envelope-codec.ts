/**
 * The bytes of an envelope: what a log entry holds (docs/file-format.md). Laid out by hand, for every write passes here
 * and is encoded once, in one allocation. Integers are big endian; lengths are 4 bytes.
 *
 *    version 1 | command 1 | flags 1 | proposer 8 | incarnation 8 | ref 8
 *    [client id 8 | sequence 8 | lowest unacknowledged 8]  flag 1
 *    body of the command
 *
 * Decoding trusts nothing: `FORMAT_TOO_NEW` on a version, command or operation that is not known, `RangeError` on
 * whatever else is malformed. Keys and values are views of the entry's bytes, which never change.
 */
import { Reader, Writer } from "../base/binary.ts";
import { encodeUtf8 } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, term } from "../base/ids.ts";
import type { Slab } from "../base/slab.ts";
import {
  type AlarmType,
  type Compare,
  type CompareResult,
  type DeleteRangeRequest,
  type PutRequest,
  type RangeRequest,
  type RequestOp,
  type SortOrder,
  type SortTarget,
  TXN_DEPTH_MAX,
  type TxnRequest,
} from "../protocol/requests.ts";
import type { AlarmCommand, Command, Envelope } from "./command.ts";

const VERSION = 1;

/** Numbers on disk and on the wire: append only. */
const COMMANDS = {
  put: 1,
  deleteRange: 2,
  txn: 3,
  range: 4,
  compact: 5,
  memberAdd: 6,
  memberRemove: 7,
  memberUpdate: 8,
  memberPromote: 9,
  memberPublish: 10,
  leaseGrant: 11,
  leaseRevoke: 12,
  leaseCheckpoint: 13,
  alarm: 20,
  clientRegister: 14,
  clientExpire: 15,
} as const satisfies Record<Command["kind"] | "range", number>;

const SORT_ORDERS: readonly SortOrder[] = ["none", "ascend", "descend"];
const SORT_TARGETS: readonly SortTarget[] = ["key", "version", "create", "mod", "value"];
const COMPARE_RESULTS: readonly CompareResult[] = ["equal", "greater", "less", "notEqual"];
const COMPARE_TARGETS: readonly Compare["target"][] = ["version", "create", "mod", "value", "lease"];
const ALARM_ACTIONS: readonly AlarmCommand["action"][] = ["activate", "deactivate"];
const ALARM_TYPES: readonly AlarmType[] = ["nospace", "corrupt"];

const HAS_CLIENT = 1;

/** Throws `RangeError` if a number in it is none that the format can hold; the router's checks leave none such. */
export function encodeEnvelope(envelope: Envelope, slab?: Slab): Uint8Array {
  const { command } = envelope;
  const hasClient = envelope.clientId !== 0 || envelope.sequence !== 0 || envelope.lowestUnacknowledged !== 0;
  const texts: Uint8Array[] = [];
  const size = 27 + (hasClient ? 24 : 0) + sizeOfCommand(command, texts);
  const writer = new Writer(slab === undefined ? new Uint8Array(size) : slab.cut(size));
  writer.u8(VERSION);
  writer.u8(COMMANDS[command.kind]);
  writer.u8(hasClient ? HAS_CLIENT : 0);
  writer.u64(envelope.proposer);
  writer.counter(envelope.incarnation);
  writer.counter(envelope.ref);
  if (hasClient) {
    writer.counter(envelope.clientId);
    writer.counter(envelope.sequence);
    writer.counter(envelope.lowestUnacknowledged);
  }
  writeCommand(writer, command, texts);
  return writer.finish();
}

export function decodeEnvelope(bytes: Uint8Array): Envelope {
  const reader = new Reader(bytes);
  const version = reader.u8();
  if (version !== VERSION) throw tooNew("version", version);
  const command = reader.u8();
  const flags = reader.flags(HAS_CLIENT);
  const proposer = reader.member();
  const incarnation = reader.counter();
  const ref = reader.counter();
  const hasClient = (flags & HAS_CLIENT) !== 0;
  const envelope: Envelope = {
    proposer,
    incarnation,
    ref,
    clientId: hasClient ? reader.counter() : 0,
    sequence: hasClient ? reader.counter() : 0,
    lowestUnacknowledged: hasClient ? reader.counter() : 0,
    command: readCommand(reader, command),
  };
  reader.end();
  return envelope;
}

// --- commands ---

const REVOKE_HAS_TERM = 1;

function sizeOfCommand(command: Command, texts: Uint8Array[]): number {
  switch (command.kind) {
    case "put":
      return sizeOfPut(command);
    case "deleteRange":
      return sizeOfDeleteRange(command);
    case "txn":
      return sizeOfTxn(command, 1);
    case "compact":
      return 9;
    case "leaseGrant":
      return 16;
    case "leaseRevoke":
      return 9 + (command.term === undefined ? 0 : 8);
    case "leaseCheckpoint":
      return 12 + 16 * command.checkpoints.length;
    case "alarm":
      return 10;
    case "clientRegister":
      return 0;
    case "clientExpire":
      return 12 + 16 * command.clients.length;
    case "memberAdd":
      return (
        9 +
        sizeOfTexts([command.name], texts) +
        sizeOfTexts(command.peerUrls, texts) +
        sizeOfTexts(command.clientUrls, texts)
      );
    case "memberUpdate":
      return 8 + sizeOfTexts(command.peerUrls, texts);
    case "memberPublish":
      return 8 + sizeOfTexts([command.name], texts) + sizeOfTexts(command.clientUrls, texts);
    case "memberRemove":
    case "memberPromote":
      return 8;
  }
}

function writeCommand(writer: Writer, command: Command, texts: Uint8Array[]): void {
  switch (command.kind) {
    case "put":
      writePut(writer, command);
      return;
    case "deleteRange":
      writeDeleteRange(writer, command);
      return;
    case "txn":
      writeTxn(writer, command);
      return;
    case "compact":
      writer.flag(command.physical === true);
      writer.integer(command.revision);
      return;
    case "leaseGrant":
      writer.i64(command.id);
      writer.integer(command.ttl);
      return;
    case "leaseRevoke":
      writer.u8(command.term === undefined ? 0 : REVOKE_HAS_TERM);
      writer.i64(command.id);
      if (command.term !== undefined) writer.counter(command.term);
      return;
    case "leaseCheckpoint":
      writer.counter(command.term);
      writer.u32(command.checkpoints.length);
      for (const { id, remainingTtl } of command.checkpoints) {
        writer.i64(id);
        writer.integer(remainingTtl);
      }
      return;
    case "alarm":
      writer.choice(ALARM_ACTIONS, command.action);
      writer.choice(ALARM_TYPES, command.alarm);
      writer.u64(command.member);
      return;
    case "clientRegister":
      return;
    case "clientExpire":
      writer.counter(command.term);
      writer.u32(command.clients.length);
      for (const { id, lastSequence } of command.clients) {
        writer.counter(id);
        writer.counter(lastSequence);
      }
      return;
    case "memberAdd":
      writer.flag(command.isLearner);
      writer.u64(command.id);
      writeTexts(writer, texts, 1);
      writeTexts(writer, texts, command.peerUrls.length);
      writeTexts(writer, texts, command.clientUrls.length);
      return;
    case "memberUpdate":
      writer.u64(command.id);
      writeTexts(writer, texts, command.peerUrls.length);
      return;
    case "memberPublish":
      writer.u64(command.id);
      writeTexts(writer, texts, 1);
      writeTexts(writer, texts, command.clientUrls.length);
      return;
    case "memberRemove":
    case "memberPromote":
      writer.u64(command.id);
      return;
  }
}

function readCommand(reader: Reader, command: number): Command {
  switch (command) {
    case COMMANDS.put:
      return readPut(reader);
    case COMMANDS.deleteRange:
      return readDeleteRange(reader);
    case COMMANDS.txn:
      return readTxn(reader, 1);
    case COMMANDS.compact: {
      const physical = reader.flag();
      return { kind: "compact", revision: reader.integer(), physical };
    }
    case COMMANDS.leaseGrant:
      return { kind: "leaseGrant", id: reader.lease(), ttl: reader.integer() };
    case COMMANDS.leaseRevoke: {
      const flags = reader.flags(REVOKE_HAS_TERM);
      const id = reader.lease();
      return { kind: "leaseRevoke", id, term: flags & REVOKE_HAS_TERM ? term(reader.counter()) : undefined };
    }
    case COMMANDS.leaseCheckpoint: {
      const at = term(reader.counter());
      const count = reader.count(16);
      const checkpoints: { id: LeaseId; remainingTtl: number }[] = [];
      for (let i = 0; i < count; i++) checkpoints.push({ id: reader.lease(), remainingTtl: reader.integer() });
      return { kind: "leaseCheckpoint", term: at, checkpoints };
    }
    case COMMANDS.alarm: {
      const action = reader.choice(ALARM_ACTIONS, "alarm action");
      const alarm = reader.choice(ALARM_TYPES, "alarm");
      return { kind: "alarm", action, member: reader.member(), alarm };
    }
    case COMMANDS.clientRegister:
      return { kind: "clientRegister" };
    case COMMANDS.clientExpire: {
      const at = term(reader.counter());
      const count = reader.count(16);
      const clients: { id: number; lastSequence: number }[] = [];
      for (let i = 0; i < count; i++) clients.push({ id: reader.counter(), lastSequence: reader.counter() });
      return { kind: "clientExpire", term: at, clients };
    }
    case COMMANDS.memberAdd: {
      const isLearner = reader.flag();
      const id = reader.member();
      const name = readText(reader);
      return { kind: "memberAdd", id, name, peerUrls: reader.texts(), clientUrls: reader.texts(), isLearner };
    }
    case COMMANDS.memberRemove:
      return { kind: "memberRemove", id: reader.member() };
    case COMMANDS.memberUpdate:
      return { kind: "memberUpdate", id: reader.member(), peerUrls: reader.texts() };
    case COMMANDS.memberPromote:
      return { kind: "memberPromote", id: reader.member() };
    case COMMANDS.memberPublish: {
      const id = reader.member();
      return { kind: "memberPublish", id, name: readText(reader), clientUrls: reader.texts() };
    }
    default:
      throw tooNew("command", command);
  }
}

// --- put: flags 1 | [lease 8] | key | value ---

const PUT_PREV_KV = 1;
const PUT_IGNORE_VALUE = 2;
const PUT_IGNORE_LEASE = 4;
const PUT_HAS_LEASE = 8;

function sizeOfPut(put: PutRequest): number {
  return 9 + (put.lease === undefined ? 0 : 8) + put.key.length + put.value.length;
}

function writePut(writer: Writer, put: PutRequest): void {
  writer.u8(
    (put.prevKv ? PUT_PREV_KV : 0) |
      (put.ignoreValue ? PUT_IGNORE_VALUE : 0) |
      (put.ignoreLease ? PUT_IGNORE_LEASE : 0) |
      (put.lease === undefined ? 0 : PUT_HAS_LEASE),
  );
  if (put.lease !== undefined) writer.i64(put.lease);
  writer.bytes(put.key);
  writer.bytes(put.value);
}

function readPut(reader: Reader): PutRequest {
  const flags = reader.flags(15);
  const lease = flags & PUT_HAS_LEASE ? reader.lease() : undefined;
  const key = reader.bytes();
  const value = reader.bytes();
  return {
    kind: "put",
    key,
    value,
    lease,
    prevKv: (flags & PUT_PREV_KV) !== 0,
    ignoreValue: (flags & PUT_IGNORE_VALUE) !== 0,
    ignoreLease: (flags & PUT_IGNORE_LEASE) !== 0,
  };
}

// --- deleteRange: flags 1 | key | [range end] ---

const DELETE_PREV_KV = 1;
const DELETE_HAS_END = 2;

function sizeOfDeleteRange(request: DeleteRangeRequest): number {
  return 5 + request.key.length + sizeOfEnd(request.rangeEnd);
}

function writeDeleteRange(writer: Writer, request: DeleteRangeRequest): void {
  const { rangeEnd } = request;
  writer.u8((request.prevKv ? DELETE_PREV_KV : 0) | (rangeEnd === undefined ? 0 : DELETE_HAS_END));
  writer.bytes(request.key);
  if (rangeEnd !== undefined) writer.bytes(rangeEnd);
}

function readDeleteRange(reader: Reader): DeleteRangeRequest {
  const flags = reader.flags(3);
  const key = reader.bytes();
  const rangeEnd = flags & DELETE_HAS_END ? reader.bytes() : undefined;
  return { kind: "deleteRange", key, rangeEnd, prevKv: (flags & DELETE_PREV_KV) !== 0 };
}

function sizeOfEnd(rangeEnd: Uint8Array | undefined): number {
  return rangeEnd === undefined ? 0 : 4 + rangeEnd.length;
}

// --- range: flags 2 | order 1 | target 1 | key | [range end] | the numbers that are set, in this order ---

const RANGE_SERIALIZABLE = 1;
const RANGE_KEYS_ONLY = 2;
const RANGE_COUNT_ONLY = 4;
const RANGE_HAS_END = 8;
const RANGE_NUMBERS = [
  "limit",
  "revision",
  "minModRevision",
  "maxModRevision",
  "minCreateRevision",
  "maxCreateRevision",
] as const;
/** Flags of the numbers follow the four above. */
const RANGE_FIRST_NUMBER = 4;

function sizeOfRange(range: RangeRequest): number {
  let size = 8 + range.key.length + sizeOfEnd(range.rangeEnd);
  for (const name of RANGE_NUMBERS) if (range[name] !== undefined) size += 8;
  return size;
}

function writeRange(writer: Writer, range: RangeRequest): void {
  let flags =
    (range.serializable ? RANGE_SERIALIZABLE : 0) |
    (range.keysOnly ? RANGE_KEYS_ONLY : 0) |
    (range.countOnly ? RANGE_COUNT_ONLY : 0) |
    (range.rangeEnd === undefined ? 0 : RANGE_HAS_END);
  RANGE_NUMBERS.forEach((name, i) => {
    if (range[name] !== undefined) flags |= 1 << (RANGE_FIRST_NUMBER + i);
  });
  writer.u16(flags);
  writer.choice(SORT_ORDERS, range.sortOrder ?? "none");
  writer.choice(SORT_TARGETS, range.sortTarget ?? "key");
  writer.bytes(range.key);
  if (range.rangeEnd !== undefined) writer.bytes(range.rangeEnd);
  for (const name of RANGE_NUMBERS) {
    const value = range[name];
    if (value !== undefined) writer.integer(value);
  }
}

function readRange(reader: Reader): RangeRequest {
  const flags = reader.u16();
  if (flags >= 1 << (RANGE_FIRST_NUMBER + RANGE_NUMBERS.length)) throw new RangeError("unknown flags");
  const sortOrder = reader.choice(SORT_ORDERS, "sort order");
  const sortTarget = reader.choice(SORT_TARGETS, "sort target");
  const key = reader.bytes();
  const rangeEnd = flags & RANGE_HAS_END ? reader.bytes() : undefined;
  const number = (i: number): number | undefined =>
    flags & (1 << (RANGE_FIRST_NUMBER + i)) ? reader.integer() : undefined;
  return {
    kind: "range",
    key,
    rangeEnd,
    limit: number(0),
    revision: number(1),
    sortOrder,
    sortTarget,
    serializable: (flags & RANGE_SERIALIZABLE) !== 0,
    keysOnly: (flags & RANGE_KEYS_ONLY) !== 0,
    countOnly: (flags & RANGE_COUNT_ONLY) !== 0,
    minModRevision: number(2),
    maxModRevision: number(3),
    minCreateRevision: number(4),
    maxCreateRevision: number(5),
  };
}

// --- txn: three counts of 4 | compares | success | failure; each operation behind its command number ---

function sizeOfTxn(txn: TxnRequest, depth: number): number {
  if (depth > TXN_DEPTH_MAX) throw new RangeError("transactions nested too deep");
  let size = 12;
  for (const compare of txn.compare) size += sizeOfCompare(compare);
  for (const op of txn.success) size += sizeOfOp(op, depth);
  for (const op of txn.failure) size += sizeOfOp(op, depth);
  return size;
}

function writeTxn(writer: Writer, txn: TxnRequest): void {
  writer.u32(txn.compare.length);
  writer.u32(txn.success.length);
  writer.u32(txn.failure.length);
  for (const compare of txn.compare) writeCompare(writer, compare);
  for (const op of txn.success) writeOp(writer, op);
  for (const op of txn.failure) writeOp(writer, op);
}

function readTxn(reader: Reader, depth: number): TxnRequest {
  if (depth > TXN_DEPTH_MAX) throw new RangeError("transactions nested too deep");
  const compares = reader.u32();
  const successes = reader.u32();
  const failures = reader.u32();
  // Each takes more than one byte: a count beyond what is left would only make this allocate.
  if (compares + successes + failures > reader.left) throw new RangeError("the counts exceed the bytes");
  const compare: Compare[] = [];
  const success: RequestOp[] = [];
  const failure: RequestOp[] = [];
  for (let i = 0; i < compares; i++) compare.push(readCompare(reader));
  for (let i = 0; i < successes; i++) success.push(readOp(reader, depth));
  for (let i = 0; i < failures; i++) failure.push(readOp(reader, depth));
  return { kind: "txn", compare, success, failure };
}

function sizeOfOp(op: RequestOp, depth: number): number {
  switch (op.kind) {
    case "range":
      return 1 + sizeOfRange(op);
    case "put":
      return 1 + sizeOfPut(op);
    case "deleteRange":
      return 1 + sizeOfDeleteRange(op);
    case "txn":
      return 1 + sizeOfTxn(op, depth + 1);
  }
}

function writeOp(writer: Writer, op: RequestOp): void {
  writer.u8(COMMANDS[op.kind]);
  switch (op.kind) {
    case "range":
      writeRange(writer, op);
      return;
    case "put":
      writePut(writer, op);
      return;
    case "deleteRange":
      writeDeleteRange(writer, op);
      return;
    case "txn":
      writeTxn(writer, op);
      return;
  }
}

function readOp(reader: Reader, depth: number): RequestOp {
  const kind = reader.u8();
  switch (kind) {
    case COMMANDS.range:
      return readRange(reader);
    case COMMANDS.put:
      return readPut(reader);
    case COMMANDS.deleteRange:
      return readDeleteRange(reader);
    case COMMANDS.txn:
      return readTxn(reader, depth + 1);
    default:
      throw tooNew("operation", kind);
  }
}

// --- compare: flags 1 | result 1 | target 1 | key | [range end] | what the target is compared with ---

const COMPARE_HAS_END = 1;

function sizeOfCompare(compare: Compare): number {
  const operand = compare.target === "value" ? 4 + compare.value.length : 8;
  return 7 + compare.key.length + sizeOfEnd(compare.rangeEnd) + operand;
}

function writeCompare(writer: Writer, compare: Compare): void {
  writer.u8(compare.rangeEnd === undefined ? 0 : COMPARE_HAS_END);
  writer.choice(COMPARE_RESULTS, compare.result);
  writer.choice(COMPARE_TARGETS, compare.target);
  writer.bytes(compare.key);
  if (compare.rangeEnd !== undefined) writer.bytes(compare.rangeEnd);
  switch (compare.target) {
    case "version":
      writer.integer(compare.version);
      return;
    case "create":
      writer.integer(compare.createRevision);
      return;
    case "mod":
      writer.integer(compare.modRevision);
      return;
    case "value":
      writer.bytes(compare.value);
      return;
    case "lease":
      writer.i64(compare.lease);
      return;
  }
}

function readCompare(reader: Reader): Compare {
  const flags = reader.flags(COMPARE_HAS_END);
  const result = reader.choice(COMPARE_RESULTS, "compare");
  const target = reader.choice(COMPARE_TARGETS, "compare target");
  const key = reader.bytes();
  const rangeEnd = flags & COMPARE_HAS_END ? reader.bytes() : undefined;
  const common = { key, rangeEnd, result };
  switch (target) {
    case "version":
      return { ...common, target, version: reader.integer() };
    case "create":
      return { ...common, target, createRevision: reader.integer() };
    case "mod":
      return { ...common, target, modRevision: reader.integer() };
    case "value":
      return { ...common, target, value: reader.bytes() };
    case "lease":
      return { ...common, target, lease: reader.lease() };
  }
}

function tooNew(what: string, format: number): StoreError {
  return new StoreError("FORMAT_TOO_NEW", {
    message: `quorate: an entry of the log has ${what} ${format}, which this version does not know`,
    details: { format },
  });
}

// --- texts ---

/** `texts` collects the encoded forms, so that each is encoded once. */
function sizeOfTexts(list: readonly string[], texts: Uint8Array[]): number {
  let size = 4;
  for (const text of list) {
    const bytes = encodeUtf8(text);
    texts.push(bytes);
    size += 4 + bytes.length;
  }
  return size;
}

/** The next `count` of `texts`, behind their number. */
function writeTexts(writer: Writer, texts: Uint8Array[], count: number): void {
  writer.u32(count);
  for (const text of texts.splice(0, count)) writer.bytes(text);
}

/** A list of exactly one. */
function readText(reader: Reader): string {
  const [text, ...more] = reader.texts();
  if (text === undefined || more.length > 0) throw new RangeError("not one text");
  return text;
}
