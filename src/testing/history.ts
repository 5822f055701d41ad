/**
 * What clients asked and what they were told, as JSON Lines: one record a line, in the order of virtual time.
 *
 *   {"type":"invoke","time":12.5,"process":1,"op":7,"request":{"kind":"put","key":"a","value":"7"}}
 *   {"type":"ok","time":14,"process":1,"op":7,"result":{"kind":"put","member":"8e9e","revision":5}}
 *   {"type":"fail","time":14,"process":1,"op":7,"error":"NO_LEADER"}     it certainly did not happen
 *   {"type":"info","time":99,"process":1,"op":7,"error":"TIMEOUT"}       it may have happened, or may happen yet
 *   {"type":"note","time":99,"note":"crash","member":"8e9e","detail":""} a fault, a restart, a phase: no operation
 *
 * Further records tell what else a run knows; docs/history-format.md describes each: "fault", "role", "call", "lease",
 * "watch", "health".
 *
 * `time` counts milliseconds. A process has at most one operation in flight. `op` is unique in the history. An `invoke`
 * without an end counts as `info`. Keys and values are text. `revision` is the header's: the store's revision at which
 * the operation took effect or was read. In a key-value, `create`, `mod` and `version` are etcd's fields.
 */
import type { LeaseLife } from "./checkers/leases.ts";
import type { WatchedRecord } from "./checkers/watches.ts";

export type HistoryCompare =
  | { readonly key: string; readonly target: "mod" | "create" | "version"; readonly is: number }
  | { readonly key: string; readonly target: "value"; readonly is: string };

export type HistoryOp =
  | { readonly kind: "get"; readonly key: string; readonly end?: string; readonly serializable?: boolean }
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "delete"; readonly key: string; readonly end?: string };

/** All comparisons are for equality: enough for compare-and-set, insert-if-absent and delete-if-unchanged. */
export interface HistoryTxn {
  readonly kind: "txn";
  readonly compare: readonly HistoryCompare[];
  readonly success: readonly HistoryOp[];
  readonly failure: readonly HistoryOp[];
}

export type HistoryRequest = HistoryOp | HistoryTxn;

export interface HistoryKeyValue {
  readonly key: string;
  readonly value: string;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
}

export type HistoryOpResult =
  | { readonly kind: "get"; readonly kvs: readonly HistoryKeyValue[] }
  | { readonly kind: "put" }
  | { readonly kind: "delete"; readonly deleted: number };

export type HistoryResult = { readonly member: string; readonly revision: number } & (
  | HistoryOpResult
  | { readonly kind: "txn"; readonly succeeded: boolean; readonly results: readonly HistoryOpResult[] }
);

export type HistoryRecord =
  | {
      readonly type: "invoke";
      readonly time: number;
      readonly process: number;
      readonly op: number;
      readonly request: HistoryRequest;
    }
  | {
      readonly type: "ok";
      readonly time: number;
      readonly process: number;
      readonly op: number;
      readonly result: HistoryResult;
    }
  | {
      readonly type: "fail" | "info";
      readonly time: number;
      readonly process: number;
      readonly op: number;
      readonly error: string;
    }
  | {
      readonly type: "note";
      readonly time: number;
      readonly note: string;
      readonly member: string;
      readonly detail: string;
    }
  /** A fault begins or ends; the two share an id. */
  | ({ readonly type: "fault"; readonly time: number } & FaultEvent)
  /** What a member is from here on. */
  | {
      readonly type: "role";
      readonly time: number;
      readonly member: string;
      readonly role: HistoryRole;
      readonly term: number;
    }
  /** A finished call outside the model of keys and values, such as a lease's renewal. `time` is its end. */
  | {
      readonly type: "call";
      readonly time: number;
      readonly process: number;
      readonly name: string;
      readonly ms: number;
      readonly outcome: "ok" | "fail" | "unknown";
      readonly error?: string;
    }
  | { readonly type: "lease"; readonly time: number; readonly life: LeaseLife }
  | { readonly type: "watch"; readonly time: number; readonly watch: WatchedRecord }
  /** The largest set of members that run, reach each other and have a disk that answers, from here on. */
  | { readonly type: "health"; readonly time: number; readonly connected: readonly string[]; readonly quorum: number };

export type HistoryRole = "leader" | "follower" | "candidate" | "preCandidate" | "down" | "paused";

export interface FaultEvent {
  readonly fault: string;
  readonly id: number;
  readonly phase: "begin" | "end";
  readonly detail: string;
}

/** One operation with its end. `returned` is Infinity while its outcome is unknown. */
export interface Operation {
  readonly op: number;
  readonly process: number;
  readonly request: HistoryRequest;
  readonly invoked: number;
  readonly returned: number;
  readonly outcome: "ok" | "fail" | "unknown";
  readonly result: HistoryResult | undefined;
  readonly error: string | undefined;
}

export class History {
  readonly records: HistoryRecord[] = [];
  /** Told of each record, as it comes. */
  readonly #onRecord: ((line: string) => void) | undefined;
  #ops = 0;

  constructor(onRecord?: (line: string) => void) {
    this.#onRecord = onRecord;
  }

  invoke(time: number, process: number, request: HistoryRequest): number {
    const op = this.#ops++;
    this.add({ type: "invoke", time, process, op, request });
    return op;
  }

  add(record: HistoryRecord): void {
    this.records.push(record);
    this.#onRecord?.(JSON.stringify(record));
  }

  fault(time: number, event: FaultEvent): void {
    this.add({ type: "fault", time, ...event });
  }

  note(time: number, note: string, member = "", detail = ""): void {
    this.add({ type: "note", time, note, member, detail });
  }

  operations(): Operation[] {
    return operationsOf(this.records);
  }

  toJsonLines(): string {
    return this.records.map((record) => `${JSON.stringify(record)}\n`).join("");
  }

  static parse(text: string): History {
    const history = new History();
    for (const line of text.split("\n")) {
      if (line.trim() === "") continue;
      const record = JSON.parse(line) as HistoryRecord;
      history.add(record);
      if (record.type === "invoke") history.#ops = Math.max(history.#ops, record.op + 1);
    }
    return history;
  }
}

/** Pairs invocations with their ends, in the order of invocation. */
export function operationsOf(records: readonly HistoryRecord[]): Operation[] {
  const open = new Map<number, Operation>();
  for (const record of records) {
    if (record.type === "invoke") {
      open.set(record.op, {
        op: record.op,
        process: record.process,
        request: record.request,
        invoked: record.time,
        returned: Infinity,
        outcome: "unknown",
        result: undefined,
        error: undefined,
      });
      continue;
    }
    if (record.type !== "ok" && record.type !== "fail" && record.type !== "info") continue;
    const begun = open.get(record.op);
    if (begun === undefined) throw new RangeError(`history: operation ${record.op} ends without having begun`);
    if (record.type === "ok") {
      open.set(record.op, { ...begun, returned: record.time, outcome: "ok", result: record.result });
    } else if (record.type === "fail") {
      open.set(record.op, { ...begun, returned: record.time, outcome: "fail", error: record.error });
    } else {
      open.set(record.op, { ...begun, error: record.error });
    }
  }
  return [...open.values()];
}

/** One operation on one line, for people. */
export function describeOperation(operation: Operation): string {
  const end = operation.returned === Infinity ? "?" : operation.returned.toFixed(1);
  const told = operation.result === undefined ? (operation.error ?? "no answer") : JSON.stringify(operation.result);
  return `#${operation.op} client ${operation.process} [${operation.invoked.toFixed(1)}, ${end}] ${JSON.stringify(operation.request)} -> ${told}`;
}
