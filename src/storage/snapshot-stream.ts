/**
 * The receiving end of a snapshot: a new state database beside the live one, invisible under its name until it is whole
 * and durable (N13). It becomes the state only through a WAL record that names its generation.
 */
import { concatBytes, EMPTY, viewOf } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Database, DatabaseOp, Disk } from "../platform/disk.ts";
import type { EntryId } from "../raft/entry.ts";
import { badStream, decodeChunk, RECORD_HEAD_BYTES } from "./snapshot-format.ts";
import { decodeMeta, generationsInUse, META_KEY, StateBackend, type StateMeta, statePath } from "./state-backend.ts";
import { openRecord } from "./state-record.ts";
import { REVISION_SPACE, Tally } from "./tally.ts";

/** Written and synced at a time. Synced each, because LevelDB does not sync the log that it leaves at a rotation. */
const BATCH_BYTES = 1 << 20;
/** No key or value of ours comes near it. */
const PART_BYTES_MAX = 1 << 28;

export interface ReceiveOptions {
  readonly generation: number;
  /** The stream's: a chunk of another one is refused (N13). */
  readonly session: number;
  /** The entry that the sender says the state stands at (N1, B36). */
  readonly at: EntryId;
  readonly checksum: Checksum;
}

export class SnapshotReceiver {
  readonly #disk: Disk;
  readonly #generation: number;
  readonly #session: number;
  readonly #at: EntryId;
  readonly #checksum: Checksum;
  readonly #path: string;
  #database: Database | undefined;
  #parts: Uint8Array[] = [];
  #held = 0;
  /** Bytes that must be there before reading on makes sense. */
  #needed = RECORD_HEAD_BYTES;
  #offset = 0;
  #crc = 0;
  #ended = false;
  #ops: DatabaseOp[] = [];
  #opBytes = 0;
  #previousKey: Uint8Array = EMPTY;
  readonly #found = new Tally();
  #meta: { readonly stored: Uint8Array; readonly meta: StateMeta } | undefined;

  private constructor(disk: Disk, options: ReceiveOptions, path: string, database: Database) {
    this.#disk = disk;
    this.#generation = options.generation;
    this.#session = options.session;
    this.#at = options.at;
    this.#checksum = options.checksum;
    this.#path = path;
    this.#database = database;
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

  /** In order. Throws `INVALID_REQUEST` if the stream is not as it was sent; then `abort`. */
  async chunk(bytes: Uint8Array): Promise<void> {
    const chunk = decodeChunk(bytes, this.#checksum);
    if (chunk.session !== this.#session) throw badStream(`a chunk of session ${chunk.session} arrived in another`);
    if (this.#ended) throw badStream("a chunk follows the end");
    if (chunk.kind === "end") {
      if (chunk.length !== this.#offset) throw badStream(`it has ${this.#offset} bytes of ${chunk.length}`);
      if (chunk.crc !== this.#crc) throw badStream("the checksum of the whole does not match");
      if (this.#held > 0) throw badStream("it ends within a record");
      this.#ended = true;
      return;
    }
    if (chunk.offset !== this.#offset) throw badStream(`a chunk for ${chunk.offset} arrived at ${this.#offset}`);
    this.#offset += chunk.bytes.length;
    this.#crc = this.#checksum(chunk.bytes, this.#crc);
    // The frame belongs to the caller.
    this.#parts.push(chunk.bytes.slice());
    this.#held += chunk.bytes.length;
    if (this.#held >= this.#needed) this.#parse();
    if (this.#opBytes >= BATCH_BYTES) await this.#write();
  }

  /** The new state, verified whole and durable, not yet live. */
  async finish(): Promise<StateBackend> {
    if (!this.#ended) throw badStream("it has no end");
    if (this.#meta === undefined) throw badStream("it lacks the record of its place");
    const { index, term } = this.#meta.meta;
    if (index !== this.#at.index || term !== this.#at.term) {
      throw badStream(`it stands at entry ${index} of term ${term} instead of ${this.#at.index} of ${this.#at.term}`);
    }
    const difference = this.#meta.meta.tally.differs(this.#found);
    if (difference !== undefined) throw badStream(difference);
    // Last of all: a database without it is nothing.
    this.#ops.push({ kind: "put", key: META_KEY, value: this.#meta.stored });
    await this.#write();
    await this.#close();
    await this.#disk.rename(this.#path, statePath(this.#generation));
    return StateBackend.open({ disk: this.#disk, generation: this.#generation, checksum: this.#checksum });
  }

  /** Leaves nothing behind. Safe at any time but during another call. */
  async abort(): Promise<void> {
    await this.#close();
    await this.#disk.remove(this.#path);
  }

  async #close(): Promise<void> {
    const database = this.#database;
    this.#database = undefined;
    await database?.close();
  }

  async #write(): Promise<void> {
    if (this.#database === undefined) throw badStream("it was aborted");
    const ops = this.#ops;
    this.#ops = [];
    this.#opBytes = 0;
    if (ops.length > 0) await this.#database.batch(ops, { sync: true });
  }

  #parse(): void {
    const bytes = this.#parts.length === 1 ? this.#parts[0]! : concatBytes(this.#parts);
    const view = viewOf(bytes);
    let at = 0;
    this.#needed = RECORD_HEAD_BYTES;
    while (bytes.length - at >= RECORD_HEAD_BYTES) {
      const keyBytes = view.getUint32(at);
      const storedBytes = view.getUint32(at + 4);
      if (keyBytes === 0 || keyBytes > PART_BYTES_MAX || storedBytes > PART_BYTES_MAX) {
        throw badStream("a record has an impossible length");
      }
      const length = RECORD_HEAD_BYTES + keyBytes + storedBytes;
      if (bytes.length - at < length) {
        this.#needed = length;
        break;
      }
      const keyAt = at + RECORD_HEAD_BYTES;
      this.#record(bytes.slice(keyAt, keyAt + keyBytes), bytes.slice(keyAt + keyBytes, at + length));
      at += length;
    }
    this.#parts = at === bytes.length ? [] : [bytes.slice(at)];
    this.#held = bytes.length - at;
  }

  #record(key: Uint8Array, stored: Uint8Array): void {
    if (this.#meta !== undefined) throw badStream("a record follows the last");
    if (openRecord(key, stored, this.#checksum) === undefined) throw badStream("a record's checksum does not match");
    if (!above(key, this.#previousKey)) throw badStream("its records are not in order");
    this.#previousKey = key;
    if (key[0] === META_KEY[0]) {
      if (key.length !== META_KEY.length) throw badStream("it has a record that no version wrote");
      this.#meta = { stored, meta: this.#decodeMeta(stored) };
      return;
    }
    if (key[0] === REVISION_SPACE && key.length !== 13) throw badStream("a revision's key has another length");
    this.#found.add(key, stored);
    this.#ops.push({ kind: "put", key, value: stored });
    this.#opBytes += key.length + stored.length;
  }

  #decodeMeta(stored: Uint8Array): StateMeta {
    try {
      return decodeMeta(stored, this.#path, this.#checksum);
    } catch (error) {
      // Its checksum was right: the sender wrote it so, and nothing of this member's is damaged.
      if (StoreError.is(error, "STATE_CORRUPT")) throw badStream("the record of its place is malformed");
      throw error;
    }
  }
}

function above(key: Uint8Array, previous: Uint8Array): boolean {
  const shared = Math.min(key.length, previous.length);
  for (let i = 0; i < shared; i++) if (key[i] !== previous[i]) return key[i]! > previous[i]!;
  return key.length > previous.length;
}
