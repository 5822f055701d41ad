/**
 * Durable home of one member's log: a LevelDB database with one record per disk turn, and the file `tail`. Never read
 * while running: the core keeps what follows the release point in memory.
 *
 * What makes a record "needed": the hard state stands whole in each, so recovery starts at the record that holds the
 * first entry still in the log, and at the newest one if the log is empty. Notes about members are repeated when their
 * record falls behind that. Nothing is ever rewritten; what is no longer needed is deleted lazily, after the record
 * that says so is durable and the synced slot of `tail` names it or a later one.
 */
import { assert } from "../base/assert.ts";
import { StoreError } from "../base/errors.ts";
import { formatId, type LogIndex, logIndex, type MemberId, type Term } from "../base/ids.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/disk.ts";
import type { Entry, EntryId } from "../raft/entry.ts";
import type { HardState, PersistBatch } from "../raft/ready.ts";
import { asDamage, tooNew, walCorrupt } from "./damage.ts";
import {
  decodeRecord,
  encodeRecord,
  type Identity,
  RECORD_VERSION,
  readRecordKey,
  recordKey,
  type WalRecord,
} from "./record.ts";
import type { Tail, TailMark } from "./tail.ts";

/** What of a `PersistBatch` goes to disk. */
export type WalBatch = Pick<PersistBatch, "hardState" | "cutFrom" | "entries" | "install">;

export interface AppendOptions {
  /** The live state from this record on: the switch to an installed snapshot. */
  readonly generation?: number;
  /** Members seen with data, durably noted with this record. */
  readonly noteMembers?: readonly MemberId[];
}

/** What survived the last run. */
export interface Recovered {
  readonly hardState: HardState;
  /** The entry before the first of the log; its term is the match point (K2). */
  readonly base: EntryId;
  /** Contiguous, above `base`, after cuts. */
  readonly entries: readonly Entry[];
  readonly noted: ReadonlySet<MemberId>;
}

/** Entries from `from` up to the next run stand in record `number`. */
interface Run {
  readonly from: number;
  readonly number: number;
}

/** All that recovery learns, and all that appending needs to know. */
export interface WalState {
  identity: Identity;
  generation: number;
  hardState: HardState;
  base: EntryId;
  last: EntryId;
  runs: Run[];
  /** Member -> the newest record that notes it. */
  readonly noted: Map<MemberId, number>;
  number: number;
  crc: number;
  oldest: number;
}

export class Wal {
  /** Seconds that each synchronous write took, where a clock was given. */
  onFsync: ((seconds: number) => void) | undefined;

  readonly #database: Database;
  readonly #tail: Tail;
  readonly #checksum: Checksum;
  readonly #clock: Clock | undefined;
  readonly #state: WalState;
  #release: EntryId | undefined;
  #writing: Promise<void> | undefined;
  #collecting: Promise<void> | undefined;
  #clearedTo = 0;
  #failure: unknown;
  #closed: Promise<void> | undefined;

  /** For `data-dir.ts` alone: everything was verified. */
  constructor(database: Database, tail: Tail, state: WalState, checksum: Checksum, clock: Clock | undefined) {
    this.#database = database;
    this.#tail = tail;
    this.#state = state;
    this.#checksum = checksum;
    this.#clock = clock;
  }

  get generation(): number {
    return this.#state.generation;
  }

  /**
   * Resolves once the batch is on stable storage: hard state, install, cut and entries together or not at all. One at a
   * time. After a rejection nothing is known about the end of the log: every later call rejects, the member must stop.
   */
  append(batch: WalBatch, options: AppendOptions = {}): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closed !== undefined) return Promise.reject(new StoreError("STOPPED"));
    if (this.#writing !== undefined) assert(false, "W4", () => "an append began before the one before it ended");
    const writing = this.#write(batch, options);
    this.#writing = writing;
    return writing;
  }

  /** Entries up to `base` leave the log with the next record. The state must have them durably (K1). */
  release(base: { readonly index: LogIndex; readonly term: Term }): void {
    if (base.index > (this.#release ?? this.#state.base).index) this.#release = { index: base.index, term: base.term };
  }

  /**
   * Makes `tail` survive a power cut as of now. Call after each flush of the state: what damage the file cannot notice
   * after a power cut is then at most what came later. A failure stops the log.
   */
  async syncTail(): Promise<void> {
    if (this.#failure !== undefined || this.#closed !== undefined) return;
    try {
      await this.#tail.sync();
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
  }

  sizeBytes(): Promise<number> {
    return this.#database.sizeBytes();
  }

  /** For `data-dir.ts`: the next record opens a new incarnation. */
  async begin(incarnation: number): Promise<void> {
    this.#state.identity = { ...this.#state.identity, incarnation };
    const { hardState } = this.#state;
    await this.append({ hardState, cutFrom: undefined, entries: [], install: undefined });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    // Who appended is told of a failure.
    await this.#writing?.catch(() => {});
    await this.#collecting;
    const ends = await Promise.allSettled([this.#tail.close(), this.#database.close()]);
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  /** Moves the state on and lays out the record that makes it so. */
  #next(batch: WalBatch, options: AppendOptions): WalRecord {
    const state = this.#state;
    const number = state.number + 1;
    const { hardState, install, cutFrom, entries } = batch;
    if (hardState.term < state.hardState.term) {
      assert(false, "V1", () => `term ${hardState.term} follows term ${state.hardState.term}`);
    }
    // One record is the switch: a log that begins behind a snapshot, and a state that is another one, is no member's.
    assert((install === undefined) === (options.generation === undefined), "N10", () => "a snapshot without its state");
    state.hardState = hardState;
    if (install !== undefined) {
      state.base = { index: install.index, term: install.term };
      state.last = state.base;
      state.runs = [];
      if (this.#release !== undefined && this.#release.index <= install.index) this.#release = undefined;
    }
    if (options.generation !== undefined) state.generation = options.generation;
    const first = entries[0]?.index;
    const cut = Math.min(cutFrom ?? Infinity, first ?? Infinity);
    if (cut <= state.last.index) this.#cut(cut);
    if (first !== undefined) {
      assert(first === state.last.index + 1, "W3", () => `entry ${first} follows entry ${state.last.index}`);
      let previous: EntryId = state.last;
      for (let i = 0; i < entries.length; i++) {
        const entry = entries[i]!;
        if (entry.index !== first + i || entry.term < previous.term) {
          assert(
            false,
            "V4",
            () => `entry (${entry.index}, ${entry.term}) follows (${previous.index}, ${previous.term})`,
          );
        }
        previous = entry;
      }
      state.last = { index: previous.index, term: previous.term };
      state.runs.push({ from: first, number });
    }
    if (this.#release !== undefined) {
      assert(this.#release.index <= state.last.index, "K1", () => `release past the log's end ${state.last.index}`);
      state.base = this.#release;
      this.#release = undefined;
      let gone = 0;
      while (gone < state.runs.length && (state.runs[gone + 1]?.from ?? state.last.index + 1) <= state.base.index + 1) {
        gone++;
      }
      if (gone > 0) state.runs = state.runs.slice(gone);
    }
    state.oldest = state.runs[0]?.number ?? number;
    state.number = number;
    const noted: MemberId[] = [];
    for (const id of options.noteMembers ?? []) if (!state.noted.has(id)) state.noted.set(id, 0);
    for (const [id, at] of state.noted) {
      if (at >= state.oldest) continue;
      noted.push(id);
      state.noted.set(id, number);
    }
    return {
      identity: state.identity,
      generation: state.generation,
      released: state.base,
      oldest: state.oldest,
      hardState,
      cutFrom,
      install,
      noted,
      entries,
    };
  }

  #cut(from: number): void {
    const { state, base } = { state: this.#state, base: this.#state.base };
    assert(from > base.index, "V3", () => `a cut at ${from} would reach below the base ${base.index}`);
    while (state.runs.length > 0 && state.runs.at(-1)!.from >= from) state.runs.pop();
    // Its term is not known here; what follows is checked by the core and at recovery.
    state.last = from - 1 === base.index ? base : { index: logIndex(from - 1), term: base.term };
  }

  async #write(batch: WalBatch, options: AppendOptions): Promise<void> {
    try {
      const record = this.#next(batch, options);
      const state = this.#state;
      const key = recordKey(state.number);
      const { bytes, crc } = encodeRecord(key, record, state.crc, this.#checksum);
      state.crc = crc;
      const startedAt = this.#clock?.now() ?? 0;
      await this.#database.batch([{ kind: "put", key, value: bytes }], { sync: true });
      if (this.#clock !== undefined) this.onFsync?.((this.#clock.now() - startedAt) / 1000);
      await this.#tail.write({ number: state.number, crc });
      // Whoever awaits must find the lane free.
      this.#writing = undefined;
      if (state.oldest > this.#clearedTo && this.#collecting === undefined) this.#collect(state.oldest);
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
  }

  /** Deletes what is no longer needed, behind the member's back. */
  #collect(below: number): void {
    const from = this.#clearedTo;
    this.#clearedTo = below;
    this.#collecting = this.#tail
      .sync()
      .then(() => this.#database.clear({ ...(from === 0 ? {} : { gte: recordKey(from) }), lt: recordKey(below) }))
      .catch((error) => {
        this.#failure ??= error;
      })
      .finally(() => {
        this.#collecting = undefined;
      });
  }
}

/** Reads and verifies everything that is still needed. Throws `WAL_CORRUPT` rather than forget anything. */
export async function recoverWal(
  database: Database,
  mark: TailMark,
  checksum: Checksum,
): Promise<{ readonly state: WalState; readonly recovered: Recovered }> {
  try {
    return await recover(database, mark, checksum);
  } catch (error) {
    throw asDamage(error, walCorrupt, "wal");
  }
}

async function recover(
  database: Database,
  mark: TailMark,
  checksum: Checksum,
): Promise<{ readonly state: WalState; readonly recovered: Recovered }> {
  const newest = await newestRecord(database, checksum);
  if (mark.number > newest.number) {
    throw walCorrupt(`it ends at record ${newest.number}, but record ${mark.number} was written`, {
      record: mark.number,
    });
  }
  if (mark.number < newest.record.oldest) {
    const bytes = database.getSync(recordKey(mark.number));
    const found = bytes === undefined ? undefined : decodeRecord(recordKey(mark.number), bytes, checksum);
    if (found?.kind !== "record" || found.crc !== mark.crc) {
      throw walCorrupt(`record ${mark.number}, which tail names, is not there as it was written`, {
        record: mark.number,
      });
    }
  }

  const { oldest, released: base } = newest.record;
  const replay = new Replay(oldest, base);
  const iterator = database.iterate({ gte: recordKey(oldest) });
  try {
    // Few at a time: a record may hold megabytes.
    for (let pairs = await iterator.next(64); pairs.length > 0; pairs = await iterator.next(64)) {
      for (const [key, value] of pairs) {
        const { number, record, crc, previousCrc } = decoded(key, value, checksum);
        if (number === mark.number && crc !== mark.crc) {
          throw walCorrupt(`record ${number} is not the one that tail names`, { record: number });
        }
        replay.record(number, record, crc, previousCrc);
      }
    }
  } finally {
    await iterator.close();
  }
  return replay.finish(newest.number);
}

interface Found {
  readonly number: number;
  readonly record: WalRecord;
  readonly crc: number;
  readonly previousCrc: number;
}

function decoded(key: Uint8Array, value: Uint8Array, checksum: Checksum): Found {
  const number = readRecordKey(key);
  if (number === undefined) throw walCorrupt("wal holds a key that is no record's");
  const found = decodeRecord(key, value, checksum);
  switch (found.kind) {
    case "record":
      return { number, record: found.record, crc: found.crc, previousCrc: found.previousCrc };
    case "newer":
      throw tooNew(`record ${number} of wal`, found.version, RECORD_VERSION);
    case "damaged":
      throw walCorrupt(`record ${number}: ${found.why}`, { record: number });
  }
}

async function newestRecord(database: Database, checksum: Checksum): Promise<Found> {
  const iterator = database.iterate({ reverse: true });
  try {
    const [pair] = await iterator.next(1);
    if (pair === undefined) throw walCorrupt("wal holds no record");
    return decoded(pair[0], pair[1], checksum);
  } finally {
    await iterator.close();
  }
}

/** Replays records in their order, and says what does not fit. */
class Replay {
  readonly #base: EntryId;
  readonly #oldest: number;
  #number: number;
  #crc: number | undefined;
  #newest: WalRecord | undefined;
  #entries: Entry[] = [];
  #runs: Run[] = [];
  readonly #noted = new Map<MemberId, number>();

  constructor(oldest: number, base: EntryId) {
    this.#oldest = oldest;
    this.#number = oldest - 1;
    this.#base = base;
  }

  record(number: number, record: WalRecord, crc: number, previousCrc: number): void {
    if (number !== this.#number + 1) {
      throw walCorrupt(`record ${this.#number + 1} is missing`, { record: this.#number + 1 });
    }
    if (this.#crc !== undefined && previousCrc !== this.#crc) {
      throw walCorrupt(`record ${number} was not written behind record ${number - 1}`, { record: number });
    }
    const before = this.#newest;
    if (before !== undefined) {
      this.#never(number, record.hardState.term < before.hardState.term, "its term falls");
      this.#never(number, record.identity.incarnation < before.identity.incarnation, "its incarnation falls");
      this.#never(number, record.released.index < before.released.index, "its release point falls");
      this.#never(number, record.oldest < before.oldest, "it needs an older record than the one before it did");
      const same =
        record.identity.memberId === before.identity.memberId &&
        record.identity.clusterId === before.identity.clusterId;
      this.#never(number, !same, "it was written by another member");
    }
    this.#never(number, record.oldest > number, "it needs a record that comes later");
    if (record.install !== undefined) {
      this.#entries = [];
      this.#runs = [];
    }
    if (record.cutFrom !== undefined) this.#cut(record.cutFrom);
    this.#append(number, record.entries);
    for (const id of record.noted) this.#noted.set(id, number);
    this.#newest = record;
    this.#number = number;
    this.#crc = crc;
  }

  finish(newest: number): { readonly state: WalState; readonly recovered: Recovered } {
    const record = this.#newest;
    if (record === undefined || this.#crc === undefined || this.#number !== newest) {
      throw walCorrupt(`record ${this.#number + 1} is missing`, { record: this.#number + 1 });
    }
    const last = this.#entries.at(-1) ?? this.#base;
    if (record.hardState.commit > last.index) {
      throw walCorrupt(`entry ${record.hardState.commit} was committed, but the log ends at entry ${last.index}`, {
        index: last.index,
      });
    }
    return {
      state: {
        identity: record.identity,
        generation: record.generation,
        hardState: record.hardState,
        base: this.#base,
        last: { index: last.index, term: last.term },
        runs: this.#runs,
        noted: this.#noted,
        number: this.#number,
        crc: this.#crc,
        oldest: this.#oldest,
      },
      recovered: {
        hardState: record.hardState,
        base: this.#base,
        entries: this.#entries,
        noted: new Set(this.#noted.keys()),
      },
    };
  }

  #never(number: number, broken: boolean, what: string): void {
    if (broken) throw walCorrupt(`record ${number}: ${what}`, { record: number });
  }

  #cut(from: number): void {
    const keep = Math.max(0, from - this.#base.index - 1);
    if (keep < this.#entries.length) this.#entries.length = keep;
    while (this.#runs.length > 0 && this.#runs.at(-1)!.from >= from) this.#runs.pop();
  }

  #append(number: number, entries: readonly Entry[]): void {
    const first = entries[0]?.index;
    if (first === undefined) return;
    this.#cut(first);
    const above = entries.filter(({ index }) => index > this.#base.index);
    if (above.length === 0) return;
    let previous: EntryId = this.#entries.at(-1) ?? this.#base;
    for (const entry of above) {
      this.#never(number, entry.index !== previous.index + 1, `entry ${entry.index} follows entry ${previous.index}`);
      this.#never(number, entry.term < previous.term, `the term of entry ${entry.index} falls`);
      this.#entries.push(entry);
      previous = entry;
    }
    this.#runs.push({ from: above[0]!.index, number });
  }
}

/** For messages: which member a directory belongs to. */
export function describeIdentity({ memberId, clusterId }: Identity): string {
  return `member ${formatId(memberId)} of cluster ${formatId(clusterId)}`;
}
