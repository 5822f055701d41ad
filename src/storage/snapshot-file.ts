/**
 * A snapshot as a file that people keep (docs/file-format.md):
 *
 *    "QSNAP\r\n\x1a" | frames: length 4, bytes | SHA-256 of everything before it
 *
 * The first frame tells what this is a snapshot of, the others are the chunks of a snapshot stream (snapshot-format.ts), the
 * last of them its end chunk. Whoever receives the file appends the digest: the member does not spend its time on it.
 */
import {
  concatBytes,
  decodeUtf8,
  EMPTY,
  encodeUtf8,
  equalBytes,
  readCounter,
  viewOf,
  writeCounter,
} from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import {
  type ClusterId,
  clusterId,
  type LogIndex,
  logIndex,
  type MemberId,
  memberId,
  type Term,
  term,
} from "../base/ids.ts";
import { Sha256 } from "../base/sha256.ts";
import type { Checksum } from "../platform/checksum.ts";
import { tooNew } from "./damage.ts";
import { CHUNK_BYTES } from "./snapshot-format.ts";
import { SnapshotReader } from "./snapshot-reader.ts";

/** As PNG's: a transfer that treats the file as text, or cuts off its eighth bit, spoils it visibly. */
const MAGIC: Uint8Array = Uint8Array.of(0x51, 0x53, 0x4e, 0x41, 0x50, 0x0d, 0x0a, 0x1a);
const VERSION = 1;
const HEAD_BYTES = 49;
const DIGEST_BYTES = 32;
/** The session that chunks in a file carry. */
const SESSION = 0;
/** Handed on at a time, at about the least. */
const PIECE_BYTES = 256 << 10;

export interface SnapshotHead {
  readonly clusterId: ClusterId;
  /** Whose state it is. */
  readonly memberId: MemberId;
  /** The last entry in it. */
  readonly index: LogIndex;
  readonly term: Term;
  readonly revision: number;
  /** -1 if it was never compacted. */
  readonly compactRevision: number;
  /** The member's release. */
  readonly serverVersion: string;
}

export interface SnapshotSummary extends SnapshotHead {
  /** CRC-32 of the state. */
  readonly hash: number;
  /** Records in it, revisions above all. */
  readonly records: number;
  /** Of the whole file. */
  readonly bytes: number;
}

/** What a member's state is streamed from: `StateBackend.snapshot()`. */
export interface SnapshotSource {
  stream(session: number): AsyncIterable<Uint8Array>;
}

/** The file's bytes but for the digest, in pieces of about 256 KiB. */
export async function* snapshotPieces(
  head: SnapshotHead,
  source: SnapshotSource,
): AsyncGenerator<Uint8Array, void, undefined> {
  let parts: Uint8Array[] = [MAGIC, ...framed(encodeHead(head))];
  let bytes = 0;
  for await (const chunk of source.stream(SESSION)) {
    parts.push(...framed(chunk));
    bytes += chunk.length;
    if (bytes < PIECE_BYTES) continue;
    yield concatBytes(parts);
    parts = [];
    bytes = 0;
  }
  if (parts.length > 0) yield concatBytes(parts);
}

function framed(bytes: Uint8Array): Uint8Array[] {
  const length = new Uint8Array(4);
  viewOf(length).setUint32(0, bytes.length);
  return [length, bytes];
}

function encodeHead(head: SnapshotHead): Uint8Array {
  const version = encodeUtf8(head.serverVersion);
  const bytes = new Uint8Array(HEAD_BYTES + version.length);
  const view = viewOf(bytes);
  bytes[0] = VERSION;
  view.setBigUint64(1, head.clusterId);
  view.setBigUint64(9, head.memberId);
  writeCounter(view, 17, head.index);
  writeCounter(view, 25, head.term);
  writeCounter(view, 33, head.revision);
  writeCounter(view, 41, head.compactRevision + 1);
  bytes.set(version, HEAD_BYTES);
  return bytes;
}

function decodeHead(bytes: Uint8Array): SnapshotHead {
  if (bytes.length < 1) throw corrupt("its head is malformed");
  if (bytes[0]! > VERSION) throw tooNew("the snapshot", bytes[0]!, VERSION);
  if (bytes.length < HEAD_BYTES) throw corrupt("its head is malformed");
  const view = viewOf(bytes);
  try {
    return {
      clusterId: clusterId(view.getBigUint64(1)),
      memberId: memberId(view.getBigUint64(9)),
      index: logIndex(readCounter(view, 17)),
      term: term(readCounter(view, 25)),
      revision: readCounter(view, 33),
      compactRevision: readCounter(view, 41) - 1,
      serverVersion: decodeUtf8(bytes.subarray(HEAD_BYTES)),
    };
  } catch (cause) {
    throw corrupt("its head is malformed", cause);
  }
}

function corrupt(what: string, cause?: unknown): StoreError {
  return new StoreError("SNAPSHOT_CORRUPT", { message: `quorate: the snapshot cannot be used: ${what}`, cause });
}

/** A record as the state database stores it. */
export type StoredRecord = readonly [key: Uint8Array, stored: Uint8Array];

/**
 * The records of a file, in the order of keys, and at the end what it is. Everything is verified, the digest at the very
 * end: nothing of it counts before that. Throws `SNAPSHOT_CORRUPT`, `FORMAT_TOO_NEW`, and what the source throws.
 */
export async function* readSnapshotFile(
  source: AsyncIterable<Uint8Array>,
  checksum: Checksum,
): AsyncGenerator<readonly StoredRecord[], SnapshotSummary, undefined> {
  const digest = new Sha256();
  let records: StoredRecord[] = [];
  let count = 0;
  const reader = new SnapshotReader({
    session: SESSION,
    path: "the snapshot",
    checksum,
    onRecord: (key, stored) => {
      records.push([key, stored]);
      count += 1;
    },
  });
  let buffered: Uint8Array = EMPTY;
  let bytes = 0;
  let begun = false;
  let head: SnapshotHead | undefined;
  let found: Uint8Array | undefined;
  /** Takes the next bytes off the buffer, if so many are there. */
  const take = (length: number): Uint8Array | undefined => {
    if (buffered.length < length) return undefined;
    const taken = buffered.subarray(0, length);
    buffered = buffered.subarray(length);
    return taken;
  };
  /** A frame, if it is there whole. */
  const frame = (): Uint8Array | undefined => {
    if (buffered.length < 4) return undefined;
    const length = viewOf(buffered).getUint32(0);
    if (length > CHUNK_BYTES) throw corrupt("a frame has an impossible length");
    const taken = take(4 + length);
    if (taken === undefined) return undefined;
    digest.update(taken);
    return taken.subarray(4);
  };
  for await (const piece of source) {
    bytes += piece.length;
    // A copy: the source may use its memory again.
    buffered = concatBytes([buffered, piece]);
    if (!begun) {
      const known = Math.min(buffered.length, MAGIC.length);
      if (!equalBytes(buffered.subarray(0, known), MAGIC.subarray(0, known))) {
        throw corrupt("it is no snapshot of quorate");
      }
      const magic = take(MAGIC.length);
      if (magic === undefined) continue;
      digest.update(magic);
      begun = true;
    }
    while (!reader.ended) {
      const next = frame();
      if (next === undefined) break;
      if (head === undefined) head = decodeHead(next);
      else asCorrupt(() => reader.chunk(next));
    }
    if (reader.ended && found === undefined) found = take(DIGEST_BYTES)?.slice();
    if (found !== undefined && buffered.length > 0) throw corrupt("something follows its end");
    if (records.length > 0) {
      yield records;
      records = [];
    }
  }
  if (found === undefined || head === undefined) throw corrupt(`it ends early, after ${bytes} bytes`);
  if (!equalBytes(found, digest.digest())) throw corrupt("its digest does not match");
  const { meta } = asCorrupt(() => reader.finish());
  if (meta.index !== head.index || meta.term !== head.term) throw corrupt("its head is not its state's");
  return { ...head, hash: reader.crc, records: count, bytes };
}

/** Reads all of a file for what it is. Errors as of `readSnapshotFile`. */
export async function inspectSnapshot(source: AsyncIterable<Uint8Array>, checksum: Checksum): Promise<SnapshotSummary> {
  const reading = readSnapshotFile(source, checksum);
  for (;;) {
    const next = await reading.next();
    if (next.done === true) return next.value;
  }
}

/** What is wrong with a stream is said as a malformed request; of a file it is damage. */
function asCorrupt<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!StoreError.is(error, "INVALID_REQUEST")) throw error;
    throw new StoreError("SNAPSHOT_CORRUPT", { message: error.message, cause: error });
  }
}
