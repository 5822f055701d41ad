import { describe, expect, test } from "vitest";
import { type Collections, giveRoom, v8Collections } from "../../src/platform/node/room.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

const MB = 2 ** 20;

/** Whether room is given after each look, of which each found so many full collections. */
function given(counts: readonly number[], oldMb: (look: number) => number = () => 20): boolean[] {
  const clock = new VirtualClock();
  let look = -1;
  let room = false;
  const collections: Collections = {
    count: () => counts[++look]!,
    oldBytes: () => oldMb(look) * MB,
    room: (is) => {
      expect(is).toBe(!room);
      room = is;
    },
  };
  giveRoom(clock, collections);
  return counts.map((_, i) => {
    clock.runNext();
    expect(clock.now()).toBe((i + 1) * 1_000);
    return room;
  });
}

describe("giveRoom", () => {
  test("gives room where full collections come often, and while they come at all", () => {
    expect(given([0, 2, 7, 1, 0, 0, 1, 2])).toEqual([false, false, true, true, true, true, true, true]);
  });

  test("takes it back after three looks without any", () => {
    expect(given([5, 0, 0, 0, 0, 1])).toEqual([true, true, true, false, false, false]);
  });

  test("leaves a large heap to V8, also one that has become large", () => {
    expect(given([9, 9], () => 170)).toEqual([false, false]);
    expect(given([9, 9, 9], (look) => (look === 1 ? 90 : 20))).toEqual([true, false, true]);
  });
});

test("v8Collections counts full collections, and what is asked of V8 can be taken back", async () => {
  const collections = v8Collections();
  try {
    expect(collections.oldBytes()).toBeGreaterThan(0);
    collections.count();
    collections.room(true);
    let count = 0;
    // Buffers outside of the heap until V8 sees fit; entries are told in a turn of their own.
    while (count === 0) {
      for (let i = 0; i < 64; i++) Buffer.alloc(1 << 20);
      await new Promise((resolve) => setImmediate(resolve));
      count = collections.count();
    }
  } finally {
    collections.room(false);
    collections.close();
  }
});
