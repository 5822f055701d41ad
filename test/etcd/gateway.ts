/** etcd's JSON gateway (etcd-semantics 12.2 and 12.3): a request as path and body, and what comes back as an answer. */
import type { Compare, RequestOp } from "../../src/protocol/requests.ts";
import type { WatchRequest } from "../../src/protocol/watch.ts";
import type {
  Answer,
  CallRequest,
  DeleteRangeAnswer,
  EventAnswer,
  KvAnswer,
  LeaseAnswer,
  OpAnswer,
  PutAnswer,
  RangeAnswer,
  TxnAnswer,
  WatchMessage,
} from "./answer.ts";
import { gatewayError } from "./normalisers.ts";

type Json = Readonly<Record<string, unknown>>;

const PATHS = {
  range: "/v3/kv/range",
  put: "/v3/kv/put",
  deleteRange: "/v3/kv/deleterange",
  txn: "/v3/kv/txn",
  compact: "/v3/kv/compaction",
  leaseGrant: "/v3/lease/grant",
  leaseRevoke: "/v3/lease/revoke",
  leaseKeepAlive: "/v3/lease/keepalive",
  leaseTimeToLive: "/v3/lease/timetolive",
  leaseList: "/v3/lease/leases",
} as const;

export const WATCH_PATH = "/v3/watch";

const OP_NAMES = {
  range: "range",
  put: "put",
  deleteRange: "delete_range",
  txn: "txn",
} as const;

export function pathOf(request: CallRequest): string {
  return PATHS[request.kind];
}

// --- out: `JSON.stringify` leaves out what is undefined, and the gateway takes that for the default ---

export function bodyOf(request: CallRequest): Json {
  switch (request.kind) {
    case "range":
      return {
        key: base64(request.key),
        range_end: base64(request.rangeEnd),
        limit: decimal(request.limit),
        revision: decimal(request.revision),
        sort_order: enumName(request.sortOrder),
        sort_target: enumName(request.sortTarget),
        serializable: request.serializable,
        keys_only: request.keysOnly,
        count_only: request.countOnly,
        min_mod_revision: decimal(request.minModRevision),
        max_mod_revision: decimal(request.maxModRevision),
        min_create_revision: decimal(request.minCreateRevision),
        max_create_revision: decimal(request.maxCreateRevision),
      };
    case "put":
      return {
        key: base64(request.key),
        value: base64(request.value),
        lease: decimal(request.lease),
        prev_kv: request.prevKv,
        ignore_value: request.ignoreValue,
        ignore_lease: request.ignoreLease,
      };
    case "deleteRange":
      return { key: base64(request.key), range_end: base64(request.rangeEnd), prev_kv: request.prevKv };
    case "txn":
      return {
        compare: request.compare.map(compareBody),
        success: request.success.map(opBody),
        failure: request.failure.map(opBody),
      };
    case "compact":
      return { revision: decimal(request.revision), physical: request.physical };
    case "leaseGrant":
      return { TTL: decimal(request.ttl), ID: decimal(request.id) };
    case "leaseRevoke":
    case "leaseKeepAlive":
      return { ID: decimal(request.id) };
    case "leaseTimeToLive":
      return { ID: decimal(request.id), keys: request.keys };
    case "leaseList":
      return {};
  }
}

export function watchBodyOf(request: WatchRequest): Json {
  switch (request.kind) {
    case "create": {
      const filters = [
        ...(request.noPut === true ? ["NOPUT"] : []),
        ...(request.noDelete === true ? ["NODELETE"] : []),
      ];
      return {
        create_request: {
          key: base64(request.key),
          range_end: base64(request.rangeEnd),
          start_revision: decimal(request.startRevision),
          watch_id: decimal(request.watchId),
          filters,
          prev_kv: request.prevKv,
          progress_notify: request.progressNotify,
          fragment: request.fragment,
        },
      };
    }
    case "cancel":
      return { cancel_request: { watch_id: decimal(request.watchId) } };
    case "progress":
      return { progress_request: {} };
    case "observe":
      throw new RangeError("etcd's watch streams observe no elections");
  }
}

function opBody(op: RequestOp): Json {
  return { [`request_${OP_NAMES[op.kind]}`]: bodyOf(op) };
}

function compareBody(compare: Compare): Json {
  return {
    key: base64(compare.key),
    range_end: base64(compare.rangeEnd),
    result: enumName(compare.result),
    target: enumName(compare.target),
    ...operandBody(compare),
  };
}

function operandBody(compare: Compare): Json {
  switch (compare.target) {
    case "version":
      return { version: decimal(compare.version) };
    case "create":
      return { create_revision: decimal(compare.createRevision) };
    case "mod":
      return { mod_revision: decimal(compare.modRevision) };
    case "value":
      return { value: base64(compare.value) };
    case "lease":
      return { lease: decimal(compare.lease) };
  }
}

function base64(bytes: Uint8Array | undefined): string | undefined {
  return bytes && Buffer.from(bytes).toString("base64");
}

function decimal(value: number | bigint | undefined): string | undefined {
  return value?.toString();
}

/** `notEqual` is `NOT_EQUAL` there. */
function enumName(word: string | undefined): string | undefined {
  return word?.replace(/[A-Z]/, (letter) => `_${letter}`).toUpperCase();
}

// --- in: every field is read by its name, and one that nobody read is an error, or a new one would go uncompared ---

export function answerOfGateway(request: CallRequest, body: string): Answer {
  const json: unknown = JSON.parse(body);
  const refused = gatewayError.read(json);
  if (refused !== undefined) return refused;
  if (request.kind === "leaseKeepAlive") return keepAliveAnswer(json);
  if (request.kind === "compact") {
    const { header } = fieldsOf(json, "header");
    return { kind: "granted", revision: headerRevision(header), result: { kind: "compact" } };
  }
  const { revision, result } = READERS[request.kind](json);
  return { kind: "granted", revision, result };
}

/** A stream's answer: one request was sent, so one comes. */
function keepAliveAnswer(json: unknown): Answer {
  const { header, ID, TTL } = fieldsOf(fieldsOf(json, "result").result, "header", "ID", "TTL");
  const result = { kind: "leaseKeepAlive", id: int64(ID), ttl: int(TTL) } as const;
  return { kind: "granted", revision: headerRevision(header), result };
}

/** One line of a watch stream. */
export function watchMessageOfGateway(line: string): WatchMessage {
  const { result } = fieldsOf(JSON.parse(line) as unknown, "result");
  const read = fieldsOf(
    result,
    ...(["header", "watch_id", "created", "canceled", "compact_revision", "cancel_reason"] as const),
    ...(["fragment", "events"] as const),
  );
  return {
    revision: headerRevision(read.header),
    watchId: int(read.watch_id),
    created: bool(read.created),
    canceled: bool(read.canceled),
    compactRevision: int(read.compact_revision),
    cancelReason: text(read.cancel_reason),
    fragment: bool(read.fragment),
    events: list(read.events).map(readEvent),
  };
}

function readEvent(json: unknown): EventAnswer {
  const { type, kv, prev_kv } = fieldsOf(json, "type", "kv", "prev_kv");
  if (type !== undefined && type !== "DELETE") throw new Error(`not a type of event: ${JSON.stringify(json)}`);
  return {
    type: type === undefined ? "put" : "delete",
    kv: readKv(kv),
    prevKv: prev_kv === undefined ? undefined : readKv(prev_kv),
  };
}

interface Read<R> {
  readonly revision: number;
  readonly result: R;
}

const OP_READERS = {
  range(json: unknown): Read<RangeAnswer> {
    const { header, kvs, more, count } = fieldsOf(json, "header", "kvs", "more", "count");
    return {
      revision: headerRevision(header),
      result: { kind: "range", kvs: list(kvs).map(readKv), more: bool(more), count: int(count) },
    };
  },
  put(json: unknown): Read<PutAnswer> {
    const { header, prev_kv } = fieldsOf(json, "header", "prev_kv");
    const prevKv = prev_kv === undefined ? undefined : readKv(prev_kv);
    return { revision: headerRevision(header), result: { kind: "put", prevKv } };
  },
  deleteRange(json: unknown): Read<DeleteRangeAnswer> {
    const { header, deleted, prev_kvs } = fieldsOf(json, "header", "deleted", "prev_kvs");
    const result = { kind: "deleteRange", deleted: int(deleted), prevKvs: list(prev_kvs).map(readKv) } as const;
    return { revision: headerRevision(header), result };
  },
  txn(json: unknown): Read<TxnAnswer> {
    const { header, succeeded, responses } = fieldsOf(json, "header", "succeeded", "responses");
    return {
      revision: headerRevision(header),
      result: { kind: "txn", succeeded: bool(succeeded), results: list(responses).map(readOp) },
    };
  },
};

const READERS = {
  ...OP_READERS,
  leaseGrant(json: unknown): Read<LeaseAnswer> {
    const { header, ID, TTL } = fieldsOf(json, "header", "ID", "TTL");
    return { revision: headerRevision(header), result: { kind: "leaseGrant", id: int64(ID), ttl: int(TTL) } };
  },
  leaseRevoke(json: unknown): Read<LeaseAnswer> {
    return { revision: headerRevision(fieldsOf(json, "header").header), result: { kind: "leaseRevoke" } };
  },
  leaseTimeToLive(json: unknown): Read<LeaseAnswer> {
    const { header, ID, TTL, grantedTTL, keys } = fieldsOf(json, "header", "ID", "TTL", "grantedTTL", "keys");
    return {
      revision: headerRevision(header),
      result: {
        kind: "leaseTimeToLive",
        id: int64(ID),
        ttl: int(TTL),
        grantedTtl: int(grantedTTL),
        keys: list(keys).map(byteString),
      },
    };
  },
  leaseList(json: unknown): Read<LeaseAnswer> {
    const { header, leases } = fieldsOf(json, "header", "leases");
    const ids = list(leases).map((each) => int64(fieldsOf(each, "ID").ID));
    return { revision: headerRevision(header), result: { kind: "leaseList", leases: ids } };
  },
};

function readOp(json: unknown): Read<OpAnswer> {
  const names = Object.keys(object(json));
  const kind = (["range", "put", "deleteRange", "txn"] as const).find(
    (each) => names[0] === `response_${OP_NAMES[each]}`,
  );
  if (names.length !== 1 || kind === undefined) throw new Error(`not one response: ${JSON.stringify(json)}`);
  return OP_READERS[kind](object(json)[names[0]!]);
}

function readKv(json: unknown): KvAnswer {
  const kv = fieldsOf(json, "key", "create_revision", "mod_revision", "version", "value", "lease");
  return {
    key: byteString(kv.key),
    createRevision: int(kv.create_revision),
    modRevision: int(kv.mod_revision),
    version: int(kv.version),
    value: byteString(kv.value),
    lease: int64(kv.lease),
  };
}

/** The rest of a header names the member and the moment. A nested transaction's is empty. */
function headerRevision(json: unknown): number {
  return int(fieldsOf(json, "revision", "cluster_id", "member_id", "raft_term").revision);
}

function fieldsOf<N extends string>(json: unknown, ...names: N[]): { readonly [K in N]?: unknown } {
  const fields = object(json);
  const known: readonly string[] = names;
  const unknown = Object.keys(fields).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new Error(`a field that is not compared, ${unknown}: ${JSON.stringify(json)}`);
  return fields as { readonly [K in N]?: unknown };
}

function object(json: unknown): Json {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new Error(`not an object: ${JSON.stringify(json)}`);
  }
  return json as Json;
}

function list(json: unknown): readonly unknown[] {
  if (json === undefined) return [];
  if (!Array.isArray(json)) throw new Error(`not a list: ${JSON.stringify(json)}`);
  return json;
}

function bool(json: unknown): boolean {
  if (json !== undefined && typeof json !== "boolean") throw new Error(`not a boolean: ${JSON.stringify(json)}`);
  return json ?? false;
}

/** 64-bit integers travel as decimal text; 0 is left out. */
function int64(json: unknown): string {
  if (json === undefined) return "0";
  if (typeof json !== "string" || !/^-?\d+$/.test(json)) throw new Error(`not an int64: ${JSON.stringify(json)}`);
  return json;
}

/** A revision, a count, or a time to live: within 2^53. */
function int(json: unknown): number {
  return Number(int64(json));
}

function text(json: unknown): string {
  if (json !== undefined && typeof json !== "string") throw new Error(`not text: ${JSON.stringify(json)}`);
  return json ?? "";
}

function byteString(json: unknown): string {
  if (json === undefined) return "";
  if (typeof json !== "string") throw new Error(`not bytes: ${JSON.stringify(json)}`);
  return Buffer.from(json, "base64").toString("latin1");
}
