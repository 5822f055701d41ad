/** Reads and writes of keys: from what callers write to requests, and from results to what callers read. */
import { decodeUtf8, toBytes } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { LeaseId, Revision } from "../base/ids.ts";
import type { KeyValue, ResponseHeader } from "../protocol/key-value.ts";
import type { DeleteRangeRequest, PutRequest, RangeRequest, SortTarget } from "../protocol/requests.ts";
import type { DeleteRangeResult, PutResult, RangeResult } from "../protocol/responses.ts";

/** Which keys beside the one named. At most one of the three. */
export interface RangeSelection {
  /** Every key that begins with it. The empty prefix means every key. */
  readonly prefix?: boolean | undefined;
  /** Every key from it on. */
  readonly fromKey?: boolean | undefined;
  /** Every key from it up to this one, which is not included. */
  readonly rangeEnd?: string | Uint8Array | undefined;
}

export interface GetOptions extends RangeSelection {
  /** As the store was at this revision. Default: now. */
  readonly revision?: number | undefined;
  /** Most key-values returned. Default: no limit. */
  readonly limit?: number | undefined;
  /** Default: by key, ascending. */
  readonly sort?:
    | { readonly by?: SortTarget | undefined; readonly order?: "ascend" | "descend" | undefined }
    | undefined;
  /** Answered by one member alone without a round to the others: fast, perhaps stale. */
  readonly serializable?: boolean | undefined;
  /** Leaves the values out. */
  readonly keysOnly?: boolean | undefined;
  /** Leaves the key-values out. */
  readonly countOnly?: boolean | undefined;
  readonly minModRevision?: number | undefined;
  readonly maxModRevision?: number | undefined;
  readonly minCreateRevision?: number | undefined;
  readonly maxCreateRevision?: number | undefined;
}

export interface PutOptions {
  /** Attaches the key to this lease; without one a put detaches it. */
  readonly lease?: LeaseId | undefined;
  /** Returns what the put replaced. */
  readonly prevKv?: boolean | undefined;
  /** Keeps the current value; the one given must be empty. The key must exist. */
  readonly ignoreValue?: boolean | undefined;
  /** Keeps the current lease. The key must exist. */
  readonly ignoreLease?: boolean | undefined;
}

export interface DeleteOptions extends RangeSelection {
  /** Returns what was deleted. */
  readonly prevKv?: boolean | undefined;
}

/**
 * A key-value as a client reads it. Its bytes are the caller's; as Node's own, they may be views of a larger buffer, which
 * stays in its thread: copy what is to be transferred.
 */
export class StoredKeyValue implements KeyValue {
  readonly key: Uint8Array;
  readonly createRevision: Revision;
  readonly modRevision: Revision;
  readonly version: number;
  readonly value: Uint8Array;
  /** 0n where there is none. */
  readonly lease: LeaseId;

  constructor(kv: KeyValue) {
    this.key = kv.key;
    this.createRevision = kv.createRevision;
    this.modRevision = kv.modRevision;
    this.version = kv.version;
    this.value = kv.value;
    this.lease = kv.lease;
  }

  /** The key as UTF-8 text. */
  keyText(): string {
    return decodeUtf8(this.key);
  }

  /** The value as UTF-8 text. */
  text(): string {
    return decodeUtf8(this.value);
  }

  /** The value parsed as JSON. Throws `SyntaxError` if it is none. */
  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }
}

/** What an operation returns, alone or within a txn. */
export interface GetOpResult {
  readonly kind: "get";
  readonly revision: Revision;
  readonly kvs: readonly StoredKeyValue[];
  /** The limit left some out. */
  readonly more: boolean;
  /** Keys in the range, before limit and revision bounds. */
  readonly count: number;
}
export interface PutOpResult {
  readonly kind: "put";
  /** The revision that the put made. */
  readonly revision: Revision;
  /** With `prevKv`, what was there before. */
  readonly prevKv?: StoredKeyValue;
}
export interface DeleteOpResult {
  readonly kind: "delete";
  readonly revision: Revision;
  readonly deleted: number;
  /** With `prevKv`, what was deleted, in the order of keys. */
  readonly prevKvs: readonly StoredKeyValue[];
}

interface Stamped {
  /** Who answered, and at which revision. */
  readonly header: ResponseHeader;
}
export interface GetResult extends GetOpResult, Stamped {}
export interface PutOutcome extends PutOpResult, Stamped {}
export interface DeleteResult extends DeleteOpResult, Stamped {}

/** A caller's key or value as bytes of our own: what the caller does to them later is its own affair. */
export function bytesOf(value: string | Uint8Array, what: string): Uint8Array {
  if (typeof value !== "string" && !(value instanceof Uint8Array)) {
    throw invalid(`a ${what} must be a string or bytes, not ${value === null ? "null" : typeof value}`);
  }
  // UTF-8 has no bytes for half a character: two such keys would become one.
  if (typeof value === "string" && LONE_SURROGATE.test(value)) throw invalid(`the ${what} is not well-formed text`);
  return toBytes(value);
}

const LONE_SURROGATE = /\p{Surrogate}/u;

export function invalid(why: string): StoreError {
  return new StoreError("INVALID_REQUEST", { message: `quorate: the request is malformed: ${why}` });
}

/** One zero byte: as a key the lowest there is, as a range end "from the key on". */
export const ZERO: Uint8Array = Uint8Array.of(0);

/** The first key after every key that begins with `prefix`: its last byte below 0xff, plus one. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    const byte = prefix[i]!;
    if (byte === 0xff) continue;
    const end = prefix.slice(0, i + 1);
    end[i] = byte + 1;
    return end;
  }
  return ZERO;
}

export function selection(
  text: string | Uint8Array,
  options: RangeSelection,
): { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array } {
  const key = bytesOf(text, "key");
  const { prefix = false, fromKey = false, rangeEnd } = options;
  if (Number(prefix) + Number(fromKey) + Number(rangeEnd !== undefined) > 1) {
    throw invalid("`prefix`, `fromKey` and `rangeEnd` cannot be set at the same time, choose one");
  }
  if (rangeEnd !== undefined) return { key, rangeEnd: bytesOf(rangeEnd, "range end") };
  if (!prefix && !fromKey) return { key };
  // An empty key with either means the whole space.
  if (key.length === 0) return { key: ZERO, rangeEnd: ZERO };
  return { key, rangeEnd: prefix ? prefixEnd(key) : ZERO };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What is undefined is absent, on the wire too. */
export function rangeRequest(key: string | Uint8Array, options: GetOptions): RangeRequest {
  const request: Mutable<RangeRequest> = { kind: "range", ...selection(key, options) };
  const { limit, revision, sort, serializable, keysOnly, countOnly } = options;
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = options;
  if (limit !== undefined) request.limit = limit;
  if (revision !== undefined) request.revision = revision;
  if (serializable !== undefined) request.serializable = serializable;
  if (keysOnly !== undefined) request.keysOnly = keysOnly;
  if (countOnly !== undefined) request.countOnly = countOnly;
  if (sort !== undefined) {
    const { by = "key", order = "ascend" } = sort;
    // Keys come in ascending order anyway, and a limit is cheap only without sorting.
    if (by !== "key" || order !== "ascend") {
      request.sortOrder = order;
      request.sortTarget = by;
    }
  }
  if (minModRevision !== undefined) request.minModRevision = minModRevision;
  if (maxModRevision !== undefined) request.maxModRevision = maxModRevision;
  if (minCreateRevision !== undefined) request.minCreateRevision = minCreateRevision;
  if (maxCreateRevision !== undefined) request.maxCreateRevision = maxCreateRevision;
  return request;
}

export function putRequest(key: string | Uint8Array, value: string | Uint8Array, options: PutOptions): PutRequest {
  const request: Mutable<PutRequest> = { kind: "put", key: bytesOf(key, "key"), value: bytesOf(value, "value") };
  const { lease, prevKv, ignoreValue, ignoreLease } = options;
  if (lease !== undefined) request.lease = lease;
  if (prevKv !== undefined) request.prevKv = prevKv;
  if (ignoreValue !== undefined) request.ignoreValue = ignoreValue;
  if (ignoreLease !== undefined) request.ignoreLease = ignoreLease;
  return request;
}

export function deleteRequest(key: string | Uint8Array, options: DeleteOptions): DeleteRangeRequest {
  const request: Mutable<DeleteRangeRequest> = { kind: "deleteRange", ...selection(key, options) };
  if (options.prevKv !== undefined) request.prevKv = options.prevKv;
  return request;
}

export function getResult({ revision, kvs, more, count }: RangeResult): GetOpResult {
  return { kind: "get", revision, kvs: storedKeyValues(kvs), more, count };
}

export function stampedGet(header: ResponseHeader, { revision, kvs, more, count }: RangeResult): GetResult {
  return { header, kind: "get", revision, kvs: storedKeyValues(kvs), more, count };
}

function storedKeyValues(kvs: readonly KeyValue[]): StoredKeyValue[] {
  const stored: StoredKeyValue[] = [];
  for (const kv of kvs) stored.push(new StoredKeyValue(kv));
  return stored;
}

export function putResult(result: PutResult): PutOpResult {
  const { revision, prevKv } = result;
  return prevKv === undefined
    ? { kind: "put", revision }
    : { kind: "put", revision, prevKv: new StoredKeyValue(prevKv) };
}

export function deleteResult(result: DeleteRangeResult): DeleteOpResult {
  const { revision, deleted } = result;
  return { kind: "delete", revision, deleted, prevKvs: result.prevKvs.map((kv) => new StoredKeyValue(kv)) };
}
