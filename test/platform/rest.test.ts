import { getHeapSpaceStatistics } from "node:v8";
import { describe, expect, test } from "vitest";
import { type Engine, giveBackAtRest, v8Engine } from "../../src/platform/node/rest.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

const MB = 2 ** 20;

/** What was collected in `looks` looks, by a process whose young generation shrinks with the collection of that number. */
function collected(looks: number, { busy = 0.02, youngMb = 32, oldMb = 16, shrinksAt = 1 }): string[] {
  const clock = new VirtualClock();
  const done: string[] = [];
  const engine: Engine = {
    busyShare: () => busy,
    youngBytes: () => (done.length < shrinksAt ? youngMb : 1) * MB,
    oldBytes: () => oldMb * MB,
    collect: ({ old }) => done.push(old ? "young and old" : "young"),
  };
  giveBackAtRest(clock, engine);
  for (let i = 0; i < looks; i++) clock.runNext();
  expect(clock.now()).toBe(looks * 5_000);
  return done;
}

describe("giveBackAtRest", () => {
  test("collects at rest after load, both generations where the old one is small", () => {
    expect(collected(1, {})).toEqual(["young and old"]);
    expect(collected(1, { oldMb: 300 })).toEqual(["young"]);
  });

  test("collects until the memory is given back, and then no more", () => {
    expect(collected(5, { shrinksAt: 2 })).toEqual(["young and old", "young and old"]);
  });

  test("leaves a busy process alone, and one with nothing to give back", () => {
    expect(collected(3, { busy: 0.9 })).toEqual([]);
    expect(collected(3, { youngMb: 2 })).toEqual([]);
  });

  test("looks no more once cancelled", () => {
    const clock = new VirtualClock();
    giveBackAtRest(clock, v8Engine()!).cancel();
    expect(clock.runNext()).toBe(false);
  });
});

describe("v8Engine", () => {
  test("collects what is young, and shows the program no gc", () => {
    const engine = v8Engine()!;
    expect((globalThis as { gc?: unknown }).gc).toBe(undefined);
    expect(engine.youngBytes()).toBeGreaterThan(0);
    expect(engine.oldBytes()).toBeGreaterThan(0);
    expect(engine.busyShare()).toBeGreaterThanOrEqual(0);

    const used = (): number =>
      getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.space_used_size;
    for (const old of [false, true]) {
      // Garbage until there is some: V8 may collect in between.
      while (used() < MB / 2) Array.from({ length: 100 }, () => ({}));
      const before = used();
      engine.collect({ old });
      expect(used()).toBeLessThan(before);
    }
  });
});
