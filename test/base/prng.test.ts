import { describe, expect, test } from "vitest";
import { prng, randomInt } from "../../src/base/prng.ts";

const take = (seed: number, count: number): number[] => {
  const next = prng(seed);
  return Array.from({ length: count }, () => next() * 0x1_0000_0000);
};

describe("prng", () => {
  test("golden numbers: a seed means the same for ever", () => {
    expect(take(1, 4)).toEqual([792534090, 3215351813, 160231488, 1151041103]);
  });

  test("the same seed repeats, another differs at once", () => {
    expect(take(7, 100)).toEqual(take(7, 100));
    expect(take(-1, 100)).toEqual(take(0xffff_ffff, 100));
    const firsts = new Set(Array.from({ length: 500 }, (_, seed) => take(seed, 1)[0]));
    expect(firsts.size).toBe(500);
  });

  test("numbers lie in [0, 1) and spread evenly", () => {
    const next = prng(3);
    const tenths = new Array<number>(10).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const n = next();
      expect(n >= 0 && n < 1).toBe(true);
      tenths[Math.floor(n * 10)]!++;
    }
    for (const count of tenths) expect(Math.abs(count - 2_000)).toBeLessThan(200);
  });

  test("two sources do not disturb each other", () => {
    const one = prng(5);
    const other = prng(6);
    const mixed = [one(), other(), one(), other(), one()];
    const alone = prng(5);
    expect([mixed[0], mixed[2], mixed[4]]).toEqual([alone(), alone(), alone()]);
  });
});

describe("randomInt", () => {
  test("draws both ends and nothing beyond", () => {
    const next = prng(9);
    const seen = new Set(Array.from({ length: 500 }, () => randomInt(next, -2, 3)));
    expect([...seen].sort((a, b) => a - b)).toEqual([-2, -1, 0, 1, 2, 3]);
    expect(randomInt(next, 4, 4)).toBe(4);
    expect(randomInt(() => 0, 5, 9)).toBe(5);
    expect(randomInt(() => 0.999_999_999, 5, 9)).toBe(9);
  });
});
