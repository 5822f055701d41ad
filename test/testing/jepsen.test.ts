/** The harness of real processes, as a user starts it: a short run with a few faults leaves its folder and finds nothing. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { freeBlock } from "../../src/platform/node/ports.ts";
import { History, operationsOf } from "../../src/testing/history.ts";
import { foundNobody } from "../../src/testing/node/process-cluster.ts";
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

/** Not one that has ended and that nobody has collected yet. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !existsSync("/proc/self/stat") || !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
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

  test.each(["SIGTERM", "SIGINT"] as const)("%s leaves no member and no mount", async (signal) => {
    const out = mkdtempSync(join(tmpdir(), "quorate-jepsen-"));
    onTestFinished(() => rmSync(out, { recursive: true, force: true }));
    const args = [
      "--import",
      "tsx",
      "scripts/jepsen.ts",
      "--seconds",
      "600",
      "--faults",
      "disk full,pause",
      "--out",
      out,
    ];
    const run = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "ignore", "pipe"] });
    const ended = new Promise((resolve) => run.once("close", resolve));
    let pids: number[] = [];
    for await (const line of createInterface({ input: run.stderr })) {
      pids = (/pids ([\d ]+)/.exec(line)?.[1] ?? "").split(" ").filter(Boolean).map(Number);
      if (pids.length > 0) break;
    }
    expect(pids.filter(runs)).toHaveLength(3);
    run.kill(signal);
    expect(await ended).toBe(signal === "SIGTERM" ? 143 : 130);
    await expect.poll(() => pids.filter(runs), { timeout: 10_000 }).toEqual([]);
    if (existsSync("/proc/mounts")) expect(readFileSync("/proc/mounts", "utf8")).not.toContain(out);
  });

  test("a member that finds nobody to join is told from one that fails", async () => {
    const dir = mkdtempSync(join(tmpdir(), "quorate-jepsen-"));
    onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
    const port = await freeBlock(2);
    const joining = ["server", "--name", "n1", "--dir", join(dir, "data"), "--join", `ws://127.0.0.1:${port}`];
    const listening = ["--listen-peer-url", `ws://127.0.0.1:${port + 1}`];
    const { stderr } = spawnSync(process.execPath, ["dist/cli/main.js", ...joining, ...listening], {
      cwd: root,
      encoding: "utf8",
    });
    expect(foundNobody(stderr), stderr).toBe(true);
    for (const code of ["UNAVAILABLE", "CONNECTION_LOST", "DEADLINE_EXCEEDED", "NO_LEADER", "TIMEOUT"] as const) {
      expect(foundNobody(new StoreError(code).message), code).toBe(true);
    }
    for (const code of ["WAL_CORRUPT", "MEMBER_DATA_LOST", "BAD_CONFIG", "INTERNAL"] as const) {
      expect(foundNobody(new StoreError(code).message), code).toBe(false);
    }
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
