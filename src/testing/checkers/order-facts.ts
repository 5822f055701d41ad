/**
 * What answers tell of the order of writes before anything is searched, by revision and by key: who may have written a
 * revision that nobody was told to have written, and which keys certainly kept their values there.
 */
import type { HistoryKeyValue, HistoryOp, HistoryRequest, Operation } from "../history.ts";
import { canWrite, INITIAL, shown } from "./model.ts";

export type Known = Operation & { readonly result: NonNullable<Operation["result"]> };

/**
 * Writes of unknown outcome that are the same for everybody: whatever explains the history with one of them does so with
 * another in its place. So only the first one not yet used, by the time of its call, is ever tried.
 */
export interface Kind {
  readonly operations: readonly Operation[];
  /** The revision at which a value that this one alone wrote was seen. */
  readonly home: number | undefined;
  /** How many stand in the order now. */
  used: number;
}

export class OrderFacts {
  /** Revisions that nobody was told to have written. */
  readonly gaps: readonly number[];
  readonly last: number;
  readonly #kinds: readonly Kind[];
  readonly #homeless: readonly Kind[];
  readonly #keys: readonly string[];
  readonly #seenAt = new Map<number, HistoryKeyValue[]>();
  /** By key: what was seen of it, by revision. */
  readonly #pins = new Map<string, HistoryKeyValue[]>();
  /** By key: revisions at which it certainly was absent. */
  readonly #absent = new Map<string, number[]>();
  /** By key: revisions, both ends within, at which it certainly was not written. */
  readonly #untouched = new Map<string, [number, number][]>();
  /** By key: revisions at which it certainly was put. */
  readonly #certain = new Map<string, readonly number[]>();
  /** By key: gaps at which it may be written. */
  readonly #open = new Map<string, readonly number[]>();
  readonly #kindsAt = new Map<number, readonly Kind[]>();
  readonly #soonest: { readonly revisions: readonly number[]; readonly times: readonly number[] };
  readonly #footprints = new Map<HistoryRequest, readonly string[]>();

  constructor(
    operations: readonly Operation[],
    writes: ReadonlyMap<number, Known>,
    reads: ReadonlyMap<number, readonly Known[]>,
    withSerializable: boolean,
    last: number,
  ) {
    this.last = last;
    const gaps: number[] = [];
    for (let at = INITIAL.revision + 1; at <= last; at++) if (!writes.has(at)) gaps.push(at);
    this.gaps = gaps;
    this.#keys = keysOf(operations);
    this.#soonest = soonestAnswers(writes, reads);
    this.#lookAt(operations, writes, withSerializable);
    this.#kinds = kindsOf(operations, this.#seenAt);
    this.#homeless = this.#kinds.filter(({ home }) => home === undefined);
    this.#countCertain(writes);
    this.#openGaps();
  }

  /** Latest call of an unknown write that may still be the one at this revision: the soonest answer given after it. */
  deadline(at: number): number {
    const { revisions, times } = this.#soonest;
    return times[firstFrom(revisions, at)]!;
  }

  /** What was seen to be written there. */
  seenAt(at: number): readonly HistoryKeyValue[] {
    return this.#seenAt.get(at) ?? [];
  }

  /** Unknown writes that may stand at a gap, whatever the state; the first called comes first. */
  kindsAt(gap: number): readonly Kind[] {
    const known = this.#kindsAt.get(gap);
    if (known !== undefined) return known;
    const seen = this.seenAt(gap);
    if (seen.length === 0) return this.#homeless;
    const kinds = this.#kinds.filter(
      ({ home, operations }) =>
        (home === undefined || home === gap) && seen.every((kv) => writesValue(operations[0]!.request, kv)),
    );
    this.#kindsAt.set(gap, kinds);
    return kinds;
  }

  isUntouched(key: string, at: number): boolean {
    const spans = this.#untouched.get(key);
    if (spans === undefined) return false;
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle]![1] < at) low = middle + 1;
      else high = middle;
    }
    return low < spans.length && spans[low]![0] <= at;
  }

  /**
   * Gaps whose writes may decide what the key is at a revision: those since it was last seen, or seen to be absent by a read
   * before `readsBefore`. An order that was led past those explains them.
   */
  gapsBehind(key: string, at: number, readsBefore: number): readonly number[] {
    const open = this.#open.get(key) ?? [];
    const pins = this.#pins.get(key) ?? [];
    const absent = this.#absent.get(key) ?? [];
    const pin = pins[firstFrom(pins, at + 1, modOf) - 1]?.mod ?? 0;
    const gone = absent[firstFrom(absent, readsBefore) - 1] ?? 0;
    return open.slice(firstFrom(open, Math.max(pin, gone) + 1), firstFrom(open, at + 1));
  }

  /** Whether a key that is so at a revision can become what was seen of it next. */
  canBecome(key: string, kv: HistoryKeyValue | undefined, at: number): boolean {
    const pins = this.#pins.get(key);
    if (pins === undefined) return true;
    const next = pins[firstFrom(pins, at + 1, modOf)];
    // It may be deleted, and made anew.
    if (next === undefined || next.create > at) return true;
    if (kv === undefined || kv.create !== next.create) return false;
    const certain = this.#certain.get(key)!;
    const least = kv.version + firstFrom(certain, next.mod + 1) - firstFrom(certain, at + 1);
    const open = this.#open.get(key) ?? [];
    const most = least + firstFrom(open, next.mod + 1) - firstFrom(open, at + 1);
    return least <= next.version && next.version <= most;
  }

  /** Keys that a request may write. */
  written(request: HistoryRequest): readonly string[] {
    let keys = this.#footprints.get(request);
    if (keys === undefined) {
      const found = new Set<string>();
      for (const op of opsOf(request)) {
        if (op.kind === "put") found.add(op.key);
        else if (op.kind === "delete") for (const key of this.matching(op)) found.add(key);
      }
      keys = [...found];
      this.#footprints.set(request, keys);
    }
    return keys;
  }

  /** Keys of the history in a range. */
  matching({ key, end }: { readonly key: string; readonly end?: string }): readonly string[] {
    if (end === undefined) return [key];
    return this.#keys.filter((each) => each >= key && (end === "\0" || each < end));
  }

  #lookAt(operations: readonly Operation[], writes: ReadonlyMap<number, Known>, withSerializable: boolean): void {
    const once = new Set<string>();
    const spans = new Map<string, [number, number][]>();
    for (const operation of operations) {
      const { result, request } = operation;
      const isOld = request.kind === "get" && request.serializable === true;
      if (result === undefined || (isOld && !withSerializable)) continue;
      // What a write reads may be the state before it.
      const until = writes.get(result.revision) === operation ? result.revision - 1 : result.revision;
      for (const kv of shown(result)) {
        const text = `${kv.mod}|${kv.key}|${kv.value}|${kv.create}|${kv.version}`;
        if (!once.has(text)) {
          once.add(text);
          push(this.#seenAt, kv.mod, kv);
          push(this.#pins, kv.key, kv);
        }
        if (until > kv.mod) push(spans, kv.key, [kv.mod + 1, until]);
      }
    }
    for (const operation of operations) {
      const { result, request } = operation;
      // Of a transaction that writes, the state before and the one behind may be meant.
      if (result?.kind !== "get" || request.kind !== "get") continue;
      if (request.serializable === true && !withSerializable) continue;
      const there = new Set(result.kvs.map(({ key }) => key));
      for (const key of this.matching(request)) if (!there.has(key)) push(this.#absent, key, result.revision);
    }
    for (const absent of this.#absent.values()) absent.sort((a, b) => a - b);
    for (const pins of this.#pins.values()) pins.sort((a, b) => a.mod - b.mod);
    for (const [key, all] of spans) this.#untouched.set(key, merged(all));
  }

  #countCertain(writes: ReadonlyMap<number, Known>): void {
    const certain = new Map<string, Set<number>>();
    const add = (key: string, at: number): void => {
      const all = certain.get(key);
      if (all === undefined) certain.set(key, new Set([at]));
      else all.add(at);
    };
    for (const [at, { request, result }] of writes) {
      const ops = request.kind !== "txn" ? [request] : branch(request, result);
      for (const op of ops) if (op.kind === "put") add(op.key, at);
    }
    for (const [key, pins] of this.#pins) for (const { mod } of pins) add(key, mod);
    for (const [key, all] of certain) {
      this.#certain.set(
        key,
        [...all].sort((a, b) => a - b),
      );
    }
  }

  #openGaps(): void {
    const open = new Map<string, number[]>();
    const earliest = new Map<string, number>();
    for (const { operations } of this.#homeless) {
      const { request, invoked } = operations[0]!;
      for (const key of this.written(request)) earliest.set(key, Math.min(earliest.get(key) ?? Infinity, invoked));
    }
    for (const gap of this.gaps) {
      const latest = this.deadline(gap);
      const keys = new Set<string>();
      if (this.seenAt(gap).length === 0) {
        for (const [key, invoked] of earliest) if (invoked <= latest) keys.add(key);
      } else {
        for (const { operations } of this.kindsAt(gap)) {
          if (operations[0]!.invoked <= latest) for (const key of this.written(operations[0]!.request)) keys.add(key);
        }
      }
      for (const key of keys) {
        const isCertain = this.seenAt(gap).some((kv) => kv.key === key);
        if (!isCertain && !this.isUntouched(key, gap)) push(open, key, gap);
      }
    }
    for (const [key, gaps] of open) this.#open.set(key, gaps);
  }
}

export function opsOf(request: HistoryRequest): readonly HistoryOp[] {
  return request.kind === "txn" ? [...request.success, ...request.failure] : [request];
}

function branch(request: Extract<HistoryRequest, { kind: "txn" }>, result: Known["result"]): readonly HistoryOp[] {
  return result.kind === "txn" && result.succeeded ? request.success : request.failure;
}

function writesValue(request: HistoryRequest, kv: HistoryKeyValue): boolean {
  return opsOf(request).some((op) => op.kind === "put" && op.key === kv.key && op.value === kv.value);
}

function keysOf(operations: readonly Operation[]): readonly string[] {
  const keys = new Set<string>();
  for (const { request, result } of operations) {
    for (const op of opsOf(request)) if (op.kind !== "get" && op.kind !== "delete") keys.add(op.key);
    if (result !== undefined) for (const { key } of shown(result)) keys.add(key);
  }
  return [...keys].sort();
}

function kindsOf(
  operations: readonly Operation[],
  seenAt: ReadonlyMap<number, readonly HistoryKeyValue[]>,
): readonly Kind[] {
  const seen = new Map<string, number>();
  for (const [at, all] of seenAt) for (const kv of all) seen.set(`${kv.key}|${kv.value}`, at);
  const compared = new Set<string>();
  /** The operation that alone wrote a value, or none if several did. */
  const writer = new Map<string, number | undefined>();
  for (const { op, request } of operations) {
    if (request.kind === "txn") {
      for (const { key, target, is } of request.compare) if (target === "value") compared.add(`${key}|${is}`);
    }
    for (const part of opsOf(request)) {
      if (part.kind !== "put") continue;
      const text = `${part.key}|${part.value}`;
      writer.set(text, writer.has(text) ? undefined : op);
    }
  }
  const kinds = new Map<string, { operations: Operation[]; home: number | undefined; used: number }>();
  const candidates = operations.filter(({ outcome, request }) => outcome === "unknown" && canWrite(request));
  for (const operation of candidates.sort((a, b) => a.invoked - b.invoked)) {
    let home: number | undefined;
    const plain = (op: HistoryOp): HistoryOp => {
      if (op.kind !== "put") return op;
      const text = `${op.key}|${op.value}`;
      if (seen.has(text) && writer.get(text) === operation.op) home = seen.get(text);
      // A value that nobody saw and nobody compares with is as good as any other such value.
      return seen.has(text) || compared.has(text) ? op : { kind: "put", key: op.key, value: "" };
    };
    const { request } = operation;
    const text =
      request.kind === "txn"
        ? JSON.stringify([request.compare, request.success.map(plain), request.failure.map(plain)])
        : JSON.stringify(plain(request));
    // With its home, lest two be one that only share a text.
    const name = `${home ?? ""} ${text}`;
    const kind = kinds.get(name);
    if (kind === undefined) kinds.set(name, { operations: [operation], home, used: 0 });
    else kind.operations.push(operation);
  }
  return [...kinds.values()];
}

function soonestAnswers(
  writes: ReadonlyMap<number, Known>,
  reads: ReadonlyMap<number, readonly Known[]>,
): { readonly revisions: readonly number[]; readonly times: readonly number[] } {
  const soonest = new Map<number, number>();
  for (const write of writes.values()) soonest.set(write.result.revision, write.returned);
  for (const [at, group] of reads) {
    for (const { request, returned } of group) {
      const isOld = request.kind === "get" && request.serializable === true;
      if (!isOld) soonest.set(at, Math.min(soonest.get(at) ?? Infinity, returned));
    }
  }
  const revisions = [...soonest.keys()].sort((a, b) => a - b);
  const times = new Array<number>(revisions.length + 1).fill(Infinity);
  for (let i = revisions.length - 1; i >= 0; i--) times[i] = Math.min(times[i + 1]!, soonest.get(revisions[i]!)!);
  return { revisions, times };
}

const modOf = (kv: HistoryKeyValue): number => kv.mod;
const itself = (value: number): number => value;

/** Where the first one at or above stands. */
function firstFrom(sorted: readonly number[], at: number): number;
function firstFrom<T>(sorted: readonly T[], at: number, of: (item: T) => number): number;
function firstFrom(sorted: readonly unknown[], at: number, of: (item: never) => number = itself as never): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (of(sorted[middle] as never) < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const all = map.get(key);
  if (all === undefined) map.set(key, [value]);
  else all.push(value);
}

function merged(spans: readonly [number, number][]): [number, number][] {
  const result: [number, number][] = [];
  for (const [from, to] of [...spans].sort((a, b) => a[0] - b[0])) {
    const before = result.at(-1);
    if (before !== undefined && from <= before[1] + 1) before[1] = Math.max(before[1], to);
    else result.push([from, to]);
  }
  return result;
}
