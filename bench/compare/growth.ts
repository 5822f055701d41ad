/**
 * What more keys cost: throughput of puts over them, memory, restart, and the time in which a new member catches up. Each
 * size has a cluster of its own, so that rounds alternate between sizes as they do between contenders.
 */
import { residentMb } from "../support/process-stats.ts";
import { median, shown } from "../support/statistics.ts";
import { stopAll } from "./cluster.ts";
import type { Question, Running } from "./comparison.ts";
import { runLoad } from "./load.ts";
import { LOAD_COLUMNS, oneRound, roundSeconds } from "./loads.ts";

const CLIENTS = 100;
const FILL_CLIENTS = 500;
/** For the estimate alone. */
const FILL_PER_SECOND = 5_000;
const RESTARTS_SECONDS = 15;

export const keysCase = (keys: number): string => `${keys.toLocaleString("en-US")} keys`;

export const growth: Question = {
  name: "growth",
  title: "growth: puts over existing keys, 100 clients",
  columns: [
    ...LOAD_COLUMNS.slice(0, 3),
    { figure: "filledMbPerNode", title: "MB/node" },
    { figure: "restartMs", title: "restart ms" },
    { figure: "catchUpMs", title: "catch-up ms" },
    { figure: "membersCpuUsPerOp", title: "members µs/op" },
  ],
  seconds: ({ sizes, contenders }) => {
    const full = contenders.filter(({ isFull }) => isFull).length;
    return sizes.keys.reduce((sum, keys) => sum + full * (sizes.rounds * roundSeconds(sizes) + fixedSeconds(keys)), 0);
  },
  ask: async (comparison) => {
    const { scratch, sizes, progress } = comparison;
    const contenders = comparison.contenders.filter(({ isFull }) => isFull);
    const grown: (Running & { readonly keys: number })[] = [];
    try {
      for (const keys of sizes.keys) {
        for (const contender of contenders) {
          const cluster = await contender.start(scratch, `growth-${contender.name}-${keys}`, 3);
          const running = { contender, cluster, keys };
          grown.push(running);
          await runLoad(scratch, contender, cluster, { kind: "fill", clients: FILL_CLIENTS, keys });
          const filledMbPerNode = median(cluster.members.map(({ pid }) => residentMb(pid)));
          comparison.add("growth", keysCase(keys), contender.name, { filledMbPerNode });
          progress?.done(
            keys / FILL_PER_SECOND,
            `${contender.name}: ${keysCase(keys)}, ${shown(filledMbPerNode)} MB/node`,
          );
        }
      }
      for (let round = 1; round <= sizes.rounds; round++) {
        for (const one of grown) {
          await oneRound(comparison, one, {
            name: "growth",
            title: "growth",
            of: keysCase(one.keys),
            load: { kind: "overwrite", clients: CLIENTS, keys: one.keys },
          });
        }
      }
      // All at rest, one after the other: a restart is measured on a machine that does nothing else.
      for (const { contender, cluster, keys } of grown) {
        const leader = await cluster.leader();
        const [member, another] = cluster.members.filter((each) => each !== leader);
        const figures: Record<string, number> = {};
        for (let round = 1; round <= sizes.rounds; round++) {
          await member!.stop();
          const begun = performance.now();
          member!.start();
          await member!.ready();
          figures.restartMs = performance.now() - begun;
          comparison.add("growth", keysCase(keys), contender.name, { restartMs: figures.restartMs });
        }
        await cluster.replace(another!);
        const begun = performance.now();
        await another!.ready();
        figures.catchUpMs = performance.now() - begun;
        comparison.add("growth", keysCase(keys), contender.name, { catchUpMs: figures.catchUpMs });
        progress?.done(
          RESTARTS_SECONDS,
          `${contender.name}, ${keysCase(keys)}: restart ${shown(figures.restartMs!)} ms, a new member catches up in ${shown(figures.catchUpMs)} ms`,
        );
      }
    } finally {
      for (const { cluster } of grown) await stopAll(cluster);
      scratch.empty();
    }
  },
};

function fixedSeconds(keys: number): number {
  return keys / FILL_PER_SECOND + RESTARTS_SECONDS;
}
