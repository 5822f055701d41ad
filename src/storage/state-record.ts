/** A record of the state: CRC-32 over key and payload, then the payload. LevelDB serves a flipped byte without a word. */
import { get32, put32 } from "../base/bytes.ts";
import type { Checksum } from "../platform/checksum.ts";

export const RECORD_CRC_BYTES = 4;

export function sealRecord(key: Uint8Array, payload: Uint8Array, checksum: Checksum): Uint8Array {
  const stored = roomyRecord(payload);
  sealInPlace(key, stored, checksum);
  return stored;
}

/** A copy of the payload behind room for its checksum. */
export function roomyRecord(payload: Uint8Array): Uint8Array {
  const record = new Uint8Array(RECORD_CRC_BYTES + payload.length);
  record.set(payload, RECORD_CRC_BYTES);
  return record;
}

export function sealInPlace(key: Uint8Array, record: Uint8Array, checksum: Checksum): void {
  put32(record, 0, checksum(record.subarray(RECORD_CRC_BYTES), checksum(key)));
}

/** The payload as a view of `stored`; `undefined` if the checksum does not match. */
export function openRecord(key: Uint8Array, stored: Uint8Array, checksum: Checksum): Uint8Array | undefined {
  if (stored.length < RECORD_CRC_BYTES) return undefined;
  const payload = stored.subarray(RECORD_CRC_BYTES);
  return checksum(payload, checksum(key)) === get32(stored, 0) ? payload : undefined;
}
