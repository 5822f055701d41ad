/**
 * Writers whose every write bears a name of its own: puts that replace each other, counters incremented by transactions,
 * transactions over several keys. Their calls have little time, are aborted, and their connections are cut (cutting.ts).
 * What became of each is for `checkers/exactly-once.ts`, together with the whole history of the store.
 */
import { decodeUtf8, encodeUtf8 } from "../../base/bytes.ts";
import { StoreError } from "../../base/errors.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client, RequestOptions } from "../../client/client.ts";
import { compare, op } from "../../client/txn.ts";
import type { Clock } from "../../platform/clock.ts";
import type { KeyValue } from "../../protocol/key-value.ts";
import type { OnceEffect, OnceOperation } from "../checkers/exactly-once.ts";
import type { WorkloadCounts } from "./kv.ts";

/** All that the workload writes. */
export const ONCE_PREFIX = "once/";

export interface OnceWorkloadOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly clients: readonly Client[];
  /** Writers of one client. Default 3. */
  readonly hands?: number;
  /** Keys of each kind. Default 3. */
  readonly keys?: number;
  /** Mean pause between two operations. Default 100. */
  readonly thinkMs?: number;
  /** Milliseconds that calls may take, one of these. */
  readonly timeoutsMs?: readonly number[];
  /** Ends after so many operations of each kind; by default it goes on until it is stopped. */
  readonly puts?: number;
  readonly increments?: number;
  /** While it says no, no operation begins. */
  readonly mayGo?: () => boolean;
  /** Told what happens, in words. */
  readonly note?: (note: string, detail: string) => void;
}

const TIMEOUTS_MS = [150, 600, 2_000, 6_000];
const ABORT_CHANCE = 0.04;

export class OnceWorkload {
  readonly #o: OnceWorkloadOptions;
  readonly #finished: Promise<void>[] = [];
  readonly operations: OnceOperation[] = [];
  readonly counts: WorkloadCounts = { invoked: 0, ok: 0, failed: 0, unknown: 0 };
  readonly errors: Map<string, number> = new Map();
  readonly unexpected: unknown[] = [];
  #stopping = false;
  #inFlight = 0;
  #ids = 0;
  #puts: number;
  #increments: number;

  constructor(options: OnceWorkloadOptions) {
    this.#o = options;
    this.#puts = options.puts ?? Number.POSITIVE_INFINITY;
    this.#increments = options.increments ?? Number.POSITIVE_INFINITY;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  start(): void {
    for (const client of this.#o.clients) {
      for (let hand = this.#o.hands ?? 3; hand > 0; hand--) this.#finished.push(this.#hand(client));
    }
  }

  /** Each hand ends after the operation it is in. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.done();
  }

  /** Resolves when all that was asked for is done. */
  async done(): Promise<void> {
    await Promise.all(this.#finished);
  }

  async #hand(client: Client): Promise<void> {
    const { clock, random } = this.#o;
    const think = this.#o.thinkMs ?? 100;
    while (!this.#stopping && (this.#puts > 0 || this.#increments > 0)) {
      if (think > 0) await new Promise<void>((resolve) => clock.after(random() * 2 * think, resolve));
      if (!this.#stopping && this.#o.mayGo?.() !== false) await this.#operation(client);
    }
  }

  async #operation(client: Client): Promise<void> {
    const { random } = this.#o;
    const key = `${ONCE_PREFIX}${randomInt(random, 0, (this.#o.keys ?? 3) - 1)}`;
    const id = `i${++this.#ids}`;
    const dice = random();
    if (this.#increments > 0 && (dice < 0.5 || this.#puts === 0)) {
      if (await this.#increment(client, `${key}/count`, id)) this.#increments -= 1;
      return;
    }
    if (this.#puts === 0) return;
    this.#puts -= 1;
    if (dice < 0.75) {
      await this.#write(id, (call) => client.put(`${key}/put`, id, call));
      return;
    }
    if (dice < 0.9) {
      await this.#write(
        id,
        (call) => client.put(`${key}/put`, id, { ...call, prevKv: true }),
        ({ prevKv }) => ({
          replaced: prevKv === undefined ? "" : decodeUtf8(prevKv.value),
        }),
      );
      return;
    }
    await this.#write(id, (call) =>
      client
        .txn(call)
        .then(op.put(`${key}/put`, id), op.put(`${key}/pair`, id))
        .commit(),
    );
  }

  /** False: it could not even be tried. */
  async #increment(client: Client, key: string, id: string): Promise<boolean> {
    let before: { readonly mod: number; readonly count: number };
    try {
      const { kvs } = await client.get(key, { timeoutMs: 5_000 });
      const [kv] = kvs;
      before = { mod: kv?.modRevision ?? 0, count: kv === undefined ? 0 : countOf(kv) };
    } catch (error) {
      if (!StoreError.is(error)) this.unexpected.push(error);
      return false;
    }
    const ended = await this.#write(
      id,
      (call) =>
        client
          .txn(call)
          .if(compare.modRevision(key, "=", before.mod))
          .then(op.put(key, `${id} ${before.count + 1}`))
          .commit(),
      ({ succeeded }) => (succeeded ? {} : { end: "rejected" }),
    );
    return ended !== "rejected";
  }

  async #write<R extends { readonly revision: number }>(
    id: string,
    write: (call: RequestOptions) => Promise<R>,
    more: (result: R) => Partial<OnceOperation> = () => ({}),
  ): Promise<OnceOperation["end"]> {
    const { clock, random } = this.#o;
    const timeouts = this.#o.timeoutsMs ?? TIMEOUTS_MS;
    const timeoutMs = timeouts[randomInt(random, 0, timeouts.length - 1)]!;
    const aborter = random() < ABORT_CHANCE ? new AbortController() : undefined;
    const aborting =
      aborter === undefined ? undefined : clock.after(random() * Math.min(100, timeoutMs), () => aborter.abort());
    this.counts.invoked += 1;
    this.#inFlight += 1;
    let operation: OnceOperation;
    try {
      const result = await write({ timeoutMs, signal: aborter?.signal });
      operation = { id, end: "acknowledged", revision: result.revision, ...more(result) };
      this.counts.ok += 1;
    } catch (error) {
      operation = this.#failed(id, error);
    } finally {
      aborting?.cancel();
      this.#inFlight -= 1;
    }
    this.operations.push(operation);
    this.#o.note?.(`once ${operation.end}`, `${id} ${operation.revision ?? ""}`);
    return operation.end;
  }

  #failed(id: string, error: unknown): OnceOperation {
    if (!StoreError.is(error)) {
      this.unexpected.push(error);
      return { id, end: "unknown" };
    }
    this.errors.set(error.code, (this.errors.get(error.code) ?? 0) + 1);
    switch (error.outcome) {
      case "rejected":
        this.counts.failed += 1;
        return { id, end: "rejected" };
      case "unknown":
        this.counts.unknown += 1;
        return { id, end: "unknown" };
      case "applied":
        // Its result is gone, not its place in the history.
        this.counts.ok += 1;
        return { id, end: "acknowledged", revision: Number(error.details.revision) };
    }
  }
}

/** What a key-value of the workload says of its write. */
export function onceEffect(kv: KeyValue): OnceEffect {
  const [id, count] = decodeUtf8(kv.value).split(" ");
  const effect = { revision: kv.modRevision, key: decodeUtf8(kv.key), id: id! };
  return count === undefined ? effect : { ...effect, count: Number(count) };
}

function countOf(kv: KeyValue): number {
  return onceEffect(kv).count ?? 0;
}

/** The range of all that the workload writes. */
export const ONCE_RANGE: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } = {
  key: encodeUtf8(ONCE_PREFIX),
  rangeEnd: encodeUtf8("once0"),
};
