/** Birth, identity and refusals of a member's directory, on both disks. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { clusterId, logIndex, memberId, term } from "../../src/base/ids.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { createDataDir, type DataDir, openDataDir, probeDataDir } from "../../src/storage/data-dir.ts";
import { SnapshotReceiver } from "../../src/storage/snapshot-stream.ts";
import { DISKS, type TestDisk } from "../support/disks.ts";
import { at, batch, checksum, conf, entries, hard, identity } from "../support/storage.ts";

for (const [name, make] of DISKS) {
  describe(`a data directory on ${name}`, () => {
    let test_: TestDisk;
    let disk: Disk;
    let dir: DataDir | undefined;
    beforeEach(async () => {
      test_ = await make();
      disk = test_.disk;
    });
    afterEach(async () => {
      await dir?.close();
      dir = undefined;
      await test_.remove();
    });

    const create = (): Promise<void> => createDataDir(disk, { identity, conf, checksum });
    const open = async (): Promise<DataDir> => {
      dir = await openDataDir(disk, { checksum });
      return dir;
    };

    test("is empty before its birth, present after it", async () => {
      expect(await probeDataDir(disk)).toBe("empty");
      await create();
      expect(await probeDataDir(disk)).toBe("present");
      expect(await disk.list("")).toEqual(["state-1", "tail", "wal"]);
    });

    test("is born with a base and a seeded state", async () => {
      await createDataDir(disk, {
        identity,
        conf,
        base: { index: logIndex(1), term: term(1) },
        seed: (store) => {
          store.write(Uint8Array.of(7), encodeUtf8("first"));
          expect(store.read(Uint8Array.of(7))).toEqual(encodeUtf8("first"));
          store.write(Uint8Array.of(6), encodeUtf8("x"));
          store.delete(Uint8Array.of(6));
          expect(() => store.write(Uint8Array.of(0x7f), encodeUtf8("the backend's own"))).toThrow("state");
        },
        checksum,
      });
      const { recovered, state } = await open();
      expect(recovered).toMatchObject({ base: at(1, 1), hardState: hard(1, 1), entries: [] });
      expect([state.appliedIndex, state.appliedTerm]).toEqual([1, 1]);
      const found: number[] = [];
      await state.scan((key) => void found.push(key[0]!));
      expect(found).toEqual([7]);
      expect(state.read(Uint8Array.of(7))).toEqual(encodeUtf8("first"));
    });

    test("is opened once at a time", async () => {
      await create();
      await open();
      await expect(openDataDir(disk, { checksum })).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
      await dir!.close();
      await dir!.close();
      await open();
    });

    test("of two creators at once, at most one succeeds, and the directory is whole or empty", async () => {
      const attempt = async (member: bigint): Promise<bigint> => {
        if ((await probeDataDir(disk)) === "present") throw new Error("present");
        await createDataDir(disk, { identity: { ...identity, memberId: memberId(member) }, conf, checksum });
        return member;
      };
      const ends = await Promise.allSettled([attempt(1n), attempt(2n), attempt(3n)]);
      const winners = ends.filter((end) => end.status === "fulfilled").map((end) => end.value);
      expect(winners.length).toBeLessThanOrEqual(1);
      if (winners.length === 0) {
        expect(await probeDataDir(disk)).toBe("empty");
        return;
      }
      expect((await open()).identity.memberId).toBe(winners[0]);
    });

    test("a second start while the first creates it is refused, and does not clear it away", async () => {
      await disk.makeDirectory("birth");
      const log = await disk.openDatabase("birth/wal", { create: true });
      await expect(probeDataDir(disk)).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
      await expect(create()).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
      await log.close();
      expect(await probeDataDir(disk)).toBe("empty");
      expect(await disk.list("")).toEqual([]);
      await create();
    });

    test("an interrupted birth is cleared away at any of its stages", async () => {
      for (const stage of ["birth", "state", "tail", "a creation that came to nothing"]) {
        await create();
        await disk.rename("wal", "gone");
        await disk.remove("gone");
        await disk.makeDirectory("birth");
        if (stage !== "tail") await disk.remove("tail");
        if (stage === "birth") await disk.remove("state-1");
        if (stage.startsWith("a creation")) await disk.makeDirectory("birth/wal.new");
        expect(await probeDataDir(disk), stage).toBe("empty");
        expect(await disk.list("")).toEqual([]);
      }
    });

    test("what is left of a member that lost its log is no empty directory", async () => {
      await create();
      await disk.remove("wal");
      expect(await probeDataDir(disk)).toBe("present");
      await expect(open()).rejects.toMatchObject({ code: "WAL_CORRUPT" });
      await disk.remove("tail");
      expect(await probeDataDir(disk)).toBe("present");
      await disk.rename("state-1", "state-2");
      // Birth never got as far as a second generation.
      await disk.makeDirectory("birth");
      expect(await probeDataDir(disk)).toBe("present");
    });

    test("belongs to one member of one cluster", async () => {
      await create();
      for (const expect_ of [{ memberId: memberId(9n) }, { clusterId: clusterId(9n) }]) {
        await expect(openDataDir(disk, { checksum, expect: expect_ })).rejects.toMatchObject({
          code: "DATA_DIR_MISMATCH",
          details: { memberId: identity.memberId, clusterId: identity.clusterId },
        });
      }
      // A refused start does not count.
      dir = await openDataDir(disk, { checksum, expect: identity });
      expect(dir.identity.incarnation).toBe(1);
    });

    test("leftovers of states that are not live are removed, other files are not", async () => {
      await create();
      await (await disk.openDatabase("state-2", { create: true })).close();
      await (await disk.openDatabase("state-3.part", { create: true })).close();
      await disk.makeDirectory("state-4.part.new");
      await disk.makeDirectory("birth");
      await disk.makeDirectory("mine");
      const removed: object[] = [];
      const log = { debug() {}, info: (fields: object) => void removed.push(fields), warn() {}, error() {} };
      dir = await openDataDir(disk, { checksum, log });
      expect(await disk.list("")).toEqual(["mine", "state-1", "tail", "wal"]);
      expect(removed).toEqual([{ name: "state-2", live: "state-1" }]);
    });

    test("a refusal deletes nothing", async () => {
      await create();
      await (await disk.openDatabase("state-2", { create: true })).close();
      await disk.remove("state-1");
      await expect(open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      await expect(open()).rejects.toMatchObject({ code: "STATE_CORRUPT" });
      expect(await disk.list("")).toEqual(["state-2", "tail", "wal"]);
    });

    test("the log names the live state: a switch is one record, and what it replaced is gone at the next start", async () => {
      await create();
      const { wal, state } = await open();
      await wal.append(batch(hard(1, 0), { entries: entries(1, 9, 1) }));
      await state.flush(at(4, 1));
      const snapshot = state.snapshot();
      const receiver = await SnapshotReceiver.begin(disk, { generation: 2, session: 1, at: at(4, 1), checksum });
      for await (const chunk of snapshot.stream(1)) await receiver.chunk(chunk);
      await snapshot.close();
      const next = await receiver.finish();
      await next.flush(at(30, 2));
      await wal.append(batch(hard(2, 30), { install: { ...at(30, 2), conf }, entries: entries(31, 32, 2) }), {
        generation: next.generation,
      });
      expect(wal.generation).toBe(2);
      await next.close();
      await dir!.close();
      const again = await open();
      // N9: the whole old log is gone, above the snapshot's index too.
      expect(again.recovered).toMatchObject({ base: at(30, 2), entries: entries(31, 32, 2), hardState: hard(2, 30) });
      expect([again.state.generation, again.state.appliedIndex]).toEqual([2, 30]);
      expect(await disk.list("")).toEqual(["state-2", "tail", "wal"]);
    });
  });
}
