/** The faults of the disk in memory: what tests and the simulator rely on when they say that something was survived. */
import { describe, expect, test } from "vitest";
import type { Database, DatabaseOp } from "../../src/platform/disk.ts";
import { type KeepUnsynced, MemoryDisk, type MemoryDiskOptions } from "../../src/platform/memory-disk.ts";
import { FastClock } from "../support/clock.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const put = (key: number, value: number): DatabaseOp => ({ kind: "put", key: bytes(key), value: bytes(value) });

function newDisk(more = 0, latencies: Partial<MemoryDiskOptions> = {}): { disk: MemoryDisk; clock: FastClock } {
  const clock = new FastClock();
  return { clock, disk: new MemoryDisk({ clock, random: seededRandom(seed + more), ...latencies }) };
}

async function contents(disk: MemoryDisk, path = "d"): Promise<[number, number][]> {
  const database = await disk.openDatabase(path, { create: false });
  const iterator = database.iterate({});
  const pairs = await iterator.next(1_000);
  await database.close();
  return pairs.map(([key, value]) => [key[0]!, value[0]!]);
}

/** A database with (0, 0) synced and (1, 1) to (8, 8) not. */
async function halfSynced(disk: MemoryDisk): Promise<Database> {
  const database = await disk.openDatabase("d", { create: true });
  await database.batch([put(0, 0)], { sync: true });
  for (let n = 1; n <= 8; n++) await database.batch([put(n, n)], { sync: false });
  return database;
}

/** Distinct outcomes of `count` runs that differ by their chance alone. */
async function outcomes(count: number, run: (disk: MemoryDisk) => Promise<unknown>): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let n = 0; n < count; n++) seen.add(JSON.stringify(await run(newDisk(n).disk)));
  return seen;
}

const afterCrash =
  (keepUnsynced: KeepUnsynced) =>
  async (disk: MemoryDisk): Promise<number[]> => {
    await halfSynced(disk);
    disk.crash({ keepUnsynced });
    return (await contents(disk)).map(([key]) => key);
  };

describe(`a power cut (seed ${seed})`, () => {
  test("none: only what was synced is there", async () => {
    expect(await outcomes(5, afterCrash("none"))).toEqual(new Set(["[0]"]));
  });

  test("prefix: what was written up to some point", async () => {
    const seen = await outcomes(40, afterCrash("prefix"));
    for (const one of seen) expect(JSON.parse(one)).toEqual(JSON.parse(one).map((_: number, i: number) => i));
    expect(seen.size).toBeGreaterThan(4);
  });

  test("holes: any of it", async () => {
    const seen = await outcomes(40, afterCrash("holes"));
    for (const one of seen) expect(JSON.parse(one)[0]).toBe(0);
    const holed = [...seen].filter((one) => JSON.parse(one).some((key: number, i: number) => key !== i));
    expect(holed.length).toBeGreaterThan(10);
  });

  test("an older write never undoes a younger one", async () => {
    const seen = await outcomes(30, async (disk) => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch([put(1, 1)], { sync: false });
      await database.batch([put(1, 2)], { sync: true });
      disk.crash({ keepUnsynced: "holes" });
      return contents(disk);
    });
    expect(seen).toEqual(new Set(["[[1,2]]"]));
  });

  test("a batch is all or nothing, also while it is under way", async () => {
    const seen = await outcomes(30, async (disk) => {
      const database = await disk.openDatabase("d", { create: true });
      void database.batch([put(1, 1), put(2, 2), put(3, 3)], { sync: true });
      disk.crash({ keepUnsynced: "holes" });
      return (await contents(disk)).length;
    });
    expect(seen).toEqual(new Set(["0", "3"]));
  });

  test("a write to a file may tear, a synced one does not", async () => {
    const read = async (disk: MemoryDisk): Promise<number[]> => {
      const file = await disk.openFile("f", { create: false });
      return [...(await file.read())];
    };
    const seen = await outcomes(60, async (disk) => {
      const file = await disk.openFile("f", { create: true, sizeBytes: 4 });
      await file.write(0, bytes(1, 1, 1, 1));
      await file.sync();
      await file.write(0, bytes(2, 2, 2, 2));
      disk.crash({ keepUnsynced: "holes", tear: true });
      return read(disk);
    });
    expect(seen).toEqual(new Set(["[1,1,1,1]", "[2,1,1,1]", "[2,2,1,1]", "[2,2,2,1]"]));
  });

  test("names: what was made, moved or removed and completed stays so; a removal under way leaves anything", async () => {
    const { disk } = newDisk();
    await (await disk.openDatabase("a", { create: true })).close();
    await disk.rename("a", "b");
    await disk.makeDirectory("c");
    disk.crash({ keepUnsynced: "none" });
    expect(await disk.list("")).toEqual(["b", "c"]);
    await disk.remove("c");
    disk.crash({ keepUnsynced: "none" });
    expect(await disk.list("")).toEqual(["b"]);

    const seen = await outcomes(40, async (one) => {
      await (await one.openDatabase("d", { create: true })).close();
      void one.remove("d");
      one.crash({ keepUnsynced: "holes" });
      return one.openDatabase("d", { create: false }).then(
        () => "whole",
        (error: { details: { reason: string } }) => error.details.reason,
      );
    });
    expect(seen).toEqual(new Set(['"whole"', '"missing"']));
  });

  test("calls of the former life never settle and touch nothing", async () => {
    const { disk, clock } = newDisk();
    const database = await halfSynced(disk);
    const file = await disk.openFile("f", { create: true, sizeBytes: 2 });
    let settled = 0;
    const watch = (promise: Promise<unknown>): void =>
      void promise.then(...([0, 0].map(() => () => settled++) as [() => number, () => number]));
    watch(database.batch([put(9, 9)], { sync: true }));
    disk.crash({ keepUnsynced: "none" });
    watch(database.batch([put(9, 9)], { sync: true }));
    watch(database.clear({}));
    watch(database.close());
    watch(file.write(0, bytes(1)));
    watch(file.read());
    watch(file.sync());
    watch(file.close());
    expect(() => database.getSync(bytes(0))).toThrow(/closed/);
    expect(await contents(disk)).toEqual([[0, 0]]);
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => clock.defer(resolve));
    expect(settled).toBe(0);
  });

  test("chance decides when nobody asks, and the seed decides chance", async () => {
    const run = async (n: number): Promise<string> => {
      const { disk } = newDisk(n);
      await halfSynced(disk);
      disk.crash();
      return JSON.stringify(await contents(disk));
    };
    const first = [];
    const second = [];
    for (let n = 0; n < 20; n++) first.push(await run(n));
    for (let n = 0; n < 20; n++) second.push(await run(n));
    expect(first).toEqual(second);
    expect(new Set(first).size).toBeGreaterThan(5);
  });
});

describe("kill -9", () => {
  test("what was completed is there, locks fall, nothing became durable by it", async () => {
    const { disk } = newDisk();
    const database = await halfSynced(disk);
    void database;
    await expect(disk.openDatabase("d", { create: false })).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
    disk.release();
    disk.crash({ keepUnsynced: "none" });
    expect(await contents(disk)).toEqual([[0, 0]]);
    const again = newDisk().disk;
    await halfSynced(again);
    again.release();
    expect((await contents(again)).length).toBe(9);
  });

  test("a call under way happened or did not", async () => {
    const seen = await outcomes(20, async (disk) => {
      const database = await disk.openDatabase("d", { create: true });
      void database.batch([put(1, 1), put(2, 2)], { sync: true });
      disk.release();
      return (await contents(disk)).length;
    });
    expect(seen).toEqual(new Set(["0", "2"]));
  });

  test("opening makes durable what it finds, as LevelDB's recovery does: content and names", async () => {
    const { disk } = newDisk();
    await halfSynced(disk);
    disk.release();
    expect((await contents(disk)).length).toBe(9);
    disk.crash({ keepUnsynced: "none" });
    expect((await contents(disk)).length).toBe(9);

    const seen = await outcomes(20, async (one) => {
      await (await one.openDatabase("x/d", { create: true })).close();
      void one.rename("x/d", "d");
      one.release();
      if (!(await one.exists("d"))) return "not renamed";
      await contents(one);
      one.crash({ keepUnsynced: "none" });
      return one.exists("d");
    });
    expect(seen).toEqual(new Set(['"not renamed"', "true"]));
  });
});

describe("slow and full disks", () => {
  test("calls take their time, one after another", async () => {
    const { disk, clock } = newDisk(0, { syncMs: 10, writeMs: 2, readMs: 1 });
    const database = await disk.openDatabase("d", { create: true });
    expect(clock.now()).toBe(10);
    const first = database.batch([put(1, 1)], { sync: true }).then(() => clock.now());
    const second = database.batch([put(2, 2)], { sync: false }).then(() => clock.now());
    expect(await Promise.all([first, second])).toEqual([20, 20]);
    await database.iterate({}).next(1);
    expect(clock.now()).toBe(21);
  });

  test("a stall holds completions for a time, or until it ends", async () => {
    const { disk, clock } = newDisk();
    const database = await disk.openDatabase("d", { create: true });
    disk.stall(500);
    await database.batch([put(1, 1)], { sync: true });
    expect(clock.now()).toBe(500);
    disk.stall(true);
    let done = false;
    const writing = database.batch([put(2, 2)], { sync: true }).then(() => {
      done = true;
    });
    for (let turn = 0; turn < 10; turn++) await new Promise<void>((resolve) => clock.after(100, resolve));
    expect(done).toBe(false);
    // Point reads are LevelDB's from memory: they show that it has not happened.
    expect(database.getSync(bytes(2))).toBeUndefined();
    disk.stall(false);
    await writing;
    expect(database.getSync(bytes(2))).toEqual(bytes(2));
  });

  test("a full disk refuses by name, until there is room", async () => {
    const { disk } = newDisk();
    const database = await disk.openDatabase("d", { create: true });
    disk.fillUp(3);
    await database.batch([put(1, 1)], { sync: true });
    await expect(database.batch([put(2, 2)], { sync: true })).rejects.toMatchObject({
      code: "DISK_FULL",
      outcome: "unknown",
    });
    disk.fillUp(undefined);
    await database.batch([put(3, 3)], { sync: true });
  });

  test("a write that failed happened or did not, and only below the path asked for", async () => {
    const seen = await outcomes(20, async (disk) => {
      const database = await disk.openDatabase("d", { create: true });
      const other = await disk.openDatabase("e", { create: true });
      disk.failNextWrite("DISK_FAILED", "d");
      await other.batch([put(1, 1)], { sync: true });
      await expect(database.batch([put(1, 1)], { sync: true })).rejects.toMatchObject({ code: "DISK_FAILED" });
      await database.batch([put(2, 2)], { sync: true });
      await database.close();
      return (await contents(disk)).length;
    });
    expect(seen).toEqual(new Set(["1", "2"]));
  });
});

describe("damage", () => {
  test("a flip changes one bit for good, below the path asked for, and says where", async () => {
    const seen = await outcomes(10, async (disk) => {
      const database = await halfSynced(disk);
      await database.close();
      const file = await disk.openFile("f", { create: true, sizeBytes: 3 });
      expect(disk.flip("d")).toMatch(/^d key \d byte 0$/);
      const changed = (await contents(disk)).filter(([key, value]) => key !== value);
      expect(changed.length).toBe(1);
      expect(disk.flip("f")).toMatch(/^f byte \d$/);
      const bits = [...(await file.read())].map((byte) => byte.toString(2).replaceAll("0", "").length);
      expect(bits.reduce((sum, count) => sum + count, 0)).toBe(1);
      disk.crash({ keepUnsynced: "none" });
      const again = await disk.openFile("f", { create: false });
      expect([...(await again.read())].filter((byte) => byte !== 0).length).toBe(1);
      return changed;
    });
    expect(seen.size).toBeGreaterThan(3);
    expect(newDisk().disk.flip()).toBeUndefined();
  });
});

test("each changing call shows its beginning and its end", async () => {
  const { disk } = newDisk();
  const steps: string[] = [];
  disk.onStep = (what, path) => steps.push(`${what} ${path}`);
  const database = await disk.openDatabase("d", { create: true });
  await database.batch([put(1, 1)], { sync: true });
  await database.clear({});
  await database.close();
  await disk.remove("d");
  expect(steps).toEqual(
    ["create database d", "batch d", "clear d", "remove d"].flatMap((what) => [`begin ${what}`, `end ${what}`]),
  );
});
