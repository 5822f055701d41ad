/**
 * Linearizability of the whole store, revisions included: some order of the operations, each at one instant between its
 * call and its answer, gives every answer that was seen. A write whose outcome is unknown may be in it or not, at any
 * instant after its call.
 *
 * A search in the manner of Wing and Gong with Lowe's memory of visited states, made small by what etcd's answers tell:
 * each answer carries a revision. A write answered with revision r is the r-th; a read answered at r stands between the
 * writes r and r+1, and reads there commute. So real time becomes a plain scan, and the search is only about gaps,
 * revisions that nobody was told to have written: each must be one of the writes of unknown outcome. A key-value shown
 * with `mod` m names the write at m, and tells that the key was not written from then until it was shown.
 *
 *   revision   2      3        4          5
 *              put a  put b    (nobody)   put a      <- one of the unknown writes, or a violation
 *
 * Where no write fits, the search goes back to the last choice that has a part in it and not to the last one
 * (conflict-directed backjumping, Prosser 1993): a key's state follows from the gaps since it was last seen.
 */
import { encodeUtf8, viewOf } from "../../base/bytes.ts";
import { Sha256 } from "../../base/sha256.ts";
import {
  describeOperation,
  type HistoryKeyValue,
  type HistoryOp,
  type HistoryOpResult,
  type HistoryRequest,
  type Operation,
} from "../history.ts";
import { agrees, INITIAL, type ModelResult, type ModelState, sameKeyValue, stateText, step } from "./model.ts";
import { type Kind, type Known, OrderFacts } from "./order-facts.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

export interface LinearizabilityOptions {
  /** States visited before the answer is "unknown". */
  readonly maxStates?: number;
  /** Holds serializable reads to the state at their revision as well, at whatever time (serializable.ts). */
  readonly withSerializable?: boolean;
}

/** What has a part in a dead end: choices by their gaps, and kinds of writes, by which choices used them up. */
interface Conflict {
  readonly gaps: ReadonlySet<number>;
  readonly kinds: ReadonlySet<Kind>;
}

interface Choice {
  readonly gap: number;
  readonly state: ModelState;
  readonly memory: string;
  readonly kinds: readonly Kind[];
  /** How far trying them got. */
  tried: number;
  picked: Kind | undefined;
  readonly gaps: Set<number>;
  readonly exhausted: Set<Kind>;
}

/** Of what is remembered, in numbers kept: some 50 MB. What is forgotten costs time only. */
const REMEMBERED_MAX = 2_000_000;

export function checkLinearizability(operations: readonly Operation[], options: LinearizabilityOptions = {}): Verdict {
  const maxStates = options.maxStates ?? 500_000;
  const writes = new Map<number, Known>();
  const reads = new Map<number, Known[]>();
  let last = INITIAL.revision;

  for (const operation of operations) {
    if (operation.outcome !== "ok") continue;
    const known = operation as Known;
    if (isSerializable(known) && options.withSerializable !== true) continue;
    const at = known.result.revision;
    if (!(at >= INITIAL.revision)) return violation(`an answer before the first revision: ${describeOperation(known)}`);
    last = Math.max(last, at);
    if (changed(known)) {
      if (at === INITIAL.revision) return violation(`a write at the first revision: ${describeOperation(known)}`);
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

  const facts = new OrderFacts(operations, writes, reads, options.withSerializable === true, last);
  const dead = new Memory();
  const choices: Choice[] = [];
  let state = INITIAL;
  let used = NO_MARK;
  let visited = 0;
  let furthest = -1;
  let reason = "";
  const blame = (revision: number, text: () => string): void => {
    if (revision <= furthest) return;
    furthest = revision;
    reason = `${text()}; revision ${revision}, state: ${stateText(state) || "empty"}`;
  };
  const operationMarks = new Map<Operation, Mark>();
  const markOfOperation = (operation: Operation): Mark => {
    let mark = operationMarks.get(operation);
    if (mark === undefined) operationMarks.set(operation, (mark = markOf(`${operation.op}`)));
    return mark;
  };
  /** The gaps that decided what these keys are. */
  const behind = (
    keys: Iterable<string>,
    at: number,
    readsBefore: number,
    into: Set<number> = new Set(),
  ): Set<number> => {
    for (const key of keys) for (const gap of facts.gapsBehind(key, at, readsBefore)) into.add(gap);
    return into;
  };
  const because = (keys: Iterable<string>, at: number, readsBefore: number = at + 1): Conflict => ({
    gaps: behind(keys, at, readsBefore),
    kinds: new Set(),
  });

  /** Whether nothing known speaks against a write; else a key whose state before it does, or that it may not touch. */
  const misfit = (before: ModelState, after: ModelState, request: HistoryRequest): string | undefined => {
    const at = after.revision;
    for (const kv of facts.seenAt(at)) if (!sameKeyValue(after.keys.get(kv.key), kv)) return kv.key;
    for (const key of facts.written(request)) {
      const now = after.keys.get(key);
      if (now === before.keys.get(key)) continue;
      if (facts.isUntouched(key, at) || !facts.canBecome(key, now, at)) return key;
    }
    return undefined;
  };

  /** Why no order that begins as this one does goes on from here; `undefined` where the next choice is open. */
  const advance = (): Conflict | "ok" | undefined => {
    for (const read of reads.get(state.revision) ?? []) {
      const { result } = step(state, read.request);
      if (agrees(read.result, result)) continue;
      blame(state.revision, () => `an answer no order explains: ${describeOperation(read)}`);
      return because(differing(facts, read, result), state.revision, state.revision);
    }
    if (state.revision >= last) return "ok";
    const next = state.revision + 1;
    const write = writes.get(next);
    if (write !== undefined) {
      const { state: after, result } = step(state, write.request);
      const fits = after.revision === next && agrees(write.result, result);
      const wrong = fits ? misfit(state, after, write.request) : undefined;
      if (fits && wrong === undefined) {
        state = after;
        return undefined;
      }
      blame(next, () =>
        fits
          ? `a write that leaves ${wrong} as it was never seen: ${describeOperation(write)}`
          : `a write's answer that no order explains: ${describeOperation(write)}`,
      );
      if (!fits) return because(differing(facts, write, result), state.revision);
      return because([wrong!, ...comparedKeys(write.request)], state.revision);
    }
    const memory = memoryOf(state, used);
    const known = dead.get(memory);
    if (known !== undefined) return known;
    const latest = facts.deadline(next);
    const exhausted = new Set<Kind>();
    const kinds: Kind[] = [];
    for (const kind of facts.kindsAt(next)) {
      // They stand in the order of their first calls.
      if (kind.operations[0]!.invoked > latest) break;
      if ((kind.operations[kind.used]?.invoked ?? Infinity) > latest) exhausted.add(kind);
      else kinds.push(kind);
    }
    // A write that had no answer took effect soon after its call, or never: that is the best guess.
    kinds.sort((a, b) => b.operations[b.used]!.invoked - a.operations[a.used]!.invoked);
    choices.push({ gap: next, state, memory, kinds, tried: 0, picked: undefined, gaps: new Set(), exhausted });
    return undefined;
  };

  /** Takes the next write that fits a gap; false where none is left. */
  const pick = (choice: Choice): boolean => {
    const { gap, state: before, kinds, gaps } = choice;
    while (choice.tried < kinds.length) {
      const kind = kinds[choice.tried++]!;
      const operation = kind.operations[kind.used]!;
      const { request } = operation;
      const after = step(before, request).state;
      if (after.revision !== gap) {
        behind([...facts.written(request), ...comparedKeys(request)], gap - 1, gap, gaps);
        continue;
      }
      const wrong = misfit(before, after, request);
      if (wrong !== undefined) {
        behind([wrong, ...comparedKeys(request)], gap - 1, gap, gaps);
        continue;
      }
      kind.used += 1;
      used = together(used, markOfOperation(operation));
      choice.picked = kind;
      state = after;
      return true;
    }
    if (gap > furthest) {
      state = before;
      blame(gap, () => {
        const wanted = facts.seenAt(gap).map((kv) => `${kv.key}=${kv.value}`);
        return `revision ${gap}${wanted.length === 0 ? "" : ` (seen: ${wanted.join(", ")})`} was written by nobody`;
      });
    }
    return false;
  };

  for (;;) {
    if (++visited > maxStates) {
      return {
        verdict: "unknown",
        message: `undecided after ${maxStates} states at revision ${furthest}: raise maxStates, or make fewer calls time out`,
      };
    }
    const depth = choices.length;
    let conflict = advance();
    if (conflict === "ok") return OK;
    if (conflict === undefined && choices.length === depth) continue;
    for (;;) {
      const choice = choices.at(-1);
      if (choice === undefined) return violation(reason);
      const { picked, gaps, exhausted, gap } = choice;
      if (picked !== undefined) {
        picked.used -= 1;
        used = together(used, markOfOperation(picked.operations[picked.used]!));
        choice.picked = undefined;
        const { gaps: its, kinds } = conflict!;
        if (!its.has(gap) && !kinds.has(picked)) {
          choices.pop();
          continue;
        }
        for (const each of its) if (each !== gap) gaps.add(each);
        for (const each of kinds) exhausted.add(each);
      }
      if (pick(choice)) break;
      conflict = { gaps, kinds: exhausted };
      dead.add(choice.memory, conflict);
      choices.pop();
    }
  }
}

/** States that were found to lead nowhere, by a hash of theirs and of the writes used: too long to meet another by chance. */
class Memory {
  readonly #conflicts = new Map<string, Conflict>();
  #weight = 0;

  get(memory: string): Conflict | undefined {
    return this.#conflicts.get(memory);
  }

  add(memory: string, conflict: Conflict): void {
    this.#weight += 8 + conflict.gaps.size + conflict.kinds.size;
    if (this.#weight > REMEMBERED_MAX) {
      this.#conflicts.clear();
      this.#weight = 0;
    }
    this.#conflicts.set(memory, conflict);
  }
}

type Mark = readonly [number, number, number, number];

const NO_MARK: Mark = [0, 0, 0, 0];

/** 128 bits of a text's hash. The mark of a set is that of all its members together, whatever their order. */
function markOf(text: string): Mark {
  const view = viewOf(new Sha256().update(encodeUtf8(text)).digest());
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

function together(a: Mark, b: Mark): Mark {
  return [a[0] ^ b[0], a[1] ^ b[1], a[2] ^ b[2], a[3] ^ b[3]];
}

const marks = new WeakMap<HistoryKeyValue, Mark>();

function markOfKeyValue(kv: HistoryKeyValue): Mark {
  let mark = marks.get(kv);
  if (mark === undefined) {
    mark = markOf(JSON.stringify([kv.key, kv.value, kv.create, kv.mod, kv.version]));
    marks.set(kv, mark);
  }
  return mark;
}

/** The name of a state and of the writes used on the way to it. */
function memoryOf(state: ModelState, used: Mark): string {
  let mark = used;
  for (const kv of state.keys.values()) mark = together(mark, markOfKeyValue(kv));
  return `${state.revision} ${mark.join(" ")}`;
}

/** Keys of which one that is as it is explains, by itself, why an answer is not the model's. */
function differing(facts: OrderFacts, { request, result }: Known, model: ModelResult): readonly string[] {
  if (request.kind !== "txn") return differingKeys(facts, request, result as HistoryOpResult, model as HistoryOpResult);
  if (result.kind !== "txn" || model.kind !== "txn" || result.succeeded !== model.succeeded)
    return comparedKeys(request);
  const ops = result.succeeded ? request.success : request.failure;
  for (const [i, op] of ops.entries()) {
    const keys = differingKeys(facts, op, result.results[i]!, model.results[i]!);
    if (keys.length > 0) return keys;
  }
  return [...comparedKeys(request), ...facts.written(request)];
}

function differingKeys(
  facts: OrderFacts,
  op: HistoryOp,
  told: HistoryOpResult,
  model: HistoryOpResult,
): readonly string[] {
  if (told.kind === "delete" && model.kind === "delete" && op.kind === "delete") {
    return told.deleted === model.deleted ? [] : facts.matching(op);
  }
  if (told.kind !== "get" || model.kind !== "get") return [];
  const others = new Map(model.kvs.map((kv) => [kv.key, kv]));
  for (const kv of told.kvs) {
    if (!sameKeyValue(others.get(kv.key), kv)) return [kv.key];
    others.delete(kv.key);
  }
  return [...others.keys()].slice(0, 1);
}

function comparedKeys(request: HistoryRequest): readonly string[] {
  return request.kind === "txn" ? request.compare.map(({ key }) => key) : [];
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
