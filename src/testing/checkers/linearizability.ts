/**
 * Linearizability of the whole store, revisions included: some order of the operations, each at one instant between its
 * call and its answer, gives every answer that was seen. A write whose outcome is unknown may be in it or not, at any
 * instant after its call.
 *
 * A search in the manner of Wing and Gong with Lowe's memory of visited states, made small by what etcd's answers tell:
 * each answer carries a revision. A write answered with revision r is the r-th; a read answered at r stands between the
 * writes r and r+1, and reads there commute. So real time becomes a plain scan, and the search is only about revisions
 * that nobody was told to have written: each must be one of the writes of unknown outcome. A key-value shown with
 * `mod` m names the write at m.
 *
 *   revision   2      3        4          5
 *              put a  put b    (nobody)   put a      <- one of the unknown writes, or a violation
 */
import { describeOperation, type Operation } from "../history.ts";
import { agrees, canWrite, INITIAL, type ModelState, shown, stateText, step } from "./model.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

export interface LinearizabilityOptions {
  /** States visited before the answer is "unknown". */
  readonly maxStates?: number;
  /** Holds serializable reads to the state at their revision as well, at whatever time (serializable.ts). */
  readonly withSerializable?: boolean;
}

type Known = Operation & { readonly result: NonNullable<Operation["result"]> };

export function checkLinearizability(operations: readonly Operation[], options: LinearizabilityOptions = {}): Verdict {
  const maxStates = options.maxStates ?? 500_000;
  const writes = new Map<number, Known>();
  const reads = new Map<number, Known[]>();
  const candidates: Operation[] = [];
  let last = INITIAL.revision;

  for (const operation of operations) {
    if (operation.outcome === "fail") continue;
    if (operation.outcome === "unknown") {
      if (canWrite(operation.request)) candidates.push(operation);
      continue;
    }
    const known = operation as Known;
    const serializable = isSerializable(known);
    if (serializable && options.withSerializable !== true) continue;
    const at = known.result.revision;
    if (!(at >= INITIAL.revision)) return violation(`an answer before the first revision: ${describeOperation(known)}`);
    last = Math.max(last, at);
    if (changed(known)) {
      const rival = writes.get(at);
      if (rival !== undefined) {
        return violation(`two writes at revision ${at}: ${describeOperation(rival)}; ${describeOperation(known)}`);
      }
      writes.set(at, known);
    } else {
      const group = reads.get(at);
      if (group === undefined) reads.set(at, [known]);
      else group.push(known);
    }
  }

  const untimely = realTime(writes, reads);
  if (untimely !== undefined) return violation(untimely);

  // Latest call of an unknown write that may still be the one at revision r: the soonest answer given after it.
  const deadline = deadlines(writes, reads);
  const seenAt = pins(operations, options.withSerializable === true);
  const homeOf = homes(operations, seenAt);

  interface Choice {
    readonly state: ModelState;
    /** What may be tried at the gap after `state`, and how far trying got. */
    readonly open: readonly Operation[];
    tried: number;
    readonly memory: string;
  }
  const used = new Set<number>();
  const failed = new Set<string>();
  const choices: Choice[] = [];
  let state = INITIAL;
  let visited = 0;
  let furthest = -1;
  let reason = "";

  const blame = (revision: number, text: () => string): void => {
    if (revision <= furthest) return;
    furthest = revision;
    reason = `${text()}; revision ${revision}, state: ${stateText(state) || "empty"}`;
  };

  for (;;) {
    if (++visited > maxStates) {
      return {
        verdict: "unknown",
        message: `undecided after ${maxStates} states at revision ${furthest}: raise maxStates, or make fewer calls time out`,
      };
    }
    let dead = false;
    for (const read of reads.get(state.revision) ?? []) {
      if (agrees(read.result, step(state, read.request).result)) continue;
      blame(state.revision, () => `an answer no order explains: ${describeOperation(read)}`);
      dead = true;
      break;
    }
    if (!dead && state.revision >= last) return OK;

    if (!dead) {
      const next = state.revision + 1;
      const write = writes.get(next);
      if (write !== undefined) {
        const after = step(state, write.request);
        if (after.state.revision === next && agrees(write.result, after.result)) {
          state = after.state;
          continue;
        }
        blame(next, () => `a write's answer that no order explains: ${describeOperation(write)}`);
        dead = true;
      } else {
        const memory = `${next}|${stateText(state)}|${[...used].sort((a, b) => a - b).join(",")}`;
        if (failed.has(memory)) dead = true;
        else {
          const latest = deadline(next);
          const open = candidates.filter((operation) => {
            if (used.has(operation.op) || operation.invoked > latest) return false;
            const home = homeOf.get(operation.op);
            if (home !== undefined && home !== next) return false;
            const after = step(state, operation.request).state;
            if (after.revision !== next) return false;
            return (seenAt.get(next) ?? []).every((kv) => {
              const made = after.keys.get(kv.key);
              return made !== undefined && made.mod === next && made.value === kv.value && made.create === kv.create;
            });
          });
          choices.push({ state, open, tried: 0, memory });
          if (open.length === 0) {
            blame(next, () => {
              const wanted = (seenAt.get(next) ?? []).map((kv) => `${kv.key}=${kv.value}`).join(", ");
              return `revision ${next}${wanted === "" ? "" : ` (seen: ${wanted})`} was written by nobody`;
            });
          }
        }
      }
    }

    // Take the next choice still open, undoing what came after it.
    for (;;) {
      const choice = choices.at(-1);
      if (choice === undefined) return violation(reason);
      if (choice.tried > 0) used.delete(choice.open[choice.tried - 1]!.op);
      const pick = choice.open[choice.tried++];
      if (pick === undefined) {
        failed.add(choice.memory);
        choices.pop();
        continue;
      }
      used.add(pick.op);
      state = step(choice.state, pick.request).state;
      break;
    }
  }
}

export function isSerializable(operation: Operation): boolean {
  return operation.request.kind === "get" && operation.request.serializable === true;
}

/** Whether an answered operation moved the revision. */
export function changed(operation: Known): boolean {
  const { request, result } = operation;
  if (result.kind === "put") return true;
  if (result.kind === "delete") return result.deleted > 0;
  if (result.kind === "get" || request.kind !== "txn") return false;
  const branch = result.succeeded ? request.success : request.failure;
  return branch.some((op, i) => {
    const told = result.results[i];
    return op.kind === "put" || (told?.kind === "delete" && told.deleted > 0);
  });
}

/** An operation answered before another was called may not stand after it. `undefined` if none does. */
function realTime(
  writes: ReadonlyMap<number, Known>,
  reads: ReadonlyMap<number, readonly Known[]>,
): string | undefined {
  const revisions = [...new Set([...writes.keys(), ...reads.keys()])].sort((a, b) => a - b);
  let latest: Known | undefined; // the operation called last among those that stand earlier
  const check = (operation: Known): string | undefined =>
    latest !== undefined && operation.returned < latest.invoked
      ? `out of real time: ${describeOperation(latest)} was called after the answer of ${describeOperation(operation)}`
      : undefined;
  const pass = (operation: Known): void => {
    if (latest === undefined || operation.invoked > latest.invoked) latest = operation;
  };
  for (const at of revisions) {
    const write = writes.get(at);
    if (write !== undefined) {
      const wrong = check(write);
      if (wrong !== undefined) return wrong;
      pass(write);
    }
    const group = (reads.get(at) ?? []).filter((read) => !isSerializable(read));
    for (const read of group) {
      const wrong = check(read);
      if (wrong !== undefined) return wrong;
    }
    for (const read of group) pass(read);
  }
  return undefined;
}

function deadlines(
  writes: ReadonlyMap<number, Known>,
  reads: ReadonlyMap<number, readonly Known[]>,
): (revision: number) => number {
  const soonest = new Map<number, number>();
  for (const write of writes.values()) soonest.set(write.result.revision, write.returned);
  for (const [at, group] of reads) {
    for (const read of group) {
      if (!isSerializable(read)) soonest.set(at, Math.min(soonest.get(at) ?? Infinity, read.returned));
    }
  }
  const revisions = [...soonest.keys()].sort((a, b) => a - b);
  const suffix = new Array<number>(revisions.length + 1).fill(Infinity);
  for (let i = revisions.length - 1; i >= 0; i--) suffix[i] = Math.min(suffix[i + 1]!, soonest.get(revisions[i]!)!);
  return (revision) => {
    let low = 0;
    let high = revisions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (revisions[middle]! < revision) low = middle + 1;
      else high = middle;
    }
    return suffix[low]!;
  };
}

type Seen = ReturnType<typeof shown>[number];

/** Which key-values clients saw written at each revision. */
function pins(operations: readonly Operation[], withSerializable: boolean): Map<number, Seen[]> {
  const seenAt = new Map<number, Seen[]>();
  const once = new Set<string>();
  for (const operation of operations) {
    if (operation.result === undefined || (isSerializable(operation) && !withSerializable)) continue;
    for (const kv of shown(operation.result)) {
      const text = `${kv.mod}|${kv.key}|${kv.value}|${kv.create}`;
      if (once.has(text)) continue;
      once.add(text);
      const all = seenAt.get(kv.mod);
      if (all === undefined) seenAt.set(kv.mod, [kv]);
      else all.push(kv);
    }
  }
  return seenAt;
}

/** Revisions at which operations must stand because a value that they alone write was seen there. */
function homes(operations: readonly Operation[], seenAt: ReadonlyMap<number, readonly Seen[]>): Map<number, number> {
  const writer = new Map<string, number | undefined>();
  for (const operation of operations) {
    const { request } = operation;
    for (const op of request.kind === "txn" ? [...request.success, ...request.failure] : [request]) {
      if (op.kind !== "put") continue;
      const text = `${op.key}|${op.value}`;
      writer.set(text, writer.has(text) ? undefined : operation.op);
    }
  }
  const home = new Map<number, number>();
  for (const [at, all] of seenAt) {
    for (const kv of all) {
      const op = writer.get(`${kv.key}|${kv.value}`);
      if (op !== undefined) home.set(op, at);
    }
  }
  return home;
}
