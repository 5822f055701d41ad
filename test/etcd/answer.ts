/**
 * What either store answers, in one form: every field that does not name a member or a moment, as plain values. Keys and
 * values are byte strings (one character per byte), so that answers compare deeply and print readably.
 */
import { toByteString } from "../../src/base/bytes.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import type {
  CompactRequest,
  LeaseGrantRequest,
  LeaseKeepAliveRequest,
  LeaseListRequest,
  LeaseRevokeRequest,
  LeaseTimeToLiveRequest,
  RequestOp,
} from "../../src/protocol/requests.ts";
import type { OpResult, Response, ResultOf } from "../../src/protocol/responses.ts";
import type { WatchRequest, WatchResponse } from "../../src/protocol/watch.ts";

export type LeaseRequest =
  | LeaseGrantRequest
  | LeaseRevokeRequest
  | LeaseKeepAliveRequest
  | LeaseTimeToLiveRequest
  | LeaseListRequest;

/** What may be asked of both, with one answer each. */
export type CallRequest = RequestOp | CompactRequest | LeaseRequest;

/** One of the two under comparison, and whatever keeps it running. */
export interface Side extends AsyncDisposable {
  /** Throws what is no answer: a lost connection, a time-out, an error that does not say that nothing happened. */
  ask(request: CallRequest): Promise<Answer>;
  /** Opens a watch stream. */
  watch(): Promise<WatchFeed>;
}

/** One side's watch stream: requests in, messages out. */
export interface WatchFeed {
  request(request: WatchRequest): void;
  /** The next message. Throws if the stream has ended, or if none comes for long. */
  next(): Promise<WatchMessage>;
  close(): void;
}

export interface EventAnswer {
  readonly type: "put" | "delete";
  readonly kv: KvAnswer;
  readonly prevKv: KvAnswer | undefined;
}

/** etcd's WatchResponse. */
export interface WatchMessage {
  /** The header's. */
  readonly revision: number;
  readonly watchId: number;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  readonly fragment: boolean;
  readonly events: readonly EventAnswer[];
}

/** A step of a program: a call, something asked of the program's watch stream, or a look at what it has told. */
export type Step = CallRequest | WatchStep | LookStep;

export interface WatchStep {
  readonly kind: "watch";
  readonly request: WatchRequest;
  /** Whether every watcher of the stream, of which there are some, has seen everything: so etcd answers a progress request. */
  readonly inStep: boolean;
}

/** At a moment at which each watcher has been told everything up to the present revision. */
export interface LookStep {
  readonly kind: "look";
  readonly watchers: readonly Watcher[];
}

export interface Watcher {
  readonly id: number;
  /** First revision of its events. */
  readonly from: number;
  /** The compact revision when it was created. */
  readonly compacted: number;
  /** It is not told of puts, or not of deletions. */
  readonly filtered?: boolean;
}

export type Answer = Refusal | Granted | Told;

/** What a watch stream said. For a look: each watcher's messages, in the order of the watchers. */
export interface Told {
  readonly kind: "told";
  readonly messages: readonly WatchMessage[];
}

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

export type LeaseAnswer =
  | { readonly kind: "leaseGrant"; readonly id: string; readonly ttl: number }
  | { readonly kind: "leaseRevoke" }
  | { readonly kind: "leaseKeepAlive"; readonly id: string; readonly ttl: number }
  | {
      readonly kind: "leaseTimeToLive";
      readonly id: string;
      readonly ttl: number;
      readonly grantedTtl: number;
      readonly keys: readonly string[];
    }
  | { readonly kind: "leaseList"; readonly leases: readonly string[] };

export type ResultAnswer = OpAnswer | LeaseAnswer | { readonly kind: "compact" };

export function answerOf({ header, result }: Response<ResultOf<CallRequest>>): Granted {
  return { kind: "granted", revision: header.revision, result: resultAnswer(result) };
}

function resultAnswer(result: ResultOf<CallRequest>): ResultAnswer {
  switch (result.kind) {
    case "compact":
    case "leaseRevoke":
      return { kind: result.kind };
    case "leaseGrant":
    case "leaseKeepAlive":
      return { kind: result.kind, id: result.id.toString(), ttl: result.ttl };
    case "leaseTimeToLive": {
      const { kind, id, ttl, grantedTtl, keys } = result;
      return { kind, id: id.toString(), ttl, grantedTtl, keys: keys.map(toByteString) };
    }
    case "leaseList":
      return { kind: "leaseList", leases: result.leases.map(String) };
    default:
      return opAnswer(result);
  }
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

export function watchMessageOf(response: WatchResponse): WatchMessage {
  const { header, watchId, created, canceled, compactRevision, cancelReason, fragment } = response;
  return {
    revision: header.revision,
    ...{ watchId, created, canceled, compactRevision, cancelReason, fragment },
    events: response.events.map(({ type, kv, prevKv }) => ({
      type,
      kv: kvAnswer(kv),
      prevKv: prevKv && kvAnswer(prevKv),
    })),
  };
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
