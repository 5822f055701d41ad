/**
 * What travels between client and server, as bytes: requests, answers, errors and the handshake, each a positional
 * msgpack array declared below (fields.ts says how a declaration is read). Numbers on the wire are pinned by golden bytes
 * (test/golden/protocol): append only. Keys and values that come out are copies: they outlive the frame they came in.
 */
import { EMPTY } from "../base/bytes.ts";
import { type ErrorCode, type ErrorDetails, FAILURES, type Outcome, StoreError } from "../base/errors.ts";
import {
  type ClusterId,
  clusterId,
  type LeaseId,
  type MemberId,
  revision as mintRevision,
  NO_LEASE,
  term,
} from "../base/ids.ts";
import {
  arrayOf,
  atMost,
  bits,
  boolean,
  bytes,
  count,
  type Field,
  type Fields,
  flag,
  integer,
  isSome,
  type Layout,
  lease,
  listOf,
  Messages,
  mark,
  member,
  type Numbers,
  oneOf,
  optional,
  orNil,
  readBits,
  readBoolean,
  readBytes,
  readCount,
  readId,
  readInteger,
  readList,
  readRevision,
  readText,
  revision,
  text,
  tuple,
} from "./fields.ts";
import type { KeyValue, Member, ResponseHeader } from "./key-value.ts";
import { pack, unpack } from "./msgpack.ts";
import {
  type AlarmRequest,
  type AlarmType,
  type Compare,
  type CompareResult,
  type LeaderKey,
  type PutRequest,
  type Request,
  type RequestOp,
  type SortOrder,
  type SortTarget,
  TXN_DEPTH_MAX,
  type TxnRequest,
} from "./requests.ts";
import type { Alarm, OpResult, PutResult, RangeResult, Response, Result } from "./responses.ts";
import type { WatchEvent, WatchRequest, WatchResponse } from "./watch.ts";

/** What client and server must agree on. A change that an older side could misread takes a new number. */
export const PROTOCOL_VERSION = 1;

// --- words and flags ---

const SORT_ORDER: Numbers<SortOrder> = { none: 0, ascend: 1, descend: 2 };
const SORT_TARGET: Numbers<SortTarget> = { key: 0, version: 1, create: 2, mod: 3, value: 4 };
const COMPARE_RESULT: Numbers<CompareResult> = { equal: 0, greater: 1, less: 2, notEqual: 3 };
const COMPARE_TARGET: Numbers<Compare["target"]> = { version: 0, create: 1, mod: 2, value: 3, lease: 4 };
const OUTCOME: Numbers<Outcome> = { rejected: 0, unknown: 1, applied: 2 };
const RANGE_FLAG = { serializable: 1, keysOnly: 2, countOnly: 4 } as const;
const PUT_FLAG = { prevKv: 1, ignoreValue: 2, ignoreLease: 4 } as const;
const WATCH_FLAG = { noPut: 1, noDelete: 2, prevKv: 4, progressNotify: 8, fragment: 16 } as const;
const MESSAGE_FLAG = { created: 1, canceled: 2, fragment: 4 } as const;
const EVENT: Numbers<WatchEvent["type"] | "expiry"> = { put: 0, delete: 1, expiry: 2 };
const ALARM_ACTION: Numbers<AlarmRequest["action"]> = { get: 0, activate: 1, deactivate: 2 };
const ALARM_TYPE: Numbers<AlarmType> = { nospace: 1, corrupt: 2 };

const sortOrder = oneOf(SORT_ORDER, "sort order", "INVALID_SORT_OPTION");
const sortTarget = oneOf(SORT_TARGET, "sort target", "INVALID_SORT_OPTION");
const compareResult = oneOf(COMPARE_RESULT, "compare");
const compareTarget = oneOf(COMPARE_TARGET, "compare target");
const outcome = oneOf(OUTCOME, "outcome");
const eventType = oneOf(EVENT, "event");
const alarmAction = oneOf(ALARM_ACTION, "action");
const alarmType = oneOf(ALARM_TYPE, "alarm");

// --- parts of messages ---

/** By hand, as each layout below that says so: they travel most, and a table costs a tenth more (bench/run.ts). */
function writeKeyValue({ key, createRevision, modRevision, version, value, lease }: KeyValue): Fields {
  return lease === NO_LEASE
    ? [key, createRevision, modRevision, version, value]
    : [key, createRevision, modRevision, version, value, lease];
}

function readKeyValue(given: unknown): KeyValue {
  const fields = readList(given);
  atMost(fields, 6);
  return {
    key: readBytes(fields[0]),
    createRevision: readRevision(fields[1]),
    modRevision: readRevision(fields[2]),
    version: readCount(fields[3]),
    value: readBytes(fields[4]),
    lease: fields.length < 6 ? NO_LEASE : lease.read(fields[5]),
  };
}

const keyValue: Field<KeyValue> = { write: writeKeyValue, read: readKeyValue };

const cluster: Field<ClusterId> = { write: (id) => id, read: (value) => clusterId(readId(value)) };

const memberInfo = tuple<Member>({
  id: member,
  name: text,
  peerUrls: listOf(text),
  clientUrls: listOf(text),
  isLearner: boolean,
});

const leaderKey = tuple<LeaderKey>({ name: bytes, key: bytes, revision: count, lease });

const alarm = tuple<Alarm>({ member, alarm: alarmType });

/** What each target is compared with: the property, and its field. */
const OPERAND = {
  version: ["version", integer],
  create: ["createRevision", integer],
  mod: ["modRevision", integer],
  value: ["value", bytes],
  lease: ["lease", lease],
} as const satisfies Record<Compare["target"], readonly [string, Field<number> | Field<Uint8Array> | Field<LeaseId>]>;

const compare: Field<Compare> = arrayOf({
  write(compare) {
    const [result, target] = [compareResult.write(compare.result), compareTarget.write(compare.target)];
    const operand = (compare as unknown as Record<string, unknown>)[OPERAND[compare.target][0]];
    const { key, rangeEnd } = compare;
    return isSome(rangeEnd) ? [key, result, target, operand, rangeEnd] : [key, result, target, operand];
  },
  read(fields) {
    atMost(fields, 5);
    const target = compareTarget.read(fields[2]);
    const [name, field] = OPERAND[target];
    return {
      key: readBytes(fields[0]),
      ...(isSome(fields[4]) ? { rangeEnd: readBytes(fields[4]) } : {}),
      result: compareResult.read(fields[1]),
      target,
      [name]: field.read(fields[3]),
    } as unknown as Compare;
  },
});

// --- requests ---

/** By hand. */
const PUT: Layout<PutRequest> = {
  write(put, number) {
    const flags =
      (put.prevKv === true ? PUT_FLAG.prevKv : 0) |
      (put.ignoreValue === true ? PUT_FLAG.ignoreValue : 0) |
      (put.ignoreLease === true ? PUT_FLAG.ignoreLease : 0);
    if (put.lease !== undefined) return [number, put.key, put.value, flags, put.lease];
    return flags === 0 ? [number, put.key, put.value] : [number, put.key, put.value, flags];
  },
  read(fields) {
    atMost(fields, 5);
    if (fields.length === 3) return { kind: "put", key: readBytes(fields[1]), value: readBytes(fields[2]) };
    const flags = readBits(fields[3], 7);
    return {
      kind: "put",
      key: readBytes(fields[1]),
      value: readBytes(fields[2]),
      ...(isSome(fields[4]) ? { lease: lease.read(fields[4]) } : {}),
      ...((flags & PUT_FLAG.prevKv) !== 0 ? { prevKv: true } : {}),
      ...((flags & PUT_FLAG.ignoreValue) !== 0 ? { ignoreValue: true } : {}),
      ...((flags & PUT_FLAG.ignoreLease) !== 0 ? { ignoreLease: true } : {}),
    };
  },
};

/** An operation within a transaction. */
const op: Field<RequestOp> = { write: (value) => ops.write(value), read: (value) => ops.read(value) };

const REQUESTS = new Messages<Request>("kind of request", {
  range: [
    1,
    {
      key: bytes,
      rangeEnd: optional(bytes),
      ...bits(RANGE_FLAG),
      limit: optional(integer),
      revision: optional(integer),
      sortOrder: optional(sortOrder),
      sortTarget: optional(sortTarget),
      minModRevision: optional(integer),
      maxModRevision: optional(integer),
      minCreateRevision: optional(integer),
      maxCreateRevision: optional(integer),
    },
  ],
  put: [2, { layout: PUT }],
  deleteRange: [3, { key: bytes, rangeEnd: optional(bytes), prevKv: mark }],
  txn: [4, { compare: listOf(compare), success: listOf(op), failure: listOf(op) }],
  compact: [5, { revision: integer, physical: flag }],
  memberList: [6, { linearizable: flag }],
  memberAdd: [7, { peerUrls: listOf(text), isLearner: flag }],
  memberRemove: [8, { id: member }],
  memberUpdate: [9, { id: member, peerUrls: listOf(text) }],
  memberPromote: [10, { id: member }],
  moveLeader: [11, { target: member }],
  status: [12, {}],
  hashKv: [13, { revision: orNil(integer) }],
  leaseGrant: [14, { ttl: integer, id: optional(lease) }],
  leaseRevoke: [15, { id: lease }],
  leaseKeepAlive: [16, { id: lease }],
  leaseTimeToLive: [17, { id: lease, keys: flag }],
  leaseList: [18, {}],
  snapshot: [30, { session: optional(count), part: optional(count), close: mark }],
  alarm: [24, { action: alarmAction, member: optional(member), alarm: optional(alarmType) }],
  register: [19, {}],
  lock: [40, { name: bytes, lease: optional(lease) }],
  unlock: [41, { key: bytes }],
  campaign: [42, { name: bytes, value: bytes, lease: optional(lease) }],
  proclaim: [43, { value: bytes, leader: optional(leaderKey) }],
  resign: [44, { leader: optional(leaderKey) }],
  leader: [45, { name: bytes }],
});
const ops = REQUESTS.only("kind of operation", "range", "put", "deleteRange", "txn");

/**
 * The bytes of a request, valid until the turn ends at least; keep a copy for longer. Throws `StoreError` with outcome
 * "rejected": `TOO_MANY_OPS` for a txn nested too deeply, `INVALID_SORT_OPTION`, `INVALID_REQUEST`.
 */
export function encodeRequest(request: Request): Uint8Array {
  try {
    if (request.kind === "txn") checkDepth(request, 1);
    return pack(REQUESTS.write(request));
  } catch (error) {
    throw malformed(error);
  }
}

/** Throws `INVALID_REQUEST` on anything that `encodeRequest` could not have written, before anything was done. */
export function decodeRequest(source: Uint8Array, start: number = 0): Request {
  try {
    return REQUESTS.read(unpack(source, start));
  } catch (error) {
    throw malformed(error);
  }
}

function malformed(error: unknown): StoreError {
  if (StoreError.is(error)) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new StoreError("INVALID_REQUEST", { message: `${FAILURES.INVALID_REQUEST.message}: ${why}`, cause: error });
}

function checkDepth({ success, failure }: TxnRequest, depth: number): void {
  if (depth > TXN_DEPTH_MAX) throw new StoreError("TOO_MANY_OPS");
  for (const op of success) if (op.kind === "txn") checkDepth(op, depth + 1);
  for (const op of failure) if (op.kind === "txn") checkDepth(op, depth + 1);
}

// --- answers ---

/** By hand. */
const PUT_RESULT: Layout<PutResult> = {
  write: ({ revision, prevKv }, number) =>
    prevKv === undefined ? [number, revision] : [number, revision, writeKeyValue(prevKv)],
  read(fields) {
    atMost(fields, 3);
    const revision = readRevision(fields[1]);
    return fields.length < 3 ? { kind: "put", revision } : { kind: "put", revision, prevKv: readKeyValue(fields[2]) };
  },
};

/** By hand. */
const RANGE_RESULT: Layout<RangeResult> = {
  write: ({ revision, count, more, kvs }, number) => [number, revision, count, more, kvs.map(writeKeyValue)],
  read(fields) {
    atMost(fields, 5);
    return {
      kind: "range",
      revision: readRevision(fields[1]),
      kvs: readList(fields[4]).map(readKeyValue),
      more: readBoolean(fields[3]),
      count: readCount(fields[2]),
    };
  },
};

const opResult: Field<OpResult> = { write: (value) => opResults.write(value), read: (value) => opResults.read(value) };

const RESULTS = new Messages<Result>("kind of result", {
  range: [1, { layout: RANGE_RESULT }],
  put: [2, { layout: PUT_RESULT }],
  deleteRange: [3, { revision, deleted: count, prevKvs: listOf(keyValue) }],
  txn: [4, { revision, succeeded: boolean, results: listOf(opResult) }],
  compact: [5, { revision }],
  members: [6, { members: listOf(memberInfo), member: optional(memberInfo) }],
  moveLeader: [7, {}],
  status: [
    8,
    {
      revision,
      version: text,
      dbSize: count,
      dbSizeInUse: count,
      leader: orNil(member),
      raftIndex: count,
      raftTerm: count,
      raftAppliedIndex: count,
      errors: listOf(text),
      isLearner: boolean,
      stateHash: text,
      dbSizeQuota: count,
    },
  ],
  hashKv: [9, { revision, hash: count, compactRevision: integer, hashRevision: integer }],
  leaseGrant: [10, { revision, id: lease, ttl: integer }],
  leaseRevoke: [11, { revision }],
  leaseKeepAlive: [12, { id: lease, ttl: integer }],
  leaseTimeToLive: [13, { id: lease, ttl: integer, grantedTtl: integer, keys: listOf(bytes) }],
  leaseList: [14, { leases: listOf(lease) }],
  snapshot: [30, { revision, session: count, bytes, isLast: boolean, aboutBytes: count, version: text }],
  alarm: [20, { alarms: listOf(alarm) }],
  register: [15, { clientId: count }],
  lock: [40, { key: bytes, token: revision }],
  unlock: [41, {}],
  campaign: [42, { leader: leaderKey }],
  proclaim: [43, {}],
  resign: [44, {}],
  leader: [45, { kv: keyValue }],
});
const opResults = RESULTS.only("kind of result", "range", "put", "deleteRange", "txn");

/** Ids that the handshake has told: answers under the same ids need not repeat them. */
export interface Stamp {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
}

function isTold(header: ResponseHeader, stamp: Stamp | undefined): boolean {
  return stamp !== undefined && header.memberId === stamp.memberId && header.clusterId === stamp.clusterId;
}

/** The four fields that any answer begins with. */
function readHeader(fields: Fields, stamp: Stamp | undefined): ResponseHeader {
  const told = !isSome(fields[0]) && !isSome(fields[1]);
  if (told && stamp === undefined) throw new RangeError("no cluster id");
  return {
    clusterId: told ? stamp!.clusterId : cluster.read(fields[0]),
    memberId: told ? stamp!.memberId : member.read(fields[1]),
    revision: readRevision(fields[2]),
    raftTerm: term(readInteger(fields[3])),
  };
}

/** The bytes of an answer, valid until the turn ends at least. Ids that equal the stamp's are left out. */
export function encodeResponse({ header, result }: Response, stamp?: Stamp): Uint8Array {
  const fields = RESULTS.write(result);
  return isTold(header, stamp)
    ? pack([null, null, header.revision, header.raftTerm, fields])
    : pack([header.clusterId, header.memberId, header.revision, header.raftTerm, fields]);
}

/** Throws `RangeError` on anything that `encodeResponse` could not have written with the same stamp. */
export function decodeResponse(source: Uint8Array, stamp?: Stamp, start: number = 0): Response {
  const fields = unpack(source, start);
  atMost(fields, 5);
  return { header: readHeader(fields, stamp), result: RESULTS.read(readList(fields[4])) };
}

/** The bytes of a result alone, valid until the turn ends at least: what the request ledger keeps. */
export function encodeResult(result: Result): Uint8Array {
  return pack(RESULTS.write(result));
}

/** Throws `RangeError` on anything that `encodeResult` could not have written. */
export function decodeResult(source: Uint8Array): Result {
  return RESULTS.read(unpack(source, 0));
}

// --- watches ---

const WATCH_REQUESTS = new Messages<WatchRequest>("kind of request", {
  create: [
    1,
    {
      key: bytes,
      rangeEnd: optional(bytes),
      startRevision: optional(integer),
      ...bits(WATCH_FLAG),
      watchId: optional(integer),
    },
  ],
  cancel: [2, { watchId: integer }],
  progress: [3, {}],
  observe: [4, { name: bytes }],
});

/** The bytes of a request on a watch stream, valid until the turn ends at least. Throws `INVALID_REQUEST`. */
export function encodeWatchRequest(request: WatchRequest): Uint8Array {
  try {
    return pack(WATCH_REQUESTS.write(request));
  } catch (error) {
    throw malformed(error);
  }
}

/** Throws `INVALID_REQUEST` on anything that `encodeWatchRequest` could not have written. */
export function decodeWatchRequest(source: Uint8Array, start: number = 0): WatchRequest {
  try {
    return WATCH_REQUESTS.read(unpack(source, start));
  } catch (error) {
    throw malformed(error);
  }
}

/** The bytes of a message on a watch stream, valid until the turn ends at least. Ids that equal the stamp's are left out. */
export function encodeWatchResponse(response: WatchResponse, stamp?: Stamp): Uint8Array {
  const { events, compactRevision, cancelReason } = response;
  const fields = watchHead(response, stamp);
  fields.push(events.map(eventFields));
  if (compactRevision !== 0 || cancelReason !== "") fields.push(compactRevision === 0 ? null : compactRevision);
  if (cancelReason !== "") fields.push(cancelReason);
  return pack(fields);
}

/**
 * The same for what goes to many watchers at once: their events are encoded once, as long as the same array comes again. In
 * two parts, of which the second is of events alone.
 */
export class SharedNews {
  #events: WatchResponse["events"] | undefined;
  #bytes: Uint8Array | undefined;

  /** The parts of the message: one, or the second one shared, to be left as it is. */
  encode(response: WatchResponse, stamp?: Stamp): readonly [Uint8Array, Uint8Array] {
    const { events, compactRevision, cancelReason } = response;
    const isPlain = events.length > 0 && compactRevision === 0 && cancelReason === "";
    if (!isPlain || events !== this.#events) {
      if (isPlain) this.#events = events;
      this.#bytes = undefined;
      return [encodeWatchResponse(response, stamp), EMPTY];
    }
    // Not `slice`: a Buffer's gives a view of the same bytes.
    this.#bytes ??= new Uint8Array(pack(events.map(eventFields)));
    const head = pack(watchHead(response, stamp));
    // An array of so many, and of one more.
    head[0] = head[0]! + 1;
    return [head, this.#bytes];
  }

  /** Lets go of what it keeps. */
  forget(): void {
    this.#events = undefined;
    this.#bytes = undefined;
  }
}

function watchHead({ header, created, canceled, fragment, watchId }: WatchResponse, stamp?: Stamp): unknown[] {
  const told = isTold(header, stamp);
  return [
    told ? null : header.clusterId,
    told ? null : header.memberId,
    header.revision,
    header.raftTerm,
    watchId,
    (created ? MESSAGE_FLAG.created : 0) |
      (canceled ? MESSAGE_FLAG.canceled : 0) |
      (fragment ? MESSAGE_FLAG.fragment : 0),
  ];
}

/** Throws `RangeError` on anything that `encodeWatchResponse` could not have written with the same stamp. */
export function decodeWatchResponse(source: Uint8Array, stamp?: Stamp, start: number = 0): WatchResponse {
  const fields = unpack(source, start);
  atMost(fields, 9);
  const flags = readBits(fields[5], 7);
  return {
    header: readHeader(fields, stamp),
    watchId: readInteger(fields[4]),
    created: (flags & MESSAGE_FLAG.created) !== 0,
    canceled: (flags & MESSAGE_FLAG.canceled) !== 0,
    fragment: (flags & MESSAGE_FLAG.fragment) !== 0,
    events: readList(fields[6]).map(readEvent),
    compactRevision: isSome(fields[7]) ? readInteger(fields[7]) : 0,
    cancelReason: isSome(fields[8]) ? readText(fields[8]) : "",
  };
}

function eventFields({ type, kv, prevKv, expired }: WatchEvent): Fields {
  const word = EVENT[expired === true ? "expiry" : type];
  // Of a deletion the rest is nothing, and the same each time.
  const what = type === "delete" ? [kv.key, kv.modRevision] : writeKeyValue(kv);
  return prevKv === undefined ? [word, what] : [word, what, writeKeyValue(prevKv)];
}

function readEvent(value: unknown): WatchEvent {
  const fields = readList(value);
  atMost(fields, 3);
  const said = eventType.read(fields[0]);
  return {
    type: said === "put" ? "put" : "delete",
    kv: said === "put" ? readKeyValue(fields[1]) : readDeletion(readList(fields[1])),
    ...(fields.length > 2 ? { prevKv: readKeyValue(fields[2]) } : {}),
    ...(said === "expiry" ? { expired: true } : {}),
  };
}

function readDeletion(fields: Fields): KeyValue {
  atMost(fields, 2);
  const [none, modRevision] = [mintRevision(0), readRevision(fields[1])];
  return { key: readBytes(fields[0]), createRevision: none, modRevision, version: 0, value: EMPTY, lease: NO_LEASE };
}

// --- errors ---

const ERROR_CODES = Object.keys(FAILURES) as readonly ErrorCode[];

/** Names and values in turn. A bigint travels as a text in an array of one, so that it is a bigint again whatever its size. */
const details: Field<ErrorDetails> = {
  write: (details) =>
    Object.entries(details).flatMap(([name, value]) => [name, typeof value === "bigint" ? [value.toString()] : value]),
  read(value) {
    const fields = readList(value);
    if (fields.length % 2 !== 0) throw new RangeError("a detail without a value");
    const entries: [string, string | number | bigint | boolean][] = [];
    for (let i = 0; i < fields.length; i += 2) entries.push([readText(fields[i]), readDetail(fields[i + 1])]);
    // Defines each as its own property, whatever its name is.
    return Object.fromEntries(entries);
  },
};

function readDetail(value: unknown): string | number | bigint | boolean {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  const [digits, ...more] = readList(value);
  if (more.length > 0 || !/^-?[0-9]{1,40}$/.test(readText(digits))) throw new RangeError("malformed detail");
  return BigInt(readText(digits));
}

interface WireError {
  /** By the order of `FAILURES`, from 1. */
  readonly code: number;
  readonly outcome: Outcome;
  readonly message?: string | undefined;
  readonly details?: ErrorDetails | undefined;
}
const wireError = tuple<WireError>({
  code: count,
  outcome,
  message: optional(text),
  details: optional(details),
});

/** Code, outcome, message and details of an error: all that a caller on the other side can use. Its cause stays here. */
export function encodeError({ code, outcome, message, details }: StoreError): Uint8Array {
  const parts: WireError = {
    code: ERROR_CODES.indexOf(code) + 1,
    outcome,
    message: message === FAILURES[code].message ? undefined : message,
    details: Object.keys(details).length === 0 ? undefined : details,
  };
  return pack(wireError.write(parts) as Fields);
}

/** Throws `RangeError` on anything that `encodeError` could not have written. */
export function decodeError(source: Uint8Array, start: number = 0): StoreError {
  const { code: number, ...said } = wireError.read(unpack(source, start));
  const code = ERROR_CODES[number - 1];
  if (code === undefined) throw new RangeError("unknown error code");
  return new StoreError(code, said);
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
  return pack([GREETING, version]);
}

/** The version of a client. Throws `RangeError` if it does not speak this protocol at all. */
export function decodeClientHello(bytes: Uint8Array, start: number = 0): number {
  // Later versions may append fields: only what every version has is read.
  const fields = unpack(bytes, start);
  if (fields[0] !== GREETING) throw new RangeError("not a greeting");
  return readCount(fields[1]);
}

export function encodeServerHello(hello: ServerHello, version: number = PROTOCOL_VERSION): Uint8Array {
  const { clusterId, memberId, maxMessageBytes, maxCalls, maxCallBytes } = hello;
  return pack([GREETING, version, clusterId, memberId, maxMessageBytes, maxCalls, maxCallBytes]);
}

/** Throws `PROTOCOL_VERSION` if the server speaks another version, `RangeError` if it is no server at all. */
export function decodeServerHello(bytes: Uint8Array, start: number = 0): ServerHello {
  const fields = unpack(bytes, start);
  if (fields[0] !== GREETING) throw new RangeError("not a greeting");
  const version = readCount(fields[1]);
  if (version !== PROTOCOL_VERSION) {
    throw new StoreError("PROTOCOL_VERSION", {
      message: `quorate: the server speaks protocol version ${version}, this client version ${PROTOCOL_VERSION}`,
      details: { server: version, client: PROTOCOL_VERSION },
    });
  }
  return {
    clusterId: cluster.read(fields[2]),
    memberId: member.read(fields[3]),
    maxMessageBytes: readCount(fields[4]),
    maxCalls: readCount(fields[5]),
    maxCallBytes: readCount(fields[6]),
  };
}

/** Every number that stands for a word on the wire, but for error codes. Pinned by test/golden/protocol/numbers.txt. */
export const WIRE: {
  readonly request: Numbers<Request["kind"]>;
  readonly result: Numbers<Result["kind"]>;
  readonly [words: string]: Numbers;
} = {
  request: REQUESTS.numbers,
  result: RESULTS.numbers,
  sortOrder: SORT_ORDER,
  sortTarget: SORT_TARGET,
  compareResult: COMPARE_RESULT,
  compareTarget: COMPARE_TARGET,
  outcome: OUTCOME,
  rangeFlag: RANGE_FLAG,
  putFlag: PUT_FLAG,
  watchRequest: WATCH_REQUESTS.numbers,
  watchFlag: WATCH_FLAG,
  messageFlag: MESSAGE_FLAG,
  event: EVENT,
  alarmAction: ALARM_ACTION,
  alarmType: ALARM_TYPE,
};
