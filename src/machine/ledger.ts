/**
 * The request ledger: what makes a write that is sent twice apply once (design section 7). It knows each registered client
 * by the index of its registration's entry, and remembers what became of the operations that the client has not yet
 * acknowledged, so that a repeated one is answered and not applied again. Part of the replicated state: every member
 * decides the same, at the same entry, by counts and never by time.
 *
 *    sequence   1 2 3 4 | 5 6 7 8 ...        lowest = 5: what lies below is acknowledged, and refused for ever
 *                       ^ lowest
 *
 * Entries only look first (`known`) and change the ledger when they are through (`through`): one that is abandoned
 * half-way leaves no trace. Records are written when the state is flushed (`save`), so that an operation that is
 * acknowledged between two flushes, as nearly all are, costs the disk nothing.
 */
import { StoreError } from "../base/errors.ts";
import { revision } from "../base/ids.ts";
import { NumberMap } from "../base/number-map.ts";
import { type Budget, type Slices, sortInSlices } from "../kv/slices.ts";
import { decodeError, decodeResult, encodeError, encodeResult } from "../protocol/codec.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Result } from "../protocol/responses.ts";
import type { ApplyResult } from "./apply.ts";
import type { Envelope } from "./command.ts";
import { type ClientRecord, clientKey, encodeClient, FORM, type Form, type OperationRecord } from "./records.ts";
import type { StateHash } from "./state-hash.ts";
import type { StateStore } from "./state-store.ts";

/** Sequences of one client, from its lowest unacknowledged one on. */
export const OPEN_MAX = 1_024;
/** A longer result is not kept: its repetition is told that it was applied, and at which revision. */
export const RESULT_BYTES_MAX: number = 16 << 10;
/**
 * What the members build of a result that nobody there waits for. Whatever exceeds it, at about 500 bytes a key-value,
 * is also longer than `RESULT_BYTES_MAX`, so all members agree on what is kept.
 */
export const BUILT_BYTES_MAX: number = 1 << 20;

export interface LedgerLimits {
  /** Bytes of all results. Beyond it they are dropped, oldest first; that they were applied is not forgotten. */
  readonly resultBytes: number;
  /** Clients, and operations of all of them. Beyond either, the client that has been silent for longest is forgotten. */
  readonly clients: number;
  readonly operations: number;
}

const LIMITS: LedgerLimits = { resultBytes: 64 << 20, clients: 65_536, operations: 1 << 20 };

class Operation implements OperationRecord {
  readonly sequence: number;
  readonly index: number;
  form: Form;
  readonly revision: number;
  bytes: Uint8Array | undefined;
  readonly client: LedgerClient;
  /** Neighbours among the results that can be dropped. */
  older: Operation | undefined = undefined;
  newer: Operation | undefined = undefined;

  constructor(client: LedgerClient, record: OperationRecord) {
    this.client = client;
    this.sequence = record.sequence;
    this.index = record.index;
    this.form = record.form;
    this.revision = record.revision;
    this.bytes = record.bytes;
  }
}

class LedgerClient {
  readonly id: number;
  lastIndex: number;
  lastSequence: number;
  lowest: number;
  readonly operations: NumberMap<Operation> = new NumberMap();
  /** Its record is older than it. */
  isDirty = false;
  /** Neighbours in the order of silence. */
  older: LedgerClient | undefined = undefined;
  newer: LedgerClient | undefined = undefined;

  constructor(id: number, lastIndex: number, lastSequence: number, lowest: number) {
    this.id = id;
    this.lastIndex = lastIndex;
    this.lastSequence = lastSequence;
    this.lowest = lowest;
  }
}

/** A list that its members carry the links of: first the oldest. */
class Chain<T extends { older: T | undefined; newer: T | undefined }> {
  oldest: T | undefined;
  newest: T | undefined;

  push(one: T): void {
    one.older = this.newest;
    one.newer = undefined;
    if (this.newest === undefined) this.oldest = one;
    else this.newest.newer = one;
    this.newest = one;
  }

  remove(one: T): void {
    if (one.older === undefined) this.oldest = one.newer;
    else one.older.newer = one.newer;
    if (one.newer === undefined) this.newest = one.older;
    else one.newer.older = one.older;
    one.older = undefined;
    one.newer = undefined;
  }
}

export interface LedgerMetrics {
  readonly clients: number;
  readonly operations: number;
  readonly resultBytes: number;
  /** Since this process opened the state: registrations, and repetitions that were answered from memory. */
  readonly registrations: number;
  readonly hits: number;
}

/** What a stored state holds of the ledger: what one begins with. */
export class LoadedLedger {
  readonly clients: Map<number, LedgerClient> = new Map();
  readonly bySilence: Chain<LedgerClient> = new Chain();
  readonly results: Chain<Operation> = new Chain();
  operations = 0;
  resultBytes = 0;
}

/** In slices: 65,536 clients with a million operations take seconds. The order of the records means nothing. */
export function* loadLedger(records: readonly ClientRecord[], budget: Budget): Slices<LoadedLedger> {
  const loaded = new LoadedLedger();
  const results: Operation[] = [];
  const bySilence = yield* sortInSlices([...records], (a, b) => a.lastIndex - b.lastIndex, budget);
  for (const record of bySilence) {
    const client = new LedgerClient(record.id, record.lastIndex, record.lastSequence, record.lowest);
    loaded.clients.set(client.id, client);
    loaded.bySilence.push(client);
    for (const each of record.operations) {
      const operation = new Operation(client, each);
      client.operations.set(each.sequence, operation);
      if (operation.form === FORM.result) results.push(operation);
    }
    loaded.operations += record.operations.length;
    budget.left -= 1 + record.operations.length;
    if (budget.left <= 0) yield;
  }
  for (const operation of yield* sortInSlices(results, (a, b) => a.index - b.index, budget)) {
    loaded.results.push(operation);
    loaded.resultBytes += operation.bytes!.length;
    budget.left -= 1;
    if (budget.left <= 0) yield;
  }
  return loaded;
}

/** Clients whose records are behind before they are written without waiting for the flush: a few milliseconds' work. */
const DIRTY_MAX = 1_000;

export class Ledger {
  readonly #store: StateStore;
  readonly #hash: StateHash;
  readonly #limits: LedgerLimits;
  readonly #clients: Map<number, LedgerClient>;
  readonly #bySilence: Chain<LedgerClient>;
  readonly #results: Chain<Operation>;
  #dirty: LedgerClient[] = [];
  #operations: number;
  #resultBytes: number;
  #registrations = 0;
  #hits = 0;

  constructor(
    store: StateStore,
    hash: StateHash,
    loaded: LoadedLedger = new LoadedLedger(),
    limits: LedgerLimits = LIMITS,
  ) {
    this.#store = store;
    this.#hash = hash;
    this.#limits = limits;
    this.#clients = loaded.clients;
    this.#bySilence = loaded.bySilence;
    this.#results = loaded.results;
    this.#operations = loaded.operations;
    this.#resultBytes = loaded.resultBytes;
  }

  get metrics(): LedgerMetrics {
    return {
      clients: this.#clients.size,
      operations: this.#operations,
      resultBytes: this.#resultBytes,
      registrations: this.#registrations,
      hits: this.#hits,
    };
  }

  /** `undefined` if there is no such client. */
  record(clientId: number): ClientRecord | undefined {
    const client = this.#clients.get(clientId);
    return client === undefined ? undefined : recordOf(client);
  }

  // --- entries ---

  /**
   * Looks whether the operation may be applied, and changes nothing. `undefined`: it is new. Otherwise it is known, and
   * this is what became of it: its result, or thrown its refusal or `RESULT_NOT_KEPT`. Throws `CLIENT_EXPIRED`,
   * `SEQUENCE_SETTLED` and `TOO_MANY_OPEN_WRITES` for what must not be applied.
   */
  known({ clientId, sequence, lowestUnacknowledged }: Envelope): ApplyResult | undefined {
    const client = this.#clients.get(clientId);
    if (client === undefined) throw new StoreError("CLIENT_EXPIRED", { details: { clientId } });
    const lowest = Math.max(client.lowest, lowestUnacknowledged);
    if (sequence < lowest) throw new StoreError("SEQUENCE_SETTLED", { details: { clientId, sequence, lowest } });
    const operation = client.operations.get(sequence);
    if (operation !== undefined) return answerOf(operation);
    if (sequence - lowest >= OPEN_MAX) {
      throw new StoreError("TOO_MANY_OPEN_WRITES", { details: { clientId, sequence, lowest } });
    }
    return undefined;
  }

  /**
   * An entry with a client is through. `fresh` is what became of it where `known` found it new; `undefined` otherwise.
   */
  through(envelope: Envelope, index: number, fresh: Ending | undefined): void {
    const { clientId, sequence, lowestUnacknowledged } = envelope;
    const client = this.#clients.get(clientId);
    if (client === undefined) return;
    client.lastIndex = index;
    if (this.#bySilence.newest !== client) {
      this.#bySilence.remove(client);
      this.#bySilence.push(client);
    }
    if (lowestUnacknowledged > client.lowest) this.#acknowledge(client, lowestUnacknowledged);
    if (sequence > client.lastSequence) client.lastSequence = sequence;
    const hash = this.#hash;
    hash.number(clientId);
    hash.number(sequence);
    hash.number(client.lowest);
    if (fresh !== undefined) this.#remember(client, sequence, index, fresh);
    else if (client.operations.has(sequence)) this.#hits += 1;
    this.#touch(client);
  }

  /** The client's id is the index of the entry that registers it: unique for as long as the log is. */
  register(index: number): void {
    const client = new LedgerClient(index, index, 0, 1);
    this.#clients.set(index, client);
    this.#bySilence.push(client);
    this.#registrations += 1;
    this.#hash.number(index);
    this.#touch(client);
    this.#makeRoom();
  }

  /** Forgets the client unless it has written since: then it stays. */
  expire(clientId: number, lastSequence: number): void {
    const client = this.#clients.get(clientId);
    if (client?.lastSequence === lastSequence) this.#forget(client);
  }

  /** Clients that nothing came from since the entry at `index`, the most silent first. */
  silentSince(index: number, limit: number): { readonly id: number; readonly lastSequence: number }[] {
    const silent: { id: number; lastSequence: number }[] = [];
    let client = this.#bySilence.oldest;
    while (client !== undefined && client.lastIndex <= index && silent.length < limit) {
      silent.push({ id: client.id, lastSequence: client.lastSequence });
      client = client.newer;
    }
    return silent;
  }

  /** Writes the records that are behind. Call it between two entries, before each flush. */
  save(): void {
    for (const client of this.#dirty) {
      client.isDirty = false;
      client.operations.trim();
      if (this.#clients.get(client.id) === client)
        this.#store.write(clientKey(client.id), encodeClient(recordOf(client)));
    }
    this.#dirty = [];
  }

  // ---

  #remember(client: LedgerClient, sequence: number, index: number, ending: Ending): void {
    const operation = new Operation(client, recorded(sequence, index, ending));
    client.operations.set(sequence, operation);
    this.#operations += 1;
    this.#hash.word(operation.form);
    if (operation.form === FORM.result) {
      this.#results.push(operation);
      this.#resultBytes += operation.bytes!.length;
      this.#hash.word(operation.bytes!.length);
    }
    this.#makeRoom();
  }

  #makeRoom(): void {
    while (this.#resultBytes > this.#limits.resultBytes) {
      const operation = this.#results.oldest!;
      this.#drop(operation);
      operation.form = FORM.dropped;
      operation.bytes = undefined;
      this.#touch(operation.client);
    }
    // The newest client is the one at work.
    while (this.#clients.size > this.#limits.clients || this.#operations > this.#limits.operations) {
      const client = this.#bySilence.oldest!;
      if (client === this.#bySilence.newest) return;
      this.#forget(client);
    }
  }

  #acknowledge(client: LedgerClient, lowest: number): void {
    const { operations } = client;
    // A client that skips sequences must not make this a long walk.
    if (lowest - client.lowest <= 2 * operations.size) {
      for (let sequence = client.lowest; sequence < lowest; sequence++) {
        const operation = operations.get(sequence);
        if (operation !== undefined) this.#settled(operation);
      }
    } else {
      for (const operation of operations.values()) if (operation.sequence < lowest) this.#settled(operation);
    }
    client.lowest = lowest;
  }

  #settled(operation: Operation): void {
    operation.client.operations.delete(operation.sequence);
    this.#operations -= 1;
    if (operation.form === FORM.result) this.#drop(operation);
  }

  #drop(operation: Operation): void {
    this.#results.remove(operation);
    this.#resultBytes -= operation.bytes!.length;
  }

  #forget(client: LedgerClient): void {
    this.#clients.delete(client.id);
    this.#bySilence.remove(client);
    for (const operation of client.operations.values()) if (operation.form === FORM.result) this.#drop(operation);
    this.#operations -= client.operations.size;
    this.#hash.number(client.id);
    this.#store.delete(clientKey(client.id));
  }

  #touch(client: LedgerClient): void {
    if (client.isDirty) return;
    client.isDirty = true;
    this.#dirty.push(client);
    // So the flush finds little left to write at once.
    if (this.#dirty.length >= DIRTY_MAX) this.save();
  }
}

/** What became of a new operation. */
export interface Ending {
  readonly outcome:
    | { readonly ok: true; readonly result: ApplyResult }
    | { readonly ok: false; readonly error: StoreError };
  /** The result is not whole: it was not built to its end. */
  readonly isCut: boolean;
  /** The store's, after it. */
  readonly revision: number;
}

function recorded(sequence: number, index: number, { outcome, isCut, revision: at }: Ending): OperationRecord {
  if (!outcome.ok) {
    const { error } = outcome;
    return error.outcome === "applied"
      ? { sequence, index, form: FORM.dropped, revision: at, bytes: undefined }
      : { sequence, index, form: FORM.refused, revision: 0, bytes: new Uint8Array(encodeError(error)) };
  }
  const { result } = outcome;
  // A put whose previous value was not built looks as if there had been none: only the members that build it would know.
  if (result.kind === "put" && result.prevKv === undefined && !isCut) {
    return { sequence, index, form: FORM.put, revision: result.revision, bytes: undefined };
  }
  const bytes = isCut ? undefined : encodedIfShort(result);
  return bytes === undefined
    ? { sequence, index, form: FORM.dropped, revision: at, bytes: undefined }
    : { sequence, index, form: FORM.result, revision: at, bytes };
}

/** Bytes of its own, for a caller in this process may do what it likes to its result. `undefined` if it is too long. */
function encodedIfShort(result: ApplyResult): Uint8Array | undefined {
  if (atLeast(result) > RESULT_BYTES_MAX) return undefined;
  const bytes = encodeResult(result);
  return bytes.length > RESULT_BYTES_MAX ? undefined : new Uint8Array(bytes);
}

/** Fewer bytes than its encoded form has. */
function atLeast(result: Result): number {
  switch (result.kind) {
    case "put":
      return result.prevKv === undefined ? 0 : contentOf(result.prevKv);
    case "range":
      return result.kvs.reduce((sum, kv) => sum + contentOf(kv), 0);
    case "deleteRange":
      return result.prevKvs.reduce((sum, kv) => sum + contentOf(kv), 0);
    case "txn":
      return result.results.reduce((sum, one) => sum + atLeast(one), 0);
    default:
      return 0;
  }
}

function contentOf({ key, value }: KeyValue): number {
  return key.length + value.length;
}

function answerOf({ form, revision: at, bytes }: Operation): ApplyResult {
  switch (form) {
    case FORM.put:
      return { kind: "put", revision: revision(at) };
    case FORM.result:
      return resultOf(bytes!);
    case FORM.refused:
      throw decodeError(bytes!);
    case FORM.dropped:
      throw new StoreError("RESULT_NOT_KEPT", { outcome: "applied", details: { revision: at } });
  }
}

function resultOf(bytes: Uint8Array): ApplyResult {
  const result = decodeResult(bytes);
  switch (result.kind) {
    case "leaseKeepAlive":
    case "leaseTimeToLive":
    case "moveLeader":
    case "status":
    case "hashKv":
    case "snapshot":
    case "lock":
    case "unlock":
    case "campaign":
    case "proclaim":
    case "resign":
    case "leader":
      throw new StoreError("STATE_CORRUPT", {
        message: `quorate: the state database is damaged: a write was answered with ${result.kind}`,
      });
    default:
      return result;
  }
}

function recordOf({ id, lastIndex, lastSequence, lowest, operations }: LedgerClient): ClientRecord {
  return {
    id,
    lastIndex,
    lastSequence,
    lowest,
    operations: operations.values().sort((a, b) => a.sequence - b.sequence),
  };
}
