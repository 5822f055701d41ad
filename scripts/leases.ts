/**
 * `npm run leases`: very many leases on a real cluster while its leader is killed again and again. None may end early, none
 * later than its deadline + the changes of leaders it saw x (TTL + election timeout) + 2 s, and none may be left behind.
 */
import { randomInt as trueRandomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { prng, randomInt } from "../src/base/prng.ts";
import { connect } from "../src/node/connect.ts";
import { silent } from "../src/platform/log.ts";
import { nodeWorld } from "../src/platform/node/world.ts";
import { DEFAULTS } from "../src/server/options.ts";
import { LeaseCensus, ManyLeases } from "../src/testing/index.ts";
import { count, seedOf } from "./arguments.ts";
import { GIVE_UP_MS, torment, until } from "./cluster.ts";

const { values } = parseArgs({
  options: {
    leases: { type: "string", default: "1000" },
    changes: { type: "string", default: "10" },
    seed: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const TTL = { min: 2, max: 30 };
const LOOK_EVERY_MS = 50;
/** After the last change of leaders leases are renewed for as long. */
const QUIET_MS = 4_000;

const seed = values.seed === undefined ? trueRandomInt(0x1_0000_0000) : seedOf(values.seed);
const leaseCount = count(values.leases, "leases");
const changes = count(values.changes, "changes");
const random = prng(seed);
const { clock } = nodeWorld({ dir: ".", log: silent });
const census = new LeaseCensus({ electionTimeoutMs: DEFAULTS.electionTimeoutMs });
const violations: string[] = [];
const code = await torment("leases", violations, async ({ ready, endpoints, pids }) => {
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

  try {
    await until(() => leader !== undefined, "a leader");
    const leases = new ManyLeases({ clock, random, census, leases: leaseCount, ttl: TTL, client, members });
    await leases.start();
    for (let round = 1; round <= changes; round++) {
      await delay(randomInt(random, 1_000, 3_000));
      const { name, term } = leader!;
      const pid = pids.get(name)!;
      if (census.living.length === 0) violations.push(`too few faults: no lease was left in round ${round}`);
      process.kill(pid, "SIGKILL");
      await until(() => leader!.term > term, `round ${round}: a leader after ${name}`);
      process.stderr.write(
        `round ${round}: killed ${name}, ${leader!.name} leads, ${census.living.length} leases left\n`,
      );
      await until(() => pids.get(name) !== pid, `round ${round}: restart of ${name}`);
    }
    // A new leader gives every lease its TTL anew, renewed or not: what a renewal does shows where no change follows it.
    await delay(QUIET_MS);
    leases.stopRenewing();
    await until(() => census.living.length === 0, "the end of all leases", (TTL.max + 5) * 1_000 + GIVE_UP_MS);
    const keys = await leases.stop();
    if (keys > 0) violations.push(`${keys} keys are left behind`);
    isLooking = false;
    await looking;
    for (const member of members) await member.close();
    const { leaderChanges, renewalsShown } = census.figures;
    if (leaderChanges < changes) violations.push(`too few faults: ${leaderChanges} of ${changes} changes of leaders`);
    if (renewalsShown === 0)
      violations.push("no renewal was put to the test: a leader that ignores them would have passed");
  } finally {
    const verdict = census.verdict();
    if (verdict.verdict !== "ok") violations.push(verdict.message);
    const figures = { seed, electionTimeoutMs: DEFAULTS.electionTimeoutMs, ...census.figures, violations };
    if (values.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
    else {
      const { ended, renewals, renewalsShown, leaderChanges, counts, mostOverdueMs, mostLateMs } = figures;
      process.stdout.write(
        `seed ${seed}: ${ended} of ${figures.leases} leases ended, ${leaderChanges} changes of leaders, ${counts} counts\n` +
          `${renewals} renewals; ${renewalsShown} leases lived longer by them than anything else explains\n` +
          `longest beyond a deadline: ${mostOverdueMs} ms; less what changes of leaders may add: ${mostLateMs} ms (at most 2000)\n`,
      );
    }
  }
});
process.exit(code);
