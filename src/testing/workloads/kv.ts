/**
 * Several clients on a few keys: puts, gets (linearizable and serializable), deletes, compare-and-set and multi-key txns.
 * Values are unique in the run, so a value seen names its write.
 */
import { decodeUtf8, encodeUtf8 } from "../../base/bytes.ts";
import { StoreError } from "../../base/errors.ts";
import { formatId } from "../../base/ids.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Clock } from "../../platform/clock.ts";
import type { KeyValue } from "../../protocol/key-value.ts";
import type { Compare, RequestOp } from "../../protocol/requests.ts";
import type { OpResult, Response, Result, ResultOf } from "../../protocol/responses.ts";
import type {
  History,
  HistoryCompare,
  HistoryKeyValue,
  HistoryOp,
  HistoryOpResult,
  HistoryRequest,
  HistoryResult,
} from "../history.ts";

/** Carries one request of a client and rejects with `StoreError`. A channel, a client and a server can each be one. */
export type Call = <Q extends RequestOp>(
  request: Q,
  options: { readonly timeoutMs: number },
) => Promise<Response<ResultOf<Q>>>;

export interface KvWorkloadOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly history: History;
  /** One per client. */
  readonly calls: readonly Call[];
  readonly keys?: number;
  readonly timeoutMs?: number;
  /** Mean pause of a client between two operations. */
  readonly thinkMs?: number;
  /** What a client does at each turn instead of a mixture of everything. */
  readonly turn?: Turn;
  /** Number of the first client in the history, where several workloads share one. Default 0. */
  readonly firstProcess?: number;
}

/** One client's turn: `perform` records and never rejects; it gives undefined unless the operation was answered. */
export type Turn = (
  perform: (request: HistoryRequest) => Promise<HistoryResult | undefined>,
  random: RandomSource,
  process: number,
) => Promise<void>;

export interface WorkloadCounts {
  invoked: number;
  ok: number;
  failed: number;
  unknown: number;
}

export class KvWorkload {
  readonly #options: KvWorkloadOptions;
  readonly #finished: Promise<void>[] = [];
  /** What each client last saw of a key: what a compare-and-set expects. */
  readonly #lastSeen = new Map<string, number>();
  readonly counts: WorkloadCounts = { invoked: 0, ok: 0, failed: 0, unknown: 0 };
  /** Errors by code. */
  readonly errors: Map<string, number> = new Map();
  /** Rejections that were no `StoreError`: each is a defect. */
  readonly unexpected: unknown[] = [];
  #stopping = false;
  #inFlight = 0;
  #values = 0;

  constructor(options: KvWorkloadOptions) {
    this.#options = options;
  }

  /** Operations called and not yet answered. */
  get inFlight(): number {
    return this.#inFlight;
  }

  start(): void {
    const first = this.#options.firstProcess ?? 0;
    this.#options.calls.forEach((call, i) => {
      this.#finished.push(this.#client(call, first + i));
    });
  }

  /** Each client ends after the operation it is in. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#finished);
  }

  async #client(call: Call, process: number): Promise<void> {
    const { clock, random } = this.#options;
    const think = this.#options.thinkMs ?? 100;
    while (!this.#stopping) {
      await new Promise<void>((resolve) => clock.after(random() * 2 * think, resolve));
      if (this.#stopping) return;
      const { turn } = this.#options;
      if (turn === undefined) await this.perform(call, process, this.#draw());
      else await turn((request) => this.perform(call, process, request), random, process);
    }
  }

  /** One operation, recorded. Never rejects; undefined unless it was answered. */
  async perform(call: Call, process: number, request: HistoryRequest): Promise<HistoryResult | undefined> {
    const { clock, history } = this.#options;
    const op = history.invoke(clock.now(), process, request);
    this.counts.invoked++;
    this.#inFlight++;
    try {
      const response = await call(toRequest(request), { timeoutMs: this.#options.timeoutMs ?? 5_000 });
      const result = toResult(response);
      this.#learn(result);
      this.counts.ok++;
      history.add({ type: "ok", time: clock.now(), process, op, result });
      return result;
    } catch (error) {
      const known = StoreError.is(error);
      if (!known) this.unexpected.push(error);
      const code = known ? error.code : String(error);
      this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
      // What says "applied" and gives no answer tells the checker no more than "unknown" does.
      const failed = known && error.outcome === "rejected";
      if (failed) this.counts.failed++;
      else this.counts.unknown++;
      history.add({ type: failed ? "fail" : "info", time: clock.now(), process, op, error: code });
      return undefined;
    } finally {
      this.#inFlight--;
    }
  }

  #learn(result: HistoryResult): void {
    for (const one of result.kind === "txn" ? result.results : [result]) {
      if (one.kind === "get") for (const kv of one.kvs) this.#lastSeen.set(kv.key, kv.mod);
    }
  }

  #draw(): HistoryRequest {
    const { random } = this.#options;
    const keys = this.#options.keys ?? 5;
    const key = (): string => `k${randomInt(random, 0, keys - 1)}`;
    const value = (): string => `v${++this.#values}`;
    const dice = random();
    if (dice < 0.3) return { kind: "put", key: key(), value: value() };
    if (dice < 0.55) return { kind: "get", key: key() };
    if (dice < 0.62) return { kind: "get", key: "k", end: "l" };
    if (dice < 0.72) return { kind: "get", key: key(), serializable: true };
    if (dice < 0.8) return { kind: "delete", key: key() };
    if (dice < 0.92) {
      const target = key();
      return {
        kind: "txn",
        compare: [{ key: target, target: "mod", is: this.#lastSeen.get(target) ?? 0 }],
        success: [{ kind: "put", key: target, value: value() }],
        failure: [{ kind: "get", key: target }],
      };
    }
    const one = randomInt(random, 0, keys - 1);
    const other = (one + 1) % keys;
    return {
      kind: "txn",
      compare: [],
      success: [
        { kind: "get", key: "k", end: "l" },
        { kind: "put", key: `k${one}`, value: value() },
        keys > 1 && random() < 0.5 ? { kind: "delete", key: `k${other}` } : { kind: "get", key: `k${one}` },
      ],
      failure: [],
    };
  }
}

export function toRequest(request: HistoryRequest): RequestOp {
  if (request.kind !== "txn") return toOp(request);
  return {
    kind: "txn",
    compare: request.compare.map(toCompare),
    success: request.success.map(toOp),
    failure: request.failure.map(toOp),
  };
}

function toOp(op: HistoryOp): RequestOp {
  const key = encodeUtf8(op.key);
  if (op.kind === "put") return { kind: "put", key, value: encodeUtf8(op.value) };
  const rangeEnd = op.end === undefined ? undefined : encodeUtf8(op.end);
  if (op.kind === "delete") return { kind: "deleteRange", key, rangeEnd };
  return { kind: "range", key, rangeEnd, serializable: op.serializable === true };
}

function toCompare(compare: HistoryCompare): Compare {
  const key = encodeUtf8(compare.key);
  if (compare.target === "value") return { key, result: "equal", target: "value", value: encodeUtf8(compare.is) };
  if (compare.target === "mod") return { key, result: "equal", target: "mod", modRevision: compare.is };
  if (compare.target === "create") return { key, result: "equal", target: "create", createRevision: compare.is };
  return { key, result: "equal", target: "version", version: compare.is };
}

export function toResult(response: Response<Result>): HistoryResult {
  const { header, result } = response;
  const stamp = { member: formatId(header.memberId), revision: header.revision };
  if (result.kind === "txn") {
    return { ...stamp, kind: "txn", succeeded: result.succeeded, results: result.results.map(toOpResult) };
  }
  return { ...stamp, ...toOpResult(result) };
}

function toOpResult(result: Result | OpResult): HistoryOpResult {
  if (result.kind === "range") return { kind: "get", kvs: result.kvs.map(toKeyValue) };
  if (result.kind === "deleteRange") return { kind: "delete", deleted: result.deleted };
  if (result.kind === "put") return { kind: "put" };
  throw new TypeError(`this workload asks for no ${result.kind}`);
}

export function toKeyValue(kv: KeyValue): HistoryKeyValue {
  return {
    key: decodeUtf8(kv.key),
    value: decodeUtf8(kv.value),
    create: kv.createRevision,
    mod: kv.modRevision,
    version: kv.version,
  };
}
