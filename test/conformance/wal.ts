/** What the write-ahead log does, on any disk: it is opened through the directory that it stands in. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { memberId } from "../../src/base/ids.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { createDataDir, type DataDir, openDataDir } from "../../src/storage/data-dir.ts";
import { decodeRecord, encodeRecord, recordKey, type WalRecord } from "../../src/storage/record.ts";
import type { DiskFactory, TestDisk } from "../support/disks.ts";
import { at, batch, checksum, conf, entries, entry, hard, identity } from "../support/storage.ts";

export function walSuite(name: string, create: DiskFactory): void {
  describe(`Wal on ${name}`, () => {
    let test_: TestDisk;
    let disk: Disk;
    let dir: DataDir | undefined;
    beforeEach(async () => {
      test_ = await create();
      disk = test_.disk;
      await createDataDir(disk, { identity, conf, checksum });
    });
    afterEach(async () => {
      await dir?.close().catch(() => {});
      dir = undefined;
      await test_.remove();
    });

    async function open(): Promise<DataDir> {
      await dir?.close();
      dir = undefined;
      dir = await openDataDir(disk, { checksum });
      return dir;
    }

    /** Keys of the records that the database holds, and the newest record. */
    async function records(): Promise<{ numbers: number[]; newest: WalRecord }> {
      await dir?.close();
      dir = undefined;
      const database = await disk.openDatabase("wal", { create: false });
      const iterator = database.iterate({});
      const pairs = await iterator.next(10_000);
      await iterator.close();
      await database.close();
      const found = pairs.map(([key]) => Number(new DataView(key.slice().buffer).getBigUint64(0)));
      const [key, value] = pairs.at(-1)!;
      const newest = decodeRecord(key, value, checksum);
      if (newest.kind !== "record") throw new Error(newest.kind);
      return { numbers: found, newest: newest.record };
    }

    async function rewrite(
      change: (numbers: number[]) => Promise<readonly (readonly [number, Uint8Array | undefined])[]>,
    ) {
      const { numbers } = await records();
      const ops = (await change(numbers)).map(([number, value]) =>
        value === undefined
          ? ({ kind: "del", key: recordKey(number) } as const)
          : ({ kind: "put", key: recordKey(number), value } as const),
      );
      const database = await disk.openDatabase("wal", { create: false });
      await database.batch(ops, { sync: true });
      await database.close();
    }

    async function stored(number: number): Promise<Uint8Array> {
      const database = await disk.openDatabase("wal", { create: false });
      const value = database.getSync(recordKey(number))!;
      await database.close();
      return value;
    }

    test("a new log is empty, and each start is a new incarnation", async () => {
      for (let start = 1; start <= 3; start++) {
        const { recovered, identity: found } = await open();
        expect(found).toEqual({ ...identity, incarnation: start });
        expect(recovered).toEqual({ hardState: hard(0, 0), base: at(0, 0), entries: [], noted: new Set() });
      }
    });

    test("the incarnation is durable before openDataDir resolves", async () => {
      await open();
      expect((await records()).newest.identity.incarnation).toBe(1);
    });

    test("keeps hard state and entries", async () => {
      const { wal } = await open();
      await wal.append(batch(hard(1, 0, 0xa1n)));
      await wal.append(batch(hard(1, 0, 0xa1n), { entries: entries(1, 3, 1) }));
      await wal.append(batch(hard(3, 2), { entries: [...entries(4, 5, 2), { ...entry(6, 3), kind: "confChange" }] }));
      const { recovered } = await open();
      expect(recovered.hardState).toEqual(hard(3, 2));
      expect(recovered.entries).toEqual([
        ...entries(1, 3, 1),
        ...entries(4, 5, 2),
        { ...entry(6, 3), kind: "confChange" },
      ]);
    });

    test("a vote alone is a record", async () => {
      const { wal } = await open();
      await wal.append(batch(hard(7, 0, 0xa2n)));
      expect((await open()).recovered.hardState).toEqual(hard(7, 0, 0xa2n));
    });

    test("entries replace what they overwrite, and a cut takes what is above it", async () => {
      const { wal } = await open();
      await wal.append(batch(hard(1, 0), { entries: entries(1, 6, 1, "old") }));
      await wal.append(batch(hard(2, 0), { entries: entries(4, 5, 2, "new"), cutFrom: at(4, 0).index }));
      expect((await open()).recovered.entries).toEqual([...entries(1, 3, 1, "old"), ...entries(4, 5, 2, "new")]);
      await dir!.wal.append(batch(hard(3, 0), { cutFrom: at(3, 0).index }));
      expect((await open()).recovered.entries).toEqual(entries(1, 2, 1, "old"));
      await dir!.wal.append(batch(hard(3, 0), { cutFrom: at(1, 0).index }));
      expect((await open()).recovered.entries).toEqual([]);
      await dir!.wal.append(batch(hard(3, 0), { entries: entries(1, 2, 3, "third") }));
      expect((await open()).recovered.entries).toEqual(entries(1, 2, 3, "third"));
    });

    test("releases with the next record, and deletes what is not needed any more", async () => {
      const { wal, state } = await open();
      for (let index = 1; index <= 20; index++)
        await wal.append(batch(hard(1, index - 1), { entries: entries(index, index, 1) }));
      await state.flush(at(15, 1));
      wal.release(at(12, 1));
      // Lower ones say nothing.
      wal.release(at(9, 1));
      await wal.append(batch(hard(1, 20)));
      const { newest, numbers } = await records();
      expect(newest.released).toEqual(at(12, 1));
      expect(numbers[0]).toBe(newest.oldest);
      const { recovered } = await open();
      expect(recovered.base).toEqual(at(12, 1));
      expect(recovered.entries).toEqual(entries(13, 20, 1));
      dir!.wal.release(at(15, 1));
      await dir!.wal.append(batch(hard(1, 20)));
      expect((await open()).recovered.entries).toEqual(entries(16, 20, 1));
    });

    test("a release in the middle of a record keeps the record", async () => {
      const { wal, state } = await open();
      await wal.append(batch(hard(1, 0), { entries: entries(1, 10, 1) }));
      await state.flush(at(10, 1));
      wal.release(at(4, 1));
      await wal.append(batch(hard(1, 10)));
      expect((await open()).recovered).toMatchObject({ base: at(4, 1), entries: entries(5, 10, 1) });
      dir!.wal.release(at(10, 1));
      await dir!.wal.append(batch(hard(1, 10)));
      const { recovered } = await open();
      expect(recovered.base).toEqual(at(10, 1));
      expect(recovered.entries).toEqual([]);
      await dir!.wal.append(batch(hard(2, 10), { entries: entries(11, 12, 2) }));
      expect((await open()).recovered).toMatchObject({ base: at(10, 1), entries: entries(11, 12, 2) });
    });

    test("notes about members outlive the records that brought them", async () => {
      const { wal, state } = await open();
      await wal.append(batch(hard(1, 0)), { noteMembers: [memberId(2n), memberId(3n)] });
      await wal.append(batch(hard(1, 0)), { noteMembers: [memberId(3n)] });
      for (let round = 0; round < 3; round++) {
        const first = round * 5 + 1;
        await dir!.wal.append(batch(hard(1, first - 1), { entries: entries(first, first + 4, 1) }));
        await (round === 0 ? state : dir!.state).flush(at(first + 4, 1));
        dir!.wal.release(at(first + 4, 1));
        await dir!.wal.append(batch(hard(1, first + 4)));
        const { recovered } = await open();
        expect([...recovered.noted].sort()).toEqual([memberId(2n), memberId(3n)]);
      }
    });

    test("one append at a time; after closing none", async () => {
      const { wal } = await open();
      const first = wal.append(batch(hard(1, 0)));
      expect(() => wal.append(batch(hard(1, 0)))).toThrow("W4");
      await first;
      await wal.close();
      await wal.close();
      await expect(wal.append(batch(hard(1, 0)))).rejects.toMatchObject({ code: "STOPPED" });
    });

    test.each([
      ["a term that falls", batch(hard(1, 0)), "V1"],
      ["entries that leave a gap", batch(hard(2, 0), { entries: entries(5, 5, 2) }), "W3"],
      ["terms of entries that fall", batch(hard(2, 0), { entries: [entry(4, 2), entry(5, 1)] }), "V4"],
      ["a snapshot without its state", batch(hard(2, 9), { install: { ...at(9, 2), conf } }), "N10"],
    ])("refuses %s, and everything after it", async (_what, wrong, rule) => {
      const { wal } = await open();
      await wal.append(batch(hard(2, 0), { entries: entries(1, 3, 2) }));
      await expect(wal.append(wrong)).rejects.toMatchObject({ name: "InvariantError", rule });
      await expect(wal.append(batch(hard(2, 0)))).rejects.toMatchObject({ rule });
      expect((await open()).recovered).toMatchObject({ hardState: hard(2, 0), entries: entries(1, 3, 2) });
    });

    describe("opening refuses", () => {
      beforeEach(async () => {
        const { wal } = await open();
        for (let index = 1; index <= 6; index++)
          await wal.append(batch(hard(1, 0), { entries: entries(index, index, 1) }));
      });

      /** Twice: the first refusal must not have done away with the evidence. */
      async function refused(code: string, what: RegExp): Promise<void> {
        for (let start = 0; start < 2; start++) {
          await expect(openDataDir(disk, { checksum })).rejects.toMatchObject({
            code,
            message: expect.stringMatching(what),
          });
        }
      }

      test("a missing record in the middle", async () => {
        await rewrite(async () => [[5, undefined]]);
        await refused("WAL_CORRUPT", /record 5 is missing/);
      });

      test("a missing newest record, which only tail remembers", async () => {
        await rewrite(async (numbers) => [[numbers.at(-1)!, undefined]]);
        await refused("WAL_CORRUPT", /ends at record 7, but record 8 was written/);
      });

      test("a wrong byte", async () => {
        await records();
        const bytes = await stored(4);
        bytes[30]! ^= 1;
        await rewrite(async () => [[4, bytes]]);
        await refused("WAL_CORRUPT", /record 4: its checksum/);
      });

      test("a record that was written behind another one, though it is whole", async () => {
        await records();
        const known = decodeRecord(recordKey(5), await stored(5), checksum);
        if (known.kind !== "record") throw new Error(known.kind);
        const { bytes } = encodeRecord(recordKey(5), known.record, 0x1234, checksum);
        await rewrite(async () => [[5, bytes]]);
        await refused("WAL_CORRUPT", /was not written behind/);
      });

      test("another newest record than the one that tail names", async () => {
        await records();
        const known = decodeRecord(recordKey(8), await stored(8), checksum);
        if (known.kind !== "record") throw new Error(known.kind);
        const { bytes } = encodeRecord(
          recordKey(8),
          { ...known.record, hardState: hard(9, 0) },
          known.previousCrc,
          checksum,
        );
        await rewrite(async () => [[8, bytes]]);
        await refused("WAL_CORRUPT", /not the one that tail names/);
      });

      test.each<[string, Partial<WalRecord>, RegExp]>([
        ["a term that falls", { hardState: hard(0, 0) }, /its term falls/],
        [
          "a member that changes",
          { identity: { ...identity, memberId: memberId(9n), incarnation: 1 } },
          /another member/,
        ],
        ["an incarnation that falls", { identity }, /incarnation falls/],
        ["a release point beyond the log", { released: at(99, 1), oldest: 8, entries: [] }, /./],
        ["a commit beyond the log", { hardState: hard(1, 44) }, /entry 44 was committed/],
        [
          "an entry's term that falls",
          { entries: [{ ...entry(7, 0), index: at(7, 0).index }] },
          /term of entry 7 falls/,
        ],
        ["a gap in the entries", { entries: entries(9, 9, 1) }, /entry 9 follows/],
        ["a need for a later record", { oldest: 99 }, /./],
      ])("%s", async (_what, change, message) => {
        await records();
        const last = decodeRecord(recordKey(8), await stored(8), checksum);
        if (last.kind !== "record") throw new Error(last.kind);
        const { bytes } = encodeRecord(
          recordKey(9),
          { ...last.record, entries: [], cutFrom: undefined, ...change },
          last.crc,
          checksum,
        );
        await rewrite(async () => [[9, bytes]]);
        for (let start = 0; start < 2; start++) {
          await expect(openDataDir(disk, { checksum })).rejects.toMatchObject({
            code: expect.stringMatching(/^(WAL|STATE)_CORRUPT$/),
            message: expect.stringMatching(message),
          });
        }
      });

      test("a record of a newer version, by name", async () => {
        await records();
        const last = decodeRecord(recordKey(8), await stored(8), checksum);
        if (last.kind !== "record") throw new Error(last.kind);
        const { bytes } = encodeRecord(recordKey(9), last.record, last.crc, checksum);
        bytes[4] = 2;
        new DataView(bytes.buffer).setUint32(0, checksum(bytes.subarray(4), checksum(recordKey(9), last.crc)));
        await rewrite(async () => [[9, bytes]]);
        await refused("FORMAT_TOO_NEW", /format 2, this program knows up to 1/);
      });

      test("a key that is no record's", async () => {
        await records();
        const database = await disk.openDatabase("wal", { create: false });
        await database.batch(
          [{ kind: "put", key: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 4, 1), value: Uint8Array.of(1) }],
          {
            sync: true,
          },
        );
        await database.close();
        await refused("WAL_CORRUPT", /no record's/);
      });

      test("an empty log", async () => {
        await rewrite(async (numbers) => numbers.map((number) => [number, undefined] as const));
        await refused("WAL_CORRUPT", /holds no record/);
      });

      test("a state ahead of the log", async () => {
        await dir!.state.flush(at(77, 1));
        await dir!.close();
        await refused("WAL_CORRUPT", /state holds entry 77, but the log ends at entry 6/);
      });

      test("a state at an entry of another term", async () => {
        await dir!.state.flush(at(4, 0));
        await dir!.close();
        await refused("STATE_CORRUPT", /entry 4 of term 0, the log one of term 1/);
      });

      test("a state behind the log's base", async () => {
        dir!.wal.release(at(3, 1));
        await dir!.wal.append(batch(hard(1, 6)));
        await dir!.close();
        await refused("STATE_CORRUPT", /stands at entry 0, but the log begins behind entry 3/);
      });
    });

    test("records that are not needed may be there or not", async () => {
      const { wal, state } = await open();
      for (let index = 1; index <= 9; index++)
        await wal.append(batch(hard(1, 0), { entries: entries(index, index, 1) }));
      await state.flush(at(9, 1));
      wal.release(at(6, 1));
      await wal.append(batch(hard(1, 9)));
      const { newest } = await records();
      await rewrite(async () => [
        [1, Uint8Array.of(1, 2, 3)],
        [newest.oldest - 1, Uint8Array.of(4)],
      ]);
      expect((await open()).recovered).toMatchObject({ base: at(6, 1), entries: entries(7, 9, 1) });
    });

    test("times its writes where it has a clock", async () => {
      const times: number[] = [];
      let now = 0;
      const clock = {
        now: () => (now += 500),
        wallNow: () => 0,
        after: () => ({ cancel() {} }),
        every: () => ({ cancel() {} }),
        defer() {},
      };
      dir = await openDataDir(disk, { checksum, clock });
      dir.wal.onFsync = (seconds) => times.push(seconds);
      await dir.wal.append(batch(hard(1, 0)));
      expect(times).toEqual([0.5]);
      expect(await dir.wal.sizeBytes()).toBeGreaterThan(0);
    });
  });
}
