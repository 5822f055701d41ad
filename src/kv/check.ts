/**
 * What a request must satisfy before it may be proposed, in etcd's order, so that the same error wins (etcd-semantics
 * section 2). Throws `StoreError` with outcome "rejected". Nothing here looks at the state.
 */
import { toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import {
  type CompactRequest,
  type Compare,
  type DeleteRangeRequest,
  type HashKvRequest,
  type PutRequest,
  type RangeRequest,
  type RequestOp,
  TXN_DEPTH_MAX,
  type TxnRequest,
} from "../protocol/requests.ts";
import { spanOf } from "./range.ts";
import { TOP } from "./sorted-map.ts";

const SORT_ORDERS: readonly unknown[] = [undefined, "none", "ascend", "descend"];
const SORT_TARGETS: readonly unknown[] = [undefined, "key", "version", "create", "mod", "value"];
const COMPARE_RESULTS: readonly unknown[] = ["equal", "greater", "less", "notEqual"];

export function checkRange(request: RangeRequest): void {
  requireKey(request.key);
  if (!SORT_ORDERS.includes(request.sortOrder) || !SORT_TARGETS.includes(request.sortTarget)) {
    throw new StoreError("INVALID_SORT_OPTION");
  }
  bytesOrNone(request.rangeEnd, "range end");
  integerOrNone(request.limit, "limit");
  integerOrNone(request.revision, "revision");
  integerOrNone(request.minModRevision, "minimal mod revision");
  integerOrNone(request.maxModRevision, "maximal mod revision");
  integerOrNone(request.minCreateRevision, "minimal create revision");
  integerOrNone(request.maxCreateRevision, "maximal create revision");
}

export function checkPut(request: PutRequest): void {
  requireKey(request.key);
  if (!(request.value instanceof Uint8Array)) throw malformed("value");
  leaseOrNone(request.lease);
  if (request.ignoreValue && request.value.length > 0) throw new StoreError("VALUE_PROVIDED");
  if (request.ignoreLease && (request.lease ?? 0n) !== 0n) throw new StoreError("LEASE_PROVIDED");
}

export function checkDeleteRange(request: DeleteRangeRequest): void {
  requireKey(request.key);
  bytesOrNone(request.rangeEnd, "range end");
}

/** etcd checks nothing here: whether the revision can be compacted is decided at apply. */
export function checkCompact(request: CompactRequest): void {
  integer(request.revision, "revision");
}

/** As with a compaction, the state decides which revisions can be hashed. */
export function checkHashKv(request: HashKvRequest): void {
  integerOrNone(request.revision, "revision");
}

export function checkTxn(request: TxnRequest, maxOps: number): void {
  checkLists(request, maxOps, 1);
  checkDuplicates(request.success);
  checkDuplicates(request.failure);
}

function checkLists(txn: TxnRequest, maxOps: number, depth: number): void {
  if (!Array.isArray(txn.compare) || !Array.isArray(txn.success) || !Array.isArray(txn.failure)) {
    throw malformed("transaction");
  }
  const longest = Math.max(txn.compare.length, txn.success.length, txn.failure.length);
  if (longest > maxOps || depth > TXN_DEPTH_MAX) throw new StoreError("TOO_MANY_OPS");
  for (const compare of txn.compare) checkCompare(compare);
  // What the parent's longest list takes is taken from each nested transaction's allowance.
  for (const op of txn.success) checkOp(op, maxOps - longest, depth);
  for (const op of txn.failure) checkOp(op, maxOps - longest, depth);
}

function checkOp(op: RequestOp, maxOps: number, depth: number): void {
  switch (op?.kind) {
    case "range":
      checkRange(op);
      return;
    case "put":
      checkPut(op);
      return;
    case "deleteRange":
      checkDeleteRange(op);
      return;
    case "txn":
      checkLists(op, maxOps, depth + 1);
      return;
    default:
      // An operation that holds none of the four. The text is etcd's.
      throw new StoreError("KEY_NOT_FOUND");
  }
}

function checkCompare(compare: Compare): void {
  if (!compare) throw malformed("compare");
  requireKey(compare.key);
  bytesOrNone(compare.rangeEnd, "range end");
  if (!COMPARE_RESULTS.includes(compare.result)) throw malformed("compare result");
  switch (compare.target) {
    case "version":
      integer(compare.version, "version");
      return;
    case "create":
      integer(compare.createRevision, "create revision");
      return;
    case "mod":
      integer(compare.modRevision, "mod revision");
      return;
    case "value":
      if (!(compare.value instanceof Uint8Array)) throw malformed("value");
      return;
    case "lease":
      if (compare.lease === undefined) throw malformed("lease");
      leaseOrNone(compare.lease);
      return;
    default:
      throw malformed("compare target");
  }
}

// --- one key, one change: the duplicate-key rule ---

interface Writes {
  readonly puts: Set<string>;
  readonly deletes: Intervals;
}

/**
 * etcd's algorithm, with its holes, because a transaction that etcd takes must be taken here (etcd-semantics 2.5): a
 * nested put followed by a *later sibling's* delete of the same key passes; a delete "to the end" conflicts with nothing.
 * Sets merge the smaller into the larger, for a request may nest as deep as its allowance of operations lets it.
 */
function checkDuplicates(ops: readonly RequestOp[]): Writes {
  let deletes = new Intervals();
  for (const op of ops) {
    if (op.kind !== "deleteRange") continue;
    const { single, low, high } = spanOf(op.key, op.rangeEnd);
    if (high !== TOP) deletes.add(low, single ? low + "\0" : high);
  }
  let puts = new Set<string>();
  for (const op of ops) {
    if (op.kind !== "txn") continue;
    const success = checkDuplicates(op.success);
    const failure = checkDuplicates(op.failure);
    // Only one of the two branches will run: they do not conflict with each other.
    const nested = union(success.puts, failure.puts);
    if (overlap(puts, nested)) throw new StoreError("DUPLICATE_KEY");
    if (!deletes.isEmpty) for (const key of nested) refuseDeleted(deletes, key);
    puts = union(puts, nested);
    deletes = Intervals.union(deletes, Intervals.union(success.deletes, failure.deletes));
  }
  for (const op of ops) {
    if (op.kind !== "put") continue;
    const key = toByteString(op.key);
    if (puts.has(key)) throw new StoreError("DUPLICATE_KEY");
    refuseDeleted(deletes, key);
    puts.add(key);
  }
  return { puts, deletes };
}

function refuseDeleted(deletes: Intervals, key: string): void {
  if (deletes.has(key)) throw new StoreError("DUPLICATE_KEY");
}

/** Uses up both sets. */
function union(a: Set<string>, b: Set<string>): Set<string> {
  if (a.size < b.size) return union(b, a);
  for (const key of b) a.add(key);
  return a;
}

function overlap(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  if (a.size > b.size) return overlap(b, a);
  for (const key of a) if (b.has(key)) return true;
  return false;
}

/** A set of keys as disjoint half-open intervals in order: a large transaction must not cost the square of its size. */
class Intervals {
  readonly #lows: string[] = [];
  readonly #highs: string[] = [];

  /** Uses up both. */
  static union(a: Intervals, b: Intervals): Intervals {
    if (a.#lows.length < b.#lows.length) return Intervals.union(b, a);
    for (let i = 0; i < b.#lows.length; i++) a.add(b.#lows[i]!, b.#highs[i]!);
    return a;
  }

  get isEmpty(): boolean {
    return this.#lows.length === 0;
  }

  add(low: string, high: string): void {
    if (high <= low) return;
    // All intervals that touch the new one become one with it.
    const start = firstIndex(this.#highs, (end) => end >= low);
    const end = firstIndex(this.#lows, (begin) => begin > high);
    const mergedLow = start < end && this.#lows[start]! < low ? this.#lows[start]! : low;
    const mergedHigh = start < end && this.#highs[end - 1]! > high ? this.#highs[end - 1]! : high;
    this.#lows.splice(start, end - start, mergedLow);
    this.#highs.splice(start, end - start, mergedHigh);
  }

  has(key: string): boolean {
    const at = firstIndex(this.#highs, (end) => end > key);
    return at < this.#lows.length && this.#lows[at]! <= key;
  }
}

/** First index whose item passes; items that pass all stand behind those that do not. */
function firstIndex(items: readonly string[], passes: (item: string) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (passes(items[middle]!)) high = middle;
    else low = middle + 1;
  }
  return low;
}

// --- what types promise and callers without types break ---

function malformed(what: string): StoreError {
  return new StoreError("INVALID_REQUEST", { message: `quorate: the request is malformed: ${what}` });
}

function requireKey(key: Uint8Array): void {
  if (!(key instanceof Uint8Array)) throw malformed("key");
  if (key.length === 0) throw new StoreError("EMPTY_KEY");
}

function bytesOrNone(bytes: Uint8Array | undefined, what: string): void {
  if (bytes !== undefined && !(bytes instanceof Uint8Array)) throw malformed(what);
}

function integer(value: number, what: string): void {
  if (!Number.isSafeInteger(value)) throw malformed(what);
}

function integerOrNone(value: number | undefined, what: string): void {
  if (value !== undefined) integer(value, what);
}

function leaseOrNone(lease: bigint | undefined): void {
  if (lease === undefined) return;
  if (typeof lease !== "bigint" || BigInt.asIntN(64, lease) !== lease) throw malformed("lease");
}
