/**
 * One member's directory: `wal/`, `tail`, `state-<generation>/`. Born by one rename, opened only if everything that this
 * member ever promised is there, and refused otherwise with a word on what is wrong. LevelDB's lock on `wal/` guards it.
 */
import { assert } from "../base/assert.ts";
import { StoreError } from "../base/errors.ts";
import { type ClusterId, type LogIndex, logIndex, type MemberId, type Term, term } from "../base/ids.ts";
import type { Checksum } from "../platform/checksum.ts";
import type { Clock } from "../platform/clock.ts";
import type { Database, Disk } from "../platform/disk.ts";
import { type Logger, silent } from "../platform/log.ts";
import type { ConfState } from "../raft/membership-types.ts";
import { asDamage, stateCorrupt, walCorrupt } from "./damage.ts";
import { encodeRecord, type Identity, recordKey } from "./record.ts";
import { createState, META_KEY, StateBackend, type StateRecord, statePath } from "./state-backend.ts";
import { Tail } from "./tail.ts";
import { describeIdentity, type Recovered, recoverWal, Wal } from "./wal.ts";

export type { Identity } from "./record.ts";
export type { Recovered } from "./wal.ts";

const WAL = "wal";
const TAIL = "tail";
/** Everything is made in here first. While it stands and `wal` does not, there is no member. */
const BIRTH = "birth";
const FIRST_GENERATION = 1;
/** Room for LevelDB to gather records before it writes a table: larger means fewer tables that nobody reads. */
const WAL_BUFFER_BYTES = 8 << 20;

const STATE_NAME = /^state-(\d+)$/;
const LEFTOVER_NAME = /^state-\d+(\.part)?(\.new)?$/;

export interface DataDir {
  /** With this start's incarnation, already durable. */
  readonly identity: Identity;
  readonly wal: Wal;
  /** The state that was live at opening. A snapshot installed later brings its own. */
  readonly state: StateBackend;
  readonly recovered: Recovered;
  /** Closes the log and that state. Safe to call twice. */
  close(): Promise<void>;
}

export interface CreateOptions {
  /** The incarnation given is that before the first start. */
  readonly identity: Identity;
  /** The first configuration. It stands in the log's first record; `seed` puts what the machine needs into the state. */
  readonly conf: ConfState;
  /** The log begins behind this entry, as if a snapshot stood there. Default (0, 0). */
  readonly base?: { readonly index: LogIndex; readonly term: Term };
  /** Writes the first records of the state. */
  readonly seed?: (store: SeedStore) => void;
  /** What the state holds beside that, for a member that does not begin empty. None of them may be of `seed`'s keys. */
  readonly records?: AsyncIterable<StateRecord>;
  readonly checksum: Checksum;
}

/** The machine's `StateStore`, in memory, until it is born. */
export interface SeedStore {
  read(key: Uint8Array): Uint8Array | undefined;
  write(key: Uint8Array, value: Uint8Array): void;
  delete(key: Uint8Array): void;
}

export interface OpenOptions {
  readonly checksum: Checksum;
  readonly expect?: { readonly memberId?: MemberId; readonly clusterId?: ClusterId };
  readonly log?: Logger;
  /** Times the synchronous writes for `wal.onFsync`. */
  readonly clock?: Clock;
}

/**
 * Whether a member lives here. "present" also if what is here is damaged or incomplete: only a directory in which
 * nobody was ever born may be treated as empty. An interrupted creation is cleared away.
 */
export async function probeDataDir(disk: Disk): Promise<"empty" | "present"> {
  const names = await disk.list("");
  if (names.includes(WAL)) return "present";
  const states = names.filter((name) => LEFTOVER_NAME.test(name));
  if (names.includes(BIRTH)) {
    // A later generation cannot come before birth: then `wal` was lost, and this is damage.
    if (states.some((name) => name !== statePath(FIRST_GENERATION))) return "present";
    const lock = await lockBirth(disk);
    try {
      for (const name of [...states, TAIL]) if (names.includes(name)) await disk.remove(name);
      // Last: until then it says that nothing here was ever alive.
      await disk.remove(BIRTH);
    } finally {
      await lock?.close();
    }
    return "empty";
  }
  return names.includes(TAIL) || states.length > 0 ? "present" : "empty";
}

/** Throws `DATA_DIR_IN_USE` while another process creates the member: it holds the lock of the log until that is in place. */
async function lockBirth(disk: Disk): Promise<Database | undefined> {
  try {
    return await disk.openDatabase(`${BIRTH}/${WAL}`, { create: false });
  } catch (error) {
    // It came to no log, so nobody holds one.
    if (StoreError.is(error, "DISK_FAILED")) return undefined;
    throw error;
  }
}

/** Makes a member's directory where `probeDataDir` said "empty". A crash at any step leaves it empty or complete. */
export async function createDataDir(disk: Disk, options: CreateOptions): Promise<void> {
  const { identity, conf, checksum } = options;
  const base = options.base ?? { index: logIndex(0), term: term(0) };
  const at = (name: string): string => `${BIRTH}/${name}`;
  await disk.makeDirectory(BIRTH);
  const wal = await openNewborn(disk, at(WAL));
  // Open to the end: its lock keeps a second creator away.
  try {
    const key = recordKey(1);
    const first = encodeRecord(
      key,
      {
        identity,
        generation: FIRST_GENERATION,
        released: base,
        oldest: 1,
        hardState: { term: base.term, votedFor: undefined, commit: base.index },
        cutFrom: undefined,
        install: { ...base, conf },
        noted: [],
        entries: [],
      },
      0,
      checksum,
    );
    await wal.batch([{ kind: "put", key, value: first.bytes }], { sync: true });
    await createState(disk, at(statePath(FIRST_GENERATION)), base, firstRecords(options), checksum);
    await Tail.create(disk, at(TAIL), { number: 1, crc: first.crc }, checksum);

    await disk.rename(at(statePath(FIRST_GENERATION)), statePath(FIRST_GENERATION));
    await disk.rename(at(TAIL), TAIL);
    // From here on the member exists.
    await disk.rename(at(WAL), WAL);
    await disk.remove(BIRTH);
  } finally {
    await wal.close();
  }
}

async function openNewborn(disk: Disk, path: string): Promise<Database> {
  try {
    return await disk.openDatabase(path, { create: true });
  } catch (error) {
    if (!StoreError.is(error, "DISK_FAILED") || error.details.reason !== "exists") throw error;
    throw new StoreError("DATA_DIR_IN_USE", {
      cause: error,
      message: "quorate: the data directory is in use: another process is creating a member in it",
    });
  }
}

/**
 * Opens and verifies a member's directory, and makes the new incarnation durable. Throws `WAL_CORRUPT`,
 * `STATE_CORRUPT`, `DATA_DIR_MISMATCH`, `DATA_DIR_IN_USE`, `FORMAT_TOO_NEW`; then nothing was changed or deleted. The
 * state's records are verified by its `scan`, which every start runs.
 */
export async function openDataDir(disk: Disk, options: OpenOptions): Promise<DataDir> {
  const { checksum, expect, log = silent, clock } = options;
  const opened: { close(): Promise<void> }[] = [];
  try {
    const database = await openWal(disk);
    opened.push(database);
    const { tail, mark } = await Tail.open(disk, TAIL, checksum);
    opened.push(tail);
    const { state: walState, recovered } = await recoverWal(database, mark, checksum);
    checkIdentity(walState.identity, expect);
    const state = await StateBackend.open({ disk, generation: walState.generation, checksum });
    opened.push(state);
    checkState(state, recovered);
    await removeLeftovers(disk, walState.generation, log);

    const wal = new Wal(database, tail, walState, checksum, clock);
    await wal.begin(walState.identity.incarnation + 1);
    let closed: Promise<void> | undefined;
    return {
      identity: walState.identity,
      wal,
      state,
      recovered,
      close() {
        closed ??= closeAll([state, wal]);
        return closed;
      },
    };
  } catch (error) {
    // Newest first, and whatever closing says, the reason is the first failure.
    await closeAll(opened.reverse()).catch(() => {});
    throw error;
  }
}

async function openWal(disk: Disk): Promise<Database> {
  try {
    return await disk.openDatabase(WAL, { create: false, writeBufferBytes: WAL_BUFFER_BYTES });
  } catch (error) {
    throw asDamage(error, walCorrupt, WAL);
  }
}

function checkIdentity(identity: Identity, expect: OpenOptions["expect"]): void {
  const otherMember = expect?.memberId !== undefined && expect.memberId !== identity.memberId;
  const otherCluster = expect?.clusterId !== undefined && expect.clusterId !== identity.clusterId;
  if (!otherMember && !otherCluster) return;
  throw new StoreError("DATA_DIR_MISMATCH", {
    message: `quorate: the data directory belongs to ${describeIdentity(identity)}, but ${describeIdentity({
      ...identity,
      ...expect,
    })} was to start. Point this member to its own directory, or check its name, the member list and the cluster token`,
    details: { memberId: identity.memberId, clusterId: identity.clusterId },
  });
}

/** The state must stand at an entry of the log, or at its base. */
function checkState(state: StateBackend, { base, entries }: Recovered): void {
  const applied = state.appliedIndex;
  const last = entries.at(-1)?.index ?? base.index;
  if (applied > last) {
    throw walCorrupt(`the state holds entry ${applied}, but the log ends at entry ${last}`, { index: last });
  }
  if (applied < base.index) {
    throw stateCorrupt(`it stands at entry ${applied}, but the log begins behind entry ${base.index}`, {
      index: applied,
    });
  }
  const entry = applied === base.index ? base : entries[applied - base.index - 1]!;
  if (entry.term !== state.appliedTerm) {
    throw stateCorrupt(`it holds entry ${applied} of term ${state.appliedTerm}, the log one of term ${entry.term}`, {
      index: applied,
    });
  }
}

async function removeLeftovers(disk: Disk, generation: number, log: Logger): Promise<void> {
  for (const name of await disk.list("")) {
    const leftover = name === BIRTH || (LEFTOVER_NAME.test(name) && name !== statePath(generation));
    if (!leftover) continue;
    if (STATE_NAME.test(name)) log.info({ name, live: statePath(generation) }, "removing a state that is not live");
    await disk.remove(name);
  }
}

async function closeAll(opened: readonly { close(): Promise<void> }[]): Promise<void> {
  const ends = await Promise.allSettled(opened.map((one) => one.close()));
  for (const end of ends) if (end.status === "rejected") throw end.reason;
}

async function* firstRecords({ seed, records }: CreateOptions): AsyncGenerator<StateRecord, void, undefined> {
  if (records !== undefined) yield* records;
  yield* seeded(seed);
}

function seeded(seed: CreateOptions["seed"]): readonly StateRecord[] {
  const records = new Map<string, StateRecord>();
  const name = (key: Uint8Array): string => key.join(".");
  seed?.({
    read: (key) => records.get(name(key))?.[1].slice(),
    write: (key, value) => {
      assert(key.length > 0 && key[0]! < META_KEY[0]!, "state", () => `no record may have the key ${name(key)}`);
      records.set(name(key), [key, value]);
    },
    delete: (key) => {
      records.delete(name(key));
    },
  });
  return [...records.values()];
}
