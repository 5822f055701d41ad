/** A small run with a stale read planted in it. */
import { checkLinearizability } from "../../src/testing/checkers/linearizability.ts";
import { withFragment } from "../../src/testing/fragment.ts";
import { History } from "../../src/testing/history.ts";
import type { RunSummary } from "../../src/testing/report.ts";

export function planted(): { readonly summary: RunSummary; readonly history: History } {
  const history = new History();
  const role = (time: number, member: string, is: "leader" | "follower" | "down", term: number): void =>
    history.add({ type: "role", time, member, role: is, term });
  for (const member of ["n2", "n3"]) role(0, member, "follower", 2);
  role(0, "n1", "leader", 2);
  const put = history.invoke(100, 0, { kind: "put", key: "a", value: "1" });
  history.add({ type: "ok", time: 110, process: 0, op: put, result: { member: "1", revision: 2, kind: "put" } });
  const again = history.invoke(200, 0, { kind: "put", key: "a", value: "2" });
  history.add({ type: "ok", time: 215, process: 0, op: again, result: { member: "1", revision: 3, kind: "put" } });
  history.fault(1_000, { fault: "partition", id: 1, phase: "begin", detail: "n1" });
  role(1_500, "n3", "leader", 3);
  role(1_500, "n1", "follower", 2);
  const get = history.invoke(1_600, 1, { kind: "get", key: "a" });
  const stale = { key: "a", value: "1", create: 2, mod: 2, version: 1 };
  history.add({
    type: "ok",
    time: 1_640,
    process: 1,
    op: get,
    result: { member: "1", revision: 2, kind: "get", kvs: [stale] },
  });
  history.fault(2_000, { fault: "partition", id: 1, phase: "end", detail: "" });
  history.fault(3_000, { fault: "kill", id: 2, phase: "begin", detail: "n2 <&>" });
  role(3_000, "n2", "down", 0);
  const lost = history.invoke(3_100, 0, { kind: "put", key: "a", value: "3" });
  history.add({ type: "info", time: 8_100, process: 0, op: lost, error: "TIMEOUT" });
  history.fault(3_500, { fault: "kill", id: 2, phase: "end", detail: "" });
  history.add({ type: "call", time: 4_000, process: 0, name: "keep-alive", ms: 12, outcome: "ok" });
  history.fault(8_000, { fault: "pause", id: 3, phase: "begin", detail: "n3" });
  const operations = history.operations();
  const summary: RunSummary = {
    harness: "simulator",
    ok: false,
    replay: "npm run sim -- --seed 1",
    nodes: 3,
    workload: "kv",
    durationMs: 10_000,
    verdicts: {
      linearizability: withFragment(checkLinearizability(operations), operations, checkLinearizability),
      "hash agreement": { verdict: "ok" },
      "the cluster converges": { verdict: "unknown", message: "undecided" },
    },
    operations: { invoked: 4, ok: 3, failed: 0, unknown: 1 },
    errors: { TIMEOUT: 1 },
    faults: { partition: 1, kill: 1, pause: 1 },
    rareEvents: { "snapshot install": 0 },
    skipped: { "disk full": "needs root" },
  };
  return { summary, history };
}
