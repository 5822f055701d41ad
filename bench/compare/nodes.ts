/** What more members cost: each node and each put. */

import { stopAll } from "./cluster.ts";
import type { Question, Running } from "./comparison.ts";
import { LOAD_COLUMNS, oneRound, roundSeconds, warmUp } from "./loads.ts";

const LOAD = { kind: "put", clients: 100 } as const;
const START_SECONDS = 5;

export const nodesCase = (nodes: number): string => `${nodes} nodes`;

export const nodes: Question = {
  name: "nodes",
  title: "members: put, 256 B, 100 clients",
  columns: LOAD_COLUMNS,
  seconds: ({ sizes, contenders }) => {
    const full = contenders.filter(({ isFull }) => isFull).length;
    return full * sizes.nodes.length * (START_SECONDS + (1 + sizes.rounds) * roundSeconds(sizes));
  },
  ask: async (comparison) => {
    const { scratch, sizes, progress } = comparison;
    const clusters: Running[] = [];
    try {
      for (const count of sizes.nodes) {
        for (const contender of comparison.contenders.filter(({ isFull }) => isFull)) {
          clusters.push({
            contender,
            cluster: await contender.start(scratch, `nodes-${contender.name}-${count}`, count),
          });
          await warmUp(comparison, clusters.at(-1)!, LOAD);
          progress?.done(START_SECONDS + roundSeconds(sizes), `${contender.name}: a cluster of ${count}`);
        }
      }
      for (let round = 1; round <= sizes.rounds; round++) {
        for (const one of clusters) {
          await oneRound(comparison, one, {
            name: "nodes",
            title: "members",
            of: nodesCase(one.cluster.members.length),
            load: LOAD,
          });
        }
      }
    } finally {
      for (const { cluster } of clusters) await stopAll(cluster);
      scratch.empty();
    }
  },
};
