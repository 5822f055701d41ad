/** etcd's hash over the records of the store, for comparing members (etcd-semantics 3.5). */
import { concatBytes, encodeUtf8, viewOf, writeCounter } from "../base/bytes.ts";
import { crc32c } from "../base/crc32.ts";
import { StoreError } from "../base/errors.ts";
import { revision } from "../base/ids.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { HashKvResult } from "../protocol/responses.ts";
import { type Budget, type Slices, sortInSlices } from "./slices.ts";
import { TOP } from "./sorted-map.ts";
import type { Store } from "./store.ts";

interface Place {
  readonly main: number;
  readonly sub: number;
  /** Forgotten by a compaction at the hashed revision; hashed only if that would keep nothing at all. */
  readonly spare: boolean;
}

/** The revision to hash; throws `FUTURE_REVISION`, `COMPACTED`. */
export function hashRevision(store: Store, requested: number): number {
  const at = requested <= 0 ? store.revision : requested;
  if (at < store.compactRevision) throw store.compacted();
  if (at > store.revision) throw new StoreError("FUTURE_REVISION");
  return at;
}

/** How far a hash is, for whoever reads records in bulk before they are asked for. */
export interface HashCursor {
  /** The next record that is read, once the order of all is known. What follows it in the state's order comes next. */
  next: { readonly main: number; readonly sub: number } | undefined;
}

/**
 * As if the last compaction had dropped all it may: how far each member got with dropping does not show. The caller
 * pins `compactRevision` meanwhile, so that no later compaction drops what is hashed.
 */
export function* hashKv(
  store: Store,
  at: number,
  budget: Budget,
  cursor: HashCursor = { next: undefined },
): Slices<HashKvResult> {
  const { compactRevision, revision: current } = store;
  const found: Place[] = [];
  let keepsAny = false;
  yield* store.walk({ single: false, low: "", high: TOP }, budget, (_key, index) => {
    const newest = index.find(at);
    const isKept = newest >= 0 && index.versionOf(newest) !== 0;
    if (isKept) keepsAny = true;
    for (let record = index.firstKept(compactRevision); record <= newest; record++) {
      const main = index.mainOf(record);
      budget.left -= 1;
      // Older servers dropped the tombstone at the compact revision and newer ones keep it: neither hashes it.
      if (main === compactRevision && index.versionOf(record) === 0) continue;
      const spare = main <= compactRevision && !(isKept && record === newest);
      found.push({ main, sub: index.subOf(record), spare });
    }
  });
  const records = yield* sortInSlices(found, (a, b) => a.main - b.main || a.sub - b.sub, budget);
  let hash = crc32c(encodeUtf8("key"));
  // One for all: the places are written over.
  const tombstoneKey = recordKey(0, 0, true);
  const putKey = tombstoneKey.subarray(0, 17);
  const view = viewOf(tombstoneKey);
  cursor.next = records[0];
  if (cursor.next !== undefined) yield;
  for (let i = 0; i < records.length; i++) {
    const { main, sub, spare } = records[i]!;
    if (spare && keepsAny) continue;
    const kv = store.records.read(main, sub);
    writeCounter(view, 0, main);
    writeCounter(view, 9, sub);
    hash = crc32c(kv.version === 0 ? tombstoneKey : putKey, hash);
    // Part by part: putting them together first would cost more than the hash.
    for (const part of partsOf(kv)) hash = crc32c(part, hash);
    budget.left -= 1;
    if (budget.left <= 0) {
      cursor.next = records[i + 1];
      yield;
    }
  }
  return { kind: "hashKv", revision: current, hash, compactRevision, hashRevision: revision(at) };
}

/** etcd's key of a stored record: main, `_`, sub, and `t` behind a tombstone. */
export function recordKey(main: number, sub: number, isTombstone: boolean): Uint8Array {
  const bytes = new Uint8Array(isTombstone ? 18 : 17);
  const view = viewOf(bytes);
  writeCounter(view, 0, main);
  bytes[8] = 0x5f;
  writeCounter(view, 9, sub);
  if (isTombstone) bytes[17] = 0x74;
  return bytes;
}

/** mvccpb.KeyValue as protobuf. A tombstone holds its key alone. */
export function encodeKeyValue(kv: KeyValue): Uint8Array {
  return concatBytes(partsOf(kv));
}

function partsOf(kv: KeyValue): Uint8Array[] {
  const head: number[] = [];
  if (kv.key.length > 0) varint(head, 0x0a, kv.key.length);
  if (kv.version === 0) return [Uint8Array.from(head), kv.key];
  const tail: number[] = [];
  if (kv.createRevision !== 0) varint(tail, 0x10, kv.createRevision);
  if (kv.modRevision !== 0) varint(tail, 0x18, kv.modRevision);
  varint(tail, 0x20, kv.version);
  if (kv.value.length > 0) varint(tail, 0x2a, kv.value.length);
  const parts = [Uint8Array.from(head), kv.key, Uint8Array.from(tail), kv.value];
  if (kv.lease !== 0n) {
    const lease: number[] = [];
    lease.push(0x30);
    // A negative id takes ten bytes, as every negative int64 does.
    for (let rest = BigInt.asUintN(64, kv.lease); ; rest >>= 7n) {
      if (rest < 0x80n) {
        lease.push(Number(rest));
        break;
      }
      lease.push(Number(rest & 0x7fn) | 0x80);
    }
    parts.push(Uint8Array.from(lease));
  }
  return parts;
}

function varint(out: number[], tag: number, value: number): void {
  out.push(tag);
  let rest = value;
  while (rest >= 0x80) {
    out.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  out.push(rest);
}
