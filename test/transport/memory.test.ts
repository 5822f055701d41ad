import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { MemoryNetwork } from "../../src/transport/memory.ts";
import type { Connection } from "../../src/transport/network.ts";
import { networkSuite } from "../conformance/network.ts";
import { FastClock } from "../support/clock.ts";
import { seededRandom } from "../support/random.ts";

networkSuite("MemoryNetwork", (options) => {
  const network = new MemoryNetwork({ clock: new FastClock(), random: seededRandom(1), ...options });
  return { listening: network.endpoint("b"), dialling: network.endpoint("a"), url: "ws://b:0" };
});

/** Hosts a (dialling) and b (listening), joined by one connection, on a clock that the test moves. */
class Wire {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork;
  readonly heard: number[] = [];
  readonly heardAt: number[] = [];
  readonly heardByA: number[] = [];
  readonly events: string[] = [];
  a!: Connection;
  b!: Connection;

  constructor(seed = 1) {
    this.network = new MemoryNetwork({ clock: this.clock, random: seededRandom(seed), latencyMs: [1, 2] });
  }

  /** All that happens up to then. */
  async run(ms: number): Promise<void> {
    const end = this.clock.now() + ms;
    await new Promise((resolve) => setImmediate(resolve));
    while ((this.clock.nextTime() ?? Number.POSITIVE_INFINITY) <= end) {
      this.clock.runNext();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.clock.advanceTo(end);
  }

  async listen(): Promise<void> {
    await this.network.endpoint("b").listen({
      url: "ws://b:1",
      maxFrameBytes: 1_000,
      allowedOrigins: [],
      onConnection: (connection) => {
        this.b = connection;
        connection.onFrame = (frame) => {
          this.heard.push(frame[0]!);
          this.heardAt.push(this.clock.now());
        };
        connection.onClose = (reason) => this.events.push(`b: ${reason}`);
      },
    });
  }

  dial(timeoutMs = 1_000): Promise<Connection> {
    return this.network.endpoint("a").dial("ws://b:1", { maxFrameBytes: 1_000, timeoutMs });
  }

  static async open(seed = 1): Promise<Wire> {
    const wire = new Wire(seed);
    await wire.listen();
    const dialling = wire.dial();
    await wire.run(10);
    wire.a = await dialling;
    wire.a.onFrame = (frame) => wire.heardByA.push(frame[0]!);
    wire.a.onClose = (reason) => wire.events.push(`a: ${reason}`);
    return wire;
  }

  async send(count: number, everyMs = 1): Promise<void> {
    for (let i = 0; i < count; i++) {
      this.a.send(Uint8Array.of(i));
      await this.run(everyMs);
    }
  }
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

async function code(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "none",
    (error: unknown) => (StoreError.is(error) ? error.code : String(error)),
  );
}

describe("MemoryNetwork's faults", () => {
  test("a one-way cut holds what goes that way, in order, until it heals; the other way works", async () => {
    const wire = await Wire.open();
    await wire.send(3);
    wire.network.cut("a", "b");
    await wire.send(5);
    wire.b.send(Uint8Array.of(99));
    await wire.run(50);
    expect(wire.heardByA).toEqual([99]);
    expect(wire.heard.length).toBeLessThanOrEqual(3);
    expect(wire.a.bufferedBytes).toBeGreaterThanOrEqual(5);
    wire.network.heal("a", "b");
    await wire.send(2);
    await wire.run(20);
    expect(wire.heard).toEqual([0, 1, 2, 0, 1, 2, 3, 4, 0, 1]);
    expect(wire.a.bufferedBytes).toBe(0);
  });

  test("a close behind a cut arrives after the heal", async () => {
    const wire = await Wire.open();
    wire.network.cut("a", "b");
    wire.a.send(Uint8Array.of(1));
    wire.a.close("bye");
    await wire.run(100);
    expect(wire.events).toEqual(["a: bye"]);
    wire.network.heal("a", "b");
    await wire.run(10);
    expect(wire.heard).toEqual([1]);
    expect(wire.events).toEqual(["a: bye", "b: bye"]);
  });

  test.each([
    ["a", "b"],
    ["b", "a"],
  ])("dialling while %s does not reach %s times out", async (from, to) => {
    const wire = new Wire();
    await wire.listen();
    wire.network.cut(from, to);
    const dialling = code(wire.dial(100));
    await wire.run(99);
    await wire.run(1);
    expect(await dialling).toBe("UNAVAILABLE");
    wire.network.heal(from, to);
    await wire.run(10);
    // The listening side may have seen it; it then hears of the end.
    expect(wire.events).toEqual(from === "a" ? [] : ["b: the dialling side gave up"]);
  });

  test("loss, duplication and reordering do what they say, and end with the fault", async () => {
    const lossy = await Wire.open();
    lossy.network.loss("a", "b", 0.5);
    await lossy.send(200);
    await lossy.run(1_000);
    expect(lossy.heard.length).toBeGreaterThan(50);
    expect(lossy.heard.length).toBeLessThan(150);
    expect(lossy.heard).toEqual([...lossy.heard].sort((x, y) => x - y));

    const doubling = await Wire.open();
    doubling.network.duplicate("a", "b", 0.5);
    await doubling.send(200);
    await doubling.run(1_000);
    expect(new Set(doubling.heard).size).toBe(200);
    expect(doubling.heard.length).toBeGreaterThan(250);

    const mixing = await Wire.open();
    mixing.network.reorder("a", "b", 0.5);
    await mixing.send(200);
    await mixing.run(1_000);
    expect([...mixing.heard].sort((x, y) => x - y)).toEqual(upTo(200));
    expect(mixing.heard).not.toEqual(upTo(200));
    mixing.network.reorder("a", "b", 0);
    mixing.heard.length = 0;
    await mixing.send(100);
    await mixing.run(10);
    expect(mixing.heard).toEqual(upTo(100));
  });

  test("a delay adds to the latency and keeps the order", async () => {
    const wire = await Wire.open();
    wire.network.delay("a", "b", 500);
    const begun = wire.clock.now();
    await wire.send(10);
    wire.network.delay("a", "b", 0);
    wire.a.send(Uint8Array.of(10));
    await wire.run(1_000);
    expect(wire.heard).toEqual(upTo(11));
    expect(wire.heardAt[0]! - begun).toBeGreaterThan(500);
  });

  test("a crash: what was sent arrives, then the peer hears of it, and the dead side hears nothing", async () => {
    const wire = await Wire.open();
    wire.b.send(Uint8Array.of(7));
    wire.a.send(Uint8Array.of(8));
    wire.network.crash("b");
    await wire.run(100);
    expect(wire.heardByA).toEqual([7]);
    expect(wire.heard).toEqual([]);
    expect(wire.events).toEqual(["a: connection lost: the other side died"]);
    const refused = code(wire.dial());
    await wire.run(10);
    expect(await refused).toBe("UNAVAILABLE");
    await wire.listen();
    const again = wire.dial();
    await wire.run(10);
    expect((await again).remote).toBe("ws://b:1");
  });

  test("a process that dies while it dials leaves nothing behind", async () => {
    const wire = new Wire();
    let accepted = 0;
    await wire.network.endpoint("b").listen({
      url: "ws://b:1",
      maxFrameBytes: 1,
      allowedOrigins: [],
      onConnection: () => {
        accepted++;
      },
    });
    const dialling = code(wire.dial(100));
    await new Promise((resolve) => setImmediate(resolve));
    wire.network.crash("a");
    await wire.run(200);
    expect(accepted).toBe(0);
    expect(await dialling).toBe("UNAVAILABLE");
  });

  test("one seed gives one run; what a sender changes afterwards reaches nobody", async () => {
    const run = async (seed: number): Promise<string> => {
      const wire = await Wire.open(seed);
      wire.network.loss("a", "b", 0.1);
      wire.network.duplicate("a", "b", 0.1);
      wire.network.reorder("a", "b", 0.1);
      const frame = Uint8Array.of(5);
      wire.a.send(frame);
      frame[0] = 6;
      await wire.send(50);
      await wire.run(500);
      expect(wire.heard.includes(5)).toBe(true);
      return JSON.stringify([wire.heard, wire.heardAt]);
    };
    expect(await run(11)).toBe(await run(11));
    expect(await run(11)).not.toBe(await run(12));
  });
});
