/**
 * One seeded world for whole members and clients: virtual time, a network and disks that fail on demand. It runs one
 * event, lets every promise that this settled run on, and takes the next: the same seed gives the same run, to the byte.
 * This file holds the only `setImmediate` of the simulation: all ticks and microtasks have run when it fires.
 */
import { crc32 } from "../base/crc32.ts";
import { prng, type RandomSource } from "../base/prng.ts";
import type { Disk } from "../platform/disk.ts";
import type { Logger } from "../platform/log.ts";
import { silent } from "../platform/log.ts";
import { MemoryDisk } from "../platform/memory-disk.ts";
import type { Random } from "../platform/random.ts";
import { MemoryNetwork } from "../transport/memory.ts";
import type { Connection, Network } from "../transport/network.ts";
import { guardDisk } from "./process-disk.ts";
import { Trace } from "./trace.ts";
import { ClockDrift, Gate, HostClock, VirtualClock } from "./virtual-clock.ts";

/** Events between two turns of Node's own loop: enough that a turn costs next to nothing. */
const EVENTS_A_TURN = 64;

export interface WorldOptions {
  readonly seed: number;
  /** Keeps the trace's lines, to compare two runs. */
  readonly keepTrace?: boolean;
  /** Milliseconds that a synchronous write takes, from and to. Default 0: on the clock's next turn. */
  readonly syncMs?: readonly [number, number];
}

/** What a process is given: all of a member's world but what is the same for all. */
export interface ProcessWorld {
  readonly clock: HostClock;
  readonly random: Random;
  readonly disk: Disk;
  readonly network: Network;
  readonly checksum: typeof crc32;
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly log: Logger;
}

export class SimulatedWorld {
  readonly seed: number;
  readonly syncMs: readonly [number, number] | undefined;
  readonly clock: VirtualClock = new VirtualClock();
  readonly trace: Trace;
  readonly network: MemoryNetwork;
  readonly #hosts = new Map<string, Host>();

  constructor(options: WorldOptions) {
    this.seed = options.seed;
    this.syncMs = options.syncMs;
    this.trace = new Trace({ keep: options.keepTrace === true });
    this.network = new MemoryNetwork({ clock: this.clock, random: randomOf(this.random("network")) });
  }

  /** A stream of chance of its own: drawing from one moves no other, so a new user of chance changes little. */
  random(label: string): RandomSource {
    let mixed = this.seed >>> 0;
    for (let i = 0; i < label.length; i++) mixed = Math.imul(mixed ^ label.charCodeAt(i), 0x01000193) >>> 0;
    return prng((mixed ^ Math.floor(this.seed / 0x1_0000_0000)) >>> 0);
  }

  #take(): boolean {
    const more = this.clock.runNext();
    this.trace.number(this.clock.now());
    return more;
  }

  /**
   * Takes one event after the other as long as `wanted`, which is asked first: what the caller has just begun may have
   * events to give still. Node runs all ticks and microtasks between two immediates, so nothing is left of one event when
   * the next is taken; many immediates at once save the turns of the real loop (docs/decisions/0010).
   */
  #run(wanted: () => boolean, take: () => void = () => void this.#take()): Promise<void> {
    return new Promise((resolve, reject) => {
      let isOver = false;
      const turn = (): void => {
        if (isOver) return;
        try {
          if (wanted()) take();
          else {
            isOver = true;
            resolve();
          }
        } catch (error) {
          isOver = true;
          reject(error);
        }
      };
      const batch = (): void => {
        turn();
        if (isOver) return;
        for (let i = 1; i < EVENTS_A_TURN; i++) setImmediate(turn);
        setImmediate(batch);
      };
      setImmediate(batch);
    });
  }

  host(name: string): Host {
    let host = this.#hosts.get(name);
    if (host === undefined) {
      host = new Host(this, name);
      this.#hosts.set(name, host);
    }
    return host;
  }

  get hosts(): readonly Host[] {
    return [...this.#hosts.values()];
  }

  /** One event and all that follows from it at once. False when nothing is left to happen. */
  async step(): Promise<boolean> {
    let more: boolean | undefined;
    await this.#run(
      () => more === undefined,
      () => {
        more = this.#take();
      },
    );
    return more!;
  }

  /** Runs all events up to `time`, which is then the time. */
  async runUntil(time: number): Promise<void> {
    await this.#run(() => (this.clock.nextTime() ?? Infinity) <= time);
    this.clock.advanceTo(time);
  }

  async runFor(ms: number): Promise<void> {
    await this.runUntil(this.clock.now() + ms);
  }

  /** Runs until it holds; false if it does not within `limitMs`. */
  async until(holds: () => boolean, limitMs: number): Promise<boolean> {
    const end = this.clock.now() + limitMs;
    let held = false;
    await this.#run(() => {
      held = holds();
      return !held && (this.clock.nextTime() ?? Infinity) <= end;
    });
    return held;
  }

  /** Runs until the promise is settled, and is it. Rejects if it is not within `limitMs`. */
  async settle<T>(promise: Promise<T>, limitMs: number = 600_000): Promise<T> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    if (!(await this.until(() => settled, limitMs))) {
      throw new Error(`simulation: a promise was not settled within ${limitMs} ms of virtual time`);
    }
    return promise;
  }
}

export type Power = "stays" | "cut" | "torn";

/** One machine: a disk that outlives the processes on it. */
export class Host {
  readonly name: string;
  readonly #world: SimulatedWorld;
  readonly #pauseGate: Gate;
  /** Of the machine, so it outlives its processes. */
  readonly drift: ClockDrift;
  #lifeGate: Gate | undefined;
  #boots = 0;
  #disk: MemoryDisk;
  #disks = 0;

  constructor(world: SimulatedWorld, name: string) {
    this.#world = world;
    this.name = name;
    this.#pauseGate = new Gate(world.clock);
    this.drift = new ClockDrift(world.clock);
    this.#disk = this.#newDisk();
  }

  get disk(): MemoryDisk {
    return this.#disk;
  }

  /** All that was on its disk is gone. Only while it is down. */
  replaceDisk(): void {
    if (this.up) throw new Error(`simulation: ${this.name} is running`);
    this.#disk = this.#newDisk();
  }

  #newDisk(): MemoryDisk {
    this.#disks += 1;
    const label = this.#disks === 1 ? `disk ${this.name}` : `disk ${this.name} ${this.#disks}`;
    const { clock, syncMs } = this.#world;
    const random = randomOf(this.#world.random(label));
    return new MemoryDisk({ clock, random, ...(syncMs === undefined ? {} : { syncMs }) });
  }

  get boots(): number {
    return this.#boots;
  }

  get up(): boolean {
    return this.#lifeGate !== undefined;
  }

  get paused(): boolean {
    return this.#pauseGate.paused;
  }

  /** Starts a process: what it is given stops working when it is killed. */
  boot(log: Logger = silent): ProcessWorld {
    if (this.#lifeGate !== undefined) throw new Error(`simulation: ${this.name} is running already`);
    const life = new Gate(this.#world.clock);
    this.#lifeGate = life;
    const boot = ++this.#boots;
    const clock = new HostClock(this.#world.clock, [this.#pauseGate, life], this.drift);
    return {
      clock,
      random: randomOf(this.#world.random(`${this.name} boot ${boot}`)),
      disk: guardDisk(this.disk, clock, life),
      network: guardNetwork(this.#world, this.name, clock, life),
      checksum: crc32,
      hmac: hmacStandIn,
      log,
    };
  }

  /**
   * kill -9, or with `power: "cut"` the loss of what the disk has not synced; with "torn", some of that survives in
   * pieces. Connections break.
   */
  kill(power: Power): void {
    this.#pauseGate.resume();
    this.#lifeGate?.stop();
    this.#lifeGate = undefined;
    this.#world.network.crash(this.name);
    if (power === "cut") this.disk.crash();
    else if (power === "torn") this.disk.crash({ keepUnsynced: "holes", tear: true });
    else this.disk.release();
  }

  /** As SIGSTOP: nothing runs, what arrives waits. */
  pause(): void {
    this.#pauseGate.pause();
  }

  resume(): void {
    this.#pauseGate.resume();
  }
}

export function randomOf(source: RandomSource): Random {
  return {
    next: source,
    bytes(length) {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = Math.floor(source() * 256);
      return bytes;
    },
  };
}

/** Keyed and deterministic, which is all that members of a simulated cluster can tell. Proves nothing to an attacker. */
function hmacStandIn(key: Uint8Array, data: Uint8Array): Uint8Array {
  const tag = new Uint8Array(32);
  const view = new DataView(tag.buffer);
  let sum = crc32(key);
  for (let i = 0; i < 8; i++) {
    sum = crc32(data, crc32(key, sum + i));
    view.setUint32(4 * i, sum);
  }
  return tag;
}

/** A process's view of the network: deaf and mute once dead, late while paused. Each frame goes into the trace. */
function guardNetwork(world: SimulatedWorld, name: string, clock: HostClock, life: Gate): Network {
  const inner = world.network.endpoint(name);
  const guard = (connection: Connection): Connection => {
    const guarded: Connection = {
      get remote() {
        return connection.remote;
      },
      get bufferedBytes() {
        return connection.bufferedBytes;
      },
      send(frame) {
        if (!life.stopped) connection.send(frame);
      },
      close(reason) {
        if (!life.stopped) connection.close(reason);
      },
      onFrame() {},
      onClose() {},
    };
    connection.onFrame = (frame) => {
      world.trace.number(crc32(frame));
      // The network made the copy: it can wait here for as long as it must.
      clock.run(() => guarded.onFrame(frame));
    };
    connection.onClose = (reason) => clock.run(() => guarded.onClose(reason));
    return guarded;
  };
  return {
    listen: (options) =>
      inner.listen({
        ...options,
        onConnection: (connection: Connection) => {
          const guarded = guard(connection);
          clock.run(() => options.onConnection(guarded));
        },
      }),
    dial: (url, options) =>
      new Promise((resolve, reject) => {
        inner.dial(url, options).then(
          (connection: Connection) => {
            const guarded = guard(connection);
            clock.run(() => resolve(guarded));
          },
          (error: unknown) => clock.run(() => reject(error)),
        );
      }),
  };
}
