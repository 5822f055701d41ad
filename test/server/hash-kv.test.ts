/** What a hash of the whole history costs a member, and that it is the same hash. */
import { expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { Disk } from "../../src/platform/disk.ts";
import type { PutRequest } from "../../src/protocol/requests.ts";
import { Server } from "../../src/server/server.ts";
import { SimulatedWorld } from "../../src/testing/index.ts";

test("a hash reads the records that are on disk in bulk, those in memory there, and is as before a restart", async () => {
  const world = new SimulatedWorld({ seed: 5 });
  const host = world.host("n1");
  let lookUps = 0;
  const counted = (disk: Disk): Disk => ({
    openDatabase: async (path, options) => {
      const database = await disk.openDatabase(path, options);
      return {
        batch: (ops, how) => database.batch(ops, how),
        writer: () => database.writer(),
        getSync: (key) => {
          lookUps += 1;
          return database.getSync(key);
        },
        iterate: (range) => database.iterate(range),
        snapshot: () => database.snapshot(),
        clear: (range) => database.clear(range),
        sizeBytes: () => database.sizeBytes(),
        close: () => database.close(),
      };
    },
    openFile: (path, options) => disk.openFile(path, options),
    exists: (path) => disk.exists(path),
    list: (path) => disk.list(path),
    makeDirectory: (path) => disk.makeDirectory(path),
    remove: (path) => disk.remove(path),
    rename: (from, to) => disk.rename(from, to),
  });
  const open = async (): Promise<Server> => {
    const booted = host.boot();
    const server = await world.settle(
      Server.open({ ...booted, disk: counted(booted.disk) }, { name: "n1", bootstrap: { kind: "alone" } }),
    );
    expect(await world.until(() => server.status().role === "leader", 30_000)).toBe(true);
    return server;
  };
  const call = { timeoutMs: 60_000 };
  const fill = async (server: Server, round: number): Promise<void> => {
    const success = Array.from(
      { length: 120 },
      (_, i): PutRequest => ({ kind: "put", key: encodeUtf8(`k${i}`), value: encodeUtf8(`${round} of ${i}`) }),
    );
    await world.settle(server.handle({ kind: "txn", compare: [], success, failure: [] }, call));
  };
  const hash = async (server: Server): Promise<number> => {
    const { result } = await world.settle(server.handle({ kind: "hashKv" }, call));
    if (result.kind !== "hashKv") throw new TypeError(result.kind);
    return result.hash;
  };

  const first = await open();
  for (let round = 0; round < 25; round++) await fill(first, round);
  const before = await hash(first);
  await world.settle(first.close());
  host.kill("stays");

  // Nothing is in memory but the index.
  const second = await open();
  lookUps = 0;
  expect(await hash(second)).toBe(before);
  expect(lookUps).toBeLessThan(30);
  // Some on disk, some not flushed yet.
  await fill(second, 99);
  lookUps = 0;
  const more = await hash(second);
  expect(more).not.toBe(before);
  expect(lookUps).toBeLessThan(30);
  second.kill();
  host.kill("stays");
});
