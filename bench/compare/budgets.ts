/** The budgets, each against the figures of this very run: no figure of another day counts. */
import { type Sample, summary } from "./comparison.ts";
import { EMBEDDED_GET } from "./embedded.ts";
import { ELECTION_TIMEOUT_MS, FAIL_OVER_CASE } from "./fail-over.ts";
import { keysCase } from "./growth.ts";
import { MEMORY_CASE } from "./memory.ts";

export interface Verdict {
  readonly budget: string;
  readonly wanted: string;
  /** `undefined`: this run did not ask. */
  readonly measured: number | undefined;
  readonly unit: string;
  readonly met: boolean | undefined;
}

type Sign = "<=" | ">=" | "<";
const MEETS: Readonly<Record<Sign, (measured: number, bound: number) => boolean>> = {
  "<=": (measured, bound) => measured <= bound,
  ">=": (measured, bound) => measured >= bound,
  "<": (measured, bound) => measured < bound,
};

export function verdicts(samples: readonly Sample[]): Verdict[] {
  const of = (contender: string, question: string, name: string, figure: string): number | undefined =>
    summary(samples, question, name, contender, figure)?.median;
  const ratio = (question: string, name: string, figure: string): number | undefined =>
    divided(of("quorate", question, name, figure), of("etcd", question, name, figure));
  const list: Verdict[] = [];
  const add = (budget: string, measured: number | undefined, unit: string, sign: Sign, bound: number) =>
    list.push({
      budget,
      wanted: `${sign} ${bound.toLocaleString("en-US")}`,
      measured,
      unit,
      met: measured === undefined ? undefined : MEETS[sign](measured, bound),
    });

  add("put 256 B, 1 client: p50", ratio("put", "1 client", "p50Ms"), "x etcd", "<=", 0.65);
  for (const clients of ["100 clients", "1,000 clients"]) {
    add(`put 256 B, ${clients}: ops/s`, ratio("put", clients, "opsPerSecond"), "x etcd", ">=", 5);
    add(`put 256 B, ${clients}: p99`, ratio("put", clients, "p99Ms"), "x etcd", "<=", 0.5);
  }
  add("linearizable get, 100 clients: ops/s", ratio("get", "100 clients", "opsPerSecond"), "x etcd", ">=", 10);
  add("serializable get in process", of("quorate", "embedded", EMBEDDED_GET, "opsPerSecond"), "ops/s", ">=", 500_000);
  add("memory per node", of("quorate", "memory", MEMORY_CASE, "mbPerNode"), "MB", "<=", 89);
  add("memory per node", ratio("memory", MEMORY_CASE, "mbPerNode"), "x etcd", "<", 1);
  for (const [which, figure, bound] of [
    ["median", "failOverMs", 1],
    ["worst round", "worstMs", 3],
  ] as const) {
    const failOver = of("quorate", "fail-over", FAIL_OVER_CASE, figure);
    add(`fail-over, ${which}`, divided(failOver, ELECTION_TIMEOUT_MS), "election timeouts", "<=", bound);
  }
  const [small, large] = [10_000, 1_000_000].map(keysCase);
  const growth = (keys: string): number | undefined => of("quorate", "growth", keys, "opsPerSecond");
  add("10,000 -> 1,000,000 keys: ops/s", divided(growth(large!), growth(small!)), "x", ">=", 0.8);
  add("restart with 1,000,000 keys", ratio("growth", large!, "restartMs"), "x etcd", "<=", 1.5);
  return list;
}

function divided(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
}
