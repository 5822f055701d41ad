/** Stories about faults that must end well, told step by step on virtual time. */
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import type { Server } from "../../src/server/server.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";

class Story {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;

  constructor(seed: number, server: Partial<ServerOptions> = {}) {
    this.world = new SimulatedWorld({ seed });
    this.cluster = new SimulatedCluster(this.world, { nodes: 3, server });
    for (const name of this.cluster.names) this.cluster.start(name);
  }

  async leader(): Promise<string> {
    expect(await this.cluster.ready(), this.cluster.failures.join("; ")).toBe(true);
    return this.cluster.leader!;
  }

  server(name: string): Server {
    const server = this.cluster.server(name);
    expect(server, `${name} is not running`).toBeDefined();
    return server!;
  }

  isolate(name: string): void {
    for (const other of this.cluster.names) {
      if (other === name) continue;
      this.cluster.cut(name, other);
      this.cluster.cut(other, name);
    }
  }

  put(via: string, key: string, value: string): Promise<unknown> {
    const request = { kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) } as const;
    return this.world.settle(this.server(via).handle(request, { timeoutMs: 5_000 }));
  }

  async get(via: string, key: string, serializable = false): Promise<string | undefined> {
    const request = { kind: "range", key: encodeUtf8(key), serializable } as const;
    const { result } = await this.world.settle(this.server(via).handle(request, { timeoutMs: 5_000 }));
    if (result.kind !== "range") throw new TypeError(result.kind);
    const value = result.kvs[0]?.value;
    return value === undefined ? undefined : new TextDecoder().decode(value);
  }

  end(): void {
    for (const name of this.cluster.names) this.cluster.kill(name, "stays");
  }
}

async function caught(promise: Promise<unknown>): Promise<StoreError> {
  const error = await promise.then(
    (value) => expect.fail(`answered with ${JSON.stringify(value)}`),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

describe("scenarios", () => {
  test("a partitioned leader serves no stale read", async () => {
    const story = new Story(101);
    const old = await story.leader();
    await story.put(old, "a", "1");
    story.isolate(old);
    const { cluster, world } = story;
    const elected = await world.until(
      () => cluster.names.some((n) => n !== old && cluster.server(n)?.status().role === "leader"),
      30_000,
    );
    expect(elected).toBe(true);
    const next = cluster.names.find((name) => name !== old && cluster.server(name)?.status().role === "leader")!;
    await story.put(next, "a", "2");
    await caught(story.get(old, "a"));
    expect(await story.get(old, "a", true)).toBe("1");
    expect(await story.get(next, "a")).toBe("2");
    cluster.healCuts();
    await world.runFor(5_000);
    expect(await story.get(old, "a")).toBe("2");
    story.end();
  });

  test("a member that is cut off answers writes and linearizable reads with an error in bounded time", async () => {
    const story = new Story(102);
    const leader = await story.leader();
    await story.put(leader, "a", "1");
    const alone = story.cluster.names.find((name) => name !== leader)!;
    await story.world.runFor(1_000);
    story.isolate(alone);
    await story.world.runFor(5_000);
    const before = story.world.clock.now();
    const write = await caught(story.put(alone, "a", "2"));
    expect(["rejected", "unknown"]).toContain(write.outcome);
    await caught(story.get(alone, "a"));
    expect(story.world.clock.now() - before).toBeLessThan(2 * 5_500);
    expect(await story.get(alone, "a", true)).toBe("1");
    story.end();
  });

  test("a power cut of every member at once loses nothing that was acknowledged", async () => {
    const story = new Story(103);
    const { cluster, world } = story;
    for (let round = 0; round < 5; round++) {
      const leader = await story.leader();
      for (let i = 0; i < 10; i++) await story.put(leader, `k${i}`, `${round}-${i}`);
      for (const name of cluster.names) cluster.kill(name, "cut");
      await world.runFor(500);
      for (const name of cluster.names) cluster.start(name);
      const again = await story.leader();
      for (let i = 0; i < 10; i++) expect(await story.get(again, `k${i}`)).toBe(`${round}-${i}`);
    }
    expect(cluster.failures).toEqual([]);
    story.end();
  });

  test("a follower that was down until its log is gone catches up by snapshot", async () => {
    const story = new Story(104, { trailingEntries: 3, trailingBytes: 500, flushIntervalMs: 100 });
    const { cluster, world } = story;
    const leader = await story.leader();
    const away = cluster.names.find((name) => name !== leader)!;
    cluster.kill(away, "cut");
    for (let i = 0; i < 200; i++) await story.put(leader, `k${i % 20}`, `${i}`);
    await world.runFor(3_000);
    const first = story.server(leader).status().firstIndex;
    cluster.start(away);
    expect(await world.until(() => cluster.converged, 30_000)).toBe(true);
    expect(first).toBeGreaterThan(100);
    expect(story.server(away).figures().snapshotsInstalled).toBeGreaterThan(0);
    expect(story.server(away).status().stateHash).toBe(story.server(leader).status().stateHash);
    expect(cluster.failures).toEqual([]);
    story.end();
  });

  test("a member that is back within seconds finds the log of those seconds, whoever leads then", async () => {
    const story = new Story(107, { trailingEntries: 3, trailingBytes: 16_000, flushIntervalMs: 100 });
    const { cluster, world } = story;
    const first = await story.leader();
    const away = cluster.names.find((name) => name !== first)!;
    cluster.kill(away, "stays");
    for (let i = 0; i < 200; i++) await story.put(first, `k${i % 20}`, `${i}`);
    cluster.start(away);
    await world.runFor(200);
    cluster.kill(first, "stays");
    expect(await world.until(() => ![undefined, first].includes(cluster.leader), 3_000)).toBe(true);
    const second = cluster.leader!;
    await story.put(second, "k0", "after");
    expect(story.server(away).figures().snapshotsInstalled).toBe(0);
    // The window ends, so that a member which never comes back does not make the others keep their logs.
    await world.runFor(70_000);
    await story.put(second, "k0", "much later");
    await world.runFor(1_000);
    const { firstIndex, lastIndex } = story.server(second).status();
    expect(lastIndex - firstIndex).toBeLessThan(10);
    expect(cluster.failures).toEqual([]);
    story.end();
  });

  /** Writers that go on until told to stop, each call through the leader of the moment. Counts what was acknowledged. */
  function writers(story: Story, count: number): { readonly acknowledged: Map<string, string>; stop(): Promise<void> } {
    const { cluster, world } = story;
    const acknowledged = new Map<string, string>();
    let stopped = false;
    const loops = Array.from({ length: count }, async (_, w) => {
      for (let n = 0; !stopped; n++) {
        const key = `w${w}/${n % 10}`;
        const value = `${n}`;
        const server = cluster.server(cluster.leader ?? cluster.names[0]!);
        try {
          if (server === undefined) throw new StoreError("UNAVAILABLE");
          const request = { kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) } as const;
          await server.handle(request, { timeoutMs: 5_000 });
          acknowledged.set(key, value);
        } catch {
          acknowledged.delete(key); // what is there now is not known
        }
        await new Promise<void>((resolve) => world.clock.after(5, resolve));
      }
    });
    return {
      acknowledged,
      async stop() {
        stopped = true;
        await Promise.all(loops);
      },
    };
  }

  test("a snapshot that outlasts the trailing window is delivered while 100 writers are served", async () => {
    const story = new Story(105, { trailingEntries: 20, trailingBytes: 4_000, flushIntervalMs: 100 });
    const { cluster, world } = story;
    const leader = await story.leader();
    const away = cluster.names.find((name) => name !== leader)!;
    cluster.kill(away, "stays");
    const load = writers(story, 100);
    await world.runFor(2_000);
    // Each chunk's acknowledgement takes a while, so that the log moves on far beyond the window meanwhile.
    world.network.delay(leader, away, 150);
    const before = story.server(leader).status();
    expect(before.firstIndex).toBeGreaterThan(100);
    cluster.start(away);
    expect(await world.until(() => (cluster.server(away)?.figures().snapshotsInstalled ?? 0) > 0, 60_000)).toBe(true);
    expect(story.server(leader).status().commit - before.commit).toBeGreaterThan(100);
    world.network.delay(leader, away, 0);
    await world.settle(load.stop());
    expect(await world.until(() => cluster.converged, 30_000)).toBe(true);
    expect(story.server(away).status().stateHash).toBe(story.server(leader).status().stateHash);
    for (const [key, value] of load.acknowledged) expect(await story.get(away, key)).toBe(value);
    expect(load.acknowledged.size).toBe(1_000);
    expect(cluster.failures).toEqual([]);
    story.end();
  });

  test("a power cut at any moment of a snapshot's arrival leaves a member that can start", async () => {
    const story = new Story(106, { trailingEntries: 3, trailingBytes: 500, flushIntervalMs: 50 });
    const { cluster, world } = story;
    const leader = await story.leader();
    const away = cluster.names.find((name) => name !== leader)!;
    cluster.kill(away, "cut");
    const load = writers(story, 3);
    await world.runFor(2_000);
    let installed = 0;
    for (let cutAfterMs = 0; cutAfterMs < 400; cutAfterMs += 8) {
      cluster.start(away);
      await world.runFor(cutAfterMs);
      installed += cluster.server(away)?.figures().snapshotsInstalled ?? 0;
      cluster.kill(away, "cut");
      await world.runFor(200);
    }
    // Both sides of the switch were hit: cuts before it, and after it.
    expect(installed).toBeGreaterThan(5);
    expect(installed).toBeLessThan(45);
    cluster.start(away);
    await world.settle(load.stop());
    expect(await world.until(() => cluster.converged, 60_000)).toBe(true);
    for (const [key, value] of load.acknowledged) expect(await story.get(away, key)).toBe(value);
    expect(cluster.failures).toEqual([]);
    story.end();
  });

  test.each([
    { up: 0, seed: 107 },
    { up: 1, seed: 108 },
    { up: 2, seed: 109 },
  ])("a wiped member never votes ($up of its peers up), and is refused once one answers", async ({ up, seed }) => {
    const story = new Story(seed);
    const { cluster, world } = story;
    const leader = await story.leader();
    await story.put(leader, "a", "1");
    await world.runFor(2_000);
    for (const peers of [cluster.names.filter((name) => name !== "n1"), ["n3", "n2"]]) {
      for (const name of cluster.names) cluster.kill(name, "cut");
      world.host("n1").replaceDisk();
      cluster.failures.length = 0;
      const running = peers.slice(0, up);
      for (const name of ["n1", ...running]) cluster.start(name);
      await world.runFor(30_000);
      // One peer with the wiped member would be a majority, if that voted.
      expect(cluster.leader !== undefined).toBe(up === 2);
      expect(cluster.server("n1")).toBeUndefined();
      if (up > 0)
        expect(cluster.failures.join()).toMatch(
          /n1 did not open: .*MEMBER_DATA_LOST|n1 did not open.*has seen it with data/,
        );
      else expect(cluster.failures).toEqual([]);
    }
    for (const name of cluster.names) cluster.start(name);
    await world.runFor(30_000);
    expect(cluster.failures.join()).toContain("has seen it with data");
    expect(await story.get(cluster.leader!, "a")).toBe("1");
    story.end();
  });
});
