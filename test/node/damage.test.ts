/**
 * A whole member on a directory with one wrong byte, or one file gone or cut short: it answers with everything that was
 * acknowledged, or refuses to start by name, twice. (The storage layer alone, more densely: test/storage/damage.test.ts.)
 */
import { cp, mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { decodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import { Node } from "../../src/node/node.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const KEYS = 150;
const FLIPS_PER_FILE = 12;
const REFUSALS = ["WAL_CORRUPT", "STATE_CORRUPT", "MEMBER_DATA_LOST"];

let root = "";
let image = "";
let files: readonly { readonly path: string; readonly size: number }[] = [];
let revision = 0;
let copies = 0;

async function filesOf(directory: string): Promise<{ path: string; size: number }[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const found: { path: string; size: number }[] = [];
  for (const entry of entries) {
    if (!entry.isFile() || entry.name === "LOCK" || entry.name.startsWith("LOG")) continue;
    const path = join(entry.parentPath, entry.name);
    found.push({ path: path.slice(directory.length + 1), size: (await readFile(path)).length });
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "quorate-damage-"));
  image = join(root, "image");
  // Each life turns the logs of the one before into tables; the last one ends without a flush, as a killed process does.
  for (let life = 0; life < 3; life++) {
    const node = await Node.open({ dir: image, flushIntervalMs: 60_000 });
    const client = node.client();
    const puts = [];
    for (let i = life; i < KEYS; i += 3) puts.push(client.put(`key${i}`, `value ${i} of life ${life}`));
    await Promise.all(puts);
    revision = (await client.get("key0")).header.revision;
    if (life === 2) await cp(image, join(root, "killed"), { recursive: true });
    await node.close();
  }
  image = join(root, "killed");
  files = await filesOf(image);
});

afterAll(() => rm(root, { recursive: true, force: true }));

/** `undefined` if everything is there, else the code of the refusal. Anything else is a wrong answer and throws. */
async function start(dir: string): Promise<string | undefined> {
  let node: Node;
  try {
    node = await Node.open({ dir });
  } catch (error) {
    if (StoreError.is(error) && REFUSALS.includes(error.code)) return error.code;
    throw error;
  }
  try {
    const { kvs, header } = await node.client().get("key", { prefix: true });
    expect(header.revision).toBeGreaterThanOrEqual(revision);
    expect(kvs.length).toBe(KEYS);
    for (const kv of kvs) {
      const i = Number(decodeUtf8(kv.key).slice(3));
      expect(kv.text()).toBe(`value ${i} of life ${i % 3}`);
    }
    return undefined;
  } finally {
    await node.close();
  }
}

async function withDamage(damage: (dir: string) => Promise<void>): Promise<string | undefined> {
  copies += 1;
  const dir = join(root, `copy${copies}`);
  await cp(image, dir, { recursive: true });
  try {
    await damage(dir);
    const first = await start(dir);
    const second = await start(dir);
    if (first !== undefined) expect(second, `refused with ${first} at first`).toBeDefined();
    return first;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

test("the undamaged directory opens", async () => {
  expect(await withDamage(async () => {})).toBeUndefined();
  expect(files.map(({ path }) => path).filter((path) => path.startsWith("wal/")).length).toBeGreaterThan(2);
});

test(`a wrong byte in any file is recovered from or refused (seed ${seed})`, async () => {
  const random = prng(seed);
  const refused = new Set<string>();
  let flips = 0;
  for (const { path, size } of files) {
    for (let i = 0; i < Math.min(FLIPS_PER_FILE, size); i++) {
      const offset = randomInt(random, 0, size - 1);
      const bit = 1 << randomInt(random, 0, 7);
      flips += 1;
      const code = await withDamage(async (dir) => {
        const bytes = await readFile(join(dir, path));
        bytes[offset]! ^= bit;
        await writeFile(join(dir, path), bytes);
      }).catch((error: unknown) => {
        throw new Error(
          `byte ${offset} of ${path} xor ${bit}: ${error instanceof Error ? error.message : String(error)}`,
          { cause: error },
        );
      });
      if (code !== undefined) refused.add(code);
    }
  }
  expect(flips).toBeGreaterThan(60);
  expect([...refused].sort()).toEqual(["STATE_CORRUPT", "WAL_CORRUPT"]);
}, 240_000);

test("a file that is gone or cut short is recovered from or refused", async () => {
  for (const { path, size } of files) {
    const ways: readonly (readonly [string, (file: string) => Promise<void>])[] = [
      ["gone", (file) => rm(file)],
      ["empty", (file) => truncate(file, 0)],
      ["half", (file) => truncate(file, Math.floor(size / 2))],
      ["one byte short", (file) => truncate(file, size - 1)],
    ];
    for (const [what, how] of ways) {
      if (size === 0 && what !== "gone") continue;
      await withDamage((dir) => how(join(dir, path))).catch((error: unknown) => {
        throw new Error(`${path} ${what}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
      });
    }
  }
}, 240_000);
