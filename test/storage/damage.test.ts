/**
 * One wrong byte, a file that is gone or cut short, anywhere in a real directory: a restart finds everything that was
 * acknowledged, or refuses by name, and refuses again the next time. Never a wrong answer (design section 5, B38, N14).
 */
import { link, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { prng, type RandomSource, randomInt } from "../../src/base/prng.ts";
import { NodeDisk } from "../../src/platform/node/disk.ts";
import { temporaryDirectory } from "../support/disks.ts";
import { testSeed } from "../support/seed.ts";
import { at, create, expectRecords, restart, resume, run } from "./member.ts";

const seed = testSeed();
/** Entries 1 to LAST were acknowledged. */
const LAST = 400;
const REFUSALS = ["WAL_CORRUPT", "STATE_CORRUPT"];

let root: string;
let image: string;
/** Relative paths of all files of the image, with their sizes. */
let files: { readonly path: string; readonly size: number }[];

async function listFiles(directory: string, below = ""): Promise<{ path: string; size: number }[]> {
  const found: { path: string; size: number }[] = [];
  for (const name of (await readdir(join(directory, below))).sort()) {
    const path = below === "" ? name : `${below}/${name}`;
    const stats = await stat(join(directory, path));
    if (stats.isDirectory()) found.push(...(await listFiles(directory, path)));
    else found.push({ path, size: stats.size });
  }
  return found;
}

/** Three lives: each opening turns LevelDB's log into a table. The last leaves a long log in both databases. */
async function build(directory: string): Promise<void> {
  const disk = new NodeDisk(directory);
  await create(disk);
  for (const [from, to, releaseTo] of [
    [1, 100, 40],
    [101, 175, 90],
    [176, LAST, 200],
  ] as const) {
    const dir = await resume(disk);
    for (let first = from; first <= to; first += 25) {
      const end = Math.min(first + 24, to);
      await run(dir, first, end);
      // Not after the last: a restart has something to replay.
      if (end < to) await dir.state.flush(at(end, 1));
      if (dir.state.appliedIndex >= releaseTo) dir.wal.release(at(releaseTo, 1));
    }
    await dir.close();
  }
}

/** `undefined` if everything is there, else the code of the refusal. */
async function outcome(directory: string): Promise<string | undefined> {
  try {
    const { last, records } = await restart(new NodeDisk(directory));
    expect(last).toBe(LAST);
    expectRecords(records, LAST);
    return undefined;
  } catch (error) {
    if (StoreError.is(error) && REFUSALS.includes(error.code)) return error.code;
    throw error;
  }
}

let copies = 0;

/** A copy of the image: by links, because LevelDB never writes into a file of an earlier life. `tail` is written in place. */
async function copyImage(): Promise<string> {
  const directory = join(root, `copy-${copies++}`);
  for (const name of new Set(files.map(({ path }) => dirname(path))))
    await mkdir(join(directory, name), { recursive: true });
  for (const { path } of files) await link(join(image, path), join(directory, path));
  await own(join(directory, "tail"));
  return directory;
}

/** Parts `file` from the image. */
async function own(file: string): Promise<void> {
  const bytes = await readFile(file);
  await rm(file);
  await writeFile(file, bytes);
}

/** The outcome after `damage` was done to a copy of the image; where it is a refusal, of the second start too. */
async function afterDamage(damage: (directory: string) => Promise<void>): Promise<string | undefined> {
  const directory = await copyImage();
  try {
    await damage(directory);
    const first = await outcome(directory);
    if (first !== undefined) expect(await outcome(directory), `refused with ${first}, then started`).toBeDefined();
    return first;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function flip(file: string, byte: number, bit: number): Promise<void> {
  await own(file);
  const bytes = await readFile(file);
  bytes[byte]! ^= 1 << bit;
  await writeFile(file, bytes);
}

function kindOf(path: string): string {
  if (path === "tail") return path;
  const [directory, name] = path.split("/") as [string, string];
  const kind = name.endsWith(".ldb") ? "table" : name.endsWith(".log") ? "log" : name.replace(/-\d+$/, "");
  return `${directory === "wal" ? "wal" : "state"} ${kind}`;
}

function filesOf(kind: string): readonly { readonly path: string; readonly size: number }[] {
  return files.filter(({ path, size }) => kindOf(path) === kind && size > 0);
}

beforeAll(async () => {
  root = await temporaryDirectory();
  image = join(root, "image");
  await mkdir(image);
  await build(image);
  files = await listFiles(image);
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Flips one bit at a time, spread over the files of a kind. How often each outcome was seen. */
async function flips(
  kind: string,
  count: number,
  place: (random: RandomSource, size: number) => number,
): Promise<Record<string, number>> {
  const random = prng(seed + count);
  const all = filesOf(kind);
  expect(all.length, kind).toBeGreaterThan(0);
  const cases = Array.from({ length: count }, (_, i) => {
    const { path, size } = all[i % all.length]!;
    return { path, size, byte: place(random, size), bit: randomInt(random, 0, 7) };
  });
  const seen: Record<string, number> = {};
  const next = cases.values();
  // Four at a time: most of a start is waiting for the disk.
  const worker = async (): Promise<void> => {
    for (const { path, size, byte, bit } of next) {
      const code = await afterDamage((directory) => flip(join(directory, path), byte, bit)).catch((error) => {
        throw new Error(`bit ${bit} of byte ${byte} of ${path} (${size} bytes), seed ${seed}`, { cause: error });
      });
      const what = code ?? "recovered";
      seen[what] = (seen[what] ?? 0) + 1;
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  return seen;
}

const anywhere = (random: RandomSource, size: number): number => randomInt(random, 0, size - 1);

describe(`a damaged directory (seed ${seed})`, () => {
  test("the image is worth damaging, and whole", async () => {
    const kinds = ["log", "table", "MANIFEST", "CURRENT", "LOG"].flatMap((kind) => [`wal ${kind}`, `state ${kind}`]);
    for (const kind of [...kinds, "tail"]) expect(filesOf(kind).length, kind).toBeGreaterThan(0);
    expect(filesOf("wal log")[0]!.size).toBeGreaterThan(64 << 10);
    expect(await afterDamage(async () => {})).toBeUndefined();
  });

  // 365 here and 150 below: the number of flips is part of the promise.
  test.each([
    ["wal table", 60, ["WAL_CORRUPT"]],
    ["wal MANIFEST", 30, ["WAL_CORRUPT"]],
    ["wal CURRENT", 16, ["WAL_CORRUPT"]],
    ["tail", 40, ["recovered"]],
    ["state log", 60, ["recovered", "STATE_CORRUPT"]],
    ["state table", 60, ["STATE_CORRUPT"]],
    ["state MANIFEST", 30, ["STATE_CORRUPT"]],
    ["state CURRENT", 16, ["STATE_CORRUPT"]],
    ["wal log", 45, ["WAL_CORRUPT"]],
    ["wal LOG", 4, ["recovered"]],
    ["state LOG", 4, ["recovered"]],
  ] as const)("%s: %i flips, and among the outcomes %j", async (kind, count, outcomes) => {
    const seen = await flips(kind, count, anywhere);
    for (const one of outcomes) expect(Object.keys(seen)).toContain(one);
  });

  test("150 flips in the last 64 KiB of the log: each is noticed", async () => {
    const seen = await flips("wal log", 150, (random, size) => size - 1 - randomInt(random, 0, (64 << 10) - 1));
    expect(seen).toEqual({ WAL_CORRUPT: 150 });
  });

  test.each<[string, (file: string, size: number) => Promise<void>]>([
    ["deleted", (file) => rm(file)],
    ["empty", (file) => own(file).then(() => truncate(file, 0))],
    ["cut in half", (file, size) => own(file).then(() => truncate(file, size >> 1))],
    ["one byte short", (file, size) => own(file).then(() => truncate(file, Math.max(0, size - 1)))],
  ])("each file %s", async (what, damage) => {
    const seen = new Set<string>();
    for (const { path, size } of files) {
      const code = await afterDamage((directory) => damage(join(directory, path), size)).catch((error) => {
        throw new Error(`${path} ${what}`, { cause: error });
      });
      seen.add(`${kindOf(path)}: ${code ?? "recovered"}`);
    }
    const always = ["wal log: WAL_CORRUPT", "wal MANIFEST: WAL_CORRUPT", "wal CURRENT: WAL_CORRUPT"];
    for (const one of [
      ...always,
      "wal table: WAL_CORRUPT",
      "state table: STATE_CORRUPT",
      "state CURRENT: STATE_CORRUPT",
    ]) {
      expect([...seen]).toContain(one);
    }
    for (const harmless of ["wal LOG", "wal LOCK", "state LOG", "state LOCK"])
      expect([...seen]).toContain(`${harmless}: recovered`);
  });

  test.each(["wal", "state-1", "tail"])("%s as a whole deleted", async (name) => {
    expect(await afterDamage((directory) => rm(join(directory, name), { recursive: true }))).toBe(
      name === "state-1" ? "STATE_CORRUPT" : "WAL_CORRUPT",
    );
  });

  test("all this was done to copies: the image is what it was", async () => {
    expect(await listFiles(image)).toEqual(files);
    expect(await outcome(image)).toBeUndefined();
  });
});
