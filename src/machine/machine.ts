/**
 * The replicated state machine: the only writer of state. Entries go in one by one, in log order; each may take several
 * steps, and reads go on between them at the revisions below. Owns the order of things; what a command does stands in
 * `apply.ts`, the store itself in `kv`.
 */
import { fail } from "../base/assert.ts";
import { type ErrorCode, StoreError } from "../base/errors.ts";
import type { LogIndex, MemberId, Revision, Term } from "../base/ids.ts";
import { Compactor } from "../kv/compaction.ts";
import { type HashCursor, hashKv, hashRevision } from "../kv/hash-kv.ts";
import type { Change } from "../kv/history.ts";
import { KeyIndex } from "../kv/key-index.ts";
import { isOneKey } from "../kv/range.ts";
import { NOTHING, ResultRoom, UNBOUNDED } from "../kv/result-room.ts";
import { type Budget, runSlice, type Slices, sortInSlices } from "../kv/slices.ts";
import { SortedMap } from "../kv/sorted-map.ts";
import { Store } from "../kv/store.ts";
import { runTxn } from "../kv/txn.ts";
import { Lessor, LessorLoader, LOADED_AT_ONCE, type LoadedLeases } from "../lease/lessor.ts";
import type { Member } from "../protocol/key-value.ts";
import type { RangeRequest, RequestOp, TxnRequest } from "../protocol/requests.ts";
import type { Alarm, HashKvResult, RangeResult, TxnResult } from "../protocol/responses.ts";
import { Alarms } from "./alarms.ts";
import { type ApplyContext, type ApplyResult, type OperationCounts, startCommand } from "./apply.ts";
import type { Envelope } from "./command.ts";
import { decodeEnvelope } from "./envelope-codec.ts";
import {
  BUILT_BYTES_MAX,
  Ledger,
  type LedgerLimits,
  type LedgerMetrics,
  type LoadedLedger,
  loadLedger,
} from "./ledger.ts";
import { Members } from "./members.ts";
import {
  type ClientRecord,
  COMPACTED_KEY,
  decodeAlarm,
  decodeClient,
  decodeCompacted,
  decodeHead,
  decodeLease,
  decodeMember,
  decodeMeta,
  encodeCompacted,
  encodeMember,
  encodeMeta,
  type MachineMeta,
  META_KEY,
  type MemberRecord,
  memberKey,
  revisionKey,
  StateLeases,
  StateRecords,
} from "./records.ts";
import { StateHash } from "./state-hash.ts";
import { HEADROOM, KEY_SPACE, type StateStore } from "./state-store.ts";

const HISTORY_BYTES = 16 << 20;
/** What the results of one transaction may weigh. A range on its own has no such bound: it is one part of the state. */
const TXN_RESULT_BYTES = 32 << 20;

/** An empty store: revision 1, never compacted, nothing hashed. */
const BIRTH: MachineMeta = { revision: 1, compactRevision: -1, hashA: 0, hashB: 0 };

export interface MachineOptions {
  readonly store: StateStore;
  /** The last entry that the records in `store` contain. */
  readonly applied: { readonly index: LogIndex; readonly term: Term };
  /** Budget of `history`, 16 MiB by default. */
  readonly historyBytes?: number | undefined;
  /** Of the request ledger. All members must have the same: only for tests. */
  readonly ledgerLimits?: LedgerLimits | undefined;
}

export interface MachineEntry {
  readonly index: LogIndex;
  readonly term: Term;
  /** Empty: the entry that a leader begins its term with. */
  readonly data: Uint8Array;
  /** The decoded form, where the proposer kept it. */
  readonly envelope?: Envelope | undefined;
  /** Whether somebody here waits for the result. Elsewhere, and when the log is replayed, its key-values are not built. */
  readonly wanted: (envelope: Envelope) => boolean;
}

/**
 * What became of one entry. A refusal is as much a part of the replicated state as a success; an error with outcome
 * "applied" is none, and told only where the result was wanted.
 */
export interface Applied {
  readonly index: LogIndex;
  readonly term: Term;
  readonly envelope: Envelope | undefined;
  readonly outcome:
    | { readonly ok: true; readonly result: ApplyResult }
    | { readonly ok: false; readonly error: StoreError };
}

/** A read in slices. `close` gives up; it may be called at any time, and more than once. */
export interface SlicedRead<R> {
  /** Works at most about `budget` steps; `undefined` = not finished, call again. */
  step(budget: number): R | undefined;
  close(): void;
}
export type RangeRead = SlicedRead<RangeResult>;
export type TxnRead = SlicedRead<TxnResult>;
export interface HashKvRead extends SlicedRead<HashKvResult> {
  /** The state's key of the record that the next step begins with: it and what follows may be read in bulk before. */
  readonly next: Uint8Array | undefined;
}

export interface MachineMetrics extends Readonly<OperationCounts> {
  /** Keys that exist now. */
  readonly keys: number;
  /** Leases that exist now. */
  readonly leases: number;
  readonly ledger: LedgerMetrics;
}

/** Writes the first members' records of a fresh state, which the log will never tell. */
export function seedMembers(store: Pick<StateStore, "write">, members: readonly Member[]): void {
  for (const member of members) store.write(memberKey(member.id), encodeMember({ kind: "member", member }));
}

/** Takes every record of a state, in key order, then makes the machine. */
export class MachineLoader {
  readonly #index = new Map<string, KeyIndex>();
  /** Of the index, as they came. */
  readonly #names: string[] = [];
  readonly #members: MemberRecord[] = [];
  readonly #alarms: Alarm[] = [];
  readonly #leases = new LessorLoader();
  readonly #clients: ClientRecord[] = [];
  #meta: MachineMeta = BIRTH;
  #compacted = -1;
  #highest = 0;

  /** Throws `STATE_CORRUPT` or `FORMAT_TOO_NEW`. Keeps neither array. Other owners' records are none of its business. */
  record(key: Uint8Array, value: Uint8Array): void {
    switch (key[0]) {
      case KEY_SPACE.revision: {
        const { key: name, main, sub, create, version, lease } = decodeHead(key, value);
        const bytes = HEADROOM + value.length;
        const index = this.#index.get(name);
        if (index === undefined) {
          this.#index.set(name, new KeyIndex(main, sub, create, version, bytes));
          this.#names.push(name);
        } else index.append(main, sub, create, version, bytes);
        if (main > this.#highest) this.#highest = main;
        this.#leases.key(name, lease);
        break;
      }
      case KEY_SPACE.lease:
        this.#leases.lease(decodeLease(key, value));
        break;
      case KEY_SPACE.member:
        this.#members.push(decodeMember(key, value));
        break;
      case KEY_SPACE.alarm:
        this.#alarms.push(decodeAlarm(key, value));
        break;
      case KEY_SPACE.ledger:
        this.#clients.push(decodeClient(key, value));
        break;
      case KEY_SPACE.machine:
        if (key[1] === META_KEY[1]) this.#meta = decodeMeta(value);
        else if (key[1] === COMPACTED_KEY[1]) this.#compacted = decodeCompacted(value);
        break;
    }
  }

  finish(options: MachineOptions): Machine {
    return this.finishInSlices(options, { left: Infinity }).next().value as Machine;
  }

  /** The same for a member that has other things to do meanwhile: a million keys take seconds. */
  *finishInSlices(options: MachineOptions, budget: Budget): Slices<Machine> {
    const names = yield* sortInSlices(this.#names, (a, b) => (a < b ? -1 : 1), budget);
    const keys = new SortedMap(this.#index);
    for (const name of names) {
      keys.append(name);
      budget.left -= 1;
      if (budget.left <= 0) yield;
    }
    let liveKeys = 0;
    for (const { isLive } of this.#index.values()) {
      if (isLive) liveKeys += 1;
      budget.left -= 1;
      if (budget.left <= 0) yield;
    }
    const leases = yield* this.#joinLeases(budget);
    const ledger = yield* loadLedger(this.#clients, budget);
    if (this.#highest > this.#meta.revision) {
      throw new StoreError("STATE_CORRUPT", {
        message: `quorate: the state database is damaged: revision ${this.#highest} lies above ${this.#meta.revision}`,
      });
    }
    return new Machine(options, {
      keys,
      liveKeys,
      leases,
      meta: this.#meta,
      compacted: this.#compacted,
      members: this.#members,
      alarms: this.#alarms,
      ledger,
    });
  }

  *#joinLeases(budget: Budget): Slices<LoadedLeases> {
    const work = this.#leases.finishing();
    for (;;) {
      const { done, value } = work.next();
      if (done === true) return value;
      budget.left -= LOADED_AT_ONCE;
      if (budget.left <= 0) yield;
    }
  }
}

/** Everything that opening a state found. */
interface Loaded {
  readonly keys: SortedMap<KeyIndex>;
  readonly liveKeys: number;
  readonly leases: LoadedLeases;
  readonly meta: MachineMeta;
  readonly compacted: number;
  readonly members: readonly MemberRecord[];
  readonly alarms: readonly Alarm[];
  readonly ledger: LoadedLedger;
}

export class Machine {
  readonly #backend: StateStore;
  readonly #records: StateRecords;
  readonly #store: Store;
  readonly #members: Members;
  readonly #alarms: Alarms;
  readonly #lessor: Lessor;
  readonly #ledger: Ledger;
  readonly #compactor: Compactor;
  readonly #hash: StateHash;
  readonly #context: ApplyContext;
  readonly #counts: OperationCounts = {
    puts: 0,
    deletes: 0,
    txns: 0,
    ranges: 0,
    leasesGranted: 0,
    leasesRevoked: 0,
    leasesExpired: 0,
  };
  /** Refilled by each `step`; the slices of a command draw on it. */
  readonly #budget: Budget = { left: 0 };
  #applied: { readonly index: LogIndex; readonly term: Term };
  /** As of `#applied`: the working hash moves on while an entry is half-way. */
  #hashA: number;
  #hashB: number;
  #current: MachineEntry | undefined;
  #envelope: Envelope | undefined;
  #slices: Slices<ApplyResult> | undefined;
  /** Of the entry under way: what its result may weigh, and whether the ledger has not seen it before. */
  #room: ResultRoom = NOTHING;
  #isFresh = false;

  constructor(options: MachineOptions, loaded: Loaded) {
    const { meta } = loaded;
    this.#backend = options.store;
    this.#applied = options.applied;
    this.#hash = new StateHash(meta.hashA, meta.hashB);
    this.#hashA = meta.hashA;
    this.#hashB = meta.hashB;
    this.#members = new Members(options.store, this.#hash);
    for (const record of loaded.members) this.#members.load(record);
    this.#alarms = new Alarms(options.store, this.#hash);
    for (const alarm of loaded.alarms) this.#alarms.load(alarm);
    this.#lessor = new Lessor(new StateLeases(options.store, this.#hash), loaded.leases.leases, loaded.leases.leaseOf);
    this.#ledger = new Ledger(options.store, this.#hash, loaded.ledger, options.ledgerLimits);
    this.#records = new StateRecords(options.store, this.#hash, this.#lessor);
    this.#store = new Store(
      this.#records,
      {
        keys: loaded.keys,
        liveKeys: loaded.liveKeys,
        revision: meta.revision,
        compactRevision: meta.compactRevision,
      },
      options.historyBytes ?? HISTORY_BYTES,
    );
    this.#compactor = new Compactor(this.#store, loaded.compacted, (revision) =>
      options.store.write(COMPACTED_KEY, encodeCompacted(revision)),
    );
    this.#context = {
      store: this.#store,
      members: this.#members,
      alarms: this.#alarms,
      lessor: this.#lessor,
      ledger: this.#ledger,
      leaseExists: (id) => this.#lessor.lookup(id) !== undefined,
      counts: this.#counts,
    };
  }

  /** The last entry that is through. */
  get applied(): { readonly index: LogIndex; readonly term: Term } {
    return this.#applied;
  }

  get revision(): Revision {
    return this.#store.revision;
  }

  /** -1 until the first compaction. */
  get compactRevision(): number {
    return this.#store.compactRevision;
  }

  /** The newest changes by revision, for watches. */
  get history(): Store["history"] {
    return this.#store.history;
  }

  /** For watches, which read and pin; nothing is written through it. */
  get store(): Store {
    return this.#store;
  }

  /** A record of the store that may not be there. Throws `STATE_CORRUPT` if it is there and damaged. */
  find(main: number, sub: number): Change | undefined {
    return this.#records.find(main, sub);
  }

  /** For questions, and for whoever keeps the leader's timers. Only entries change it. */
  get lessor(): Lessor {
    return this.#lessor;
  }

  /** For questions. Only entries change it. */
  get ledger(): Pick<Ledger, "record" | "silentSince"> {
    return this.#ledger;
  }

  /** 16 hexadecimal digits over everything replicated up to `applied`. Equal on all members at equal applied index. */
  get stateHash(): string {
    return new StateHash(this.#hashA, this.#hashB).toString();
  }

  get metrics(): MachineMetrics {
    return { keys: this.#store.liveKeys, leases: this.#lessor.size, ledger: this.#ledger.metrics, ...this.#counts };
  }

  /** By id, ascending. */
  members(): readonly Member[] {
    return this.#members.list();
  }

  /** By member, ascending. */
  get alarms(): Pick<Alarms, "list" | "noSpace" | "stands"> {
    return this.#alarms;
  }

  /** Ids that may never come back. */
  get removedMembers(): ReadonlySet<MemberId> {
    return this.#members.removed;
  }

  // --- entries ---

  /**
   * Starts the next entry; the one before it must be through, and none may be left out: a member that skips one differs
   * from the others for ever. The entry's bytes are read until it is through, and never change. Throws `FORMAT_TOO_NEW`
   * where a newer release wrote the entry.
   */
  begin(entry: MachineEntry): void {
    if (this.#current !== undefined) fail("machine-order", `entry ${entry.index} begins inside ${this.#current.index}`);
    if (entry.index !== this.#applied.index + 1) {
      fail("machine-order", `entry ${entry.index} comes after ${this.#applied.index}`);
    }
    this.#envelope = entry.data.length === 0 ? undefined : (entry.envelope ?? decoded(entry));
    this.#current = entry;
  }

  /** Works at most about `budget` steps; `undefined` = not finished, call again after yielding. */
  step(budget: number): Applied | undefined {
    const entry = this.#current;
    if (entry === undefined) fail("machine-order", "no entry has begun");
    let result: ApplyResult | undefined;
    let error: StoreError | undefined;
    try {
      result = this.#work(budget);
      if (result === undefined) return undefined;
    } catch (thrown) {
      // Damage or a broken promise is no answer: it stops the node, and says so by passing through.
      if (!(thrown instanceof StoreError) || !REFUSALS.has(thrown.code)) throw thrown;
      error = thrown;
    }
    return this.#finish(entry, error === undefined ? { ok: true, result: result! } : { ok: false, error });
  }

  #work(budget: number): ApplyResult | undefined {
    if (this.#slices === undefined) {
      const envelope = this.#envelope;
      if (envelope === undefined) return { kind: "members", members: this.#members.list() };
      const { index, term, wanted } = this.#current!;
      if (envelope.clientId !== 0) {
        const known = this.#ledger.known(envelope);
        if (known !== undefined) return known;
        this.#isFresh = true;
      }
      this.#room = roomFor(envelope, wanted(envelope));
      const started = startCommand(this.#context, envelope.command, index, term, this.#room, this.#budget);
      if ("result" in started) return started.result;
      this.#slices = started.slices;
    }
    return runSlice(this.#slices, this.#budget, budget);
  }

  #finish(entry: MachineEntry, outcome: Applied["outcome"]): Applied {
    const { index, term } = entry;
    const envelope = this.#envelope;
    const hash = this.#hash;
    if (envelope !== undefined && envelope.clientId !== 0) {
      const ending = { outcome, isCut: this.#room.exceeded, revision: this.#store.revision };
      this.#ledger.through(envelope, index, this.#isFresh ? ending : undefined);
    }
    // Each entry counts, whatever it did: a member that missed or refused one differs from then on.
    hash.number(index);
    hash.number(term);
    hash.number(this.#store.compactRevision);
    // Too large to answer is no refusal: only the member that was to answer knows of it.
    hash.word(outcome.ok || outcome.error.outcome === "applied" ? 0 : 1);
    this.#hashA = hash.a;
    this.#hashB = hash.b;
    this.#applied = { index, term };
    this.#current = undefined;
    this.#envelope = undefined;
    this.#slices = undefined;
    this.#room = NOTHING;
    this.#isFresh = false;
    return { index, term, envelope, outcome };
  }

  // --- reads ---

  /**
   * A range of one key, at once; `undefined` if it is one of several. Throws as `startRange`. `own`: the bytes are the
   * caller's; without it the state shares them, and nobody changes them.
   */
  rangeOne(request: RangeRequest, own: boolean = false): RangeResult | undefined {
    if (!isOneKey(request)) return undefined;
    const store = this.#store;
    const current = store.revision;
    const at = store.readRevision(request.revision, current);
    this.#counts.ranges += 1;
    return store.rangeOne(request, at, current, UNBOUNDED, own);
  }

  /**
   * A range at the revision asked for, or the current one; that revision stays readable until `close` or the result.
   * Throws `COMPACTED` (details: `compactRevision`) or `FUTURE_REVISION` at once.
   */
  startRange(request: RangeRequest): RangeRead {
    const store = this.#store;
    const current = store.revision;
    const at = store.readRevision(request.revision, current);
    this.#counts.ranges += 1;
    return read(store.pin(at), (budget) => store.range(request, at, current, budget));
  }

  /** A read-only transaction at the current revision. Its errors come from `step`. */
  startTxnRead(request: TxnRequest): TxnRead {
    const store = this.#store;
    const at = store.revision;
    this.#counts.txns += 1;
    const lowest = Math.max(lowestRevision(request, at), store.compactRevision);
    const { leaseExists } = this.#context;
    return read(store.pin(lowest), (budget) =>
      runTxn(store, request, { kind: "read", at }, leaseExists, budget, UNBOUNDED),
    );
  }

  /** etcd's hash of the records up to a revision; 0 = the current one. Throws `COMPACTED`, `FUTURE_REVISION` at once. */
  startHashKv(revision: number): HashKvRead {
    const store = this.#store;
    const at = hashRevision(store, revision);
    const cursor: HashCursor = { next: undefined };
    return {
      ...read(store.pin(store.compactRevision), (budget) => hashKv(store, at, budget, cursor)),
      get next() {
        return cursor.next === undefined ? undefined : revisionKey(cursor.next.main, cursor.next.sub);
      },
    };
  }

  /** Brings the records up to date with what is applied. Call it between two entries, before each flush. */
  save(): void {
    if (this.#current !== undefined) fail("machine-order", `saved inside entry ${this.#current.index}`);
    this.#ledger.save();
    const { revision, compactRevision } = this.#store;
    this.#backend.write(META_KEY, encodeMeta({ revision, compactRevision, hashA: this.#hashA, hashB: this.#hashB }));
  }

  // --- compaction ---

  /** Records wait to be dropped. */
  get compactionPending(): boolean {
    return this.#compactor.pending;
  }

  /** Drops records for at most about `budget` steps; true = done. A read that holds a revision may hold it back. */
  compactStep(budget: number): boolean {
    return this.#compactor.step(budget);
  }
}

/** What an entry may be answered with instead of a result. Anything else that is thrown during apply stops the node. */
export const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "COMPACTED",
  "FUTURE_REVISION",
  "LEASE_NOT_FOUND",
  "LEASE_EXISTS",
  "LEASE_TTL_TOO_LARGE",
  "LEADER_CHANGED",
  "KEY_NOT_FOUND",
  "MEMBER_NOT_FOUND",
  "MEMBER_EXISTS",
  "PEER_URL_EXISTS",
  "TOO_MANY_LEARNERS",
  "MEMBER_NOT_LEARNER",
  "RESULT_TOO_LARGE",
  "NO_SPACE",
  "CLIENT_EXPIRED",
  "SEQUENCE_SETTLED",
  "TOO_MANY_OPEN_WRITES",
  "RESULT_NOT_KEPT",
]);

/**
 * What an entry's result may weigh on this member. A client's write is built everywhere, as far as the ledger may keep it:
 * whoever leads next must be able to answer for it.
 */
function roomFor({ clientId, command }: Envelope, wanted: boolean): ResultRoom {
  if (wanted) return command.kind === "txn" ? new ResultRoom(TXN_RESULT_BYTES) : UNBOUNDED;
  return clientId === 0 ? NOTHING : new ResultRoom(BUILT_BYTES_MAX);
}

/** What is committed and cannot be read stops the member: passing over it would be an opinion of its own. */
function decoded(entry: MachineEntry): Envelope {
  try {
    return decodeEnvelope(entry.data);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new StoreError("INTERNAL", {
      outcome: "unknown",
      message: `quorate: entry ${entry.index} of the log cannot be decoded: ${cause.message}`,
      cause,
    });
  }
}

function lowestRevision(txn: TxnRequest, current: number): number {
  let lowest = current;
  const look = (ops: readonly RequestOp[]): void => {
    for (const op of ops) {
      if (op.kind === "txn") {
        look(op.success);
        look(op.failure);
      } else if (op.kind === "range" && op.revision !== undefined && op.revision > 0 && op.revision < lowest) {
        lowest = op.revision;
      }
    }
  };
  look(txn.success);
  look(txn.failure);
  return lowest;
}

function read<R>(unpin: () => void, start: (budget: Budget) => Slices<R>): SlicedRead<R> {
  const budget: Budget = { left: 0 };
  const slices = start(budget);
  let open = true;
  const close = (): void => {
    if (!open) return;
    open = false;
    unpin();
  };
  return {
    step(steps) {
      if (!open) fail("machine-read", "the read is closed");
      try {
        const result = runSlice(slices, budget, steps);
        if (result !== undefined) close();
        return result;
      } catch (error) {
        close();
        throw error;
      }
    },
    close,
  };
}
