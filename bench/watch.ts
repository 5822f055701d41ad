/**
 * `npm run bench:watch`: how long after a put its watcher knows, with many watchers on one member. Three members in
 * processes of their own, all watchers and the writers in this one. The put's own latency is of the same run. Then what
 * many leases that are kept alive cost (lease-cost.ts).
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { ClusterReady } from "../src/cli/launcher.ts";
import type { Watch } from "../src/client/watch.ts";
import { connect } from "../src/node/connect.ts";
import { type LeaseCost, leaseCost } from "./lease-cost.ts";

const { values } = parseArgs({
  options: {
    watchers: { type: "string", default: "10000" },
    seconds: { type: "string", default: "10" },
    /** Puts a second, spread over the watched keys. */
    rate: { type: "string", default: "500" },
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

const dir = mkdtempSync(join(process.cwd(), "quorate-data-bench-"));
const cluster = spawn(
  process.execPath,
  ["--import", "tsx", "src/cli/main.ts", "cluster", "--base-port", "0", "--json", "--dir", dir],
  { stdio: ["ignore", "pipe", "inherit"] },
);
try {
  const ready = await new Promise<ClusterReady>((resolve, reject) => {
    createInterface({ input: cluster.stdout! }).once("line", (line) => resolve(JSON.parse(line) as ClusterReady));
    cluster.once("exit", (code) => reject(new Error(`the cluster ended with ${code}`)));
  });
  const follower = ready.members.find(({ name }) => name !== ready.leader)!;
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => connect({ endpoints: [follower.clientUrl] })),
  );
  const writer = await connect({ endpoints: ready.members.map(({ clientUrl }) => clientUrl) });

  const begunAt = new Map<string, number>();
  const puts: number[] = [];
  const propagations: number[] = [];
  let told = 0;
  const read = async (watch: Watch): Promise<void> => {
    for await (const { events } of watch) {
      const now = performance.now();
      for (const { kv } of events) {
        told += 1;
        const begun = begunAt.get(kv.text());
        if (begun !== undefined) propagations.push(now - begun);
      }
    }
  };
  const opening = performance.now();
  const watches = Array.from({ length: watchers }, (_, i) => clients[i % CONNECTIONS]!.watch(`w/${i}`));
  await Promise.all(watches.map((watch) => watch.opened()));
  const openMs = performance.now() - opening;
  const readers = watches.map(read);

  const everyMs = 1_000 / Number(values.rate);
  const end = performance.now() + Number(values.seconds) * 1_000;
  const underWay: Promise<void>[] = [];
  let sent = 0;
  for (let due = performance.now(); due < end; due += everyMs) {
    const wait = due - performance.now();
    if (wait > 1) await delay(wait);
    const value = String(sent);
    const begun = performance.now();
    begunAt.set(value, begun);
    underWay.push(
      writer.put(`w/${(sent * 7_919) % watchers}`, value).then(() => {
        puts.push(performance.now() - begun);
      }),
    );
    sent += 1;
  }
  await Promise.all(underWay);
  for (let waited = 0; told < sent && waited < 10_000; waited += 10) await delay(10);
  await Promise.all(watches.map((watch) => watch.close()));
  await Promise.all(readers);
  await Promise.all(clients.map((client) => client.close()));
  let leaseCosts: LeaseCost | undefined;
  if (Number(values.leases) > 0) {
    leaseCosts = await leaseCost({
      clients: [writer],
      pids: ready.members.map(({ pid }) => pid),
      leases: Number(values.leases),
      ttlSeconds: Number(values["lease-ttl"]),
      rate: Number(values["lease-rate"]),
      seconds: Number(values["lease-seconds"]),
    });
  }
  await writer.close();

  const figures = {
    watchers,
    openMs: Math.round(openMs),
    puts: sent,
    told,
    putP50Ms: quantile(puts, 0.5),
    propagationP50Ms: quantile(propagations, 0.5),
    propagationP99Ms: quantile(propagations, 0.99),
    ratio: Number((quantile(propagations, 0.99) / quantile(puts, 0.5)).toFixed(2)),
    ...(leaseCosts === undefined ? {} : { leaseCosts }),
  };
  process.stdout.write(`${JSON.stringify(figures)}\n`);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
  if (told !== sent) throw new Error(`${sent - told} of ${sent} puts were never told`);
} finally {
  cluster.kill("SIGTERM");
  await new Promise((resolve) => cluster.once("exit", resolve));
  rmSync(dir, { recursive: true, force: true });
}
process.exit(0);

function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return Number((sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN).toFixed(2));
}
