/**
 * `npm run sim -- --seed N` replays one run; `--seconds S` runs seed after seed for S real seconds. A failure leaves its
 * folder (history, fault schedule, report.html) under .sim/ or `--out`, and prints one line that replays it.
 */
import { randomInt as trueRandomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Counters, FAULT_KINDS, type SimReport, simulate, summaryOf, WORKLOADS } from "../src/testing/index.ts";
import { writeRunFolder } from "../src/testing/node/run-folder.ts";

const USAGE =
  "usage: npm run sim -- [--seed N | --seconds S] [--nodes 3] [--virtual SECONDS]\n" +
  `         [--workload ${WORKLOADS.join("|")}|all] [--json]\n` +
  "         [--out DIR] [--history FILE] [--faults none|all]\n" +
  "       npm run sim -- --figure [--virtual 600] [--json]   how much faster than time: three nodes, 10 operations a second\n" +
  "example: npm run sim -- --seconds 60";

/** Of virtual time, before the figure is taken. */
const WARM_UP_SECONDS = 200;

function number(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} takes a number, not "${text}"`);
  return value;
}

function save(report: SimReport, replay: string, out: string | undefined): void {
  const root = out ?? join(fileURLToPath(new URL("..", import.meta.url)), ".sim");
  writeRunFolder(join(root, `seed-${report.seed}`), summaryOf(report, replay), report.history);
}

/** Virtual time over processor time, which on an idle core is real time. Warm: the first minutes are the compiler's. */
async function figure(seconds: number, json: boolean): Promise<void> {
  const quiet = { seed: 1, nodes: 3, clients: 1, thinkMs: 90, faults: [] };
  await simulate({ ...quiet, seconds: WARM_UP_SECONDS });
  const before = process.cpuUsage();
  const report = await simulate({ ...quiet, seconds });
  const { user, system } = process.cpuUsage(before);
  const cpuSeconds = (user + system) / 1_000_000;
  const figures = {
    ok: report.ok,
    nodes: 3,
    operationsPerSecond: (report.operations.ok * 1_000) / report.virtualMs,
    virtualSeconds: report.virtualMs / 1_000,
    cpuSeconds,
    virtualOverReal: report.virtualMs / 1_000 / cpuSeconds,
    events: report.events,
  };
  if (json) console.log(JSON.stringify(figures));
  else
    console.log(
      `${figures.virtualSeconds.toFixed(0)} s of virtual time in ${cpuSeconds.toFixed(1)} s on one core: ` +
        `${figures.virtualOverReal.toFixed(0)} x, at ${figures.operationsPerSecond.toFixed(1)} operations a second, ` +
        `${(report.events / cpuSeconds).toFixed(0)} events a second`,
    );
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seconds: { type: "string" },
      nodes: { type: "string" },
      virtual: { type: "string" },
      workload: { type: "string" },
      out: { type: "string" },
      history: { type: "string" },
      faults: { type: "string" },
      figure: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  if (values.figure) {
    await figure(number(values.virtual, "virtual") ?? 600, values.json);
    return 0;
  }
  const given = number(values.seed, "seed");
  const seconds = number(values.seconds, "seconds") ?? 30;
  const nodes = number(values.nodes, "nodes");
  const virtual = number(values.virtual, "virtual");
  // One seed is the run it says; many are of everything that there is.
  const workload = values.workload ?? (given === undefined ? "all" : undefined);
  if (workload !== undefined && workload !== "all" && !WORKLOADS.includes(workload)) {
    throw new Error(`--workload is one of ${WORKLOADS.join(", ")}, all`);
  }
  if (values.faults !== undefined && values.faults !== "none" && values.faults !== "all") {
    throw new Error("--faults is none or all");
  }
  const faults = values.faults === undefined ? undefined : values.faults === "none" ? [] : FAULT_KINDS;
  const end = performance.now() + seconds * 1_000;
  let seed = given ?? trueRandomInt(0x1_0000_0000);
  const totals = { runs: 0, virtualHours: 0, events: 0, operations: 0, faults: {} as Record<string, number> };
  const rare = new Counters();
  const startedAt = performance.now();

  for (;;) {
    const each = workload === "all" ? WORKLOADS[totals.runs % WORKLOADS.length]! : workload;
    const more =
      (each === undefined ? "" : ` --workload ${each}`) +
      (nodes === undefined ? "" : ` --nodes ${nodes}`) +
      (virtual === undefined ? "" : ` --virtual ${virtual}`) +
      (values.faults === undefined ? "" : ` --faults ${values.faults}`);
    const replay = `npm run sim -- --seed ${seed}${more}`;
    const report = await simulate({
      seed,
      ...(nodes === undefined ? {} : { nodes }),
      ...(virtual === undefined ? {} : { seconds: virtual }),
      ...(each === undefined ? {} : { workload: each }),
      ...(faults === undefined ? {} : { faults }),
    });
    if (values.out !== undefined || given !== undefined || !report.ok) save(report, replay, values.out);
    if (values.history !== undefined) writeFileSync(values.history, report.history.toJsonLines());
    totals.runs += 1;
    totals.virtualHours += report.virtualMs / 3_600_000;
    totals.events += report.events;
    totals.operations += report.operations.ok;
    for (const [kind, count] of Object.entries(report.faults)) totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
    for (const [event, count] of Object.entries(report.rareEvents)) rare.count(event, count);
    if (!report.ok) {
      for (const [promise, verdict] of Object.entries(report.verdicts)) {
        if (verdict.verdict !== "ok") console.error(`${promise}: ${verdict.verdict}: ${verdict.message}`);
      }
      console.error(replay);
      if (values.json) console.log(JSON.stringify({ ok: false, seed, verdicts: report.verdicts, ...totals }));
      return 1;
    }
    if (!values.json) {
      const { ok, failed, unknown } = report.operations;
      const figures = Object.entries(report.figures)
        .map(([name, count]) => `${name} ${count}`)
        .join(", ");
      console.log(
        `seed ${seed}: ok, ${report.nodes} nodes, ${(report.virtualMs / 1_000).toFixed(0)} s virtual, ${ok} operations ` +
          `(${failed} refused, ${unknown} unknown)${figures === "" ? "" : `, ${figures}`}, trace ${report.traceHash}`,
      );
    }
    if (given !== undefined || performance.now() >= end) break;
    seed = (seed + 1) % 0x1_0000_0000;
  }
  const speed = (totals.virtualHours * 3_600_000) / (performance.now() - startedAt);
  if (values.json) console.log(JSON.stringify({ ok: true, ...totals, rareEvents: rare, virtualOverReal: speed }));
  else {
    const struck = Object.values(totals.faults).reduce((sum, count) => sum + count, 0);
    console.log(
      `${totals.runs} runs, ${totals.virtualHours.toFixed(2)} cluster-hours of virtual time, ${totals.operations} operations, ` +
        `${struck} faults, ${speed.toFixed(0)} x real time`,
    );
    console.log(`faults ${JSON.stringify(totals.faults)}`);
    console.log(`rare events ${JSON.stringify(rare)}`);
  }
  return 0;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error && error.message.startsWith("--") ? `${error.message}\n${USAGE}` : error);
    process.exitCode = 2;
  },
);
