/** Questions that a load generator answers: throughput and latency of one kind of call. */
import { residentMb } from "../support/process-stats.ts";
import { median, shown } from "../support/statistics.ts";
import { type Contender, stopAll } from "./cluster.ts";
import type { Column, Comparison, Question, Running, Sizes } from "./comparison.ts";
import { type Figures, isSaturated, type Load, runLoad } from "./load.ts";

export const LOAD_COLUMNS: readonly Column[] = [
  { figure: "opsPerSecond", title: "ops/s" },
  { figure: "p50Ms", title: "p50 ms" },
  { figure: "p99Ms", title: "p99 ms" },
  { figure: "p999Ms", title: "p99.9 ms" },
  { figure: "maxMs", title: "max ms" },
  { figure: "membersCpuUsPerOp", title: "members µs/op" },
  { figure: "cpuUsPerOp", title: "load µs/op" },
  { figure: "cpuShare", title: "load CPU %" },
  { figure: "mbPerNode", title: "MB/node" },
  { figure: "errors", title: "errors" },
];
const START_SECONDS = 5;
/** Of a generator's own start. */
const LOADER_SECONDS = 1;
const KEYS = 10_000;

interface Case {
  readonly of: string;
  readonly load: (sizes: Sizes) => Load;
}

interface LoadQuestion {
  readonly name: string;
  readonly title: string;
  readonly cases: readonly Case[];
  /** Run once on each cluster before the rounds. */
  readonly fill?: "fill" | "fill-directories";
}

const at = (clients: number, load: Omit<Load, "clients">): Case => ({
  of: `${clients.toLocaleString("en-US")} client${clients === 1 ? "" : "s"}`,
  load: () => ({ ...load, clients }),
});

export const LOADS: readonly LoadQuestion[] = [
  {
    name: "put",
    title: "put, 256 B",
    cases: [1, 10, 100, 1_000].map((clients) => at(clients, { kind: "put", valueBytes: 256 })),
  },
  { name: "put-4k", title: "put, 4 KiB", cases: [at(100, { kind: "put", valueBytes: 4_096 })] },
  { name: "put-64k", title: "put, 64 KiB", cases: [at(100, { kind: "put", valueBytes: 65_536 })] },
  { name: "get", title: "linearizable get", fill: "fill", cases: [at(100, { kind: "get", keys: KEYS })] },
  {
    name: "get-serializable",
    title: "serializable get",
    fill: "fill",
    cases: [at(100, { kind: "get-serializable", keys: KEYS })],
  },
  {
    name: "mixed",
    title: "80 % linearizable get, 20 % put",
    fill: "fill",
    cases: [at(100, { kind: "mixed", keys: KEYS })],
  },
  { name: "cas", title: "txn: compare-and-set", cases: [at(100, { kind: "cas" })] },
  {
    name: "range",
    title: "range of 100 keys",
    fill: "fill-directories",
    cases: [at(100, { kind: "range", keys: KEYS })],
  },
  {
    name: "watch-one",
    title: "one key, many watchers: a put until the last one knows",
    cases: [
      {
        of: "1 writer",
        load: ({ watchers }) => ({ kind: "watch-one", clients: 1, watchers: watchers[0] }),
      },
    ],
  },
  {
    name: "watch-many",
    title: "many watchers, each its own key: a put until its watcher knows",
    cases: [
      {
        of: "100 clients",
        load: ({ watchers }) => ({ kind: "watch-many", clients: Math.min(100, watchers[1]), watchers: watchers[1] }),
      },
    ],
  },
  {
    name: "lease",
    title: "keep-alive of one of many leases",
    cases: [{ of: "100 clients", load: ({ leases }) => ({ kind: "lease", clients: 100, leases }) }],
  },
];

export const loadQuestions: readonly Question[] = LOADS.map(({ name, title, cases, fill }) => ({
  name,
  title,
  columns: LOAD_COLUMNS,
  seconds: (comparison) => {
    const { sizes, contenders } = comparison;
    const able = contenders.filter(({ cannot }) => cases.every(({ load }) => cannot[load(sizes).kind] === undefined));
    return able.length * (START_SECONDS + roundSeconds(sizes) + cases.length * sizes.rounds * roundSeconds(sizes));
  },
  ask: async (comparison) => {
    const { sizes, scratch, progress } = comparison;
    const able = comparison.contenders.filter((contender) => canAll(comparison, contender, title, cases));
    await comparison.withClusters(able, 3, async (running) => {
      const standing = new Set(running);
      for (const one of running) {
        const { contender, cluster } = one;
        const filled = await comparison.attempt(`${title}, ${contender.name}`, async () => {
          if (fill !== undefined) await runLoad(scratch, contender, cluster, { kind: fill, clients: 100, keys: KEYS });
          await warmUp(comparison, one, cases.at(-1)!.load(sizes));
        });
        if (!filled) standing.delete(one);
        progress?.done(
          START_SECONDS + roundSeconds(sizes),
          `${contender.name}: a cluster of ${cluster.members.length} for ${title}`,
        );
      }
      // A B C A B C: what the machine does meanwhile, it does to all.
      for (const { of, load } of cases) {
        for (let round = 1; round <= sizes.rounds; round++) {
          for (const one of standing) {
            const who = `${title}, ${of}, ${one.contender.name}`;
            let silent = false;
            const part = async (): Promise<void> => {
              const { opsPerSecond } = await oneRound(comparison, one, { name, title, of, load: load(sizes) });
              silent = opsPerSecond === 0;
            };
            if ((await comparison.attempt(who, part)) && !silent) continue;
            standing.delete(one);
            if (!silent) continue;
            // Whatever it does instead of answering, it would do on the others' time.
            comparison.notes.add(`${who}: answered nothing in round ${round}, and was ended`);
            await stopAll(one.cluster);
          }
        }
      }
    });
  },
}));

export function roundSeconds({ seconds, warmup }: Sizes): number {
  return seconds + warmup + LOADER_SECONDS;
}

function canAll(comparison: Comparison, contender: Contender, title: string, cases: readonly Case[]): boolean {
  for (const { load } of cases) {
    const why = contender.cannot[load(comparison.sizes).kind];
    if (why === undefined) continue;
    comparison.notes.add(`${title}: without ${contender.name} (${why})`);
    return false;
  }
  return true;
}

/**
 * The same load once, uncounted: code that was never run is not compiled yet, and what is measured is a server that has been up
 * for a while.
 */
export async function warmUp(
  { scratch, sizes }: Comparison,
  { contender, cluster }: Running,
  load: Load,
): Promise<void> {
  await runLoad(scratch, contender, cluster, { seconds: sizes.seconds, warmup: sizes.warmup, ...load });
}

export async function oneRound(
  comparison: Comparison,
  { contender, cluster }: Running,
  { name, title, of, load }: { name: string; title: string; of: string; load: Load },
): Promise<Figures> {
  const { scratch, sizes, progress, notes } = comparison;
  const figures = await runLoad(scratch, contender, cluster, { seconds: sizes.seconds, warmup: sizes.warmup, ...load });
  const mbPerNode = median(cluster.members.map(({ pid }) => residentMb(pid)));
  const { cpuShare, threads: _, ...rest } = figures;
  comparison.add(name, of, contender.name, { ...rest, cpuShare: 100 * cpuShare, mbPerNode });
  if (isSaturated(figures)) {
    notes.add(
      `${title}, ${of}: the load generator of ${contender.name} was the bottleneck (${Math.round(100 * cpuShare)} % of the machine)`,
    );
  }
  if (figures.errors > 0) notes.add(`${title}, ${of}: ${contender.name} refused ${figures.errors} calls`);
  progress?.done(
    roundSeconds(sizes),
    `${contender.name}, ${title}, ${of}: ${shown(figures.opsPerSecond)}/s, p99 ${shown(figures.p99Ms)} ms`,
  );
  return figures;
}
