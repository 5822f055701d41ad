import { describe, expect, test } from "vitest";
import { ValueCache } from "../../src/storage/value-cache.ts";

/** With its overhead, one value of 20 bytes under a name of 5 counts 125. */
const value = (n: number): Uint8Array => new Uint8Array(20).fill(n);
const name = (n: number): string => `name${n}`;

describe("ValueCache", () => {
  test("keeps what fits, replaces, deletes", () => {
    const cache = new ValueCache(100_000);
    cache.set("a", value(1));
    cache.set("b", value(2));
    cache.set("a", value(3));
    expect(cache.get("a")).toEqual(value(3));
    cache.delete("b");
    cache.delete("never there");
    expect(cache.get("b")).toBeUndefined();
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

  test("a value too large for its half is not kept, and the older one under its name is gone", () => {
    const cache = new ValueCache(2_000);
    cache.set("a", value(1));
    cache.set("a", new Uint8Array(300));
    expect(cache.get("a")).toBeUndefined();
  });

  test("an overwritten value does not come back from the older half", () => {
    const cache = new ValueCache(2_000);
    cache.set("a", value(1));
    for (let n = 0; n < 8; n++) cache.set(name(n), value(n));
    cache.set("a", value(2));
    cache.delete("a");
    expect(cache.get("a")).toBeUndefined();
  });
});
