/**
 * What the state backend stores of the machine, and its bytes (docs/file-format.md). Every value begins with a version;
 * integers are big endian. The backend adds a checksum of its own, so what is malformed here was written malformed.
 */
import {
  copyBytes,
  decodeUtf8,
  encodeUtf8,
  get32,
  put32,
  readCounter,
  toByteString,
  viewOf,
  writeCounter,
} from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, type MemberId, memberId, NO_LEASE, revision } from "../base/ids.ts";
import { Slab } from "../base/slab.ts";
import type { Change } from "../kv/history.ts";
import { type RecordStore, tombstoneOf } from "../kv/store.ts";
import type { LeaseRecord, LeaseRecords, Lessor } from "../lease/lessor.ts";
import type { KeyValue, Member } from "../protocol/key-value.ts";
import type { AlarmType } from "../protocol/requests.ts";
import type { Alarm } from "../protocol/responses.ts";
import type { StateHash } from "./state-hash.ts";
import { HEADROOM, KEY_SPACE, type StateStore } from "./state-store.ts";

/** High half of a revision record's first byte: the format. Low half: the flags below. */
const REVISION_FORMAT = 0x10;
const TOMBSTONE = 0x01;
const HAS_LEASE = 0x02;
/** Of a tombstone only: the key's lease had expired. */
const EXPIRED = 0x04;

const MEMBER_FORMAT = 1;
const LEASE_FORMAT = 1;
const ALARM_FORMAT = 1;
/** Numbers on disk, from 1: append only. */
const ALARM_TYPES: readonly AlarmType[] = ["nospace", "corrupt"];
const META_FORMAT = 1;
const CLIENT_FORMAT = 1;

/** Replicated facts, written with each applied entry. */
export const META_KEY: Uint8Array = Uint8Array.of(KEY_SPACE.machine, 0);
/** Up to where this member has dropped records. Its own affair, so in a record of its own. */
export const COMPACTED_KEY: Uint8Array = Uint8Array.of(KEY_SPACE.machine, 1);

export interface MachineMeta {
  /** So that it never goes back, though compaction may drop the record that carried it (B52). */
  readonly revision: number;
  readonly compactRevision: number;
  readonly hashA: number;
  readonly hashB: number;
}

/** What the key index holds of a record. */
export interface RecordHead {
  readonly key: string;
  readonly main: number;
  readonly sub: number;
  /** Both 0 for a tombstone. */
  readonly create: number;
  readonly version: number;
  readonly lease: LeaseId;
}

// --- revisions ---

/**
 *    key    space 1 | main 8 | sub 4
 *    value  format and flags 1 | key length 4 | key | [create 8 | version 8 | [lease 8] | value]
 */
export function revisionKey(main: number, sub: number): Uint8Array {
  const key = new Uint8Array(13);
  key[0] = KEY_SPACE.revision;
  put32(key, 1, Math.floor(main / 0x1_0000_0000));
  put32(key, 5, main);
  put32(key, 9, sub);
  return key;
}

/** The record begins at `at`. */
export function encodePut(kv: KeyValue, at: number = 0, slab?: Slab): Uint8Array {
  const hasLease = kv.lease !== NO_LEASE;
  const keyLength = kv.key.length;
  const size = at + 21 + keyLength + (hasLease ? 8 : 0) + kv.value.length;
  const bytes = slab === undefined ? new Uint8Array(size) : slab.cut(size);
  bytes[at] = REVISION_FORMAT | (hasLease ? HAS_LEASE : 0);
  put32(bytes, at + 1, keyLength);
  bytes.set(kv.key, at + 5);
  at += 5 + keyLength;
  put32(bytes, at, Math.floor(kv.createRevision / 0x1_0000_0000));
  put32(bytes, at + 4, kv.createRevision);
  put32(bytes, at + 8, Math.floor(kv.version / 0x1_0000_0000));
  put32(bytes, at + 12, kv.version);
  at += 16;
  if (hasLease) {
    viewOf(bytes).setBigInt64(at, kv.lease);
    at += 8;
  }
  bytes.set(kv.value, at);
  return bytes;
}

/** The record begins at `at`. */
export function encodeTombstone(key: Uint8Array, expired: boolean = false, at: number = 0): Uint8Array {
  const bytes = new Uint8Array(at + 5 + key.length);
  bytes[at] = REVISION_FORMAT | TOMBSTONE | (expired ? EXPIRED : 0);
  put32(bytes, at + 1, key.length);
  bytes.set(key, at + 5);
  return bytes;
}

/** The record begins at `at`. Key and value are views of `bytes`; or, with the record's key given, the value is a copy. */
export function decodeRevision(main: number, bytes: Uint8Array, at: number = 0, known?: Uint8Array): Change {
  const end = endOfKey(bytes, at);
  const key = known ?? bytes.subarray(at + 5, end);
  const head = bytes[at]!;
  if (head & TOMBSTONE) {
    if (bytes.length !== end) throw malformed("a tombstone with a value");
    return tombstoneOf(key, revision(main), (head & EXPIRED) !== 0);
  }
  const hasLease = (head & HAS_LEASE) !== 0;
  const valueAt = end + (hasLease ? 24 : 16);
  if (valueAt > bytes.length) throw malformed("a record that ends early");
  return {
    key,
    createRevision: revision(counterAt(bytes, end)),
    modRevision: revision(main),
    version: counterAt(bytes, end + 8),
    value: known === undefined ? bytes.subarray(valueAt) : copyBytes(bytes, valueAt),
    lease: hasLease ? (viewOf(bytes).getBigInt64(end + 16) as LeaseId) : NO_LEASE,
  };
}

/** Without touching the value: what opening a state needs of each record. */
export function decodeHead(recordKey: Uint8Array, bytes: Uint8Array): RecordHead {
  if (recordKey.length !== 13) throw malformed("a revision of the wrong length");
  const place = viewOf(recordKey);
  const main = counter(place, 1);
  const sub = place.getUint32(9);
  const end = endOfKey(bytes, 0);
  const key = toByteString(bytes.subarray(5, end));
  if (bytes[0]! & TOMBSTONE) {
    if (bytes.length !== end) throw malformed("a tombstone with a value");
    return { key, main, sub, create: 0, version: 0, lease: NO_LEASE };
  }
  const hasLease = (bytes[0]! & HAS_LEASE) !== 0;
  if (end + (hasLease ? 24 : 16) > bytes.length) throw malformed("a record that ends early");
  const version = counterAt(bytes, end + 8);
  if (version === 0) throw malformed("a version of 0");
  const lease = hasLease ? (viewOf(bytes).getBigInt64(end + 16) as LeaseId) : NO_LEASE;
  return { key, main, sub, create: counterAt(bytes, end), version, lease };
}

function endOfKey(bytes: Uint8Array, at: number): number {
  if (bytes.length < at + 5) throw malformed("a record that ends early");
  const head = bytes[at]!;
  // A flag that is not known changes what follows, as another format would.
  const known = head & TOMBSTONE ? TOMBSTONE | EXPIRED : HAS_LEASE;
  if ((head & 0xf0) !== REVISION_FORMAT || (head & 0x0f & ~known) !== 0) throw tooNew("revision", head >> 4);
  const end = at + 5 + get32(bytes, at + 1);
  if (end > bytes.length) throw malformed("a record that ends early");
  return end;
}

/**
 * The store's records in the state backend; each one written goes into the state hash. Every change of a key passes here,
 * so here is where its lease takes hold of it or lets go.
 */
export class StateRecords implements RecordStore {
  readonly #store: StateStore;
  readonly #hash: StateHash;
  readonly #lessor: Lessor;
  /** History, the store's buffer and its cache forget records in the order in which they were written. */
  readonly #slab = new Slab();

  constructor(store: StateStore, hash: StateHash, lessor: Lessor) {
    this.#store = store;
    this.#hash = hash;
    this.#lessor = lessor;
  }

  read(main: number, sub: number): Change {
    const record = this.#store.readRevision(main, sub);
    if (record === undefined) throw malformed(`revision ${main}.${sub} is missing`);
    return decodeRevision(main, record, HEADROOM);
  }

  readOwn(main: number, sub: number, key: Uint8Array): Change {
    const record = this.#store.readRevision(main, sub);
    if (record === undefined) throw malformed(`revision ${main}.${sub} is missing`);
    return decodeRevision(main, record, HEADROOM, key);
  }

  /** A record that may not be there. */
  find(main: number, sub: number): Change | undefined {
    const record = this.#store.readRevision(main, sub);
    return record === undefined ? undefined : decodeRevision(main, record, HEADROOM);
  }

  put(kv: KeyValue, sub: number): Uint8Array {
    const record = encodePut(kv, HEADROOM, this.#slab);
    this.#write(kv.modRevision, sub, record);
    if (kv.lease !== NO_LEASE) this.#lessor.attach(toByteString(kv.key), kv.lease);
    else this.#detach(kv.key);
    return record;
  }

  tombstone(key: Uint8Array, main: number, sub: number, expired: boolean): Uint8Array {
    const record = encodeTombstone(key, expired, HEADROOM);
    this.#write(main, sub, record);
    this.#detach(key);
    return record;
  }

  /** A copy: the record is the store's, and what is told of it may end in the hands of an embedding program. */
  told(main: number, record: Uint8Array): Change {
    return decodeRevision(main, record.slice(HEADROOM));
  }

  drop(main: number, sub: number, bytes: number): void {
    this.#store.dropRevision(main, sub, bytes);
  }

  #detach(key: Uint8Array): void {
    // Where no key has a lease, which is common, the name need not be made.
    if (this.#lessor.attached > 0) this.#lessor.detach(toByteString(key));
  }

  #write(main: number, sub: number, record: Uint8Array): void {
    this.#hash.number(main);
    this.#hash.word(sub);
    this.#hash.bytes(record, HEADROOM);
    this.#store.writeRevision(main, sub, record);
  }
}

// --- leases ---

export function leaseKey(id: LeaseId): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = KEY_SPACE.lease;
  viewOf(key).setBigInt64(1, id);
  return key;
}

/** version 1 | granted TTL 8 | remaining TTL 8, in seconds */
export function encodeLease({ grantedTtl, remainingTtl }: Omit<LeaseRecord, "id">): Uint8Array {
  const bytes = new Uint8Array(17);
  bytes[0] = LEASE_FORMAT;
  writeCounter(viewOf(bytes), 1, grantedTtl);
  writeCounter(viewOf(bytes), 9, remainingTtl);
  return bytes;
}

export function decodeLease(key: Uint8Array, bytes: Uint8Array): LeaseRecord {
  if (key.length !== 9 || bytes.length < 1) throw malformed("a lease record that ends early");
  if (bytes[0] !== LEASE_FORMAT) throw tooNew("lease", bytes[0]!);
  if (bytes.length !== 17) throw malformed("a lease record of the wrong length");
  const view = viewOf(bytes);
  return { id: viewOf(key).getBigInt64(1) as LeaseId, grantedTtl: counter(view, 1), remainingTtl: counter(view, 9) };
}

/** The lessor's records in the state backend; what is written and what is deleted goes into the state hash. */
export class StateLeases implements LeaseRecords {
  readonly #store: StateStore;
  readonly #hash: StateHash;

  constructor(store: StateStore, hash: StateHash) {
    this.#store = store;
    this.#hash = hash;
  }

  write(record: LeaseRecord): void {
    const key = leaseKey(record.id);
    const bytes = encodeLease(record);
    this.#hash.bytes(key);
    this.#hash.bytes(bytes);
    this.#store.write(key, bytes);
  }

  delete(id: LeaseId): void {
    const key = leaseKey(id);
    this.#hash.bytes(key);
    this.#hash.word(0);
    this.#store.delete(key);
  }
}

// --- alarms ---

/** space 4 | member 8 | alarm 1 */
export function alarmKey({ member, alarm }: Alarm): Uint8Array {
  const key = new Uint8Array(10);
  key[0] = KEY_SPACE.alarm;
  viewOf(key).setBigUint64(1, member);
  key[9] = ALARM_TYPES.indexOf(alarm) + 1;
  return key;
}

/** The key says it all. */
export function encodeAlarm(): Uint8Array {
  return Uint8Array.of(ALARM_FORMAT);
}

export function decodeAlarm(key: Uint8Array, bytes: Uint8Array): Alarm {
  if (key.length !== 10 || bytes.length < 1) throw malformed("an alarm record that ends early");
  if (bytes[0] !== ALARM_FORMAT) throw tooNew("alarm", bytes[0]!);
  const id = viewOf(key).getBigUint64(1);
  if (bytes.length !== 1 || id === 0n) throw malformed("an alarm record");
  const alarm = ALARM_TYPES[key[9]! - 1];
  if (alarm === undefined) throw tooNew("alarm", key[9]!);
  return { member: memberId(id), alarm };
}

// --- the request ledger ---

/** How an operation ended. Numbers on disk: append only. */
export const FORM = {
  /** A put that returned nothing but its revision. */
  put: 1,
  result: 2,
  /** A refusal is an answer too: the repetition must not fare better. */
  refused: 3,
  /** Applied; the result was too long, or is dropped. */
  dropped: 4,
} as const;
export type Form = (typeof FORM)[keyof typeof FORM];
const FORMS: readonly (Form | undefined)[] = [undefined, FORM.put, FORM.result, FORM.refused, FORM.dropped];

/** What is remembered of one operation, as the state stores it. */
export interface OperationRecord {
  readonly sequence: number;
  /** Of the entry that was applied. */
  readonly index: number;
  readonly form: Form;
  /** 0 for a refusal. */
  readonly revision: number;
  /** Of a result or a refusal. */
  readonly bytes: Uint8Array | undefined;
}

export interface ClientRecord {
  readonly id: number;
  /** The last entry that came from it. */
  readonly lastIndex: number;
  /** The highest sequence seen; 0 before the first. */
  readonly lastSequence: number;
  readonly lowest: number;
  /** In the order in which they were applied. */
  readonly operations: readonly OperationRecord[];
}

export function clientKey(id: number): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = KEY_SPACE.ledger;
  writeCounter(viewOf(key), 1, id);
  return key;
}

const CLIENT_HEAD_BYTES = 29;
const OPERATION_BYTES = 29;

/**
 *    version 1 | last index 8 | last sequence 8 | lowest 8 | operations 4
 *    each: sequence 8 | index 8 | form 1 | revision 8 | length 4 | bytes
 */
export function encodeClient({ lastIndex, lastSequence, lowest, operations }: ClientRecord): Uint8Array {
  let size = CLIENT_HEAD_BYTES;
  for (const { bytes } of operations) size += OPERATION_BYTES + (bytes?.length ?? 0);
  const record = new Uint8Array(size);
  const view = viewOf(record);
  record[0] = CLIENT_FORMAT;
  writeCounter(view, 1, lastIndex);
  writeCounter(view, 9, lastSequence);
  writeCounter(view, 17, lowest);
  view.setUint32(25, operations.length);
  let at = CLIENT_HEAD_BYTES;
  for (const { sequence, index, form, revision, bytes } of operations) {
    writeCounter(view, at, sequence);
    writeCounter(view, at + 8, index);
    record[at + 16] = form;
    writeCounter(view, at + 17, revision);
    view.setUint32(at + 25, bytes?.length ?? 0);
    at += OPERATION_BYTES;
    if (bytes === undefined) continue;
    record.set(bytes, at);
    at += bytes.length;
  }
  return record;
}

/** Keeps nothing of `bytes`. */
export function decodeClient(key: Uint8Array, bytes: Uint8Array): ClientRecord {
  if (key.length !== 9 || bytes.length < 1) throw malformed("a client's record that ends early");
  if (bytes[0] !== CLIENT_FORMAT) throw tooNew("client's", bytes[0]!);
  if (bytes.length < CLIENT_HEAD_BYTES) throw malformed("a client's record that ends early");
  const view = viewOf(bytes);
  const operations: OperationRecord[] = [];
  let at = CLIENT_HEAD_BYTES;
  for (let left = view.getUint32(25); left > 0; left--) {
    if (at + OPERATION_BYTES > bytes.length) throw malformed("a client's record that ends early");
    const form = FORMS[bytes[at + 16]!];
    const end = at + OPERATION_BYTES + view.getUint32(at + 25);
    if (form === undefined || end > bytes.length) throw malformed("a client's operation");
    const hasBytes = form === FORM.result || form === FORM.refused;
    if (!hasBytes && end !== at + OPERATION_BYTES) throw malformed("a client's operation with bytes");
    operations.push({
      sequence: counter(view, at),
      index: counter(view, at + 8),
      form,
      revision: counter(view, at + 17),
      bytes: hasBytes ? bytes.slice(at + OPERATION_BYTES, end) : undefined,
    });
    at = end;
  }
  if (at !== bytes.length) throw malformed("a client's record with more behind it");
  return {
    id: counter(viewOf(key), 1),
    lastIndex: counter(view, 1),
    lastSequence: counter(view, 9),
    lowest: counter(view, 17),
    operations,
  };
}

// --- machine ---

/** version 1 | revision 8 | compact revision + 1, 8 | hash 4 + 4 */
export function encodeMeta(meta: MachineMeta): Uint8Array {
  const bytes = new Uint8Array(25);
  bytes[0] = META_FORMAT;
  put32(bytes, 1, Math.floor(meta.revision / 0x1_0000_0000));
  put32(bytes, 5, meta.revision);
  put32(bytes, 9, Math.floor((meta.compactRevision + 1) / 0x1_0000_0000));
  put32(bytes, 13, meta.compactRevision + 1);
  put32(bytes, 17, meta.hashA);
  put32(bytes, 21, meta.hashB);
  return bytes;
}

export function decodeMeta(bytes: Uint8Array): MachineMeta {
  if (bytes.length < 1) throw malformed("an empty machine record");
  if (bytes[0] !== META_FORMAT) throw tooNew("machine", bytes[0]!);
  if (bytes.length !== 25) throw malformed("a machine record of the wrong length");
  const view = viewOf(bytes);
  return {
    revision: counter(view, 1),
    compactRevision: counter(view, 9) - 1,
    hashA: view.getUint32(17),
    hashB: view.getUint32(21),
  };
}

/** version 1 | revision + 1, 8 */
export function encodeCompacted(compacted: number): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = META_FORMAT;
  writeCounter(viewOf(bytes), 1, compacted + 1);
  return bytes;
}

export function decodeCompacted(bytes: Uint8Array): number {
  if (bytes.length < 1) throw malformed("an empty compaction record");
  if (bytes[0] !== META_FORMAT) throw tooNew("compaction", bytes[0]!);
  if (bytes.length !== 9) throw malformed("a compaction record of the wrong length");
  return counter(viewOf(bytes), 1) - 1;
}

// --- members ---

/** A member, or the mark of one that was removed and may never come back. */
export type MemberRecord =
  | { readonly kind: "member"; readonly member: Member }
  | { readonly kind: "removed"; readonly id: MemberId };

export function memberKey(id: MemberId): Uint8Array {
  const key = new Uint8Array(9);
  key[0] = KEY_SPACE.member;
  viewOf(key).setBigUint64(1, id);
  return key;
}

/** version 1 | 0 member, 1 learner, 2 removed | name | peer addresses | client addresses, as counted texts */
export function encodeMember(record: MemberRecord): Uint8Array {
  if (record.kind === "removed") return Uint8Array.of(MEMBER_FORMAT, 2);
  const { name, peerUrls, clientUrls, isLearner } = record.member;
  const texts = [name, ...peerUrls, ...clientUrls].map(encodeUtf8);
  const bytes = new Uint8Array(6 + texts.reduce((sum, text) => sum + 4 + text.length, 0));
  bytes[0] = MEMBER_FORMAT;
  bytes[1] = isLearner ? 1 : 0;
  const view = viewOf(bytes);
  view.setUint16(2, peerUrls.length);
  view.setUint16(4, clientUrls.length);
  let at = 6;
  for (const text of texts) {
    view.setUint32(at, text.length);
    bytes.set(text, at + 4);
    at += 4 + text.length;
  }
  return bytes;
}

export function decodeMember(key: Uint8Array, bytes: Uint8Array): MemberRecord {
  if (key.length !== 9 || bytes.length < 2) throw malformed("a member record that ends early");
  if (bytes[0] !== MEMBER_FORMAT) throw tooNew("member", bytes[0]!);
  const rawId = viewOf(key).getBigUint64(1);
  if (rawId === 0n || bytes[1]! > 2) throw malformed("a member record");
  const id = memberId(rawId);
  if (bytes[1] === 2) return { kind: "removed", id };
  if (bytes.length < 6) throw malformed("a member record that ends early");
  const view = viewOf(bytes);
  const peers = view.getUint16(2);
  const clients = view.getUint16(4);
  const texts: string[] = [];
  let at = 6;
  for (let i = 0; i < 1 + peers + clients; i++) {
    if (at + 4 > bytes.length) throw malformed("a member record that ends early");
    const end = at + 4 + view.getUint32(at);
    if (end > bytes.length) throw malformed("a member record that ends early");
    texts.push(decodeUtf8(bytes.subarray(at + 4, end)));
    at = end;
  }
  if (at !== bytes.length) throw malformed("a member record with more behind it");
  return {
    kind: "member",
    member: {
      id,
      name: texts[0]!,
      peerUrls: texts.slice(1, 1 + peers),
      clientUrls: texts.slice(1 + peers),
      isLearner: bytes[1] === 1,
    },
  };
}

// ---

/** Without a view, as records of revisions are read most. */
function counterAt(bytes: Uint8Array, at: number): number {
  const high = get32(bytes, at);
  if (high > 0x1f_ffff) throw malformed("a counter out of range");
  return high * 0x1_0000_0000 + get32(bytes, at + 4);
}

function counter(view: DataView, at: number): number {
  try {
    return readCounter(view, at);
  } catch (cause) {
    throw malformed("a counter out of range", cause);
  }
}

function malformed(what: string, cause?: unknown): StoreError {
  return new StoreError("STATE_CORRUPT", { message: `quorate: the state database is damaged: ${what}`, cause });
}

function tooNew(what: string, format: number): StoreError {
  return new StoreError("FORMAT_TOO_NEW", {
    message: `quorate: a ${what} record has format ${format}, which this version does not know`,
    details: { format },
  });
}
