/** The search behind the linearizability checker: as right as trying every order, and quick where many writes have no answer. */
import { expect, test } from "vitest";
import { prng, type RandomSource, randomInt } from "../../src/base/prng.ts";
import { checkLinearizability } from "../../src/testing/checkers/linearizability.ts";
import { agrees, INITIAL, type ModelState, step } from "../../src/testing/checkers/model.ts";
import type { HistoryRequest, HistoryResult, Operation } from "../../src/testing/history.ts";
import { testSeed } from "../support/seed.ts";

interface Shape {
  readonly operations: number;
  readonly keys: number;
  /** Of writes: how many have no answer, and how many of those took effect. */
  readonly unknown: number;
  readonly applied: number;
  /** How many may be under way at once. */
  readonly width: number;
}

/** What clients of a sound store saw: each operation takes effect at once, somewhere between its call and its answer. */
function played(random: RandomSource, { operations, keys, unknown, applied, width }: Shape): Operation[] {
  const key = (): string => `k${randomInt(random, 0, keys - 1)}`;
  let state: ModelState = INITIAL;
  const request = (op: number): HistoryRequest => {
    const draw = random();
    const value = random() < 0.9 ? `v${op}` : "same";
    if (draw < 0.35) return { kind: "put", key: key(), value };
    if (draw < 0.45) return { kind: "delete", key: key(), ...(random() < 0.3 ? { end: "k9" } : {}) };
    if (draw < 0.6) {
      const of = key();
      const mod = random() < 0.7 ? (state.keys.get(of)?.mod ?? 0) : randomInt(random, 0, 5);
      return {
        kind: "txn",
        compare: [random() < 0.8 ? { key: of, target: "mod", is: mod } : { key: of, target: "value", is: "same" }],
        success: [{ kind: "put", key: of, value }, ...(random() < 0.4 ? [{ kind: "get", key: key() } as const] : [])],
        failure: random() < 0.5 ? [{ kind: "get", key: of }] : [{ kind: "delete", key: key() }],
      };
    }
    return { kind: "get", key: key(), ...(random() < 0.3 ? { end: "k9" } : {}) };
  };
  return Array.from({ length: operations }, (_, op): Operation => {
    const asked = request(op);
    const at = 10 * op + 5;
    const invoked = at - random() * 10 * width;
    const returned = at + random() * 10 * width;
    const isLost = random() < unknown;
    const begun = { op, process: op, request: asked, invoked, error: undefined };
    if (isLost && random() >= applied) return { ...begun, returned: Infinity, outcome: "unknown", result: undefined };
    const after = step(state, asked);
    state = after.state;
    if (isLost) return { ...begun, returned: Infinity, outcome: "unknown", result: undefined };
    return { ...begun, returned, outcome: "ok", result: { member: "1", revision: state.revision, ...after.result } };
  });
}

/** One answer made wrong: another revision, another value, a key gone, an end earlier. */
function spoiled(random: RandomSource, operations: readonly Operation[]): Operation[] {
  const answered = operations.filter(({ outcome }) => outcome === "ok");
  const victim = answered[randomInt(random, 0, answered.length - 1)];
  return operations.map((operation) => {
    const { result } = operation;
    if (operation !== victim || result === undefined) return operation;
    const draw = random();
    const moved = { ...result, revision: Math.max(1, result.revision + (draw < 0.3 ? -1 : 1)) };
    if (draw < 0.5 || result.kind !== "get") return { ...operation, result: moved };
    const [kv, ...others] = result.kvs;
    if (kv === undefined || draw < 0.6) return { ...operation, result: { ...result, kvs: others } };
    const changed = draw < 0.8 ? { ...kv, version: kv.version + 1 } : { ...kv, create: Math.max(2, kv.create - 1) };
    return { ...operation, result: { ...result, kvs: [changed, ...others] } };
  });
}

/** Tries every order, without a thought. */
function someOrder(operations: readonly Operation[], state: ModelState = INITIAL): boolean {
  if (operations.every(({ outcome }) => outcome !== "ok")) return true;
  const soonest = Math.min(...operations.map(({ returned }) => returned));
  return operations.some((operation) => {
    if (operation.invoked > soonest) return false;
    const after = step(state, operation.request);
    const told: HistoryResult | undefined = operation.result;
    if (told !== undefined && (told.revision !== after.state.revision || !agrees(told, after.result))) return false;
    return someOrder(
      operations.filter((each) => each !== operation),
      after.state,
    );
  });
}

const seed = testSeed();

test(`small histories get the verdict that trying every order gives (seed ${seed})`, () => {
  const random = prng(seed);
  const counts = { ok: 0, violation: 0, unknown: 0 };
  for (let run = 0; run < 3_000; run++) {
    const shape = { operations: 7, keys: randomInt(random, 1, 3), unknown: 0.45, applied: 0.6, width: 1.5 };
    const sound = played(random, shape);
    const operations = random() < 0.6 ? spoiled(random, sound) : sound;
    const { verdict } = checkLinearizability(operations);
    counts[verdict] += 1;
    const expected = someOrder(operations) ? "ok" : "violation";
    if (verdict !== expected) expect.fail(`${verdict} for what is ${expected}: ${JSON.stringify(operations)}`);
  }
  expect(counts.ok).toBeGreaterThan(500);
  expect(counts.violation).toBeGreaterThan(500);
});

test.each([
  { keys: 1, unknown: 0.5 },
  { keys: 3, unknown: 0.6 },
  { keys: 6, unknown: 0.3 },
])(`where $unknown of all calls on $keys keys have no answer, it decides (seed ${seed})`, ({ keys, unknown }) => {
  for (let run = 0; run < 5; run++) {
    const operations = played(prng(seed + run), { operations: 1_500, keys, unknown, applied: 0.5, width: 6 });
    expect(checkLinearizability(operations, { maxStates: 500_000 }), `run ${run}`).toEqual({ verdict: "ok" });
  }
});

test(`what it remembers of a long search is bounded (seed ${seed})`, () => {
  const operations = played(prng(seed), { operations: 1_500, keys: 6, unknown: 0.85, applied: 0.5, width: 6 });
  const before = process.memoryUsage().heapUsed;
  const { verdict } = checkLinearizability(operations, { maxStates: 300_000 });
  expect(verdict).not.toBe("violation");
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(400e6);
});
