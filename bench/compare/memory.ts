/** Memory of a node after exactly so many puts of distinct keys and a rest, on a cluster that did nothing else. */
import { setTimeout as delay } from "node:timers/promises";
import { residentMb } from "../support/process-stats.ts";
import { median, shown } from "../support/statistics.ts";
import type { Question } from "./comparison.ts";
import { runLoad } from "./load.ts";

const PUTS = 10_000;
export const MEMORY_CASE = `${PUTS.toLocaleString("en-US")} puts of 256 B`;
const CLIENTS = 100;
const FILL_SECONDS = 8;

export const memory: Question = {
  name: "memory",
  title: "memory per node, median of three nodes, after a rest",
  columns: [{ figure: "mbPerNode", title: "MB/node" }],
  seconds: ({ sizes, contenders }) => sizes.rounds * (sizes.idleSeconds + contenders.length * FILL_SECONDS),
  ask: async (comparison) => {
    const { sizes, scratch, progress } = comparison;
    // A pipe keeps nothing to speak of.
    const stores = comparison.contenders.filter(({ cannot }) => cannot.get === undefined);
    for (let round = 1; round <= sizes.rounds; round++) {
      await comparison.withClusters(stores, 3, async (running) => {
        for (const { contender, cluster } of running) {
          await runLoad(scratch, contender, cluster, { kind: "fill", clients: CLIENTS, keys: PUTS });
        }
        // All rest together.
        await delay(sizes.idleSeconds * 1_000);
        const said: string[] = [];
        for (const { contender, cluster } of running) {
          const mbPerNode = median(cluster.members.map(({ pid }) => residentMb(pid)));
          comparison.add("memory", MEMORY_CASE, contender.name, { mbPerNode });
          said.push(`${contender.name} ${shown(mbPerNode)} MB`);
        }
        progress?.done(sizes.idleSeconds + running.length * FILL_SECONDS, `memory per node: ${said.join(", ")}`);
      });
    }
  },
};
