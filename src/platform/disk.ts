/**
 * The few calls of a disk that we use: databases (LevelDB's shape) and small files. One conformance suite
 * (test/conformance/disk.ts) runs on Node's version and on the one in memory, whose power cuts forget what was not
 * synced. Paths are relative to the disk's root and use "/".
 *
 * Errors: a failed write rejects with `StoreError` `DISK_FULL` or `DISK_FAILED`; after it nothing is known about what
 * the write left behind.
 */
export type DatabaseOp =
  | { readonly kind: "put"; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: "del"; readonly key: Uint8Array };

export interface RangeOptions {
  readonly gte?: Uint8Array;
  readonly lt?: Uint8Array;
  readonly reverse?: boolean;
}

export interface DatabaseIterator {
  /** Up to `count` pairs, in key order; an empty array at the end. Pairs are copies. */
  next(count: number): Promise<readonly (readonly [Uint8Array, Uint8Array])[]>;
  close(): Promise<void>;
}

/** A point-in-time view. */
export interface DatabaseSnapshot {
  iterate(range: RangeOptions): DatabaseIterator;
  close(): Promise<void>;
}

/** Gathers operations as they come, and writes them in one go. */
export interface DatabaseWriter {
  /** Key and value are copied: the caller may use both again. */
  put(key: Uint8Array, value: Uint8Array): void;
  del(key: Uint8Array): void;
  /** Lets others run: whoever gathers thousands of operations awaits it every few of them. */
  turn(): Promise<void>;
  /** All of them or none. With `sync` it resolves once they are on stable storage. Ends the writer. */
  write(options: { readonly sync: boolean }): Promise<void>;
  /** Ends the writer without a trace. */
  abandon(): Promise<void>;
}

export interface Database {
  /** All of `ops` or none, for a few of them. With `sync` it resolves once they are on stable storage. */
  batch(ops: readonly DatabaseOp[], options: { readonly sync: boolean }): Promise<void>;
  /** For many. */
  writer(): DatabaseWriter;
  getSync(key: Uint8Array): Uint8Array | undefined;
  iterate(range: RangeOptions): DatabaseIterator;
  snapshot(): DatabaseSnapshot;
  /** Deletes a range without syncing. */
  clear(range: RangeOptions): Promise<void>;
  /** Bytes on disk, roughly. */
  sizeBytes(): Promise<number>;
  close(): Promise<void>;
}

/** A small file written in place. */
export interface DiskFile {
  read(): Promise<Uint8Array>;
  write(position: number, bytes: Uint8Array): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  /**
   * Opens a database. `create: false` rejects with `WAL_CORRUPT`-neutral `DISK_FAILED` (details.reason "missing") when
   * there is none or its CURRENT file is gone; a lock held elsewhere rejects with `DATA_DIR_IN_USE`.
   * `create: true` builds it under a temporary name, syncs, renames, and syncs the parent. Once opened, all that is
   * found in it is durable, and so are the names beside its own: an earlier process may have died before it synced them.
   */
  openDatabase(
    path: string,
    options: { readonly create: boolean; readonly writeBufferBytes?: number },
  ): Promise<Database>;
  /** Opens a file for reading and writing; with `create` it is made, sized and synced with its directory first. */
  openFile(path: string, options: { readonly create: boolean; readonly sizeBytes?: number }): Promise<DiskFile>;
  exists(path: string): Promise<boolean>;
  /** Names directly below `path`; empty if it does not exist. */
  list(path: string): Promise<readonly string[]>;
  makeDirectory(path: string): Promise<void>;
  /** Recursive; absent is fine. */
  remove(path: string): Promise<void>;
  /** Atomic; then syncs the parent directory. */
  rename(from: string, to: string): Promise<void>;
}
