/** Checkers of single workloads: each is fed a history that is right, and ones that are wrong in the way it is there for. */
import { describe, expect, test } from "vitest";
import { checkAvailability } from "../../src/testing/checkers/availability.ts";
import { checkBank, checkSet, checkUniqueIds } from "../../src/testing/checkers/invariants.ts";
import { checkAppend, parseList } from "../../src/testing/checkers/transactions.ts";
import type {
  HistoryOpResult,
  HistoryRecord,
  HistoryRequest,
  HistoryResult,
  Operation,
} from "../../src/testing/history.ts";

type Outcome = Operation["outcome"];

let ops = 0;
function operation(
  [invoked, returned]: readonly [number, number],
  request: HistoryRequest,
  result: HistoryResult | undefined,
  outcome: Outcome = "ok",
): Operation {
  return { op: ops++, process: 0, request, invoked, returned, outcome, result, error: undefined };
}

const kv = (key: string, value: string) => ({ key, value, create: 2, mod: 2, version: 1 });
const seen = (key: string, list: string): HistoryOpResult => ({ kind: "get", kvs: list === "" ? [] : [kv(key, list)] });

/** Reads lists, and appends to one of them if `append` says so. */
function txn(
  at: readonly [number, number],
  reads: Readonly<Record<string, string>>,
  append?: readonly [string, string],
  outcome: Outcome = "ok",
): Operation {
  const gets = Object.keys(reads).map((key) => ({ kind: "get", key }) as const);
  const put = append === undefined ? [] : [{ kind: "put", key: append[0], value: append[1] } as const];
  const results: HistoryOpResult[] = Object.entries(reads).map(([key, list]) => seen(key, list));
  if (append !== undefined) results.push({ kind: "put" });
  const request: HistoryRequest = { kind: "txn", compare: [], success: [...gets, ...put], failure: [] };
  const result = { member: "1", revision: 9, kind: "txn", succeeded: true, results } as const;
  return operation(at, request, outcome === "ok" ? result : undefined, outcome);
}

describe("checkAppend", () => {
  const good = [
    txn([0, 10], { x: "" }, ["x", "1"]),
    txn([20, 30], { x: "1", y: "" }, ["y", "1"]),
    txn([40, 50], { x: "1", y: "1" }, ["x", "1,2"]),
    txn([60, 70], { x: "1,2", y: "1" }),
  ];

  test("accepts what one order explains, and unknown appends that happened or not", () => {
    const unknown = txn([15, Infinity], { x: "" }, ["x", "1,9"], "unknown");
    expect(checkAppend(good)).toEqual({ verdict: "ok" });
    expect(checkAppend([...good, unknown])).toEqual({ verdict: "ok" });
    expect(checkAppend([...good, unknown, txn([80, 90], { y: "1" })])).toEqual({ verdict: "ok" });
  });

  test.each([
    {
      name: "two orders of one list (an append was lost)",
      wrong: [txn([0, 10], { x: "" }, ["x", "1"]), txn([0, 11], { x: "" }, ["x", "2"]), txn([20, 30], { x: "1" })],
      says: "two orders of x",
    },
    {
      name: "an element that nobody appended",
      wrong: [...good, txn([80, 90], { x: "1,2,7" })],
      says: "nobody's append",
    },
    {
      name: "an element of an append that was refused (G1a)",
      wrong: [txn([0, 10], { x: "" }, ["x", "1"], "fail"), txn([20, 30], { x: "1" })],
      says: "nobody's append",
    },
    {
      name: "an element twice (a retry that was applied again)",
      wrong: [txn([0, 10], { x: "" }, ["x", "1"]), txn([20, 30], { x: "1,1" })],
      says: "twice",
    },
    {
      name: "write skew: each missed what the other wrote (G2)",
      wrong: [
        txn([0, 100], { x: "", y: "" }, ["x", "1"]),
        txn([0, 100], { x: "", y: "" }, ["y", "1"]),
        txn([200, 210], { x: "1", y: "1" }),
      ],
      says: "no order of transactions",
    },
    {
      name: "a read that saw one half of what it should (G-single)",
      wrong: [
        txn([0, 10], { x: "" }, ["x", "1"]),
        txn([20, 30], { x: "1", y: "" }, ["y", "1"]),
        txn([15, 40], { x: "", y: "1" }),
        txn([50, 60], { x: "1", y: "1" }),
      ],
      says: "no order of transactions",
    },
    {
      name: "a stale read, which only real time forbids",
      wrong: [txn([0, 10], { x: "" }, ["x", "1"]), txn([20, 30], { x: "" }), txn([40, 50], { x: "1" })],
      says: "no order of transactions",
    },
  ])("finds $name", ({ wrong, says }) => {
    const verdict = checkAppend(wrong);
    expect(verdict).toMatchObject({ verdict: "violation" });
    expect(verdict.verdict === "violation" && verdict.message).toContain(says);
    expect(verdict.verdict === "violation" && (verdict.fragment?.length ?? 0)).toBeGreaterThan(0);
  });

  test("an empty list and an absent one are the same", () => {
    expect(parseList("")).toEqual([]);
    expect(parseList(undefined)).toEqual([]);
    expect(parseList("a,b")).toEqual(["a", "b"]);
  });
});

describe("checkSet", () => {
  const add = (value: string, outcome: Outcome, succeeded = true): Operation =>
    operation(
      [0, 1],
      { kind: "txn", compare: [], success: [{ kind: "put", key: "set/0", value }], failure: [] },
      outcome === "ok" ? { member: "1", revision: 2, kind: "txn", succeeded, results: [] } : undefined,
      outcome,
    );
  const added = [add("e1", "ok"), add("e1,e2", "ok", false), add("e1,e3", "unknown"), add("e1,e4", "fail")];

  test("wants what was added, and lets the unknown be there or not", () => {
    expect(checkSet(added, new Map([["set/0", "e1"]]))).toEqual({ verdict: "ok" });
    expect(checkSet(added, new Map([["set/0", "e1,e3"]]))).toEqual({ verdict: "ok" });
  });

  test("finds a lost element, and ones that came of a comparison that failed and of a refusal", () => {
    expect(checkSet(added, new Map())).toMatchObject({ message: expect.stringContaining("e1 was added") });
    expect(checkSet(added, new Map([["set/0", "e1,e2"]]))).toMatchObject({
      message: expect.stringContaining("e2 was refused"),
    });
    expect(checkSet(added, new Map([["set/0", "e1,e4"]]))).toMatchObject({
      message: expect.stringContaining("e4 was refused"),
    });
  });
});

describe("checkUniqueIds", () => {
  const id = (at: readonly [number, number], revision: number): Operation =>
    operation(at, { kind: "put", key: "id0", value: "v" }, { member: "1", revision, kind: "put" });

  test("accepts ids that rise with time", () => {
    expect(checkUniqueIds([id([0, 9], 3), id([5, 20], 2), id([21, 30], 4)])).toEqual({ verdict: "ok" });
  });

  test("finds one id twice, and one that goes back", () => {
    expect(checkUniqueIds([id([0, 9], 3), id([5, 20], 3)])).toMatchObject({
      message: "two writes were given the id 3",
    });
    expect(checkUniqueIds([id([0, 9], 3), id([10, 20], 2)])).toMatchObject({ message: "the id 2 was given after 3" });
  });
});

describe("checkBank", () => {
  const look = (...amounts: readonly number[]): Operation =>
    operation(
      [0, 1],
      { kind: "get", key: "bank/", end: "bank0" },
      { member: "1", revision: 2, kind: "get", kvs: amounts.map((amount, i) => kv(`bank/${i}`, `${amount}`)) },
    );

  test("money that only moves is kept; before the accounts are opened there is none", () => {
    expect(checkBank([look(), look(100, 100), look(150, 50)], 200, 2)).toEqual({ verdict: "ok" });
  });

  test.each([
    { name: "money from nowhere", read: look(150, 100) },
    { name: "an account that is missing", read: look(200) },
    { name: "debt", read: look(250, -50) },
  ])("finds $name", ({ read }) => {
    expect(checkBank([read], 200, 2)).toMatchObject({ verdict: "violation" });
  });
});

describe("checkAvailability", () => {
  const ok = (time: number): HistoryRecord => ({
    type: "ok",
    time,
    process: 0,
    op: 0,
    result: { member: "1", revision: 2, kind: "put" },
  });
  const health = (time: number, ...connected: string[]): HistoryRecord => ({
    type: "health",
    time,
    connected,
    quorum: 2,
  });
  const options = { windowMs: 1_000, from: 0, to: 10_000 };
  const often = (from: number, to: number): HistoryRecord[] => {
    const records: HistoryRecord[] = [];
    for (let time = from; time <= to; time += 200) records.push(ok(time));
    return records;
  };

  test("silence is fine while there is no majority, or none that lasts", () => {
    const parted = [
      health(0, "a", "b"),
      health(2_000, "a"),
      health(8_000, "a", "b"),
      ...often(0, 2_000),
      ...often(8_200, 10_000),
    ];
    expect(checkAvailability(parted, options)).toEqual({ verdict: "ok" });
    const turning = Array.from({ length: 20 }, (_, i) => health(2_000 + i * 300, ...["ab", "bc", "ca"][i % 3]!));
    expect(
      checkAvailability(
        [health(0, "a", "b"), ...turning, health(8_000, "a", "b"), ...often(0, 2_000), ...often(8_200, 10_000)],
        options,
      ),
    ).toEqual({ verdict: "ok" });
  });

  test("silence beside a steady majority is a violation, and says which", () => {
    const silent = [health(0, "a", "b", "c"), health(3_000, "a", "b"), ...often(0, 4_000), ...often(6_000, 10_000)];
    expect(checkAvailability(silent, options)).toMatchObject({
      verdict: "violation",
      message: expect.stringContaining("a, b were connected"),
    });
  });

  test("silence to the very end counts", () => {
    expect(checkAvailability([health(0, "a", "b"), ...often(0, 8_000)], options)).toMatchObject({
      verdict: "violation",
    });
  });
});
