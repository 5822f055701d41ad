import { describe, expect, test } from "vitest";
import { checkLinearizability } from "../../src/testing/checkers/linearizability.ts";
import { shrink, withFragment } from "../../src/testing/fragment.ts";
import type { HistoryRequest, HistoryResult, Operation } from "../../src/testing/history.ts";

const check = (operations: readonly Operation[]) => checkLinearizability(operations);

/** Thirty writes of one client, one after the other, each read back; `change` plants what is wrong. */
function history(change: (operations: Operation[]) => void = () => {}): Operation[] {
  const operations: Operation[] = [];
  const add = (invoked: number, request: HistoryRequest, result: HistoryResult): void => {
    const op = operations.length;
    const more = { outcome: "ok", error: undefined } as const;
    operations.push({ op, process: 0, request, invoked, returned: invoked + 5, result, ...more });
  };
  for (let i = 0; i < 30; i++) {
    const revision = i + 2;
    const kv = { key: "a", value: `${i}`, create: 2, mod: revision, version: i + 1 };
    add(i * 20, { kind: "put", key: "a", value: `${i}` }, { member: "1", kind: "put", revision });
    add(i * 20 + 10, { kind: "get", key: "a" }, { member: "1", kind: "get", revision, kvs: [kv] });
  }
  change(operations);
  return operations;
}

/** The read after the 20th write shows what was there ten writes before. */
const stale = (operations: Operation[]): void => {
  const old = operations[21]!;
  operations[41] = { ...operations[41]!, result: old.result };
};

describe("shrink", () => {
  test("leaves a good history alone", () => {
    const good = history();
    expect(shrink(good, check)).toBe(good);
  });

  test("a stale read shows with the one write that it should have seen", () => {
    const kept = shrink(history(stale), check).filter(({ outcome }) => outcome === "ok");
    expect(check(shrink(history(stale), check)).verdict).toBe("violation");
    expect(kept.length).toBeLessThanOrEqual(3);
    expect(kept.map(({ op }) => op)).toContain(41);
  });

  test("never ends later than the violation can be seen", () => {
    const kept = shrink(history(stale), check);
    expect(Math.max(...kept.map(({ op }) => op))).toBeLessThanOrEqual(41);
  });
});

describe("withFragment", () => {
  test("tells the operations a line each, and what else may have happened", () => {
    const operations = history(stale);
    const verdict = withFragment(check(operations), operations, check);
    expect(verdict).toMatchObject({ verdict: "violation" });
    const lines = verdict.verdict === "violation" ? (verdict.fragment ?? []) : [];
    expect(lines.some((line) => line.startsWith("#41 "))).toBe(true);
    expect(lines.length).toBeLessThan(6);
  });

  test("an ok stays as it is", () => {
    const good = history();
    expect(withFragment({ verdict: "ok" }, good, check)).toEqual({ verdict: "ok" });
  });
});
