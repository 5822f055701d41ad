import { describe, expect, test } from "vitest";
import { type ErrorCode, StoreError } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import { checkCompact, checkDeleteRange, checkHashKv, checkPut, checkRange, checkTxn } from "../../src/kv/check.ts";
import type { Compare, PutRequest, RangeRequest, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import { TXN_DEPTH_MAX } from "../../src/protocol/requests.ts";
import { bytes } from "../support/state.ts";

const NONE = new Uint8Array();
const range = (more: Partial<RangeRequest> = {}): RangeRequest => ({ kind: "range", key: bytes("k"), ...more });
const put = (key: string, more: Partial<PutRequest> = {}): PutRequest => ({
  kind: "put",
  key: bytes(key),
  value: NONE,
  ...more,
});
const del = (key: string, end?: string): RequestOp => ({
  kind: "deleteRange",
  key: bytes(key),
  ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
});
const txn = (success: RequestOp[], failure: RequestOp[] = [], compare: Compare[] = []): TxnRequest => ({
  kind: "txn",
  compare,
  success,
  failure,
});
const version = (key: string): Compare => ({ key: bytes(key), result: "equal", target: "version", version: 0 });
const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/** What callers without types can send. */
function wrong<T>(value: unknown): T {
  return value as T;
}

function codeOf(check: () => void): ErrorCode | "ok" {
  try {
    check();
    return "ok";
  } catch (error) {
    if (!StoreError.is(error)) throw error;
    expect(error.outcome).toBe("rejected");
    return error.code;
  }
}

describe("each refusal has etcd's status and text", () => {
  const long = times(129, (i) => put(`k${i}`));
  const cases: readonly (readonly [string, () => void, string, string])[] = [
    [
      "range without a key",
      () => checkRange(range({ key: NONE })),
      "INVALID_ARGUMENT",
      "etcdserver: key is not provided",
    ],
    [
      "range with an unknown order",
      () => checkRange(range({ sortOrder: wrong("sideways") })),
      "INVALID_ARGUMENT",
      "etcdserver: invalid sort option",
    ],
    [
      "range with an unknown target",
      () => checkRange(range({ sortTarget: wrong(7) })),
      "INVALID_ARGUMENT",
      "etcdserver: invalid sort option",
    ],
    ["put without a key", () => checkPut(put("")), "INVALID_ARGUMENT", "etcdserver: key is not provided"],
    [
      "put with a value and ignoreValue",
      () => checkPut(put("k", { value: bytes("v"), ignoreValue: true })),
      "INVALID_ARGUMENT",
      "etcdserver: value is provided",
    ],
    [
      "put with a lease and ignoreLease",
      () => checkPut(put("k", { lease: leaseId(1), ignoreLease: true })),
      "INVALID_ARGUMENT",
      "etcdserver: lease is provided",
    ],
    [
      "delete without a key",
      () => checkDeleteRange({ kind: "deleteRange", key: NONE }),
      "INVALID_ARGUMENT",
      "etcdserver: key is not provided",
    ],
    [
      "txn with 129 operations",
      () => checkTxn(txn(long), 128),
      "INVALID_ARGUMENT",
      "etcdserver: too many operations in txn request",
    ],
    [
      "txn that puts a key twice",
      () => checkTxn(txn([put("k"), put("k")]), 128),
      "INVALID_ARGUMENT",
      "etcdserver: duplicate key given in txn request",
    ],
    [
      "txn with an operation that is none",
      () => checkTxn(txn([wrong({})]), 128),
      "INVALID_ARGUMENT",
      "etcdserver: key not found",
    ],
  ];
  test.each(cases)("%s", (_name, check, status, message) => {
    let thrown: unknown;
    try {
      check();
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ name: "StoreError", status, message, outcome: "rejected" });
  });
});

describe("checkRange", () => {
  test("every option of etcd passes", () => {
    for (const sortOrder of [undefined, "none", "ascend", "descend"] as const) {
      for (const sortTarget of [undefined, "key", "version", "create", "mod", "value"] as const) {
        expect(codeOf(() => checkRange(range({ sortOrder, sortTarget, limit: -1, revision: -5 })))).toBe("ok");
      }
    }
  });
  test("the key is looked at before the sort options", () => {
    expect(codeOf(() => checkRange(range({ key: NONE, sortOrder: wrong(9) })))).toBe("EMPTY_KEY");
  });
});

describe("checkPut", () => {
  const all = { value: bytes("v"), ignoreValue: true, lease: leaseId(5), ignoreLease: true };
  test("key, then value, then lease", () => {
    expect(codeOf(() => checkPut(put("", all)))).toBe("EMPTY_KEY");
    expect(codeOf(() => checkPut(put("k", all)))).toBe("VALUE_PROVIDED");
    expect(codeOf(() => checkPut(put("k", { ...all, value: NONE })))).toBe("LEASE_PROVIDED");
  });
  test("lease 0 is no lease", () => {
    expect(codeOf(() => checkPut(put("k", { lease: leaseId(0), ignoreLease: true })))).toBe("ok");
  });
});

describe("checkTxn: the order of checks", () => {
  const cases: readonly (readonly [string, TxnRequest, ErrorCode | "ok"])[] = [
    [
      "the count comes before an empty compare key",
      txn(
        times(129, (i) => put(`${i}`)),
        [],
        [version("")],
      ),
      "TOO_MANY_OPS",
    ],
    ["compares come before operations", txn([wrong({})], [], [version("")]), "EMPTY_KEY"],
    ["success comes before failure", txn([wrong({})], [put("")]), "KEY_NOT_FOUND"],
    ["failure is checked too", txn([], [put("")]), "EMPTY_KEY"],
    ["operations come before duplicates", txn([put("k"), put("k")], [put("")]), "EMPTY_KEY"],
    ["a nested transaction is checked in its place", txn([txn([put("")]), wrong({})]), "EMPTY_KEY"],
    ["nothing at all is fine", txn([]), "ok"],
  ];
  test.each(cases)("%s", (_name, request, expected) => {
    expect(codeOf(() => checkTxn(request, 128))).toBe(expected);
  });
});

describe("checkTxn: how many operations", () => {
  const puts = (count: number, prefix = ""): RequestOp[] => times(count, (i) => put(`${prefix}${i}`));
  const cases: readonly (readonly [string, TxnRequest, ErrorCode | "ok"])[] = [
    [
      "128 in each list",
      txn(
        puts(128),
        puts(128),
        times(128, () => version("k")),
      ),
      "ok",
    ],
    [
      "129 compares",
      txn(
        [],
        [],
        times(129, () => version("k")),
      ),
      "TOO_MANY_OPS",
    ],
    ["129 in failure", txn([], puts(129)), "TOO_MANY_OPS"],
    ["one in the parent leaves 127 for a nested one", txn([txn(puts(127))]), "ok"],
    ["and not 128", txn([txn(puts(128))]), "TOO_MANY_OPS"],
    [
      "the parent's longest list counts, compares too",
      txn(
        [txn(puts(100))],
        [],
        times(29, () => version("k")),
      ),
      "TOO_MANY_OPS",
    ],
    ["siblings have an allowance each", txn([txn(puts(126, "a")), txn(puts(126, "b"))]), "ok"],
    ["128 parents leave nothing", txn([txn([]), ...puts(127)]), "ok"],
    ["not even one", txn([txn(puts(1, "n")), ...puts(127)]), "TOO_MANY_OPS"],
  ];
  test.each(cases)("%s", (_name, request, expected) => {
    expect(codeOf(() => checkTxn(request, 128))).toBe(expected);
  });
  test("nesting is bounded whatever the limit of operations", () => {
    const nested = (depth: number): TxnRequest => (depth === 1 ? txn([]) : txn([nested(depth - 1)]));
    expect(codeOf(() => checkTxn(nested(TXN_DEPTH_MAX), 10_000))).toBe("ok");
    expect(codeOf(() => checkTxn(nested(TXN_DEPTH_MAX + 1), 10_000))).toBe("TOO_MANY_OPS");
  });
});

describe("checkTxn: one key, one change", () => {
  const no = "DUPLICATE_KEY";
  const cases: readonly (readonly [string, RequestOp[], ErrorCode | "ok"])[] = [
    ["two puts of different keys", [put("a"), put("b")], "ok"],
    ["two puts of one key", [put("a"), put("a")], no],
    ["a put, then a delete that covers it", [put("b"), del("a", "c")], no],
    ["a delete, then a put that it covers", [del("a", "c"), put("b")], no],
    ["a delete of the very key", [del("a"), put("a")], no],
    ["a delete of one key and a put of the next", [del("a"), put("a\0")], "ok"],
    ["a delete up to the key", [del("a", "b"), put("b")], "ok"],
    ["a delete that ends before it begins", [del("c", "a"), put("b"), put("c")], "ok"],
    ["a delete that ends where it begins", [del("b", "b"), put("b")], "ok"],
    ["two deletes that overlap", [del("a", "c"), del("b", "d")], "ok"],
    ["reads of what is put", [put("a"), range({ key: bytes("a") })], "ok"],
    ["hole: delete to the end, then put", [del("a", "\0"), put("b")], "ok"],
    ["hole: put, then delete to the end", [put("b"), del("a", "\0")], "ok"],
    ["hole: delete everything, then put", [del("\0", "\0"), put("b")], "ok"],
    ["hole: a nested put, a later sibling's delete", [txn([put("a")]), txn([del("a")])], "ok"],
    ["a nested delete, a later sibling's put", [txn([del("a")]), txn([put("a")])], no],
    ["a nested put and a put beside it", [txn([put("a")]), put("a")], no],
    ["the same, the other way round", [put("a"), txn([put("a")])], no],
    ["a nested put and a delete beside it", [txn([put("a")]), del("a")], no],
    ["a nested delete and a put beside it", [put("a"), txn([del("a")])], no],
    ["a nested put in each branch", [txn([put("a")], [put("a")])], "ok"],
    ["and again in a sibling", [txn([put("a")], [put("a")]), txn([put("a")])], no],
    ["a sibling's other branch", [txn([put("a")]), txn([], [put("a")])], no],
    ["a nested put, a delete in its other branch", [txn([put("a")], [del("a")])], "ok"],
    ["a put beside it would meet that delete", [txn([], [del("a")]), put("a")], no],
    ["three floors down", [txn([txn([txn([put("a")])])]), put("a")], no],
    ["in two branches, three floors down", [txn([txn([put("a")])], [txn([put("a")])])], "ok"],
    ["intervals that touch are still two", [del("a", "b"), del("b", "c"), put("c")], "ok"],
    ["a gap between intervals", [del("a", "b"), del("c", "d"), put("b")], "ok"],
    ["one interval within another", [del("a", "z"), del("b", "c"), put("d")], no],
    ["one interval over many", [del("b", "c"), del("d", "e"), del("f", "g"), del("a", "h"), put("c")], no],
  ];
  test.each(cases)("%s", (_name, ops, expected) => {
    expect(codeOf(() => checkTxn(txn(ops), 128))).toBe(expected);
    expect(codeOf(() => checkTxn(txn([], ops), 128))).toBe(expected);
  });
  test("the two branches never meet", () => {
    expect(codeOf(() => checkTxn(txn([put("a")], [put("a"), del("b")]), 128))).toBe("ok");
  });
  test("a wide and deep transaction is checked in little time", () => {
    // 36 floors, each with deletes of its own, above 16,384 puts: within what a request of 1.5 MiB can hold.
    let leaf = 0;
    const tree = (floors: number): RequestOp[] =>
      floors === 0
        ? times(4, () => put(`k${String(leaf++).padStart(6, "0")}`))
        : [txn(tree(floors - 1), tree(floors - 1))];
    let ops = tree(12);
    for (let i = 0; i < 36; i++) ops = [txn(ops), del(`d${i}`), del(`e${i}`, `e${i}z`)];
    const before = process.cpuUsage();
    expect(codeOf(() => checkTxn(txn(ops), 128))).toBe("ok");
    const { user, system } = process.cpuUsage(before);
    expect(leaf).toBe(16_384);
    // Quadratic work would take minutes; this bound holds on a busy machine.
    expect((user + system) / 1_000).toBeLessThan(5_000);
  });
});

describe("what no type lets through is INVALID_REQUEST", () => {
  const cases: readonly (readonly [string, () => void])[] = [
    ["a key that is text", () => checkPut(put("k", { key: wrong("k") }))],
    ["no key at all", () => checkRange(wrong({ kind: "range" }))],
    ["a value that is text", () => checkPut(put("k", { value: wrong("v") }))],
    ["no value", () => checkPut(put("k", { value: wrong(undefined) }))],
    ["a lease that is a number", () => checkPut(put("k", { lease: wrong(0) }))],
    ["the same with ignoreLease", () => checkPut(put("k", { lease: wrong(0), ignoreLease: true }))],
    ["a lease beyond 64 bits", () => checkPut(put("k", { lease: wrong(1n << 63n) }))],
    ["a range end that is text", () => checkRange(range({ rangeEnd: wrong("z") }))],
    [
      "a delete's range end that is text",
      () => checkDeleteRange({ kind: "deleteRange", key: bytes("k"), rangeEnd: wrong("z") }),
    ],
    ["a limit that is a fraction", () => checkRange(range({ limit: 1.5 }))],
    ["a limit that is text", () => checkRange(range({ limit: wrong("3") }))],
    ["a revision beyond 2^53", () => checkRange(range({ revision: 2 ** 53 }))],
    ["a revision that is not a number", () => checkRange(range({ revision: Number.NaN }))],
    ["minModRevision", () => checkRange(range({ minModRevision: wrong(1n) }))],
    ["maxModRevision", () => checkRange(range({ maxModRevision: 0.5 }))],
    ["minCreateRevision", () => checkRange(range({ minCreateRevision: wrong(null) }))],
    ["maxCreateRevision", () => checkRange(range({ maxCreateRevision: Number.POSITIVE_INFINITY }))],
    ["a compaction without a revision", () => checkCompact(wrong({ kind: "compact" }))],
    ["a compaction at half a revision", () => checkCompact({ kind: "compact", revision: 2.5 })],
    ["a hash at half a revision", () => checkHashKv({ kind: "hashKv", revision: 2.5 })],
    ["a txn without lists", () => checkTxn(wrong({ kind: "txn" }), 128)],
    ["a compare that is null", () => checkTxn(txn([], [], [wrong(null)]), 128)],
    [
      "a compare with an unknown result",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), result: "like" })]), 128),
    ],
    [
      "a compare with an unknown target",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "colour" })]), 128),
    ],
    ["a compare without its operand", () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "mod" })]), 128)],
    [
      "a compare with a value that is text",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "value", value: "v" })]), 128),
    ],
    [
      "a compare with a lease that is a number",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "lease", lease: 1 })]), 128),
    ],
    ["a compare without a lease", () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "lease" })]), 128)],
    [
      "a compare with half a create revision",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), target: "create", createRevision: 0.5 })]), 128),
    ],
    [
      "a compare with a range end that is text",
      () => checkTxn(txn([], [], [wrong({ ...version("k"), rangeEnd: "z" })]), 128),
    ],
  ];
  test.each(cases)("%s", (_name, check) => {
    expect(codeOf(check)).toBe("INVALID_REQUEST");
  });
  test("an operation that is null is etcd's `key not found`", () => {
    expect(codeOf(() => checkTxn(txn([wrong(null)]), 128))).toBe("KEY_NOT_FOUND");
  });
  test("what has all its types passes", () => {
    expect(codeOf(() => checkCompact({ kind: "compact", revision: -1 }))).toBe("ok");
    expect(codeOf(() => checkHashKv({ kind: "hashKv" }))).toBe("ok");
    expect(codeOf(() => checkDeleteRange({ kind: "deleteRange", key: bytes("k"), rangeEnd: bytes("\0") }))).toBe("ok");
    const compares: Compare[] = [
      version("k"),
      { key: bytes("k"), result: "greater", target: "create", createRevision: 1 },
      { key: bytes("k"), result: "less", target: "mod", modRevision: 1 },
      { key: bytes("k"), result: "notEqual", target: "value", value: NONE },
      { key: bytes("k"), rangeEnd: bytes("z"), result: "equal", target: "lease", lease: leaseId(-1) },
    ];
    expect(codeOf(() => checkTxn(txn([], [], compares), 128))).toBe("ok");
  });
});
