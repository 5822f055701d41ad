import { getHeapSpaceStatistics } from "node:v8";
import { describe, expect, test } from "vitest";
import { type Engine, giveBackAtRest, v8Engine } from "../../src/platform/node/young-generation.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

const MB = 2 ** 20;

describe("giveBackAtRest", () => {
  test.each([
    ["under load", 0.9, 32 * MB, 32 * MB],
    ["at rest after load", 0.02, 32 * MB, 1 * MB],
    ["at rest with nothing to give back", 0.02, 2 * MB, 2 * MB],
  ])("%s", (_, busy, before, after) => {
    const clock = new VirtualClock();
    let young = before;
    const engine: Engine = { busyShare: () => busy, youngBytes: () => young, collectYoung: () => (young = 1 * MB) };
    giveBackAtRest(clock, engine);
    clock.runNext();
    expect(young).toBe(after);
  });

  test("collects until the memory is given back, and then no more", () => {
    const clock = new VirtualClock();
    const sizes = [32, 32, 1, 1, 1];
    let collections = 0;
    giveBackAtRest(clock, {
      busyShare: () => 0,
      youngBytes: () => sizes[Math.min(collections, 2)]! * MB,
      collectYoung: () => collections++,
    });
    for (let i = 0; i < 5; i++) clock.runNext();
    expect(collections).toBe(2);
    expect(clock.now()).toBe(25_000);
  });

  test("looks no more once cancelled", () => {
    const clock = new VirtualClock();
    giveBackAtRest(clock, { busyShare: () => 0, youngBytes: () => 32 * MB, collectYoung: () => {} }).cancel();
    expect(clock.runNext()).toBe(false);
  });
});

describe("v8Engine", () => {
  test("collects what is young, and shows the program no gc", () => {
    const engine = v8Engine()!;
    expect((globalThis as { gc?: unknown }).gc).toBe(undefined);
    expect(engine.youngBytes()).toBeGreaterThan(0);
    expect(engine.busyShare()).toBeGreaterThanOrEqual(0);
    expect(engine.busyShare()).toBeLessThanOrEqual(1);

    const used = (): number =>
      getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")!.space_used_size;
    // Garbage until there is some: V8 may collect in between.
    while (used() < MB / 2) Array.from({ length: 100 }, () => ({}));
    const before = used();
    engine.collectYoung();
    expect(used()).toBeLessThan(before);
  });
});
