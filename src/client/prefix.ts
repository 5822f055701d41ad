/**
 * Keys with a prefix on the way out and without it on the way back: what a namespace is made of. No request made here
 * reaches a key that does not begin with the prefix, whatever its range (etcd-semantics 6.7).
 */
import { concatBytes } from "../base/bytes.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Compare, LeaderKey, Request, RequestOp } from "../protocol/requests.ts";
import type { OpResult, Result } from "../protocol/responses.ts";
import type { WatchEvent } from "../protocol/watch.ts";
import { bytesOf, prefixEnd } from "./kv.ts";

interface Selected {
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
}

/**
 * The same keys below the prefix. An empty key stays empty: the server refuses it, and there is no key of that name in a
 * namespace. The open end is the prefix's, as in Go's wrapper; so a txn that deletes up to it and puts a key there is refused
 * (`DUPLICATE_KEY`), which etcd overlooks at the end of all keys.
 */
export function prefixed<S extends Selected>(prefix: Uint8Array, selected: S): S {
  const { key, rangeEnd } = selected;
  if (key.length === 0) return selected;
  const below = { ...selected, key: concatBytes([prefix, key]) };
  if (rangeEnd === undefined || rangeEnd.length === 0) return below;
  const isOpen = rangeEnd.length === 1 && rangeEnd[0] === 0;
  return { ...below, rangeEnd: isOpen ? prefixEnd(prefix) : concatBytes([prefix, rangeEnd]) };
}

function prefixedOp(prefix: Uint8Array, op: RequestOp): RequestOp {
  if (op.kind !== "txn") return prefixed(prefix, op);
  return {
    kind: "txn",
    compare: op.compare.map((each): Compare => prefixed(prefix, each)),
    success: op.success.map((each) => prefixedOp(prefix, each)),
    failure: op.failure.map((each) => prefixedOp(prefix, each)),
  };
}

/** Of a lock, an election or a place in one. An empty one stays empty, as a key does: the server refuses it. */
export function below(prefix: Uint8Array, name: Uint8Array): Uint8Array {
  return name.length === 0 ? name : concatBytes([prefix, name]);
}

function prefixedLeader<R extends { readonly leader?: LeaderKey | undefined }>(prefix: Uint8Array, request: R): R {
  const { leader } = request;
  // None is for the server to refuse.
  if (!leader) return request;
  const own = (bytes: Uint8Array): Uint8Array => below(prefix, bytesOf(bytes, "leader's name or key"));
  return { ...request, leader: { ...leader, name: own(leader.name), key: own(leader.key) } };
}

/** Of requests that name keys, or what keys lie below; others pass as they are. */
export function prefixedRequest<Q extends Request>(prefix: Uint8Array, request: Q): Q {
  switch (request.kind) {
    case "range":
    case "put":
    case "deleteRange":
    case "txn":
      return prefixedOp(prefix, request) as Q;
    case "lock":
    case "campaign":
    case "leader":
      return { ...request, name: below(prefix, request.name) };
    case "unlock":
      return { ...request, key: below(prefix, request.key) };
    case "proclaim":
    case "resign":
      return prefixedLeader(prefix, request) as Q;
    default:
      return request;
  }
}

/** Every key of an answer begins with the prefix: it was asked for so. */
export function strippedKeyValue(prefix: Uint8Array, kv: KeyValue): KeyValue {
  return { ...kv, key: kv.key.slice(prefix.length) };
}

function strippedOp(prefix: Uint8Array, result: OpResult): OpResult {
  const strip = (kv: KeyValue): KeyValue => strippedKeyValue(prefix, kv);
  switch (result.kind) {
    case "range":
      return { ...result, kvs: result.kvs.map(strip) };
    case "put":
      return result.prevKv === undefined ? result : { ...result, prevKv: strip(result.prevKv) };
    case "deleteRange":
      return { ...result, prevKvs: result.prevKvs.map(strip) };
    case "txn":
      return { ...result, results: result.results.map((each) => strippedOp(prefix, each)) };
  }
}

export function strippedResult<R extends Result>(prefix: Uint8Array, result: R): R {
  switch (result.kind) {
    case "range":
    case "put":
    case "deleteRange":
    case "txn":
      return strippedOp(prefix, result) as R;
    case "lock":
      return { ...result, key: result.key.slice(prefix.length) };
    case "campaign": {
      const { leader } = result;
      const [name, key] = [leader.name, leader.key].map((each) => each.slice(prefix.length));
      return { ...result, leader: { ...leader, name, key } } as R;
    }
    case "leader":
      return { ...result, kv: strippedKeyValue(prefix, result.kv) };
    case "leaseTimeToLive": {
      // A lease may hold keys of others.
      const own = result.keys.filter((key) => key.length > prefix.length && beginsWith(key, prefix));
      return { ...result, keys: own.map((key) => key.slice(prefix.length)) };
    }
    default:
      return result;
  }
}

export function strippedEvent(prefix: Uint8Array, event: WatchEvent): WatchEvent {
  const kv = strippedKeyValue(prefix, event.kv);
  const { prevKv } = event;
  return prevKv === undefined ? { ...event, kv } : { ...event, kv, prevKv: strippedKeyValue(prefix, prevKv) };
}

function beginsWith(key: Uint8Array, prefix: Uint8Array): boolean {
  return prefix.every((byte, i) => key[i] === byte);
}
