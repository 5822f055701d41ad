/**
 * The disk of a machine: LevelDB databases and small files below one directory. LevelDB does not sync the directory it
 * puts a new file into, so opening does; a log that it rotates to while running is left to the file system, which has
 * it with the file's first fsync on ext4, xfs and btrfs (docs/guarantees.md).
 */
import { close, constants, fdatasync, fstat, fsync, ftruncate, open, read, write } from "node:fs";
import { access, mkdir, open as openHandle, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type * as level from "level";
import { StoreError } from "../../base/errors.ts";
import type {
  Database,
  DatabaseIterator,
  DatabaseOp,
  DatabaseSnapshot,
  DatabaseWriter,
  Disk,
  DiskFile,
  RangeOptions,
} from "../disk.ts";
import { type Logger, silent } from "../log.ts";
import { requireCommonJs } from "./common-js.ts";
import { findTableDamage } from "./leveldb-tables.ts";

const { Level } = requireCommonJs("level") as typeof level;

type Store = level.Level<Uint8Array, Uint8Array>;
type StoreSnapshot = ReturnType<Store["snapshot"]>;
type StoreBatch = ReturnType<Store["batch"]>;
interface StoreIterator {
  nextv(count: number): Promise<[Uint8Array, Uint8Array][]>;
  close(): Promise<void>;
}

const VIEW = { keyEncoding: "view", valueEncoding: "view" } as const;
/** Larger than LevelDB's 4 MiB: fewer, larger tables. 64 MiB would cost 160 MB of memory. */
const WRITE_BUFFER_BYTES = 8 << 20;
/** Bytes an iterator fetches ahead. */
const READ_AHEAD_BYTES = 1 << 20;

/** ext4 (and its elders), xfs, btrfs: a file's first fsync makes its name durable too. */
const TRUSTED_FILE_SYSTEMS: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e]);

/** Whether the file system of `type` (statfs) keeps what LevelDB relies on when it begins a new log. */
export function isTrustedFileSystem(type: number): boolean {
  return TRUSTED_FILE_SYSTEMS.has(type);
}

/** LevelDB hands out Buffers, whose `slice` shares instead of copying. */
const plain = (bytes: Uint8Array): Uint8Array => new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** A failure of the disk by its name. `details.reason`: "missing", "damaged" or "failed". */
function diskError(error: unknown, what: string, path: string): StoreError {
  if (StoreError.is(error)) return error;
  let text = "";
  let damaged = false;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    if (code === "LEVEL_LOCKED") {
      return new StoreError("DATA_DIR_IN_USE", {
        cause: error,
        message: `quorate: the data directory is in use: another process holds ${path}`,
        details: { path },
      });
    }
    if (code === "LEVEL_CORRUPTION") damaged = true;
    text += `${code ?? ""} ${cause.message} `;
  }
  if (/ENOSPC|EDQUOT|No space left|quota exceeded/i.test(text)) {
    return new StoreError("DISK_FULL", {
      cause: error,
      outcome: "unknown",
      message: `quorate: the disk is full: ${what} ${path}`,
      details: { path },
    });
  }
  // A file that LevelDB's own index names and that is not there is damage as much as a wrong byte is.
  if (/Corruption|No such file|does not exist|ENOENT/.test(text)) damaged = true;
  return new StoreError("DISK_FAILED", {
    cause: error,
    outcome: "unknown",
    message: `quorate: ${what} ${path} failed: ${text.trim()}`,
    details: { path, reason: damaged ? "damaged" : "failed" },
  });
}

async function syncDirectory(path: string): Promise<void> {
  const handle = await openHandle(path, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Only what is certainly not there is absent: a directory that may not be read is no lost one. */
const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT" || error.code === "ENOTDIR") return false;
      throw error;
    },
  );

class NodeIterator implements DatabaseIterator {
  readonly #inner: StoreIterator;
  readonly #path: string;

  constructor(store: Store, path: string, { gte, lt, reverse }: RangeOptions, snapshot: StoreSnapshot | undefined) {
    this.#path = path;
    try {
      this.#inner = store.iterator({
        ...VIEW,
        ...(gte === undefined ? {} : { gte }),
        ...(lt === undefined ? {} : { lt }),
        ...(snapshot === undefined ? {} : { snapshot }),
        reverse: reverse === true,
        highWaterMarkBytes: READ_AHEAD_BYTES,
        fillCache: false,
      } as object) as StoreIterator;
    } catch (error) {
      throw diskError(error, "reading", path);
    }
  }

  async next(count: number): Promise<readonly (readonly [Uint8Array, Uint8Array])[]> {
    try {
      const pairs = await this.#inner.nextv(count);
      return pairs.map(([key, value]) => [plain(key), plain(value)] as const);
    } catch (error) {
      throw diskError(error, "reading", this.#path);
    }
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }
}

class NodeWriter implements DatabaseWriter {
  readonly #batch: StoreBatch;
  readonly #path: string;

  constructor(batch: StoreBatch, path: string) {
    this.#batch = batch;
    this.#path = path;
  }

  put(key: Uint8Array, value: Uint8Array): void {
    try {
      this.#batch.put(key, value);
    } catch (error) {
      throw diskError(error, "writing to", this.#path);
    }
  }

  del(key: Uint8Array): void {
    try {
      this.#batch.del(key);
    } catch (error) {
      throw diskError(error, "writing to", this.#path);
    }
  }

  turn(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve));
  }

  async write({ sync }: { readonly sync: boolean }): Promise<void> {
    try {
      await this.#batch.write({ sync } as object);
    } catch (error) {
      throw diskError(error, "writing to", this.#path);
    }
  }

  async abandon(): Promise<void> {
    await this.#batch.close();
  }
}

class NodeDatabase implements Database {
  readonly #store: Store;
  readonly #path: string;
  readonly #directory: string;

  constructor(store: Store, path: string, directory: string) {
    this.#store = store;
    this.#path = path;
    this.#directory = directory;
  }

  async batch(ops: readonly DatabaseOp[], { sync }: { readonly sync: boolean }): Promise<void> {
    try {
      const first = ops[0];
      if (ops.length === 1 && first?.kind === "put") {
        await this.#store.put(first.key, first.value, { sync } as object);
        return;
      }
    } catch (error) {
      throw diskError(error, "writing to", this.#path);
    }
    const writer = this.writer();
    try {
      for (const op of ops) {
        if (op.kind === "put") writer.put(op.key, op.value);
        else writer.del(op.key);
      }
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    await writer.write({ sync });
  }

  writer(): DatabaseWriter {
    try {
      return new NodeWriter(this.#store.batch(), this.#path);
    } catch (error) {
      throw diskError(error, "writing to", this.#path);
    }
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    try {
      const value = this.#store.getSync(key);
      return value === undefined ? undefined : plain(value);
    } catch (error) {
      throw diskError(error, "reading", this.#path);
    }
  }

  iterate(range: RangeOptions): DatabaseIterator {
    return new NodeIterator(this.#store, this.#path, range, undefined);
  }

  snapshot(): DatabaseSnapshot {
    let taken: StoreSnapshot;
    try {
      taken = this.#store.snapshot();
    } catch (error) {
      throw diskError(error, "reading", this.#path);
    }
    return {
      iterate: (range) => new NodeIterator(this.#store, this.#path, range, taken),
      close: () => taken.close(),
    };
  }

  async clear({ gte, lt }: RangeOptions): Promise<void> {
    try {
      await this.#store.clear({
        ...(gte === undefined ? {} : { gte }),
        ...(lt === undefined ? {} : { lt }),
      });
    } catch (error) {
      throw diskError(error, "deleting from", this.#path);
    }
  }

  async sizeBytes(): Promise<number> {
    let total = 0;
    for (const name of await readdir(this.#directory).catch(() => [])) {
      // LevelDB deletes files at any time.
      total += await stat(join(this.#directory, name)).then(
        ({ size }) => size,
        () => 0,
      );
    }
    return total;
  }

  async close(): Promise<void> {
    try {
      await this.#store.close();
    } catch (error) {
      throw diskError(error, "closing", this.#path);
    }
  }
}

class NodeFile implements DiskFile {
  readonly #fd: number;
  readonly #path: string;
  #closed = false;

  constructor(fd: number, path: string) {
    this.#fd = fd;
    this.#path = path;
  }

  read(): Promise<Uint8Array> {
    return this.#run("reading", (done) => {
      fstat(this.#fd, (failed, stats) => {
        if (failed) {
          done(failed);
          return;
        }
        const bytes = new Uint8Array(stats.size);
        const more = (at: number): void => {
          if (at === bytes.length) {
            done(null, bytes);
            return;
          }
          read(this.#fd, bytes, at, bytes.length - at, at, (error, count) => {
            if (error) done(error);
            else if (count === 0) done(null, bytes.subarray(0, at));
            else more(at + count);
          });
        };
        more(0);
      });
    });
  }

  write(position: number, bytes: Uint8Array): Promise<void> {
    return this.#run("writing to", (done) => {
      const more = (at: number): void => {
        if (at === bytes.length) {
          done(null);
          return;
        }
        write(this.#fd, bytes, at, bytes.length - at, position + at, (error, count) => {
          if (error) done(error);
          else more(at + count);
        });
      };
      more(0);
    });
  }

  sync(): Promise<void> {
    // The file keeps its size and place, so its data is all there is to sync.
    return this.#run("syncing", (done) => fdatasync(this.#fd, done));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await new Promise<void>((resolve, reject) => {
      close(this.#fd, (error) => (error ? reject(diskError(error, "closing", this.#path)) : resolve()));
    });
  }

  #run<T>(what: string, begin: (done: (error: Error | null, value?: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      // The number of a closed file may be another file's by now.
      if (this.#closed) {
        reject(diskError(new Error("the file is closed"), what, this.#path));
        return;
      }
      begin((error, value) => (error ? reject(diskError(error, what, this.#path)) : resolve(value as T)));
    });
  }
}

export class NodeDisk implements Disk {
  readonly #root: string;
  readonly #log: Logger;
  #fileSystemKnown = false;

  /** Nothing is touched before the first call; the directory is made when something is put into it. */
  constructor(root: string, log: Logger = silent) {
    this.#root = root;
    this.#log = log;
  }

  async openDatabase(
    path: string,
    options: { readonly create: boolean; readonly writeBufferBytes?: number },
  ): Promise<Database> {
    const directory = this.#at(path);
    try {
      if (options.create) await this.#createDatabase(path, directory);
      // Otherwise LevelDB would open a directory without CURRENT as an empty database.
      if (!(await exists(join(directory, "CURRENT")))) {
        throw new StoreError("DISK_FAILED", {
          message: `quorate: ${path} holds no database (its CURRENT file is missing)`,
          details: { path, reason: "missing" },
        });
      }
      if (!options.create) {
        const damage = await findTableDamage(directory);
        if (damage !== undefined) {
          throw new StoreError("DISK_FAILED", {
            message: `quorate: ${path} is damaged: ${damage}`,
            details: { path, reason: "damaged" },
          });
        }
      }
      const store = this.#store(directory, options.writeBufferBytes);
      await store.open({ createIfMissing: false });
      await syncDirectory(directory);
      await syncDirectory(dirname(directory));
      await this.#lookAtFileSystem();
      return new NodeDatabase(store, path, directory);
    } catch (error) {
      throw diskError(error, "opening", path);
    }
  }

  async openFile(path: string, options: { readonly create: boolean; readonly sizeBytes?: number }): Promise<DiskFile> {
    const full = this.#at(path);
    try {
      if (!options.create) {
        if (!(await exists(full))) {
          throw new StoreError("DISK_FAILED", {
            message: `quorate: ${path} is missing`,
            details: { path, reason: "missing" },
          });
        }
        return new NodeFile(await openDescriptor(full, constants.O_RDWR), path);
      }
      await this.#makeDirectories(dirname(full));
      const fd = await openDescriptor(full, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL);
      try {
        await new Promise<void>((resolve, reject) => {
          ftruncate(fd, options.sizeBytes ?? 0, (error) => {
            if (error) reject(error);
            else fsync(fd, (failed) => (failed ? reject(failed) : resolve()));
          });
        });
        await syncDirectory(dirname(full));
      } catch (error) {
        close(fd, () => {});
        throw error;
      }
      return new NodeFile(fd, path);
    } catch (error) {
      throw diskError(error, "opening", path);
    }
  }

  async exists(path: string): Promise<boolean> {
    try {
      return await exists(this.#at(path));
    } catch (error) {
      throw diskError(error, "looking at", path);
    }
  }

  async list(path: string): Promise<readonly string[]> {
    try {
      return (await readdir(this.#at(path))).sort();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw diskError(error, "listing", path);
    }
  }

  async makeDirectory(path: string): Promise<void> {
    try {
      await this.#makeDirectories(this.#at(path));
    } catch (error) {
      throw diskError(error, "creating", path);
    }
  }

  /** Durable once resolved, like `rename`. */
  async remove(path: string): Promise<void> {
    const full = this.#at(path);
    try {
      if (!(await exists(full))) return;
      await rm(full, { recursive: true, force: true });
      await syncDirectory(dirname(full));
    } catch (error) {
      throw diskError(error, "removing", path);
    }
  }

  async rename(from: string, to: string): Promise<void> {
    try {
      await rename(this.#at(from), this.#at(to));
      await syncDirectory(dirname(this.#at(to)));
      if (dirname(from) !== dirname(to)) await syncDirectory(dirname(this.#at(from)));
    } catch (error) {
      throw diskError(error, "renaming", from);
    }
  }

  #at(path: string): string {
    return path === "" ? this.#root : join(this.#root, ...path.split("/"));
  }

  #store(directory: string, writeBufferBytes: number | undefined): Store {
    return new Level<Uint8Array, Uint8Array>(directory, {
      ...VIEW,
      compression: false,
      writeBufferSize: writeBufferBytes ?? WRITE_BUFFER_BYTES,
      createIfMissing: false,
    } as object);
  }

  async #lookAtFileSystem(): Promise<void> {
    if (this.#fileSystemKnown) return;
    this.#fileSystemKnown = true;
    // Nothing depends on it but a warning.
    const found = await statfs(this.#root).catch(() => undefined);
    if (found === undefined || isTrustedFileSystem(found.type)) return;
    this.#log.warn(
      { path: this.#root, type: `0x${found.type.toString(16)}` },
      "the data directory is not on ext4, xfs or btrfs: after a power cut acknowledged writes may be missing (docs/guarantees.md)",
    );
  }

  async #createDatabase(path: string, directory: string): Promise<void> {
    if (await exists(directory)) {
      throw new StoreError("DISK_FAILED", { message: `quorate: ${path} exists`, details: { path, reason: "exists" } });
    }
    await this.#makeDirectories(dirname(directory));
    const building = `${directory}.new`;
    await rm(building, { recursive: true, force: true });
    const store = this.#store(building, undefined);
    await store.open({ createIfMissing: true });
    await store.close();
    // LevelDB syncs neither all of these files nor the directory.
    for (const name of await readdir(building)) {
      const handle = await openHandle(join(building, name), constants.O_RDONLY);
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    await syncDirectory(building);
    await rename(building, directory);
    await syncDirectory(dirname(directory));
  }

  /** Makes what is missing, from the top, each durable in its parent. */
  async #makeDirectories(full: string): Promise<void> {
    if (await exists(full)) return;
    const parent = dirname(full);
    if (parent !== full) await this.#makeDirectories(parent);
    await mkdir(full).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    await syncDirectory(parent);
  }
}

function openDescriptor(path: string, flags: number): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, flags, 0o644, (error, fd) => (error ? reject(error) : resolve(fd)));
  });
}
