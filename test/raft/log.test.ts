import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { term } from "../../src/base/ids.ts";
import { encodeEntry } from "../../src/raft/codec.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { ENTRY_OVERHEAD, entryBytes, RaftLog } from "../../src/raft/log.ts";
import { testSeed } from "../support/seed.ts";
import { at, entry, run } from "./core.ts";

const seed = testSeed();

function log(base: readonly [number, number], terms: readonly number[]): RaftLog {
  return new RaftLog({ index: at(base[0]), term: term(base[1]) }, run(base[0] + 1, terms));
}

const indexes = (entries: readonly Entry[]): number[] => entries.map(({ index }) => index);

describe("RaftLog", () => {
  test("V4: entries are contiguous and terms never fall", () => {
    const some = log([2, 1], [1, 3]);
    expect(() => some.append(entry(6, 3))).toThrow("V4");
    expect(() => some.append(entry(5, 2))).toThrow("V4");
    some.append(entry(5, 3));
    expect(some.lastIndex).toBe(5);
  });

  test("K2, A2: the base's term is known, what lies below it is not", () => {
    const some = log([5, 2], [3]);
    expect([4, 5, 6, 7].map((i) => some.termAt(i))).toEqual([undefined, 2, 3, undefined]);
    expect(some.entryAt(5)).toBeUndefined();
    expect(some.entryAt(6)?.term).toBe(3);
  });

  test("V3: nothing at or below the base is cut", () => {
    expect(() => log([5, 2], [3]).truncateFrom(5)).toThrow("V3");
  });

  test("W3: a cut of what was handed out is reported once, of what was not never", () => {
    const some = log([0, 0], [1, 1, 1]);
    some.append(entry(4, 1));
    some.truncateFrom(4);
    expect(some.takeUnwritten()).toEqual({ cutFrom: undefined, entries: [] });
    some.truncateFrom(3);
    some.append(entry(3, 2));
    some.truncateFrom(2);
    some.append(entry(2, 3));
    expect(some.hasUnwritten).toBe(true);
    const { cutFrom, entries } = some.takeUnwritten();
    expect([cutFrom, indexes(entries)]).toEqual([2, [2]]);
    expect(some.takeUnwritten()).toEqual({ cutFrom: undefined, entries: [] });
    expect(some.hasUnwritten).toBe(false);
  });

  test("N9: a reset leaves nothing of the old log", () => {
    const some = log([0, 0], [1, 1, 1, 2, 2]);
    some.reset({ index: at(3), term: term(4) });
    expect([some.lastIndex, some.lastTerm, some.termAt(4), some.termAt(2)]).toEqual([3, 4, undefined, undefined]);
    some.append(entry(4, 4));
    expect(some.takeUnwritten().cutFrom).toBeUndefined();
  });

  test("F5: a message holds what fits, and always one entry", () => {
    const some = log([0, 0], [1, 1, 1]);
    const size = entryBytes(some.entryAt(1)!);
    expect(indexes(some.from(1, 1))).toEqual([1]);
    expect(indexes(some.from(1, size * 2))).toEqual([1, 2]);
    expect(indexes(some.from(2, 1000))).toEqual([2, 3]);
    expect(some.from(4, 1000)).toEqual([]);
    expect(() => log([5, 2], [3]).from(5, 100)).toThrow("F6");
  });

  test("J3: what was handed out does not follow the log", () => {
    const some = log([0, 0], [1, 1]);
    const before = some.from(1, 1000);
    some.append(entry(3, 1));
    some.truncateFrom(2);
    expect(indexes(before)).toEqual([1, 2]);
  });

  test("M9: knows where its configuration changes are", () => {
    const some = new RaftLog({ index: at(0), term: term(0) }, [
      entry(1, 1),
      entry(2, 1, "", "confChange"),
      entry(3, 1),
    ]);
    expect(some.hasConfChange(0, 1)).toBe(false);
    expect(some.hasConfChange(0, 2)).toBe(true);
    expect(some.hasConfChange(2, 3)).toBe(false);
    some.release(at(2));
    expect(some.hasConfChange(0, 3)).toBe(false);
    some.append(entry(4, 1, "", "confChange"));
    some.truncateFrom(4);
    expect(some.hasConfChange(0, 9)).toBe(false);
  });

  test("U2: the overhead that limits count is what the codec adds", () => {
    const one = entry(1, 1, "hello");
    expect(encodeEntry(one).length).toBe(entryBytes(one));
    expect(entryBytes(one)).toBe(5 + ENTRY_OVERHEAD);
  });

  const FLOORS: readonly [string, readonly [number, number], readonly number[], readonly [number, number], number][] = [
    ["the last entry, if nothing is asked", [0, 0], [1, 1, 2], [9, 9], 3],
    ["the end of the run of that term", [0, 0], [1, 1, 4, 4], [4, 2], 2],
    ["within a run", [0, 0], [1, 1, 4, 4], [3, 4], 3],
    ["the base", [3, 2], [5, 5], [5, 2], 3],
    ["one below the base if every term is later", [3, 2], [5, 5], [5, 1], 2],
    ["what is asked, if it lies below the base", [10, 4], [5], [6, 9], 6],
    ["the empty log's end", [0, 0], [2, 2], [2, 1], 0],
  ];
  test.each(FLOORS)("A7, A9: floor finds %s", (_, base, terms, [index, of], expected) => {
    expect(log(base, terms).floor(index, of)).toBe(expected);
  });

  test(`answers like an array would, through appends, cuts and releases (seed ${seed})`, () => {
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.record({ add: fc.nat(2) }) },
      { weight: 2, arbitrary: fc.record({ cut: fc.nat(12) }) },
      { weight: 1, arbitrary: fc.record({ release: fc.nat(12) }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const some = log([0, 0], []);
        /** Term by index; what is released stays as `undefined`. */
        let slow: (number | undefined)[] = [0];
        let base = 0;
        let now = 1;
        for (const next of steps) {
          const last = slow.length - 1;
          if ("add" in next) {
            now = Math.max(now, slow[last] ?? 0) + (next.add === 2 ? 1 : 0);
            some.append(entry(last + 1, now));
            slow.push(now);
          } else if ("cut" in next) {
            const from = Math.max(base + 1, last - next.cut);
            some.truncateFrom(from);
            slow = slow.slice(0, Math.max(from, base + 1));
          } else {
            const to = Math.min(last, base + next.release);
            if (to > base) some.release(at(to));
            for (let i = base; i < to; i++) slow[i] = undefined;
            base = Math.max(base, to);
          }
          expect(some.lastIndex).toBe(slow.length - 1);
          expect(some.lastTerm).toBe(slow.at(-1));
          for (let i = 0; i <= slow.length; i++) expect(some.termAt(i)).toBe(slow[i]);
          for (let of = 0; of <= now; of++) {
            let expected = slow.length - 1;
            while (expected >= base && slow[expected]! > of) expected -= 1;
            expect(some.floor(slow.length + 1, of)).toBe(Math.max(0, expected));
          }
        }
      }),
      { seed },
    );
  });
});
