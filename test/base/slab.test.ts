import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Slab } from "../../src/base/slab.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

describe("Slab", () => {
  test(`what is cut is zero and nobody else's (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.nat(300), fc.nat(9_000)), { maxLength: 400 }), (sizes) => {
        const slab = new Slab();
        const cuts = sizes.map((size, i) => {
          const cut = slab.cut(size);
          expect(cut.length).toBe(size);
          expect(cut.every((byte) => byte === 0)).toBe(true);
          return cut.fill((i % 255) + 1);
        });
        for (const [i, cut] of cuts.entries()) expect(cut.every((byte) => byte === (i % 255) + 1)).toBe(true);
      }),
      { seed, numRuns: 50 },
    );
  });

  test("small ones share memory, large ones stand alone", () => {
    const slab = new Slab();
    const [a, b, large] = [slab.cut(100), slab.cut(100), slab.cut(100_000)];
    expect(b.buffer).toBe(a.buffer);
    expect(large.buffer.byteLength).toBe(100_000);
  });
});
