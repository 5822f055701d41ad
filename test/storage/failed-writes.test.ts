/** A full disk or a failed write stops what wrote, by name, and costs nothing that was acknowledged. */
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { MemoryDisk } from "../../src/platform/memory-disk.ts";
import { NodeDisk } from "../../src/platform/node/disk.ts";
import { type DataDir, probeDataDir } from "../../src/storage/data-dir.ts";
import { SnapshotReceiver } from "../../src/storage/snapshot-stream.ts";
import { createState, StateBackend, type StateRecord } from "../../src/storage/state-backend.ts";
import { FastClock } from "../support/clock.ts";
import { temporaryDirectory } from "../support/disks.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";
import { batch, checksum, hard, revisionKey } from "../support/storage.ts";
import { at, create, expectRecords, open, restart, resume, run } from "./member.ts";

const seed = testSeed();
const LAST = 12;
const CODES = ["DISK_FAILED", "DISK_FULL"] as const;

const newDisk = (more = 0): MemoryDisk => new MemoryDisk({ clock: new FastClock(), random: seededRandom(seed + more) });

async function member(disk: MemoryDisk): Promise<DataDir> {
  await create(disk);
  const dir = await open(disk);
  await run(dir, 1, LAST);
  return dir;
}

/** What a restart finds, with the page cache or without. `tried` is the last entry that was begun. */
async function expectAcknowledged(disk: MemoryDisk, acknowledged: number, tried: number): Promise<void> {
  for (const end of [() => disk.release(), () => disk.crash({ keepUnsynced: "none" })]) {
    end();
    const { last, records } = await restart(disk);
    expect(last).toBeGreaterThanOrEqual(acknowledged);
    expect(last).toBeLessThanOrEqual(tried);
    expectRecords(records, last);
  }
}

describe(`in memory (seed ${seed})`, () => {
  test.each(CODES.flatMap((code) => (["wal", "tail"] as const).map((path) => [code, path] as const)))(
    "%s at %s: the append rejects, everything after it too",
    async (code, path) => {
      for (let chance = 0; chance < 6; chance++) {
        const disk = newDisk(chance);
        const dir = await member(disk);
        disk.failNextWrite(code, path);
        await expect(run(dir, LAST + 1, LAST + 1)).rejects.toMatchObject({ code, outcome: "unknown" });
        await expect(run(dir, LAST + 1, LAST + 1)).rejects.toMatchObject({ code });
        await expect(dir.wal.append(batch(hard(9, 0)))).rejects.toMatchObject({ code });
        await expectAcknowledged(disk, LAST, LAST + 1);
      }
    },
  );

  test.each(CODES)(
    "%s at a flush: it rejects, what was written stays readable, the log has everything",
    async (code) => {
      for (let chance = 0; chance < 6; chance++) {
        const disk = newDisk(chance);
        const dir = await member(disk);
        disk.failNextWrite(code, "state-1");
        await expect(dir.state.flush(at(LAST, 1))).rejects.toMatchObject({ code });
        await expect(dir.state.flush(at(LAST, 1))).rejects.toMatchObject({ code });
        expect(dir.state.read(Uint8Array.of(2, 1))).toBeDefined();
        await expectAcknowledged(disk, LAST, LAST);
      }
    },
  );

  test("a failure while old records are deleted stops the log", async () => {
    const disk = newDisk();
    const dir = await member(disk);
    await dir.state.flush(at(LAST, 1));
    dir.wal.release(at(LAST, 1));
    disk.onStep = (what, path) => {
      if (what === "begin clear" && path === "wal") disk.failNextWrite("DISK_FAILED", "wal");
    };
    await run(dir, LAST + 1, LAST + 1);
    let acknowledged = LAST + 1;
    const failed = (async () => {
      for (; acknowledged < LAST + 20; acknowledged++) await run(dir, acknowledged + 1, acknowledged + 1);
    })();
    await expect(failed).rejects.toMatchObject({ code: "DISK_FAILED" });
    disk.onStep = undefined;
    await expectAcknowledged(disk, acknowledged, acknowledged + 1);
  });

  test("a failed sync of tail stops the log", async () => {
    const disk = newDisk();
    const dir = await member(disk);
    disk.failNextWrite("DISK_FAILED", "tail");
    await expect(dir.wal.syncTail()).rejects.toMatchObject({ code: "DISK_FAILED" });
    await expect(run(dir, LAST + 1, LAST + 1)).rejects.toMatchObject({ code: "DISK_FAILED" });
    await expectAcknowledged(disk, LAST, LAST);
  });

  test("a disk that fills up, at every size: the first refusal is by name, nothing acknowledged is lost", async () => {
    for (let room = 0; room < 9_000; room += 450) {
      const disk = newDisk(room);
      await create(disk);
      const dir = await open(disk);
      disk.fillUp(room);
      let acknowledged = 0;
      let code = "none";
      try {
        for (let index = 1; index <= 100; index++) {
          await run(dir, index, index);
          acknowledged = index;
          if (index % 5 === 0) await dir.state.flush(at(index, 1));
        }
      } catch (error) {
        code = (error as { code: string }).code;
      }
      expect(code).toBe("DISK_FULL");
      disk.fillUp(undefined);
      await expectAcknowledged(disk, acknowledged, acknowledged + 1);
    }
  });

  test("a birth that fails leaves an empty directory or a member, at every write", async () => {
    let births = 0;
    for (let nth = 1; ; nth++) {
      const disk = newDisk(nth);
      let seen = 0;
      disk.onStep = (what) => {
        if (what.startsWith("begin") && ++seen === nth) disk.failNextWrite("DISK_FULL");
      };
      const end = await create(disk).then(
        () => "born",
        (error: { code: string }) => error.code,
      );
      disk.onStep = undefined;
      if (end === "born") break;
      births++;
      expect(end).toBe("DISK_FULL");
      disk.crash();
      if ((await probeDataDir(disk)) === "empty") await create(disk);
      expect((await restart(disk)).last).toBe(0);
    }
    expect(births).toBeGreaterThan(7);
  });

  test("a snapshot that cannot be written leaves the member as it was", async () => {
    const disk = newDisk();
    const dir = await member(disk);
    await dir.state.flush(at(LAST, 1));
    const snapshot = dir.state.snapshot();
    const receiver = await SnapshotReceiver.begin(disk, { generation: 2, session: 1, at: at(LAST, 1), checksum });
    disk.fillUp(100);
    const received = (async () => {
      for await (const chunk of snapshot.stream(1)) await receiver.chunk(chunk);
      await receiver.finish();
    })();
    await expect(received).rejects.toMatchObject({ code: "DISK_FULL" });
    disk.fillUp(undefined);
    await receiver.abort();
    await run(dir, LAST + 1, LAST + 2);
    await expectAcknowledged(disk, LAST + 2, LAST + 2);
    expect(await disk.list("")).toEqual(["state-1", "tail", "wal"]);
  });

  test("a snapshot of many batches is refused whichever of them fails, and nothing of it stays", async () => {
    const sender = newDisk();
    // 4 MiB, where a batch is about one.
    const records = Array.from(
      { length: 64 },
      (_, i): StateRecord => [revisionKey(i + 1), new Uint8Array(64 << 10).fill(i)],
    );
    await createState(sender, "state-1", at(9, 1), records, checksum);
    const source = await StateBackend.open({ disk: sender, generation: 1, checksum });
    const snapshot = source.snapshot();
    const chunks: Uint8Array[] = [];
    for await (const chunk of snapshot.stream(1)) chunks.push(chunk);
    await snapshot.close();
    let failures = 0;
    for (let nth = 1; ; nth++) {
      const disk = newDisk(nth);
      let seen = 0;
      disk.onStep = (what, path) => {
        if (what === "begin batch" && ++seen === nth) disk.failNextWrite("DISK_FAILED", path);
      };
      const receiver = await SnapshotReceiver.begin(disk, { generation: 2, session: 1, at: at(9, 1), checksum });
      const end = await (async () => {
        for (const chunk of chunks) await receiver.chunk(chunk);
        return receiver.finish();
      })().catch((error: { code: string }) => error.code);
      if (end instanceof StateBackend) {
        expect(seen).toBeLessThan(nth);
        let count = 0;
        await end.scan(() => count++);
        expect(count).toBe(records.length);
        break;
      }
      expect(end).toBe("DISK_FAILED");
      failures++;
      await receiver.abort();
      await expect(receiver.chunk(chunks[0]!)).rejects.toMatchObject({ code: "INVALID_REQUEST" });
      expect(await disk.list("")).toEqual([]);
    }
    expect(failures).toBeGreaterThan(3);
  });
});

describe("on a real disk", () => {
  // A limit on the size of files stands for a full disk: LevelDB's log cannot grow. (512-byte blocks.)
  test.each([
    ["log", 200],
    ["state", 300],
  ])("a %s that cannot grow stops by name, and keeps what was acknowledged", async (what, blocks) => {
    const root = await temporaryDirectory();
    try {
      const script = fileURLToPath(new URL("./limited-writer.ts", import.meta.url));
      const { stdout } = await promisify(execFile)("sh", [
        ...["-c", `ulimit -f ${blocks}; exec "$0" --import tsx "$@"`],
        ...[process.execPath, script, root, what],
      ]);
      const { acknowledged, failure, later } = JSON.parse(stdout) as Record<string, unknown>;
      expect([failure, later]).toEqual(["DISK_FAILED", "DISK_FAILED"]);
      expect(acknowledged).toBeGreaterThan(19);
      const dir = await resume(new NodeDisk(root));
      const last = dir.recovered.entries.at(-1)!.index;
      expect(last).toBeGreaterThanOrEqual(acknowledged as number);
      expect(last).toBeLessThanOrEqual((acknowledged as number) + 1);
      await run(dir, last + 1, last + 1);
      await dir.close();
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
});
