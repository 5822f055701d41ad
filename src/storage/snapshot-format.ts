/**
 * A state as a stream of chunks of at most 64 KiB, each with its checksum, its session and its place (N13);
 * docs/file-format.md draws it.
 * Inside, one sequence of records as the state database stores them, ended by the backend's own; a record may span
 * chunks. The last chunk carries the length and the checksum of the whole.
 */
import { put32, readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { DatabaseSnapshot } from "../platform/disk.ts";
import { asDamage, stateCorrupt, tooNew } from "./damage.ts";
import { readAhead } from "./read-ahead.ts";
import { openRecord } from "./state-record.ts";

const CHUNK_VERSION = 1;
export const CHUNK_BYTES: number = 64 << 10;
const HEAD_BYTES = 24;
const KIND = { data: 0, end: 1 } as const;

export type Chunk =
  | { readonly kind: "data"; readonly session: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "end"; readonly session: number; readonly length: number; readonly crc: number };

function encodeChunk(
  kind: number,
  session: number,
  offset: number,
  payload: Uint8Array,
  checksum: Checksum,
): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES + payload.length);
  const view = viewOf(bytes);
  bytes[4] = CHUNK_VERSION;
  bytes[5] = kind;
  writeCounter(view, 8, session);
  writeCounter(view, 16, offset);
  bytes.set(payload, HEAD_BYTES);
  view.setUint32(0, checksum(bytes.subarray(4)));
  return bytes;
}

/** Throws `INVALID_REQUEST` on damage: nothing of ours is broken, the sender starts again. The bytes are a view. */
export function decodeChunk(bytes: Uint8Array, checksum: Checksum): Chunk {
  const view = viewOf(bytes);
  if (bytes.length < HEAD_BYTES || checksum(bytes.subarray(4)) !== view.getUint32(0)) {
    throw badStream("a chunk's checksum does not match");
  }
  if (bytes[4]! > CHUNK_VERSION) throw tooNew("the snapshot", bytes[4]!, CHUNK_VERSION);
  try {
    const session = readCounter(view, 8);
    const offset = readCounter(view, 16);
    if (bytes[5] === KIND.data) return { kind: "data", session, offset, bytes: bytes.subarray(HEAD_BYTES) };
    if (bytes[5] === KIND.end && bytes.length === HEAD_BYTES + 4) {
      return { kind: "end", session, length: offset, crc: view.getUint32(HEAD_BYTES) };
    }
  } catch {
    // Falls through: a counter that no version wrote.
  }
  throw badStream("a chunk is malformed");
}

export function badStream(what: string): StoreError {
  return new StoreError("INVALID_REQUEST", { message: `quorate: the snapshot cannot be used: ${what}` });
}

/** Records of the stream: two lengths, key, stored value. */
export const RECORD_HEAD_BYTES = 8;

export async function* streamOf(
  snapshot: DatabaseSnapshot,
  path: string,
  session: number,
  checksum: Checksum,
): AsyncGenerator<Uint8Array, void, undefined> {
  const most = CHUNK_BYTES - HEAD_BYTES;
  let chunk = new Uint8Array(most);
  let filled = 0;
  let offset = 0;
  let crc = 0;
  const head = new Uint8Array(RECORD_HEAD_BYTES);
  try {
    for await (const pairs of readAhead(snapshot.iterate({}), 256)) {
      for (const [key, stored] of pairs) {
        // Damage must not travel: what this member cannot vouch for, nobody gets.
        if (openRecord(key, stored, checksum) === undefined) {
          throw stateCorrupt(`${path}: the checksum of record ${[...key].join(".")} does not match`);
        }
        put32(head, 0, key.length);
        put32(head, 4, stored.length);
        for (const part of [head, key, stored]) {
          for (let at = 0; at < part.length; ) {
            const count = Math.min(part.length - at, most - filled);
            chunk.set(count === part.length ? part : part.subarray(at, at + count), filled);
            filled += count;
            at += count;
            if (filled < most) continue;
            crc = checksum(chunk, crc);
            yield encodeChunk(KIND.data, session, offset, chunk, checksum);
            offset += filled;
            filled = 0;
            chunk = new Uint8Array(most);
          }
        }
      }
    }
    if (filled > 0) {
      const rest = chunk.subarray(0, filled);
      crc = checksum(rest, crc);
      yield encodeChunk(KIND.data, session, offset, rest, checksum);
      offset += filled;
    }
    const whole = new Uint8Array(4);
    viewOf(whole).setUint32(0, crc);
    yield encodeChunk(KIND.end, session, offset, whole, checksum);
  } catch (error) {
    throw asDamage(error, stateCorrupt, path);
  }
}
