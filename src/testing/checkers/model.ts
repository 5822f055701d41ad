/** The store as its clients may believe it to be: keys with etcd's fields, and one revision for all. Slow and obvious. */
import type {
  HistoryCompare,
  HistoryKeyValue,
  HistoryOp,
  HistoryOpResult,
  HistoryRequest,
  HistoryResult,
} from "../history.ts";

/** Never changed in place: a step gives a new one, or the same if nothing changed. */
export interface ModelState {
  readonly revision: number;
  readonly keys: ReadonlyMap<string, HistoryKeyValue>;
}

export const INITIAL: ModelState = { revision: 1, keys: new Map() };

export type ModelResult =
  | HistoryOpResult
  | { readonly kind: "txn"; readonly succeeded: boolean; readonly results: readonly HistoryOpResult[] };

/** Applies a request: etcd-semantics 1.1 (one revision for each transaction that changes something). */
export function step(
  state: ModelState,
  request: HistoryRequest,
): { readonly state: ModelState; readonly result: ModelResult } {
  const draft: Draft = { next: state.revision + 1, keys: state.keys, changed: false };
  let result: ModelResult;
  if (request.kind === "txn") {
    const succeeded = request.compare.every((compare) => holds(state.keys, compare));
    const results = (succeeded ? request.success : request.failure).map((op) => apply(draft, op));
    result = { kind: "txn", succeeded, results };
  } else result = apply(draft, request);
  return { state: draft.changed ? { revision: draft.next, keys: draft.keys } : state, result };
}

/** Whether the request could change anything, whatever the state. */
export function canWrite(request: HistoryRequest): boolean {
  if (request.kind === "get") return false;
  return request.kind !== "txn" || [...request.success, ...request.failure].some((op) => op.kind !== "get");
}

/** Whether what a client was told is what the model says. Revisions are compared by the caller. */
export function agrees(told: HistoryResult, model: ModelResult): boolean {
  if (told.kind === "txn") {
    return (
      model.kind === "txn" &&
      told.succeeded === model.succeeded &&
      told.results.length === model.results.length &&
      told.results.every((result, i) => sameResult(result, model.results[i]!))
    );
  }
  return model.kind !== "txn" && sameResult(told, model);
}

/** The key-values that a client was shown. */
export function shown(told: HistoryResult): readonly HistoryKeyValue[] {
  const results = told.kind === "txn" ? told.results : [told];
  return results.flatMap((result) => (result.kind === "get" ? result.kvs : []));
}

/** Equal texts for equal states. */
export function stateText(state: ModelState): string {
  const keys = [...state.keys.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  return keys.map((kv) => `${kv.key}=${kv.value}@${kv.create},${kv.mod},${kv.version}`).join(";");
}

interface Draft {
  readonly next: number;
  keys: ReadonlyMap<string, HistoryKeyValue>;
  changed: boolean;
}

function matching(
  keys: ReadonlyMap<string, HistoryKeyValue>,
  op: { readonly key: string; readonly end?: string },
): HistoryKeyValue[] {
  if (op.end === undefined) {
    const one = keys.get(op.key);
    return one === undefined ? [] : [one];
  }
  const end = op.end;
  return [...keys.values()]
    .filter((kv) => kv.key >= op.key && (end === "\0" || kv.key < end))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
}

function apply(draft: Draft, op: HistoryOp): HistoryOpResult {
  if (op.kind === "get") return { kind: "get", kvs: matching(draft.keys, op) };
  const keys = new Map(draft.keys);
  if (op.kind === "delete") {
    const gone = matching(draft.keys, op);
    for (const kv of gone) keys.delete(kv.key);
    if (gone.length > 0) {
      draft.keys = keys;
      draft.changed = true;
    }
    return { kind: "delete", deleted: gone.length };
  }
  const old = draft.keys.get(op.key);
  keys.set(op.key, {
    key: op.key,
    value: op.value,
    create: old?.create ?? draft.next,
    mod: draft.next,
    version: (old?.version ?? 0) + 1,
  });
  draft.keys = keys;
  draft.changed = true;
  return { kind: "put" };
}

function holds(keys: ReadonlyMap<string, HistoryKeyValue>, compare: HistoryCompare): boolean {
  const kv = keys.get(compare.key);
  // An absent key has no value to compare with (false), and 0 for each counter: etcd-semantics 2.5.
  if (compare.target === "value") return kv !== undefined && kv.value === compare.is;
  return (kv?.[compare.target] ?? 0) === compare.is;
}

function sameResult(a: HistoryOpResult, b: HistoryOpResult): boolean {
  if (a.kind === "get")
    return b.kind === "get" && a.kvs.length === b.kvs.length && a.kvs.every((kv, i) => sameKeyValue(kv, b.kvs[i]!));
  if (a.kind === "delete") return b.kind === "delete" && a.deleted === b.deleted;
  return b.kind === "put";
}

export function sameKeyValue(a: HistoryKeyValue | undefined, b: HistoryKeyValue): boolean {
  return (
    a !== undefined &&
    a.key === b.key &&
    a.value === b.value &&
    a.create === b.create &&
    a.mod === b.mod &&
    a.version === b.version
  );
}
