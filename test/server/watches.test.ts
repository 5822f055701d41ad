/** Watch streams of whole members, as whoever is in the process meets them: etcd's answers, and the ends. */
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { StoreError } from "../../src/base/errors.ts";
import type { WatchOptions, WatchReceiver, WatchStream } from "../../src/protocol/channel.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { WatchRequest, WatchResponse } from "../../src/protocol/watch.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";
import { testSeed } from "../support/seed.ts";

const ELECTION_MS = 1_000;

async function members(nodes: number, server: Partial<ServerOptions> = {}) {
  const world = new SimulatedWorld({ seed: testSeed() });
  const cluster = new SimulatedCluster(world, { nodes, server });
  for (const name of cluster.names) cluster.start(name);
  expect(await cluster.ready(), cluster.failures.join("; ")).toBe(true);
  expect(await world.until(() => cluster.converged, 30_000)).toBe(true);
  await world.runFor(100);
  onTestFinished(() => {
    for (const name of cluster.names) cluster.kill(name, "stays");
  });
  const follower = cluster.names.find((name) => name !== cluster.leader) ?? cluster.names[0]!;
  return {
    world,
    cluster,
    follower,
    isolate(name: string): void {
      for (const other of cluster.names) {
        if (other === name) continue;
        cluster.cut(name, other);
        cluster.cut(other, name);
      }
    },
    async handle(request: Request): Promise<void> {
      await world.settle(cluster.server(cluster.leader!)!.handle(request, { timeoutMs: 20_000 }));
    },
    async put(key: string, value = "v"): Promise<void> {
      await this.handle({ kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) });
    },
    async watch(name: string, options: WatchOptions = {}): Promise<Heard> {
      const heard = new Heard((receiver) => cluster.server(name)!.channel().watch(receiver, options));
      await world.runFor(1);
      return heard;
    },
  };
}

class Heard {
  readonly stream: WatchStream;
  news: WatchResponse[] = [];
  error: StoreError | undefined;

  constructor(open: (receiver: WatchReceiver) => WatchStream) {
    this.stream = open({
      receive: (response, bytes) => {
        this.news.push(response);
        this.stream.consumed(bytes);
      },
      ended: (error) => {
        this.error = error;
      },
    });
  }

  create(key: string, more: Partial<Extract<WatchRequest, { kind: "create" }>> = {}): void {
    this.stream.request({ kind: "create", key: encodeUtf8(key), ...more });
  }

  take(): WatchResponse[] {
    return this.news.splice(0);
  }
}

const QUIET = { created: false, canceled: false, compactRevision: 0, cancelReason: "", fragment: false, events: [] };

describe("etcd's answers", () => {
  test("created, then what happens, stamped by the member", async () => {
    const at = await members(1);
    const heard = await at.watch(at.follower);
    heard.create("a");
    await at.put("a");
    await at.world.runFor(10);
    const server = at.cluster.server(at.follower)!;
    const header = { clusterId: server.clusterId, memberId: server.id, raftTerm: server.status().term };
    expect(heard.take()).toMatchObject([
      { ...QUIET, watchId: 0, created: true, header: { ...header, revision: 1 } },
      { ...QUIET, watchId: 0, header: { ...header, revision: 2 }, events: [{ type: "put" }] },
    ]);
  });

  test.each<[string, Partial<Extract<WatchRequest, { kind: "create" }>>, string]>([
    ["a start below 0", { startRevision: -1 }, "etcdserver: mvcc: required revision has been compacted"],
    ["an empty range", { rangeEnd: encodeUtf8("a") }, "mvcc: watcher range is empty"],
    ["an id in use", { watchId: 7 }, "mvcc: duplicate watch ID provided on the WatchStream"],
  ])("%s is refused in etcd's words, and the stream lives on", async (_, more, cancelReason) => {
    const at = await members(1);
    const heard = await at.watch(at.follower);
    heard.create("a", { watchId: 7 });
    heard.create("b", more);
    heard.stream.request({ kind: "cancel", watchId: 7 });
    heard.stream.request({ kind: "cancel", watchId: 8 });
    await at.world.runFor(10);
    expect(heard.take()).toMatchObject([
      { ...QUIET, watchId: 7, created: true },
      { ...QUIET, watchId: -1, created: true, canceled: true, cancelReason },
      { ...QUIET, watchId: 7, canceled: true },
    ]);
  });

  test("a compacted start: created, then canceled with the compact revision and no reason", async () => {
    const at = await members(1);
    for (const value of ["1", "2", "3"]) await at.put("a", value);
    await at.handle({ kind: "compact", revision: 3 });
    const heard = await at.watch(at.follower);
    heard.create("a", { startRevision: 2 });
    await at.world.runFor(10);
    expect(heard.take()).toMatchObject([
      { created: true, canceled: false },
      { ...QUIET, canceled: true, compactRevision: 3, header: { revision: 0 } },
    ]);
  });
});

describe("a stream that requires a leader", () => {
  test("is refused where there has been none for long, others are not", async () => {
    const at = await members(3, { electionTimeoutMs: ELECTION_MS });
    at.isolate(at.follower);
    expect(await at.world.until(() => at.cluster.server(at.follower)!.status().leader === undefined, 10_000)).toBe(
      true,
    );
    await at.world.runFor(3 * ELECTION_MS);
    const [strict, lax] = [await at.watch(at.follower, { requireLeader: true }), await at.watch(at.follower)];
    lax.create("a");
    strict.create("a");
    await at.world.runFor(10);
    expect(strict).toMatchObject({ error: { code: "NO_LEADER", message: "etcdserver: no leader" }, news: [] });
    expect(lax.error).toBeUndefined();
    expect(lax.take()).toMatchObject([{ created: true }]);
  });

  test("is taken in during an election, so that nobody has to come back later", async () => {
    const at = await members(3, { electionTimeoutMs: ELECTION_MS });
    const { cluster, follower, world } = at;
    at.isolate(follower);
    expect(await world.until(() => cluster.server(follower)!.status().leader === undefined, 10_000)).toBe(true);
    await world.runFor(ELECTION_MS / 2);
    const heard = await at.watch(follower, { requireLeader: true });
    heard.create("a");
    cluster.healCuts();
    await at.put("a");
    await world.runFor(3 * ELECTION_MS);
    expect(heard.error).toBeUndefined();
    expect(heard.take()).toMatchObject([{ created: true }, { events: [{ type: "put" }] }]);
  });

  test("ends after three election timeouts without one, not before", async () => {
    const at = await members(3, { electionTimeoutMs: ELECTION_MS });
    const [strict, lax] = [await at.watch(at.follower, { requireLeader: true }), await at.watch(at.follower)];
    at.isolate(at.follower);
    const server = at.cluster.server(at.follower)!;
    expect(await at.world.until(() => server.status().leader === undefined, 10_000)).toBe(true);
    const lost = at.world.clock.now();
    expect(await at.world.until(() => strict.error !== undefined, 10_000)).toBe(true);
    const afterMs = at.world.clock.now() - lost;
    expect(afterMs).toBeGreaterThanOrEqual(2 * ELECTION_MS - 1);
    expect(afterMs).toBeLessThanOrEqual(3 * ELECTION_MS + 1);
    expect(strict.error).toMatchObject({ code: "NO_LEADER" });
    expect(lax.error).toBeUndefined();
  });

  test("outlives an election", async () => {
    const at = await members(3);
    const heard = await at.watch(at.follower, { requireLeader: true });
    heard.create("a");
    at.cluster.kill(at.cluster.leader!, "stays");
    expect(await at.world.until(() => at.cluster.leader !== undefined, 30_000)).toBe(true);
    await at.put("a");
    await at.world.runFor(500);
    expect(heard.error).toBeUndefined();
    expect(heard.take().at(-1)).toMatchObject({ events: [{ type: "put" }] });
  });
});

describe("a stream ends", () => {
  test("with its member, by name, and none is let in afterwards", async () => {
    const at = await members(1);
    const heard = await at.watch(at.follower);
    heard.create("a");
    const server = at.cluster.server(at.follower)!;
    const channel = server.channel();
    await at.world.settle(server.close({ handOver: false }));
    await at.world.runFor(10);
    expect(heard.error).toMatchObject({ code: "STOPPED" });
    const late = new Heard((receiver) => channel.watch(receiver));
    await at.world.runFor(10);
    expect(late.error).toMatchObject({ code: "STOPPED" });
  });
});

describe("a snapshot takes the state's place (B51)", () => {
  async function leftBehind(compactAt: number | undefined) {
    const at = await members(3, { trailingEntries: 3, trailingBytes: 100, flushIntervalMs: 50 });
    await at.put("a", "0");
    await at.world.runFor(500);
    const heard = await at.watch(at.follower);
    heard.create("a");
    heard.create("a", { startRevision: 20 });
    heard.create("b");
    await at.world.runFor(10);
    heard.take();
    at.isolate(at.follower);
    for (let i = 1; i <= 30; i++) {
      await at.put("a", String(i));
      // By now the others keep no log for it any more.
      if (i === 15) await at.world.runFor(3_000);
    }
    if (compactAt !== undefined) await at.handle({ kind: "compact", revision: compactAt });
    await at.world.runFor(1_000);
    at.cluster.healCuts();
    const server = at.cluster.server(at.follower)!;
    expect(await at.world.until(() => server.figures().snapshotsInstalled > 0 && at.cluster.converged, 60_000)).toBe(
      true,
    );
    await at.put("b", "last");
    await at.world.runFor(500);
    const told = (id: number): number[] =>
      heard.news
        .filter(({ watchId }) => watchId === id)
        .flatMap(({ events }) => events.map(({ kv }) => kv.modRevision));
    return { heard, told };
  }
  const from = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i);

  test("each watcher goes on where it was", async () => {
    const { told } = await leftBehind(undefined);
    expect([told(0), told(1), told(2)]).toEqual([from(3, 32), from(20, 32), [33]]);
  });

  test("or is told that what it missed is compacted", async () => {
    const { heard, told } = await leftBehind(10);
    expect([told(0), told(1)]).toEqual([[], from(20, 32)]);
    expect(heard.news.filter(({ watchId }) => watchId === 0)).toMatchObject([{ canceled: true, compactRevision: 10 }]);
  });
});

test("a stream observes one election; another one on it ends it by name", async () => {
  const stage = await members(1);
  const heard = await stage.watch(stage.follower);
  for (const name of ["e", "f"]) heard.stream.request({ kind: "observe", name: encodeUtf8(name) });
  await stage.world.runFor(10);
  expect(heard.error).toMatchObject({ code: "INVALID_REQUEST" });
});

test("a member has a bound of watchers over all streams; one more is refused by name, and counted", async () => {
  const at = await members(1, { maxWatchers: 3 });
  const [name] = at.cluster.names as [string];
  const [first, second] = [await at.watch(name), await at.watch(name)];
  for (const key of ["a", "b"]) first.create(key);
  second.create("c");
  await at.world.runFor(10);
  second.create("d");
  await at.world.runFor(10);
  expect(second.error).toMatchObject({ code: "TOO_MANY_REQUESTS" });
  expect(at.cluster.server(name)!.figures()).toMatchObject({ watchers: 2, watchStreams: 1, watchesRefused: 1 });
  await at.watch(name);
  await at.watch(name);
  const third = await at.watch(name);
  expect(third.error).toMatchObject({ code: "TOO_MANY_REQUESTS" });
  // Who was there is served, and there is room again.
  await at.put("a");
  await at.world.runFor(100);
  expect(first.take().flatMap(({ events }) => events)).toHaveLength(1);
  first.create("e");
  await at.world.runFor(10);
  expect(at.cluster.server(name)!.figures().watchers).toBe(3);
});
