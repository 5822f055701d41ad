/** The harness of real processes, as a user starts it: a short run with a few faults leaves its folder and finds nothing. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { History, operationsOf } from "../../src/testing/history.ts";
import type { RunSummary } from "../../src/testing/report.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

function jepsen(...args: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--import", "tsx", "scripts/jepsen.ts", ...args], { cwd: root });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (data) => {
      stdout += data;
    });
    child.stderr.on("data", (data) => {
      stderr += data;
    });
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

describe("npm run jepsen", () => {
  test("a short run under faults keeps every promise, and leaves history, schedule and page", async () => {
    const out = mkdtempSync(join(tmpdir(), "quorate-jepsen-"));
    onTestFinished(() => rmSync(out, { recursive: true, force: true }));
    const faults = "kill,partition,pause,broken connections,slow links,clock jump";
    const exported = join(out, "exported.jsonl");
    const { code, stdout, stderr } = await jepsen(
      ...["--seconds", "12", "--faults", faults, "--seed", "11", "--out", out, "--history", exported, "--json"],
    );
    expect(code, stderr).toBe(0);
    const { ok, runs } = JSON.parse(stdout) as { ok: boolean; runs: (RunSummary & { report: string })[] };
    expect(ok).toBe(true);
    const [run] = runs;
    expect(run!.operations.ok).toBeGreaterThan(50);
    expect(Object.values(run!.faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
    for (const promise of [
      "linearizability",
      "operations succeed while a majority is connected",
      "watches are reliable",
    ]) {
      expect(run!.verdicts).toHaveProperty([promise]);
    }
    const { records } = History.parse(readFileSync(exported, "utf8"));
    expect(operationsOf(records).length).toBe(run!.operations.invoked! + 2); // and the final write and read
    expect(readFileSync(join(out, "seed-11-mix", "history.jsonl"), "utf8")).toBe(readFileSync(exported, "utf8"));
    expect(readFileSync(run!.report, "utf8")).toContain('class="fault-band"');
  });

  test.each([
    { args: ["--faults", "earthquake"], says: '--faults: no "earthquake"' },
    { args: ["--nodes", "many"], says: "--nodes takes a whole number" },
    { args: ["--workload", "kv,leases"], says: "leases runs alone" },
  ])("$args is refused with what there is", async ({ args, says }) => {
    const { code, stdout, stderr } = await jepsen(...args);
    expect(code).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain(says);
  });
});
