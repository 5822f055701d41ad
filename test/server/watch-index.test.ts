import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8, toByteString } from "../../src/base/bytes.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import { prefixRange, type Span, spanOf, TO_THE_END } from "../../src/kv/range.ts";
import { WatchIndex } from "../../src/server/watch-index.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

const bytes = encodeUtf8;
const matching = <W>(index: WatchIndex<W>, key: string | Uint8Array): W[] => {
  const found: W[] = [];
  index.matches(toByteString(typeof key === "string" ? bytes(key) : key), (watcher) => found.push(watcher));
  return found;
};
const prefix = (text: string): Span => {
  const { key, rangeEnd } = prefixRange(bytes(text));
  return spanOf(key, rangeEnd);
};

describe("WatchIndex", () => {
  test.each<[string, Span, readonly string[], readonly string[]]>([
    ["a key alone", spanOf(bytes("k"), undefined), ["k"], ["", "j", "k\0", "kk", "l"]],
    ["an empty end: that key alone", spanOf(bytes("k"), new Uint8Array(0)), ["k"], ["k\0", "l"]],
    ["half open", spanOf(bytes("b"), bytes("d")), ["b", "b\0", "c", "czz"], ["a", "azz", "d", "d\0"]],
    ["from a key on", spanOf(bytes("k"), TO_THE_END), ["k", "k\0", "z", "zzz"], ["", "j"]],
    ["everything", spanOf(TO_THE_END, TO_THE_END), ["\0", "a", "z"], [""]],
    ["a prefix", prefix("ab"), ["ab", "ab\0", "abz"], ["a", "aa", "ac", "b"]],
    ["an end below the beginning", spanOf(bytes("d"), bytes("b")), [], ["a", "b", "c", "d", "e"]],
    ["an end at the beginning", spanOf(bytes("d"), bytes("d")), [], ["c", "d", "d\0"]],
  ])("%s", (_name, span, inside, outside) => {
    const index = new WatchIndex<string>();
    index.add(span, "w");
    for (const key of inside) expect(matching(index, key), JSON.stringify(key)).toEqual(["w"]);
    for (const key of outside) expect(matching(index, key), JSON.stringify(key)).toEqual([]);
  });

  test("keys are bytes: 0xff is the highest, and only the open end lies above it", () => {
    const index = new WatchIndex<string>();
    index.add(spanOf(Uint8Array.of(0xfe), TO_THE_END), "open");
    index.add(spanOf(Uint8Array.of(0xfe), Uint8Array.of(0xff)), "below 0xff");
    expect(matching(index, Uint8Array.of(0xfe, 0xff, 0xff))).toEqual(["below 0xff", "open"]);
    expect(matching(index, Uint8Array.of(0xff, 0xff))).toEqual(["open"]);
  });

  test("watchers of one span are told in the order of their coming, and each only once", () => {
    const index = new WatchIndex<string>();
    for (const watcher of ["second", "first", "second"]) index.add(prefix("a"), watcher);
    for (const watcher of ["exact 1", "exact 2", "exact 1"]) index.add(spanOf(bytes("ab"), undefined), watcher);
    expect(matching(index, "ab")).toEqual(["exact 1", "exact 2", "second", "first"]);
    expect(index.size).toBe(4);
  });

  test("removing takes one watcher from one span, and says whether it was there", () => {
    const index = new WatchIndex<string>();
    index.add(prefix("a"), "w");
    index.add(prefix("a"), "x");
    index.add(prefix("ab"), "w");
    index.add(spanOf(bytes("abc"), undefined), "w");
    expect(index.remove(prefix("a"), "w")).toBe(true);
    expect(index.remove(prefix("a"), "w")).toBe(false);
    expect(index.remove(prefix("b"), "w")).toBe(false);
    expect(index.remove(spanOf(bytes("ab"), undefined), "w")).toBe(false);
    expect(matching(index, "abc")).toEqual(["w", "x", "w"]);
    expect(index.remove(spanOf(bytes("abc"), undefined), "w")).toBe(true);
    expect(index.remove(prefix("ab"), "w")).toBe(true);
    expect(index.remove(prefix("a"), "x")).toBe(true);
    expect(matching(index, "abc")).toEqual([]);
    expect(index.size).toBe(0);
  });

  const aByte = fc.constantFrom(0x00, 0x61, 0x62, 0xff);
  const aKey = fc.array(aByte, { minLength: 1, maxLength: 3 }).map((list) => Uint8Array.from(list));
  const anEnd = fc.oneof(fc.constant(undefined), fc.constant(TO_THE_END), aKey);
  const aStep = fc.record({
    add: fc.boolean(),
    key: aKey,
    rangeEnd: anEnd,
    watcher: fc.integer({ min: 0, max: 3 }),
  });

  test(`finds what looking at every watcher finds (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.array(aStep, { maxLength: 60 }),
        fc.array(aKey, { minLength: 1, maxLength: 10 }),
        (steps, keys) => {
          const index = new WatchIndex<number>();
          let all: { readonly span: Span; readonly watcher: number }[] = [];
          const check = (key: Uint8Array): void => {
            const name = toByteString(key);
            const expected = all.filter(({ span }) =>
              span.single ? span.low === name : span.low <= name && name < span.high,
            );
            expect(matching(index, key).sort()).toEqual(expected.map(({ watcher }) => watcher).sort());
          };
          for (const { add, key, rangeEnd, watcher } of steps) {
            const span = spanOf(key, rangeEnd);
            const same = (one: (typeof all)[number]): boolean =>
              one.watcher === watcher &&
              one.span.single === span.single &&
              one.span.low === span.low &&
              one.span.high === span.high;
            const there = all.some(same);
            if (add) {
              index.add(span, watcher);
              if (!there) all.push({ span, watcher });
            } else {
              expect(index.remove(span, watcher)).toBe(there);
              all = all.filter((one) => !same(one));
            }
            expect(index.size).toBe(all.length);
            check(key);
          }
          for (const key of keys) check(key);
          for (const { span, watcher } of all) index.remove(span, watcher);
          for (const key of keys) expect(matching(index, key)).toEqual([]);
        },
      ),
      { seed, numRuns: 500 },
    );
  });

  test("a change among ten thousand ranges, added in ascending order, looks at the few on its way and no others", () => {
    const index = new WatchIndex<number>();
    const nameOf = (i: number): string => `watch/${String(i).padStart(5, "0")}/`;
    for (let i = 0; i < 10_000; i++) index.add(prefix(nameOf(i)), i);
    const random = prng(seed);
    for (let round = 0; round < 200; round++) {
      const wanted = randomInt(random, 0, 9_999);
      const found: number[] = [];
      const work = index.matches(`${nameOf(wanted)}key`, (watcher) => found.push(watcher));
      expect(found).toEqual([wanted]);
      // A treap of 10,000 is about 30 deep.
      expect(work).toBeLessThan(100);
    }
    for (let i = 0; i < 10_000; i += 2) index.remove(prefix(nameOf(i)), i);
    expect(matching(index, `${nameOf(4_000)}key`)).toEqual([]);
    expect(matching(index, `${nameOf(4_001)}key`)).toEqual([4_001]);
  });
});
