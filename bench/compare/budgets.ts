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

const MEMORY_MB = 89;
const IN_PROCESS_GETS = 500_000;
const SMALL = 10_000;
const LARGE = 1_000_000;

export function verdicts(samples: readonly Sample[]): Verdict[] {
  const of = (contender: string, question: string, name: string, figure: string): number | undefined =>
    summary(samples, question, name, contender, figure)?.median;
  const ratio = (question: string, name: string, figure: string): number | undefined =>
    divided(of("quorate", question, name, figure), of("etcd", question, name, figure));
  const list: Verdict[] = [];
  const add = (
    budget: string,
    measured: number | undefined,
    unit: string,
    wanted: string,
    good: (n: number) => boolean,
  ) => list.push({ budget, wanted, measured, unit, met: measured === undefined ? undefined : good(measured) });

  add("put 256 B, 1 client: p50", ratio("put", "1 client", "p50Ms"), "x etcd", "<= 0.65", (n) => n <= 0.65);
  for (const clients of ["100 clients", "1,000 clients"]) {
    add(`put 256 B, ${clients}: ops/s`, ratio("put", clients, "opsPerSecond"), "x etcd", ">= 5", (n) => n >= 5);
    add(`put 256 B, ${clients}: p99`, ratio("put", clients, "p99Ms"), "x etcd", "<= 0.5", (n) => n <= 0.5);
  }
  add(
    "linearizable get, 100 clients: ops/s",
    ratio("get", "100 clients", "opsPerSecond"),
    "x etcd",
    ">= 10",
    (n) => n >= 10,
  );
  add(
    "serializable get in process",
    of("quorate", "embedded", EMBEDDED_GET, "opsPerSecond"),
    "ops/s",
    `>= ${IN_PROCESS_GETS.toLocaleString("en-US")}`,
    (n) => n >= IN_PROCESS_GETS,
  );
  add(
    "memory per node",
    of("quorate", "memory", MEMORY_CASE, "mbPerNode"),
    "MB",
    `<= ${MEMORY_MB}`,
    (n) => n <= MEMORY_MB,
  );
  add("memory per node", ratio("memory", MEMORY_CASE, "mbPerNode"), "x etcd", "< 1", (n) => n < 1);
  add(
    "fail-over, median",
    divided(of("quorate", "fail-over", FAIL_OVER_CASE, "failOverMs"), ELECTION_TIMEOUT_MS),
    "election timeouts",
    "<= 1",
    (n) => n <= 1,
  );
  add(
    "fail-over, worst round",
    divided(of("quorate", "fail-over", FAIL_OVER_CASE, "worstMs"), ELECTION_TIMEOUT_MS),
    "election timeouts",
    "<= 3",
    (n) => n <= 3,
  );
  add(
    "10,000 -> 1,000,000 keys: ops/s",
    divided(
      of("quorate", "growth", keysCase(LARGE), "opsPerSecond"),
      of("quorate", "growth", keysCase(SMALL), "opsPerSecond"),
    ),
    "x",
    ">= 0.8",
    (n) => n >= 0.8,
  );
  add(
    "restart with 1,000,000 keys",
    ratio("growth", keysCase(LARGE), "restartMs"),
    "x etcd",
    "<= 1.5",
    (n) => n <= 1.5,
  );
  return list;
}

function divided(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : a / b;
}
