/**
 * A restore that the power fails or that is killed between every two steps of the disk leaves an empty directory or a whole
 * member, and the same restore then succeeds.
 */
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { leaseId, term } from "../../src/base/ids.ts";
import { type Machine, MachineLoader } from "../../src/machine/machine.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { type KeepUnsynced, MemoryDisk } from "../../src/platform/memory-disk.ts";
import { restoreDataDir } from "../../src/server/restore.ts";
import { type DataDir, openDataDir, probeDataDir } from "../../src/storage/data-dir.ts";
import { FastClock } from "../support/clock.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";
import { hmac, snapshotFileOf } from "../support/snapshot.ts";
import { bytes, finishRead, type Member } from "../support/state.ts";
import { checksum } from "../support/storage.ts";

const seed = testSeed();

/** More than a batch, so that the copy has a middle. */
function fill(member: Member): void {
  for (let i = 0; i < 12; i++) member.ask({ kind: "put", key: bytes(`k${i % 10}`), value: bytes("v".repeat(100_000)) });
  member.apply({ kind: "leaseGrant", id: leaseId(77), ttl: 600 });
  member.apply({ kind: "leaseCheckpoint", term: term(1), checkpoints: [{ id: leaseId(77), remainingTtl: 5 }] });
  member.ask({ kind: "put", key: bytes("leased"), value: bytes("1"), lease: leaseId(77) });
  member.ask({ kind: "deleteRange", key: bytes("k3") });
  member.ask({ kind: "compact", revision: 7 });
}

const file = await snapshotFileOf(fill);
const source = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < file.length; at += 200_000) yield file.subarray(at, at + 200_000);
};

const restore = (disk: Disk) =>
  restoreDataDir({ disk, checksum, hmac, random: seededRandom(9) }, source, {
    name: "n1",
    bootstrap: {
      kind: "static",
      token: "new",
      members: [
        { name: "n1", peerUrl: "ws://127.0.0.1:1" },
        { name: "n2", peerUrl: "ws://127.0.0.1:2" },
      ],
    },
  });

/** Opens it as a member does, and says what is in it. */
async function survey(disk: Disk): Promise<{ records: Map<string, number>; machine: Machine; dir: DataDir }> {
  const dir = await openDataDir(disk, { checksum });
  const records = new Map<string, number>();
  const loader = new MachineLoader();
  await dir.state.scan((key, value) => {
    records.set(toHex(key), checksum(value));
    loader.record(key, value);
  });
  expect(await disk.list("")).toEqual(["state-1", "tail", "wal"]);
  const applied = { index: dir.state.appliedIndex, term: dir.state.appliedTerm };
  return { records, machine: loader.finish({ store: dir.state, applied }), dir };
}

async function recordsOf(disk: Disk): Promise<Map<string, number>> {
  const { records, dir } = await survey(disk);
  await dir.close();
  return records;
}

const newDisk = (at: number): MemoryDisk => new MemoryDisk({ clock: new FastClock(), random: seededRandom(at) });

const whole = await (async () => {
  const disk = newDisk(seed);
  await restore(disk);
  return survey(disk);
})();

test("a restored state: revisions moved on and compacted, leases whole again, members the new ones", () => {
  const { machine } = whole;
  expect(machine.revision).toBe(1_000_000_015);
  expect(machine.compactRevision).toBe(1_000_000_015);
  expect(machine.compactionPending).toBe(true);
  const { kvs, count } = finishRead(machine.startRange({ kind: "range", key: bytes("\0"), rangeEnd: bytes("\0") }));
  expect(count).toBe(10);
  expect(kvs.map(({ modRevision }) => modRevision).every((at) => at <= 15)).toBe(true);
  expect(machine.lessor.lookup(leaseId(77))).toMatchObject({ grantedTtl: 600, remainingTtl: 600 });
  expect(machine.lessor.keys(leaseId(77))).toEqual(["leased"]);
  expect(
    machine
      .members()
      .map(({ name }) => name)
      .sort(),
  ).toEqual(["n1", "n2"]);
});

const DEATHS: readonly { readonly name: string; readonly strike: (disk: MemoryDisk) => void }[] = [
  { name: "kill -9", strike: (disk) => disk.release() },
  ...(["none", "prefix", "holes"] as const satisfies readonly KeepUnsynced[]).map((keepUnsynced) => ({
    name: `power cut, of what is not synced: ${keepUnsynced}`,
    strike: (disk: MemoryDisk): void => disk.crash({ keepUnsynced }),
  })),
];

/** False if the restore ended before the step. */
function dies(disk: MemoryDisk, step: number, strike: (disk: MemoryDisk) => void): Promise<boolean> {
  let steps = 0;
  return new Promise((resolve, reject) => {
    let dead = false;
    disk.onStep = () => {
      if (dead || ++steps !== step) return;
      dead = true;
      disk.onStep = undefined;
      strike(disk);
      setImmediate(() => resolve(true));
    };
    restore(disk).then(
      () => {
        if (dead) return;
        disk.onStep = undefined;
        resolve(false);
      },
      (error) => {
        if (!dead) reject(error);
      },
    );
  });
}

describe(`a crash between every two steps of a restore (seed ${seed})`, () => {
  test.each(DEATHS)("$name", async ({ strike }) => {
    let step = 1;
    let empty = 0;
    let complete = 0;
    for (; step < 500; step++) {
      const disk = newDisk(seed + step);
      if (!(await dies(disk, step, strike))) break;
      if ((await probeDataDir(disk)) === "empty") {
        empty += 1;
        expect(await disk.list(""), `step ${step}`).toEqual([]);
        await restore(disk);
      } else {
        complete += 1;
      }
      expect(await recordsOf(disk), `step ${step}`).toEqual(whole.records);
    }
    expect(step).toBeGreaterThan(15);
    expect(step).toBeLessThan(500);
    expect(empty).toBeGreaterThan(10);
    expect(complete).toBeGreaterThan(0);
  });
});

test("a file that changes between the two readings leaves nothing", async () => {
  const other = await snapshotFileOf((member) => {
    member.ask({ kind: "put", key: bytes("a"), value: bytes("1") });
  });
  let readings = 0;
  const changing = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    readings += 1;
    yield readings === 1 ? file : other;
  };
  const disk = newDisk(seed);
  const restoring = restoreDataDir({ disk, checksum, hmac, random: seededRandom(9) }, changing, {
    name: "default",
    bootstrap: { kind: "alone" },
  });
  await expect(restoring).rejects.toMatchObject({ code: "SNAPSHOT_CORRUPT" });
  expect(await disk.list("")).toEqual([]);
});
