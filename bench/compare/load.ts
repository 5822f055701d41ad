/** One run of a load generator: its flags, its line of figures. The generators are ../quorate-load.ts, ../etcd-load and ../antietcd-load.ts. */
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline";
import type { Scratch } from "../support/scratch.ts";
import type { Cluster, Contender } from "./cluster.ts";

/** What a generator does in a loop, once for each client. */
export type LoadKind =
  /** A key that nobody has written yet. */
  | "put"
  /** Exactly `keys` distinct keys, then it ends. */
  | "fill"
  /** The same, a hundred keys to a directory. */
  | "fill-directories"
  /** One of the `keys` that were filled before. */
  | "overwrite"
  | "get"
  | "get-serializable"
  /** Four gets, then a put over one of the keys. */
  | "mixed"
  /** Each client its own key, compared by its revision. */
  | "cas"
  /** A directory: a hundred keys. */
  | "range"
  /** One key that all `watchers` watch: done once the last of them knows. */
  | "watch-one"
  /** Each watcher its own key: done once its watcher knows. */
  | "watch-many"
  /** A renewal of one of `leases`. */
  | "lease"
  /** Puts every 20 ms; for a line on its input it says how long no put was acknowledged that began after it. */
  | "fail-over";

export interface Load {
  readonly kind: LoadKind;
  readonly clients: number;
  readonly valueBytes?: number;
  readonly keys?: number;
  readonly watchers?: number;
  readonly leases?: number;
  /** Seconds that count. Not for `fill`. */
  readonly seconds?: number;
  readonly warmup?: number;
}

export interface Figures {
  readonly ops: number;
  readonly seconds: number;
  readonly opsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly errors: number;
  /** Processor time of the generator: as a share of all cores, and in microseconds for each operation. */
  readonly cpuShare: number;
  readonly cpuUsPerOp: number;
  /** Processor time of all members together for each operation. */
  readonly membersCpuUsPerOp: number;
  /** Threads of the generator that run JavaScript; absent: as many as there are cores. */
  readonly threads?: number;
}

/** Beside what a run is to take: connections, keys to be filled first, watchers and leases to be opened. */
const SLACK_SECONDS = 240;
const SATURATED = 0.9;

export function loadFlags(cluster: Cluster, load: Load): string[] {
  const flags: Record<string, string | number | undefined> = {
    endpoints: cluster.members.map(({ endpoint }) => endpoint).join(","),
    pids: cluster.members.map(({ pid }) => pid).join(","),
    load: load.kind,
    clients: load.clients,
    "value-bytes": load.valueBytes,
    keys: load.keys,
    watchers: load.watchers,
    leases: load.leases,
    seconds: load.seconds,
    warmup: load.warmup,
  };
  return Object.entries(flags).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, String(value)]));
}

export async function runLoad(scratch: Scratch, contender: Contender, cluster: Cluster, load: Load): Promise<Figures> {
  const [command, ...args] = contender.loader;
  const child = scratch.run(command!, [...args, ...loadFlags(cluster, load)], { stdio: ["ignore", "pipe", "inherit"] });
  const limit = setTimeout(() => child.kill("SIGKILL"), ((load.seconds ?? 600) + SLACK_SECONDS) * 1_000);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    for await (const line of createInterface({ input: child.stdout! })) {
      await ended;
      return JSON.parse(line) as Figures;
    }
    throw new Error(`the load generator of ${contender.name} ended without its figures (${load.kind})`);
  } finally {
    clearTimeout(limit);
  }
}

/** Whether it was rather the generator that was measured. */
export function isSaturated({ cpuShare, threads }: Figures): boolean {
  const cores = availableParallelism();
  return cpuShare * cores > SATURATED * Math.min(cores, threads ?? cores);
}
