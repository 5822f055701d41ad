/**
 * Runs one probe and prints one line of JSON: which promise was broken, if any. The runner (scripts/mutants.ts) starts it
 * in a copy of the project, once as it is and once with a bug planted.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type SimOptions, simulate } from "../../src/testing/index.ts";
import { chaos } from "../raft/chaos.ts";
import { promiseOf } from "./promises.ts";

export type Probe =
  /** The Raft core alone, under everything that test/raft/chaos.ts does to it. */
  | { readonly kind: "core"; readonly seeds: number; readonly first?: number }
  /** What chance meets too seldom: the test of a rule of the core, by its file and name. */
  | { readonly kind: "rule"; readonly file: string; readonly name: string }
  /** Whole clusters. */
  | { readonly kind: "sim"; readonly seeds: readonly number[]; readonly options: Omit<SimOptions, "seed"> };

export interface Finding {
  readonly verdict: "ok" | "violation" | "crash";
  readonly promise: string;
  readonly message: string;
  readonly seed: number;
  /** Processor time: what a quiet machine would take. */
  readonly cpuSeconds?: number;
}

const CORE_STEPS = 3_000;
/** Verdicts of a simulation that say little by themselves: another one that was broken too is named before them. */
const WEAK = ["every call is answered", "the cluster converges", "serves after the faults", "no member fails"];

export async function runProbe(probe: Probe): Promise<Finding> {
  if (probe.kind === "core") {
    const first = probe.first ?? 1;
    for (let seed = first; seed < first + probe.seeds; seed++) {
      try {
        chaos(seed, CORE_STEPS);
      } catch (error) {
        const found = promiseOf(error);
        if (found === undefined) return { verdict: "crash", promise: "", message: String(error), seed };
        return { verdict: "violation", ...found, seed };
      }
    }
    return { verdict: "ok", promise: "", message: "", seed: 0 };
  }
  if (probe.kind === "rule") return ruleProbe(probe.file, probe.name);
  for (const seed of probe.seeds) {
    const report = await simulate({ ...probe.options, seed, fragments: false });
    if (report.ok) continue;
    const broken = Object.entries(report.verdicts).filter(([, { verdict }]) => verdict === "violation");
    const [promise, verdict] = broken.find(([name]) => !WEAK.includes(name)) ?? broken[0] ?? ["", undefined];
    const message = verdict?.verdict === "violation" ? verdict.message : "undecided";
    // A member that ended itself for a broken invariant names it; any other end is a crash.
    if (promise === "no member fails") {
      const found = promiseOf(message);
      return found === undefined
        ? { verdict: "crash", promise, message, seed }
        : { verdict: "violation", promise: found.promise, message, seed };
    }
    return { verdict: promise === "" ? "crash" : "violation", promise, message, seed };
  }
  return { verdict: "ok", promise: "", message: "", seed: 0 };
}

interface Tested {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** A failed expectation or a broken invariant is a verdict; anything else that a test ends with is none. */
function ruleProbe(file: string, name: string): Finding {
  // The copy has no build, and these tests need none.
  const args = [
    "node_modules/vitest/vitest.mjs",
    "run",
    "--config",
    "test/mutants/vitest.config.ts",
    file,
    "-t",
    name,
    "--reporter=json",
  ];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
  const start = stdout.indexOf("{");
  if (start < 0) return { verdict: "crash", promise: "", message: stderr.slice(-400), seed: 0 };
  const tests = (JSON.parse(stdout.slice(start)) as Tested).testResults.flatMap((each) => each.assertionResults);
  const run = tests.filter(({ status }) => status === "passed" || status === "failed");
  if (run.length === 0) return { verdict: "crash", promise: "", message: `no test "${name}" in ${file}`, seed: 0 };
  const failed = run.find(({ status }) => status === "failed");
  if (failed === undefined) return { verdict: "ok", promise: "", message: "", seed: 0 };
  const message = failed.failureMessages[0] ?? "";
  const verdict = /^(AssertionError|InvariantError)/.test(message) ? "violation" : "crash";
  return { verdict, promise: failed.fullName.trim(), message: message.split("\n")[0] ?? "", seed: 0 };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const finding = await runProbe(JSON.parse(process.argv[2] ?? "") as Probe);
  const { user, system } = process.cpuUsage();
  process.stdout.write(`${JSON.stringify({ ...finding, cpuSeconds: (user + system) / 1_000_000 })}\n`);
}
