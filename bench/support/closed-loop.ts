/**
 * The load generators' common part: as many loops as there are clients, each with one operation under way, and one line of
 * figures at the end. quorate-load.ts and antietcd-load.ts say how their store is spoken to; etcd-load does the same in Go.
 */
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { Figures, LoadKind } from "../compare/load.ts";
import { directoryKeyOf, directoryOf, generator, keyOf } from "./keys.ts";
import { cpuSeconds } from "./process-stats.ts";

/** One connection. */
export interface Store {
  put(key: string, value: Uint8Array): Promise<unknown>;
  get(key: string, serializable: boolean): Promise<unknown>;
  range(start: string, end: string): Promise<unknown>;
  /** Writes if the key is at this revision (0: absent). The revision that it has then. */
  putIf(key: string, revision: number, value: Uint8Array): Promise<number>;
  grant?(ttl: number): Promise<bigint>;
  keepAlive?(lease: bigint): Promise<unknown>;
  /** Resolves once it watches. */
  watch?(key: string, onPut: () => void): Promise<unknown>;
  close(): Promise<void>;
}

/** A few sockets shared by all loops, as in one process of an application; each belongs to one member. */
const CONNECTIONS = 3;
const LEASE_TTL_SECONDS = 120;
/** Requests that prepare a run, under way at once. */
const PREPARING = 200;
const ERROR_PAUSE_MS = 10;
const FILL_ERRORS_MAX = 10_000;
const FAIL_OVER_PUT_MS = 20;

const { values } = parseArgs({
  options: {
    endpoints: { type: "string", default: "127.0.0.1:7400" },
    pids: { type: "string", default: "" },
    load: { type: "string", default: "put" },
    clients: { type: "string", default: "100" },
    connections: { type: "string", default: String(CONNECTIONS) },
    seconds: { type: "string", default: "10" },
    warmup: { type: "string", default: "1" },
    "value-bytes": { type: "string", default: "256" },
    keys: { type: "string", default: "10000" },
    watchers: { type: "string", default: "1000" },
    leases: { type: "string", default: "10000" },
  },
});
const kind = values.load as LoadKind;
const clients = Number(values.clients);
const valueBytes = Number(values["value-bytes"]);
const keys = Number(values.keys);

let stopped = false;
let measuring = false;
let errors = 0;
const latencies: number[] = [];
/** Of this run alone: keys of earlier runs are others. */
let fresh = Date.now() * 100;

/** What a client that knows the leader sends to it: such a client is given all endpoints, its own first. */
const FOR_LEADER: ReadonlySet<LoadKind> = new Set<LoadKind>([
  "put",
  "overwrite",
  "get",
  "mixed",
  "cas",
  "range",
  "lease",
  "fill",
  "fill-directories",
]);

export async function generateLoad(connect: (endpoints: readonly string[]) => Promise<Store>): Promise<void> {
  const endpoints = values.endpoints.split(",");
  const from = (i: number): readonly string[] => {
    const own = i % endpoints.length;
    return FOR_LEADER.has(kind) ? [...endpoints.slice(own), ...endpoints.slice(0, own)] : [endpoints[own]!];
  };
  // One loop has one connection, but fail-over wants to reach every member.
  const wanted = kind === "fail-over" ? endpoints.length : Math.min(Number(values.connections), clients);
  const stores = await Promise.all(Array.from({ length: wanted }, (_, i) => connect(from(i))));
  const of = (i: number): Store => stores[i % stores.length]!;
  try {
    if (kind === "fail-over") await failOver(of);
    else say(kind === "fill" || kind === "fill-directories" ? await fill(of) : await loop(await prepare(of)));
  } finally {
    await Promise.all(stores.map((store) => store.close()));
  }
}

type Operation = () => Promise<unknown>;

/** What each loop does. */
async function prepare(of: (i: number) => Store): Promise<(i: number) => Operation> {
  switch (kind) {
    case "put":
      return each(of, (store, _, value) => store.put(keyOf(fresh++), value()));
    case "overwrite":
      return each(of, (store, random, value) => store.put(keyOf(random(keys)), value()));
    case "get":
    case "get-serializable":
      return each(of, (store, random) => store.get(keyOf(random(keys)), kind === "get-serializable"));
    case "mixed":
      return each(of, (store, random, value) => {
        const key = keyOf(random(keys));
        return random(5) === 0 ? store.put(key, value()) : store.get(key, false);
      });
    case "range":
      return each(of, (store, random) => store.range(...directoryOf(random(keys))));
    case "cas":
      return (i) => {
        const [store, value] = [of(i), newValues(i)];
        let key = keyOf(fresh++);
        let revision = 0;
        return async () => {
          try {
            revision = await store.putIf(key, revision, value());
          } catch (error) {
            // What the key's revision is now, nobody knows.
            [key, revision] = [keyOf(fresh++), 0];
            throw error;
          }
        };
      };
    case "lease": {
      const leases = await many(Number(values.leases), (i) => of(i).grant!(LEASE_TTL_SECONDS));
      return each(of, (store, random) => store.keepAlive!(leases[random(leases.length)]!));
    }
    case "watch-one":
      return watchOne(of);
    case "watch-many":
      return watchMany(of);
    default:
      throw new Error(`unknown load ${kind}`);
  }
}

type Draw = (below: number) => number;
type Call = (store: Store, random: Draw, value: () => Uint8Array) => Promise<unknown>;

function each(of: (i: number) => Store, call: Call): (i: number) => Operation {
  return (i) => {
    const [store, random, value] = [of(i), generator(Date.now() + i * 7_919), newValues(i)];
    return () => call(store, random, value);
  };
}

/** A value that no other put has: in one buffer a loop, for a client copies what it is given. */
function newValues(i: number): () => Uint8Array {
  const random = generator(Date.now() + i * 104_729);
  const value = Buffer.alloc(valueBytes);
  for (let at = 0; at < valueBytes; at++) value[at] = random(256);
  let count = 0;
  return () => {
    if (valueBytes >= 8) {
      value.writeUInt32BE((count += 1), 0);
      value.writeUInt32BE(random(0x1_0000_0000), 4);
    }
    return value;
  };
}

/** All watch one key; an operation is over once the last of them knows. Only one writer makes sense. */
async function watchOne(of: (i: number) => Store): Promise<(i: number) => Operation> {
  const key = keyOf(fresh++);
  const count = Number(values.watchers);
  let told = 0;
  let all: () => void = () => {};
  await many(count, (i) =>
    of(i).watch!(key, () => {
      told += 1;
      if (told % count === 0) all();
    }),
  );
  return (i) => {
    const [store, value] = [of(i), newValues(i)];
    return async () => {
      const known = new Promise<void>((resolve) => {
        all = resolve;
      });
      await store.put(key, value());
      await known;
    };
  };
}

async function watchMany(of: (i: number) => Store): Promise<(i: number) => Operation> {
  const count = Number(values.watchers);
  const first = fresh;
  fresh += count;
  const waiting: ((() => void) | undefined)[] = [];
  // The watcher's connection is another than the writer's, so that an event crosses members.
  await many(count, (i) => of(i + 1).watch!(keyOf(first + i), () => waiting[i]?.()));
  return (i) => {
    const [store, value, random] = [of(i), newValues(i), generator(Date.now() + i)];
    return async () => {
      // Each loop has watchers of its own.
      const at = random(Math.floor(count / clients)) * clients + i;
      const known = new Promise<void>((resolve) => {
        waiting[at] = resolve;
      });
      await store.put(keyOf(first + at), value());
      await known;
    };
  };
}

async function many<T>(count: number, call: (i: number) => Promise<T>): Promise<T[]> {
  const results = new Array<T>(count);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) {
      const i = next++;
      results[i] = await call(i);
    }
  };
  await Promise.all(Array.from({ length: Math.min(PREPARING, count) }, worker));
  return results;
}

async function repeat(operation: Operation): Promise<void> {
  while (!stopped) {
    const inWindow = measuring;
    const begun = performance.now();
    try {
      await operation();
      // Only what began and ended inside the window counts.
      if (inWindow && !stopped) latencies.push(performance.now() - begun);
    } catch {
      if (inWindow && !stopped) errors += 1;
      await delay(ERROR_PAUSE_MS);
    }
  }
}

async function loop(operationOf: (i: number) => Operation): Promise<Figures> {
  const loops = Array.from({ length: clients }, (_, i) => repeat(operationOf(i)));
  await delay(Number(values.warmup) * 1_000);
  const window = new Window();
  measuring = true;
  await delay(Number(values.seconds) * 1_000);
  stopped = true;
  const figures = window.end();
  // An operation that never ends, such as one whose watcher was lost, shall not hold the figures back.
  await Promise.race([Promise.all(loops), delay(5_000, undefined, { ref: false })]);
  return figures;
}

async function fill(of: (i: number) => Store): Promise<Figures> {
  const window = new Window();
  const name = kind === "fill" ? keyOf : directoryKeyOf;
  const value = newValues(0);
  let next = 0;
  const worker = async (i: number): Promise<void> => {
    const store = of(i);
    while (next < keys) {
      const key = name(next++);
      const begun = performance.now();
      while (!(await succeeds(store.put(key, value())))) await delay(ERROR_PAUSE_MS);
      latencies.push(performance.now() - begun);
    }
  };
  await Promise.all(Array.from({ length: clients }, (_, i) => worker(i)));
  return window.end();
}

/** What is to be filled is filled in the end, or the run fails. */
function succeeds(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    (error: Error) => {
      errors += 1;
      if (errors > FILL_ERRORS_MAX) throw error;
      return false;
    },
  );
}

/** The measured time, and the processor time used in it. */
class Window {
  readonly #pids = values.pids === "" ? [] : values.pids.split(",").map(Number);
  readonly #members = this.#membersCpu();
  readonly #own = process.cpuUsage();
  readonly #begun = performance.now();

  end(): Figures {
    const seconds = (performance.now() - this.#begun) / 1_000;
    const { user, system } = process.cpuUsage(this.#own);
    const own = (user + system) / 1e6;
    const members = this.#membersCpu() - this.#members;
    const sorted = Float64Array.from(latencies).sort();
    const ops = sorted.length;
    const quantile = (q: number): number => sorted[Math.max(0, Math.round(ops * q) - 1)] ?? 0;
    return {
      ops,
      seconds,
      opsPerSecond: ops / seconds,
      p50Ms: quantile(0.5),
      p99Ms: quantile(0.99),
      p999Ms: quantile(0.999),
      maxMs: sorted.at(-1) ?? 0,
      errors,
      cpuShare: own / seconds / availableParallelism(),
      cpuUsPerOp: (own * 1e6) / Math.max(1, ops),
      membersCpuUsPerOp: (members * 1e6) / Math.max(1, ops),
      threads: 1,
    };
  }

  #membersCpu(): number {
    return this.#pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0);
  }
}

/** Puts through every member in turn. Each line on the input is a question: how long until a put, begun now, is acknowledged? */
async function failOver(of: (i: number) => Store): Promise<void> {
  let askedAt: number | undefined;
  const lines = createInterface({ input: process.stdin });
  lines.on("line", () => {
    askedAt = performance.now();
  });
  lines.once("close", () => {
    stopped = true;
  });
  const value = newValues(0);
  process.stdout.write('{"ready":true}\n');
  for (let i = 0; !stopped; i++) {
    const begun = performance.now();
    of(i)
      .put(keyOf(fresh++), value())
      .then(
        () => {
          if (askedAt === undefined || begun < askedAt) return;
          process.stdout.write(`${JSON.stringify({ ms: performance.now() - askedAt })}\n`);
          askedAt = undefined;
        },
        () => {},
      );
    await delay(FAIL_OVER_PUT_MS);
  }
}

function say(figures: Figures): void {
  process.stdout.write(`${JSON.stringify(figures)}\n`);
}
