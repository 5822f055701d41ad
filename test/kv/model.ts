/**
 * The obvious slow model: every version of every key in one array, each question answered by looking at all of them. It
 * shares no code with `src`; where the store and it differ, one of the two misreads docs of etcd.
 */
import type { Compare, PutRequest, RangeRequest, Request, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";

export interface Kv {
  readonly key: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly value: string;
  readonly lease: string;
}

interface Version extends Kv {
  readonly sub: number;
  readonly deleted: boolean;
}

/** What an answer says, in a form that compares and prints well. */
export type Answer =
  | { readonly kind: "range"; readonly revision: number; readonly kvs: readonly Kv[]; more: boolean; count: number }
  | { readonly kind: "put"; readonly revision: number; readonly prevKv: Kv | undefined }
  | { readonly kind: "deleteRange"; readonly revision: number; deleted: number; prevKvs: readonly Kv[] }
  | { readonly kind: "txn"; readonly revision: number; succeeded: boolean; results: readonly Answer[] }
  | { readonly kind: "compact"; readonly revision: number }
  | { readonly kind: "hashKv"; revision: number; hash: number; compactRevision: number; hashRevision: number }
  | { readonly error: string };

export class ModelError extends Error {}

export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const bytes = (string: string): Buffer => Buffer.from(string, "latin1");
const compareTexts = (a: string, b: string): number => Buffer.compare(bytes(a), bytes(b));

function inRange(key: string, from: string, end: string): boolean {
  if (end === "") return key === from;
  if (compareTexts(key, from) < 0) return false;
  return end === "\0" || compareTexts(key, end) < 0;
}

const MAX_OPS = 128;

export class Model {
  revision = 1;
  compactRevision = -1;
  #versions: Version[] = [];
  /** Changes so far of the write under way. */
  #changes = 0;

  /** The answer to one request; never throws what etcd would not answer. */
  run(request: Request): Answer {
    try {
      return this.#run(request);
    } catch (error) {
      if (error instanceof ModelError) return { error: error.message };
      throw error;
    }
  }

  /** Every live key at `at`, in order. */
  liveAt(at: number): Kv[] {
    const newest = new Map<string, Version>();
    for (const version of this.#versions) if (version.mod <= at) newest.set(version.key, version);
    return [...newest.values()]
      .filter(({ deleted }) => !deleted)
      .sort((a, b) => compareTexts(a.key, b.key))
      .map(({ key, create, mod, version, value, lease }) => ({ key, create, mod, version, value, lease }));
  }

  #run(request: Request): Answer {
    switch (request.kind) {
      case "range":
        checkOp(request, MAX_OPS);
        if ((request.revision ?? 0) > this.revision) throw new ModelError("FUTURE_REVISION");
        if ((request.revision ?? 0) > 0 && request.revision! < this.compactRevision) throw new ModelError("COMPACTED");
        return this.#range(request);
      case "put": {
        checkOp(request, MAX_OPS);
        this.#precheckPut(request);
        return this.#write(() => this.#put(request));
      }
      case "deleteRange":
        checkOp(request, MAX_OPS);
        return this.#write(() => this.#delete(request));
      case "txn": {
        checkOp(request, MAX_OPS);
        checkDuplicates(request.success);
        checkDuplicates(request.failure);
        const path = this.#path(request);
        this.#precheck(request, path);
        return this.#write(() => this.#execute(request, path, true));
      }
      case "compact":
        if (request.revision <= this.compactRevision) throw new ModelError("COMPACTED");
        if (request.revision > this.revision) throw new ModelError("FUTURE_REVISION");
        this.compactRevision = request.revision;
        return { kind: "compact", revision: this.revision };
      case "hashKv":
        return this.#hash(request.revision ?? 0);
      default:
        throw new Error(`the model does not know ${request.kind}`);
    }
  }

  #write<A>(change: () => A): A {
    this.#changes = 0;
    const answer = change();
    if (this.#changes > 0) this.revision += 1;
    this.#changes = 0;
    return answer;
  }

  get #now(): number {
    return this.#changes > 0 ? this.revision + 1 : this.revision;
  }

  #range(request: RangeRequest): Answer {
    const wanted = request.revision ?? 0;
    const at = wanted <= 0 ? this.#now : wanted;
    const all = this.liveAt(at).filter(({ key }) =>
      inRange(key, text(request.key), text(request.rangeEnd ?? new Uint8Array())),
    );
    const base = { kind: "range", revision: this.#now, count: all.length } as const;
    if (request.countOnly) return { ...base, kvs: [], more: false };
    const target = request.sortTarget ?? "key";
    let order = request.sortOrder ?? "none";
    const limit = request.limit ?? 0;
    const bounds = [
      request.minModRevision,
      request.maxModRevision,
      request.minCreateRevision,
      request.maxCreateRevision,
    ];
    const [minMod, maxMod, minCreate, maxCreate] = bounds.map((bound) => bound ?? 0) as [
      number,
      number,
      number,
      number,
    ];
    const filters = minMod !== 0 || maxMod !== 0 || minCreate !== 0 || maxCreate !== 0;
    let kvs = all;
    if (limit > 0 && !filters && (order === "none" || (order === "ascend" && target === "key"))) {
      kvs = kvs.slice(0, limit + 1);
    }
    if (maxMod !== 0) kvs = kvs.filter(({ mod }) => mod <= maxMod);
    if (minMod !== 0) kvs = kvs.filter(({ mod }) => mod >= minMod);
    if (maxCreate !== 0) kvs = kvs.filter(({ create }) => create <= maxCreate);
    if (minCreate !== 0) kvs = kvs.filter(({ create }) => create >= minCreate);
    if (order === "none" && target !== "key") order = "ascend";
    if (order !== "none") {
      const by = (a: Kv, b: Kv): number =>
        target === "key" || target === "value" ? compareTexts(a[target], b[target]) : a[target] - b[target];
      kvs = [...kvs].sort((a, b) => (order === "descend" ? by(b, a) : by(a, b)));
    }
    const more = limit > 0 && kvs.length > limit;
    if (limit > 0) kvs = kvs.slice(0, limit);
    if (request.keysOnly) kvs = kvs.map((kv) => ({ ...kv, value: "", lease: target === "value" ? kv.lease : "0" }));
    return { ...base, kvs, more };
  }

  #find(key: string, at: number): Kv | undefined {
    return this.liveAt(at).find((kv) => kv.key === key);
  }

  #put(request: PutRequest): Answer {
    const key = text(request.key);
    const previous = this.#find(key, this.#now);
    const mod = this.revision + 1;
    this.#versions.push({
      key,
      create: previous?.create ?? mod,
      mod,
      version: (previous?.version ?? 0) + 1,
      value: request.ignoreValue ? previous!.value : text(request.value),
      lease: request.ignoreLease ? previous!.lease : String(request.lease ?? 0n),
      sub: this.#changes++,
      deleted: false,
    });
    return { kind: "put", revision: this.#now, prevKv: request.prevKv ? previous : undefined };
  }

  #delete(request: { key: Uint8Array; rangeEnd?: Uint8Array | undefined; prevKv?: boolean | undefined }): Answer {
    const end = text(request.rangeEnd ?? new Uint8Array());
    const going = this.liveAt(this.#now).filter(({ key }) => inRange(key, text(request.key), end));
    for (const { key } of going) {
      const mod = this.revision + 1;
      this.#versions.push({
        key,
        create: 0,
        mod,
        version: 0,
        value: "",
        lease: "0",
        sub: this.#changes++,
        deleted: true,
      });
    }
    return { kind: "deleteRange", revision: this.#now, deleted: going.length, prevKvs: request.prevKv ? going : [] };
  }

  #precheckPut(put: PutRequest): void {
    if ((put.lease ?? 0n) !== 0n) throw new ModelError("LEASE_NOT_FOUND");
    if ((put.ignoreValue || put.ignoreLease) && this.#find(text(put.key), this.revision) === undefined) {
      throw new ModelError("KEY_NOT_FOUND");
    }
  }

  /** Which branch each transaction takes, in the order in which they are met. */
  #path(txn: TxnRequest): boolean[] {
    const taken = txn.compare.every((compare) => this.#holds(compare));
    const nested = (taken ? txn.success : txn.failure).filter((op) => op.kind === "txn");
    return [taken, ...nested.flatMap((op) => this.#path(op))];
  }

  #holds(compare: Compare): boolean {
    const end = text(compare.rangeEnd ?? new Uint8Array());
    const kvs = this.liveAt(this.revision).filter(({ key }) => inRange(key, text(compare.key), end));
    if (kvs.length === 0) {
      if (compare.target === "value") return false;
      return satisfies({ key: "", create: 0, mod: 0, version: 0, value: "", lease: "0" }, compare);
    }
    return kvs.every((kv) => satisfies(kv, compare));
  }

  #precheck(txn: TxnRequest, path: readonly boolean[]): void {
    const left = [...path];
    const deletedToTheEnd: string[] = [];
    const walk = (one: TxnRequest): void => {
      for (const op of left.shift() ? one.success : one.failure) {
        if (op.kind === "txn") walk(op);
        if (op.kind === "deleteRange" && text(op.rangeEnd ?? new Uint8Array()) === "\0")
          deletedToTheEnd.push(text(op.key));
        if (op.kind === "range" && (op.revision ?? 0) !== 0) {
          if (op.revision! > this.revision) throw new ModelError("FUTURE_REVISION");
          if (op.revision! < this.compactRevision) throw new ModelError("COMPACTED");
        }
        if (op.kind === "put") {
          this.#precheckPut(op);
          const gone = deletedToTheEnd.some((from) => compareTexts(from, text(op.key)) <= 0);
          if ((op.ignoreValue || op.ignoreLease) && gone) throw new ModelError("KEY_NOT_FOUND");
        }
      }
    };
    walk(txn);
  }

  #execute(txn: TxnRequest, path: boolean[], outermost: boolean): Answer {
    const succeeded = path.shift()!;
    const results: Answer[] = [];
    for (const op of succeeded ? txn.success : txn.failure) {
      if (op.kind === "range") results.push(this.#range(op));
      else if (op.kind === "put") results.push(this.#put(op));
      else if (op.kind === "deleteRange") results.push(this.#delete(op));
      else results.push(this.#execute(op, path, false));
    }
    return { kind: "txn", revision: outermost ? this.#now : 0, succeeded, results };
  }

  /** Section 3.5, word by word, over what section 3.3 says a finished compaction leaves. */
  #hash(requested: number): Answer {
    const at = requested <= 0 ? this.revision : requested;
    if (at < this.compactRevision) throw new ModelError("COMPACTED");
    if (at > this.revision) throw new ModelError("FUTURE_REVISION");
    const compacted = this.compactRevision;
    const newestAt = (key: string, revision: number): Version | undefined =>
      this.#versions.filter((version) => version.key === key && version.mod <= revision).at(-1);
    const stored = this.#versions.filter((version) => {
      if (version.mod > compacted) return true;
      if (newestAt(version.key, compacted) !== version) return false;
      return !version.deleted || version.mod === compacted;
    });
    const keep = new Set<Version>();
    for (const { key } of this.#versions) {
      const newest = newestAt(key, at);
      if (newest !== undefined && !newest.deleted) keep.add(newest);
    }
    const parts: Buffer[] = [Buffer.from("key")];
    for (const version of stored) {
      if (version.mod > at) continue;
      if (version.mod <= compacted && keep.size > 0 && !keep.has(version)) continue;
      if (version.deleted && version.mod === compacted) continue;
      parts.push(storedKey(version), storedValue(version));
    }
    const hash = slowCrc32c(Buffer.concat(parts));
    return { kind: "hashKv", revision: this.revision, hash, compactRevision: compacted, hashRevision: at };
  }
}

function satisfies(kv: Kv, compare: Compare): boolean {
  let difference: number;
  switch (compare.target) {
    case "version":
      difference = kv.version - compare.version;
      break;
    case "create":
      difference = kv.create - compare.createRevision;
      break;
    case "mod":
      difference = kv.mod - compare.modRevision;
      break;
    case "value":
      difference = compareTexts(kv.value, text(compare.value));
      break;
    case "lease":
      difference = Number(BigInt(kv.lease) - compare.lease);
      break;
  }
  if (compare.result === "equal") return difference === 0;
  if (compare.result === "notEqual") return difference !== 0;
  return compare.result === "greater" ? difference > 0 : difference < 0;
}

function checkOp(op: RequestOp, maxOps: number): void {
  if (op.kind === "txn") {
    const longest = Math.max(op.compare.length, op.success.length, op.failure.length);
    if (longest > maxOps) throw new ModelError("TOO_MANY_OPS");
    for (const { key } of op.compare) if (key.length === 0) throw new ModelError("EMPTY_KEY");
    for (const one of [...op.success, ...op.failure]) checkOp(one, maxOps - longest);
    return;
  }
  if (op.key.length === 0) throw new ModelError("EMPTY_KEY");
  if (op.kind !== "put") return;
  if (op.ignoreValue && op.value.length > 0) throw new ModelError("VALUE_PROVIDED");
  if (op.ignoreLease && (op.lease ?? 0n) !== 0n) throw new ModelError("LEASE_PROVIDED");
}

interface Touched {
  readonly puts: ReadonlySet<string>;
  readonly deletes: (readonly [string, string])[];
}

/** Section 2.5, "exact algorithm for one op list". */
function checkDuplicates(ops: readonly RequestOp[]): Touched {
  const deletes: (readonly [string, string])[] = [];
  const puts = new Set<string>();
  const hit = (key: string): boolean =>
    deletes.some(([from, end]) =>
      end === "" ? from === key : compareTexts(from, key) <= 0 && compareTexts(key, end) < 0,
    );
  const duplicate = (): never => {
    throw new ModelError("DUPLICATE_KEY");
  };
  for (const op of ops)
    if (op.kind === "deleteRange") deletes.push([text(op.key), text(op.rangeEnd ?? new Uint8Array())]);
  for (const op of ops) {
    if (op.kind !== "txn") continue;
    const then = checkDuplicates(op.success);
    const otherwise = checkDuplicates(op.failure);
    for (const key of then.puts) {
      if (puts.has(key) || hit(key)) duplicate();
      puts.add(key);
    }
    for (const key of otherwise.puts) {
      if ((puts.has(key) && !then.puts.has(key)) || hit(key)) duplicate();
      puts.add(key);
    }
    deletes.push(...then.deletes, ...otherwise.deletes);
  }
  for (const op of ops) {
    if (op.kind !== "put") continue;
    const key = text(op.key);
    if (puts.has(key) || hit(key)) duplicate();
    puts.add(key);
  }
  return { puts, deletes };
}

function storedKey(version: Version): Buffer {
  const key = Buffer.alloc(version.deleted ? 18 : 17);
  key.writeBigUInt64BE(BigInt(version.mod), 0);
  key.write("_", 8);
  key.writeBigUInt64BE(BigInt(version.sub), 9);
  if (version.deleted) key.write("t", 17);
  return key;
}

function storedValue(version: Version): Buffer {
  const field = (number: number, value: bigint): Buffer =>
    value === 0n ? Buffer.alloc(0) : Buffer.concat([varint(BigInt(number << 3)), varint(value)]);
  const blob = (number: number, value: Buffer): Buffer =>
    value.length === 0
      ? value
      : Buffer.concat([varint(BigInt((number << 3) | 2)), varint(BigInt(value.length)), value]);
  return Buffer.concat([
    blob(1, bytes(version.key)),
    field(2, BigInt(version.create)),
    version.deleted ? Buffer.alloc(0) : field(3, BigInt(version.mod)),
    field(4, BigInt(version.version)),
    blob(5, bytes(version.value)),
    field(6, BigInt.asUintN(64, BigInt(version.lease))),
  ]);
}

function varint(value: bigint): Buffer {
  const out: number[] = [];
  for (; value >= 128n; value >>= 7n) out.push(Number(value & 127n) | 128);
  return Buffer.from([...out, Number(value)]);
}

/** Bit by bit, as the polynomial is defined. */
export function slowCrc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}
