import { describe, expect, test } from "vitest";
import { RevisionRun } from "../../src/storage/revision-run.ts";
import { ABSENT, ValueCache } from "../../src/storage/value-cache.ts";

/** With its overhead, one value of 20 bytes under a name of 5 counts 125. */
const value = (n: number): Uint8Array => new Uint8Array(20).fill(n);
const name = (n: number): string => `name${n}`;

describe("ValueCache", () => {
  test("keeps what fits, and replaces", () => {
    const cache = new ValueCache(100_000);
    cache.set("a", value(1));
    cache.set("b", value(2));
    cache.set("a", value(3));
    expect(cache.get("a")).toEqual(value(3));
    expect(cache.get("b")).toEqual(value(2));
    expect(cache.get("c")).toBeUndefined();
  });

  test("forgets what was not used, keeps what was, stays within its budget", () => {
    const cache = new ValueCache(2_000);
    for (let n = 0; n < 8; n++) cache.set(name(n), value(n));
    for (let n = 8; n < 200; n++) {
      cache.set(name(n), value(n));
      expect(cache.get(name(0)), `after ${n}`).toEqual(value(0));
    }
    const left = Array.from({ length: 200 }, (_, n) => n).filter((n) => cache.get(name(n)) !== undefined);
    expect(left).toContain(0);
    expect(left.length).toBeLessThanOrEqual(16);
    expect(left).toContain(199);
    expect(left).not.toContain(1);
  });

  test("a value larger than the whole is not kept, and the older one under its name is gone", () => {
    const cache = new ValueCache(2_000);
    cache.set("a", value(1));
    cache.set("a", new Uint8Array(3_000));
    expect(cache.get("a")).toBeUndefined();
    cache.set("b", value(2));
    expect(cache.get("b")).toEqual(value(2));
  });

  test.each([3, 100])(
    "what was flushed (%d values) takes the place of what was read, and tells what is gone",
    (count) => {
      const cache = new ValueCache(20_000);
      cache.set(name(0), value(1));
      cache.set(name(1), value(1));
      cache.set("other", value(1));
      const flushed = new Map([
        [name(0), value(2)],
        [name(1), ABSENT],
      ]);
      for (let n = 2; n < count; n++) flushed.set(name(n), value(2));
      cache.absorb(flushed, new RevisionRun());
      expect(cache.get(name(0))).toEqual(value(2));
      expect(cache.get(name(1))).toBe(ABSENT);
      expect(cache.get(name(count - 1))).toEqual(value(2));
      expect(cache.get("other")).toEqual(value(1));
      // And again, over what is a flush's own.
      cache.set(name(0), value(3));
      expect(cache.get(name(0))).toEqual(value(3));
    },
  );

  test("flushes without end stay within the budget, the newest kept", () => {
    const cache = new ValueCache(20_000);
    for (let flush = 0; flush < 100; flush++) {
      const flushed = Array.from({ length: 1 + (flush % 30) }, (_, n) => [`${flush}.${n}`, value(n)] as const);
      cache.absorb(new Map(flushed), new RevisionRun());
    }
    let bytes = 0;
    for (let flush = 0; flush < 100; flush++) {
      for (let n = 0; n < 30; n++) if (cache.get(`${flush}.${n}`) !== undefined) bytes += 120;
    }
    expect(cache.get("99.0")).toEqual(value(0));
    expect(cache.get("0.0")).toBeUndefined();
    expect(bytes).toBeLessThanOrEqual(20_000);
  });
});
