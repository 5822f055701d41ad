/** What only the real disk has: LevelDB's files, the file system, other processes. */
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rm, stat, statfs, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { isTrustedFileSystem, NodeDisk } from "../../src/platform/node/disk.ts";
import { temporaryDirectory } from "../support/disks.ts";

let root: string;
let disk: NodeDisk;
beforeEach(async () => {
  root = await temporaryDirectory();
  disk = new NodeDisk(root);
});
afterEach(() => rm(root, { recursive: true, force: true }));

const key = (n: number): Uint8Array => encodeUtf8(`key ${String(n).padStart(6, "0")}`);
const KEYS = 400;

/** Each opening turns the log of the last life into a table. */
async function build(tables: number): Promise<void> {
  await (await disk.openDatabase("d", { create: true })).close();
  for (let n = 0; n <= tables; n++) {
    const database = await disk.openDatabase("d", { create: false });
    const ops = Array.from({ length: KEYS }, (_, i) => ({
      kind: "put" as const,
      key: key(n * KEYS + i),
      value: encodeUtf8(`value ${i} `.repeat(8)),
    }));
    if (n < tables) await database.batch(ops, { sync: true });
    await database.close();
  }
}

const tablesIn = async (): Promise<string[]> =>
  (await readdir(join(root, "d"))).filter((name) => name.endsWith(".ldb")).sort();

async function flip(file: string, byte: number): Promise<void> {
  const bytes = await readFile(file);
  bytes[byte]! ^= 0x10;
  await writeFile(file, bytes);
}

const opening = async (): Promise<void> => {
  const database = await disk.openDatabase("d", { create: false });
  await database.close();
};

describe("a table", () => {
  test("with a wrong byte anywhere is damage at every opening: data, filter, index, footer", async () => {
    await build(2);
    const [name] = await tablesIn();
    const file = join(root, "d", name!);
    const { size } = await stat(file);
    const whole = await readFile(file);
    // The footer pads the places of its two indexes with zeros that nobody reads.
    const places = [
      ...Array.from({ length: 60 }, (_, i) => Math.floor((i * (size - 48)) / 60)),
      size - 1,
      size - 8,
      size - 48,
    ];
    for (const byte of places) {
      await flip(file, byte);
      for (let start = 0; start < 2; start++) {
        await expect(opening(), `byte ${byte} of ${size}`).rejects.toMatchObject({
          code: "DISK_FAILED",
          details: { reason: "damaged" },
        });
      }
      await writeFile(file, whole);
    }
    await opening();
  });

  test("that would end the process in LevelDB's compaction is refused before LevelDB sees it", async () => {
    // Four tables of one level start a compaction as soon as the database opens; keys out of order fail an assertion there.
    await build(4);
    const names = await tablesIn();
    const file = join(root, "d", names.at(-1)!);
    const bytes = await readFile(file);
    await flip(file, bytes.indexOf("key 0012") + 2);
    await expect(opening()).rejects.toMatchObject({ details: { reason: "damaged" } });
  });

  test("that is gone, empty or cut short is damage", async () => {
    await build(2);
    const file = join(root, "d", (await tablesIn())[0]!);
    const whole = await readFile(file);
    for (const length of [whole.length - 1, whole.length >> 1, 20, 0]) {
      await truncate(file, length);
      await expect(opening()).rejects.toMatchObject({ code: "DISK_FAILED", details: { reason: "damaged" } });
      await writeFile(file, whole);
    }
    await rm(file);
    await expect(opening()).rejects.toMatchObject({ code: "DISK_FAILED", details: { reason: "damaged" } });
  });

  test("that was never finished does not belong to the database", async () => {
    await build(1);
    await writeFile(join(root, "d", "000999.ldb"), "half a table");
    await opening();
    expect(await tablesIn()).not.toContain("000999.ldb");
  });
});

describe("a database", () => {
  test.each([
    ["gone", "missing", (file: string) => rm(file)],
    ["empty", "damaged", (file: string) => truncate(file, 0)],
    ["another's", "damaged", (file: string) => writeFile(file, "MANIFEST-999999\n")],
  ])("whose CURRENT is %s is %s, not empty", async (_what, reason, change) => {
    await build(1);
    await change(join(root, "d", "CURRENT"));
    for (let start = 0; start < 2; start++) {
      await expect(opening()).rejects.toMatchObject({ code: "DISK_FAILED", details: { reason } });
    }
  });

  test("that may not be looked at is a failure, not damage", async () => {
    await mkdir(join(root, "d"));
    await symlink("CURRENT", join(root, "d", "CURRENT"));
    await expect(opening()).rejects.toMatchObject({ code: "DISK_FAILED", details: { reason: "failed" } });
    await expect(disk.exists("d/CURRENT")).rejects.toMatchObject({
      code: "DISK_FAILED",
      details: { reason: "failed" },
    });
  });

  test("that another process has open is in use, whatever that process does to its tables", async () => {
    await build(3);
    const script = fileURLToPath(new URL("./hold-database.ts", import.meta.url));
    const held = execFile(process.execPath, ["--import", "tsx", script, root, "d"]);
    try {
      await new Promise<void>((resolve, reject) => {
        held.stdout!.once("data", () => resolve());
        held.once("exit", () => reject(new Error("the other process ended")));
      });
      for (let attempt = 0; attempt < 20; attempt++) {
        await expect(opening()).rejects.toMatchObject({ code: "DATA_DIR_IN_USE" });
      }
    } finally {
      held.kill("SIGKILL");
      await new Promise((resolve) => held.once("close", resolve));
    }
    await opening();
  });

  test("is built under another name: what a crash left of an attempt is no database", async () => {
    await mkdir(join(root, "d.new"), { recursive: true });
    await writeFile(join(root, "d.new", "CURRENT"), "MANIFEST-000001\n");
    expect(await disk.exists("d")).toBe(false);
    await (await disk.openDatabase("d", { create: true })).close();
    expect(await disk.list("")).toEqual(["d"]);
  });
});

describe("files and the file system", () => {
  test("a write without room is DISK_FULL", async () => {
    // The device that is always full.
    await symlink(join("/", "dev", "full"), join(root, "f"));
    const file = await disk.openFile("f", { create: false });
    await expect(file.write(0, Uint8Array.of(1))).rejects.toMatchObject({ code: "DISK_FULL", outcome: "unknown" });
    await file.close();
  });

  test("a file system whose names are not durable with a file's fsync is named in one warning", async () => {
    expect([0xef53, 0x58465342, 0x9123683e].map(isTrustedFileSystem)).toEqual([true, true, true]);
    expect([0x01021994, 0x794c7630, 0x6969, 0].map(isTrustedFileSystem)).toEqual([false, false, false, false]);
    const warnings: object[] = [];
    const log = { debug() {}, info() {}, error() {}, warn: (fields: object) => void warnings.push(fields) };
    const watched = new NodeDisk(root, log);
    await (await watched.openDatabase("a", { create: true })).close();
    await (await watched.openDatabase("a", { create: false })).close();
    expect(warnings.length).toBe(isTrustedFileSystem((await statfs(root)).type) ? 0 : 1);
  });

  test("nothing is touched before the first call, and directories are made when something is put into them", async () => {
    const deep = new NodeDisk(join(root, "x", "y"));
    expect(await deep.list("")).toEqual([]);
    expect(await deep.exists("z")).toBe(false);
    await deep.remove("z");
    expect(await readdir(root)).toEqual([]);
    await (await deep.openFile("z/f", { create: true, sizeBytes: 3 })).close();
    expect((await stat(join(root, "x", "y", "z", "f"))).size).toBe(3);
  });
});
