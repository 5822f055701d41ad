/** A machine over records in memory, asked as the router asks it, reloaded as a restart does. */

import { StoreError } from "../../src/base/errors.ts";
import { logIndex, memberId, term } from "../../src/base/ids.ts";
import { checkCompact, checkDeleteRange, checkHashKv, checkPut, checkRange, checkTxn } from "../../src/kv/check.ts";
import { isReadOnlyTxn } from "../../src/kv/txn.ts";
import type { Command, Envelope } from "../../src/machine/command.ts";
import { encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import { type Applied, type Machine, MachineLoader, type SlicedRead } from "../../src/machine/machine.ts";
import { revisionKey } from "../../src/machine/records.ts";
import { HEADROOM, type StateStore } from "../../src/machine/state-store.ts";
import type { OperationId } from "../../src/protocol/channel.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Result } from "../../src/protocol/responses.ts";
import { roomyRecord } from "../../src/storage/state-record.ts";

/** Keeps what it is given, as its contract says; hands out copies. */
export class MemoryState implements StateStore {
  readonly records: Map<string, Uint8Array>;

  constructor(records: ReadonlyMap<string, Uint8Array> = new Map()) {
    this.records = new Map(records);
  }

  read(key: Uint8Array): Uint8Array | undefined {
    return this.records.get(nameOf(key))?.slice();
  }

  write(key: Uint8Array, value: Uint8Array): void {
    this.records.set(nameOf(key), value);
  }

  readRevision(main: number, sub: number): Uint8Array | undefined {
    const payload = this.records.get(nameOf(revisionKey(main, sub)));
    return payload === undefined ? undefined : roomyRecord(payload);
  }

  writeRevision(main: number, sub: number, record: Uint8Array): void {
    this.write(revisionKey(main, sub), record.subarray(HEADROOM));
  }

  dropRevision(main: number, sub: number, length: number): void {
    const record = this.readRevision(main, sub);
    if (record?.length !== length)
      throw new Error(`revision ${main}.${sub} has ${record?.length} bytes, not ${length}`);
    this.delete(revisionKey(main, sub));
  }

  delete(key: Uint8Array): void {
    this.records.delete(nameOf(key));
  }

  copy(): MemoryState {
    return new MemoryState(this.records);
  }
}

const nameOf = (key: Uint8Array): string => Buffer.from(key).toString("latin1");

/** Opens the machine that the records describe, as after a restart. */
export function openMachine(state: MemoryState, applied = 0, historyBytes?: number): Machine {
  const at = { index: logIndex(applied), term: term(applied === 0 ? 0 : 1) };
  const loader = new MachineLoader();
  const names = [...state.records.keys()].sort((a, b) =>
    Buffer.compare(Buffer.from(a, "latin1"), Buffer.from(b, "latin1")),
  );
  for (const name of names) loader.record(new Uint8Array(Buffer.from(name, "latin1")), state.records.get(name)!);
  return loader.finish({ store: state, applied: at, historyBytes });
}

export function envelopeOf(command: Command, ref = 1): Envelope {
  return {
    proposer: memberId(0xa1n),
    incarnation: 1,
    ref,
    clientId: 0,
    sequence: 0,
    lowestUnacknowledged: 0,
    command,
  };
}

/** Steps in one slice; a function draws anew for each. */
export type Slice = number | (() => number);

const stepsOf = (slice: Slice): number => (typeof slice === "number" ? slice : slice());

export function finishRead<R>(read: SlicedRead<R>, slice: Slice = 1_000): R {
  for (;;) {
    const result = read.step(stepsOf(slice));
    if (result !== undefined) return result;
  }
}

/** A request without exactly-once. */
export const PLAIN: OperationId = { clientId: 0, sequence: 0, lowestUnacknowledged: 0 };

/** One member's machine. */
export class Member {
  state: MemoryState;
  machine: Machine;

  constructor(state: MemoryState = new MemoryState(), applied = 0) {
    this.state = state;
    this.machine = openMachine(state, applied);
  }

  /** Applies the next entry from its bytes. `between` runs after each unfinished slice; `wanted` = somebody waits. */
  apply(
    command: Command,
    slice: Slice = 1_000,
    between: () => void = () => {},
    wanted: boolean = true,
    operation: OperationId = PLAIN,
  ): Applied {
    const index = logIndex(this.machine.applied.index + 1);
    const data = encodeEnvelope({ ...envelopeOf(command, index), ...operation });
    this.machine.begin({ index, term: term(1), data, wanted: () => wanted });
    for (;;) {
      const applied = this.machine.step(stepsOf(slice));
      if (applied !== undefined) return applied;
      between();
    }
  }

  /** Checks and answers a request as the router does; refusals are thrown. */
  ask(request: Request, slice: Slice = 1_000): Result {
    switch (request.kind) {
      case "range":
        checkRange(request);
        return this.machine.rangeOne(request) ?? finishRead(this.machine.startRange(request), slice);
      case "txn":
        checkTxn(request, 128);
        if (isReadOnlyTxn(request)) return finishRead(this.machine.startTxnRead(request), slice);
        return this.#write(request, slice);
      case "put":
        checkPut(request);
        return this.#write(request, slice);
      case "deleteRange":
        checkDeleteRange(request);
        return this.#write(request, slice);
      case "compact":
        checkCompact(request);
        return this.#write(request, slice);
      case "hashKv":
        checkHashKv(request);
        return finishRead(this.machine.startHashKv(request.revision ?? 0), slice);
      default:
        throw new Error(`not for the machine: ${request.kind}`);
    }
  }

  #write(command: Command, slice: Slice): Result {
    const { outcome } = this.apply(command, slice);
    if (!outcome.ok) throw outcome.error;
    return outcome.result;
  }

  /** Drops all that compactions allow. */
  dropAll(slice: Slice = 1_000): void {
    while (!this.machine.compactStep(stepsOf(slice))) {}
  }

  /** What a flush makes durable now. */
  flushed(): MemoryState {
    this.machine.save();
    return this.state.copy();
  }

  /** Restarts from what is recorded now. */
  reload(): void {
    this.machine.save();
    this.machine = openMachine(this.state, this.machine.applied.index);
  }
}

// --- short forms ---

export const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));
export const text = (of: Uint8Array): string => Buffer.from(of).toString("latin1");

function showKv({ key, createRevision, modRevision, version, value, lease }: KeyValue): object {
  return {
    key: text(key),
    create: createRevision,
    mod: modRevision,
    version,
    value: text(value),
    lease: String(lease),
  };
}

/** A result in the form of the model's answers. */
export function show(result: Result): object {
  switch (result.kind) {
    case "range":
      return { ...result, kvs: result.kvs.map(showKv) };
    case "put":
      return { ...result, prevKv: result.prevKv && showKv(result.prevKv) };
    case "deleteRange":
      return { ...result, prevKvs: result.prevKvs.map(showKv) };
    case "txn":
      return { ...result, results: result.results.map(show) };
    default:
      return result;
  }
}

/** The answer, or the code of the refusal. Anything but a named refusal passes through. */
export function answer(ask: () => Result): object {
  try {
    return show(ask());
  } catch (error) {
    if (StoreError.is(error)) return { error: error.code };
    throw error;
  }
}
