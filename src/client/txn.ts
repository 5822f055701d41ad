/**
 * Transactions: compares, and one of two lists of operations, all at one revision.
 *
 *    client.txn().if(compare.version("a", "=", 0)).then(op.put("a", "1")).else(op.get("a")).commit()
 */
import { StoreError } from "../base/errors.ts";
import type { LeaseId, Revision } from "../base/ids.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Compare, CompareResult, RequestOp, TxnRequest } from "../protocol/requests.ts";
import type { OpResult, Response, TxnResult } from "../protocol/responses.ts";
import {
  bytesOf,
  type DeleteOpResult,
  type DeleteOptions,
  deleteRequest,
  deleteResult,
  type GetOpResult,
  type GetOptions,
  getResult,
  invalid,
  type PutOpResult,
  type PutOptions,
  putRequest,
  putResult,
  type RangeSelection,
  rangeRequest,
  selection,
} from "./kv.ts";

declare const answered: unique symbol;

/** One operation of a txn. `R` is what it returns. */
export interface Op<R = unknown> {
  readonly request: RequestOp;
  readonly [answered]?: R;
}

/** What a list of operations returns, place by place. */
export type ResultsOf<Ops extends readonly Op[]> = {
  readonly [I in keyof Ops]: Ops[I] extends Op<infer R> ? R : never;
};

/** What a txn returns: whether its compares held, and the results of the branch taken. */
export type TxnOpResult<S extends readonly Op[], F extends readonly Op[]> =
  | { readonly kind: "txn"; readonly revision: Revision; readonly succeeded: true; readonly results: ResultsOf<S> }
  | { readonly kind: "txn"; readonly revision: Revision; readonly succeeded: false; readonly results: ResultsOf<F> };

export type TxnOutcome<S extends readonly Op[], F extends readonly Op[]> = TxnOpResult<S, F> & {
  readonly header: ResponseHeader;
};

/** Operations for `then` and `else`. Options and results are those of the calls of the same name. */
export const op = {
  get(key: string | Uint8Array, options: GetOptions = {}): Op<GetOpResult> {
    return { request: rangeRequest(key, options) };
  },
  put(key: string | Uint8Array, value: string | Uint8Array, options: PutOptions = {}): Op<PutOpResult> {
    return { request: putRequest(key, value, options) };
  },
  delete(key: string | Uint8Array, options: DeleteOptions = {}): Op<DeleteOpResult> {
    return { request: deleteRequest(key, options) };
  },
  /** A txn within a txn: its compares see the store as it was before the whole. */
  txn<const S extends readonly Op[] = readonly [], const F extends readonly Op[] = readonly []>(
    compares: readonly Compare[],
    success?: S,
    failure?: F,
  ): Op<TxnOpResult<S, F>> {
    return { request: txnRequest(compares, success ?? [], failure ?? []) };
  },
};

const RESULTS = { "=": "equal", "!=": "notEqual", ">": "greater", "<": "less" } as const;
export type CompareOperator = keyof typeof RESULTS;

function left(key: string | Uint8Array, operator: CompareOperator, range: RangeSelection) {
  if (!Object.hasOwn(RESULTS, operator)) throw invalid(`unknown operator "${String(operator)}", choose =, !=, < or >`);
  const result: CompareResult = RESULTS[operator];
  return { ...selection(key, range), result };
}

/**
 * Conditions for `if`: the stored field on the left, the one given on the right. An absent key has version, revisions
 * and lease 0, and a value that equals nothing. With a range, every key in it must satisfy the condition.
 */
export const compare = {
  value(
    key: string | Uint8Array,
    operator: CompareOperator,
    value: string | Uint8Array,
    range: RangeSelection = {},
  ): Compare {
    return { ...left(key, operator, range), target: "value", value: bytesOf(value, "value") };
  },
  /** Version 0: the key does not exist. */
  version(key: string | Uint8Array, operator: CompareOperator, version: number, range: RangeSelection = {}): Compare {
    return { ...left(key, operator, range), target: "version", version };
  },
  createRevision(
    key: string | Uint8Array,
    operator: CompareOperator,
    createRevision: number,
    range: RangeSelection = {},
  ): Compare {
    return { ...left(key, operator, range), target: "create", createRevision };
  },
  modRevision(
    key: string | Uint8Array,
    operator: CompareOperator,
    modRevision: number,
    range: RangeSelection = {},
  ): Compare {
    return { ...left(key, operator, range), target: "mod", modRevision };
  },
  lease(key: string | Uint8Array, operator: CompareOperator, lease: LeaseId, range: RangeSelection = {}): Compare {
    return { ...left(key, operator, range), target: "lease", lease };
  },
};

export type Commit = (request: TxnRequest) => Promise<Response<TxnResult>>;

interface Parts<S extends readonly Op[], F extends readonly Op[]> {
  readonly compares?: readonly Compare[];
  readonly success?: S;
  readonly failure?: F;
}

/**
 * A txn in the making. Each step gives a new one and nothing is sent before `commit`. It has a `then`, so do not return
 * one from an async function or await it: await its `commit()`.
 */
export class Txn<S extends readonly Op[] = readonly [], F extends readonly Op[] = readonly []> {
  readonly #commit: Commit;
  readonly #parts: Parts<S, F>;

  constructor(commit: Commit, parts: Parts<S, F> = {}) {
    this.#commit = commit;
    this.#parts = parts;
  }

  /** All must hold for `then` to run; without any it always does. */
  if(...compares: readonly Compare[]): Txn<S, F> {
    if (this.#parts.compares !== undefined) throw invalid("a txn has one if");
    return new Txn(this.#commit, { ...this.#parts, compares });
  }

  // biome-ignore lint/suspicious/noThenProperty: the word that etcd's clients use; a guard below names the mistake of awaiting it
  then<const T extends readonly Op[]>(...success: T): Txn<T, F> {
    // `await txn` calls this with two functions.
    if (success.some((each) => typeof each === "function")) {
      throw new StoreError("INVALID_REQUEST", {
        message: "quorate: the request is malformed: a txn was awaited before it was committed; await its commit()",
      });
    }
    if (this.#parts.success !== undefined) throw invalid("a txn has one then");
    return new Txn<T, F>(this.#commit, { ...this.#parts, success });
  }

  else<const T extends readonly Op[]>(...failure: T): Txn<S, T> {
    if (this.#parts.failure !== undefined) throw invalid("a txn has one else");
    return new Txn<S, T>(this.#commit, { ...this.#parts, failure });
  }

  /** Sends it. Errors as of the operations in it, and `TOO_MANY_OPS`, `DUPLICATE_KEY`; an error changes nothing. */
  async commit(): Promise<TxnOutcome<S, F>> {
    const { compares = [], success = [], failure = [] } = this.#parts;
    const { header, result } = await this.#commit(txnRequest(compares, success, failure));
    return { header, ...(txnResult(result) as TxnOpResult<S, F>) };
  }
}

function txnRequest(compares: readonly Compare[], success: readonly Op[], failure: readonly Op[]): TxnRequest {
  return { kind: "txn", compare: compares, success: success.map(requestOf), failure: failure.map(requestOf) };
}

function requestOf(each: Op): RequestOp {
  if (typeof each?.request?.kind !== "string") throw invalid("an operation must come from `op`");
  return each.request;
}

function txnResult(result: TxnResult): TxnOpResult<readonly Op[], readonly Op[]> {
  const { revision, succeeded } = result;
  return { kind: "txn", revision, succeeded, results: result.results.map(opResult) };
}

function opResult(result: OpResult): unknown {
  switch (result.kind) {
    case "range":
      return getResult(result);
    case "put":
      return putResult(result);
    case "deleteRange":
      return deleteResult(result);
    case "txn":
      return txnResult(result);
  }
}
