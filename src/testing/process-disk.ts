/**
 * A disk as one process has it: once the process is dead, none of its calls begins or ends. What it had begun goes on
 * below, as writes in the kernel do.
 */
import type { Database, DatabaseIterator, DatabaseSnapshot, DatabaseWriter, Disk, DiskFile } from "../platform/disk.ts";
import type { Gate, HostClock } from "./virtual-clock.ts";

export function guardDisk(disk: Disk, clock: HostClock, life: Gate): Disk {
  /** Settles through the process's gates: late while it is paused, never once it is dead. */
  function run<T>(begin: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (life.stopped) return;
      begin().then(
        (value) => clock.run(() => resolve(value)),
        (error) => clock.run(() => reject(error)),
      );
    });
  }

  function iterator(inner: DatabaseIterator): DatabaseIterator {
    return {
      next: (count) => run(() => inner.next(count)),
      close: () => run(() => inner.close()),
    };
  }

  function snapshot(inner: DatabaseSnapshot): DatabaseSnapshot {
    return {
      iterate: (range) => iterator(inner.iterate(range)),
      close: () => run(() => inner.close()),
    };
  }

  function writer(inner: DatabaseWriter): DatabaseWriter {
    return {
      put: (key, value) => inner.put(key, value),
      del: (key) => inner.del(key),
      turn: () => run(() => inner.turn()),
      write: (options) => run(() => inner.write(options)),
      abandon: () => run(() => inner.abandon()),
    };
  }

  function database(inner: Database): Database {
    return {
      batch: (ops, options) => run(() => inner.batch(ops, options)),
      writer: () => writer(inner.writer()),
      getSync: (key) => inner.getSync(key),
      iterate: (range) => iterator(inner.iterate(range)),
      snapshot: () => snapshot(inner.snapshot()),
      clear: (range) => run(() => inner.clear(range)),
      sizeBytes: () => run(() => inner.sizeBytes()),
      close: () => run(() => inner.close()),
    };
  }

  function file(inner: DiskFile): DiskFile {
    return {
      read: () => run(() => inner.read()),
      write: (position, bytes) => run(() => inner.write(position, bytes)),
      sync: () => run(() => inner.sync()),
      close: () => run(() => inner.close()),
    };
  }

  return {
    openDatabase: (path, options) => run(async () => database(await disk.openDatabase(path, options))),
    openFile: (path, options) => run(async () => file(await disk.openFile(path, options))),
    exists: (path) => run(() => disk.exists(path)),
    list: (path) => run(() => disk.list(path)),
    makeDirectory: (path) => run(() => disk.makeDirectory(path)),
    remove: (path) => run(() => disk.remove(path)),
    rename: (from, to) => run(() => disk.rename(from, to)),
  };
}
