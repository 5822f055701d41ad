/**
 * The receiving end of a snapshot: a new state database beside the live one, invisible under its name until it is whole
 * and durable (N13). It becomes the state only through a WAL record that names its generation.
 */
import type { Checksum } from "../platform/checksum.ts";
import type { Database, DatabaseWriter, Disk } from "../platform/disk.ts";
import type { EntryId } from "../raft/entry.ts";
import { badStream } from "./snapshot-format.ts";
import { SnapshotReader } from "./snapshot-reader.ts";
import { generationsInUse, META_KEY, StateBackend, statePath } from "./state-backend.ts";

/** Written and synced at a time. Synced each, because LevelDB does not sync the log that it leaves at a rotation. */
const BATCH_BYTES = 1 << 20;

export interface ReceiveOptions {
  readonly generation: number;
  /** The stream's: a chunk of another one is refused (N13). */
  readonly session: number;
  /** The entry that the sender says the state stands at (N1, B36). */
  readonly at: EntryId;
  readonly checksum: Checksum;
  /** Shown each record as it arrives, as `StateBackend.scan` would show it. All of them count only once `finish` resolves. */
  readonly onRecord?: (key: Uint8Array, value: Uint8Array) => void;
}

export class SnapshotReceiver {
  readonly #disk: Disk;
  readonly #generation: number;
  readonly #at: EntryId;
  readonly #checksum: Checksum;
  readonly #path: string;
  readonly #reader: SnapshotReader;
  #database: Database | undefined;
  #writer: DatabaseWriter | undefined;
  #writerBytes = 0;
  /** Of all records. */
  #bytes = 0;
  /** The write under way: the next batch gathers meanwhile. */
  #writing: Promise<void> = Promise.resolve();

  private constructor(disk: Disk, options: ReceiveOptions, path: string, database: Database) {
    this.#disk = disk;
    this.#generation = options.generation;
    this.#at = options.at;
    this.#checksum = options.checksum;
    this.#path = path;
    this.#database = database;
    this.#reader = new SnapshotReader({
      session: options.session,
      path,
      checksum: options.checksum,
      onRecord: (key, stored, value) => {
        options.onRecord?.(key, value);
        this.#put(key, stored);
        this.#bytes += key.length + stored.length;
      },
    });
  }

  /**
   * Clears away what earlier attempts left and begins. The generation is the one asked for, or a higher one if that is
   * still open in this process: read it from the backend that `finish` returns.
   */
  static async begin(disk: Disk, options: ReceiveOptions): Promise<SnapshotReceiver> {
    const { generation } = options;
    const used = generationsInUse(disk);
    let chosen = generation;
    while (used.has(chosen)) chosen++;
    for (const name of await disk.list("")) {
      const match = /^state-(\d+)(\.part)?(\.new)?$/.exec(name);
      if (match === null) continue;
      const found = Number(match[1]);
      if (found >= generation && !used.has(found)) await disk.remove(name);
    }
    const path = `${statePath(chosen)}.part`;
    const database = await disk.openDatabase(path, { create: true });
    return new SnapshotReceiver(disk, { ...options, generation: chosen }, path, database);
  }

  /**
   * In order; the bytes must not change any more. Throws `INVALID_REQUEST` if the stream is not as it was sent, and what a
   * write before failed with; then `abort`.
   */
  async chunk(bytes: Uint8Array): Promise<void> {
    this.#reader.chunk(bytes);
    if (this.#writerBytes >= BATCH_BYTES) await this.#write();
  }

  /** The new state, not yet live: its stream verified whole, all of it durable. */
  async finish(): Promise<StateBackend> {
    const { stored, meta } = this.#reader.finish();
    const { index, term } = meta;
    if (index !== this.#at.index || term !== this.#at.term) {
      throw badStream(`it stands at entry ${index} of term ${term} instead of ${this.#at.index} of ${this.#at.term}`);
    }
    // Last of all: a database without it is nothing.
    this.#put(META_KEY, stored);
    await this.#write();
    await this.#writing;
    await this.#close();
    const path = statePath(this.#generation);
    await this.#disk.rename(this.#path, path);
    try {
      return await StateBackend.open({
        disk: this.#disk,
        generation: this.#generation,
        checksum: this.#checksum,
        recordBytes: this.#bytes,
      });
    } catch (error) {
      await this.#disk.remove(path);
      throw error;
    }
  }

  /** Leaves nothing behind. Safe at any time but during another call. */
  async abort(): Promise<void> {
    await this.#close();
    await this.#disk.remove(this.#path);
  }

  async #close(): Promise<void> {
    await this.#writing.catch(() => {});
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
  }

  #put(key: Uint8Array, stored: Uint8Array): void {
    if (this.#database === undefined) throw badStream("it was aborted");
    this.#writer ??= this.#database.writer();
    this.#writer.put(key, stored);
    this.#writerBytes += key.length + stored.length;
  }

  /** Begins to write what was gathered, once the write before it is durable. */
  async #write(): Promise<void> {
    await this.#writing;
    const writer = this.#writer;
    if (this.#database === undefined || writer === undefined) throw badStream("it was aborted");
    this.#writing = writer.write({ sync: true });
    // Whoever waits for it next is told.
    this.#writing.catch(() => {});
    this.#writer = undefined;
    this.#writerBytes = 0;
  }
}
