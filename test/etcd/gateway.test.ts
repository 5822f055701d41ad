import { describe, expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import { bytes } from "../support/state.ts";
import type { CallRequest } from "./answer.ts";
import { answerOfGateway, bodyOf, pathOf, watchBodyOf, watchMessageOfGateway } from "./gateway.ts";

const sent = (request: CallRequest): unknown => JSON.parse(JSON.stringify(bodyOf(request)));

describe("a request to the gateway", () => {
  test("has every option of a range, by its name in the .proto", () => {
    const request: CallRequest = {
      kind: "range",
      key: bytes("a"),
      rangeEnd: bytes("\0"),
      limit: -1,
      revision: 5,
      sortOrder: "descend",
      sortTarget: "create",
      serializable: true,
      keysOnly: true,
      countOnly: false,
      minModRevision: 1,
      maxModRevision: 2,
      minCreateRevision: 3,
      maxCreateRevision: Number.MAX_SAFE_INTEGER,
    };
    expect(pathOf(request)).toBe("/v3/kv/range");
    expect(sent(request)).toEqual({
      key: "YQ==",
      range_end: "AA==",
      limit: "-1",
      revision: "5",
      sort_order: "DESCEND",
      sort_target: "CREATE",
      serializable: true,
      keys_only: true,
      count_only: false,
      min_mod_revision: "1",
      max_mod_revision: "2",
      min_create_revision: "3",
      max_create_revision: "9007199254740991",
    });
  });

  test("leaves out what the request leaves out", () => {
    expect(sent({ kind: "range", key: bytes("a") })).toEqual({ key: "YQ==" });
    expect(sent({ kind: "compact", revision: -1 })).toEqual({ revision: "-1" });
  });

  test("nests transactions, with each target of a compare", () => {
    const key = bytes("\xff");
    const request: CallRequest = {
      kind: "txn",
      compare: [
        { key, target: "version", result: "equal", version: 1 },
        { key, target: "create", result: "greater", createRevision: 2 },
        { key, target: "mod", result: "less", modRevision: 3 },
        { key, target: "value", result: "notEqual", value: bytes("v"), rangeEnd: bytes("\0") },
        { key, target: "lease", result: "equal", lease: leaseId(-1n) },
      ],
      success: [
        { kind: "put", key, value: bytes(""), lease: leaseId(7n), prevKv: true, ignoreValue: true, ignoreLease: true },
        { kind: "deleteRange", key, rangeEnd: bytes("\0"), prevKv: true },
      ],
      failure: [{ kind: "txn", compare: [], success: [{ kind: "range", key }], failure: [] }],
    };
    expect(pathOf(request)).toBe("/v3/kv/txn");
    expect(sent(request)).toEqual({
      compare: [
        { key: "/w==", target: "VERSION", result: "EQUAL", version: "1" },
        { key: "/w==", target: "CREATE", result: "GREATER", create_revision: "2" },
        { key: "/w==", target: "MOD", result: "LESS", mod_revision: "3" },
        { key: "/w==", target: "VALUE", result: "NOT_EQUAL", value: "dg==", range_end: "AA==" },
        { key: "/w==", target: "LEASE", result: "EQUAL", lease: "-1" },
      ],
      success: [
        {
          request_put: { key: "/w==", value: "", lease: "7", prev_kv: true, ignore_value: true, ignore_lease: true },
        },
        { request_delete_range: { key: "/w==", range_end: "AA==", prev_kv: true } },
      ],
      failure: [{ request_txn: { compare: [], success: [{ request_range: { key: "/w==" } }], failure: [] } }],
    });
  });
});

test("a lease's request has the names of the .proto, and each its path", () => {
  const id = leaseId(-(2n ** 63n));
  const requests: readonly (readonly [CallRequest, string, object])[] = [
    [{ kind: "leaseGrant", ttl: 60, id }, "/v3/lease/grant", { TTL: "60", ID: "-9223372036854775808" }],
    [{ kind: "leaseRevoke", id }, "/v3/lease/revoke", { ID: "-9223372036854775808" }],
    [{ kind: "leaseKeepAlive", id }, "/v3/lease/keepalive", { ID: "-9223372036854775808" }],
    [{ kind: "leaseTimeToLive", id, keys: true }, "/v3/lease/timetolive", { ID: "-9223372036854775808", keys: true }],
    [{ kind: "leaseList" }, "/v3/lease/leases", {}],
  ];
  for (const [request, path, body] of requests) expect([pathOf(request), sent(request)]).toEqual([path, body]);
});

test("a watch stream's requests have the names of the .proto", () => {
  const create = { kind: "create", key: bytes("a"), rangeEnd: bytes("\0"), startRevision: -2, watchId: 7 } as const;
  const options = { noPut: true, noDelete: true, prevKv: true, progressNotify: true, fragment: true };
  expect(watchBodyOf({ ...create, ...options })).toEqual({
    create_request: {
      ...{ key: "YQ==", range_end: "AA==", start_revision: "-2", watch_id: "7", filters: ["NOPUT", "NODELETE"] },
      ...{ prev_kv: true, progress_notify: true, fragment: true },
    },
  });
  expect(watchBodyOf({ kind: "create", key: bytes("a") })).toMatchObject({ create_request: { filters: [] } });
  expect(watchBodyOf({ kind: "cancel", watchId: 0 })).toEqual({ cancel_request: { watch_id: "0" } });
  expect(watchBodyOf({ kind: "progress" })).toEqual({ progress_request: {} });
});

describe("an answer of the gateway", () => {
  const header = { cluster_id: "324952591200643719", member_id: "33", revision: "9", raft_term: "2" };
  const read = (kind: CallRequest["kind"], json: object) => {
    const request: Record<CallRequest["kind"], CallRequest> = {
      range: { kind: "range", key: bytes("a") },
      put: { kind: "put", key: bytes("a"), value: bytes("") },
      deleteRange: { kind: "deleteRange", key: bytes("a") },
      txn: { kind: "txn", compare: [], success: [], failure: [] },
      compact: { kind: "compact", revision: 1 },
      leaseGrant: { kind: "leaseGrant", ttl: 60 },
      leaseRevoke: { kind: "leaseRevoke", id: leaseId(7n) },
      leaseKeepAlive: { kind: "leaseKeepAlive", id: leaseId(7n) },
      leaseTimeToLive: { kind: "leaseTimeToLive", id: leaseId(7n) },
      leaseList: { kind: "leaseList" },
    };
    return answerOfGateway(request[kind], JSON.stringify(json));
  };
  const kv = { key: "/w==", create_revision: "2", mod_revision: "3", version: "2", value: "AA==", lease: "-5" };
  const kvRead = { key: "\xff", createRevision: 2, modRevision: 3, version: 2, value: "\0", lease: "-5" };

  test("what it leaves out is zero, false or empty", () => {
    expect(read("range", { header })).toEqual({
      kind: "granted",
      revision: 9,
      result: { kind: "range", kvs: [], more: false, count: 0 },
    });
    expect(read("put", { header })).toMatchObject({ result: { kind: "put", prevKv: undefined } });
    expect(read("deleteRange", { header })).toMatchObject({ result: { deleted: 0, prevKvs: [] } });
    expect(read("compact", { header })).toEqual({ kind: "granted", revision: 9, result: { kind: "compact" } });
    expect(read("range", { header, kvs: [{ key: "YQ==", mod_revision: "3" }] })).toMatchObject({
      result: { kvs: [{ key: "a", createRevision: 0, modRevision: 3, version: 0, value: "", lease: "0" }] },
    });
  });

  test("a transaction's has one per operation, each with its own revision; a nested header is empty", () => {
    const responses = [
      { response_range: { header: { revision: "8" }, kvs: [kv], more: true, count: "4" } },
      { response_put: { header: { revision: "9" }, prev_kv: kv } },
      { response_delete_range: { header: { revision: "9" }, deleted: "1", prev_kvs: [kv] } },
      { response_txn: { header: {} } },
    ];
    expect(read("txn", { header, succeeded: true, responses })).toEqual({
      kind: "granted",
      revision: 9,
      result: {
        kind: "txn",
        succeeded: true,
        results: [
          { revision: 8, result: { kind: "range", kvs: [kvRead], more: true, count: 4 } },
          { revision: 9, result: { kind: "put", prevKv: kvRead } },
          { revision: 9, result: { kind: "deleteRange", deleted: 1, prevKvs: [kvRead] } },
          { revision: 0, result: { kind: "txn", succeeded: false, results: [] } },
        ],
      },
    });
  });

  test("a lease's", () => {
    const granted = (result: object): object => ({ kind: "granted", revision: 9, result });
    expect(read("leaseGrant", { header, ID: "-7", TTL: "60" })).toEqual(
      granted({ kind: "leaseGrant", id: "-7", ttl: 60 }),
    );
    expect(read("leaseRevoke", { header })).toEqual(granted({ kind: "leaseRevoke" }));
    expect(read("leaseKeepAlive", { result: { header, ID: "7" } })).toEqual(
      granted({ kind: "leaseKeepAlive", id: "7", ttl: 0 }),
    );
    expect(read("leaseTimeToLive", { header, ID: "7", TTL: "59", grantedTTL: "60", keys: ["YQ==", "/w=="] })).toEqual(
      granted({ kind: "leaseTimeToLive", id: "7", ttl: 59, grantedTtl: 60, keys: ["a", "\xff"] }),
    );
    expect(read("leaseTimeToLive", { header, ID: "7", TTL: "-1" })).toEqual(
      granted({ kind: "leaseTimeToLive", id: "7", ttl: -1, grantedTtl: 0, keys: [] }),
    );
    expect(read("leaseList", { header, leases: [{ ID: "7" }, { ID: "-7" }] })).toEqual(
      granted({ kind: "leaseList", leases: ["7", "-7"] }),
    );
    expect(read("leaseList", { header })).toEqual(granted({ kind: "leaseList", leases: [] }));
  });

  test("a watch stream's", () => {
    const events = [
      { kv, prev_kv: kv },
      { type: "DELETE", kv: { key: "/w==", mod_revision: "4" } },
    ];
    const nothing = {
      watchId: 0,
      created: false,
      canceled: false,
      compactRevision: 0,
      cancelReason: "",
      fragment: false,
    };
    const message = (result: object) => watchMessageOfGateway(JSON.stringify({ result }));
    expect(message({ header, watch_id: "3", fragment: true, events })).toEqual({
      ...{ ...nothing, revision: 9, watchId: 3, fragment: true },
      events: [
        { type: "put", kv: kvRead, prevKv: kvRead },
        {
          type: "delete",
          kv: { key: "\xff", createRevision: 0, modRevision: 4, version: 0, value: "", lease: "0" },
          prevKv: undefined,
        },
      ],
    });
    expect(message({ header, watch_id: "-1", created: true, canceled: true, cancel_reason: "no" })).toEqual({
      ...{ ...nothing, revision: 9, watchId: -1, created: true, canceled: true, cancelReason: "no", events: [] },
    });
    const { revision: _, ...unstamped } = header;
    expect(message({ header: unstamped, canceled: true, compact_revision: "5" })).toEqual({
      ...{ ...nothing, revision: 0, canceled: true, compactRevision: 5, events: [] },
    });
    expect(() => message({ header, progress: true })).toThrow("not compared");
    expect(() => message({ header, events: [{ type: "EXPIRE", kv }] })).toThrow("not a type of event");
    expect(() => watchMessageOfGateway('{"error":{"code":14,"message":"no leader"}}')).toThrow("not compared");
  });

  test("an error is a refusal, whatever was asked", () => {
    const error = { error: "no", message: "no", code: 11 };
    for (const kind of ["range", "compact"] as const) {
      expect(read(kind, error)).toEqual({ kind: "refused", code: 11, message: "no" });
    }
  });

  const strange: readonly (readonly [string, CallRequest["kind"], object])[] = [
    ["a field of an answer that nobody compares", "range", { header, total: "4" }],
    ["a field of a key-value", "range", { header, kvs: [{ ...kv, flags: "1" }] }],
    ["a field of a header", "put", { header: { ...header, zone: "eu" } }],
    ["a field of a compaction", "compact", { header, compact_revision: "3" }],
    ["an answer without a header", "put", {}],
    ["a number where text is due", "range", { header, count: 4 }],
    ["two responses in one", "txn", { header, responses: [{ response_put: { header }, response_range: { header } }] }],
    ["an unknown response", "txn", { header, responses: [{ response_watch: { header } }] }],
  ];
  test.each(strange)("%s is an error", (_name, kind, json) => {
    expect(() => read(kind, json)).toThrow(/not /);
  });
});
