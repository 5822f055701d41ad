/**
 * Where the machine's records live between restarts. Declared here, implemented by `storage/state-backend.ts` (floor 2,
 * so the two meet only in the server): synchronous, written behind, flushed with the applied index in one batch.
 */
export interface StateStore {
  /** `undefined` if absent. Throws `STATE_CORRUPT` when the record's checksum fails. The bytes are the caller's. */
  read(key: Uint8Array): Uint8Array | undefined;
  /** Visible to `read` at once, durable with the next flush. The store keeps both arrays. */
  write(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  // Records of revisions, the most by far, have doors of their own. Their keys are `KEY_SPACE.revision`, main, sub.
  /** As `read`, with the `HEADROOM` bytes before it. Shared: nobody changes it. */
  readRevision(main: number, sub: number): Uint8Array | undefined;
  /**
   * Above every revision written before. Nothing is copied: the record begins with `HEADROOM` bytes that are the store's,
   * for its checksum, and nobody changes it any more.
   */
  writeRevision(main: number, sub: number, record: Uint8Array): void;
  /** One that was written and not dropped yet, nor read again; `bytes`: its length as written, `HEADROOM` included. */
  dropRevision(main: number, sub: number, bytes: number): void;
}

export const HEADROOM = 4;

/** First byte of each record's key (design section 5). Format: append only. */
export const KEY_SPACE = {
  /** 8-byte main, 4-byte sub, both big endian -> the key-value, or a tombstone. */
  revision: 0x01,
  lease: 0x02,
  member: 0x03,
  alarm: 0x04,
  ledger: 0x05,
  /** Written by the machine: compact revision, state hash, consistent with the applied index of the same flush. */
  machine: 0x06,
  /** Written by the server: the Raft configuration as of the applied index. */
  conf: 0x07,
  /** Written by the state backend alone: applied index and term, counts and sums. */
  meta: 0x7f,
} as const;
