import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Arrivals } from "../../src/transport/arrivals.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

describe("Arrivals", () => {
  test(`within the window it says what a set of all numbers would say (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 400 }), (numbers) => {
        const arrivals = new Arrivals();
        const seen = new Set<number>();
        for (const number of numbers) {
          expect(arrivals.isFirst(number)).toBe(!seen.has(number));
          seen.add(number);
        }
      }),
      { seed },
    );
  });

  test(`however far numbers jump, none is taken twice (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 300 }), (numbers) => {
        const arrivals = new Arrivals();
        const taken = numbers.filter((number) => arrivals.isFirst(number));
        expect(new Set(taken).size).toBe(taken.length);
        expect(taken).not.toContain(0);
      }),
      { seed },
    );
  });

  test("later than the window counts as lost; within it, as late", () => {
    const arrivals = new Arrivals();
    expect(arrivals.isFirst(Number.MAX_SAFE_INTEGER - 1)).toBe(true);
    expect(arrivals.isFirst(Number.MAX_SAFE_INTEGER - 1_024)).toBe(true);
    expect(arrivals.isFirst(Number.MAX_SAFE_INTEGER - 1_026)).toBe(false);
    expect(arrivals.isFirst(Number.MAX_SAFE_INTEGER)).toBe(true);
    expect(arrivals.isFirst(1)).toBe(false);
  });

  test("numbers in order cost no memory, and a jump a bounded one", () => {
    const arrivals = new Arrivals();
    const jumps = Array.from({ length: 1_000 }, (_, i) => (i + 1) * 1_000_000);
    for (const number of jumps) expect(arrivals.isFirst(number)).toBe(true);
    const last = jumps.at(-1)!;
    let late = 0;
    for (let n = last - 3_000; n < last; n++) if (arrivals.isFirst(n)) late++;
    expect(late).toBe(1_024);
  });
});
