/**
 * The bytes of requests, responses, errors and the clients' handshake: positional msgpack arrays. Numbers on the wire
 * stand in one table, pinned by golden bytes (test/golden/protocol.txt): append only.
 *
 * Decoding trusts nothing. A scan first proves that the bytes are one msgpack value made of arrays, numbers, texts, byte
 * strings, booleans and nil, nested no deeper than a legal request: maps, records and extensions, which the library would
 * otherwise decode, never reach it. Then each field is checked for its type and range. Keys and values are copies: they
 * outlive the frame they came in.
 */
import { Packr } from "msgpackr";
import { EMPTY } from "../base/bytes.ts";
import { type ErrorCode, type ErrorDetails, FAILURES, type Outcome, StoreError } from "../base/errors.ts";
import { type ClusterId, clusterId, leaseId, type MemberId, memberId, NO_LEASE, revision, term } from "../base/ids.ts";
import type { KeyValue, Member, ResponseHeader } from "./key-value.ts";
import type {
  AlarmRequest,
  AlarmType,
  Compare,
  CompareResult,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  Request,
  RequestOp,
  SnapshotRequest,
  SortOrder,
  SortTarget,
  TxnRequest,
} from "./requests.ts";
import type {
  Alarm,
  DeleteRangeResult,
  MembersResult,
  OpResult,
  PutResult,
  RangeResult,
  Response,
  Result,
  StatusResult,
  TxnResult,
} from "./responses.ts";

import type { WatchCreate, WatchEvent, WatchRequest, WatchResponse } from "./watch.ts";

/** What client and server must agree on. A change that an older side could misread takes a new number. */
export const PROTOCOL_VERSION = 1;

type WatchFlag = "noPut" | "noDelete" | "prevKv" | "progressNotify" | "fragment";

interface WireNumbers {
  readonly request: Readonly<Record<Request["kind"], number>>;
  readonly result: Readonly<Record<Result["kind"], number>>;
  readonly sortOrder: Readonly<Record<SortOrder, number>>;
  readonly sortTarget: Readonly<Record<SortTarget, number>>;
  readonly compareResult: Readonly<Record<CompareResult, number>>;
  readonly compareTarget: Readonly<Record<Compare["target"], number>>;
  readonly outcome: Readonly<Record<Outcome, number>>;
  readonly rangeFlag: Readonly<Record<"serializable" | "keysOnly" | "countOnly", number>>;
  readonly putFlag: Readonly<Record<"prevKv" | "ignoreValue" | "ignoreLease", number>>;
  readonly watchRequest: Readonly<Record<WatchRequest["kind"], number>>;
  readonly watchFlag: Readonly<Record<WatchFlag, number>>;
  readonly messageFlag: Readonly<Record<"created" | "canceled" | "fragment", number>>;
  readonly event: Readonly<Record<WatchEvent["type"] | "expiry", number>>;
  readonly alarmAction: Readonly<Record<AlarmRequest["action"], number>>;
  readonly alarmType: Readonly<Record<AlarmType, number>>;
}

/** Every number that stands for a word on the wire, but for error codes: those follow the order of `FAILURES`, from 1. */
export const WIRE: WireNumbers = {
  request: {
    range: 1,
    put: 2,
    deleteRange: 3,
    txn: 4,
    compact: 5,
    memberList: 6,
    memberAdd: 7,
    memberRemove: 8,
    memberUpdate: 9,
    memberPromote: 10,
    moveLeader: 11,
    status: 12,
    hashKv: 13,
    leaseGrant: 14,
    leaseRevoke: 15,
    leaseKeepAlive: 16,
    leaseTimeToLive: 17,
    leaseList: 18,
    snapshot: 30,
    alarm: 24,
    register: 19,
  },
  result: {
    range: 1,
    put: 2,
    deleteRange: 3,
    txn: 4,
    compact: 5,
    members: 6,
    moveLeader: 7,
    status: 8,
    hashKv: 9,
    leaseGrant: 10,
    leaseRevoke: 11,
    leaseKeepAlive: 12,
    leaseTimeToLive: 13,
    leaseList: 14,
    snapshot: 30,
    alarm: 20,
    register: 15,
  },
  sortOrder: { none: 0, ascend: 1, descend: 2 },
  sortTarget: { key: 0, version: 1, create: 2, mod: 3, value: 4 },
  compareResult: { equal: 0, greater: 1, less: 2, notEqual: 3 },
  compareTarget: { version: 0, create: 1, mod: 2, value: 3, lease: 4 },
  outcome: { rejected: 0, unknown: 1, applied: 2 },
  rangeFlag: { serializable: 1, keysOnly: 2, countOnly: 4 },
  putFlag: { prevKv: 1, ignoreValue: 2, ignoreLease: 4 },
  watchRequest: { create: 1, cancel: 2, progress: 3 },
  watchFlag: { noPut: 1, noDelete: 2, prevKv: 4, progressNotify: 8, fragment: 16 },
  messageFlag: { created: 1, canceled: 2, fragment: 4 },
  event: { put: 0, delete: 1, expiry: 2 },
  alarmAction: { get: 0, activate: 1, deactivate: 2 },
  alarmType: { nospace: 1, corrupt: 2 },
};

const ERROR_CODES = Object.keys(FAILURES) as readonly ErrorCode[];

/** Transactions within transactions: as deep as the server allows (kv/check.ts). Each takes two arrays. */
const TXN_DEPTH_MAX = 256;
const ARRAY_DEPTH_MAX = 2 * TXN_DEPTH_MAX + 8;

/** Ids that the handshake has told: answers under the same ids need not repeat them. */
export interface Stamp {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
}

type Fields = readonly unknown[];

const packr = new Packr({ useRecords: false, copyBuffers: true });

// --- requests ---

/**
 * The bytes of a request, valid until the turn ends at least; keep a copy for longer. Throws `StoreError` with outcome
 * "rejected": `TOO_MANY_OPS` for a txn nested too deeply, `INVALID_SORT_OPTION`, `INVALID_REQUEST`.
 */
export function encodeRequest(request: Request): Uint8Array {
  try {
    return packr.pack(requestFields(request));
  } catch (error) {
    throw StoreError.is(error) ? error : malformed(error);
  }
}

/** Throws `INVALID_REQUEST` on anything that `encodeRequest` could not have written, before anything was done. */
export function decodeRequest(bytes: Uint8Array, start: number = 0): Request {
  try {
    return readRequest(unpack(bytes, start));
  } catch (error) {
    throw malformed(error);
  }
}

function malformed(error: unknown): StoreError {
  const why = error instanceof Error ? error.message : String(error);
  return new StoreError("INVALID_REQUEST", { message: `${FAILURES.INVALID_REQUEST.message}: ${why}`, cause: error });
}

function requestFields(request: Request): Fields {
  const { request: kinds } = WIRE;
  switch (request.kind) {
    case "range":
      return rangeFields(request);
    case "put":
      return putFields(request);
    case "deleteRange":
      return deleteRangeFields(request);
    case "txn":
      return txnFields(request, 1);
    case "compact":
      return [kinds.compact, request.revision, request.physical === true];
    case "leaseGrant":
      return trimmed([kinds.leaseGrant, request.ttl, request.id ?? null]);
    case "leaseRevoke":
      return [kinds.leaseRevoke, request.id];
    case "leaseKeepAlive":
      return [kinds.leaseKeepAlive, request.id];
    case "leaseTimeToLive":
      return [kinds.leaseTimeToLive, request.id, request.keys === true];
    case "leaseList":
      return [kinds.leaseList];
    case "register":
      return [kinds.register];
    case "memberList":
      return [kinds.memberList, request.linearizable === true];
    case "memberAdd":
      return [kinds.memberAdd, request.peerUrls, request.isLearner === true];
    case "memberRemove":
      return [kinds.memberRemove, request.id];
    case "memberUpdate":
      return [kinds.memberUpdate, request.id, request.peerUrls];
    case "memberPromote":
      return [kinds.memberPromote, request.id];
    case "moveLeader":
      return [kinds.moveLeader, request.target];
    case "status":
      return [kinds.status];
    case "hashKv":
      return [kinds.hashKv, request.revision ?? null];
    case "snapshot":
      return trimmed([
        kinds.snapshot,
        request.session ?? null,
        request.part ?? null,
        request.close === true ? true : null,
      ]);
    case "alarm":
      return alarmFields(request);
    default:
      request satisfies never;
      throw new RangeError("unknown kind of request");
  }
}

function alarmFields({ action, member, alarm }: AlarmRequest): Fields {
  const does = numberOf(WIRE.alarmAction, action);
  const type = alarm === undefined ? null : numberOf(WIRE.alarmType, alarm);
  if (does === undefined || type === undefined) throw new RangeError("unknown alarm or action");
  return trimmed([WIRE.request.alarm, does, member ?? null, type]);
}

function rangeFields(request: RangeRequest): Fields {
  const { rangeFlag } = WIRE;
  const flags =
    (request.serializable === true ? rangeFlag.serializable : 0) |
    (request.keysOnly === true ? rangeFlag.keysOnly : 0) |
    (request.countOnly === true ? rangeFlag.countOnly : 0);
  const order = request.sortOrder === undefined ? null : numberOf(WIRE.sortOrder, request.sortOrder);
  const target = request.sortTarget === undefined ? null : numberOf(WIRE.sortTarget, request.sortTarget);
  if (order === undefined || target === undefined) throw new StoreError("INVALID_SORT_OPTION");
  return trimmed([
    WIRE.request.range,
    request.key,
    request.rangeEnd ?? null,
    flags === 0 ? null : flags,
    request.limit ?? null,
    request.revision ?? null,
    order,
    target,
    request.minModRevision ?? null,
    request.maxModRevision ?? null,
    request.minCreateRevision ?? null,
    request.maxCreateRevision ?? null,
  ]);
}

function putFields(request: PutRequest): Fields {
  const { putFlag } = WIRE;
  const flags =
    (request.prevKv === true ? putFlag.prevKv : 0) |
    (request.ignoreValue === true ? putFlag.ignoreValue : 0) |
    (request.ignoreLease === true ? putFlag.ignoreLease : 0);
  if (request.lease !== undefined) return [WIRE.request.put, request.key, request.value, flags, request.lease];
  return flags === 0
    ? [WIRE.request.put, request.key, request.value]
    : [WIRE.request.put, request.key, request.value, flags];
}

function deleteRangeFields(request: DeleteRangeRequest): Fields {
  const prevKv = request.prevKv === true ? true : null;
  return trimmed([WIRE.request.deleteRange, request.key, request.rangeEnd ?? null, prevKv]);
}

function txnFields(request: TxnRequest, depth: number): Fields {
  if (depth > TXN_DEPTH_MAX) throw new StoreError("TOO_MANY_OPS");
  return [
    WIRE.request.txn,
    request.compare.map(compareFields),
    request.success.map((op) => opFields(op, depth)),
    request.failure.map((op) => opFields(op, depth)),
  ];
}

function opFields(op: RequestOp, depth: number): Fields {
  switch (op.kind) {
    case "range":
      return rangeFields(op);
    case "put":
      return putFields(op);
    case "deleteRange":
      return deleteRangeFields(op);
    case "txn":
      return txnFields(op, depth + 1);
    default:
      op satisfies never;
      throw new RangeError("unknown kind of operation");
  }
}

function compareFields(compare: Compare): Fields {
  const result = numberOf(WIRE.compareResult, compare.result);
  const target = numberOf(WIRE.compareTarget, compare.target);
  if (result === undefined || target === undefined) throw new RangeError("unknown compare");
  return trimmed([compare.key, result, target, operandOf(compare), compare.rangeEnd ?? null]);
}

/** Callers without types may give any word. */
function numberOf<W extends string>(table: Readonly<Record<W, number>>, word: W): number | undefined {
  return Object.hasOwn(table, word) ? table[word] : undefined;
}

function operandOf(compare: Compare): unknown {
  switch (compare.target) {
    case "version":
      return compare.version;
    case "create":
      return compare.createRevision;
    case "mod":
      return compare.modRevision;
    case "value":
      return compare.value;
    case "lease":
      return compare.lease;
  }
}

/** What is absent at the end costs no byte. */
function trimmed(fields: unknown[]): Fields {
  let length = fields.length;
  while (fields[length - 1] === null) length -= 1;
  fields.length = length;
  return fields;
}

function readRequest(fields: Fields): Request {
  const { request: kinds } = WIRE;
  switch (fields[0]) {
    case kinds.range:
      return readRange(fields);
    case kinds.put:
      return readPut(fields);
    case kinds.deleteRange:
      return readDeleteRange(fields);
    case kinds.txn:
      return readTxn(fields);
    case kinds.compact:
      atMost(fields, 3);
      return flagged({ kind: "compact", revision: integer(fields[1]) }, "physical", boolean(fields[2]));
    case kinds.leaseGrant: {
      atMost(fields, 3);
      const ttl = integer(fields[1]);
      return isSome(fields[2]) ? { kind: "leaseGrant", ttl, id: leaseId(id(fields[2])) } : { kind: "leaseGrant", ttl };
    }
    case kinds.leaseRevoke:
      atMost(fields, 2);
      return { kind: "leaseRevoke", id: leaseId(id(fields[1])) };
    case kinds.leaseKeepAlive:
      atMost(fields, 2);
      return { kind: "leaseKeepAlive", id: leaseId(id(fields[1])) };
    case kinds.leaseTimeToLive:
      atMost(fields, 3);
      return flagged({ kind: "leaseTimeToLive", id: leaseId(id(fields[1])) }, "keys", boolean(fields[2]));
    case kinds.leaseList:
      atMost(fields, 1);
      return { kind: "leaseList" };
    case kinds.register:
      atMost(fields, 1);
      return { kind: "register" };
    case kinds.memberList:
      atMost(fields, 2);
      return flagged({ kind: "memberList" }, "linearizable", boolean(fields[1]));
    case kinds.memberAdd:
      atMost(fields, 3);
      return flagged({ kind: "memberAdd", peerUrls: texts(fields[1]) }, "isLearner", boolean(fields[2]));
    case kinds.memberRemove:
      atMost(fields, 2);
      return { kind: "memberRemove", id: memberId(id(fields[1])) };
    case kinds.memberUpdate:
      atMost(fields, 3);
      return { kind: "memberUpdate", id: memberId(id(fields[1])), peerUrls: texts(fields[2]) };
    case kinds.memberPromote:
      atMost(fields, 2);
      return { kind: "memberPromote", id: memberId(id(fields[1])) };
    case kinds.moveLeader:
      atMost(fields, 2);
      return { kind: "moveLeader", target: memberId(id(fields[1])) };
    case kinds.status:
      atMost(fields, 1);
      return { kind: "status" };
    case kinds.hashKv: {
      atMost(fields, 2);
      const at = integerOrNone(fields[1]);
      return at === undefined ? { kind: "hashKv" } : { kind: "hashKv", revision: at };
    }
    case kinds.snapshot: {
      atMost(fields, 4);
      const request: Mutable<SnapshotRequest> = { kind: "snapshot" };
      if (isSome(fields[1])) request.session = count(fields[1]);
      if (isSome(fields[2])) request.part = count(fields[2]);
      if (isSome(fields[3]) && boolean(fields[3])) request.close = true;
      return request;
    }
    case kinds.alarm:
      return readAlarmRequest(fields);
    default:
      throw new RangeError("unknown kind of request");
  }
}

/** The request with the flag if it is set: what is absent stays absent. */
function flagged<T extends object, K extends string>(
  request: T,
  name: K,
  set: boolean,
): T & { readonly [k in K]?: true } {
  return set ? { ...request, [name]: true } : request;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function readAlarmRequest(fields: Fields): AlarmRequest {
  atMost(fields, 4);
  const request: Mutable<AlarmRequest> = { kind: "alarm", action: word(ALARM_ACTIONS, fields[1], "action") };
  if (isSome(fields[2])) request.member = memberId(id(fields[2]));
  if (isSome(fields[3])) request.alarm = alarmType(fields[3]);
  return request;
}

function alarmType(value: unknown): AlarmType {
  return word(ALARM_TYPES, count(value) - 1, "alarm");
}

function readRange(fields: Fields): RangeRequest {
  atMost(fields, 12);
  const request: Mutable<RangeRequest> = { kind: "range", key: bytes(fields[1]) };
  if (fields.length === 2) return request;
  const { rangeFlag } = WIRE;
  const rangeEnd = bytesOrNone(fields[2]);
  if (rangeEnd !== undefined) request.rangeEnd = rangeEnd;
  const flags = flagsOf(fields[3], rangeFlag.serializable | rangeFlag.keysOnly | rangeFlag.countOnly);
  if ((flags & rangeFlag.serializable) !== 0) request.serializable = true;
  if ((flags & rangeFlag.keysOnly) !== 0) request.keysOnly = true;
  if ((flags & rangeFlag.countOnly) !== 0) request.countOnly = true;
  if (fields.length <= 4) return request;
  const limit = integerOrNone(fields[4]);
  if (limit !== undefined) request.limit = limit;
  const at = integerOrNone(fields[5]);
  if (at !== undefined) request.revision = at;
  if (isSome(fields[6])) request.sortOrder = word(SORT_ORDERS, fields[6], "sort order");
  if (isSome(fields[7])) request.sortTarget = word(SORT_TARGETS, fields[7], "sort target");
  const minMod = integerOrNone(fields[8]);
  if (minMod !== undefined) request.minModRevision = minMod;
  const maxMod = integerOrNone(fields[9]);
  if (maxMod !== undefined) request.maxModRevision = maxMod;
  const minCreate = integerOrNone(fields[10]);
  if (minCreate !== undefined) request.minCreateRevision = minCreate;
  const maxCreate = integerOrNone(fields[11]);
  if (maxCreate !== undefined) request.maxCreateRevision = maxCreate;
  return request;
}

function readPut(fields: Fields): PutRequest {
  atMost(fields, 5);
  if (fields.length === 3) return { kind: "put", key: bytes(fields[1]), value: bytes(fields[2]) };
  const { putFlag } = WIRE;
  const request: Mutable<PutRequest> = { kind: "put", key: bytes(fields[1]), value: bytes(fields[2]) };
  const flags = flagsOf(fields[3], putFlag.prevKv | putFlag.ignoreValue | putFlag.ignoreLease);
  if (isSome(fields[4])) request.lease = leaseId(id(fields[4]));
  if ((flags & putFlag.prevKv) !== 0) request.prevKv = true;
  if ((flags & putFlag.ignoreValue) !== 0) request.ignoreValue = true;
  if ((flags & putFlag.ignoreLease) !== 0) request.ignoreLease = true;
  return request;
}

function readDeleteRange(fields: Fields): DeleteRangeRequest {
  atMost(fields, 4);
  const request: Mutable<DeleteRangeRequest> = { kind: "deleteRange", key: bytes(fields[1]) };
  const rangeEnd = bytesOrNone(fields[2]);
  if (rangeEnd !== undefined) request.rangeEnd = rangeEnd;
  if (isSome(fields[3]) && boolean(fields[3])) request.prevKv = true;
  return request;
}

function readTxn(fields: Fields): TxnRequest {
  atMost(fields, 4);
  return {
    kind: "txn",
    compare: list(fields[1]).map((each) => readCompare(list(each))),
    success: list(fields[2]).map((each) => readOp(list(each))),
    failure: list(fields[3]).map((each) => readOp(list(each))),
  };
}

function readOp(fields: Fields): RequestOp {
  const { request: kinds } = WIRE;
  switch (fields[0]) {
    case kinds.range:
      return readRange(fields);
    case kinds.put:
      return readPut(fields);
    case kinds.deleteRange:
      return readDeleteRange(fields);
    case kinds.txn:
      return readTxn(fields);
    default:
      throw new RangeError("unknown kind of operation");
  }
}

function readCompare(fields: Fields): Compare {
  atMost(fields, 5);
  const rangeEnd = bytesOrNone(fields[4]);
  const common = {
    key: bytes(fields[0]),
    result: word(COMPARE_RESULTS, fields[1], "compare"),
    ...(rangeEnd === undefined ? {} : { rangeEnd }),
  };
  const target = word(COMPARE_TARGETS, fields[2], "compare target");
  switch (target) {
    case "version":
      return { ...common, target, version: integer(fields[3]) };
    case "create":
      return { ...common, target, createRevision: integer(fields[3]) };
    case "mod":
      return { ...common, target, modRevision: integer(fields[3]) };
    case "value":
      return { ...common, target, value: bytes(fields[3]) };
    case "lease":
      return { ...common, target, lease: leaseId(id(fields[3])) };
  }
}

// --- responses ---

/** The bytes of an answer, valid until the turn ends at least. Ids that equal the stamp's are left out. */
export function encodeResponse(response: Response, stamp?: Stamp): Uint8Array {
  const { header, result } = response;
  const told = stamp !== undefined && header.memberId === stamp.memberId && header.clusterId === stamp.clusterId;
  return packr.pack([
    told ? null : header.clusterId,
    told ? null : header.memberId,
    header.revision,
    header.raftTerm,
    resultFields(result),
  ]);
}

/** Throws `RangeError` on anything that `encodeResponse` could not have written with the same stamp. */
export function decodeResponse(bytes: Uint8Array, stamp?: Stamp, start: number = 0): Response {
  const fields = unpack(bytes, start);
  atMost(fields, 5);
  const told = !isSome(fields[0]) && !isSome(fields[1]);
  if (told && stamp === undefined) throw new RangeError("no cluster id");
  const header: ResponseHeader = {
    clusterId: told ? stamp!.clusterId : clusterId(id(fields[0])),
    memberId: told ? stamp!.memberId : memberId(id(fields[1])),
    revision: revision(integer(fields[2])),
    raftTerm: term(integer(fields[3])),
  };
  return { header, result: readResult(list(fields[4])) };
}

/** The bytes of a result alone, valid until the turn ends at least: what the request ledger keeps. */
export function encodeResult(result: Result): Uint8Array {
  return packr.pack(resultFields(result));
}

/** Throws `RangeError` on anything that `encodeResult` could not have written. */
export function decodeResult(source: Uint8Array): Result {
  return readResult(unpack(source, 0));
}

function resultFields(result: Result): Fields {
  const { result: kinds } = WIRE;
  switch (result.kind) {
    case "range":
    case "put":
    case "deleteRange":
    case "txn":
      return opResultFields(result);
    case "compact":
      return [kinds.compact, result.revision];
    case "leaseGrant":
      return [kinds.leaseGrant, result.revision, result.id, result.ttl];
    case "leaseRevoke":
      return [kinds.leaseRevoke, result.revision];
    case "leaseKeepAlive":
      return [kinds.leaseKeepAlive, result.id, result.ttl];
    case "leaseTimeToLive":
      return [kinds.leaseTimeToLive, result.id, result.ttl, result.grantedTtl, result.keys];
    case "leaseList":
      return [kinds.leaseList, result.leases];
    case "register":
      return [kinds.register, result.clientId];
    case "members":
      return result.member === undefined
        ? [kinds.members, result.members.map(memberFields)]
        : [kinds.members, result.members.map(memberFields), memberFields(result.member)];
    case "moveLeader":
      return [kinds.moveLeader];
    case "status":
      return [
        kinds.status,
        result.revision,
        result.version,
        result.dbSize,
        result.dbSizeInUse,
        result.leader ?? null,
        result.raftIndex,
        result.raftTerm,
        result.raftAppliedIndex,
        result.errors,
        result.isLearner,
        result.stateHash,
        result.dbSizeQuota,
      ];
    case "hashKv":
      return [kinds.hashKv, result.revision, result.hash, result.compactRevision, result.hashRevision];
    case "snapshot":
      return [
        kinds.snapshot,
        result.revision,
        result.session,
        result.bytes,
        result.isLast,
        result.aboutBytes,
        result.version,
      ];
    case "alarm":
      return [kinds.alarm, result.alarms.map(({ member, alarm }) => [member, WIRE.alarmType[alarm]])];
    default:
      result satisfies never;
      throw new RangeError("unknown kind of result");
  }
}

function opResultFields(result: OpResult): Fields {
  const { result: kinds } = WIRE;
  switch (result.kind) {
    case "range":
      return [kinds.range, result.revision, result.count, result.more, result.kvs.map(keyValueFields)];
    case "put":
      return result.prevKv === undefined
        ? [kinds.put, result.revision]
        : [kinds.put, result.revision, keyValueFields(result.prevKv)];
    case "deleteRange":
      return [kinds.deleteRange, result.revision, result.deleted, result.prevKvs.map(keyValueFields)];
    case "txn":
      return [kinds.txn, result.revision, result.succeeded, result.results.map(opResultFields)];
    default:
      result satisfies never;
      throw new RangeError("unknown kind of result");
  }
}

function keyValueFields(kv: KeyValue): Fields {
  return kv.lease === NO_LEASE
    ? [kv.key, kv.createRevision, kv.modRevision, kv.version, kv.value]
    : [kv.key, kv.createRevision, kv.modRevision, kv.version, kv.value, kv.lease];
}

function memberFields(member: Member): Fields {
  return [member.id, member.name, member.peerUrls, member.clientUrls, member.isLearner];
}

function readResult(fields: Fields): Result {
  const { result: kinds } = WIRE;
  switch (fields[0]) {
    case kinds.compact:
      atMost(fields, 2);
      return { kind: "compact", revision: revision(integer(fields[1])) };
    case kinds.leaseGrant:
      atMost(fields, 4);
      return {
        kind: "leaseGrant",
        revision: revision(integer(fields[1])),
        id: leaseId(id(fields[2])),
        ttl: integer(fields[3]),
      };
    case kinds.leaseRevoke:
      atMost(fields, 2);
      return { kind: "leaseRevoke", revision: revision(integer(fields[1])) };
    case kinds.leaseKeepAlive:
      atMost(fields, 3);
      return { kind: "leaseKeepAlive", id: leaseId(id(fields[1])), ttl: integer(fields[2]) };
    case kinds.leaseTimeToLive:
      atMost(fields, 5);
      return {
        kind: "leaseTimeToLive",
        id: leaseId(id(fields[1])),
        ttl: integer(fields[2]),
        grantedTtl: integer(fields[3]),
        keys: list(fields[4]).map(bytes),
      };
    case kinds.leaseList:
      atMost(fields, 2);
      return { kind: "leaseList", leases: list(fields[1]).map((each) => leaseId(id(each))) };
    case kinds.register:
      atMost(fields, 2);
      return { kind: "register", clientId: count(fields[1]) };
    case kinds.members:
      return readMembers(fields);
    case kinds.moveLeader:
      atMost(fields, 1);
      return { kind: "moveLeader" };
    case kinds.status:
      return readStatus(fields);
    case kinds.hashKv:
      atMost(fields, 5);
      return {
        kind: "hashKv",
        revision: revision(integer(fields[1])),
        hash: count(fields[2]),
        compactRevision: integer(fields[3]),
        hashRevision: integer(fields[4]),
      };
    case kinds.snapshot:
      atMost(fields, 7);
      return {
        kind: "snapshot",
        revision: revision(integer(fields[1])),
        session: count(fields[2]),
        bytes: bytes(fields[3]),
        isLast: boolean(fields[4]),
        aboutBytes: count(fields[5]),
        version: text(fields[6]),
      };
    case kinds.alarm:
      atMost(fields, 2);
      return { kind: "alarm", alarms: list(fields[1]).map(readAlarm) };
    default:
      return readOpResult(fields);
  }
}

function readOpResult(fields: Fields): OpResult {
  const { result: kinds } = WIRE;
  switch (fields[0]) {
    case kinds.range:
      return readRangeResult(fields);
    case kinds.put:
      return readPutResult(fields);
    case kinds.deleteRange:
      return readDeleteRangeResult(fields);
    case kinds.txn:
      return readTxnResult(fields);
    default:
      throw new RangeError("unknown kind of result");
  }
}

function readRangeResult(fields: Fields): RangeResult {
  atMost(fields, 5);
  return {
    kind: "range",
    revision: revision(integer(fields[1])),
    kvs: list(fields[4]).map(readKeyValue),
    more: boolean(fields[3]),
    count: count(fields[2]),
  };
}

function readPutResult(fields: Fields): PutResult {
  atMost(fields, 3);
  const at = revision(integer(fields[1]));
  return fields.length < 3
    ? { kind: "put", revision: at }
    : { kind: "put", revision: at, prevKv: readKeyValue(fields[2]) };
}

function readDeleteRangeResult(fields: Fields): DeleteRangeResult {
  atMost(fields, 4);
  return {
    kind: "deleteRange",
    revision: revision(integer(fields[1])),
    deleted: count(fields[2]),
    prevKvs: list(fields[3]).map(readKeyValue),
  };
}

function readTxnResult(fields: Fields): TxnResult {
  atMost(fields, 4);
  return {
    kind: "txn",
    revision: revision(integer(fields[1])),
    succeeded: boolean(fields[2]),
    results: list(fields[3]).map((each) => readOpResult(list(each))),
  };
}

function readKeyValue(value: unknown): KeyValue {
  const fields = list(value);
  atMost(fields, 6);
  return {
    key: bytes(fields[0]),
    createRevision: revision(integer(fields[1])),
    modRevision: revision(integer(fields[2])),
    version: count(fields[3]),
    value: bytes(fields[4]),
    lease: fields.length < 6 ? NO_LEASE : leaseId(id(fields[5])),
  };
}

function readMembers(fields: Fields): MembersResult {
  atMost(fields, 3);
  const members = list(fields[1]).map(readMember);
  return fields.length < 3 ? { kind: "members", members } : { kind: "members", member: readMember(fields[2]), members };
}

function readMember(value: unknown): Member {
  const fields = list(value);
  atMost(fields, 5);
  return {
    id: memberId(id(fields[0])),
    name: text(fields[1]),
    peerUrls: texts(fields[2]),
    clientUrls: texts(fields[3]),
    isLearner: boolean(fields[4]),
  };
}

function readAlarm(value: unknown): Alarm {
  const fields = list(value);
  atMost(fields, 2);
  return { member: memberId(id(fields[0])), alarm: alarmType(fields[1]) };
}

function readStatus(fields: Fields): StatusResult {
  atMost(fields, 13);
  return {
    kind: "status",
    revision: revision(integer(fields[1])),
    version: text(fields[2]),
    dbSize: count(fields[3]),
    dbSizeInUse: count(fields[4]),
    ...(isSome(fields[5]) ? { leader: memberId(id(fields[5])) } : {}),
    raftIndex: count(fields[6]),
    raftTerm: count(fields[7]),
    raftAppliedIndex: count(fields[8]),
    errors: texts(fields[9]),
    isLearner: boolean(fields[10]),
    stateHash: text(fields[11]),
    dbSizeQuota: count(fields[12]),
  };
}

// --- watches ---

/** The bytes of a request on a watch stream, valid until the turn ends at least. Throws `INVALID_REQUEST`. */
export function encodeWatchRequest(request: WatchRequest): Uint8Array {
  const { watchRequest: kinds } = WIRE;
  try {
    switch (request.kind) {
      case "create":
        return packr.pack(watchCreateFields(request));
      case "cancel":
        return packr.pack([kinds.cancel, request.watchId]);
      case "progress":
        return packr.pack([kinds.progress]);
      default:
        request satisfies never;
        throw new RangeError("unknown kind of request");
    }
  } catch (error) {
    throw StoreError.is(error) ? error : malformed(error);
  }
}

/** Throws `INVALID_REQUEST` on anything that `encodeWatchRequest` could not have written. */
export function decodeWatchRequest(source: Uint8Array, start: number = 0): WatchRequest {
  const { watchRequest: kinds } = WIRE;
  try {
    const fields = unpack(source, start);
    switch (fields[0]) {
      case kinds.create:
        return readWatchCreate(fields);
      case kinds.cancel:
        atMost(fields, 2);
        return { kind: "cancel", watchId: integer(fields[1]) };
      case kinds.progress:
        atMost(fields, 1);
        return { kind: "progress" };
      default:
        throw new RangeError("unknown kind of request");
    }
  } catch (error) {
    throw malformed(error);
  }
}

function watchCreateFields(request: WatchCreate): Fields {
  let flags = 0;
  for (const name of WATCH_FLAGS) if (request[name] === true) flags |= WIRE.watchFlag[name];
  return trimmed([
    WIRE.watchRequest.create,
    request.key,
    request.rangeEnd ?? null,
    request.startRevision ?? null,
    flags === 0 ? null : flags,
    request.watchId ?? null,
  ]);
}

function readWatchCreate(fields: Fields): WatchRequest {
  atMost(fields, 6);
  const request: Mutable<Extract<WatchRequest, { kind: "create" }>> = { kind: "create", key: bytes(fields[1]) };
  const rangeEnd = bytesOrNone(fields[2]);
  if (rangeEnd !== undefined) request.rangeEnd = rangeEnd;
  const startRevision = integerOrNone(fields[3]);
  if (startRevision !== undefined) request.startRevision = startRevision;
  const flags = flagsOf(fields[4], 31);
  for (const name of WATCH_FLAGS) if ((flags & WIRE.watchFlag[name]) !== 0) request[name] = true;
  const watchId = integerOrNone(fields[5]);
  if (watchId !== undefined) request.watchId = watchId;
  return request;
}

/** The bytes of a message on a watch stream, valid until the turn ends at least. Ids that equal the stamp's are left out. */
export function encodeWatchResponse(response: WatchResponse, stamp?: Stamp): Uint8Array {
  const { header, created, canceled, fragment, events, compactRevision, cancelReason } = response;
  const { messageFlag } = WIRE;
  const told = stamp !== undefined && header.memberId === stamp.memberId && header.clusterId === stamp.clusterId;
  const flags =
    (created ? messageFlag.created : 0) | (canceled ? messageFlag.canceled : 0) | (fragment ? messageFlag.fragment : 0);
  return packr.pack(
    trimmed([
      told ? null : header.clusterId,
      told ? null : header.memberId,
      header.revision,
      header.raftTerm,
      response.watchId,
      flags,
      events.map(eventFields),
      compactRevision === 0 ? null : compactRevision,
      cancelReason === "" ? null : cancelReason,
    ]),
  );
}

/** Throws `RangeError` on anything that `encodeWatchResponse` could not have written with the same stamp. */
export function decodeWatchResponse(source: Uint8Array, stamp?: Stamp, start: number = 0): WatchResponse {
  const fields = unpack(source, start);
  atMost(fields, 9);
  const { messageFlag } = WIRE;
  const told = !isSome(fields[0]) && !isSome(fields[1]);
  if (told && stamp === undefined) throw new RangeError("no cluster id");
  const flags = flagsOf(fields[5], 7);
  return {
    header: {
      clusterId: told ? stamp!.clusterId : clusterId(id(fields[0])),
      memberId: told ? stamp!.memberId : memberId(id(fields[1])),
      revision: revision(integer(fields[2])),
      raftTerm: term(integer(fields[3])),
    },
    watchId: integer(fields[4]),
    created: (flags & messageFlag.created) !== 0,
    canceled: (flags & messageFlag.canceled) !== 0,
    fragment: (flags & messageFlag.fragment) !== 0,
    events: list(fields[6]).map(readEvent),
    compactRevision: integerOrNone(fields[7]) ?? 0,
    cancelReason: isSome(fields[8]) ? text(fields[8]) : "",
  };
}

function eventFields({ type, kv, prevKv, expired }: WatchEvent): Fields {
  const word = expired === true ? "expiry" : type;
  // Of a deletion the rest is nothing, and the same each time.
  const what = type === "delete" ? [kv.key, kv.modRevision] : keyValueFields(kv);
  return prevKv === undefined ? [WIRE.event[word], what] : [WIRE.event[word], what, keyValueFields(prevKv)];
}

function readEvent(value: unknown): WatchEvent {
  const fields = list(value);
  atMost(fields, 3);
  const said = word(EVENT_TYPES, fields[0], "event");
  const type = said === "put" ? "put" : "delete";
  const kv = type === "delete" ? readDeletion(fields[1]) : readKeyValue(fields[1]);
  const event: Mutable<WatchEvent> = { type, kv };
  if (fields.length > 2) event.prevKv = readKeyValue(fields[2]);
  if (said === "expiry") event.expired = true;
  return event;
}

function readDeletion(value: unknown): KeyValue {
  const fields = list(value);
  atMost(fields, 2);
  const modRevision = revision(integer(fields[1]));
  return {
    key: bytes(fields[0]),
    createRevision: revision(0),
    modRevision,
    version: 0,
    value: EMPTY,
    lease: NO_LEASE,
  };
}

// --- errors ---

/** Code, outcome, message and details of an error: all that a caller on the other side can use. Its cause stays here. */
export function encodeError(error: StoreError): Uint8Array {
  const details: unknown[] = [];
  // A bigint travels as a text in an array of one, so that it is a bigint again whatever its size.
  for (const [name, value] of Object.entries(error.details)) {
    details.push(name, typeof value === "bigint" ? [value.toString()] : value);
  }
  return packr.pack(
    trimmed([
      ERROR_CODES.indexOf(error.code) + 1,
      WIRE.outcome[error.outcome],
      error.message === FAILURES[error.code].message ? null : error.message,
      details.length === 0 ? null : details,
    ]),
  );
}

/** Throws `RangeError` on anything that `encodeError` could not have written. */
export function decodeError(bytes: Uint8Array, start: number = 0): StoreError {
  const fields = unpack(bytes, start);
  atMost(fields, 4);
  const code = ERROR_CODES[count(fields[0]) - 1];
  if (code === undefined) throw new RangeError("unknown error code");
  return new StoreError(code, {
    outcome: word(OUTCOMES, fields[1], "outcome"),
    ...(isSome(fields[2]) ? { message: text(fields[2]) } : {}),
    ...(isSome(fields[3]) ? { details: readDetails(list(fields[3])) } : {}),
  });
}

function readDetails(fields: Fields): ErrorDetails {
  if (fields.length % 2 !== 0) throw new RangeError("a detail without a value");
  const entries: [string, string | number | bigint | boolean][] = [];
  for (let i = 0; i < fields.length; i += 2) entries.push([text(fields[i]), readDetail(fields[i + 1])]);
  // Defines each as its own property, whatever its name is.
  return Object.fromEntries(entries);
}

function readDetail(value: unknown): string | number | bigint | boolean {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  const [digits, ...more] = list(value);
  if (more.length > 0 || !/^-?[0-9]{1,40}$/.test(text(digits))) throw new RangeError("malformed detail");
  return BigInt(text(digits));
}

// --- handshake ---

const GREETING = "quorate";

/** What a server tells of itself and of how much it takes from one connection. */
export interface ServerHello extends Stamp {
  /** Longest message in bytes. */
  readonly maxMessageBytes: number;
  /** Requests under way at one time, and their bytes. */
  readonly maxCalls: number;
  readonly maxCallBytes: number;
}

export function encodeClientHello(version: number = PROTOCOL_VERSION): Uint8Array {
  return packr.pack([GREETING, version]);
}

/** The version of a client. Throws `RangeError` if it does not speak this protocol at all. */
export function decodeClientHello(bytes: Uint8Array, start: number = 0): number {
  // Later versions may append fields: only what every version has is read.
  const fields = unpack(bytes, start);
  if (fields[0] !== GREETING) throw new RangeError("not a greeting");
  return count(fields[1]);
}

export function encodeServerHello(hello: ServerHello, version: number = PROTOCOL_VERSION): Uint8Array {
  const { clusterId, memberId, maxMessageBytes, maxCalls, maxCallBytes } = hello;
  return packr.pack([GREETING, version, clusterId, memberId, maxMessageBytes, maxCalls, maxCallBytes]);
}

/** Throws `PROTOCOL_VERSION` if the server speaks another version, `RangeError` if it is no server at all. */
export function decodeServerHello(bytes: Uint8Array, start: number = 0): ServerHello {
  const fields = unpack(bytes, start);
  if (fields[0] !== GREETING) throw new RangeError("not a greeting");
  const version = count(fields[1]);
  if (version !== PROTOCOL_VERSION) {
    throw new StoreError("PROTOCOL_VERSION", {
      message: `quorate: the server speaks protocol version ${version}, this client version ${PROTOCOL_VERSION}`,
      details: { server: version, client: PROTOCOL_VERSION },
    });
  }
  return {
    clusterId: clusterId(id(fields[2])),
    memberId: memberId(id(fields[3])),
    maxMessageBytes: count(fields[4]),
    maxCalls: count(fields[5]),
    maxCallBytes: count(fields[6]),
  };
}

// --- fields ---

function wordsOf<W extends string>(table: Readonly<Record<W, number>>): readonly W[] {
  return (Object.keys(table) as W[]).sort((a, b) => table[a] - table[b]);
}

const SORT_ORDERS = wordsOf<SortOrder>(WIRE.sortOrder);
const SORT_TARGETS = wordsOf<SortTarget>(WIRE.sortTarget);
const COMPARE_RESULTS = wordsOf<CompareResult>(WIRE.compareResult);
const COMPARE_TARGETS = wordsOf<Compare["target"]>(WIRE.compareTarget);
const OUTCOMES = wordsOf<Outcome>(WIRE.outcome);
const EVENT_TYPES = wordsOf<WatchEvent["type"] | "expiry">(WIRE.event);
const ALARM_ACTIONS = wordsOf<AlarmRequest["action"]>(WIRE.alarmAction);
const ALARM_TYPES = wordsOf<AlarmType>(WIRE.alarmType);
const WATCH_FLAGS = wordsOf<WatchFlag>(WIRE.watchFlag);

function isSome(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function atMost(fields: Fields, length: number): void {
  if (fields.length > length) throw new RangeError("too many fields");
}

function bytes(value: unknown): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new RangeError("bytes expected");
  return value;
}

function bytesOrNone(value: unknown): Uint8Array | undefined {
  return isSome(value) ? bytes(value) : undefined;
}

function integer(value: unknown): number {
  if (!Number.isSafeInteger(value)) throw new RangeError("integer expected");
  return value as number;
}

function integerOrNone(value: unknown): number | undefined {
  return isSome(value) ? integer(value) : undefined;
}

function count(value: unknown): number {
  const n = integer(value);
  if (n < 0) throw new RangeError("negative count");
  return n;
}

function id(value: unknown): bigint {
  if (typeof value !== "bigint") throw new RangeError("id expected");
  return value;
}

function boolean(value: unknown): boolean {
  if (typeof value !== "boolean") throw new RangeError("boolean expected");
  return value;
}

function text(value: unknown): string {
  if (typeof value !== "string") throw new RangeError("text expected");
  return value;
}

function list(value: unknown): Fields {
  if (!Array.isArray(value)) throw new RangeError("list expected");
  return value;
}

function texts(value: unknown): readonly string[] {
  return list(value).map(text);
}

function word<W extends string>(words: readonly W[], value: unknown, what: string): W {
  const found = words[value as number];
  if (typeof value !== "number" || found === undefined) throw new RangeError(`unknown ${what}`);
  return found;
}

function flagsOf(value: unknown, known: number): number {
  if (!isSome(value)) return 0;
  const flags = count(value);
  if ((flags & known) !== flags) throw new RangeError("unknown flag");
  return flags;
}

// --- msgpack ---

function unpack(source: Uint8Array, start: number): Fields {
  // A Buffer's slices are Buffers: keys and values shall be plain bytes, whoever made the frame.
  const plain =
    source.constructor === Uint8Array ? source : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  scan(plain, start);
  return list(packr.unpack(plain, start === 0 ? undefined : { start }));
}

/** Proves that exactly one value follows, made of nothing but what our encoders write. */
function scan(source: Uint8Array, start: number): void {
  const end = source.length;
  /** Values still to come in each array that is open, outermost first. */
  const open: number[] = [];
  let left = 1;
  let at = start;
  for (;;) {
    while (left === 0) {
      const outer = open.pop();
      if (outer === undefined) {
        if (at !== end) throw new RangeError("bytes after the end");
        return;
      }
      left = outer;
    }
    left -= 1;
    if (at >= end) throw new RangeError("ends too early");
    const token = source[at++]!;
    let length = 0;
    if (token < 0x80 || token >= 0xe0) continue;
    else if (token >= 0x90 && token < 0xa0) length = token & 0x0f;
    else if (token >= 0xa0 && token < 0xc0) {
      at += token & 0x1f;
      continue;
    } else {
      switch (token) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          continue;
        case 0xc4:
        case 0xd9:
          at += 1 + lengthAt(source, at, 1);
          continue;
        case 0xc5:
        case 0xda:
          at += 2 + lengthAt(source, at, 2);
          continue;
        case 0xc6:
        case 0xdb:
          at += 4 + lengthAt(source, at, 4);
          continue;
        case 0xcc:
        case 0xd0:
          at += 1;
          continue;
        case 0xcd:
        case 0xd1:
          at += 2;
          continue;
        case 0xce:
        case 0xd2:
          at += 4;
          continue;
        case 0xcb:
        case 0xcf:
        case 0xd3:
          at += 8;
          continue;
        case 0xdc:
          length = lengthAt(source, at, 2);
          at += 2;
          break;
        case 0xdd:
          length = lengthAt(source, at, 4);
          at += 4;
          break;
        default:
          throw new RangeError(`a value of type 0x${token.toString(16)} has no place here`);
      }
    }
    // Each element takes a byte at least: a short message cannot ask for a long array.
    if (length > end - at) throw new RangeError("ends too early");
    if (open.length >= ARRAY_DEPTH_MAX) throw new RangeError("nested too deeply");
    open.push(left);
    left = length;
  }
}

function lengthAt(source: Uint8Array, at: number, size: 1 | 2 | 4): number {
  if (at + size > source.length) throw new RangeError("ends too early");
  let length = 0;
  for (let i = 0; i < size; i++) length = length * 256 + source[at + i]!;
  return length;
}
