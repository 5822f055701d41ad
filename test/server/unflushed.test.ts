/** What is applied and not flushed yet stands in memory: it is bounded, whatever fills it. */
import { expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { PutRequest, Request } from "../../src/protocol/requests.ts";
import type { Response } from "../../src/protocol/responses.ts";
import type { Server } from "../../src/server/server.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";

interface Rig {
  readonly server: Server;
  readonly ask: (request: Request) => Promise<Response>;
  /** Answers all; returns the most that ever waited for a flush meanwhile, in bytes. */
  readonly mostUnflushed: (requests: readonly Request[]) => Promise<number>;
}

async function member(flushBytes: number): Promise<Rig> {
  const world = new SimulatedWorld({ seed: 1 });
  const cluster = new SimulatedCluster(world, { nodes: 1, server: { flushBytes } });
  cluster.start("n1");
  expect(await cluster.ready()).toBe(true);
  onTestFinished(() => cluster.kill("n1", "stays"));
  const server = cluster.server("n1")!;
  const handle = (request: Request): Promise<Response> => server.handle(request, { timeoutMs: 600_000 });
  return {
    server,
    ask: (request) => world.settle(handle(request)),
    mostUnflushed: async (requests) => {
      let answered = 0;
      for (const request of requests) void handle(request).then(() => answered++);
      let most = 0;
      const look = (): boolean => {
        most = Math.max(most, server.figures().stateUnflushedBytes);
        return answered === requests.length;
      };
      expect(await world.until(look, 600_000)).toBe(true);
      return most;
    },
  };
}

test("a compaction of many revisions waits for the flush of what it dropped", async () => {
  const flushBytes = 64 << 10;
  const { server, ask, mostUnflushed } = await member(flushBytes);
  const puts = Array.from(
    { length: 100 },
    (_, i): PutRequest => ({ kind: "put", key: encodeUtf8(`k${i}`), value: encodeUtf8("v") }),
  );
  // 40,000 records, 3 MB of drops.
  for (let round = 0; round < 400; round++) await ask({ kind: "txn", compare: [], success: puts, failure: [] });
  const { revision } = (await ask({ kind: "put", key: encodeUtf8("last"), value: encodeUtf8("v") })).header;
  const before = server.figures().dbSizeInUseBytes;
  const most = await mostUnflushed([{ kind: "compact", revision, physical: true }]);
  // Physical means durable, so the space is free by now.
  expect(server.figures().dbSizeInUseBytes).toBeLessThan(before / 50);
  // One flush under way, one that gathers, and a step goes to its end.
  expect(most).toBeGreaterThan(flushBytes);
  expect(most).toBeLessThan(4 * flushBytes);
});

test("writes that come faster than they are flushed wait for the flush", async () => {
  const flushBytes = 4 << 10;
  const valueBytes = 2 << 10;
  const { mostUnflushed } = await member(flushBytes);
  // All in one batch of the log: it is applied in a few turns of the loop, a flush takes milliseconds.
  const puts = Array.from(
    { length: 1_000 },
    (_, i): PutRequest => ({ kind: "put", key: encodeUtf8(`k${i}`), value: new Uint8Array(valueBytes) }),
  );
  const most = await mostUnflushed(puts);
  expect(most).toBeGreaterThan(4 * flushBytes);
  expect(most).toBeLessThan(8 * flushBytes + 2 * valueBytes);
});
