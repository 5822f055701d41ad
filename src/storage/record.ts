/**
 * One WAL record: everything of one disk turn, as bytes. All numbers are big endian; docs/file-format.md draws it.
 *
 *     crc . version . flags . previous crc . member . cluster . incarnation . generation . released (index, term)
 *     . oldest batch still needed . term . vote . commit . cut . [install] . [noted members] . entries
 *
 * The checksum comes first in every version, so that damage is told apart from a record of a newer version. It starts
 * from the checksum of the record before and covers the record's key and the repeated checksum: a record cannot be
 * mistaken for another, nor stand behind one that it was not written behind.
 */
import { readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import { type ClusterId, clusterId, type LogIndex, logIndex, type MemberId, memberId, term } from "../base/ids.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Entry, EntryId, EntryKind } from "../raft/entry.ts";
import type { ConfState, SnapshotMeta } from "../raft/membership-types.ts";
import type { HardState } from "../raft/ready.ts";

export const RECORD_VERSION = 1;

/** Who wrote a directory. `incarnation` grows by one at each start. */
export interface Identity {
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  readonly incarnation: number;
}

export interface WalRecord {
  readonly identity: Identity;
  /** The live state is `state-<generation>`. */
  readonly generation: number;
  /** Entries up to here are no longer part of the log. */
  readonly released: EntryId;
  /** Number of the oldest record that recovery needs. */
  readonly oldest: number;
  readonly hardState: HardState;
  readonly cutFrom: LogIndex | undefined;
  readonly install: SnapshotMeta | undefined;
  /** Members that this one has seen with data (design section 6). */
  readonly noted: readonly MemberId[];
  readonly entries: readonly Entry[];
}

export type DecodedRecord =
  | { readonly kind: "record"; readonly record: WalRecord; readonly crc: number; readonly previousCrc: number }
  | { readonly kind: "newer"; readonly version: number }
  | { readonly kind: "damaged"; readonly why: string };

const FLAG = { vote: 1, cut: 2, install: 4, noted: 8 } as const;
const ALL_FLAGS = 15;
/** Wire numbers: append only. */
const ENTRY_KIND = { normal: 0, confChange: 1 } as const satisfies Record<EntryKind, number>;
const ENTRY_KINDS: readonly EntryKind[] = ["normal", "confChange"];

const HEAD_BYTES = 100;
const ENTRY_HEAD_BYTES = 13;

/** A record's key: batch numbers sort as bytes do. */
export function recordKey(number: number): Uint8Array {
  const key = new Uint8Array(8);
  writeCounter(viewOf(key), 0, number);
  return key;
}

export function readRecordKey(key: Uint8Array): number | undefined {
  if (key.length !== 8) return undefined;
  try {
    return readCounter(viewOf(key), 0);
  } catch {
    return undefined;
  }
}

/** The record's bytes and its checksum, which the next one repeats. */
export function encodeRecord(
  key: Uint8Array,
  record: WalRecord,
  previousCrc: number,
  checksum: Checksum,
): { readonly bytes: Uint8Array; readonly crc: number } {
  const { identity, hardState, cutFrom, install, noted, entries } = record;
  const conf = install === undefined ? undefined : encodeConf(install.conf);
  let length = HEAD_BYTES + 4;
  if (cutFrom !== undefined) length += 8;
  if (conf !== undefined) length += 20 + conf.length;
  if (noted.length > 0) length += 4 + 8 * noted.length;
  if (entries.length > 0) length += 8;
  for (let i = 0; i < entries.length; i++) length += ENTRY_HEAD_BYTES + entries[i]!.data.length;

  const bytes = new Uint8Array(length);
  const view = viewOf(bytes);
  bytes[4] = RECORD_VERSION;
  bytes[5] =
    (hardState.votedFor === undefined ? 0 : FLAG.vote) |
    (cutFrom === undefined ? 0 : FLAG.cut) |
    (conf === undefined ? 0 : FLAG.install) |
    (noted.length === 0 ? 0 : FLAG.noted);
  view.setUint32(8, previousCrc);
  view.setBigUint64(12, identity.memberId);
  view.setBigUint64(20, identity.clusterId);
  writeCounter(view, 28, identity.incarnation);
  writeCounter(view, 36, record.generation);
  writeCounter(view, 44, record.released.index);
  writeCounter(view, 52, record.released.term);
  writeCounter(view, 60, record.oldest);
  writeCounter(view, 68, hardState.term);
  view.setBigUint64(76, hardState.votedFor ?? 0n);
  writeCounter(view, 84, hardState.commit);
  // 92 to 99: reserved, zero.
  let at = HEAD_BYTES;
  if (cutFrom !== undefined) {
    writeCounter(view, at, cutFrom);
    at += 8;
  }
  if (install !== undefined && conf !== undefined) {
    writeCounter(view, at, install.index);
    writeCounter(view, at + 8, install.term);
    view.setUint32(at + 16, conf.length);
    bytes.set(conf, at + 20);
    at += 20 + conf.length;
  }
  if (noted.length > 0) {
    view.setUint32(at, noted.length);
    at += 4;
    for (const id of noted) {
      view.setBigUint64(at, id);
      at += 8;
    }
  }
  view.setUint32(at, entries.length);
  at += 4;
  if (entries.length > 0) {
    writeCounter(view, at, entries[0]!.index);
    at += 8;
  }
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i]!;
    writeCounter(view, at, entry.term);
    bytes[at + 8] = ENTRY_KIND[entry.kind];
    view.setUint32(at + 9, entry.data.length);
    bytes.set(entry.data, at + ENTRY_HEAD_BYTES);
    at += ENTRY_HEAD_BYTES + entry.data.length;
  }
  const crc = checksum(bytes.subarray(4), checksum(key, previousCrc));
  view.setUint32(0, crc);
  return { bytes, crc };
}

/** Takes nothing on trust: random bytes are "damaged". The entries' data are views of `bytes`. */
export function decodeRecord(key: Uint8Array, bytes: Uint8Array, checksum: Checksum): DecodedRecord {
  if (bytes.length < 12) return { kind: "damaged", why: "it is too short" };
  const view = viewOf(bytes);
  const previousCrc = view.getUint32(8);
  const crc = view.getUint32(0);
  if (checksum(bytes.subarray(4), checksum(key, previousCrc)) !== crc) {
    return { kind: "damaged", why: "its checksum does not match" };
  }
  const version = bytes[4]!;
  if (version > RECORD_VERSION) return { kind: "newer", version };
  try {
    return { kind: "record", record: decodeBody(bytes, view), crc, previousCrc };
  } catch (error) {
    return { kind: "damaged", why: error instanceof Error ? error.message : String(error) };
  }
}

function decodeBody(bytes: Uint8Array, view: DataView): WalRecord {
  const flags = bytes[5]!;
  if (bytes[4] !== RECORD_VERSION || (flags & ~ALL_FLAGS) !== 0 || bytes[6] !== 0 || bytes[7] !== 0) {
    throw new RangeError("its head is not one that any version wrote");
  }
  let at = HEAD_BYTES;
  const need = (count: number): void => {
    if (at + count > bytes.length) throw new RangeError("it ends too early");
  };
  need(4);
  const identity: Identity = {
    memberId: memberId(view.getBigUint64(12)),
    clusterId: clusterId(view.getBigUint64(20)),
    incarnation: readCounter(view, 28),
  };
  const vote = view.getBigUint64(76);
  const hardState: HardState = {
    term: term(readCounter(view, 68)),
    votedFor: (flags & FLAG.vote) === 0 ? undefined : memberId(vote),
    commit: logIndex(readCounter(view, 84)),
  };
  let cutFrom: LogIndex | undefined;
  if ((flags & FLAG.cut) !== 0) {
    need(8);
    cutFrom = logIndex(readCounter(view, at));
    at += 8;
  }
  let install: SnapshotMeta | undefined;
  if ((flags & FLAG.install) !== 0) {
    need(20);
    const confBytes = view.getUint32(at + 16);
    need(20 + confBytes);
    install = {
      index: logIndex(readCounter(view, at)),
      term: term(readCounter(view, at + 8)),
      conf: decodeConf(bytes.subarray(at + 20, at + 20 + confBytes)),
    };
    at += 20 + confBytes;
  }
  const noted: MemberId[] = [];
  if ((flags & FLAG.noted) !== 0) {
    need(4);
    const count = view.getUint32(at);
    at += 4;
    need(8 * count);
    for (let i = 0; i < count; i++, at += 8) noted.push(memberId(view.getBigUint64(at)));
  }
  need(4);
  const count = view.getUint32(at);
  at += 4;
  const entries: Entry[] = [];
  if (count > 0) {
    need(8 + count * ENTRY_HEAD_BYTES);
    const first = readCounter(view, at);
    at += 8;
    for (let i = 0; i < count; i++) {
      need(ENTRY_HEAD_BYTES);
      const kind = ENTRY_KINDS[bytes[at + 8]!];
      if (kind === undefined) throw new RangeError(`entry ${first + i} is of an unknown kind`);
      const length = view.getUint32(at + 9);
      need(ENTRY_HEAD_BYTES + length);
      entries.push({
        index: logIndex(first + i),
        term: term(readCounter(view, at)),
        kind,
        data: bytes.subarray(at + ENTRY_HEAD_BYTES, at + ENTRY_HEAD_BYTES + length),
      });
      at += ENTRY_HEAD_BYTES + length;
    }
  }
  if (at !== bytes.length) throw new RangeError("bytes follow its end");
  return {
    identity,
    generation: readCounter(view, 36),
    released: { index: logIndex(readCounter(view, 44)), term: term(readCounter(view, 52)) },
    oldest: readCounter(view, 60),
    hardState,
    cutFrom,
    install,
    noted,
    entries,
  };
}

/** Storage's own form of a configuration: four counted lists of ids behind one byte of flags. */
function encodeConf(conf: ConfState): Uint8Array {
  const lists = [conf.voters, conf.votersOutgoing, conf.learners, conf.learnersNext];
  const bytes = new Uint8Array(1 + lists.reduce((sum, list) => sum + 2 + 8 * list.length, 0));
  const view = viewOf(bytes);
  bytes[0] = conf.autoLeave ? 1 : 0;
  let at = 1;
  for (const list of lists) {
    view.setUint16(at, list.length);
    at += 2;
    for (const id of list) {
      view.setBigUint64(at, id);
      at += 8;
    }
  }
  return bytes;
}

function decodeConf(bytes: Uint8Array): ConfState {
  const view = viewOf(bytes);
  let at = 1;
  const list = (): MemberId[] => {
    const ids: MemberId[] = [];
    const count = view.getUint16(at);
    at += 2;
    for (let i = 0; i < count; i++, at += 8) ids.push(memberId(view.getBigUint64(at)));
    return ids;
  };
  const conf: ConfState = {
    voters: list(),
    votersOutgoing: list(),
    learners: list(),
    learnersNext: list(),
    autoLeave: bytes[0] === 1,
  };
  if (at !== bytes.length || bytes[0]! > 1) throw new RangeError("its configuration is malformed");
  return conf;
}
