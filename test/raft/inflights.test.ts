import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Inflights } from "../../src/raft/inflights.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

describe("Inflights", () => {
  test("F1: is full at its count", () => {
    const window = new Inflights(2, 1000);
    window.add(1, 10);
    expect(window.full).toBe(false);
    window.add(2, 10);
    expect(window.full).toBe(true);
    window.freeTo(1);
    expect(window.full).toBe(false);
  });

  test("F1: the byte bound is soft by one message", () => {
    const window = new Inflights(100, 50);
    window.add(1, 49);
    expect(window.full).toBe(false);
    window.add(2, 1000);
    expect(window.full).toBe(true);
    window.freeTo(2);
    expect([window.full, window.bytes, window.count]).toEqual([false, 0, 0]);
  });

  test("an acknowledgement below the oldest frees nothing", () => {
    const window = new Inflights(4, 100);
    window.add(5, 1);
    window.freeTo(4);
    expect(window.count).toBe(1);
  });

  test(`counts like a list would (seed ${seed})`, () => {
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ add: fc.nat(30) }) },
      { weight: 3, arbitrary: fc.record({ free: fc.nat(40) }) },
      { weight: 1, arbitrary: fc.constant({ clear: true }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const window = new Inflights(7, 60);
        let slow: { last: number; bytes: number }[] = [];
        let last = 0;
        for (const now of steps) {
          if ("add" in now) {
            window.add(++last, now.add);
            slow.push({ last, bytes: now.add });
          } else if ("free" in now) {
            window.freeTo(last - now.free);
            slow = slow.filter((sent) => sent.last > last - now.free);
          } else {
            window.clear();
            slow = [];
          }
          const bytes = slow.reduce((sum, sent) => sum + sent.bytes, 0);
          expect([window.count, window.bytes]).toEqual([slow.length, bytes]);
          expect(window.full).toBe(slow.length >= 7 || bytes >= 60);
        }
      }),
      { seed },
    );
  });
});
