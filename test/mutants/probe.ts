/**
 * Runs one probe and prints one line of JSON: which promise was broken, if any. The runner (scripts/mutants.ts) starts it
 * in a copy of the project, once as it is and once with a bug planted.
 */
import { fileURLToPath } from "node:url";
import { type SimOptions, simulate } from "../../src/testing/index.ts";
import { chaos } from "../raft/chaos.ts";
import { promiseOf } from "./promises.ts";

export type Probe =
  /** The Raft core alone, under everything that test/raft/chaos.ts does to it. */
  | { readonly kind: "core"; readonly seeds: number; readonly first?: number }
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

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const finding = await runProbe(JSON.parse(process.argv[2] ?? "") as Probe);
  const { user, system } = process.cpuUsage();
  process.stdout.write(`${JSON.stringify({ ...finding, cpuSeconds: (user + system) / 1_000_000 })}\n`);
}
