/**
 * The power fails, or the process is killed, between every two steps of the disk: while a member is born, appends,
 * flushes, releases, receives a snapshot and switches to it, starts again. Whatever was acknowledged is there at the next
 * start, which never refuses: nothing was damaged (B12, B15, B36, B37, design section 5).
 */
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import type { Disk } from "../../src/platform/disk.ts";
import { type KeepUnsynced, MemoryDisk } from "../../src/platform/memory-disk.ts";
import { probeDataDir } from "../../src/storage/data-dir.ts";
import { SnapshotReceiver } from "../../src/storage/snapshot-stream.ts";
import type { StateBackend } from "../../src/storage/state-backend.ts";
import { FastClock } from "../support/clock.ts";
import { seededRandom } from "../support/random.ts";
import { testSeed } from "../support/seed.ts";
import { batch, checksum, conf, entries, entry, hard } from "../support/storage.ts";
import {
  applyEntry,
  at,
  create,
  expectRecords,
  open,
  type Records,
  recordsAfter,
  restart,
  resume,
  run,
  survey,
  textOf,
} from "./member.ts";

const seed = testSeed();

interface Death {
  readonly name: string;
  readonly strike: (disk: MemoryDisk) => void;
}

const DEATHS: readonly Death[] = [
  { name: "kill -9", strike: (disk) => disk.release() },
  ...(["none", "prefix", "holes"] as const satisfies readonly KeepUnsynced[]).map((keepUnsynced) => ({
    name: `power cut, of what is not synced: ${keepUnsynced}`,
    strike: (disk: MemoryDisk): void => disk.crash({ keepUnsynced }),
  })),
];

/** What a life was told, in the order in which it was told. */
class Told {
  born = false;
  /** Entries 1 to `last` were acknowledged, `tried` is the highest that was begun. */
  last = 0;
  tried = 0;
  /** The lowest base that a restart may have: what was installed, once that was acknowledged. */
  installed = 0;
  incarnation = 0;
}

type Story = (disk: Disk, told: Told) => Promise<void>;

/** Records of a leader that is ahead: what a follower must hold after its snapshot. */
const SNAPSHOT_AT = 60;

/** A state as a leader streams it. Built once, on a disk of its own. */
let leaderChunks: Promise<Uint8Array[]> | undefined;
function snapshotChunks(): Promise<Uint8Array[]> {
  leaderChunks ??= (async () => {
    const disk = new MemoryDisk({ clock: new FastClock(), random: seededRandom(7) });
    await create(disk);
    const dir = await open(disk);
    for (let index = 1; index <= SNAPSHOT_AT; index++) applyEntry(dir.state, entry(index, 1, textOf(index)));
    await dir.state.flush(at(SNAPSHOT_AT, 1));
    const snapshot = dir.state.snapshot();
    const chunks: Uint8Array[] = [];
    for await (const chunk of snapshot.stream(3)) chunks.push(chunk);
    await dir.close();
    return chunks;
  })();
  return leaderChunks;
}

async function append(dir: Awaited<ReturnType<typeof open>>, told: Told, from: number, to: number): Promise<void> {
  for (let index = from; index <= to; index++) {
    told.tried = index;
    await run(dir, index, index);
    told.last = index;
  }
}

const STORIES: Readonly<Record<string, Story>> = {
  "birth and two starts": async (disk, told) => {
    await create(disk);
    told.born = true;
    for (let start = 1; start <= 2; start++) {
      const dir = await open(disk);
      told.incarnation = dir.identity.incarnation;
      await dir.close();
    }
  },
  "appends, flushes, releases": async (disk, told) => {
    await create(disk);
    told.born = true;
    const dir = await open(disk);
    for (let round = 0; round < 3; round++) {
      await append(dir, told, round * 8 + 1, round * 8 + 5);
      await dir.state.flush(at(told.last, 1));
      await dir.wal.syncTail();
      dir.wal.release(at(told.last - 2, 1));
      await append(dir, told, told.last + 1, told.last + 3);
    }
    await dir.close();
    const again = await resume(disk);
    await append(again, told, told.last + 1, told.last + 2);
    await again.state.flush(at(told.last, 1));
    again.wal.release(at(told.last, 1));
    // While the records of the past are deleted, the log goes on.
    await append(again, told, told.last + 1, told.last + 3);
    await again.close();
  },
  "a flush under way, appends beside it": async (disk, told) => {
    await create(disk);
    told.born = true;
    const dir = await open(disk);
    await append(dir, told, 1, 6);
    const flushed = dir.state.flush(at(6, 1));
    const tail = dir.wal.syncTail();
    await append(dir, told, 7, 10);
    await flushed;
    await tail;
    dir.wal.release(at(5, 1));
    await append(dir, told, 11, 12);
    const second = dir.state.flush(at(12, 1));
    await append(dir, told, 13, 14);
    await second;
    await dir.close();
  },
  "a snapshot and the switch to it": async (disk, told) => {
    await create(disk);
    told.born = true;
    const dir = await open(disk);
    await append(dir, told, 1, 4);
    await dir.state.flush(at(3, 1));
    const receiver = await SnapshotReceiver.begin(disk, {
      generation: 2,
      session: 3,
      at: at(SNAPSHOT_AT, 1),
      checksum,
    });
    for (const chunk of await snapshotChunks()) await receiver.chunk(chunk);
    const state: StateBackend = await receiver.finish();
    told.tried = SNAPSHOT_AT;
    await dir.wal.append(batch(hard(1, SNAPSHOT_AT), { install: { ...at(SNAPSHOT_AT, 1), conf }, entries: [] }), {
      generation: state.generation,
    });
    told.installed = SNAPSHOT_AT;
    told.last = SNAPSHOT_AT;
    await dir.state.close();
    await disk.remove("state-1");
    for (let index = SNAPSHOT_AT + 1; index <= SNAPSHOT_AT + 3; index++) {
      told.tried = index;
      const one = entry(index, 1, textOf(index));
      await dir.wal.append(batch(hard(1, index - 1), { entries: [one] }));
      told.last = index;
      applyEntry(state, one);
    }
    await state.flush(at(told.last, 1));
    dir.wal.release(at(told.last - 1, 1));
    await append({ ...dir, state }, told, told.last + 1, told.last + 2);
    await state.close();
    await dir.close();
  },
};

/** Runs `story` until the `step`-th step of the disk, where `death` strikes. False if it ended before. */
async function live(disk: MemoryDisk, story: Story, told: Told, step: number, death: Death): Promise<boolean> {
  let steps = 0;
  return await new Promise<boolean>((resolve, reject) => {
    let dead = false;
    disk.onStep = () => {
      if (dead || ++steps !== step) return;
      dead = true;
      disk.onStep = undefined;
      // Before the call goes on, and before any of its callers hear of it.
      death.strike(disk);
      // What those who wait for this life would still do must not reach the next.
      setImmediate(() => resolve(true));
    };
    story(disk, told).then(
      () => {
        if (dead) return;
        disk.onStep = undefined;
        resolve(false);
      },
      (error) => {
        // A dead process's calls never settle, but one that reads at once fails.
        if (!dead) reject(error);
      },
    );
  });
}

async function check(disk: MemoryDisk, told: Told): Promise<void> {
  const found = await probeDataDir(disk);
  if (found === "empty") {
    expect(told.born, "the member was born, and is gone").toBe(false);
    expect(await disk.list("")).toEqual([]);
    // Nothing stands in the way of another birth.
    await create(disk);
  }
  const dir = await open(disk);
  const { last, records } = await survey(dir);
  expect(last).toBeGreaterThanOrEqual(told.last);
  expect(last).toBeLessThanOrEqual(told.tried);
  expect(dir.recovered.base.index).toBeGreaterThanOrEqual(told.installed);
  expect(dir.identity.incarnation).toBeGreaterThan(told.incarnation);
  expect(dir.recovered.hardState.commit).toBeLessThanOrEqual(last);
  expectRecords(records, last);
  expect(await disk.list("")).toEqual([`state-${dir.state.generation}`, "tail", "wal"]);
  await dir.close();
}

describe(`a crash between every two steps (seed ${seed})`, () => {
  for (const [name, story] of Object.entries(STORIES)) {
    for (const death of DEATHS) {
      test(`${name}: ${death.name}`, async () => {
        let step = 1;
        for (; step < 2_000; step++) {
          const disk = new MemoryDisk({ clock: new FastClock(), random: seededRandom(seed + step) });
          const told = new Told();
          try {
            if (!(await live(disk, story, told, step, death))) break;
            await check(disk, told);
            // And it lives on: what it did not lose, it does not lose at the next cut either.
            const again = await resume(disk);
            const before = again.recovered.entries.at(-1)?.index ?? again.recovered.base.index;
            told.last = before;
            told.born = true;
            await append(again, told, before + 1, before + 2);
            disk.crash({ keepUnsynced: "none" });
            await check(disk, told);
          } catch (error) {
            throw new Error(`step ${step}, seed ${seed}`, { cause: error });
          }
        }
        expect(step).toBeGreaterThan(15);
        expect(step).toBeLessThan(2_000);
      });
    }
  }

  test("lives of chance: many crashes, one disk", async () => {
    for (let round = 0; round < 12; round++) {
      const random = prng(seed + 1000 + round);
      const disk = new MemoryDisk({
        clock: new FastClock(),
        random: seededRandom(seed + round),
        writeMs: [0, 3],
        syncMs: [0, 5],
        readMs: [0, 1],
      });
      await create(disk);
      const told = new Told();
      told.born = true;
      for (let life = 0; life < 12; life++) {
        const story: Story = async (_disk, so) => {
          const dir = await resume(disk);
          so.incarnation = dir.identity.incarnation;
          let last: number = dir.recovered.entries.at(-1)?.index ?? dir.recovered.base.index;
          for (let turn = 0; turn < 4; turn++) {
            await append(dir, so, last + 1, last + 3);
            last += 3;
            if (random() < 0.5) await dir.state.flush(at(last, 1));
            if (random() < 0.5) await dir.wal.syncTail();
            if (random() < 0.5 && dir.state.appliedIndex > 0) {
              const to = Math.max(dir.recovered.base.index, dir.state.appliedIndex - randomInt(random, 0, 4));
              dir.wal.release(at(to, to === 0 ? 0 : 1));
            }
          }
          await dir.close();
        };
        const death = DEATHS[randomInt(random, 0, DEATHS.length - 1)]!;
        const ended = !(await live(disk, story, told, randomInt(random, 1, 90), death));
        if (ended) death.strike(disk);
        try {
          await check(disk, told);
        } catch (error) {
          throw new Error(`round ${round}, life ${life}, ${death.name}, seed ${seed}`, { cause: error });
        }
        const { last } = await restart(disk);
        told.last = last;
        told.tried = last;
      }
    }
  });
});

test("the member of these tests can be told apart from another", () => {
  const one: Records = new Map(recordsAfter(9));
  one.delete(toHex(Uint8Array.of(7)));
  expect(() => expectRecords(one, 9)).toThrow();
  expect(() => expectRecords(recordsAfter(9), 9)).not.toThrow();
  expect(entries(1, 2, 1).length).toBe(2);
});
