import { describe, expect, test } from "vitest";
import { InvariantError } from "../../src/base/assert.ts";
import { KeyIndex } from "../../src/kv/key-index.ts";

/** put@5 put@6 del@7 put@9: the example that the source works through. */
function example(): KeyIndex {
  const index = new KeyIndex(5, 0, 5, 1, 20);
  index.append(6, 0, 5, 2, 20);
  index.append(7, 0, 0, 0, 20);
  index.append(9, 2, 9, 1, 20);
  return index;
}

const mains = (index: KeyIndex): number[] => Array.from({ length: index.count }, (_, i) => index.mainOf(i));

describe("KeyIndex", () => {
  test("knows each record by its age", () => {
    const index = example();
    expect(index.count).toBe(4);
    const records = [0, 1, 2, 3].map((i) => [index.mainOf(i), index.subOf(i), index.createOf(i), index.versionOf(i)]);
    expect(records).toEqual([
      [5, 0, 5, 1],
      [6, 0, 5, 2],
      [7, 0, 0, 0],
      [9, 2, 9, 1],
    ]);
    expect(index.isLive).toBe(true);
  });

  test.each([
    [4, -1, -1],
    [5, 0, 0],
    [6, 1, 1],
    [7, 2, -1],
    [8, 2, -1],
    [9, 3, 3],
    [1_000, 3, 3],
  ])("at revision %i the newest record is number %i, and a read sees %i", (at, newest, seen) => {
    expect(example().find(at)).toBe(newest);
    expect(example().findLive(at)).toBe(seen);
  });

  test.each([
    [4, [5, 6, 7, 9]],
    [5, [5, 6, 7, 9]],
    [6, [6, 7, 9]],
    [7, [7, 9]],
    [8, [9]],
    [9, [9]],
    [1_000, [9]],
  ])("a compaction at %i keeps %j", (at, kept) => {
    const index = example();
    index.dropBefore(index.firstKept(at));
    expect(mains(index)).toEqual(kept);
    // What may still be read is read as before.
    for (let later = at; later <= 10; later++) {
      const before = example().findLive(later);
      const now = index.findLive(later);
      expect(now < 0 ? undefined : index.mainOf(now)).toBe(before < 0 ? undefined : example().mainOf(before));
    }
  });

  test("a compaction above a tombstone that nothing follows keeps nothing", () => {
    const index = new KeyIndex(5, 0, 5, 1, 20);
    index.append(7, 0, 0, 0, 20);
    expect(index.firstKept(6)).toBe(0);
    expect(index.firstKept(7)).toBe(1);
    expect(index.firstKept(8)).toBe(index.count);
  });

  test("several records of one revision: the last is what the revision shows", () => {
    const index = new KeyIndex(5, 0, 5, 1, 20);
    index.append(6, 0, 0, 0, 20);
    index.append(6, 1, 6, 1, 20);
    expect(index.findLive(6)).toBe(2);
    expect(index.findLive(5)).toBe(0);
    expect(index.firstKept(6)).toBe(2);
    expect(index.firstKept(5)).toBe(0);
  });

  test("many records", () => {
    const index = new KeyIndex(10, 0, 10, 1, 20);
    for (let i = 1; i < 1_000; i++) index.append(10 + 2 * i, 0, 10, i + 1, i);
    for (let i = 0; i < 1_000; i += 37) {
      expect(index.find(10 + 2 * i)).toBe(i);
      expect(index.find(11 + 2 * i)).toBe(i);
      expect(index.versionOf(i)).toBe(i + 1);
      expect(index.bytesOf(i)).toBe(i === 0 ? 20 : i);
    }
    index.dropBefore(990);
    expect(index.count).toBe(10);
    expect(index.mainOf(0)).toBe(10 + 2 * 990);
    expect([index.bytesOf(0), index.bytesOf(9)]).toEqual([990, 999]);
    index.dropBefore(9);
    expect(index.count).toBe(1);
    expect(index.find(10)).toBe(-1);
  });

  test("a record out of order is a broken invariant", () => {
    const index = example();
    expect(() => index.append(9, 2, 9, 2, 20)).toThrow(InvariantError);
    expect(() => index.append(8, 3, 9, 2, 20)).toThrow(InvariantError);
    index.append(9, 3, 9, 2, 20);
    expect(index.count).toBe(5);
  });
});
