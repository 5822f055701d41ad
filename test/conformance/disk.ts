/** What every `Disk` does. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Database, Disk } from "../../src/platform/disk.ts";
import type { DiskFactory, TestDisk } from "../support/disks.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const put = (key: number, ...value: number[]) => ({ kind: "put", key: bytes(key), value: bytes(...value) }) as const;
const del = (key: number) => ({ kind: "del", key: bytes(key) }) as const;

async function keys(
  database: Pick<Database, "iterate">,
  range: Parameters<Database["iterate"]>[0] = {},
): Promise<number[]> {
  const iterator = database.iterate(range);
  const found: number[] = [];
  for (let pairs = await iterator.next(2); pairs.length > 0; pairs = await iterator.next(2)) {
    for (const [key] of pairs) found.push(key[0]!);
  }
  await iterator.close();
  return found;
}

export function diskSuite(name: string, create: DiskFactory): void {
  describe(`${name} as a Disk`, () => {
    let test_: TestDisk;
    let disk: Disk;
    beforeEach(async () => {
      test_ = await create();
      disk = test_.disk;
    });
    afterEach(() => test_.remove());

    test("a database keeps what a batch wrote, across closing", async () => {
      const first = await disk.openDatabase("a/b", { create: true });
      await first.batch([put(1, 10), put(2, 20)], { sync: true });
      await first.batch([put(3, 30), del(1)], { sync: false });
      await first.batch([], { sync: true });
      await first.close();
      const again = await disk.openDatabase("a/b", { create: false });
      expect(again.getSync(bytes(1))).toBeUndefined();
      expect(again.getSync(bytes(2))).toEqual(bytes(20));
      expect(again.getSync(bytes(3))).toEqual(bytes(30));
      expect(await again.sizeBytes()).toBeGreaterThan(0);
      await again.close();
    });

    test("keys and values may be empty values and any bytes", async () => {
      const database = await disk.openDatabase("d", { create: true });
      const key = bytes(0, 255, 128, 0);
      await database.batch([{ kind: "put", key, value: bytes() }], { sync: true });
      expect(database.getSync(key)).toEqual(bytes());
      const iterator = database.iterate({});
      expect(await iterator.next(10)).toEqual([[key, bytes()]]);
      expect(await iterator.next(10)).toEqual([]);
      await iterator.close();
      await database.close();
    });

    test("what is handed out is a copy that `slice` copies again", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch([put(1, 10)], { sync: true });
      const value = database.getSync(bytes(1))!;
      const copy = value.slice();
      value[0] = 99;
      expect(copy).toEqual(bytes(10));
      expect(database.getSync(bytes(1))).toEqual(bytes(10));
      await database.close();
    });

    test("a later operation of one batch wins", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch([put(1, 1), put(1, 2), put(2, 1), del(2)], { sync: true });
      expect(database.getSync(bytes(1))).toEqual(bytes(2));
      expect(database.getSync(bytes(2))).toBeUndefined();
      await database.close();
    });

    test("iterates ranges in both directions", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch(
        [5, 1, 3, 2, 4].map((key) => put(key, key)),
        { sync: true },
      );
      expect(await keys(database)).toEqual([1, 2, 3, 4, 5]);
      expect(await keys(database, { gte: bytes(2), lt: bytes(4) })).toEqual([2, 3]);
      expect(await keys(database, { reverse: true })).toEqual([5, 4, 3, 2, 1]);
      expect(await keys(database, { gte: bytes(2), lt: bytes(4), reverse: true })).toEqual([3, 2]);
      expect(await keys(database, { gte: bytes(6) })).toEqual([]);
      await database.close();
    });

    test("a snapshot does not see what came later", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch([put(1, 1), put(2, 2)], { sync: true });
      const snapshot = database.snapshot();
      await database.batch([del(1), put(3, 3)], { sync: true });
      expect(await keys(snapshot)).toEqual([1, 2]);
      expect(await keys(database)).toEqual([2, 3]);
      await snapshot.close();
      await database.close();
    });

    test("clear deletes a range", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch(
        [1, 2, 3, 4].map((key) => put(key, key)),
        { sync: true },
      );
      await database.clear({ gte: bytes(2), lt: bytes(4) });
      expect(await keys(database)).toEqual([1, 4]);
      await database.clear({ lt: bytes(4) });
      expect(await keys(database)).toEqual([4]);
      await database.close();
    });

    test("a writer takes thousands of operations with turns between them, and writes them all at once", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.batch([put(7, 7, 7)], { sync: true });
      const writer = database.writer();
      // The caller's arrays, used again for each.
      const key = bytes(0, 0);
      const value = bytes(0);
      for (let i = 0; i < 10_000; i++) {
        key.set([i >> 8, i & 255]);
        value[0] = i & 255;
        writer.put(key, value);
        if (i % 1_000 === 0) await writer.turn();
      }
      writer.del(bytes(7));
      writer.put(bytes(39, 15), bytes(1));
      writer.del(bytes(39, 14));
      expect(await keys(database)).toEqual([7]);
      await writer.write({ sync: true });
      expect(database.getSync(bytes(39, 15))).toEqual(bytes(1));
      expect(database.getSync(bytes(39, 13))).toEqual(bytes(13));
      expect(database.getSync(bytes(39, 14))).toBeUndefined();
      expect(database.getSync(bytes(7))).toBeUndefined();
      expect((await keys(database)).length).toBe(9_999);
      await database.close();
    });

    test("what a writer gathered and abandoned, or had not written when its database was closed, never was", async () => {
      const database = await disk.openDatabase("d", { create: true });
      const abandoned = database.writer();
      abandoned.put(bytes(1), bytes(1));
      await abandoned.abandon();
      const late = database.writer();
      late.put(bytes(2), bytes(2));
      await database.close();
      await expect(late.write({ sync: true })).rejects.toMatchObject({ code: "DISK_FAILED" });
      const again = await disk.openDatabase("d", { create: false });
      expect(await keys(again)).toEqual([]);
      await again.close();
    });

    test("a database that is not there is missing, one that is there is not made again", async () => {
      await expect(disk.openDatabase("d", { create: false })).rejects.toMatchObject({
        code: "DISK_FAILED",
        details: { reason: "missing" },
      });
      expect(await disk.exists("d")).toBe(false);
      await (await disk.openDatabase("d", { create: true })).close();
      await expect(disk.openDatabase("d", { create: true })).rejects.toMatchObject({ code: "DISK_FAILED" });
    });

    test("a database is open once", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await expect(disk.openDatabase("d", { create: false })).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
      await database.close();
      await (await disk.openDatabase("d", { create: false })).close();
    });

    test("a closed database refuses", async () => {
      const database = await disk.openDatabase("d", { create: true });
      await database.close();
      await database.close();
      await expect(database.batch([put(1, 1)], { sync: true })).rejects.toMatchObject({ code: "DISK_FAILED" });
      expect(() => database.getSync(bytes(1))).toThrow(/./);
    });

    test("a file is made with its size, written in place and read back", async () => {
      const file = await disk.openFile("sub/f", { create: true, sizeBytes: 8 });
      expect(await file.read()).toEqual(new Uint8Array(8));
      await file.write(2, bytes(1, 2, 3));
      await file.sync();
      expect(await file.read()).toEqual(bytes(0, 0, 1, 2, 3, 0, 0, 0));
      await file.close();
      await file.close();
      await expect(file.write(0, bytes(1))).rejects.toMatchObject({ code: "DISK_FAILED" });
      const again = await disk.openFile("sub/f", { create: false });
      expect(await again.read()).toEqual(bytes(0, 0, 1, 2, 3, 0, 0, 0));
      await again.close();
      await expect(disk.openFile("sub/f", { create: true })).rejects.toMatchObject({ code: "DISK_FAILED" });
      await expect(disk.openFile("sub/g", { create: false })).rejects.toMatchObject({ details: { reason: "missing" } });
    });

    test("names: list, exists, rename, remove", async () => {
      expect(await disk.list("")).toEqual([]);
      await disk.makeDirectory("x");
      await disk.makeDirectory("x");
      await (await disk.openFile("x/f", { create: true })).close();
      const database = await disk.openDatabase("x/d", { create: true });
      await database.batch([put(1, 1)], { sync: true });
      await database.close();
      expect(await disk.list("x")).toEqual(["d", "f"]);
      await disk.rename("x/d", "d");
      await disk.rename("x", "y");
      expect(await disk.list("")).toEqual(["d", "y"]);
      expect(await disk.exists("y/f")).toBe(true);
      expect(await disk.exists("x")).toBe(false);
      const moved = await disk.openDatabase("d", { create: false });
      expect(moved.getSync(bytes(1))).toEqual(bytes(1));
      await moved.close();
      await disk.remove("y");
      await disk.remove("y");
      expect(await disk.list("")).toEqual(["d"]);
      await expect(disk.rename("y", "z")).rejects.toMatchObject({ code: "DISK_FAILED" });
    });
  });
}
