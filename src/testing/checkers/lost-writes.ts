/**
 * An acknowledged write is never lost: at the end each key shows its last acknowledged write, or something that was
 * written after it. Weaker than linearizability and much simpler, so that the two can hardly be wrong together.
 */
import { describeOperation, type HistoryKeyValue, type HistoryOp, type Operation } from "../history.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

/** The whole store as one linearizable read showed it after the last operation had ended. */
export interface FinalState {
  readonly revision: number;
  readonly kvs: readonly HistoryKeyValue[];
}

export function checkLostWrites(operations: readonly Operation[], final: FinalState): Verdict {
  interface LastWrite {
    readonly revision: number;
    /** `undefined` if it was a delete. */
    readonly value: string | undefined;
    readonly operation: Operation;
  }
  const lastWrites = new Map<string, LastWrite>();
  const mayDelete: { readonly key: string; readonly end: string | undefined }[] = [];

  for (const operation of operations) {
    if (operation.outcome === "fail") continue;
    for (const [op, deleted] of effects(operation)) {
      if (op.kind === "get") continue;
      if (operation.result === undefined) {
        if (op.kind === "delete") mayDelete.push({ key: op.key, end: op.end });
        continue;
      }
      const { revision } = operation.result;
      if (revision > final.revision) {
        return violation(`the store ended at revision ${final.revision}, before ${describeOperation(operation)}`);
      }
      if (op.kind === "put") record(op.key, { revision, value: op.value, operation });
      else if (deleted > 0) {
        // A range: each key that somebody is known to have written in it is gone as of here.
        const touched = op.end === undefined ? [op.key] : [...lastWrites.keys()].filter((key) => within(key, op));
        for (const key of touched) record(key, { revision, value: undefined, operation });
      }
    }
  }
  function record(key: string, write: LastWrite): void {
    const known = lastWrites.get(key);
    // Equal revisions are one txn, whose operations come in their order.
    if (known === undefined || known.revision <= write.revision) lastWrites.set(key, write);
  }

  const finals = new Map(final.kvs.map((kv) => [kv.key, kv]));
  for (const [key, write] of lastWrites) {
    const kv = finals.get(key);
    if (write.value === undefined) {
      if (kv !== undefined && kv.mod <= write.revision) {
        return violation(`key ${key} came back as ${kv.value}@${kv.mod} after ${describeOperation(write.operation)}`);
      }
      continue;
    }
    if (kv === undefined) {
      if (mayDelete.some((range) => within(key, range))) continue;
      // A later range delete may have been read first: its record stands under the keys known then.
      const gone = operations.some(
        (operation) =>
          operation.result !== undefined &&
          operation.result.revision > write.revision &&
          effects(operation).some(([op, deleted]) => op.kind === "delete" && deleted > 0 && within(key, op)),
      );
      if (!gone) return violation(`key ${key} is gone after ${describeOperation(write.operation)}`);
    } else if (kv.mod < write.revision) {
      return violation(`key ${key} ended as ${kv.value}@${kv.mod}, before ${describeOperation(write.operation)}`);
    } else if (kv.mod === write.revision && kv.value !== write.value) {
      return violation(`key ${key} ended as ${kv.value}@${kv.mod}, not as told: ${describeOperation(write.operation)}`);
    }
  }
  return OK;
}

/** What an operation did, or might have done: its parts with the number of keys each is known to have deleted. */
function effects(operation: Operation): [HistoryOp, number][] {
  const { request, result } = operation;
  if (request.kind !== "txn") return [[request, result?.kind === "delete" ? result.deleted : 0]];
  if (result === undefined || result.kind !== "txn") {
    return [...request.success, ...request.failure].map((op) => [op, 0]);
  }
  return (result.succeeded ? request.success : request.failure).map((op, i) => {
    const told = result.results[i];
    return [op, told?.kind === "delete" ? told.deleted : 0];
  });
}

function within(key: string, range: { readonly key: string; readonly end?: string | undefined }): boolean {
  if (range.end === undefined) return key === range.key;
  return key >= range.key && (range.end === "\0" || key < range.end);
}
