import { expect, test } from "vitest";
import { count, seedOf, whole } from "../../scripts/arguments.ts";
import { draw, leastFaults, type Pace } from "../../scripts/pace.ts";
import { prng } from "../../src/base/prng.ts";

const pace: Pace = { first: [1_000, 2_000], pause: [1_000, 3_000], lasts: [500, 2_000] };

test.each([
  [1_999, 0],
  [2_000, 1],
  [6_999, 1],
  [7_000, 2],
  [52_000, 11],
])("in %i ms there are at least %i faults", (ms, least) => {
  expect(leastFaults(pace, ms)).toBe(least);
});

test("what is drawn lies within its span, so that no run falls short by chance", () => {
  const random = prng(11);
  for (let i = 0; i < 1_000; i++) {
    const ms = draw(random, pace.pause);
    expect(ms).toBeGreaterThanOrEqual(1_000);
    expect(ms).toBeLessThanOrEqual(3_000);
  }
});

test.each(["", " ", "x", "1.5", "0", "-1", "NaN", "1e9"])("a number of faults that is %j is refused", (text) => {
  expect(() => count(text, "kills")).toThrow(`--kills takes a whole number from 1 to 10000000, not "${text}"`);
});

test("numbers that are understood", () => {
  expect([count("20", "kills"), whole("0", "puts", 0, 9), seedOf("4294967295")]).toEqual([20, 0, 4_294_967_295]);
});
