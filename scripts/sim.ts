/**
 * `npm run sim -- --seed N` replays one run; `--seconds S` runs seed after seed for S real seconds. Each run leaves its
 * history under .sim/. A failure prints one line that replays it.
 */
import { randomInt as trueRandomInt } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type SimReport, simulate, WORKLOADS } from "../src/testing/index.ts";

const USAGE =
  "usage: npm run sim -- [--seed N | --seconds S] [--nodes 3] [--virtual SECONDS]\n" +
  `         [--workload ${WORKLOADS.join("|")}] [--json]\n` +
  "example: npm run sim -- --seconds 60";

function number(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} takes a number, not "${text}"`);
  return value;
}

function save(report: SimReport): void {
  const dir = join(fileURLToPath(new URL("..", import.meta.url)), ".sim", `seed-${report.seed}`);
  mkdirSync(dir, { recursive: true });
  const { history, trace: _, ...figures } = report;
  writeFileSync(join(dir, "history.jsonl"), history.toJsonLines());
  writeFileSync(join(dir, "report.json"), `${JSON.stringify(figures, undefined, 2)}\n`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seconds: { type: "string" },
      nodes: { type: "string" },
      virtual: { type: "string" },
      workload: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const given = number(values.seed, "seed");
  const seconds = number(values.seconds, "seconds") ?? 30;
  const nodes = number(values.nodes, "nodes");
  const virtual = number(values.virtual, "virtual");
  const workload = WORKLOADS.find((each) => each === values.workload);
  if (workload !== values.workload) throw new Error(`--workload is one of ${WORKLOADS.join(", ")}`);
  const end = performance.now() + seconds * 1_000;
  let seed = given ?? trueRandomInt(0x1_0000_0000);
  const totals = { runs: 0, virtualHours: 0, events: 0, operations: 0, faults: {} as Record<string, number> };

  for (;;) {
    const report = await simulate({
      seed,
      ...(nodes === undefined ? {} : { nodes }),
      ...(virtual === undefined ? {} : { seconds: virtual }),
      ...(workload === undefined ? {} : { workload }),
    });
    save(report);
    totals.runs += 1;
    totals.virtualHours += report.virtualMs / 3_600_000;
    totals.events += report.events;
    totals.operations += report.operations.ok;
    for (const [kind, count] of Object.entries(report.faults)) totals.faults[kind] = (totals.faults[kind] ?? 0) + count;
    if (!report.ok) {
      for (const [promise, verdict] of Object.entries(report.verdicts)) {
        if (verdict.verdict !== "ok") console.error(`${promise}: ${verdict.verdict}: ${verdict.message}`);
      }
      const more = `${workload === undefined ? "" : ` --workload ${workload}`}${nodes === undefined ? "" : ` --nodes ${nodes}`}${virtual === undefined ? "" : ` --virtual ${virtual}`}`;
      console.error(`npm run sim -- --seed ${seed}${more}`);
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
  if (values.json) console.log(JSON.stringify({ ok: true, ...totals }));
  else
    console.log(`${totals.runs} runs, ${totals.virtualHours.toFixed(2)} h virtual, ${JSON.stringify(totals.faults)}`);
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
