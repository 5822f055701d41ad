/**
 * `npm run leases`: very many leases on a real cluster while its leader is killed again and again. None may end early, none
 * later than its deadline + the changes of leaders it saw x (TTL + election timeout) + 2 s, and none may be left behind.
 */
import type { ChildProcess } from "node:child_process";
import { randomInt as trueRandomInt } from "node:crypto";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { prng, randomInt } from "../src/base/prng.ts";
import type { ClusterReady } from "../src/cli/launcher.ts";
import { connect } from "../src/node/connect.ts";
import { silent } from "../src/platform/log.ts";
import { nodeWorld } from "../src/platform/node/world.ts";
import { DEFAULTS } from "../src/server/options.ts";
import { LeaseCensus, ManyLeases } from "../src/testing/index.ts";
import { launch } from "./cluster.ts";

const { values } = parseArgs({
  options: {
    leases: { type: "string", default: "1000" },
    changes: { type: "string", default: "10" },
    seed: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const TTL = { min: 2, max: 30 };
const GIVE_UP_MS = 60_000;
const LOOK_EVERY_MS = 50;

const seed = values.seed === undefined ? trueRandomInt(0x1_0000_0000) : Number(values.seed);
const random = prng(seed);
const { clock } = nodeWorld({ dir: ".", log: silent });
const census = new LeaseCensus({ electionTimeoutMs: DEFAULTS.electionTimeoutMs });
const { dir, launcher, pids, said } = launch("leases");
const violations: string[] = [];
try {
  const ready = await firstLine(launcher);
  for (const { name, pid } of ready.members) pids.set(name, pid);
  const endpoints = ready.members.map(({ clientUrl }) => clientUrl);
  await using client = await connect({ endpoints });
  const members = await Promise.all(endpoints.map((endpoint) => connect({ endpoints: [endpoint] })));

  let leader: { readonly name: string; readonly term: number } | undefined;
  let isLooking = true;
  /** The leader of the highest term that any member knows. */
  const looking = (async () => {
    for (; isLooking; await delay(LOOK_EVERY_MS)) {
      const answers = await Promise.all(
        endpoints.map((endpoint) => client.status(endpoint, { timeoutMs: 500 }).catch(() => undefined)),
      );
      for (const answer of answers) {
        const i = answers.findIndex((each) => each !== undefined && each.header.memberId === answer?.leader);
        if (answer === undefined || i < 0 || answer.raftTerm <= (leader?.term ?? 0)) continue;
        if (leader !== undefined) census.leaderChanged(clock.now());
        leader = { name: ready.members[i]!.name, term: answer.raftTerm };
      }
    }
  })();

  await until(() => leader !== undefined, "a leader");
  const leases = new ManyLeases({ clock, random, census, leases: Number(values.leases), ttl: TTL, client, members });
  await leases.start();
  for (let round = 1; round <= Number(values.changes); round++) {
    await delay(randomInt(random, 1_000, 3_000));
    const { name, term } = leader!;
    const pid = pids.get(name)!;
    process.kill(pid, "SIGKILL");
    await until(() => leader!.term > term, `round ${round}: a leader after ${name}`);
    process.stderr.write(
      `round ${round}: killed ${name}, ${leader!.name} leads, ${census.living.length} leases left\n`,
    );
    await until(() => pids.get(name) !== pid, `round ${round}: restart of ${name}`);
    if (round >= Number(values.changes) / 2) leases.stopRenewing();
  }
  await until(() => census.living.length === 0, "the end of all leases", (TTL.max + 5) * 1_000 + GIVE_UP_MS);
  const keys = await leases.stop();
  if (keys > 0) violations.push(`${keys} keys are left behind`);
  isLooking = false;
  await looking;
  for (const member of members) await member.close();
} catch (error) {
  violations.push(String(error));
} finally {
  const verdict = census.verdict();
  if (verdict.verdict !== "ok") violations.push(verdict.message);
  const figures = { seed, electionTimeoutMs: DEFAULTS.electionTimeoutMs, ...census.figures, violations };
  if (values.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  else {
    const { ended, renewals, leaderChanges, counts, mostOverdueMs, mostLateMs } = figures;
    process.stdout.write(
      `${ended} of ${figures.leases} leases ended, ${renewals} renewals, ${leaderChanges} changes of leaders, ${counts} counts\n` +
        `longest beyond a deadline: ${mostOverdueMs} ms; less what changes of leaders may add: ${mostLateMs} ms (at most 2000)\n` +
        violations.map((each) => `${each}\n`).join(""),
    );
  }
  const ended = new Promise<void>((resolve) => launcher.once("exit", () => resolve()));
  if (launcher.exitCode === null && launcher.kill("SIGTERM")) await ended;
  if (violations.length === 0) rmSync(dir, { recursive: true, force: true });
  else process.stderr.write(`${said.join("\n")}\nseed ${seed}; the data stays in ${dir}\n`);
}
process.exit(violations.length === 0 ? 0 : 1);

async function firstLine(child: ChildProcess): Promise<ClusterReady> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line) as ClusterReady;
  throw new Error("the cluster ended before it was ready; run `npm run build` first");
}

async function until(condition: () => boolean, what: string, limitMs = GIVE_UP_MS): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`gave up waiting: ${what}`);
    await delay(20);
  }
}
