/** What the file `tail` does, on any disk. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { crc32 } from "../../src/base/crc32.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { Tail } from "../../src/storage/tail.ts";
import type { DiskFactory, TestDisk } from "../support/disks.ts";
import { checksum } from "../support/storage.ts";

const PAGE = 4096;
const mark = (number: number): { number: number; crc: number } => ({ number, crc: number * 7 });

export function tailSuite(name: string, create: DiskFactory): void {
  describe(`tail on ${name}`, () => {
    let test_: TestDisk;
    let disk: Disk;
    beforeEach(async () => {
      test_ = await create();
      disk = test_.disk;
      await Tail.create(disk, "tail", mark(1), checksum);
    });
    afterEach(() => test_.remove());

    const open = (): ReturnType<typeof Tail.open> => Tail.open(disk, "tail", checksum);

    async function read(): Promise<Uint8Array> {
      const file = await disk.openFile("tail", { create: false });
      const bytes = await file.read();
      await file.close();
      return bytes;
    }

    async function overwrite(position: number, bytes: Uint8Array): Promise<void> {
      const file = await disk.openFile("tail", { create: false });
      await file.write(position, bytes);
      await file.close();
    }

    /** The number in each slot, as the bytes say. */
    async function slots(): Promise<number[]> {
      const view = new DataView((await read()).slice().buffer);
      return [view.getUint32(12), view.getUint32(PAGE + 12)];
    }

    test("names the newest mark, across closing", async () => {
      for (let number = 2; number <= 4; number++) {
        const { tail, mark: found } = await open();
        expect(found).toEqual(mark(number - 1));
        await tail.write(mark(number));
        await tail.close();
      }
      const { tail, mark: found } = await open();
      expect(found).toEqual(mark(4));
      await tail.close();
    });

    test("two pages; every write goes to one slot until a sync makes them change places", async () => {
      const { tail } = await open();
      expect((await read()).length).toBe(2 * PAGE);
      for (const number of [2, 3, 4]) {
        await tail.write(mark(number));
        expect(await slots()).toEqual([1, number]);
      }
      await tail.sync();
      // Nothing new: a second sync must not give up the slot that was synced.
      await tail.sync();
      for (const number of [5, 6]) {
        await tail.write(mark(number));
        expect(await slots()).toEqual([number, 4]);
      }
      await tail.sync();
      await tail.write(mark(7));
      expect(await slots()).toEqual([6, 7]);
      await tail.close();
    });

    test("writes and syncs that overlap take their turns", async () => {
      const { tail } = await open();
      await Promise.all([tail.write(mark(2)), tail.sync(), tail.write(mark(3)), tail.sync(), tail.write(mark(4))]);
      expect(await slots()).toEqual([3, 4]);
      await tail.close();
      const again = await open();
      expect(again.mark).toEqual(mark(4));
      await again.tail.close();
    });

    test("one damaged slot leaves the other to speak", async () => {
      const { tail } = await open();
      await tail.write(mark(2));
      await tail.sync();
      await tail.write(mark(3));
      await tail.close();
      await overwrite(9, Uint8Array.of(1));
      const again = await open();
      expect(again.mark).toEqual(mark(2));
      // The one slot that speaks is not the one written next.
      await again.tail.write(mark(4));
      expect(await slots()).toEqual([4, 2]);
      await again.tail.close();
    });

    test("no valid slot, or no file, is WAL_CORRUPT", async () => {
      await overwrite(0, new Uint8Array(2 * PAGE));
      await expect(open()).rejects.toMatchObject({ code: "WAL_CORRUPT" });
      await disk.remove("tail");
      await expect(open()).rejects.toMatchObject({ code: "WAL_CORRUPT" });
    });

    test("a slot of a newer version is refused by name, whatever the other says", async () => {
      const { tail } = await open();
      await tail.write(mark(2));
      await tail.close();
      const slot = (await read()).slice(PAGE, PAGE + 20);
      slot[4] = 2;
      new DataView(slot.buffer).setUint32(0, crc32(slot.subarray(4)));
      await overwrite(PAGE, slot);
      await expect(open()).rejects.toMatchObject({ code: "FORMAT_TOO_NEW", details: { version: 2, known: 1 } });
    });

    test("golden bytes of a slot", async () => {
      const hex = Buffer.from((await read()).subarray(0, 20)).toString("hex");
      expect(hex).toBe(`${hex.slice(0, 8)}010000000000000000000001${"00000007"}`);
      expect(Number.parseInt(hex.slice(0, 8), 16)).toBe(crc32(Buffer.from(hex.slice(8), "hex")));
    });
  });
}
