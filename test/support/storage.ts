/** Short forms for storage tests. */
import { crc32 } from "node:zlib";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { clusterId, logIndex, memberId, term } from "../../src/base/ids.ts";
import type { Checksum } from "../../src/platform/checksum.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { ConfState } from "../../src/raft/membership-types.ts";
import type { HardState } from "../../src/raft/ready.ts";
import type { Identity } from "../../src/storage/record.ts";
import type { StateBackend } from "../../src/storage/state-backend.ts";
import { roomyRecord } from "../../src/storage/state-record.ts";
import type { WalBatch } from "../../src/storage/wal.ts";

export const checksum: Checksum = (bytes, previous = 0) => crc32(bytes, previous);
export const identity: Identity = { memberId: memberId(0xa1n), clusterId: clusterId(0xc1n), incarnation: 0 };
export const conf: ConfState = {
  voters: [memberId(0xa1n), memberId(0xa2n)],
  votersOutgoing: [],
  learners: [memberId(0xa3n)],
  learnersNext: [],
  autoLeave: false,
};

export function entry(index: number, at: number, text = `entry ${index} of term ${at}`): Entry {
  return { index: logIndex(index), term: term(at), kind: "normal", data: encodeUtf8(text) };
}

export function entries(from: number, to: number, at: number, text?: string): Entry[] {
  return Array.from({ length: to - from + 1 }, (_, i) => entry(from + i, at, text));
}

export function hard(at: number, commit: number, vote?: bigint): HardState {
  return { term: term(at), commit: logIndex(commit), votedFor: vote === undefined ? undefined : memberId(vote) };
}

export function batch(hardState: HardState, more: Partial<WalBatch> = {}): WalBatch {
  return { hardState, cutFrom: undefined, entries: [], install: undefined, ...more };
}

/** A key of the space of revisions. */
export function revisionKey(main: number, sub = 0): Uint8Array {
  const key = new Uint8Array(13);
  const view = new DataView(key.buffer);
  key[0] = 1;
  view.setUint32(1, Math.floor(main / 2 ** 32));
  view.setUint32(5, main >>> 0);
  view.setUint32(9, sub);
  return key;
}

/** A record of a revision, with the room that the backend wants in front. */
export function writeRevision(state: Pick<StateBackend, "writeRevision">, main: number, payload: Uint8Array): void {
  state.writeRevision(main, 0, roomyRecord(payload));
}

export const at = (index: number, atTerm: number) => ({ index: logIndex(index), term: term(atTerm) });
