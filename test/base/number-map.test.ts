import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NumberMap } from "../../src/base/number-map.ts";
import { testSeed } from "../support/seed.ts";

type Step = readonly ["set" | "delete" | "get" | "trim" | "clear", number];

/** Numbers in a row, multiples of powers of two that share their lower bits, and large ones with equal lower halves. */
const key = fc.oneof(
  fc.nat(40),
  fc.nat(40).map((n) => n * 2 ** 20),
  fc.nat(10).map((n) => n * 2 ** 32 + 5),
  fc.nat(10).map((n) => Number.MAX_SAFE_INTEGER - n),
);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 20, arbitrary: fc.tuple(fc.constantFrom("set", "delete", "get"), key) },
  { weight: 1, arbitrary: fc.tuple(fc.constantFrom("trim", "clear"), fc.constant(0)) },
);

describe("NumberMap", () => {
  test("does what a Map does", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const map = new NumberMap<{ readonly n: number }>();
        const model = new Map<number, { readonly n: number }>();
        steps.forEach(([kind, at], n) => {
          switch (kind) {
            case "set":
              map.set(at, { n });
              model.set(at, { n });
              break;
            case "delete":
              expect(map.delete(at)).toBe(model.delete(at));
              break;
            case "get":
              expect(map.get(at)).toEqual(model.get(at));
              expect(map.has(at)).toBe(model.has(at));
              break;
            case "trim":
              map.trim();
              break;
            case "clear":
              map.clear();
              model.clear();
          }
          expect(map.size).toBe(model.size);
        });
        const byNumber = (a: number, b: number): number => a - b;
        expect(map.keys().sort(byNumber)).toEqual([...model.keys()].sort(byNumber));
        expect(
          map
            .values()
            .map(({ n }) => n)
            .sort(byNumber),
        ).toEqual([...model.values()].map(({ n }) => n).sort(byNumber));
        for (const [at, value] of model) expect(map.get(at)).toEqual(value);
      }),
      { seed: testSeed(), numRuns: 500 },
    );
  });

  test("a window that moves on for ever needs no more room", () => {
    const map = new NumberMap<object>();
    const one = {};
    for (let n = 0; n < 100_000; n++) {
      map.set(2 ** 40 + n, one);
      if (n >= 100) expect(map.delete(2 ** 40 + n - 100)).toBe(true);
    }
    expect(map.size).toBe(100);
    expect(map.keys().sort((a, b) => a - b)[0]).toBe(2 ** 40 + 99_900);
  });
});
