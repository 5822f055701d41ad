import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { prng, randomInt } from "../../src/base/prng.ts";
import { type Budget, runSlice, type Slices, sortInSlices } from "../../src/kv/slices.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

describe("runSlice", () => {
  function* work(budget: Budget): Slices<string> {
    for (let i = 0; i < 10; i++) {
      budget.left -= 1;
      if (budget.left <= 0) yield;
    }
    return "done";
  }
  test("works off its budget, then goes on where it was", () => {
    const budget: Budget = { left: 0 };
    const slices = work(budget);
    expect([4, 4, 4].map((steps) => runSlice(slices, budget, steps))).toEqual([undefined, undefined, "done"]);
  });
  test("a budget of nothing still gets somewhere", () => {
    const budget: Budget = { left: 0 };
    const slices = work(budget);
    let turns = 0;
    while (runSlice(slices, budget, 0) === undefined) turns += 1;
    expect(turns).toBe(10);
  });
});

describe("sortInSlices", () => {
  test(`sorts as the engine does, ties in their order, whatever the slices (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 0, max: 3_000 }),
        fc.integer({ min: 1, max: 5_000 }),
        (chance, count, steps) => {
          const random = prng(chance);
          const items = Array.from({ length: count }, (_, i) => ({ rank: randomInt(random, 0, 40), i }));
          const expected = [...items].sort((a, b) => a.rank - b.rank || a.i - b.i);
          const budget: Budget = { left: 0 };
          const sorting = sortInSlices(items, (a, b) => a.rank - b.rank, budget);
          for (;;) {
            const sorted = runSlice(sorting, budget, steps);
            if (sorted === undefined) continue;
            expect(sorted).toEqual(expected);
            return;
          }
        },
      ),
      { seed, numRuns: 60 },
    );
  });
  test("a long sort is cut into slices that keep to their budget", () => {
    const items = Array.from({ length: 100_000 }, (_, i) => (i * 7_919) % 100_000);
    const budget: Budget = { left: 0 };
    const sorting = sortInSlices(items, (a, b) => a - b, budget);
    let turns = 1;
    while (runSlice(sorting, budget, 1_000) === undefined) {
      turns += 1;
      expect(budget.left).toBeGreaterThan(-300);
    }
    expect(turns).toBeGreaterThan(500);
  });
});
