/** What is applied and not flushed yet stands in memory: it is bounded, whatever fills it, and whoever waits for a flush gets one. */
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { PutRequest, Request } from "../../src/protocol/requests.ts";
import type { Response } from "../../src/protocol/responses.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import type { Server } from "../../src/server/server.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";

const put = (key: string, bytes: number): PutRequest => ({
  kind: "put",
  key: encodeUtf8(key),
  value: new Uint8Array(bytes),
});

class Rig {
  readonly world: SimulatedWorld;
  readonly server: Server;

  private constructor(world: SimulatedWorld, server: Server) {
    this.world = world;
    this.server = server;
  }

  static async open(options: Partial<ServerOptions>): Promise<Rig> {
    const world = new SimulatedWorld({ seed: 1, syncMs: [2, 5] });
    const cluster = new SimulatedCluster(world, { nodes: 1, server: options });
    cluster.start("n1");
    expect(await cluster.ready()).toBe(true);
    onTestFinished(() => cluster.kill("n1", "stays"));
    return new Rig(world, cluster.server("n1")!);
  }

  handle(request: Request): Promise<Response> {
    return this.server.handle(request, { timeoutMs: 600_000 });
  }

  ask(request: Request): Promise<Response> {
    return this.world.settle(this.handle(request));
  }

  /** Keys put again and again; the last revision. */
  async rounds(keys: number, rounds: number): Promise<number> {
    const success = Array.from({ length: keys }, (_, i) => put(`k${i}`, 1));
    for (let i = 0; i < rounds; i++) await this.ask({ kind: "txn", compare: [], success, failure: [] });
    return (await this.ask(put("last", 1))).header.revision;
  }

  /** Answers all; returns the most that ever waited for a flush meanwhile, in bytes. */
  async mostUnflushed(requests: readonly Request[]): Promise<number> {
    let answered = 0;
    for (const request of requests) void this.handle(request).then(() => answered++);
    let most = 0;
    const look = (): boolean => {
      most = Math.max(most, this.server.figures().stateUnflushedBytes);
      return answered === requests.length;
    };
    expect(await this.world.until(look, 600_000)).toBe(true);
    return most;
  }
}

describe("a compaction", () => {
  test("of many revisions waits for the flush of what it dropped", async () => {
    const flushBytes = 64 << 10;
    const rig = await Rig.open({ flushBytes });
    // 40,000 records, 3 MB of drops.
    const revision = await rig.rounds(100, 400);
    const most = await rig.mostUnflushed([{ kind: "compact", revision, physical: true }]);
    // One flush under way, one that gathers, and a step goes to its end.
    expect(most).toBeGreaterThan(flushBytes);
    expect(most).toBeLessThan(4 * flushBytes);
  });

  test("that is physical is answered once all that it dropped is gone from the disk", async () => {
    const rig = await Rig.open({ flushIntervalMs: 60_000 });
    let revision = 0;
    for (let i = 0; i < 50; i++) revision = (await rig.ask(put("k", 1_000))).header.revision;
    // On disk by now, or dropping them would be no write at all.
    await rig.world.runFor(61_000);
    const before = rig.server.figures().dbSizeInUseBytes;
    await rig.ask({ kind: "compact", revision, physical: true });
    expect(rig.server.figures().dbSizeInUseBytes).toBeLessThan(before - 49 * 1_000);
  });

  test("that is physical and broken off by a close says so", async () => {
    const rig = await Rig.open({ flushBytes: 64 << 10 });
    const revision = await rig.rounds(100, 200);
    const compaction = rig.handle({ kind: "compact", revision, physical: true }).catch((error: unknown) => error);
    expect(await rig.world.until(() => rig.server.figures().compactRevision === revision, 60_000)).toBe(true);
    const closed = rig.server.close();
    expect(await rig.world.settle(compaction)).toMatchObject({ code: "STOPPED", outcome: "applied" });
    await rig.world.settle(closed);
  });
});

describe("writes that come faster than they are flushed", () => {
  test("wait for the flush", async () => {
    const flushBytes = 4 << 10;
    const valueBytes = 2 << 10;
    const rig = await Rig.open({ flushBytes });
    // All in one batch of the log: it is applied in a few turns of the loop, a flush takes milliseconds.
    const most = await rig.mostUnflushed(Array.from({ length: 1_000 }, (_, i) => put(`k${i}`, valueBytes)));
    expect(most).toBeGreaterThan(4 * flushBytes);
    expect(most).toBeLessThan(8 * flushBytes + 2 * valueBytes);
  });

  test("go on once one entry that is more than all that may wait is flushed", async () => {
    const rig = await Rig.open({ flushBytes: 1_000, flushIntervalMs: 3_600_000 });
    expect(await rig.mostUnflushed([100_000, 10, 10].map((bytes, i) => put(`k${i}`, bytes)))).toBeGreaterThan(100_000);
  });

  test.each<[string, (revision: number) => Request]>([
    ["a compaction", (revision) => ({ kind: "compact", revision, physical: true })],
    ["a snapshot", () => ({ kind: "snapshot" })],
  ])("do not keep %s from its turn", async (_what, request) => {
    const rig = await Rig.open({ flushBytes: 16 << 10 });
    const { world, server } = rig;
    let [going, done, answered] = [true, 0, false];
    const load = async (key: string): Promise<void> => {
      for (; going; done++) await rig.handle(put(key, 1_000));
    };
    const loads = Array.from({ length: 200 }, (_, i) => load(`k${i}`));
    expect(await world.until(() => done > 2_000, 60_000)).toBe(true);
    const before = done;
    void rig.handle(request(server.figures().revision)).then(() => {
      answered = true;
    });
    expect(await world.until(() => answered || done - before > 20_000, 60_000)).toBe(true);
    expect(answered).toBe(true);
    going = false;
    await world.settle(Promise.all(loads));
  });
});
