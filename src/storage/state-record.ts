/** A record of the state: CRC-32 over key and payload, then the payload. LevelDB serves a flipped byte without a word. */
import { viewOf } from "../base/bytes.ts";
import type { Checksum } from "../platform/checksum.ts";

export const RECORD_CRC_BYTES = 4;

export function sealRecord(key: Uint8Array, payload: Uint8Array, checksum: Checksum): Uint8Array {
  const stored = new Uint8Array(RECORD_CRC_BYTES + payload.length);
  viewOf(stored).setUint32(0, checksum(payload, checksum(key)));
  stored.set(payload, RECORD_CRC_BYTES);
  return stored;
}

/** The payload as a view of `stored`; `undefined` if the checksum does not match. */
export function openRecord(key: Uint8Array, stored: Uint8Array, checksum: Checksum): Uint8Array | undefined {
  if (stored.length < RECORD_CRC_BYTES) return undefined;
  const payload = stored.subarray(RECORD_CRC_BYTES);
  return checksum(payload, checksum(key)) === viewOf(stored).getUint32(0) ? payload : undefined;
}
