/**
 * Makes records of a snapshot's chunks again, and verifies all that can be: each chunk, the whole, each record, their
 * order, counts and sums. What arrives over a stream (snapshot-stream.ts) and what stands in a file (snapshot-file.ts)
 * go through here.
 */
import { concatBytes, EMPTY, viewOf } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Checksum } from "../platform/checksum.ts";
import { badStream, decodeChunk, RECORD_HEAD_BYTES } from "./snapshot-format.ts";
import { decodeMeta, META_KEY, type StateMeta } from "./state-backend.ts";
import { openRecord } from "./state-record.ts";
import { REVISION_SPACE, Tally } from "./tally.ts";

/** No key or value of ours comes near it. */
const PART_BYTES_MAX = 1 << 28;

export interface SnapshotReaderOptions {
  /** The stream's: a chunk of another one is refused (N13). */
  readonly session: number;
  /** For messages. */
  readonly path: string;
  readonly checksum: Checksum;
  /**
   * Each record but the backend's own, in the order of keys; `value` is what `stored` has behind its checksum. Views of the
   * chunks, which nobody changes.
   */
  readonly onRecord: (key: Uint8Array, stored: Uint8Array, value: Uint8Array) => void;
}

export class SnapshotReader {
  readonly #session: number;
  readonly #path: string;
  readonly #checksum: Checksum;
  readonly #onRecord: SnapshotReaderOptions["onRecord"];
  #parts: Uint8Array[] = [];
  #held = 0;
  /** Bytes that must be there before reading on makes sense. */
  #needed = RECORD_HEAD_BYTES;
  #offset = 0;
  #crc = 0;
  #ended = false;
  #previousKey: Uint8Array = EMPTY;
  readonly #found = new Tally();
  #meta: { readonly stored: Uint8Array; readonly meta: StateMeta } | undefined;

  constructor({ session, path, checksum, onRecord }: SnapshotReaderOptions) {
    this.#session = session;
    this.#path = path;
    this.#checksum = checksum;
    this.#onRecord = onRecord;
  }

  /** The end chunk was read. */
  get ended(): boolean {
    return this.#ended;
  }

  /** CRC-32 of all records read so far. */
  get crc(): number {
    return this.#crc;
  }

  /** In order; the bytes must not change any more. Throws `INVALID_REQUEST` if the stream is not as it was sent. */
  chunk(bytes: Uint8Array): void {
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
    this.#parts.push(chunk.bytes);
    this.#held += chunk.bytes.length;
    if (this.#held >= this.#needed) this.#parse();
  }

  /** The backend's own record, once everything has been read and fits together. Throws `INVALID_REQUEST`. */
  finish(): { readonly stored: Uint8Array; readonly meta: StateMeta } {
    if (!this.#ended) throw badStream("it has no end");
    if (this.#meta === undefined) throw badStream("it lacks the record of its place");
    const difference = this.#meta.meta.tally.differs(this.#found);
    if (difference !== undefined) throw badStream(difference);
    return this.#meta;
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
      this.#record(bytes.subarray(keyAt, keyAt + keyBytes), bytes.subarray(keyAt + keyBytes, at + length));
      at += length;
    }
    this.#parts = at === bytes.length ? [] : [bytes.slice(at)];
    this.#held = bytes.length - at;
  }

  #record(key: Uint8Array, stored: Uint8Array): void {
    if (this.#meta !== undefined) throw badStream("a record follows the last");
    const value = openRecord(key, stored, this.#checksum);
    if (value === undefined) throw badStream("a record's checksum does not match");
    if (!above(key, this.#previousKey)) throw badStream("its records are not in order");
    this.#previousKey = key;
    if (key[0] === META_KEY[0]) {
      if (key.length !== META_KEY.length) throw badStream("it has a record that no version wrote");
      this.#meta = { stored, meta: this.#decodeMeta(stored) };
      return;
    }
    if (key[0] === REVISION_SPACE && key.length !== 13) throw badStream("a revision's key has another length");
    this.#found.add(key, stored);
    this.#onRecord(key, stored, value);
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
