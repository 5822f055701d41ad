/**
 * `npm run jepsen -- --seconds N`: real members in real processes under faults (src/testing/node/jepsen.ts). Leaves a
 * folder with the history, the fault schedule and report.html under .jepsen/ or `--out`.
 */
import { randomInt } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { JEPSEN_FAULTS, JEPSEN_WORKLOADS, jepsen } from "../src/testing/node/jepsen.ts";
import { writeRunFolder } from "../src/testing/node/run-folder.ts";
import { seedOf, whole } from "./arguments.ts";

const ALONE = "leases";
const MIX = JEPSEN_WORKLOADS.filter((name) => name !== ALONE);
const USAGE = `usage: npm run jepsen -- [--seconds 60] [--nodes 3] [--faults all|none|A,B] [--workload mix|all|A,B]
         [--seed N] [--out DIR] [--history FILE] [--json]
  faults: ${JEPSEN_FAULTS.join(", ")}
  workloads: ${JEPSEN_WORKLOADS.join(", ")}; mix is all but ${ALONE}, all is mix and then ${ALONE}
example: npm run jepsen -- --seconds 300 --nodes 5 --faults all`;

const root = fileURLToPath(new URL("..", import.meta.url));

function some(text: string, all: readonly string[], name: string): readonly string[] {
  const chosen = text.split(",").map((item) => item.trim());
  const unknown = chosen.find((item) => !all.includes(item));
  if (unknown !== undefined) throw new Error(`--${name}: no "${unknown}"; there are ${all.join(", ")}`);
  return chosen;
}

/** Ends this process in order, so that its members and mounts go with it (process-cluster.ts). */
function endInOrder(): void {
  const parent = process.ppid;
  for (const [signal, number] of Object.entries({ SIGHUP: 1, SIGINT: 2, SIGTERM: 15 })) {
    process.once(signal, () => process.exit(128 + number));
  }
  // npm passes a signal on to its shell alone.
  setInterval(() => process.ppid === parent || process.exit(128 + 15), 1_000).unref();
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      nodes: { type: "string", default: "3" },
      faults: { type: "string", default: "all" },
      workload: { type: "string", default: "mix" },
      seed: { type: "string" },
      out: { type: "string" },
      history: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const seconds = whole(values.seconds, "seconds", 1, 86_400);
  const nodes = whole(values.nodes, "nodes", 1, 7);
  const seed = values.seed === undefined ? randomInt(0x1_0000_0000) : seedOf(values.seed);
  const faults =
    values.faults === "all"
      ? JEPSEN_FAULTS
      : values.faults === "none"
        ? []
        : some(values.faults, JEPSEN_FAULTS, "faults");
  const runs =
    values.workload === "all"
      ? [MIX, [ALONE]]
      : [values.workload === "mix" ? MIX : some(values.workload, JEPSEN_WORKLOADS, "workload")];
  if (runs[0]!.length > 1 && runs[0]!.includes(ALONE)) throw new Error(`--workload: ${ALONE} runs alone`);
  const main = join(root, "dist/cli/main.js");
  if (!existsSync(main)) throw new Error("there is no build: run `npm run build` first");

  endInOrder();
  const say = (line: string): void => console.error(line);
  const results: unknown[] = [];
  let ok = true;
  for (const workloads of runs) {
    const replay = `npm run jepsen -- --seconds ${seconds} --nodes ${nodes} --faults ${quoted(values.faults)} --workload ${workloads.join(",")} --seed ${seed}`;
    say(replay);
    const out = join(
      values.out ?? join(root, ".jepsen"),
      `seed-${seed}-${workloads.length > 1 ? "mix" : workloads[0]}`,
    );
    const data = join(out, "data");
    rmSync(data, { recursive: true, force: true });
    const { summary, history } = await jepsen({
      nodes,
      seconds: Math.ceil(seconds / runs.length),
      faults,
      workloads,
      seed,
      dir: data,
      main,
      replay,
      onProgress: say,
    });
    writeRunFolder(out, summary, history);
    if (values.history !== undefined) writeFileSync(values.history, history.toJsonLines());
    if (summary.ok) rmSync(data, { recursive: true, force: true });
    ok &&= summary.ok;
    for (const [promise, verdict] of Object.entries(summary.verdicts)) {
      say(verdict.verdict === "ok" ? `  ok  ${promise}` : `  ${verdict.verdict}  ${promise}: ${verdict.message}`);
    }
    for (const [fault, why] of Object.entries(summary.skipped)) say(`  skipped: ${fault}: ${why}`);
    const { ok: done, failed, unknown } = summary.operations as Record<string, number>;
    say(`  ${done} operations (${failed} refused, ${unknown} unknown), faults ${JSON.stringify(summary.faults)}`);
    say(`  ${join(out, "report.html")}`);
    if (!summary.ok) say(replay);
    results.push({ ...summary, report: join(out, "report.html") });
  }
  if (values.json) console.log(JSON.stringify({ ok, runs: results }));
  return ok ? 0 : 1;
}

function quoted(text: string): string {
  return text.includes(" ") ? `"${text}"` : text;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const known = error instanceof Error && (error.message.startsWith("--") || error.message.startsWith("there is"));
    console.error(known ? `${error.message}\n${USAGE}` : error);
    process.exitCode = 2;
  },
);
