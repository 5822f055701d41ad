/**
 * The state database: what the machine knows, written behind. Writes gather in a buffer that readers see at once; a
 * flush is one atomic synchronous batch with its applied index, so that the state on disk is always exactly the state
 * after some entry (B45). A value read comes from the buffers, from the cache, or from LevelDB with its checksum
 * verified. The machine sees it as its `StateStore`; this file knows nothing of what the records mean, but for the
 * space of revisions, whose keys are never written twice.
 */
import { assert } from "../base/assert.ts";
import { equalBytes, fromByteString, readCounter, toByteString, viewOf, writeCounter } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LogIndex, logIndex, type Term, term } from "../base/ids.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Database, DatabaseSnapshot, DatabaseWriter, Disk } from "../platform/disk.ts";
import { asDamage, stateCorrupt, tooNew } from "./damage.ts";
import { readAhead } from "./read-ahead.ts";
import { putRevisionKey, RevisionRun, revisionKey, revisionName } from "./revision-run.ts";
import { streamOf } from "./snapshot-format.ts";
import { openRecord, RECORD_CRC_BYTES, roomyRecord, sealInPlace, sealRecord } from "./state-record.ts";
import { REVISION_KEY_BYTES, REVISION_SPACE, Tally } from "./tally.ts";
import { ABSENT, ValueCache } from "./value-cache.ts";

/** The backend's own record: applied index and term, counts and sums. Sorts behind all others. */
export const META_KEY: Uint8Array = Uint8Array.of(0x7f);
const META_VERSION = 1;
/** Memory spent on values that may be read again. */
const CACHE_BYTES = 32 << 20;
/** Keys, and bytes, of a flush in one go: a few hundred microseconds, for all members flush at about the same time. */
const SLICE_KEYS = 100;
const SLICE_BYTES = 256 << 10;
/** Written at a time while a state is made. */
const CREATE_BATCH_BYTES = 1 << 20;
/** Records read ahead at once, and their bytes at about the most: an iterator's own bound. */
const AHEAD_RECORDS = 1_000;
/** Beyond key and value, what a buffered write costs. */
const WRITE_OVERHEAD_BYTES = 64;

/** Key and payload, without the checksum. */
export type StateRecord = readonly [key: Uint8Array, payload: Uint8Array];

/** What a flush takes: records with room for their checksums; `ABSENT` deletes. */
interface Writes {
  /** New revisions. `ABSENT`: dropped before it was ever flushed. */
  readonly run: RevisionRun;
  /** All else by the byte strings of its keys. */
  readonly named: Map<string, Uint8Array>;
  /** Revisions flushed before and dropped now. */
  readonly drops: Drops;
}

interface Drops {
  readonly mains: number[];
  readonly subs: number[];
  /** Of their records. */
  bytes: number;
}

function noWrites(): Writes {
  return { run: new RevisionRun(), named: new Map(), drops: { mains: [], subs: [], bytes: 0 } };
}

export interface StateMeta {
  readonly index: LogIndex;
  readonly term: Term;
  readonly tally: Tally;
}

/** A point-in-time copy of the last flushed state. Close it: it keeps LevelDB from forgetting. */
export interface StateSnapshot {
  readonly index: LogIndex;
  readonly term: Term;
  /**
   * Chunks of at most 64 KiB, in order, each with its own checksum and the session that it belongs to. Verified on the
   * way: throws `STATE_CORRUPT`.
   */
  stream(session: number): AsyncIterable<Uint8Array>;
  /** One record as of the snapshot. What goes with it (the configuration, N1) must be read here, not from the backend. */
  read(key: Uint8Array): Promise<Uint8Array | undefined>;
  close(): Promise<void>;
}

/** Generations that this process has open, by disk: nobody may build or remove under them. */
const openGenerations = new WeakMap<Disk, Set<number>>();

export function generationsInUse(disk: Disk): ReadonlySet<number> {
  return openGenerations.get(disk) ?? new Set();
}

export const statePath = (generation: number): string => `state-${generation}`;

export interface OpenStateOptions {
  readonly disk: Disk;
  readonly generation: number;
  readonly checksum: Checksum;
  /** Of all its records, where that is known; otherwise `scan` finds it. */
  readonly recordBytes?: number;
}

export class StateBackend {
  readonly generation: number;
  readonly #disk: Disk;
  readonly #database: Database;
  readonly #checksum: Checksum;
  readonly #cache = new ValueCache(CACHE_BYTES);
  /** Read in bulk, each for one reader: where everything is read once, the cache would only lose what others need. */
  #ahead = new Map<string, Uint8Array>();
  #meta: StateMeta;
  #buffer: Writes = noWrites();
  #bufferedBytes = 0;
  /** What was buffered when the flush under way began. */
  #takenBytes = 0;
  /** The highest revision ever written. */
  #lastMain: number;
  #lastSub: number;
  #flushing: Writes | undefined;
  /** Of the records flushed, of those in the buffer, and of those being flushed. */
  #recordBytes = 0;
  #newBytes = 0;
  #flushingBytes = 0;
  /** The state before the flush under way. */
  #pinned: Pin | undefined;
  #flushed: Promise<void> = Promise.resolve();
  #failure: unknown;
  #closed: Promise<void> | undefined;

  private constructor(
    { disk, generation, checksum, recordBytes = 0 }: OpenStateOptions,
    database: Database,
    meta: StateMeta,
  ) {
    this.generation = generation;
    this.#disk = disk;
    this.#database = database;
    this.#checksum = checksum;
    this.#meta = meta;
    this.#recordBytes = recordBytes;
    this.#lastMain = meta.tally.highestMain;
    this.#lastSub = meta.tally.highestSub;
    let used = openGenerations.get(disk);
    if (used === undefined) openGenerations.set(disk, (used = new Set()));
    used.add(generation);
  }

  /** Opens `state-<generation>`. Its records are verified when read, and all together by `scan`. */
  static async open(options: OpenStateOptions): Promise<StateBackend> {
    const path = statePath(options.generation);
    let database: Database;
    try {
      database = await options.disk.openDatabase(path, { create: false });
    } catch (error) {
      throw asDamage(error, stateCorrupt, path);
    }
    try {
      return new StateBackend(options, database, readMeta(database, path, options.checksum));
    } catch (error) {
      await database.close();
      throw asDamage(error, stateCorrupt, path);
    }
  }

  /** The last flushed index: what a restart begins from. */
  get appliedIndex(): LogIndex {
    return this.#meta.index;
  }

  get appliedTerm(): Term {
    return this.#meta.term;
  }

  /** Bytes written since the last flush began. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** Bytes in memory that no flush has made durable yet, those of the flush under way among them. */
  get unflushedBytes(): number {
    return this.#bufferedBytes + this.#takenBytes;
  }

  /**
   * Bytes of all records, keys and checksums included: what was scanned at opening, and every change since. What was
   * overwritten or deleted counts until it is flushed, so this is never too low. Not LevelDB's own size on disk.
   */
  get recordBytes(): number {
    return this.#recordBytes + this.#newBytes + this.#flushingBytes;
  }

  read(key: Uint8Array): Uint8Array | undefined {
    const name = toByteString(key);
    let record = this.#buffer.named.get(name) ?? this.#flushing?.named.get(name) ?? this.#cache.get(name);
    if (record === undefined) {
      record = this.#stored(key) ?? ABSENT;
      this.#cache.set(name, record);
    }
    // A copy, because the bytes are the caller's.
    return record === ABSENT ? undefined : record.slice(RECORD_CRC_BYTES);
  }

  /** With the checksum before the payload. Not a copy: whoever asks leaves it as it is. */
  readRevision(main: number, sub: number): Uint8Array | undefined {
    // What is not there yet must not be remembered as absent.
    if (main > this.#lastMain || (main === this.#lastMain && sub > this.#lastSub)) return undefined;
    let record = written(this.#buffer, main, sub) ?? (this.#flushing && written(this.#flushing, main, sub));
    if (record === undefined && this.#ahead.size > 0) {
      const name = revisionName(main, sub);
      const ahead = this.#ahead.get(name);
      if (ahead !== undefined) {
        this.#ahead.delete(name);
        return ahead;
      }
    }
    record ??= this.#cache.getRevision(main, sub);
    if (record === undefined) {
      record = this.#stored(revisionKey(main, sub)) ?? ABSENT;
      this.#cache.set(revisionName(main, sub), record);
    }
    return record === ABSENT ? undefined : record;
  }

  /**
   * Fetches revisions from `key` on, flushed ones only, so that the next reads find them in memory: one turn for about a
   * mebibyte instead of a look-up for each. Returns how many. Whatever is wrong with one, its reader meets it.
   */
  async readAhead(key: Uint8Array): Promise<number> {
    const ahead = new Map<string, Uint8Array>();
    if (this.#closed !== undefined) return 0;
    const iterator = this.#database.iterate({ gte: key, lt: Uint8Array.of(REVISION_SPACE + 1) });
    try {
      for (const [at, stored] of await iterator.next(AHEAD_RECORDS)) {
        if (openRecord(at, stored, this.#checksum) !== undefined) ahead.set(toByteString(at), stored);
      }
    } finally {
      await iterator.close();
    }
    this.#ahead = ahead;
    return ahead.size;
  }

  write(key: Uint8Array, value: Uint8Array): void {
    this.#put(key, roomyRecord(value));
  }

  delete(key: Uint8Array): void {
    this.#put(key, ABSENT);
  }

  /** Above every revision written before; the record begins with room for the checksum. Nothing is copied. */
  writeRevision(main: number, sub: number, record: Uint8Array): void {
    this.#buffer.run.push(main, sub, record);
    this.#lastMain = main;
    this.#lastSub = sub;
    const bytes = REVISION_KEY_BYTES + record.length;
    this.#newBytes += bytes;
    this.#bufferedBytes += bytes + WRITE_OVERHEAD_BYTES;
  }

  /**
   * One that was written and not dropped yet, `bytes` as long as it was then. It is not read for that, neither now nor by
   * the flush: that would be most of what a compaction costs, and the sums of revisions need but their numbers. Nor is it
   * looked for in buffers and cache, which may go on to answer with it: who drops a record asks for it no more.
   */
  dropRevision(main: number, sub: number, bytes: number): void {
    const { run } = this.#buffer;
    const place = run.find(main, sub);
    if (place >= 0) {
      const record = run.records[place]!;
      if (record !== ABSENT) this.#newBytes -= REVISION_KEY_BYTES + record.length;
      run.records[place] = ABSENT;
      return;
    }
    const { drops } = this.#buffer;
    drops.mains.push(main);
    drops.subs.push(sub);
    drops.bytes += REVISION_KEY_BYTES + bytes;
    this.#bufferedBytes += REVISION_KEY_BYTES + WRITE_OVERHEAD_BYTES;
  }

  /**
   * Makes all that was written durable, as the state after `at`. Call between entries; what is written meanwhile
   * belongs to the next flush. One at a time. After a rejection the member must stop.
   */
  flush(at: { readonly index: LogIndex; readonly term: Term }): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closed !== undefined) return Promise.reject(new StoreError("STOPPED"));
    assert(this.#flushing === undefined, "B45", () => "a flush began before the one before it ended");
    assert(at.index >= this.#meta.index, "V3", () => `flushed ${at.index} after ${this.#meta.index}`);
    if (this.#isClean && at.index === this.#meta.index) return Promise.resolve();
    const writes = this.#buffer;
    this.#buffer = noWrites();
    this.#takenBytes = this.#bufferedBytes;
    this.#bufferedBytes = 0;
    this.#flushingBytes = this.#newBytes;
    this.#newBytes = 0;
    this.#flushing = writes;
    this.#pinned = new Pin(this.#database.snapshot(), this.#meta);
    const flushed = this.#flush(writes, { index: at.index, term: at.term }).catch((error) => {
      // The buffer stays readable; nothing is known about what reached the disk.
      this.#failure = asDamage(error, stateCorrupt, statePath(this.generation));
      throw this.#failure;
    });
    this.#flushed = flushed.catch(() => {});
    return flushed;
  }

  /**
   * Shows every record of the flushed state but the backend's own, in the order of keys, and verifies each, their
   * counts and their sums: `STATE_CORRUPT` if anything is not as it was written. The bytes are the visitor's.
   */
  async scan(visit: (key: Uint8Array, value: Uint8Array) => void): Promise<void> {
    const pin = this.#pin();
    const path = statePath(this.generation);
    const found = new Tally();
    let bytes = 0;
    try {
      let metaSeen = false;
      for await (const pairs of readAhead(pin.snapshot.iterate({}), 1000)) {
        for (const [key, stored] of pairs) {
          const value = openRecord(key, stored, this.#checksum);
          if (value === undefined || key.length === 0) throw damagedRecord(path, key);
          if (key[0] === META_KEY[0]) {
            if (key.length !== META_KEY.length) throw damagedRecord(path, key);
            metaSeen = true;
            continue;
          }
          found.add(key, stored);
          bytes += key.length + stored.length;
          visit(key, value);
        }
      }
      const difference = metaSeen ? pin.meta.tally.differs(found) : "its own record is missing";
      if (difference !== undefined) throw stateCorrupt(`${path}: ${difference}`);
      if (pin.meta === this.#meta) this.#recordBytes = bytes;
    } catch (error) {
      throw asDamage(error, stateCorrupt, path);
    } finally {
      await pin.drop();
    }
  }

  snapshot(): StateSnapshot {
    const pin = this.#pin();
    const path = statePath(this.generation);
    const checksum = this.#checksum;
    let closed: Promise<void> | undefined;
    return {
      index: pin.meta.index,
      term: pin.meta.term,
      stream: (session) => streamOf(pin.snapshot, path, session, checksum),
      async read(key) {
        const iterator = pin.snapshot.iterate({ gte: key });
        try {
          const [pair] = await iterator.next(1);
          if (pair === undefined || !equalBytes(pair[0], key)) return undefined;
          const value = openRecord(key, pair[1], checksum);
          if (value === undefined) throw damagedRecord(path, key);
          return value;
        } finally {
          await iterator.close();
        }
      },
      close() {
        closed ??= pin.drop();
        return closed;
      },
    };
  }

  sizeBytes(): Promise<number> {
    return this.#database.sizeBytes();
  }

  /** Without flushing. Safe to call twice. Snapshots that are still open end with an error. */
  close(): Promise<void> {
    this.#closed ??= this.#flushed
      .then(() => this.#database.close())
      .finally(() => openGenerations.get(this.#disk)?.delete(this.generation));
    return this.#closed;
  }

  #put(key: Uint8Array, record: Uint8Array): void {
    if (!(key[0]! < META_KEY[0]!) || key[0] === REVISION_SPACE)
      assert(false, "state", () => `no record may have the key ${key.join(".")}`);
    const name = toByteString(key);
    const { named } = this.#buffer;
    this.#newBytes += sizeOf(name, record) - sizeOf(name, named.get(name));
    named.set(name, record);
    this.#bufferedBytes += name.length + record.length + WRITE_OVERHEAD_BYTES;
  }

  #stored(key: Uint8Array): Uint8Array | undefined {
    const path = statePath(this.generation);
    let stored: Uint8Array | undefined;
    try {
      stored = this.#database.getSync(key);
    } catch (error) {
      throw asDamage(error, stateCorrupt, path);
    }
    if (stored === undefined) return undefined;
    if (openRecord(key, stored, this.#checksum) === undefined) throw damagedRecord(path, key);
    return stored;
  }

  get #isClean(): boolean {
    const { run, named, drops } = this.#buffer;
    return run.length + named.size + drops.mains.length === 0;
  }

  /** The last flushed state, also while the next flush is under way. */
  #pin(): Pin {
    if (this.#pinned !== undefined) return this.#pinned.take();
    return new Pin(this.#database.snapshot(), this.#meta);
  }

  async #flush(writes: Writes, at: { readonly index: LogIndex; readonly term: Term }): Promise<void> {
    const { run, named } = writes;
    const meta: StateMeta = { ...at, tally: this.#meta.tally.clone() };
    const writer = this.#database.writer();
    let grown: number;
    try {
      grown = await this.#gather(writes, meta.tally, writer);
      writer.put(META_KEY, encodeMeta(meta, this.#checksum));
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    await writer.write({ sync: true });
    this.#meta = meta;
    this.#recordBytes += grown;
    this.#flushingBytes = 0;
    this.#takenBytes = 0;
    this.#flushing = undefined;
    // Only now: until the batch is in, LevelDB answers with what was before.
    this.#cache.absorb(named, run);
    const pinned = this.#pinned;
    this.#pinned = undefined;
    await pinned?.drop();
  }

  /** All that is to be flushed but the backend's own record. Returns by how many bytes the records grow. */
  async #gather({ run, named, drops }: Writes, tally: Tally, writer: DatabaseWriter): Promise<number> {
    let grown = -drops.bytes;
    let keys = 0;
    let bytes = 0;
    const endsSlice = (length: number): boolean => {
      bytes += length;
      if (++keys < SLICE_KEYS && bytes < SLICE_BYTES) return false;
      keys = bytes = 0;
      return true;
    };
    const key = new Uint8Array(REVISION_KEY_BYTES);
    for (let place = 0; place < run.length; place++) {
      const record = run.records[place]!;
      if (record === ABSENT) continue;
      run.keyInto(key, place);
      if (!tally.rise(key))
        assert(false, "state", () => `revision ${key.join(".")} is not above all that were written`);
      grown += this.#add(key, record, tally, writer);
      if (endsSlice(record.length)) await writer.turn();
    }
    for (let i = 0; i < drops.mains.length; i++) {
      putRevisionKey(key, drops.mains[i]!, drops.subs[i]!);
      tally.subtract(key, ABSENT);
      writer.del(key);
      if (endsSlice(key.length)) await writer.turn();
    }
    for (const [name, record] of named) {
      grown += this.#replace(fromByteString(name), record, tally, writer);
      if (endsSlice(name.length + record.length)) await writer.turn();
    }
    return grown;
  }

  /** What a write or a deletion does to the tally depends on what it replaces. Returns by how many bytes the records grow. */
  #replace(key: Uint8Array, record: Uint8Array, tally: Tally, writer: DatabaseWriter): number {
    const old = this.#database.getSync(key);
    let grown = 0;
    if (old !== undefined) {
      if (openRecord(key, old, this.#checksum) === undefined) throw damagedRecord(statePath(this.generation), key);
      tally.subtract(key, old);
      grown -= key.length + old.length;
    }
    if (record !== ABSENT) return grown + this.#add(key, record, tally, writer);
    // Also where none was found: if LevelDB hid it, the sums no longer fit, and the next opening notices.
    writer.del(key);
    return grown;
  }

  #add(key: Uint8Array, record: Uint8Array, tally: Tally, writer: DatabaseWriter): number {
    sealInPlace(key, record, this.#checksum);
    tally.add(key, record);
    writer.put(key, record);
    return key.length + record.length;
  }
}

function written({ run }: Writes, main: number, sub: number): Uint8Array | undefined {
  const place = run.find(main, sub);
  return place < 0 ? undefined : run.records[place];
}

/** As a record; nothing for a deletion. */
function sizeOf(name: string, record: Uint8Array | undefined): number {
  return record === undefined || record === ABSENT ? 0 : name.length + record.length;
}

/** One view of LevelDB, shared until the last that took it drops it. */
class Pin {
  readonly snapshot: DatabaseSnapshot;
  readonly meta: StateMeta;
  #users = 1;

  constructor(snapshot: DatabaseSnapshot, meta: StateMeta) {
    this.snapshot = snapshot;
    this.meta = meta;
  }

  take(): this {
    this.#users++;
    return this;
  }

  async drop(): Promise<void> {
    if (--this.#users === 0) await this.snapshot.close();
  }
}

/**
 * The first content of a new state database, durable when resolved. Written in batches where there is much of it, and its
 * own record last: a database without that is nothing.
 */
export async function createState(
  disk: Disk,
  path: string,
  at: { readonly index: LogIndex; readonly term: Term },
  records: Iterable<StateRecord> | AsyncIterable<StateRecord>,
  checksum: Checksum,
): Promise<void> {
  const database = await disk.openDatabase(path, { create: true });
  const tally = new Tally();
  let writer = database.writer();
  let bytes = 0;
  try {
    for await (const [key, value] of records) {
      const stored = sealRecord(key, value, checksum);
      if (key[0] === REVISION_SPACE) tally.rise(key);
      tally.add(key, stored);
      writer.put(key, stored);
      bytes += key.length + stored.length;
      if (bytes < CREATE_BATCH_BYTES) continue;
      // Synced each, because LevelDB does not sync the log that it leaves at a rotation.
      await writer.write({ sync: true });
      writer = database.writer();
      bytes = 0;
    }
    writer.put(META_KEY, encodeMeta({ ...at, tally }, checksum));
    await writer.write({ sync: true });
  } finally {
    await database.close();
  }
}

export function damagedRecord(path: string, key: Uint8Array): StoreError {
  return stateCorrupt(`${path}: the checksum of record ${[...key].join(".")} does not match`);
}

function readMeta(database: Database, path: string, checksum: Checksum): StateMeta {
  const stored = database.getSync(META_KEY);
  if (stored === undefined) throw stateCorrupt(`${path}: its own record is missing`);
  return decodeMeta(stored, path, checksum);
}

function encodeMeta({ index, term: appliedTerm, tally }: StateMeta, checksum: Checksum): Uint8Array {
  const payload = new Uint8Array(17 + tally.encodedBytes);
  payload[0] = META_VERSION;
  writeCounter(viewOf(payload), 1, index);
  writeCounter(viewOf(payload), 9, appliedTerm);
  tally.encodeInto(payload, 17);
  return sealRecord(META_KEY, payload, checksum);
}

export function decodeMeta(stored: Uint8Array, path: string, checksum: Checksum): StateMeta {
  const payload = openRecord(META_KEY, stored, checksum);
  if (payload === undefined) throw damagedRecord(path, META_KEY);
  const version = payload[0] ?? 0;
  if (version > META_VERSION) throw tooNew(path, version, META_VERSION);
  try {
    const view = viewOf(payload);
    return {
      index: logIndex(readCounter(view, 1)),
      term: term(readCounter(view, 9)),
      tally: Tally.decode(payload, 17),
    };
  } catch (error) {
    throw stateCorrupt(`${path}: its own record is malformed`, {}, error);
  }
}
