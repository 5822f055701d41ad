/** A store over records in memory, for watches to read, and beside it everything that ever changed, in one plain list. */
import { EMPTY, encodeUtf8 } from "../../src/base/bytes.ts";
import { NO_LEASE, revision } from "../../src/base/ids.ts";
import { Compactor } from "../../src/kv/compaction.ts";
import { KeyIndex } from "../../src/kv/key-index.ts";
import { spanOf } from "../../src/kv/range.ts";
import { runSlice } from "../../src/kv/slices.ts";
import { SortedMap } from "../../src/kv/sorted-map.ts";
import { type RecordStore, Store } from "../../src/kv/store.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import type { WatchSource } from "../../src/server/watch-reader.ts";

interface StoredRecord {
  readonly main: number;
  readonly sub: number;
  readonly kv: KeyValue;
}

class MemoryRecords implements RecordStore {
  readonly all = new Map<string, StoredRecord>();
  readonly #kept = new WeakMap<Uint8Array, KeyValue>();

  read(main: number, sub: number): KeyValue {
    const record = this.all.get(`${main}.${sub}`);
    if (record === undefined) throw new Error(`record ${main}.${sub} is gone`);
    return record.kv;
  }
  readOwn(main: number, sub: number, key: Uint8Array): KeyValue {
    const kv = this.read(main, sub);
    return { ...kv, key, value: kv.value.slice() };
  }
  put(kv: KeyValue, sub: number): Uint8Array {
    this.all.set(`${kv.modRevision}.${sub}`, { main: kv.modRevision, sub, kv });
    return this.#keep(kv);
  }
  /** The history keeps bytes; what they stand for is looked up by the very object. */
  told(_main: number, record: Uint8Array): KeyValue {
    return this.#kept.get(record)!;
  }
  tombstone(key: Uint8Array, main: number, sub: number): Uint8Array {
    const kv = {
      key,
      createRevision: revision(0),
      modRevision: revision(main),
      version: 0,
      value: EMPTY,
      lease: NO_LEASE,
    };
    this.all.set(`${main}.${sub}`, { main, sub, kv });
    return this.#keep(kv);
  }
  #keep(kv: KeyValue): Uint8Array {
    const record = new Uint8Array(lengthOf(kv));
    this.#kept.set(record, kv);
    return record;
  }
  drop(main: number, sub: number, bytes: number): void {
    if (bytes !== lengthOf(this.read(main, sub))) throw new Error(`record ${main}.${sub} has not ${bytes} bytes`);
    this.all.delete(`${main}.${sub}`);
  }
}

const lengthOf = (kv: KeyValue): number => kv.key.length + kv.value.length;

/** One change as a test compares it: `5 put a=x (was y)`. */
export interface Told {
  readonly revision: number;
  readonly type: "put" | "delete";
  readonly key: string;
  readonly value: string;
  readonly previous: string | undefined;
}

export type Write =
  | { readonly put: string; readonly value?: string }
  | { readonly delete: string; readonly end?: string };

export class MemorySource implements WatchSource {
  readonly store: Store;
  readonly told: Told[];
  readonly #records: MemoryRecords;
  readonly #live: Map<string, string>;
  readonly #compactor: Compactor;

  constructor(historyBytes: number, from?: MemorySource) {
    this.#records = new MemoryRecords();
    const keys = new Map<string, KeyIndex>();
    const stored = from === undefined ? [] : [...from.#records.all.values()];
    stored.sort((a, b) => a.main - b.main || a.sub - b.sub);
    for (const record of stored) {
      this.#records.all.set(`${record.main}.${record.sub}`, record);
      const name = Buffer.from(record.kv.key).toString("latin1");
      const { createRevision, version } = record.kv;
      const bytes = lengthOf(record.kv);
      const index = keys.get(name);
      if (index === undefined) keys.set(name, new KeyIndex(record.main, record.sub, createRevision, version, bytes));
      else index.append(record.main, record.sub, createRevision, version, bytes);
    }
    const sorted = new SortedMap(keys);
    for (const name of [...keys.keys()].sort()) sorted.append(name);
    this.told = [...(from?.told ?? [])];
    this.#live = new Map(from === undefined ? [] : from.#live);
    this.store = new Store(
      this.#records,
      {
        keys: sorted,
        liveKeys: [...keys.values()].filter(({ isLive }) => isLive).length,
        revision: from?.store.revision ?? 1,
        compactRevision: from?.store.compactRevision ?? -1,
      },
      historyBytes,
    );
    this.#compactor = new Compactor(this.store, from?.store.compactRevision ?? -1, () => {});
  }

  find(main: number, sub: number): KeyValue | undefined {
    return this.#records.all.get(`${main}.${sub}`)?.kv;
  }

  /** All of it in one revision, or none if nothing changes. */
  write(...writes: readonly Write[]): void {
    const { store, told } = this;
    const live = this.#live;
    /** What a key that this revision changed was before it. */
    const before = new Map<string, string | undefined>();
    const note = (key: string): string | undefined => {
      if (!before.has(key)) before.set(key, live.get(key));
      return live.has(key) ? before.get(key) : undefined;
    };
    const main = store.revision + 1;
    const budget = { left: 0 };
    store.beginWrite();
    for (const write of writes) {
      if ("put" in write) {
        const { put: key, value = "" } = write;
        store.put({ kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) });
        told.push({ revision: main, type: "put", key, value, previous: note(key) });
        live.set(key, value);
        continue;
      }
      const { delete: from, end } = write;
      for (const key of [...live.keys()].filter((one) => isIn(one, from, end)).sort()) {
        told.push({ revision: main, type: "delete", key, value: "", previous: note(key) });
        live.delete(key);
      }
      const span = spanOf(encodeUtf8(from), end === undefined ? undefined : encodeUtf8(end));
      runSlice(store.deleteRange(span, undefined, budget), budget, Number.MAX_SAFE_INTEGER);
    }
    store.endWrite();
  }

  /** What a watcher of this range is to be told from `start` on. */
  expected(start: number, key: string, end: string | undefined): Told[] {
    return this.told.filter((one) => one.revision >= start && isIn(one.key, key, end));
  }

  /** The same store, keys and records as they are, of a member that keeps no history. */
  withoutHistory(): WatchSource {
    const { keys, liveKeys, revision: at, compactRevision } = this.store;
    const store = new Store(this.#records, { keys, liveKeys, revision: at, compactRevision }, 0);
    return { store, find: (main, sub) => this.find(main, sub) };
  }

  dropSome(steps: number): void {
    this.#compactor.step(steps);
  }
}

export function isIn(key: string, from: string, end: string | undefined): boolean {
  if (end === undefined) return key === from;
  return key >= from && (end === "\0" || key < end);
}
