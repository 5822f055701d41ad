import { describe, expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import { isReadOnlyTxn, isSerializableTxn } from "../../src/kv/txn.ts";
import type { Compare, CompareResult, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import type { TxnResult } from "../../src/protocol/responses.ts";
import { answer, bytes, finishRead, Member, show } from "../support/state.ts";

const put = (key: string, value = "", more: object = {}): RequestOp => ({
  kind: "put",
  key: bytes(key),
  value: bytes(value),
  ...more,
});
const get = (key: string, end?: string, more: object = {}): RequestOp => ({
  kind: "range",
  key: bytes(key),
  ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
  ...more,
});
const del = (key: string, end?: string, more: object = {}): RequestOp => ({
  kind: "deleteRange",
  key: bytes(key),
  ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
  ...more,
});
const txn = (success: RequestOp[], failure: RequestOp[] = [], compare: Compare[] = []): TxnRequest => ({
  kind: "txn",
  compare,
  success,
  failure,
});
const exists = (key: string): Compare => ({ key: bytes(key), result: "greater", target: "version", version: 0 });

/** a = "1" at 2, then "2" at 3; b = "" at 4; "gone" put at 5, deleted at 6. */
function example(): Member {
  const member = new Member();
  for (const request of [put("a", "1"), put("a", "2"), put("b"), put("gone"), del("gone")]) member.ask(request);
  return member;
}
const run = (member: Member, request: TxnRequest): TxnResult => member.ask(request) as TxnResult;

describe("compare", () => {
  const stored = { version: 2, create: 2, mod: 3 } as const;
  const number = (target: "version" | "create" | "mod", value: number, result: CompareResult, key: string): Compare => {
    const common = { key: bytes(key), result };
    if (target === "version") return { ...common, target, version: value };
    return target === "create"
      ? { ...common, target, createRevision: value }
      : { ...common, target, modRevision: value };
  };
  const holds = (compare: Compare, member = example()): boolean => run(member, txn([], [], [compare])).succeeded;

  for (const target of ["version", "create", "mod"] as const) {
    test.each([
      ["equal", [false, true, false]],
      ["notEqual", [true, false, true]],
      ["greater", [true, false, false]],
      ["less", [false, false, true]],
    ] as const)(`${target}: stored is %s what is given`, (result, expected) => {
      expect([-1, 0, 1].map((off) => holds(number(target, stored[target] + off, result, "a")))).toEqual(expected);
      // Absent counts as 0, a deleted key too.
      for (const key of ["absent", "gone"]) {
        expect([-1, 0, 1].map((value) => holds(number(target, value, result, key)))).toEqual(expected);
      }
    });
  }

  const value = (given: string, result: CompareResult, key = "a", end?: string): Compare => ({
    key: bytes(key),
    ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
    result,
    target: "value",
    value: bytes(given),
  });
  test("value: bytewise, stored against given", () => {
    expect([holds(value("2", "equal")), holds(value("1", "greater")), holds(value("20", "less"))]).toEqual([
      true,
      true,
      true,
    ]);
    expect([holds(value("2", "notEqual")), holds(value("2", "greater")), holds(value("\xff", "greater"))]).toEqual([
      false,
      false,
      false,
    ]);
    expect(holds(value("", "equal", "b"))).toBe(true);
  });
  test("value: of an absent key nothing holds, not even notEqual", () => {
    for (const result of ["equal", "notEqual", "greater", "less"] as const) {
      for (const given of ["", "x"]) expect(holds(value(given, result, "absent"))).toBe(false);
    }
  });
  test("lease: of a key without one, and of none, it is 0", () => {
    const lease = (id: number, result: CompareResult, key: string): Compare => ({
      key: bytes(key),
      result,
      target: "lease",
      lease: leaseId(id),
    });
    for (const key of ["a", "absent"]) {
      expect([
        holds(lease(0, "equal", key)),
        holds(lease(1, "less", key)),
        holds(lease(-1, "greater", key)),
        holds(lease(1, "notEqual", key)),
      ]).toEqual([true, true, true, true]);
      expect([holds(lease(1, "equal", key)), holds(lease(0, "less", key)), holds(lease(0, "notEqual", key))]).toEqual([
        false,
        false,
        false,
      ]);
    }
  });
  test("a range: every key must hold", () => {
    expect(holds(value("1", "greater", "a", "b"))).toBe(true);
    expect(holds(value("1", "greater", "a", "c"))).toBe(false);
    expect(holds({ ...number("version", 0, "greater", "a"), rangeEnd: bytes("\0") })).toBe(true);
    expect(holds({ ...number("version", 1, "greater", "a"), rangeEnd: bytes("\0") })).toBe(false);
    // A range without keys compares as one absent key.
    expect(holds({ ...number("version", 0, "equal", "x"), rangeEnd: bytes("z") })).toBe(true);
    expect(holds({ ...number("version", 0, "equal", "b"), rangeEnd: bytes("a") })).toBe(true);
    expect(holds(value("", "notEqual", "x", "z"))).toBe(false);
  });
  test("all must hold; none is as good as all", () => {
    const member = example();
    expect(run(member, txn([], [], [exists("a"), exists("b")])).succeeded).toBe(true);
    expect(run(member, txn([], [], [exists("a"), exists("c")])).succeeded).toBe(false);
    expect(run(member, txn([])).succeeded).toBe(true);
  });
});

describe("txn", () => {
  test("one answer per operation of the branch taken, in order", () => {
    const member = example();
    const result = run(
      member,
      txn([put("x", "new"), get("x"), del("a", undefined, { prevKv: true })], [put("no")], [exists("a")]),
    );
    expect(show(result)).toEqual({
      kind: "txn",
      revision: 7,
      succeeded: true,
      results: [
        { kind: "put", revision: 7, prevKv: undefined },
        {
          kind: "range",
          revision: 7,
          kvs: [{ key: "x", create: 7, mod: 7, version: 1, value: "new", lease: "0" }],
          more: false,
          count: 1,
        },
        {
          kind: "deleteRange",
          revision: 7,
          deleted: 1,
          prevKvs: [{ key: "a", create: 2, mod: 3, version: 2, value: "2", lease: "0" }],
        },
      ],
    });
    const failed = run(member, txn([put("x")], [get("x", undefined, { keysOnly: true })], [exists("a")]));
    expect([failed.succeeded, failed.revision, failed.results.length]).toEqual([false, 7, 1]);
  });

  test("revisions inside: reads before the first change stand at the old one", () => {
    const member = example();
    const { results, revision } = run(
      member,
      txn([get("a"), del("nothing"), put("c"), get("a"), del("nothing"), del("b")]),
    );
    expect(results.map((one) => one.revision)).toEqual([6, 6, 7, 7, 7, 7]);
    expect(revision).toBe(7);
  });

  test("what changes nothing makes no revision", () => {
    const member = example();
    expect(run(member, txn([del("nothing"), get("a")])).revision).toBe(6);
    expect(run(member, txn([txn([])])).revision).toBe(6);
    expect(member.machine.revision).toBe(6);
    expect(member.machine.applied.index).toBe(7);
  });

  test("all changes are one revision, ranked in the order of execution", () => {
    const member = example();
    run(member, txn([put("z"), txn([put("y"), del("a")]), put("x")]));
    const changes = [...member.machine.history.changesAt(7)!];
    expect(changes.map(({ key, version }, sub) => [String.fromCharCode(...key), version, sub])).toEqual([
      ["z", 1, 0],
      ["y", 1, 1],
      ["a", 0, 2],
      ["x", 1, 3],
    ]);
  });

  test("operations see those before them, in nested transactions too", () => {
    const member = example();
    const { results } = run(
      member,
      txn([put("n", "1"), txn([get("n"), del("a", "c")]), get("a", "c", { countOnly: true })]),
    );
    expect(show(results[1]!)).toMatchObject({ revision: 0, results: [{ kvs: [{ value: "1" }] }, { deleted: 2 }] });
    expect(results[2]).toMatchObject({ count: 0 });
  });

  test("a range at an explicit revision shows that one, whatever the transaction did", () => {
    const member = example();
    const { results } = run(
      member,
      txn([put("a", "3"), get("a", undefined, { revision: 6 }), get("a", undefined, { revision: 2 })]),
    );
    expect(show(results[1]!)).toMatchObject({ revision: 7, kvs: [{ value: "2" }] });
    expect(show(results[2]!)).toMatchObject({ revision: 7, kvs: [{ value: "1" }] });
  });

  test("nested compares look at the state before the transaction", () => {
    const member = example();
    const nested = txn([put("yes")], [put("no")], [exists("new")]);
    expect(show(run(member, txn([put("new"), nested])))).toMatchObject({ results: [{}, { succeeded: false }] });
    expect(show(run(member, txn([del("new"), nested])))).toMatchObject({
      results: [{ deleted: 1 }, { succeeded: true }],
    });
  });

  test("the header of a nested transaction is zero", () => {
    const member = example();
    const result = run(member, txn([txn([put("x"), txn([])])]));
    expect(show(result)).toMatchObject({
      revision: 7,
      results: [{ revision: 0, results: [{ revision: 7 }, { revision: 0 }] }],
    });
  });

  test("delete to the end, then put: the key begins anew in the same revision", () => {
    const member = example();
    expect(show(run(member, txn([del("a", "\0"), put("a", "n"), get("a")])))).toMatchObject({
      results: [{ deleted: 2 }, {}, { kvs: [{ create: 7, mod: 7, version: 1 }], count: 1 }],
    });
    const changes = Array.from(member.machine.history.changesAt(7)!, ({ key, version }) => [
      String.fromCharCode(...key),
      version,
    ]);
    expect(changes).toEqual([
      ["a", 0],
      ["b", 0],
      ["a", 1],
    ]);
    member.reload();
    expect(show(member.ask(get("a")))).toMatchObject({ kvs: [{ create: 7, version: 1, value: "n" }] });
    expect(show(member.ask(get("a", undefined, { revision: 6 })))).toMatchObject({ kvs: [{ create: 2, version: 2 }] });
  });

  test("a nested put and a later sibling's delete: both happen, and the key is gone", () => {
    const member = example();
    expect(show(run(member, txn([txn([put("k")]), txn([del("k")])])))).toMatchObject({
      results: [{}, { results: [{ deleted: 1 }] }],
    });
    expect(member.ask(get("k"))).toMatchObject({ count: 0, revision: 7 });
    expect(member.machine.metrics.keys).toBe(2);
  });
});

describe("txn refuses before it changes anything", () => {
  const cases: readonly (readonly [string, TxnRequest, string])[] = [
    ["a range in the future", txn([put("x"), get("a", undefined, { revision: 7 })]), "FUTURE_REVISION"],
    [
      "a range at the very revision that it makes",
      txn([put("x"), get("x", undefined, { revision: 7 })]),
      "FUTURE_REVISION",
    ],
    ["a compacted range", txn([put("x"), get("a", undefined, { revision: 3 })]), "COMPACTED"],
    ["a negative revision, unlike outside", txn([put("x"), get("a", undefined, { revision: -1 })]), "COMPACTED"],
    ["a lease that is none", txn([put("x"), put("y", "", { lease: leaseId(3) })]), "LEASE_NOT_FOUND"],
    ["ignoreValue of an absent key", txn([put("x"), put("absent", "", { ignoreValue: true })]), "KEY_NOT_FOUND"],
    ["ignoreLease of an absent key", txn([put("x"), put("absent", "", { ignoreLease: true })]), "KEY_NOT_FOUND"],
    [
      "ignoreValue of a key put by the transaction itself",
      txn([txn([put("n")]), txn([], [put("n", "", { ignoreValue: true })], [exists("absent")])]),
      "DUPLICATE_KEY",
    ],
    ["the same in a nested one", txn([put("x"), txn([put("absent", "", { ignoreValue: true })])]), "KEY_NOT_FOUND"],
    [
      "the first of two reasons wins: lease",
      txn([put("y", "", { lease: leaseId(3) }), get("a", undefined, { revision: 99 })]),
      "LEASE_NOT_FOUND",
    ],
    [
      "the first of two reasons wins: range",
      txn([get("a", undefined, { revision: 99 }), put("y", "", { lease: leaseId(3) })]),
      "FUTURE_REVISION",
    ],
    ["lease before key", txn([put("absent", "", { ignoreValue: true, lease: leaseId(3) })]), "LEASE_NOT_FOUND"],
    ["what a delete to the end took away", txn([del("a", "\0"), put("a", "", { ignoreValue: true })]), "KEY_NOT_FOUND"],
    [
      "the lowest such delete counts",
      txn([del("a", "\0"), del("x", "\0"), put("b", "", { ignoreLease: true })]),
      "KEY_NOT_FOUND",
    ],
  ];
  test.each(cases)("%s", (_name, request, code) => {
    const member = example();
    member.ask({ kind: "compact", revision: 4 });
    const records = [...member.state.records.keys()];
    expect(answer(() => member.ask(request))).toEqual({ error: code });
    expect(member.machine.revision).toBe(6);
    expect([...member.state.records.keys()]).toEqual(records);
    expect(member.ask(get("x"))).toMatchObject({ count: 0, revision: 6 });
  });

  test("the branch not taken is not looked at", () => {
    const member = example();
    member.ask({ kind: "compact", revision: 4 });
    const bad = [
      get("a", undefined, { revision: 99 }),
      get("a", undefined, { revision: 1 }),
      put("n", "", { ignoreValue: true }),
    ];
    expect(run(member, txn([put("x")], bad)).revision).toBe(7);
  });

  test("a delete to the end above the key does not hide it", () => {
    const member = example();
    expect(run(member, txn([del("b", "\0"), put("a", "", { ignoreValue: true })])).revision).toBe(7);
    expect(show(member.ask(get("a")))).toMatchObject({ kvs: [{ value: "2", version: 3 }] });
  });
});

describe("read-only transactions", () => {
  const local = (serializable: boolean): RequestOp => get("a", undefined, { serializable });
  test.each([
    ["nothing at all", txn([]), true, true],
    ["ranges", txn([local(false)], [local(false)]), true, false],
    ["serializable ranges", txn([local(true)], [local(true)]), true, true],
    ["one that is not", txn([local(true)], [local(false)]), true, false],
    ["a put in the other branch", txn([], [put("a")]), false, false],
    ["a nested transaction of reads", txn([txn([local(true)])]), false, false],
  ] as const)("%s", (_name, request, readOnly, serializable) => {
    expect([isReadOnlyTxn(request), isSerializableTxn(request)]).toEqual([readOnly, serializable]);
  });

  test("read one revision, though writes and compactions go on between the slices", () => {
    const member = example();
    const request = txn([get("\0", "\0"), get("a", undefined, { revision: 2 })], [], [exists("a")]);
    const expected = show(member.ask(request));
    const read = member.machine.startTxnRead(request);
    expect(read.step(1)).toBeUndefined();
    member.ask(put("a", "later"));
    member.ask(del("b"));
    member.machine.compactStep(1_000);
    expect(show(finishRead(read, 1))).toEqual(expected);
  });

  test("one that is given up lets compaction go on", () => {
    const member = example();
    const read = member.machine.startTxnRead(txn([get("a", undefined, { revision: 2 })]));
    member.ask({ kind: "compact", revision: 6 });
    expect(member.machine.compactStep(1_000)).toBe(false);
    read.close();
    read.close();
    expect(member.machine.compactStep(1_000)).toBe(true);
  });
});
