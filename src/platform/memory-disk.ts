/**
 * A disk in memory. It remembers two states of everything: what a reader sees, and what a power cut leaves. Each call
 * completes through the clock, so that the simulator owns the order. Faults are injected by its owner; what chance
 * decides comes from the `Random` given.
 *
 * `crash` is a power cut, `release` the death of the process alone. After either, handles of the former life are dead:
 * their calls never settle and touch nothing.
 */
import { EmptyBTree } from "sorted-btree";
import { EMPTY, fromByteString, toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { Clock } from "./clock.ts";
import type {
  Database,
  DatabaseIterator,
  DatabaseOp,
  DatabaseSnapshot,
  DatabaseWriter,
  Disk,
  DiskFile,
  RangeOptions,
} from "./disk.ts";
import type { Random } from "./random.ts";

/** Byte string -> value. Cloning one is free until either copy changes. */
type Tree = import("sorted-btree").default<string, Uint8Array>;

/** Clones the library's empty tree: its default export is another thing in Node than in a bundler or test runner. */
const emptyTree = (): Tree => EmptyBTree.clone();

/** Milliseconds, or a range to draw from. */
export type Latency = number | readonly [number, number];

export interface MemoryDiskOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Reads, listings, openings. Default 0: on the clock's next turn. */
  readonly readMs?: Latency;
  /** Writes that do not wait for stable storage. Default 0. */
  readonly writeMs?: Latency;
  /** Writes that do. Default 0. */
  readonly syncMs?: Latency;
}

/** What a power cut leaves of writes that nobody was promised: none, those up to some point, any of them, or one of these by chance. */
export type KeepUnsynced = "none" | "prefix" | "holes" | "any";

export interface CrashOptions {
  readonly keepUnsynced?: KeepUnsynced;
  /** The last surviving write to a file may stop in its middle. Default by chance. */
  readonly tear?: boolean;
}

/** A call that has not completed, or a completed one that was not synced. */
interface Effect {
  /** Makes it visible to readers; absent once it is. */
  show: (() => void) | undefined;
  /** Makes it survive a power cut: `whole`, or as far as it had come. `part` in (0, 1] is how much of a file's write does. */
  readonly keep: (whole: boolean, part: number) => void;
  readonly tearable: boolean;
  /** What it writes to; absent where it changes names. */
  readonly item: object | undefined;
}

/** Unsynced writes that the kernel holds back at most; older ones reach the disk by themselves. */
const UNSYNCED_MAX = 64;

class DatabaseItem {
  readonly kind = "database";
  live: Tree = emptyTree();
  kept: Tree = emptyTree();
  /** Number of the operation that last wrote a key, where an earlier unsynced one may still arrive. */
  readonly order = new Map<string, number>();
  bytes = 0;
  busyUntil = 0;
  /** The life that has it open. */
  openIn: number | undefined;
  /** Some of its files are gone. */
  damaged = false;

  apply(ops: readonly (readonly [string, Uint8Array | undefined])[]): void {
    for (const [key, value] of ops) {
      const old = this.live.get(key);
      if (old !== undefined) this.bytes -= key.length + old.length;
      if (value === undefined) this.live.delete(key);
      else {
        this.live.set(key, value);
        this.bytes += key.length + value.length;
      }
    }
  }

  /** An older operation never undoes a younger one that was kept before it. */
  keep(sequence: number, ops: readonly (readonly [string, Uint8Array | undefined])[], alone: boolean): void {
    for (const [key, value] of ops) {
      if ((this.order.get(key) ?? 0) > sequence) continue;
      if (!alone) this.order.set(key, sequence);
      if (value === undefined) this.kept.delete(key);
      else this.kept.set(key, value);
    }
    if (alone) this.order.clear();
  }
}

class FileItem {
  readonly kind = "file";
  live: Uint8Array;
  kept: Uint8Array;
  busyUntil = 0;

  constructor(size: number) {
    this.live = new Uint8Array(size);
    this.kept = new Uint8Array(size);
  }
}

interface DirectoryItem {
  readonly kind: "directory";
}

type Item = DatabaseItem | FileItem | DirectoryItem;

/** In place where it fits: nobody else has these bytes, whoever reads them gets a copy. */
function written(file: Uint8Array, position: number, bytes: Uint8Array): Uint8Array {
  let target = file;
  if (position + bytes.length > file.length) {
    target = new Uint8Array(position + bytes.length);
    target.set(file);
  }
  target.set(bytes, position);
  return target;
}

const within = (path: string, above: string): boolean => above === "" || path === above || path.startsWith(`${above}/`);
const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));

export class MemoryDisk implements Disk {
  /** Called as each changing call begins and again as it completes: where a test cuts the power. */
  onStep: ((what: string, path: string) => void) | undefined;

  readonly #clock: Clock;
  readonly #random: Random;
  readonly #latency: { readonly read: Latency; readonly write: Latency; readonly sync: Latency };
  #names = new Map<string, Item>();
  #keptNames = new Map<string, Item>();
  /** In the order of their beginning: under way first to last, among them completed ones that are not synced. */
  #effects = new Set<Effect>();
  #unsynced: Effect[] = [];
  #life = 1;
  #sequence = 0;
  #held: (() => void)[] | undefined;
  #stallEnds = 0;
  #spaceLeft = Infinity;
  #failing: { readonly code: "DISK_FAILED" | "DISK_FULL"; readonly path: string } | undefined;
  #metaBusyUntil = 0;

  constructor({ clock, random, readMs = 0, writeMs = 0, syncMs = 0 }: MemoryDiskOptions) {
    this.#clock = clock;
    this.#random = random;
    this.#latency = { read: readMs, write: writeMs, sync: syncMs };
  }

  // Faults.

  /** A power cut: what was not synced is forgotten, or partly survives. The disk can be opened again at once. */
  crash(options: CrashOptions = {}): void {
    const asked = options.keepUnsynced ?? "any";
    const keep = asked === "any" ? (["none", "prefix", "holes"] as const)[Math.floor(this.#random.next() * 3)]! : asked;
    const tear = options.tear ?? this.#random.next() < 0.5;
    const effects = [...this.#effects];
    const count = keep === "prefix" ? Math.floor(this.#random.next() * (effects.length + 1)) : effects.length;
    for (let i = 0; i < count && keep !== "none"; i++) {
      const effect = effects[i]!;
      if (keep === "holes" && this.#random.next() < 0.5) continue;
      effect.keep(false, tear && effect.tearable ? Math.max(0.01, this.#random.next()) : 1);
    }
    this.#names = new Map(this.#keptNames);
    for (const item of this.#names.values()) {
      if (item.kind === "database") {
        item.live = item.kept.clone();
        item.order.clear();
        item.bytes = 0;
        for (const [key, value] of item.live.entries()) item.bytes += key.length + value.length;
      } else if (item.kind === "file") item.live = item.kept.slice();
    }
    this.#begin();
  }

  /** kill -9: locks fall, what was completed stays visible, calls under way happen or do not. Nothing becomes durable. */
  release(): void {
    for (const effect of this.#effects) {
      if (effect.show === undefined) continue;
      if (this.#random.next() < 0.5) {
        effect.show();
        effect.show = undefined;
        this.#unsynced.push(effect);
      } else this.#effects.delete(effect);
    }
    this.#begin(this.#effects, this.#unsynced);
  }

  /** Completions wait: for so many milliseconds, or from `true` until `false`. */
  stall(how: boolean | number): void {
    if (typeof how === "number") {
      this.#stallEnds = Math.max(this.#stallEnds, this.#clock.now() + how);
      return;
    }
    if (how) {
      this.#held ??= [];
      return;
    }
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#stallEnds = 0;
    for (const complete of held) this.#clock.defer(complete);
  }

  /** After so many bytes more, writes fail with `DISK_FULL`. `undefined` makes room again. */
  fillUp(afterBytes: number | undefined): void {
    this.#spaceLeft = afterBytes ?? Infinity;
  }

  /** The next write at or below `path` fails; whether it happened is left to chance. */
  failNextWrite(code: "DISK_FAILED" | "DISK_FULL" = "DISK_FAILED", path: string = ""): void {
    this.#failing = { code, path };
  }

  /** Changes one bit of a stored value or file at or below `path`. Says where, or `undefined` if nothing is there. */
  flip(path: string = ""): string | undefined {
    const found = [...this.#names].filter(([name, item]) => within(name, path) && sizeOf(item) > 0);
    if (found.length === 0) return undefined;
    const [name, item] = found[this.#draw(found.length)]!;
    const change = (bytes: Uint8Array): [Uint8Array, number] => {
      const changed = bytes.slice();
      const at = this.#draw(bytes.length);
      changed[at]! ^= 1 << this.#draw(8);
      return [changed, at];
    };
    if (item.kind === "file") {
      const [changed, at] = change(item.live);
      item.live = changed;
      item.kept = changed.slice();
      return `${name} byte ${at}`;
    }
    if (item.kind === "directory") return undefined;
    const key = [...item.live.keys()][this.#draw(item.live.size)]!;
    const value = item.live.get(key)!;
    if (value.length === 0) return undefined;
    const [changed, at] = change(value);
    item.live.set(key, changed);
    if (item.kept.has(key)) item.kept.set(key, changed);
    return `${name} key ${[...fromByteString(key)].join(".")} byte ${at}`;
  }

  // Disk.

  openDatabase(
    path: string,
    options: { readonly create: boolean; readonly writeBufferBytes?: number },
  ): Promise<Database> {
    const opened = (item: DatabaseItem): Database => {
      if (item.damaged) throw missing(path);
      if (item.openIn === this.#life) {
        throw new StoreError("DATA_DIR_IN_USE", {
          message: `quorate: the data directory is in use: ${path} is open`,
          details: { path },
        });
      }
      item.openIn = this.#life;
      // What LevelDB finds in its log when it opens goes into a synced table, and its name is synced with its parent.
      this.#sync(undefined);
      this.#sync(item);
      return new MemoryDatabase(this.#host, path, item);
    };
    if (!options.create) {
      return this.#read(path, () => {
        const item = this.#names.get(path);
        if (item?.kind !== "database") throw missing(path);
        return opened(item);
      });
    }
    const item = new DatabaseItem();
    return this.#change("create database", path, "sync", 0, {
      check: () => {
        if (this.#names.has(path)) throw taken(path);
        this.#makeParents(path);
      },
      show: () => {
        this.#names.set(path, item);
      },
      keep: () => this.#keepName(path, item),
    }).then(() => opened(item));
  }

  openFile(path: string, options: { readonly create: boolean; readonly sizeBytes?: number }): Promise<DiskFile> {
    if (!options.create) {
      return this.#read(path, () => {
        const item = this.#names.get(path);
        if (item?.kind !== "file") throw missing(path);
        return new MemoryFile(this.#host, path, item);
      });
    }
    const item = new FileItem(options.sizeBytes ?? 0);
    return this.#change("create file", path, "sync", item.live.length, {
      check: () => {
        if (this.#names.has(path)) throw taken(path);
        this.#makeParents(path);
      },
      show: () => {
        this.#names.set(path, item);
      },
      keep: () => this.#keepName(path, item),
    }).then(() => new MemoryFile(this.#host, path, item));
  }

  exists(path: string): Promise<boolean> {
    return this.#read(path, () => [...this.#names.keys()].some((name) => within(name, path)));
  }

  list(path: string): Promise<readonly string[]> {
    return this.#read(path, () => {
      const below = new Set<string>();
      const prefix = path === "" ? 0 : path.length + 1;
      for (const name of this.#names.keys()) {
        if (name !== path && within(name, path)) below.add(name.slice(prefix).split("/", 1)[0]!);
      }
      return [...below].sort();
    });
  }

  makeDirectory(path: string): Promise<void> {
    const item: DirectoryItem = { kind: "directory" };
    return this.#change("make directory", path, "sync", 0, {
      check: () => this.#makeParents(path),
      show: () => {
        if (!this.#names.has(path)) this.#names.set(path, item);
      },
      keep: () => {
        if (!this.#keptNames.has(path)) this.#keepName(path, item);
      },
    });
  }

  remove(path: string): Promise<void> {
    return this.#change("remove", path, "sync", 0, {
      show: () => {
        for (const name of [...this.#names.keys()]) if (within(name, path)) this.#names.delete(name);
      },
      keep: (whole) => {
        for (const [name, item] of [...this.#keptNames]) {
          if (!within(name, path)) continue;
          // Cut off in its middle: some files are gone, others not, and directories go last.
          if (whole) this.#keptNames.delete(name);
          else if (item.kind !== "directory" && this.#random.next() < 0.5) {
            if (item.kind === "database" && this.#random.next() < 0.5) item.damaged = true;
            else this.#keptNames.delete(name);
          }
        }
      },
    });
  }

  rename(from: string, to: string): Promise<void> {
    const move = (names: Map<string, Item>): void => {
      const moved = [...names].filter(([name]) => within(name, from));
      if (moved.length === 0) return;
      if (names.get(to)?.kind !== undefined) names.delete(to);
      for (const [name, item] of moved) {
        names.delete(name);
        names.set(to + name.slice(from.length), item);
      }
    };
    return this.#change("rename", from, "sync", 0, {
      check: () => {
        const names = [...this.#names.keys()];
        if (!names.some((name) => within(name, from))) throw missing(from);
        const target = this.#names.get(to);
        const full = names.some((name) => name !== to && within(name, to));
        if (full || target?.kind === "database") throw taken(to);
      },
      show: () => {
        move(this.#names);
      },
      keep: () => move(this.#keptNames),
    });
  }

  // What handles need of it.

  readonly #host: Host = {
    life: () => this.#life,
    read: (path, run) => this.#read(path, run),
    change: (what, path, level, bytes, steps, item) => this.#change(what, path, level, bytes, steps, item),
    next: () => ++this.#sequence,
    settled: () => this.#effects.size <= 1,
    sync: (item) => this.#sync(item),
  };

  /** Makes durable what readers see of `item`, or of the names. */
  #sync(item: Item | undefined): void {
    for (const effect of [...this.#unsynced]) {
      if (effect.item !== item) continue;
      effect.keep(item === undefined, 1);
      this.#forget(effect);
    }
  }

  #draw(below: number): number {
    return Math.floor(this.#random.next() * below);
  }

  #begin(effects: Set<Effect> = new Set(), unsynced: Effect[] = []): void {
    this.#life++;
    this.#effects = effects;
    this.#unsynced = unsynced;
    if (this.#held !== undefined) this.#held = [];
    this.#failing = undefined;
    this.#metaBusyUntil = 0;
    for (const item of this.#names.values()) if (item.kind !== "directory") item.busyUntil = 0;
  }

  #makeParents(path: string): void {
    for (let above = parentOf(path); above !== ""; above = parentOf(above)) {
      const found = this.#names.get(above);
      if (found === undefined) {
        const item: DirectoryItem = { kind: "directory" };
        this.#names.set(above, item);
        this.#keptNames.set(above, item);
      } else if (found.kind !== "directory") throw taken(above);
    }
  }

  #keepName(path: string, item: Item): void {
    this.#keptNames.set(path, item);
  }

  #forget(effect: Effect): void {
    this.#effects.delete(effect);
    const at = this.#unsynced.indexOf(effect);
    if (at >= 0) this.#unsynced.splice(at, 1);
  }

  #delay(latency: Latency): number {
    if (typeof latency === "number") return latency;
    return latency[0] + this.#random.next() * (latency[1] - latency[0]);
  }

  /** Runs `complete` when the call is over, unless its process is dead by then. One item's calls end in their order. */
  #later(latency: Latency, item: { busyUntil: number } | undefined, complete: () => void): void {
    const life = this.#life;
    const now = this.#clock.now();
    const before = item === undefined ? this.#metaBusyUntil : item.busyUntil;
    const due = Math.max(now + this.#delay(latency), before, this.#stallEnds);
    if (item === undefined) this.#metaBusyUntil = due;
    else item.busyUntil = due;
    const run = (): void => {
      if (life !== this.#life) return;
      if (this.#held !== undefined) this.#held.push(run);
      else if (this.#stallEnds > this.#clock.now()) this.#clock.after(this.#stallEnds - this.#clock.now(), run);
      else complete();
    };
    if (due > now) this.#clock.after(due - now, run);
    else this.#clock.defer(run);
  }

  #read<T>(_path: string, run: () => T, item?: { busyUntil: number }): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#later(this.#latency.read, item, () => {
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #change(
    what: string,
    path: string,
    level: "write" | "sync",
    bytes: number,
    steps: Steps,
    item?: { busyUntil: number },
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const life = this.#life;
      const effect: Effect = {
        show: steps.show,
        keep: steps.keep,
        tearable: steps.tearable === true,
        item,
      };
      this.#effects.add(effect);
      const fail = (code: "DISK_FAILED" | "DISK_FULL"): void => {
        // Nobody knows what a failed write left behind.
        if (this.#random.next() < 0.5) {
          effect.show?.();
          effect.show = undefined;
          this.#unsynced.push(effect);
        } else this.#effects.delete(effect);
        reject(new StoreError(code, { outcome: "unknown", details: { path, reason: "injected" } }));
      };
      this.onStep?.(`begin ${what}`, path);
      if (life !== this.#life) return;
      this.#later(level === "sync" ? this.#latency.sync : this.#latency.write, item, () => {
        const failing = this.#failing;
        if (failing !== undefined && within(path, failing.path)) {
          this.#failing = undefined;
          fail(failing.code);
          return;
        }
        if (bytes > this.#spaceLeft) {
          fail("DISK_FULL");
          return;
        }
        this.#spaceLeft -= bytes;
        try {
          steps.check?.();
        } catch (error) {
          this.#effects.delete(effect);
          reject(error);
          return;
        }
        effect.show?.();
        effect.show = undefined;
        if (level === "sync") {
          steps.keep(true, 1);
          this.#effects.delete(effect);
        } else {
          this.#unsynced.push(effect);
          if (this.#unsynced.length > UNSYNCED_MAX) {
            const oldest = this.#unsynced[0]!;
            oldest.keep(false, 1);
            this.#forget(oldest);
          }
        }
        this.onStep?.(`end ${what}`, path);
        if (life === this.#life) resolve();
      });
    });
  }
}

interface Steps {
  readonly check?: () => void;
  readonly show: () => void;
  /** `whole` once the call completed; otherwise a power cut met it under way, or before a sync. */
  readonly keep: (whole: boolean, part: number) => void;
  readonly tearable?: boolean;
}

interface Host {
  life(): number;
  read<T>(path: string, run: () => T, item?: { busyUntil: number }): Promise<T>;
  change(
    what: string,
    path: string,
    level: "write" | "sync",
    bytes: number,
    steps: Steps,
    item: { busyUntil: number },
  ): Promise<void>;
  next(): number;
  /** Nothing but the call that asks is under way or unsynced. */
  settled(): boolean;
  sync(item: FileItem): void;
}

function sizeOf(item: Item): number {
  return item.kind === "database" ? item.live.size : item.kind === "file" ? item.live.length : 0;
}

function missing(path: string): StoreError {
  return new StoreError("DISK_FAILED", {
    message: `quorate: ${path} is missing`,
    details: { path, reason: "missing" },
  });
}

function taken(path: string): StoreError {
  return new StoreError("DISK_FAILED", { message: `quorate: ${path} exists`, details: { path, reason: "exists" } });
}

const never: Promise<never> = new Promise(() => {});

class MemoryDatabase implements Database {
  readonly #host: Host;
  readonly #path: string;
  readonly #item: DatabaseItem;
  readonly #life: number;
  #closed = false;

  constructor(host: Host, path: string, item: DatabaseItem) {
    this.#host = host;
    this.#path = path;
    this.#item = item;
    this.#life = host.life();
  }

  batch(ops: readonly DatabaseOp[], { sync }: { readonly sync: boolean }): Promise<void> {
    const writer = this.writer();
    for (const op of ops) {
      if (op.kind === "put") writer.put(op.key, op.value);
      else writer.del(op.key);
    }
    return writer.write({ sync });
  }

  writer(): DatabaseWriter {
    const list: (readonly [string, Uint8Array | undefined])[] = [];
    let bytes = 0;
    return {
      put: (key, value) => {
        list.push([toByteString(key), value.slice()]);
        bytes += key.length + value.length;
      },
      del: (key) => {
        list.push([toByteString(key), undefined]);
        bytes += key.length;
      },
      turn: () => (this.#dead ? never : this.#host.read(this.#path, () => {})),
      write: ({ sync }) => this.#change("batch", sync ? "sync" : "write", bytes, () => list),
      abandon: () => Promise.resolve(),
    };
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    if (this.#closed || this.#dead) throw this.#gone();
    return this.#item.live.get(toByteString(key))?.slice();
  }

  iterate(range: RangeOptions): DatabaseIterator {
    if (this.#closed) throw this.#gone();
    return this.#iterator(this.#item.live.clone(), range);
  }

  snapshot(): DatabaseSnapshot {
    if (this.#closed) throw this.#gone();
    const tree = this.#item.live.clone();
    return { iterate: (range) => this.#iterator(tree, range), close: () => Promise.resolve() };
  }

  clear(range: RangeOptions): Promise<void> {
    return this.#change("clear", "write", 0, () => {
      const list: (readonly [string, undefined])[] = [];
      for (const [key] of select(this.#item.live, range)) list.push([key, undefined]);
      return list;
    });
  }

  sizeBytes(): Promise<number> {
    return this.#dead ? never : this.#host.read(this.#path, () => this.#item.bytes);
  }

  close(): Promise<void> {
    if (this.#dead) return never;
    return this.#host.read(
      this.#path,
      () => {
        if (!this.#closed && this.#item.openIn === this.#life) this.#item.openIn = undefined;
        this.#closed = true;
      },
      this.#item,
    );
  }

  get #dead(): boolean {
    return this.#life !== this.#host.life();
  }

  #gone(): StoreError {
    return new StoreError("DISK_FAILED", {
      message: `quorate: ${this.#path} is closed`,
      details: { path: this.#path, reason: "failed" },
    });
  }

  #change(
    what: string,
    level: "write" | "sync",
    bytes: number,
    list: () => readonly (readonly [string, Uint8Array | undefined])[],
  ): Promise<void> {
    if (this.#dead) return never;
    if (this.#closed) return Promise.reject(this.#gone());
    const item = this.#item;
    const sequence = this.#host.next();
    let ops: readonly (readonly [string, Uint8Array | undefined])[] | undefined;
    return this.#host.change(
      what,
      this.#path,
      level,
      bytes,
      {
        check: () => {
          if (this.#closed) throw this.#gone();
        },
        show: () => item.apply((ops ??= list())),
        keep: (whole) => item.keep(sequence, (ops ??= list()), whole && this.#host.settled()),
      },
      item,
    );
  }

  #iterator(tree: Tree, range: RangeOptions): DatabaseIterator {
    const pairs = select(tree, range);
    let closed = false;
    return {
      next: (count) => {
        if (this.#dead) return never;
        return this.#host.read(this.#path, () => {
          if (closed || this.#closed) throw this.#gone();
          const found: (readonly [Uint8Array, Uint8Array])[] = [];
          while (found.length < count) {
            const step = pairs.next();
            if (step.done === true) break;
            found.push([fromByteString(step.value[0]), step.value[1].slice()]);
          }
          return found;
        });
      },
      close: () => {
        closed = true;
        return this.#dead ? never : Promise.resolve();
      },
    };
  }
}

function* select(tree: Tree, { gte, lt, reverse }: RangeOptions): Generator<[string, Uint8Array]> {
  const low = gte === undefined ? "" : toByteString(gte);
  const high = lt === undefined ? undefined : toByteString(lt);
  if (reverse === true) {
    for (const pair of tree.entriesReversed(high, undefined, true)) {
      if (pair[0] < low) return;
      yield pair;
    }
    return;
  }
  for (const pair of tree.entries(low)) {
    if (high !== undefined && pair[0] >= high) return;
    yield pair;
  }
}

class MemoryFile implements DiskFile {
  readonly #host: Host;
  readonly #path: string;
  readonly #item: FileItem;
  readonly #life: number;
  #closed = false;

  constructor(host: Host, path: string, item: FileItem) {
    this.#host = host;
    this.#path = path;
    this.#item = item;
    this.#life = host.life();
  }

  read(): Promise<Uint8Array> {
    if (this.#dead) return never;
    return this.#host.read(
      this.#path,
      () => {
        if (this.#closed) throw this.#gone();
        return this.#item.live.slice();
      },
      this.#item,
    );
  }

  write(position: number, given: Uint8Array): Promise<void> {
    if (this.#dead) return never;
    if (this.#closed) return Promise.reject(this.#gone());
    const item = this.#item;
    const bytes = given.slice();
    return this.#host.change(
      "write",
      this.#path,
      "write",
      bytes.length,
      {
        show: () => {
          item.live = written(item.live, position, bytes);
        },
        keep: (_whole, part) => {
          const length = part >= 1 ? bytes.length : Math.floor(bytes.length * part);
          item.kept = written(item.kept, position, length === 0 ? EMPTY : bytes.subarray(0, length));
        },
        tearable: true,
      },
      item,
    );
  }

  sync(): Promise<void> {
    if (this.#dead) return never;
    if (this.#closed) return Promise.reject(this.#gone());
    return this.#host.change(
      "sync",
      this.#path,
      "sync",
      0,
      {
        show: () => {},
        keep: (whole) => {
          if (whole) this.#host.sync(this.#item);
        },
      },
      this.#item,
    );
  }

  close(): Promise<void> {
    if (this.#dead) return never;
    return this.#host.read(
      this.#path,
      () => {
        this.#closed = true;
      },
      this.#item,
    );
  }

  get #dead(): boolean {
    return this.#life !== this.#host.life();
  }

  #gone(): StoreError {
    return new StoreError("DISK_FAILED", {
      message: `quorate: ${this.#path} is closed`,
      details: { path: this.#path, reason: "failed" },
    });
  }
}
