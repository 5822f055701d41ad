import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { prng, randomInt } from "../../src/base/prng.ts";
import { SortedMap, TOP } from "../../src/kv/sorted-map.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

function all(map: SortedMap<unknown>, page = 7): string[] {
  const keys: string[] = [];
  for (let low = ""; ; low = `${keys.at(-1)}\0`) {
    const got = map.page(low, TOP, page);
    keys.push(...got);
    if (got.length < page) return keys;
  }
}

describe("SortedMap", () => {
  test("an empty one has no pages", () => {
    const map = new SortedMap<number>();
    expect(map.size).toBe(0);
    expect(map.page("", TOP, 10)).toEqual([]);
    expect(map.get("a")).toBeUndefined();
    map.delete("a");
  });

  test.each([
    ["ascending", (i: number) => i],
    ["descending", (i: number) => 5_000 - i],
    ["scattered", (i: number) => (i * 2_654_435_761) % 4_294_967_296],
  ])("holds thousands of keys, %s", (_name, keyOf) => {
    const map = new SortedMap<number>();
    const names = Array.from({ length: 5_000 }, (_, i) => String(keyOf(i)).padStart(10, "0"));
    for (const [i, name] of names.entries()) map.insert(name, i);
    expect(map.size).toBe(5_000);
    expect(all(map, 100)).toEqual([...names].sort());
    expect(map.get(names[1234]!)).toBe(1234);
    // And gives them up again.
    for (const name of names.slice(0, 4_990)) map.delete(name);
    expect(all(map)).toEqual(names.slice(4_990).sort());
    for (const name of names.slice(4_990)) map.delete(name);
    expect(all(map)).toEqual([]);
    map.insert("x", 1);
    expect(all(map)).toEqual(["x"]);
  });

  test(`is an array that is sorted again after each change (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 2_000 }), (chance, count) => {
        const random = prng(chance);
        const key = (): string =>
          String.fromCharCode(...Array.from({ length: randomInt(random, 0, 3) }, () => randomInt(random, 0, 255)));
        const loaded = [...new Set(Array.from({ length: randomInt(random, 0, 1_500) }, key))].sort();
        // In no order, as keys come when a state is loaded.
        const map = new SortedMap(new Map([...loaded].reverse().map((name) => [name, name.length])));
        for (const name of loaded) map.append(name);
        let model = [...loaded];
        for (let i = 0; i < count; i++) {
          const name = key();
          if (map.get(name) === undefined) {
            map.insert(name, name.length);
            model.push(name);
          } else if (random() < 0.7) {
            map.delete(name);
            model = model.filter((other) => other !== name);
          }
        }
        model.sort();
        expect(map.size).toBe(model.length);
        expect(all(map, randomInt(random, 1, 600))).toEqual(model);
        for (let i = 0; i < 20; i++) {
          const [low, high, max] = [key(), random() < 0.2 ? TOP : key(), randomInt(random, 1, 700)];
          const expected = model.filter((name) => name >= low && name < high).slice(0, max);
          expect(map.page(low, high, max)).toEqual(expected);
        }
      }),
      { seed, numRuns: 60 },
    );
  });
});
