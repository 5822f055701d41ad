/**
 * `npm run bench:steady`: whether a constant load stays flat. Measures the peak for a moment, then writes at a share of it for ten
 * minutes, with auto-compaction keeping a number of revisions; prints latency and memory minute by minute, and whether the last
 * third is as good as the first. Latency counts from when a put was due, so a stall that holds back others counts for all of them.
 */
import { writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import * as hdr from "hdr-histogram-js";
import build from "../test/support/build.ts";
import { stopAll } from "./compare/cluster.ts";
import { runLoad } from "./compare/load.ts";
import { QUORATE, start } from "./compare/quorate.ts";
import { generator, keyOf } from "./support/keys.ts";
import { machineLine } from "./support/machine.ts";
import { residentMb } from "./support/process-stats.ts";
import { Progress } from "./support/progress.ts";
import { Scratch } from "./support/scratch.ts";
import { median, shown } from "./support/statistics.ts";

const { connect } = (await import(
  new URL("../dist/index.js", import.meta.url).href
)) as typeof import("../src/index.ts");

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    /** Of one line of the table. */
    "period-seconds": { type: "string", default: "60" },
    "peak-seconds": { type: "string", default: "10" },
    share: { type: "string", default: "0.7" },
    clients: { type: "string", default: "100" },
    keys: { type: "string", default: "10000" },
    revisions: { type: "string", default: "100000" },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const periodSeconds = Math.min(seconds, Number(values["period-seconds"]));
const peakSeconds = Number(values["peak-seconds"]);
const keys = Number(values.keys);
const CONNECTIONS = 3;
/** Puts that may be due and unanswered: beyond it the load does not hold, and says so. */
const UNDER_WAY_MAX = 20_000;
/** Of the last third against the first: what is flat. */
const FLAT = 1.25;

interface Period {
  readonly puts: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly mbPerNode: number;
}

build();
let failed = false;
{
  await using scratch = new Scratch("steady");
  const progress = new Progress(seconds + peakSeconds);
  const settings = { autoCompactionMode: "revision", autoCompactionRetention: Number(values.revisions) };
  const cluster = await start(scratch, "steady", 3, settings);
  await runLoad(scratch, QUORATE, cluster, { kind: "fill", clients: 100, keys });
  const load = { kind: "overwrite", clients: Number(values.clients), keys } as const;
  const peak = await runLoad(scratch, QUORATE, cluster, {
    ...load,
    seconds: peakSeconds,
    warmup: Math.min(2, peakSeconds),
  });
  const rate = peak.opsPerSecond * Number(values.share);
  progress.done(peakSeconds, `peak ${shown(peak.opsPerSecond)}/s: the load is ${shown(rate)}/s`);

  const endpoints = cluster.members.map(({ endpoint }) => endpoint);
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, i) => connect({ endpoints: [endpoints[i % endpoints.length]!] })),
  );
  const call = { timeoutMs: 60_000 };
  const value = Buffer.alloc(256, 7);
  const random = generator(Date.now());
  // Of the period that runs. No list of each latency: sorting one would stop the load, and be counted against the store.
  const latencies = hdr.build({ highestTrackableValue: 600_000_000, numberOfSignificantValueDigits: 3 });
  let [sent, answered, errors, skipped] = [0, 0, 0, 0];
  const periods: Period[] = [];
  const begun = performance.now();
  let periodEnd = begun + periodSeconds * 1_000;
  const closePeriod = (): void => {
    const mbPerNode = median(cluster.members.map(({ pid }) => residentMb(pid)));
    const atMs = (percentile: number): number => latencies.getValueAtPercentile(percentile) / 1_000;
    const [p50Ms, p99Ms, p999Ms, maxMs] = [atMs(50), atMs(99), atMs(99.9), atMs(100)];
    periods.push({ puts: latencies.totalCount, p50Ms, p99Ms, p999Ms, maxMs, mbPerNode });
    latencies.reset();
    progress.done(
      periodSeconds,
      `p50 ${shown(p50Ms)} p99 ${shown(p99Ms)} p99.9 ${shown(p999Ms)} max ${shown(maxMs)} ms, ${shown(mbPerNode)} MB/node`,
    );
  };
  const put = async (due: number): Promise<void> => {
    value.writeUInt32BE(sent >>> 0, 0);
    try {
      await clients[sent % CONNECTIONS]!.put(keyOf(random(keys)), value, call);
      latencies.recordValue(Math.round((performance.now() - due) * 1_000));
    } catch {
      errors += 1;
    }
    answered += 1;
  };
  for (const end = begun + seconds * 1_000; performance.now() < end; await delay(1)) {
    const now = performance.now();
    for (let due = begun + (sent * 1_000) / rate; due <= now; due = begun + (sent * 1_000) / rate) {
      sent += 1;
      // Time goes on: what finds no room is counted, not put off.
      if (sent - skipped - answered > UNDER_WAY_MAX) {
        skipped += 1;
        continue;
      }
      void put(due);
    }
    if (now >= periodEnd) {
      closePeriod();
      periodEnd += periodSeconds * 1_000;
    }
  }
  for (const limit = performance.now() + 60_000; answered + skipped < sent && performance.now() < limit; )
    await delay(20);
  if (latencies.totalCount > 0 && periodEnd - begun <= seconds * 1_000 + 1) closePeriod();
  progress.end();
  await Promise.all(clients.map((client) => client.close()));
  await stopAll(cluster);

  console.log(machineLine());
  const table = new Table({
    head: ["", "puts", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "MB/node"],
    style: { head: [], border: [], compact: true },
  });
  for (const [i, { puts, p50Ms, p99Ms, p999Ms, maxMs, mbPerNode }] of periods.entries()) {
    table.push([
      `${shown((i + 1) * periodSeconds)} s`,
      shown(puts),
      ...[p50Ms, p99Ms, p999Ms, maxMs, mbPerNode].map(shown),
    ]);
  }
  console.log(table.toString());
  console.log(
    `${shown(rate)} puts/s, ${values.share} of the peak of ${shown(peak.opsPerSecond)}/s; ${errors} errors, ${skipped} found no room`,
  );
  const verdicts = (["p50Ms", "p99Ms", "mbPerNode"] as const).map((figure) => verdict(periods, figure));
  for (const { line } of verdicts) console.log(line);
  // Whether it is flat is a finding; a load that could not be held is a run that measured something else.
  failed = errors > 0 || skipped > 0;
  if (failed) console.log("FAILED: the load could not be held");
  if (values.json !== undefined) {
    const found = {
      machine: machineLine(),
      peak,
      rate,
      periods,
      errors,
      skipped,
      flat: verdicts.every(({ flat }) => flat),
    };
    writeFileSync(values.json, `${JSON.stringify(found, undefined, 1)}\n`);
  }
}
process.exit(failed ? 1 : 0);

/** The first period warms up and is left out where there are enough. */
function verdict(periods: readonly Period[], figure: "p50Ms" | "p99Ms" | "mbPerNode"): { flat: boolean; line: string } {
  const warm = periods.length > 3 ? periods.slice(1) : periods;
  const third = Math.max(1, Math.floor(warm.length / 3));
  const [first, last] = [warm.slice(0, third), warm.slice(-third)].map((part) =>
    median(part.map((each) => each[figure])),
  );
  const flat = last! <= first! * FLAT;
  return {
    flat,
    line: `${figure}: ${shown(first!)} in the first third, ${shown(last!)} in the last: ${flat ? "flat" : "NOT FLAT"}`,
  };
}
