/**
 * The file `tail`: number and checksum of the newest WAL record. LevelDB drops a damaged end of its log without a word;
 * this file is what notices. Two slots in pages of their own: the one last synced is never overwritten, every write
 * goes to the other, and a sync makes them change places.
 */
import { readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Disk, DiskFile } from "../platform/disk.ts";
import { asDamage, tooNew, walCorrupt } from "./damage.ts";

const PAGE_BYTES = 4096;
const SLOT_BYTES = 20;
const SLOT_VERSION = 1;

/** The newest record that was acknowledged, as far as the file knows. */
export interface TailMark {
  readonly number: number;
  readonly crc: number;
}

export class Tail {
  readonly #file: DiskFile;
  readonly #checksum: Checksum;
  /** Where the next write goes: never the slot last synced. */
  #open: 0 | 1;
  #dirty = false;
  #last: Promise<void> = Promise.resolve();

  private constructor(file: DiskFile, checksum: Checksum, open: 0 | 1) {
    this.#file = file;
    this.#checksum = checksum;
    this.#open = open;
  }

  /** A new file whose mark is durable. */
  static async create(disk: Disk, path: string, mark: TailMark, checksum: Checksum): Promise<void> {
    const file = await disk.openFile(path, { create: true, sizeBytes: 2 * PAGE_BYTES });
    const tail = new Tail(file, checksum, 0);
    await tail.write(mark);
    await tail.close();
  }

  static async open(
    disk: Disk,
    path: string,
    checksum: Checksum,
  ): Promise<{ readonly tail: Tail; readonly mark: TailMark }> {
    let file: DiskFile;
    try {
      file = await disk.openFile(path, { create: false });
    } catch (error) {
      throw asDamage(error, walCorrupt, "the file that names its newest record");
    }
    try {
      const bytes = await file.read();
      const first = decodeSlot(bytes, 0, checksum);
      const second = decodeSlot(bytes, 1, checksum);
      if (first === undefined && second === undefined) throw walCorrupt(`${path} names no record`);
      const newest: 0 | 1 = first !== undefined && first.number >= (second?.number ?? -1) ? 0 : 1;
      // It may have been written and not synced. From here on it is the one that stays.
      await file.sync();
      return { tail: new Tail(file, checksum, newest === 0 ? 1 : 0), mark: (newest === 0 ? first : second)! };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** In the order of the calls. Survives the process once resolved, a power cut only after `sync`. */
  write(mark: TailMark): Promise<void> {
    return this.#queue(async () => {
      await this.#file.write(this.#open * PAGE_BYTES, encodeSlot(mark, this.#checksum));
      this.#dirty = true;
    });
  }

  sync(): Promise<void> {
    return this.#queue(async () => {
      if (!this.#dirty) return;
      await this.#file.sync();
      this.#dirty = false;
      this.#open = this.#open === 0 ? 1 : 0;
    });
  }

  async close(): Promise<void> {
    try {
      await this.sync();
    } finally {
      await this.#file.close();
    }
  }

  /** A write during a sync could land in the slot that is about to be relied upon. */
  #queue(run: () => Promise<void>): Promise<void> {
    const result = this.#last.then(run);
    this.#last = result.catch(() => {});
    return result;
  }
}

function encodeSlot({ number, crc }: TailMark, checksum: Checksum): Uint8Array {
  const bytes = new Uint8Array(SLOT_BYTES);
  const view = viewOf(bytes);
  bytes[4] = SLOT_VERSION;
  writeCounter(view, 8, number);
  view.setUint32(16, crc);
  view.setUint32(0, checksum(bytes.subarray(4)));
  return bytes;
}

function decodeSlot(file: Uint8Array, slot: 0 | 1, checksum: Checksum): TailMark | undefined {
  const bytes = file.subarray(slot * PAGE_BYTES, slot * PAGE_BYTES + SLOT_BYTES);
  if (bytes.length < SLOT_BYTES) return undefined;
  const view = viewOf(bytes);
  if (checksum(bytes.subarray(4)) !== view.getUint32(0)) return undefined;
  const version = bytes[4]!;
  if (version > SLOT_VERSION) throw tooNew("tail", version, SLOT_VERSION);
  // A page of zeros has no valid checksum, so what is left was written by us.
  return version === SLOT_VERSION ? { number: readCounter(view, 8), crc: view.getUint32(16) } : undefined;
}
