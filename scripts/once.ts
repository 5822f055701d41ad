/**
 * `npm run once`: increments by transactions and unconditional puts, each with a name of its own, through kills of the
 * leader of a real cluster, over connections that are cut at random; then the whole history is read. An acknowledged write
 * must be in it exactly once, a rejected one never, an unknown one at most once.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { prng } from "../src/base/prng.ts";
import type { ClusterReady } from "../src/cli/launcher.ts";
import { Client } from "../src/client/client.ts";
import { connect } from "../src/node/connect.ts";
import { silent } from "../src/platform/log.ts";
import { NodeClock } from "../src/platform/node/clock.ts";
import { NodeRandom } from "../src/platform/node/random.ts";
import {
  checkExactlyOnce,
  cutting,
  ONCE_PREFIX,
  type OnceEffect,
  OnceWorkload,
  onceEffect,
} from "../src/testing/index.ts";
import { connectChannel } from "../src/transport/client-channel.ts";
import { WebSocketNetwork } from "../src/transport/node/websocket.ts";
import { count, seedOf, whole } from "./arguments.ts";
import { agreedLeader, GIVE_UP_MS, torment, until } from "./cluster.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "20" },
    puts: { type: "string", default: "10000" },
    increments: { type: "string", default: "10000" },
    clients: { type: "string", default: "10" },
    /** Of each frame: so often the connection is cut with it. */
    cuts: { type: "string", default: "0.02" },
    seed: { type: "string", default: String(new Uint32Array(new NodeRandom().bytes(4).slice().buffer)[0]) },
    json: { type: "boolean", default: false },
  },
});
const kills = count(values.kills, "kills");
const puts = whole(values.puts, "puts", 0, 10_000_000);
const increments = whole(values.increments, "increments", 0, 10_000_000);
const total = puts + increments;
const chance = Number(values.cuts);
if (!(chance >= 0 && chance < 1)) throw new Error(`--cuts takes a number from 0 to less than 1, not "${values.cuts}"`);
const seed = seedOf(values.seed);
const random = prng(seed);

const violations: string[] = [];
const code = await torment("once", violations, async ({ ready, endpoints, pids }) => {
  const counted = Array.from({ length: count(values.clients, "clients") }, (): Counted => ({ cuts: 0, dials: 0 }));
  const clients = await Promise.all(counted.map((each) => cutClient(endpoints, each)));
  await using calm = await connect({ endpoints, timeoutMs: GIVE_UP_MS });

  let killed = 0;
  const begun = performance.now();
  const workload = new OnceWorkload({
    clock: new NodeClock(),
    random,
    clients,
    hands: 5,
    // So many that increments seldom meet.
    keys: 50,
    thinkMs: 20,
    puts,
    increments,
    // Each share of the work is under way while a leader dies.
    mayGo: () => killed >= kills || workload.counts.invoked < ((killed + 1) * total) / (kills + 1) + 100,
  });
  workload.start();
  let finished = false;
  const done = workload.done().then(() => {
    finished = true;
  });
  while (killed < kills && !finished) {
    const share = ((killed + 0.5) * total) / (kills + 1);
    await until(() => finished || workload.counts.invoked >= share, `operation ${Math.round(share)}`);
    const leader = await agreedLeader(calm, ready);
    const old = pids.get(leader)!;
    process.kill(old, "SIGKILL");
    killed += 1;
    await until(() => pids.get(leader) !== old, `restart of ${leader}`);
    await agreedLeader(calm, ready);
  }
  await done;
  const seconds = (performance.now() - begun) / 1_000;
  if (killed < kills) violations.push(`too few faults: ${killed} of ${kills} kills before the work was done`);
  const uncut = counted.filter(({ cuts }) => cuts === 0).length;
  if (chance > 0 && uncut > 0) violations.push(`too few faults: ${uncut} clients never had their connection cut`);

  const { header } = await calm.get(ONCE_PREFIX, { prefix: true, countOnly: true });
  const effects: OnceEffect[] = [];
  for await (const { revision, events } of calm.watch(ONCE_PREFIX, { prefix: true, startRevision: 1 })) {
    for (const { kv } of events) effects.push(onceEffect(kv));
    if (revision >= header.revision) break;
  }
  const verdict = checkExactlyOnce(workload.operations, effects);
  if (verdict.verdict !== "ok") violations.push(verdict.message);
  for (const error of workload.unexpected) violations.push(`an error without a name: ${String(error)}`);
  const hashes = await hashesOf(calm, endpoints, header.revision);
  if (new Set(hashes).size !== 1 || hashes.length < endpoints.length) {
    violations.push(`hashes at revision ${header.revision}: ${hashes.join(", ")}`);
  }
  // Each member counts from its start on, so the one that was not killed for longest knows most.
  const hits = Math.max(...(await Promise.all(ready.members.map(({ name }) => ledgerHits(ready, name)))));

  const by = (end: string): number => workload.operations.filter((operation) => operation.end === end).length;
  const figures = {
    seed,
    kills: killed,
    cuts: counted.reduce((sum, { cuts }) => sum + cuts, 0),
    connections: counted.reduce((sum, { dials }) => sum + dials, 0),
    seconds: Math.round(seconds * 10) / 10,
    operations: workload.operations.length,
    acknowledged: by("acknowledged"),
    rejected: by("rejected"),
    unknown: by("unknown"),
    effects: effects.length,
    counted: effects.filter(({ count }) => count !== undefined).length,
    hitsAtLeast: hits,
    errors: Object.fromEntries(workload.errors),
    violations,
  };
  if (values.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  else {
    process.stdout.write(
      `seed ${seed}  kills ${figures.kills}  cuts ${figures.cuts}  operations ${figures.operations} in ${figures.seconds} s\n` +
        `acknowledged ${figures.acknowledged}  rejected ${figures.rejected}  unknown ${figures.unknown}  ` +
        `ledger hits at least ${hits}\n`,
    );
  }
  await Promise.all(clients.map((client) => client.close()));
});
process.exit(code);

interface Counted {
  cuts: number;
  dials: number;
}

/** The shipped client; each frame of its connections may be its last. */
function cutClient(endpoints: readonly string[], counted: Counted): Promise<Client> {
  const clock = new NodeClock();
  const network = new WebSocketNetwork();
  return Client.open({
    clock,
    random: new NodeRandom(),
    endpoints,
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpoint, { maxFrameBytes: 1 << 30, timeoutMs });
      counted.dials += 1;
      const strikes = (): boolean => {
        if (random() >= chance) return false;
        counted.cuts += 1;
        return true;
      };
      return connectChannel(cutting(connection, strikes), { clock, log: silent, timeoutMs });
    },
  });
}

async function ledgerHits(ready: ClusterReady, name: string): Promise<number> {
  const { clientUrl } = ready.members.find((member) => member.name === name)!;
  const page = await (await fetch(`${clientUrl.replace(/^ws/, "http")}/metrics`)).text();
  return Number(/^quorate_ledger_hits_total (\d+)$/m.exec(page)?.[1]);
}

/** Of every member that answers: one that has just been started may need a while. */
async function hashesOf(client: Client, endpoints: readonly string[], revision: number): Promise<number[]> {
  const limit = performance.now() + 2 * GIVE_UP_MS;
  for (;;) {
    const answers = await Promise.all(
      endpoints.map((at) => client.hashKv(at, { revision, timeoutMs: GIVE_UP_MS }).catch(() => undefined)),
    );
    const hashes = answers.flatMap((answer) => (answer === undefined ? [] : [answer.hash]));
    if (hashes.length === endpoints.length || performance.now() > limit) return hashes;
    await delay(200);
  }
}
