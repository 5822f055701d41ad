import { expect, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { Server } from "../../src/server/server.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";

test("a write that was rejected before it was handed over is not handed over afterwards", async () => {
  const world = new SimulatedWorld({ seed: 3 });
  const boot = world.host("n1").boot();
  const { clock } = boot;
  let busyMs = 0;
  const busy = {
    now: () => clock.now(),
    wallNow: () => clock.wallNow(),
    after: (ms: number, callback: () => void) => clock.after(ms, callback),
    every: (ms: number, callback: () => void) => clock.every(ms, callback),
    // A loop so busy that timers run before what was put off.
    defer: (callback: () => void) => void (busyMs === 0 ? clock.defer(callback) : clock.after(busyMs, callback)),
  };
  const server = await world.settle(
    Server.open({ ...boot, clock: busy }, { name: "n1", bootstrap: { kind: "alone" } }),
  );
  expect(await world.until(() => server.status().role === "leader", 10_000)).toBe(true);
  busyMs = 500;
  const rejected: string[] = [];
  for (let i = 0; i < 60; i++) {
    // At every distance from the tick that looks at deadlines.
    await world.runFor(7);
    const put = { kind: "put", key: encodeUtf8(`k${i}`), value: encodeUtf8("1") } as const;
    server.handle(put, { timeoutMs: 1 }).catch((error: unknown) => {
      if (StoreError.is(error) && error.outcome === "rejected") rejected.push(`k${i}`);
    });
  }
  busyMs = 0;
  await world.runFor(3_000);
  expect(rejected.length).toBeGreaterThan(3);
  const all = { kind: "range", key: encodeUtf8("k"), rangeEnd: encodeUtf8("l") } as const;
  const { result } = await world.settle(server.handle(all, { timeoutMs: 5_000 }));
  const there = result.kind === "range" ? result.kvs.map(({ key }) => decodeUtf8(key)) : [];
  expect(there.length).toBeGreaterThan(3);
  expect(there.filter((key) => rejected.includes(key))).toEqual([]);
  await world.settle(server.close());
});
