/**
 * A transaction: compares, then one of two branches (etcd-semantics 2.5). Three passes: which branches are taken, all
 * decided against the state before it; whether every operation on that path may run; then the operations in order. After
 * the second pass nothing can fail, so nothing is ever undone.
 */
import { compareBytes, EMPTY, toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type LeaseId, NO_LEASE, type Revision, revision } from "../base/ids.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Compare, PutRequest, RequestOp, TxnRequest } from "../protocol/requests.ts";
import type { DeleteRangeResult, OpResult, TxnResult } from "../protocol/responses.ts";
import type { KeyIndex } from "./key-index.ts";
import { spanOf } from "./range.ts";
import type { ResultRoom } from "./result-room.ts";
import type { Budget, Slices } from "./slices.ts";
import { TOP } from "./sorted-map.ts";
import type { Store } from "./store.ts";

/** Every operation of both branches is a range itself: such a transaction is not replicated. */
export function isReadOnlyTxn(txn: TxnRequest): boolean {
  return txn.success.every(isRange) && txn.failure.every(isRange);
}

/** A read-only transaction that needs no proof of freshness. One without any operation is: etcd answers it locally. */
export function isSerializableTxn(txn: TxnRequest): boolean {
  const serializable = (op: RequestOp): boolean => op.kind === "range" && op.serializable === true;
  return txn.success.every(serializable) && txn.failure.every(serializable);
}

function isRange(op: RequestOp): boolean {
  return op.kind === "range";
}

/** What a put needs to know of leases, which live elsewhere. */
export type LeaseExists = (lease: LeaseId) => boolean;

/** Throws `LEASE_NOT_FOUND` or `KEY_NOT_FOUND` if the put may not run in the state at `at`. */
export function precheckPut(store: Store, put: PutRequest, at: number, leaseExists: LeaseExists): void {
  const lease = put.lease ?? NO_LEASE;
  if (lease !== NO_LEASE && !leaseExists(lease)) throw new StoreError("LEASE_NOT_FOUND");
  if ((put.ignoreValue || put.ignoreLease) && store.get(put.key, at) === undefined) {
    throw new StoreError("KEY_NOT_FOUND");
  }
}

/**
 * Runs inside an open write, or, read-only, at a pinned revision. Throws before anything was changed, or not at all.
 * Without `room` the changes are the same, and the results are of the right kinds, in the right places, and empty.
 */
export function* runTxn(
  store: Store,
  txn: TxnRequest,
  mode: TxnMode,
  leaseExists: LeaseExists,
  budget: Budget,
  room: ResultRoom,
): Slices<TxnResult> {
  const at = mode.kind === "write" ? store.revision : mode.at;
  const path: boolean[] = [];
  yield* choosePath(store, txn, at, path, budget);
  yield* precheck(store, txn, { path, at: 0 }, at, { from: undefined }, leaseExists, budget);
  return yield* execute(store, txn, { path, at: 0 }, mode, budget, room, true);
}

export type TxnMode = { readonly kind: "write" } | { readonly kind: "read"; readonly at: Revision };

/** The branch decisions in the order in which the transactions are met; `at` is the next one to use. */
interface Path {
  readonly path: readonly boolean[];
  at: number;
}

function* choosePath(store: Store, txn: TxnRequest, at: number, path: boolean[], budget: Budget): Slices<void> {
  let succeeded = true;
  for (const compare of txn.compare) {
    if (!(yield* holds(store, compare, at, budget))) {
      succeeded = false;
      break;
    }
  }
  path.push(succeeded);
  for (const op of succeeded ? txn.success : txn.failure) {
    if (op.kind === "txn") yield* choosePath(store, op, at, path, budget);
  }
}

/** With a range, every key of it must satisfy the compare. */
function* holds(store: Store, compare: Compare, at: number, budget: Budget): Slices<boolean> {
  let keys = 0;
  let all = true;
  const visit = (_key: string, index: KeyIndex): boolean => {
    const record = index.findLive(at);
    if (record < 0) return true;
    keys += 1;
    all = satisfied(compare, difference(store, compare, index, record, budget));
    return all;
  };
  yield* store.walk(spanOf(compare.key, compare.rangeEnd), budget, visit);
  // A key that does not exist compares as if all its numbers were 0; its value compares with nothing, not even unequal.
  if (keys === 0) return compare.target !== "value" && satisfied(compare, differenceFromAbsent(compare));
  return all;
}

/** The sign of stored minus given. */
function difference(store: Store, compare: Compare, index: KeyIndex, record: number, budget: Budget): number {
  switch (compare.target) {
    case "version":
      return index.versionOf(record) - compare.version;
    case "create":
      return index.createOf(record) - compare.createRevision;
    case "mod":
      return index.mainOf(record) - compare.modRevision;
    case "value":
    case "lease": {
      budget.left -= 1;
      const kv = store.records.read(index.mainOf(record), index.subOf(record));
      return compare.target === "value"
        ? compareBytes(kv.value, compare.value)
        : compareLeases(kv.lease, compare.lease);
    }
  }
}

function differenceFromAbsent(compare: Compare): number {
  switch (compare.target) {
    case "version":
      return -compare.version;
    case "create":
      return -compare.createRevision;
    case "mod":
      return -compare.modRevision;
    case "value":
      return compareBytes(EMPTY, compare.value);
    case "lease":
      return compareLeases(NO_LEASE, compare.lease);
  }
}

function compareLeases(a: LeaseId, b: LeaseId): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function satisfied(compare: Compare, sign: number): boolean {
  switch (compare.result) {
    case "equal":
      return sign === 0;
    case "notEqual":
      return sign !== 0;
    case "greater":
      return sign > 0;
    case "less":
      return sign < 0;
  }
}

/** From which key on an operation before deletes everything; `undefined` = none does. */
interface DeletedToTheEnd {
  from: string | undefined;
}

/** Checks the operations on the path, in order, against the state before the transaction. */
function* precheck(
  store: Store,
  txn: TxnRequest,
  path: Path,
  at: Revision,
  deleted: DeletedToTheEnd,
  leaseExists: LeaseExists,
  budget: Budget,
): Slices<void> {
  for (const op of path.path[path.at++] ? txn.success : txn.failure) {
    budget.left -= 1;
    if (budget.left <= 0) yield;
    switch (op.kind) {
      case "range": {
        // Unlike outside a transaction, a negative revision is taken as it stands.
        const wanted = op.revision ?? 0;
        if (wanted === 0) break;
        if (wanted > at) throw new StoreError("FUTURE_REVISION");
        if (wanted < store.compactRevision) throw store.compacted();
        break;
      }
      case "put":
        precheckPut(store, op, at, leaseExists);
        // "Delete from k to the end", then "put k, keep its value", is the one way past the duplicate check to a put that
        // needs what is gone. etcd stops with a panic; here the key is not found, as the put itself would not find it.
        if ((op.ignoreValue || op.ignoreLease) && deleted.from !== undefined && deleted.from <= toByteString(op.key)) {
          throw new StoreError("KEY_NOT_FOUND");
        }
        break;
      case "deleteRange": {
        const { low, high } = spanOf(op.key, op.rangeEnd);
        if (high === TOP && (deleted.from === undefined || low < deleted.from)) deleted.from = low;
        break;
      }
      case "txn":
        yield* precheck(store, op, path, at, deleted, leaseExists, budget);
    }
  }
}

function* execute(
  store: Store,
  txn: TxnRequest,
  path: Path,
  mode: TxnMode,
  budget: Budget,
  room: ResultRoom,
  isOutermost: boolean,
): Slices<TxnResult> {
  const succeeded = path.path[path.at++]!;
  const results: OpResult[] = [];
  for (const op of succeeded ? txn.success : txn.failure) {
    budget.left -= 1;
    if (budget.left <= 0) yield;
    switch (op.kind) {
      case "range": {
        const current = mode.kind === "write" ? store.writeRevision : mode.at;
        const wanted = op.revision ?? 0;
        results.push(yield* store.range(op, wanted <= 0 ? current : wanted, current, budget, room));
        break;
      }
      case "put": {
        const prevKv = store.put(op, room);
        results.push({ kind: "put", revision: store.writeRevision, prevKv });
        break;
      }
      case "deleteRange":
        results.push(yield* runDeleteRange(store, op, budget, room));
        break;
      case "txn":
        results.push(yield* execute(store, op, path, mode, budget, room, false));
    }
  }
  const current = mode.kind === "write" ? store.writeRevision : mode.at;
  // etcd leaves the header of a nested transaction entirely zero.
  return { kind: "txn", revision: isOutermost ? current : revision(0), succeeded, results };
}

/** Inside an open write. */
export function* runDeleteRange(
  store: Store,
  request: {
    readonly key: Uint8Array;
    readonly rangeEnd?: Uint8Array | undefined;
    readonly prevKv?: boolean | undefined;
  },
  budget: Budget,
  room: ResultRoom,
): Slices<DeleteRangeResult> {
  const prevKvs: KeyValue[] = [];
  const span = spanOf(request.key, request.rangeEnd);
  const deleted = yield* store.deleteRange(span, request.prevKv ? prevKvs : undefined, budget, false, room);
  return { kind: "deleteRange", revision: store.writeRevision, deleted, prevKvs };
}
