import { pack } from "msgpackr";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { type ErrorCode, FAILURES, StoreError } from "../../src/base/errors.ts";
import { clusterId, leaseId, memberId, NO_LEASE, revision, term } from "../../src/base/ids.ts";
import {
  decodeClientHello,
  decodeError,
  decodeRequest,
  decodeResponse,
  decodeServerHello,
  decodeWatchRequest,
  decodeWatchResponse,
  encodeClientHello,
  encodeError,
  encodeRequest,
  encodeResponse,
  encodeServerHello,
  encodeWatchRequest,
  encodeWatchResponse,
  PROTOCOL_VERSION,
  SharedNews,
  WIRE,
} from "../../src/protocol/codec.ts";
import type { KeyValue, Member } from "../../src/protocol/key-value.ts";
import type { LeaderKey, Request, TxnRequest } from "../../src/protocol/requests.ts";
import type { Response, Result } from "../../src/protocol/responses.ts";
import type { WatchRequest, WatchResponse } from "../../src/protocol/watch.ts";
import { expectGoldenLines } from "./golden.ts";

const key = encodeUtf8("key");
const value = encodeUtf8("value");
const stamp = { clusterId: clusterId(0xc1n), memberId: memberId(0xffff_ffff_ffff_fffen) };
const header = { ...stamp, revision: revision(7), raftTerm: term(3) };

const LEADER: LeaderKey = { name: key, key: encodeUtf8("key/5"), revision: 9, lease: leaseId(5n) };

const REQUESTS: Readonly<Record<string, Request>> = {
  range: { kind: "range", key },
  "range of everything": {
    kind: "range",
    key: Uint8Array.of(0),
    rangeEnd: Uint8Array.of(0),
    limit: 10,
    revision: -1,
    sortOrder: "descend",
    sortTarget: "value",
    serializable: true,
    keysOnly: true,
    countOnly: true,
    minModRevision: 1,
    maxModRevision: 2 ** 53 - 1,
    minCreateRevision: 0,
    maxCreateRevision: 300,
  },
  put: { kind: "put", key, value },
  "put with everything": {
    kind: "put",
    key,
    value,
    lease: leaseId(-2n),
    prevKv: true,
    ignoreValue: true,
    ignoreLease: true,
  },
  deleteRange: { kind: "deleteRange", key },
  "deleteRange of a prefix": { kind: "deleteRange", key, rangeEnd: encodeUtf8("kez"), prevKv: true },
  txn: {
    kind: "txn",
    compare: [
      { key, result: "equal", target: "version", version: 0 },
      { key, result: "greater", target: "create", createRevision: 1 },
      { key, result: "less", target: "mod", modRevision: 2 },
      { key, result: "notEqual", target: "value", value },
      { key, rangeEnd: encodeUtf8("l"), result: "equal", target: "lease", lease: leaseId(3n) },
    ],
    success: [{ kind: "put", key, value }],
    failure: [
      { kind: "range", key },
      { kind: "deleteRange", key },
      { kind: "txn", compare: [], success: [], failure: [] },
    ],
  },
  compact: { kind: "compact", revision: 7, physical: true },
  memberList: { kind: "memberList", linearizable: true },
  memberAdd: { kind: "memberAdd", peerUrls: ["ws://a:1", "ws://b:2"], isLearner: true },
  memberRemove: { kind: "memberRemove", id: stamp.memberId },
  memberUpdate: { kind: "memberUpdate", id: memberId(1n), peerUrls: [] },
  memberPromote: { kind: "memberPromote", id: memberId(1n) },
  moveLeader: { kind: "moveLeader", target: memberId(1n) },
  status: { kind: "status" },
  hashKv: { kind: "hashKv", revision: 9 },
  leaseGrant: { kind: "leaseGrant", ttl: 60 },
  "leaseGrant of a chosen id": { kind: "leaseGrant", ttl: -1, id: leaseId(-2n) },
  leaseRevoke: { kind: "leaseRevoke", id: leaseId(0x694dn) },
  leaseKeepAlive: { kind: "leaseKeepAlive", id: leaseId(2n ** 63n - 1n) },
  leaseTimeToLive: { kind: "leaseTimeToLive", id: leaseId(5n) },
  "leaseTimeToLive with keys": { kind: "leaseTimeToLive", id: leaseId(5n), keys: true },
  leaseList: { kind: "leaseList" },
  snapshot: { kind: "snapshot" },
  "snapshot's next part": { kind: "snapshot", session: 7, part: 1 },
  "snapshot no longer wanted": { kind: "snapshot", session: 7, close: true },
  alarm: { kind: "alarm", action: "get" },
  "alarm raised": { kind: "alarm", action: "activate", member: memberId(5n), alarm: "nospace" },
  register: { kind: "register" },
  lock: { kind: "lock", name: key },
  "lock under a lease": { kind: "lock", name: key, lease: leaseId(5n) },
  unlock: { kind: "unlock", key },
  campaign: { kind: "campaign", name: key, value },
  "campaign under a lease": { kind: "campaign", name: key, value, lease: leaseId(-1n) },
  proclaim: { kind: "proclaim", leader: LEADER, value },
  "proclaim of nobody": { kind: "proclaim", value },
  resign: { kind: "resign", leader: LEADER },
  leader: { kind: "leader", name: key },
};

const kv: KeyValue = { key, createRevision: revision(2), modRevision: revision(6), version: 4, value, lease: NO_LEASE };
const leased: KeyValue = { ...kv, lease: leaseId(-1n) };
const member: Member = {
  id: memberId(5n),
  name: "n1",
  peerUrls: ["ws://a:1"],
  clientUrls: ["ws://a:2"],
  isLearner: true,
};
const RESULTS: Readonly<Record<string, Result>> = {
  range: { kind: "range", revision: revision(7), kvs: [kv, leased], more: true, count: 3 },
  put: { kind: "put", revision: revision(7) },
  "put with the previous": { kind: "put", revision: revision(7), prevKv: kv },
  deleteRange: { kind: "deleteRange", revision: revision(7), deleted: 1, prevKvs: [kv] },
  txn: { kind: "txn", revision: revision(7), succeeded: true, results: [{ kind: "put", revision: revision(7) }] },
  compact: { kind: "compact", revision: revision(7) },
  members: { kind: "members", members: [member] },
  "members with the added": { kind: "members", member, members: [member, { ...member, name: "" }] },
  moveLeader: { kind: "moveLeader" },
  status: {
    kind: "status",
    revision: revision(7),
    version: "1.2.3",
    dbSize: 20_480,
    dbSizeInUse: 16_384,
    leader: memberId(5n),
    raftIndex: 10,
    raftTerm: 3,
    raftAppliedIndex: 9,
    errors: ["etcdserver: no leader"],
    isLearner: false,
    stateHash: "a1",
    dbSizeQuota: 2_147_483_648,
  },
  hashKv: { kind: "hashKv", revision: revision(7), hash: 0xffff_ffff, compactRevision: -1, hashRevision: 7 },
  leaseGrant: { kind: "leaseGrant", revision: revision(7), id: leaseId(0x694dn), ttl: 60 },
  leaseRevoke: { kind: "leaseRevoke", revision: revision(8) },
  leaseKeepAlive: { kind: "leaseKeepAlive", id: leaseId(-1n), ttl: 0 },
  leaseTimeToLive: { kind: "leaseTimeToLive", id: leaseId(5n), ttl: -1, grantedTtl: 0, keys: [] },
  "leaseTimeToLive with keys": {
    kind: "leaseTimeToLive",
    id: leaseId(5n),
    ttl: 58,
    grantedTtl: 60,
    keys: [key, value],
  },
  leaseList: { kind: "leaseList", leases: [leaseId(-1n), leaseId(5n)] },
  snapshot: {
    kind: "snapshot",
    revision: revision(7),
    session: 0xffff_ffff,
    bytes: value,
    isLast: false,
    aboutBytes: 4_096,
    version: "1.2.3",
  },
  alarm: { kind: "alarm", alarms: [{ member: memberId(5n), alarm: "corrupt" }] },
  register: { kind: "register", clientId: 17 },
  lock: { kind: "lock", key, token: revision(9) },
  unlock: { kind: "unlock" },
  campaign: { kind: "campaign", leader: LEADER },
  proclaim: { kind: "proclaim" },
  resign: { kind: "resign" },
  leader: { kind: "leader", kv: leased },
};

const ERRORS: Readonly<Record<string, StoreError>> = {
  plain: new StoreError("EMPTY_KEY"),
  unknown: new StoreError("TIMEOUT", { outcome: "unknown" }),
  everything: new StoreError("COMPACTED", {
    outcome: "applied",
    message: "own text",
    details: { compactRevision: 7, lease: 2n ** 63n - 1n, small: 1n, note: "x", late: true },
  }),
};

const WATCH_REQUESTS: Readonly<Record<string, WatchRequest>> = {
  create: { kind: "create", key },
  "create with everything": {
    kind: "create",
    key,
    rangeEnd: encodeUtf8("kez"),
    startRevision: 9,
    watchId: -3,
    noPut: true,
    noDelete: true,
    prevKv: true,
    progressNotify: true,
    fragment: true,
  },
  cancel: { kind: "cancel", watchId: 7 },
  progress: { kind: "progress" },
  observe: { kind: "observe", name: key },
};

const KV: KeyValue = {
  key,
  createRevision: revision(5),
  modRevision: revision(7),
  version: 2,
  value,
  lease: leaseId(4n),
};
const GONE: KeyValue = { ...KV, createRevision: revision(0), version: 0, value: new Uint8Array(0), lease: NO_LEASE };
const NEWS = {
  watchId: 0,
  created: false,
  canceled: false,
  fragment: false,
  compactRevision: 0,
  cancelReason: "",
  events: [],
};

const WATCH_RESPONSES: Readonly<Record<string, WatchResponse>> = {
  created: { ...NEWS, header, created: true },
  "a refused creation": { ...NEWS, header, watchId: -1, created: true, canceled: true, cancelReason: "why" },
  "a compaction": { ...NEWS, header: { ...header, revision: revision(0) }, canceled: true, compactRevision: 12 },
  progress: { ...NEWS, header, watchId: -1 },
  events: {
    ...NEWS,
    header,
    watchId: 3,
    fragment: true,
    events: [
      { type: "put", kv: KV },
      { type: "put", kv: { ...KV, lease: NO_LEASE }, prevKv: KV },
      { type: "delete", kv: GONE },
      { type: "delete", kv: GONE, prevKv: KV },
      { type: "delete", kv: GONE, prevKv: KV, expired: true },
      { type: "delete", kv: GONE, expired: true },
    ],
  },
};

describe("watch streams", () => {
  test.each(Object.entries(WATCH_REQUESTS))("%s comes out as it went in", (_, request) => {
    expect(decodeWatchRequest(Uint8Array.from(encodeWatchRequest(request)))).toStrictEqual(request);
  });

  test.each(Object.entries(WATCH_RESPONSES))("%s comes out as it went in", (_, response) => {
    expect(decodeWatchResponse(Uint8Array.from(encodeWatchResponse(response)))).toStrictEqual(response);
    const stamped = Uint8Array.from(encodeWatchResponse(response, stamp));
    expect(decodeWatchResponse(stamped, stamp)).toStrictEqual(response);
    expect(() => decodeWatchResponse(stamped)).toThrow("no cluster id");
  });

  test("what goes to many is the same bytes as if each were alone, the events encoded once", () => {
    const shared = new SharedNews();
    for (const { header, ...news } of Object.values(WATCH_RESPONSES)) {
      const parts = [1, 2, 3].map((watchId) => {
        const response = { ...news, header, watchId };
        const both = shared.encode(response, stamp);
        expect(Buffer.concat(both)).toEqual(Buffer.from(encodeWatchResponse(response, stamp)));
        return both[1];
      });
      expect(parts[2]).toBe(parts[1]);
    }
    const twice = [1, 2].map(() => shared.encode(WATCH_RESPONSES.events!, stamp)[1].length);
    shared.forget();
    // A message on its own is made in one piece.
    expect(shared.encode(WATCH_RESPONSES.events!, stamp)[1]).toHaveLength(0);
    expect(twice.at(-1)).toBeGreaterThan(0);
  });

  test.each([
    ["an unknown kind", [9]],
    ["a key that is a text", [1, "key"]],
    ["a start that is no integer", [1, key, null, 1.5]],
    ["an unknown flag", [1, key, null, null, 32]],
    ["too much", [1, key, null, null, null, 1, 1]],
    ["a cancel without an id", [2]],
    ["progress with something", [3, 1]],
  ])("refuses a request with %s as INVALID_REQUEST, rejected", (_, fields) => {
    const error = catchError(() => decodeWatchRequest(Uint8Array.from(pack(fields))));
    expect(error).toMatchObject({ code: "INVALID_REQUEST", outcome: "rejected" });
  });

  const put = [key, 5, 7, 2, value];
  test.each([
    ["an unknown flag", [1n, 1n, 7, 3, 0, 8, []]],
    ["an unknown event", [1n, 1n, 7, 3, 0, 0, [[3, put]]]],
    ["a deletion with a value", [1n, 1n, 7, 3, 0, 0, [[1, put]]]],
    ["an event with too much", [1n, 1n, 7, 3, 0, 0, [[0, put, put, put]]]],
    ["a reason that is no text", [1n, 1n, 7, 3, 0, 0, [], 1, 1]],
    ["too much", [1n, 1n, 7, 3, 0, 0, [], 1, "", 1]],
  ])("refuses news with %s", (_, fields) => {
    expect(() => decodeWatchResponse(Uint8Array.from(pack(fields)))).toThrow(RangeError);
  });
});

describe("golden bytes", () => {
  test("of watch streams", () => {
    expectGoldenLines("watches", {
      ...mapValues(WATCH_REQUESTS, (request) => Uint8Array.from(encodeWatchRequest(request))),
      ...mapValues(WATCH_RESPONSES, (response) => Uint8Array.from(encodeWatchResponse(response))),
      "created, ids as in the handshake": Uint8Array.from(encodeWatchResponse(WATCH_RESPONSES.created!, stamp)),
    });
  });

  test("of requests", () => {
    expectGoldenLines(
      "requests",
      mapValues(REQUESTS, (request) => Uint8Array.from(encodeRequest(request))),
    );
  });

  test("of responses", () => {
    const lines = mapValues(RESULTS, (result) => Uint8Array.from(encodeResponse({ header, result })));
    const short = Uint8Array.from(encodeResponse({ header, result: RESULTS.put! }, stamp));
    expectGoldenLines("responses", { ...lines, "put, ids as in the handshake": short });
  });

  test("of errors and the number of each code", () => {
    const codes = (Object.keys(FAILURES) as ErrorCode[]).map((code): [string, Uint8Array] => [
      code,
      Uint8Array.from(encodeError(new StoreError(code))),
    ]);
    expectGoldenLines("errors", {
      ...mapValues(ERRORS, (error) => Uint8Array.from(encodeError(error))),
      ...Object.fromEntries(codes),
    });
  });

  test("of the handshake", () => {
    expectGoldenLines("handshake", {
      version: String(PROTOCOL_VERSION),
      client: Uint8Array.from(encodeClientHello()),
      server: Uint8Array.from(
        encodeServerHello({ ...stamp, maxMessageBytes: 2 << 20, maxCalls: 100, maxCallBytes: 1 << 20 }),
      ),
    });
  });

  test("of the table of numbers", () => {
    const lines = Object.entries(WIRE).flatMap(([table, numbers]) =>
      Object.entries(numbers as Readonly<Record<string, number>>).map(([word, number]): [string, string] => [
        `${table}.${word}`,
        String(number),
      ]),
    );
    expectGoldenLines("numbers", Object.fromEntries(lines));
  });
});

function mapValues<T>(
  table: Readonly<Record<string, T>>,
  map: (value: T) => Uint8Array,
): Readonly<Record<string, Uint8Array>> {
  return Object.fromEntries(Object.entries(table).map(([name, each]) => [name, map(each)]));
}

describe("decodeRequest", () => {
  test.each(Object.entries(REQUESTS))("%s comes out as it went in", (_, request) => {
    expect(decodeRequest(Uint8Array.from(encodeRequest(request)))).toStrictEqual(request);
  });

  test("false and absent are the same on the wire", () => {
    const request: Request = { kind: "range", key, serializable: false, keysOnly: false, limit: undefined };
    expect(decodeRequest(Uint8Array.from(encodeRequest(request)))).toStrictEqual({ kind: "range", key });
  });

  const nested = (depth: number): unknown[] =>
    depth === 0 ? [WIRE.request.txn, [], [], []] : [WIRE.request.txn, [], [nested(depth - 1)], []];
  const table: readonly (readonly [string, unknown])[] = [
    ["no array", 7],
    ["an empty array", []],
    ["an unknown kind", [99]],
    ["a kind that is no number", ["put", key, value]],
    ["a put without a value", [WIRE.request.put, key]],
    ["a put whose key is text", [WIRE.request.put, "key", value]],
    ["a put with too many fields", [WIRE.request.put, key, value, 0, 1n, 1]],
    ["an unknown flag of a put", [WIRE.request.put, key, value, 8]],
    ["a flag that is no number", [WIRE.request.put, key, value, true]],
    ["a lease that is a number", [WIRE.request.put, key, value, 0, 1]],
    ["a lease beyond 64 bits, signed", [WIRE.request.put, key, value, 0, 2n ** 63n]],
    ["a limit that is a fraction", [WIRE.request.range, key, null, null, 1.5]],
    ["a limit that is not a number", [WIRE.request.range, key, null, null, Number.NaN]],
    ["a revision beyond 2^53", [WIRE.request.range, key, null, null, null, 2 ** 53]],
    ["an unknown sort order", [WIRE.request.range, key, null, null, null, null, 3]],
    ["a sort order that is text", [WIRE.request.range, key, null, null, null, null, "length"]],
    ["an unknown sort target", [WIRE.request.range, key, null, null, null, null, 0, -1]],
    ["a range with too many fields", [WIRE.request.range, key, ...new Array(11).fill(null)]],
    ["a txn without branches", [WIRE.request.txn, []]],
    ["a compare in a txn that is none", [WIRE.request.txn, [7], [], []]],
    ["an unknown compare target", [WIRE.request.txn, [[key, 0, 5, 0]], [], []]],
    ["an unknown compare result", [WIRE.request.txn, [[key, 4, 0, 0]], [], []]],
    ["a compare of a version with bytes", [WIRE.request.txn, [[key, 0, 0, value]], [], []]],
    ["an operation of a txn that is none", [WIRE.request.txn, [], [[WIRE.request.status]], []]],
    ["a txn nested too deeply", nested(300)],
    ["a member id of 0", [WIRE.request.memberRemove, 0n]],
    ["a member id that is negative", [WIRE.request.memberRemove, -1n]],
    ["addresses that are no texts", [WIRE.request.memberAdd, [1], false]],
    ["a map", { kind: "put" }],
    ["a map within", [WIRE.request.put, key, { length: 3 }]],
    ["a lock without a name", [WIRE.request.lock]],
    ["a leader key with too little", [WIRE.request.resign, [key, key, 9]]],
    ["a leader key whose revision is negative", [WIRE.request.resign, [key, key, -9, 5n]]],
    ["a date", [WIRE.request.compact, new Date(0), false]],
  ];
  test.each(table)("refuses %s as INVALID_REQUEST, rejected", (_, fields) => {
    const error = catchError(() => decodeRequest(Uint8Array.from(pack(fields))));
    expect(error).toMatchObject({ code: "INVALID_REQUEST", outcome: "rejected" });
    expect(error.message).toMatch(/^quorate: the request is malformed: ./);
  });

  test.each([
    ["a record's definition", [0x91, 0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01]],
    ["an extension", [0x92, 0x0c, 0xc7, 0x01, 0x69, 0x01]],
    ["bundled strings", [0x91, 0xd6, 0x62, 0x00, 0x00, 0x00, 0x01]],
    ["a short float", [0x92, 0x05, 0xca, 0x3f, 0x80, 0x00, 0x00]],
    ["the byte that msgpack never uses", [0x91, 0xc1]],
  ])("refuses %s, which the library would decode", (_, bytes) => {
    expect(catchError(() => decodeRequest(Uint8Array.from(bytes))).message).toContain("has no place here");
  });

  test("a short message that asks for a long array allocates nothing", () => {
    const long = Uint8Array.of(0x91, 0xdd, 0x01, 0xff, 0xff, 0xff, 0x01);
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 100; i++) expect(() => decodeRequest(long)).toThrow("ends too early");
    // One such array would take 256 MiB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 << 20);
  });

  test("a tower of arrays ends in an error, not in a stack overflow", () => {
    const error = catchError(() => decodeRequest(new Uint8Array(1 << 20).fill(0x91)));
    expect(error).toMatchObject({ code: "INVALID_REQUEST" });
    expect(error.message).toContain("nested too deeply");
  });
});

describe("encodeRequest", () => {
  test.each([
    ["an unknown sort order", { kind: "range", key, sortOrder: "sideways" }, "INVALID_SORT_OPTION"],
    ["a sort order out of Object's own", { kind: "range", key, sortOrder: "constructor" }, "INVALID_SORT_OPTION"],
    ["an unknown sort target", { kind: "range", key, sortTarget: "size" }, "INVALID_SORT_OPTION"],
    ["an unknown kind", { kind: "watch", key }, "INVALID_REQUEST"],
    [
      "an unknown operation",
      { kind: "txn", compare: [], success: [{ kind: "compact" }], failure: [] },
      "INVALID_REQUEST",
    ],
    [
      "an unknown compare",
      { kind: "txn", compare: [{ key, result: "constructor", target: "value", value }], success: [], failure: [] },
      "INVALID_REQUEST",
    ],
    ["a txn without branches", { kind: "txn" }, "INVALID_REQUEST"],
    ["a lease beyond 64 bits", { kind: "put", key, value, lease: 2n ** 70n }, "INVALID_REQUEST"],
  ])("%s is refused before it leaves", (_, request, code) => {
    expect(catchError(() => encodeRequest(request as Request))).toMatchObject({ code, outcome: "rejected" });
  });

  test("a txn within txns without end is refused before it leaves", () => {
    const endless: { kind: "txn"; compare: []; success: TxnRequest[]; failure: [] } = {
      kind: "txn",
      compare: [],
      success: [],
      failure: [],
    };
    endless.success.push(endless);
    expect(catchError(() => encodeRequest(endless))).toMatchObject({ code: "TOO_MANY_OPS", outcome: "rejected" });
  });

  test("txns nested as deeply as the server allows pass", () => {
    let txn: TxnRequest = { kind: "txn", compare: [], success: [], failure: [] };
    for (let depth = 1; depth < 256; depth++) txn = { kind: "txn", compare: [], success: [txn], failure: [] };
    expect(decodeRequest(Uint8Array.from(encodeRequest(txn)))).toStrictEqual(txn);
    const deeper: TxnRequest = { kind: "txn", compare: [], success: [txn], failure: [] };
    expect(catchError(() => encodeRequest(deeper)).code).toBe("TOO_MANY_OPS");
  });

  test("the results of txns nested as deeply pass too", () => {
    let result: Result = { kind: "txn", revision: revision(2), succeeded: true, results: [] };
    for (let depth = 1; depth < 256; depth++) {
      result = {
        kind: "txn",
        revision: revision(2),
        succeeded: true,
        results: [result as Extract<Result, { kind: "txn" }>],
      };
    }
    const response: Response = { header, result };
    expect(decodeResponse(Uint8Array.from(encodeResponse(response)))).toStrictEqual(response);
  });
});

describe("decodeResponse", () => {
  test.each(Object.entries(RESULTS))("%s comes out as it went in", (_, result) => {
    expect(decodeResponse(Uint8Array.from(encodeResponse({ header, result })))).toStrictEqual({ header, result });
  });

  const put = [WIRE.result.put, 7];
  const table: readonly (readonly [string, unknown])[] = [
    ["a revision below 0", [1n, 2n, -1, 3, put]],
    ["a term that is a fraction", [1n, 2n, 7, 3.5, put]],
    ["a cluster id of 0", [0n, 2n, 7, 3, put]],
    ["a member id that is a number", [1n, 2, 7, 3, put]],
    ["half a stamp", [null, 2n, 7, 3, put]],
    ["no result", [1n, 2n, 7, 3]],
    ["an unknown result", [1n, 2n, 7, 3, [99]]],
    ["a key-value without a value", [1n, 2n, 7, 3, [WIRE.result.put, 7, [key, 1, 1, 1]]]],
    ["a negative count", [1n, 2n, 7, 3, [WIRE.result.range, 7, -1, false, []]]],
    ["a status within a txn", [1n, 2n, 7, 3, [WIRE.result.txn, 7, true, [[WIRE.result.status]]]]],
    ["too many fields", [1n, 2n, 7, 3, put, 1]],
  ];
  test.each(table)("refuses %s with a RangeError", (_, fields) => {
    expect(() => decodeResponse(Uint8Array.from(pack(fields)), undefined)).toThrow(RangeError);
  });
});

describe("decodeError", () => {
  test("a name out of Object's own is a detail like any other", () => {
    const details = Object.fromEntries([
      ["__proto__", "x"],
      ["constructor", 1],
    ]);
    const decoded = decodeError(Uint8Array.from(encodeError(new StoreError("TIMEOUT", { details }))));
    expect(Object.keys(decoded.details)).toEqual(["__proto__", "constructor"]);
    expect(Object.getPrototypeOf(decoded.details)).toBe(Object.prototype);
  });

  test.each([
    ["code 0", [0, 0]],
    ["an unknown code", [1_000, 0]],
    ["an unknown outcome", [1, 3]],
    ["a message that is no text", [1, 0, 7]],
    ["a detail without a value", [1, 0, null, ["a"]]],
    ["a detail that is nil", [1, 0, null, ["a", null]]],
    ["a bigint that is none", [1, 0, null, ["a", ["0x1"]]]],
    ["a bigint in too many parts", [1, 0, null, ["a", ["1", "2"]]]],
  ] as const)("refuses %s with a RangeError", (_, fields) => {
    expect(() => decodeError(Uint8Array.from(pack(fields)))).toThrow(RangeError);
  });
});

describe("the handshake", () => {
  const hello = { ...stamp, maxMessageBytes: 5, maxCalls: 6, maxCallBytes: 7 };

  test("tells version, ids and limits", () => {
    expect(decodeClientHello(Uint8Array.from(encodeClientHello(9)))).toBe(9);
    expect(decodeServerHello(Uint8Array.from(encodeServerHello(hello)))).toStrictEqual(hello);
  });

  test("another version of the server is named, whatever follows it", () => {
    const other = Uint8Array.from(pack(["quorate", 2, "all", "else"]));
    expect(catchError(() => decodeServerHello(other))).toMatchObject({
      code: "PROTOCOL_VERSION",
      outcome: "rejected",
      message: "quorate: the server speaks protocol version 2, this client version 1",
      details: { server: 2, client: 1 },
    });
  });

  test("later versions may say more", () => {
    expect(decodeClientHello(Uint8Array.from(pack(["quorate", 2, { compression: true }].slice(0, 2))))).toBe(2);
    expect(decodeServerHello(Uint8Array.from(pack(["quorate", 1, 1n, 2n, 3, 4, 5, "more"])))).toMatchObject({
      maxCalls: 4,
    });
  });

  test("whoever speaks another protocol altogether is not taken for one of ours", () => {
    expect(() => decodeClientHello(encodeUtf8("GET / HTTP/1.1"))).toThrow(RangeError);
    expect(() => decodeServerHello(Uint8Array.from(pack(["redis", 1])))).toThrow("not a greeting");
  });
});

function catchError(act: () => unknown): StoreError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(StoreError);
    return error as StoreError;
  }
  return expect.fail("nothing was thrown");
}
