import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StateHash } from "../../src/machine/state-hash.ts";
import { testSeed } from "../support/seed.ts";
import { bytes } from "../support/state.ts";

const seed = testSeed();

function of(feed: (hash: StateHash) => void): string {
  const hash = new StateHash();
  feed(hash);
  return hash.toString();
}

describe("StateHash", () => {
  test("golden values: it is stored, and compared between members of different releases", () => {
    expect(of(() => {})).toBe("0000000000000000");
    expect(of((hash) => hash.word(1))).toMatchInlineSnapshot(`"26cf05762c527a68"`);
    expect(of((hash) => hash.number(2 ** 40 + 3))).toMatchInlineSnapshot(`"c30000cf4d5e9017"`);
    expect(of((hash) => hash.bytes(bytes("quorate")))).toMatchInlineSnapshot(`"ce12b69f9fdcfec0"`);
    expect(of((hash) => hash.bytes(new Uint8Array()))).toMatchInlineSnapshot(`"e6546b640cdfac40"`);
  });

  test("the order counts", () => {
    const words = (...all: number[]): string =>
      of((hash) => {
        for (const word of all) hash.word(word);
      });
    expect(words(1, 2)).not.toBe(words(2, 1));
  });

  test("where one text ends and the next begins counts", () => {
    const texts = (...all: string[]): string =>
      of((hash) => {
        for (const one of all) hash.bytes(bytes(one));
      });
    const different = [
      texts("ab", "c"),
      texts("a", "bc"),
      texts("abc"),
      texts("abc", ""),
      texts("", "abc"),
      texts("abc\0"),
    ];
    expect(new Set(different).size).toBe(different.length);
  });

  test("high halves and signs count", () => {
    const numbers = [
      0,
      1,
      -1,
      2 ** 32,
      2 ** 32 + 1,
      -(2 ** 32),
      2 ** 52,
      Number.MAX_SAFE_INTEGER,
      -Number.MAX_SAFE_INTEGER,
    ];
    expect(new Set(numbers.map((one) => of((hash) => hash.number(one)))).size).toBe(numbers.length);
  });

  test(`any one changed bit shows (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(), fc.nat({ max: 7 }), (data, at, bit) => {
        const other = data.slice();
        other[at % data.length]! ^= 1 << bit;
        expect(of((hash) => hash.bytes(other))).not.toBe(of((hash) => hash.bytes(data)));
      }),
      { seed, numRuns: 2_000 },
    );
  });

  test("both halves take part", () => {
    const halves = Array.from({ length: 2_000 }, (_, i) => {
      const hash = new StateHash();
      hash.number(i);
      return [hash.a, hash.b];
    });
    expect(new Set(halves.map(([a]) => a)).size).toBe(2_000);
    expect(new Set(halves.map(([, b]) => b)).size).toBe(2_000);
  });

  test("goes on from where it was saved", () => {
    const whole = new StateHash();
    whole.bytes(bytes("first"));
    whole.bytes(bytes("second"));
    const half = new StateHash();
    half.bytes(bytes("first"));
    const rest = new StateHash(half.a, half.b);
    rest.bytes(bytes("second"));
    expect(rest.toString()).toBe(whole.toString());
  });
});
