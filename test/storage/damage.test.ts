/**
 * One wrong byte, a file that is gone or cut short, anywhere in a real directory: a restart finds everything that was
 * acknowledged, or refuses by name, and refuses again the next time. Never a wrong answer (design section 5, B38, N14).
 */
import { cp, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import { NodeDisk } from "../../src/platform/node/disk.ts";
import { temporaryDirectory } from "../support/disks.ts";
import { testSeed } from "../support/seed.ts";
import { at, create, expectRecords, restart, resume, run } from "./member.ts";

const seed = testSeed();
/** Entries 1 to LAST were acknowledged. */
const LAST = 600;
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
    [1, 150, 60],
    [151, 250, 120],
    [251, LAST, 200],
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
/** The outcome of two starts after `damage` was done to a copy of the image. */
async function after(damage: (directory: string) => Promise<void>): Promise<string | undefined> {
  const directory = join(root, `copy-${copies++}`);
  await cp(image, directory, { recursive: true });
  try {
    await damage(directory);
    const first = await outcome(directory);
    const second = await outcome(directory);
    if (first !== undefined) expect(second, `refused with ${first}, then started`).toBeDefined();
    else expect(second, "started, then refused").toBeUndefined();
    return first;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function flip(directory: string, path: string, byte: number, bit: number): Promise<void> {
  const bytes = await readFile(join(directory, path));
  bytes[byte]! ^= 1 << bit;
  await writeFile(join(directory, path), bytes);
}

const kindOf = (path: string): string =>
  path === "tail"
    ? "tail"
    : `${path.startsWith("wal/") ? "wal" : "state"} ${/\.ldb$/.test(path) ? "table" : /\.log$/.test(path) ? "log" : path.replace(/^.*\/|-\d+$/g, "")}`;

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

async function flips(kind: string, count: number, place: (size: number) => number): Promise<Map<string, number>> {
  const random = prng(seed);
  const all = filesOf(kind);
  expect(all.length, kind).toBeGreaterThan(0);
  const seen = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    const { path, size } = all[i % all.length]!;
    const byte = Math.min(size - 1, Math.max(0, place(size) + randomInt(random, 0, 0)));
    const bit = randomInt(random, 0, 7);
    try {
      const code = (await after((directory) => flip(directory, path, byte, bit))) ?? "recovered";
      seen.set(code, (seen.get(code) ?? 0) + 1);
    } catch (error) {
      throw new Error(`bit ${bit} of byte ${byte} of ${path} (${size} bytes), seed ${seed}`, { cause: error });
    }
  }
  return seen;
}

describe(`a damaged directory (seed ${seed})`, () => {
  test("the image is worth damaging, and whole", async () => {
    for (const kind of ["wal log", "wal table", "wal MANIFEST", "wal CURRENT", "tail"]) {
      expect(filesOf(kind).length, kind).toBeGreaterThan(0);
    }
    for (const kind of ["state log", "state table", "state MANIFEST", "state CURRENT"]) {
      expect(filesOf(kind).length, kind).toBeGreaterThan(0);
    }
    expect(filesOf("wal log")[0]!.size).toBeGreaterThan(64 << 10);
    console.log(files.map(({ path, size }) => `${path} ${size}`).join("\n"));
    expect(await after(async () => {})).toBeUndefined();
  });

  test.each([
    ["wal log", 40],
    ["wal table", 60],
    ["wal MANIFEST", 30],
    ["wal CURRENT", 16],
    ["tail", 40],
    ["state log", 60],
    ["state table", 60],
    ["state MANIFEST", 30],
    ["state CURRENT", 16],
  ] as const)("%s: %i flips", async (kind, count) => {
    const random = prng(seed + count);
    console.log(kind, await flips(kind, count, (size) => randomInt(random, 0, size - 1)));
  });

  test("the last 64 KiB of the log: 150 flips, each refused", async () => {
    const random = prng(seed + 1);
    const place = (size: number): number => size - 1 - randomInt(random, 0, (64 << 10) - 1);
    console.log("last 64 KiB", await flips("wal log", 150, place));
  });

  test("each file deleted or truncated", async () => {
    for (const { path, size } of files) {
      for (const [what, damage] of [
        ["deleted", (file: string) => rm(file)],
        ["empty", (file: string) => truncate(file, 0)],
        ["half", (file: string) => truncate(file, size >> 1)],
        ["one byte short", (file: string) => truncate(file, Math.max(0, size - 1))],
      ] as const) {
        try {
          console.log(path, what, await after((directory) => damage(join(directory, path))));
        } catch (error) {
          throw new Error(`${path} ${what}`, { cause: error });
        }
      }
    }
  });
});
