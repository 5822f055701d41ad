/** The leader is killed: how long until a put that began after it is acknowledged. Puts go through every member. */
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { stop } from "../support/scratch.ts";
import { shown } from "../support/statistics.ts";
import type { Question } from "./comparison.ts";
import { loadFlags } from "./load.ts";

export const FAIL_OVER_CASE = "leader killed";
/** Both have this default. */
export const ELECTION_TIMEOUT_MS = 1_000;
const ROUND_SECONDS = 5;
const START_SECONDS = 5;
const LIMIT_MS = 60_000;
/** Of a full cluster, before its leader is killed again. */
const REST_MS = 1_000;

export const failOver: Question = {
  name: "fail-over",
  title: "leader killed until a put is acknowledged",
  columns: [
    { figure: "failOverMs", title: "ms" },
    { figure: "worstMs", title: "worst ms" },
  ],
  seconds: ({ sizes, contenders }) =>
    contenders.filter(({ isFull }) => isFull).length * (START_SECONDS + sizes.rounds * ROUND_SECONDS),
  ask: async (comparison) => {
    const { scratch, sizes, progress } = comparison;
    const full = comparison.contenders.filter(({ isFull }) => isFull);
    await comparison.withClusters(full, 3, async (running) => {
      progress?.done(START_SECONDS * running.length, "clusters for fail-over");
      const worst = new Map<string, number>();
      for (let round = 1; round <= sizes.rounds; round++) {
        for (const { contender, cluster } of running) {
          const [command, ...args] = contender.loader;
          const flags = loadFlags(cluster, { kind: "fail-over", clients: 1 });
          const loader = scratch.run(command!, [...args, ...flags], { stdio: ["pipe", "pipe", "inherit"] });
          const limit = setTimeout(() => loader.kill("SIGKILL"), LIMIT_MS);
          const answers = createInterface({ input: loader.stdout! })[Symbol.asyncIterator]();
          try {
            await answers.next();
            await delay(REST_MS);
            const leader = await cluster.leader();
            loader.stdin!.write("\n");
            await leader.stop("SIGKILL");
            const { value } = await answers.next();
            if (value === undefined)
              throw new Error(`${contender.name}: no put was acknowledged after its leader was killed`);
            const { ms } = JSON.parse(value as string) as { ms: number };
            worst.set(contender.name, Math.max(ms, worst.get(contender.name) ?? 0));
            comparison.add("fail-over", FAIL_OVER_CASE, contender.name, { failOverMs: ms });
            leader.start();
            await leader.ready();
            progress?.done(ROUND_SECONDS, `${contender.name}: fail-over ${shown(ms)} ms`);
          } finally {
            clearTimeout(limit);
            await stop(loader);
          }
        }
      }
      for (const [name, worstMs] of worst) comparison.add("fail-over", FAIL_OVER_CASE, name, { worstMs });
    });
  },
};
