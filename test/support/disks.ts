/** The disks that every suite runs on. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Disk } from "../../src/platform/disk.ts";
import { MemoryDisk } from "../../src/platform/memory-disk.ts";
import { NodeDisk } from "../../src/platform/node/disk.ts";
import { FastClock } from "./clock.ts";
import { seededRandom } from "./random.ts";

export interface TestDisk {
  readonly disk: Disk;
  remove(): Promise<void>;
}

export type DiskFactory = () => Promise<TestDisk>;

export async function temporaryDirectory(): Promise<string> {
  return mkdtemp(join(tmpdir(), "quorate-test-"));
}

export const DISKS: readonly (readonly [string, DiskFactory])[] = [
  [
    "NodeDisk",
    async () => {
      const root = await temporaryDirectory();
      return { disk: new NodeDisk(root), remove: () => rm(root, { recursive: true, force: true }) };
    },
  ],
  [
    "MemoryDisk",
    async () => ({
      disk: new MemoryDisk({
        clock: new FastClock(),
        random: seededRandom(1),
        readMs: [0, 1],
        writeMs: 1,
        syncMs: [1, 3],
      }),
      remove: async () => {},
    }),
  ],
];
