import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { prefixEnd, prefixRange, spanOf, TO_THE_END } from "../../src/kv/range.ts";
import { TOP } from "../../src/kv/sorted-map.ts";
import { testSeed } from "../support/seed.ts";
import { bytes, text } from "../support/state.ts";

const seed = testSeed();

describe("spanOf", () => {
  test.each([
    ["no end is one key", "k", undefined, { single: true, low: "k", high: "k" }],
    ["an empty end is one key", "k", "", { single: true, low: "k", high: "k" }],
    ["an end is half-open", "a", "c", { single: false, low: "a", high: "c" }],
    ["one zero byte is no end", "a", "\0", { single: false, low: "a", high: TOP }],
    ["two zero bytes are an end", "\0", "\0\0", { single: false, low: "\0", high: "\0\0" }],
    ["everything", "\0", "\0", { single: false, low: "\0", high: TOP }],
    ["an end below its key", "b", "a", { single: false, low: "b", high: "a" }],
  ])("%s", (_name, key, end, span) => {
    expect(spanOf(bytes(key), end === undefined ? undefined : bytes(end))).toEqual(span);
  });
});

describe("prefixEnd", () => {
  test.each([
    ["foo", "fop"],
    ["a\xff", "b"],
    ["a\xff\xff", "b"],
    ["\xfe", "\xff"],
    ["\xff", "\0"],
    ["\xff\xff", "\0"],
    ["", "\0"],
  ])("of %j is %j", (prefix, end) => {
    expect(text(prefixEnd(bytes(prefix)))).toBe(end);
  });

  test("leaves its argument alone", () => {
    const prefix = bytes("foo");
    prefixEnd(prefix);
    expect(text(prefix)).toBe("foo");
  });

  test(`spans exactly the keys that begin with the prefix (seed ${seed})`, () => {
    const short = fc.uint8Array({ maxLength: 3 });
    const near = fc
      .array(fc.constantFrom(0, 1, 0x61, 0xfe, 0xff), { maxLength: 3 })
      .map((list) => Uint8Array.from(list));
    const any = fc.oneof(short, near);
    fc.assert(
      fc.property(any, any, (prefix, key) => {
        fc.pre(key.length > 0);
        const { key: low, rangeEnd } = prefixRange(prefix);
        const span = spanOf(low, rangeEnd);
        const isIn = text(key) >= span.low && text(key) < span.high;
        expect(isIn).toBe(Buffer.from(key).subarray(0, prefix.length).equals(Buffer.from(prefix)));
      }),
      { seed, numRuns: 2_000 },
    );
  });

  test("the empty prefix is everything", () => {
    expect(prefixRange(bytes(""))).toEqual({ key: TO_THE_END, rangeEnd: TO_THE_END });
  });
});
