/**
 * What either store answers, in one form: every field that does not name a member or a moment, as plain values. Keys and
 * values are byte strings (one character per byte), so that answers compare deeply and print readably.
 */
import { toByteString } from "../../src/base/bytes.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import type { CompactRequest, RequestOp } from "../../src/protocol/requests.ts";
import type { CompactResult, OpResult, Response } from "../../src/protocol/responses.ts";

/** What may be asked of both. */
export type KvRequest = RequestOp | CompactRequest;

/** One of the two under comparison, and whatever keeps it running. */
export interface Side extends AsyncDisposable {
  /** Throws what is no answer: a lost connection, a time-out, an error that does not say that nothing happened. */
  ask(request: KvRequest): Promise<Answer>;
}

export type Answer = Refusal | Granted;

export interface Refusal {
  readonly kind: "refused";
  /** gRPC's number. */
  readonly code: number;
  readonly message: string;
}

export interface Granted {
  readonly kind: "granted";
  /** The header's. */
  readonly revision: number;
  readonly result: ResultAnswer;
}

export interface KvAnswer {
  readonly key: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
  readonly value: string;
  readonly lease: string;
}

export interface RangeAnswer {
  readonly kind: "range";
  readonly kvs: readonly KvAnswer[];
  readonly more: boolean;
  readonly count: number;
}

export interface PutAnswer {
  readonly kind: "put";
  readonly prevKv: KvAnswer | undefined;
}

export interface DeleteRangeAnswer {
  readonly kind: "deleteRange";
  readonly deleted: number;
  readonly prevKvs: readonly KvAnswer[];
}

export interface TxnAnswer {
  readonly kind: "txn";
  readonly succeeded: boolean;
  /** Each with the revision of its own header. */
  readonly results: readonly { readonly revision: number; readonly result: OpAnswer }[];
}

export type OpAnswer = RangeAnswer | PutAnswer | DeleteRangeAnswer | TxnAnswer;
export type ResultAnswer = OpAnswer | { readonly kind: "compact" };

export function answerOf({ header, result }: Response<OpResult | CompactResult>): Granted {
  return {
    kind: "granted",
    revision: header.revision,
    result: result.kind === "compact" ? { kind: "compact" } : opAnswer(result),
  };
}

function opAnswer(result: OpResult): OpAnswer {
  switch (result.kind) {
    case "range":
      return { kind: "range", kvs: result.kvs.map(kvAnswer), more: result.more, count: result.count };
    case "put":
      return { kind: "put", prevKv: result.prevKv && kvAnswer(result.prevKv) };
    case "deleteRange":
      return { kind: "deleteRange", deleted: result.deleted, prevKvs: result.prevKvs.map(kvAnswer) };
    case "txn": {
      const results = result.results.map((each) => ({ revision: each.revision, result: opAnswer(each) }));
      return { kind: "txn", succeeded: result.succeeded, results };
    }
  }
}

function kvAnswer(kv: KeyValue): KvAnswer {
  return {
    key: toByteString(kv.key),
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    version: kv.version,
    value: toByteString(kv.value),
    lease: kv.lease.toString(),
  };
}
