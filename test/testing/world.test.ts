import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";

const URL = "ws://b:7401";
const FRAME = { maxFrameBytes: 1 << 20 };

/** Host b answers each frame with itself; host a sends one each 10 ms and notes what comes back, and when. */
async function echo(seed: number, meddle: (world: SimulatedWorld) => void = () => {}) {
  const world = new SimulatedWorld({ seed });
  const seen: string[] = [];
  const b = world.host("b").boot();
  await world.settle(
    b.network.listen({
      ...FRAME,
      url: URL,
      allowedOrigins: [],
      onConnection: (connection) => {
        connection.onFrame = (frame) => connection.send(frame.slice());
      },
    }),
  );
  const a = world.host("a").boot();
  const connection = await world.settle(a.network.dial(URL, { ...FRAME, timeoutMs: 1_000 }));
  connection.onFrame = (frame) => seen.push(`${new TextDecoder().decode(frame)}@${a.clock.now().toFixed(2)}`);
  connection.onClose = () => seen.push("closed");
  const begun = world.clock.now();
  let sent = 0;
  a.clock.every(10, () => connection.send(encodeUtf8(String(sent++))));
  meddle(world);
  await world.runUntil(begun + 200);
  return { world, seen, begun };
}

describe("SimulatedWorld", () => {
  test("one seed gives one run, to the byte", async () => {
    const one = await echo(1);
    const two = await echo(1);
    expect(one.seen.length).toBeGreaterThan(10);
    expect(two.seen).toEqual(one.seen);
    expect(two.world.trace.hash).toBe(one.world.trace.hash);
    expect((await echo(2)).world.trace.hash).not.toBe(one.world.trace.hash);
  });

  test("a paused host answers late, in order, and loses nothing", async () => {
    const { seen, begun } = await echo(3, (world) => {
      world.clock.after(50, () => world.host("b").pause());
      world.clock.after(150, () => world.host("b").resume());
    });
    const numbers = seen.map((line) => Number(line.split("@")[0]));
    expect(numbers).toEqual(numbers.map((_, i) => i));
    const times = seen.map((line) => Number(line.split("@")[1]) - begun);
    expect(times.some((time) => time > 75 && time < 150)).toBe(false);
    expect(times.some((time) => time >= 150)).toBe(true);
  });

  test("a killed host falls silent, its clock too, and its peers see the connection end", async () => {
    let beats = 0;
    const { seen } = await echo(4, (world) => {
      world.clock.after(50, () => world.host("b").kill("cut"));
      const c = world.host("c").boot();
      c.clock.every(10, () => {
        beats++;
      });
      world.clock.after(35, () => world.host("c").kill("stays"));
    });
    expect(seen.at(-1)).toBe("closed");
    expect(beats).toBe(3);
  });

  test("all that follows from an event has happened before the next one, however deep it is", async () => {
    const world = new SimulatedWorld({ seed: 8 });
    const seen: string[] = [];
    for (const name of ["a", "b", "c"]) {
      world.clock.after(1, () => {
        seen.push(name);
        process.nextTick(() => queueMicrotask(() => process.nextTick(() => seen.push(`${name} ticks`))));
        void (async () => {
          for (let i = 0; i < 50; i++) await undefined;
          seen.push(`${name} awaits`);
        })();
      });
    }
    await world.runFor(1);
    expect(seen.map((what) => what.charAt(0)).join("")).toBe("aaabbbccc");
  });

  test("an event that throws ends the run that took it", async () => {
    const world = new SimulatedWorld({ seed: 9 });
    world.clock.after(1, () => {
      throw new Error("broken");
    });
    world.clock.after(2, () => {});
    await expect(world.runFor(5)).rejects.toThrow("broken");
    expect(world.clock.now()).toBe(1);
  });

  test("chance drawn under one label moves no other", () => {
    const world = new SimulatedWorld({ seed: 5 });
    const first = world.random("a")();
    world.random("b")();
    expect(world.random("a")()).toBe(first);
  });

  test("a promise that nothing settles is an error, not a hang", async () => {
    const world = new SimulatedWorld({ seed: 6 });
    await expect(world.settle(new Promise(() => {}), 1_000)).rejects.toThrow(/not settled/);
  });
});
