import { describe, expect, test } from "vitest";
import { checkHashAgreement } from "../../src/testing/checkers/hash-agreement.ts";
import { checkLinearizability } from "../../src/testing/checkers/linearizability.ts";
import { checkLostWrites } from "../../src/testing/checkers/lost-writes.ts";
import { checkSerializable } from "../../src/testing/checkers/serializable.ts";
import { History, type HistoryRecord, type HistoryRequest, type HistoryResult } from "../../src/testing/history.ts";

type Told = HistoryResult extends infer R
  ? R extends unknown
    ? Omit<R, "member"> & { member?: string }
    : never
  : never;

/** One operation as [from, to, request, answer]; no answer means that its outcome is unknown. */
type Line = readonly [number, number, HistoryRequest, Told?] | { readonly start: string; readonly at: number };

function history(lines: readonly Line[]): History {
  const records: HistoryRecord[] = [];
  lines.forEach((line, op) => {
    if ("start" in line) {
      records.push({ type: "note", time: line.at, note: "start", member: line.start, detail: "" });
      return;
    }
    const [from, to, request, told] = line;
    records.push({ type: "invoke", time: from, process: op, op, request });
    if (told === undefined) records.push({ type: "info", time: to, process: op, op, error: "TIMEOUT" });
    else records.push({ type: "ok", time: to, process: op, op, result: { member: "1", ...told } as HistoryResult });
  });
  const all = new History();
  for (const record of records) all.add(record);
  return all;
}

const put = (key: string, value: string): HistoryRequest => ({ kind: "put", key, value });
const get = (key: string, serializable = false): HistoryRequest => ({ kind: "get", key, serializable });
const del = (key: string): HistoryRequest => ({ kind: "delete", key });
const wrote = (revision: number): Told => ({ kind: "put", revision });
const kv = (key: string, value: string, create: number, mod: number, version: number) => ({
  key,
  value,
  create,
  mod,
  version,
});
const saw = (revision: number, ...kvs: ReturnType<typeof kv>[]): Told => ({ kind: "get", revision, kvs });
const cas = (key: string, mod: number, value: string): HistoryRequest => ({
  kind: "txn",
  compare: [{ key, target: "mod", is: mod }],
  success: [{ kind: "put", key, value }],
  failure: [{ kind: "get", key }],
});

interface Case {
  readonly name: string;
  readonly lines: readonly Line[];
  readonly verdict: "ok" | "violation";
}

const LINEARIZABILITY: readonly Case[] = [
  { name: "an empty history", lines: [], verdict: "ok" },
  {
    name: "a put and a read of it",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, get("a"), saw(2, kv("a", "1", 2, 2, 1))],
    ],
    verdict: "ok",
  },
  {
    name: "a stale read: called after the answer of a newer write",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, put("a", "2"), wrote(3)],
      [4, 5, get("a"), saw(2, kv("a", "1", 2, 2, 1))],
    ],
    verdict: "violation",
  },
  {
    name: "an old value read while the newer write is under way",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 9, put("a", "2"), wrote(3)],
      [4, 5, get("a"), saw(2, kv("a", "1", 2, 2, 1))],
    ],
    verdict: "ok",
  },
  {
    name: "an acknowledged write that a later read misses",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, get("a"), saw(2)],
    ],
    verdict: "violation",
  },
  {
    name: "two writes with one revision",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [0, 1, put("b", "2"), wrote(2)],
    ],
    verdict: "violation",
  },
  {
    name: "a revision that nobody wrote",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, put("a", "2"), wrote(4)],
    ],
    verdict: "violation",
  },
  {
    name: "a revision that a timed-out write may have taken",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [1, 2, put("b", "x")],
      [2, 3, put("a", "2"), wrote(4)],
    ],
    verdict: "ok",
  },
  {
    name: "a timed-out write seen long after",
    lines: [
      [0, 1, put("a", "1")],
      [10, 11, get("a"), saw(1)],
      [20, 21, get("a"), saw(2, kv("a", "1", 2, 2, 1))],
    ],
    verdict: "ok",
  },
  {
    name: "a timed-out write that is seen and then gone",
    lines: [
      [0, 1, put("a", "1")],
      [10, 11, get("a"), saw(2, kv("a", "1", 2, 2, 1))],
      [20, 21, get("a"), saw(1)],
    ],
    verdict: "violation",
  },
  {
    name: "a timed-out write applied twice",
    lines: [
      [0, 1, put("a", "1")],
      [2, 3, put("a", "2"), wrote(3)],
      [4, 5, get("a"), saw(4, kv("a", "1", 2, 4, 3))],
    ],
    verdict: "violation",
  },
  {
    name: "a refused write that took effect all the same",
    lines: [[4, 5, get("a"), saw(2, kv("a", "1", 2, 2, 1))]],
    verdict: "violation",
  },
  {
    name: "a gap filled by a write called only afterwards",
    lines: [
      [0, 1, put("a", "1"), wrote(3)],
      [5, 9, put("b", "2")],
    ],
    verdict: "violation",
  },
  {
    name: "a wrong version",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, get("a"), saw(2, kv("a", "1", 2, 2, 2))],
    ],
    verdict: "violation",
  },
  {
    name: "a deleted key that comes back",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 3, del("a"), { kind: "delete", revision: 3, deleted: 1 }],
      [4, 5, get("a"), saw(3, kv("a", "1", 2, 2, 1))],
    ],
    verdict: "violation",
  },
  {
    name: "a delete of nothing leaves the revision alone",
    lines: [
      [0, 1, del("a"), { kind: "delete", revision: 1, deleted: 0 }],
      [2, 3, put("a", "1"), wrote(2)],
    ],
    verdict: "ok",
  },
  {
    name: "two compare-and-sets that both won from one value",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 9, cas("a", 2, "x"), { kind: "txn", revision: 3, succeeded: true, results: [{ kind: "put" }] }],
      [2, 9, cas("a", 2, "y"), { kind: "txn", revision: 4, succeeded: true, results: [{ kind: "put" }] }],
    ],
    verdict: "violation",
  },
  {
    name: "a compare-and-set that lost tells the winner",
    lines: [
      [0, 1, put("a", "1"), wrote(2)],
      [2, 9, cas("a", 2, "x"), { kind: "txn", revision: 3, succeeded: true, results: [{ kind: "put" }] }],
      [
        2,
        9,
        cas("a", 2, "y"),
        { kind: "txn", revision: 3, succeeded: false, results: [{ kind: "get", kvs: [kv("a", "x", 2, 3, 2)] }] },
      ],
    ],
    verdict: "ok",
  },
  {
    name: "the first guess for a gap is wrong and the second right",
    lines: [
      [0, 1, put("a", "1")],
      [0, 1, put("b", "2")],
      [2, 3, put("c", "3"), wrote(3)],
      [4, 5, get("a"), saw(3)],
    ],
    verdict: "ok",
  },
];

describe("checkLinearizability", () => {
  test.each(LINEARIZABILITY)("$name is answered with $verdict", ({ lines, verdict }) => {
    expect(checkLinearizability(history(lines).operations())).toMatchObject({ verdict });
  });

  test("a bound too small for the search is answered with unknown, not with ok", () => {
    const lines = LINEARIZABILITY.find(({ name }) => name.startsWith("the first guess"))!.lines;
    expect(checkLinearizability(history(lines).operations(), { maxStates: 2 })).toMatchObject({ verdict: "unknown" });
  });

  test("a history read back from its JSON Lines gets the same verdict", () => {
    for (const { lines, verdict } of LINEARIZABILITY) {
      const back = History.parse(history(lines).toJsonLines());
      expect(checkLinearizability(back.operations())).toMatchObject({ verdict });
    }
  });
});

describe("checkSerializable", () => {
  const writes: Line[] = [
    [0, 1, put("a", "1"), wrote(2)],
    [2, 3, put("a", "2"), wrote(3)],
  ];
  const old = saw(2, kv("a", "1", 2, 2, 1));
  const fresh = saw(3, kv("a", "2", 2, 3, 2));
  const on = (member: string, told: Told): Told => ({ ...told, member });

  test("an old state is fine", () => {
    expect(checkSerializable(history([...writes, [9, 10, get("a", true), old]]).records).verdict).toBe("ok");
  });
  test("a state that never was at its revision is a violation", () => {
    const wrong = saw(3, kv("a", "1", 2, 2, 1));
    expect(checkSerializable(history([...writes, [9, 10, get("a", true), wrong]]).records).verdict).toBe("violation");
  });
  test("a member that goes back in time is a violation, two members that differ are not", () => {
    const back: Line[] = [...writes, [9, 10, get("a", true), on("1", fresh)], [11, 12, get("a", true), on("1", old)]];
    expect(checkSerializable(history(back).records).verdict).toBe("violation");
    const apart: Line[] = [...writes, [9, 10, get("a", true), on("1", fresh)], [11, 12, get("a", true), on("2", old)]];
    expect(checkSerializable(history(apart).records).verdict).toBe("ok");
  });
  test("a member that restarted in between may go back", () => {
    const lines: Line[] = [
      ...writes,
      [9, 10, get("a", true), on("1", fresh)],
      { start: "1", at: 10.5 },
      [11, 12, get("a", true), on("1", old)],
    ];
    expect(checkSerializable(history(lines).records).verdict).toBe("ok");
  });
});

describe("checkHashAgreement", () => {
  const sample = (member: string, applied: number, stateHash: string) => ({ member, time: 0, applied, stateHash });
  test("equal hashes at equal index agree, whatever stands elsewhere", () => {
    expect(checkHashAgreement([sample("1", 5, "x"), sample("2", 5, "x"), sample("2", 6, "y")]).verdict).toBe("ok");
  });
  test("different hashes at one index are a violation, of one member across a restart too", () => {
    expect(checkHashAgreement([sample("1", 5, "x"), sample("2", 5, "y")]).verdict).toBe("violation");
    expect(checkHashAgreement([sample("1", 5, "x"), sample("1", 5, "y")]).verdict).toBe("violation");
  });
});

describe("checkLostWrites", () => {
  const lines: Line[] = [
    [0, 1, put("a", "1"), wrote(2)],
    [2, 3, put("b", "2"), wrote(3)],
    [4, 5, del("b"), { kind: "delete", revision: 4, deleted: 1 }],
  ];
  const check = (more: Line[], revision: number, ...kvs: ReturnType<typeof kv>[]) =>
    checkLostWrites(history([...lines, ...more]).operations(), { revision, kvs }).verdict;

  test("what was written is there", () => {
    expect(check([], 4, kv("a", "1", 2, 2, 1))).toBe("ok");
  });
  test("a key that is gone, one that came back, and a store that fell behind are violations", () => {
    expect(check([], 4)).toBe("violation");
    expect(check([], 4, kv("a", "1", 2, 2, 1), kv("b", "2", 3, 3, 1))).toBe("violation");
    expect(check([], 3, kv("a", "1", 2, 2, 1))).toBe("violation");
    expect(check([], 4, kv("a", "9", 2, 2, 1))).toBe("violation");
  });
  test("a delete that timed out may be why a key is gone", () => {
    expect(check([[6, 7, del("a")]], 5)).toBe("ok");
  });
});
