/**
 * `npm run bench:watch`: how long after a put its watchers know, with many watchers on one member. Three members in
 * processes of their own, all watchers and the writers in this one. The put's own latency is of the same run, and again
 * without any watcher. Then the same through elections (elections.ts), and what many leases that are kept alive cost
 * (lease-cost.ts).
 */
import { writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { torment } from "../scripts/cluster.ts";
import type { Watch } from "../src/client/watch.ts";
import { connect } from "../src/node/connect.ts";
import { type ElectionRound, elections } from "./elections.ts";
import { type LeaseCost, leaseCost } from "./lease-cost.ts";

const { values } = parseArgs({
  options: {
    watchers: { type: "string", default: "10000" },
    seconds: { type: "string", default: "10" },
    /** Before that, with the watchers: V8 compiles what it has seen run. Printed apart. */
    "warm-up": { type: "string", default: "10" },
    /** That they watch. Default: as many as watchers; with 1 each put is told to all. */
    keys: { type: "string" },
    /** Puts a second, spread over the watched keys. */
    rate: { type: "string", default: "500" },
    /** Kills of the leader, with watchers on all members; 0 leaves that part out. */
    elections: { type: "string", default: "5" },
    "election-watchers": { type: "string", default: "1000" },
    /** Kept alive, beside puts at a rate of their own; 0 leaves that part out. */
    leases: { type: "string", default: "10000" },
    "lease-ttl": { type: "string", default: "60" },
    "lease-rate": { type: "string", default: "2000" },
    "lease-seconds": { type: "string", default: "20" },
    json: { type: "string" },
  },
});
const watchers = Number(values.watchers);
const CONNECTIONS = 4;

const keys = Number(values.keys ?? values.watchers);
const TOLD_MAX_MS = 10_000;

const code = await torment("bench", [], async ({ ready, endpoints, pids }) => {
  const follower = ready.members.find(({ name }) => name !== ready.leader)!;
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => connect({ endpoints: [follower.clientUrl] })),
  );
  const writer = await connect({ endpoints });

  // What is kept for each put is kept in numbers: this process writes and reads all, and a stop of its own collector would
  // be measured as the members'.
  let phase = "";
  let begunAt: Float64Array = new Float64Array(0);
  let propagations: number[] = [];
  let told = 0;
  const read = async (watch: Watch): Promise<void> => {
    for await (const { events } of watch) {
      const now = performance.now();
      for (const { kv } of events) {
        const [of, sent] = kv.text().split(" ");
        // A member that is behind tells of what was put before the watch was opened.
        if (of !== phase) continue;
        told += 1;
        propagations.push(now - begunAt[Number(sent)]!);
      }
    }
  };
  /** At the constant rate, whatever the answers take. */
  const write = async (name: string, seconds: number): Promise<readonly number[]> => {
    phase = name;
    const everyMs = 1_000 / Number(values.rate);
    const count = Math.floor(Number(values.rate) * seconds);
    begunAt = new Float64Array(count);
    const puts: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const put = async (sent: number): Promise<void> => {
        begunAt[sent] = performance.now();
        await writer.put(`w/${(sent * 7_919) % keys}`, `${name} ${sent}`);
        puts.push(performance.now() - begunAt[sent]!);
        if (puts.length === count) resolve();
      };
      const begin = async (): Promise<void> => {
        for (let due = performance.now(), sent = 0; sent < count; due += everyMs, sent++) {
          const wait = due - performance.now();
          if (wait > 1) await delay(wait);
          put(sent).catch(reject);
        }
      };
      begin().catch(reject);
    });
    return puts;
  };
  const unwatched = await write("unwatched", Number(values.seconds));
  const opening = performance.now();
  const watches = Array.from({ length: watchers }, (_, i) => clients[i % CONNECTIONS]!.watch(`w/${i % keys}`));
  await Promise.all(watches.map((watch) => watch.opened()));
  const openMs = performance.now() - opening;
  const readers = watches.map(read);
  await write("cold", Number(values["warm-up"]));
  const cold = propagations;
  propagations = [];
  told = 0;
  const puts = await write("watched", Number(values.seconds));
  const due = puts.length * (watchers / keys);
  for (let waited = 0; told < due && waited < TOLD_MAX_MS; waited += 10) await delay(10);
  await Promise.all(watches.map((watch) => watch.close()));
  await Promise.all(readers);
  await Promise.all(clients.map((client) => client.close()));
  let rounds: readonly ElectionRound[] = [];
  if (Number(values.elections) > 0) {
    rounds = await elections({
      ready,
      pids,
      rounds: Number(values.elections),
      watchers: Number(values["election-watchers"]),
      rate: Number(values.rate),
    });
  }
  let leaseCosts: LeaseCost | undefined;
  if (Number(values.leases) > 0) {
    leaseCosts = await leaseCost({
      clients: [writer],
      pids: [...pids.values()],
      leases: Number(values.leases),
      ttlSeconds: Number(values["lease-ttl"]),
      rate: Number(values["lease-rate"]),
      seconds: Number(values["lease-seconds"]),
    });
  }
  await writer.close();

  const figures = {
    watchers,
    keys,
    openMs: Math.round(openMs),
    puts: puts.length,
    told,
    unwatchedPutP50Ms: quantile(unwatched, 0.5),
    unwatchedPutP99Ms: quantile(unwatched, 0.99),
    putP50Ms: quantile(puts, 0.5),
    putP99Ms: quantile(puts, 0.99),
    coldPropagationP99Ms: quantile(cold, 0.99),
    propagationP50Ms: quantile(propagations, 0.5),
    propagationP99Ms: quantile(propagations, 0.99),
    ratio: Number((quantile(propagations, 0.99) / quantile(puts, 0.5)).toFixed(2)),
    ...(rounds.length === 0 ? {} : { elections: rounds }),
    ...(leaseCosts === undefined ? {} : { leaseCosts }),
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
  if (told !== due) throw new Error(`${due - told} of ${due} events were never told`);
});
process.exit(code);

function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number((sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN).toFixed(2));
}
