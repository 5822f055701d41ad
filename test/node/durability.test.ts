/**
 * What a power cut would show: no acknowledgement leaves a member before the fdatasync of its record has returned. A
 * killed process keeps the page cache, so killing cannot show it; the system calls can.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import type { ClusterReady } from "../../src/cli/launcher.ts";
import { connect } from "../../src/node/connect.ts";
import { checkDurability, TRACED_CALLS } from "../support/strace.ts";

const LOADER = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const source = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const PUTS = 40;

// Debian's package "strace". Where it must not be missing (CI), its absence is a failure.
const missing = spawnSync("strace", ["-V"], { stdio: "ignore" }).status !== 0;
const needsStrace = test.skipIf(missing && process.env.QUORATE_REQUIRE_STRACE === undefined);

interface Traced {
  readonly dir: string;
  readonly firstLine: string;
  /** Ends the process and gives its trace. */
  finish(): Promise<string>;
}

/** strace would pass nothing on: the signal goes to its child. */
function signalTraced(strace: ChildProcess, signal: NodeJS.Signals): void {
  const children = readFileSync(`/proc/${strace.pid}/task/${strace.pid}/children`, "utf8").trim();
  for (const pid of children.split(" ").filter((text) => text !== "")) process.kill(Number(pid), signal);
}

async function traced(script: string, args: (dir: string) => readonly string[]): Promise<Traced> {
  const dir = mkdtempSync(join(tmpdir(), "quorate-strace-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const file = join(dir, "trace");
  const loader = script.endsWith(".ts") ? ["--import", LOADER] : [];
  const command = [process.execPath, ...loader, script, ...args(dir)];
  const child: ChildProcess = spawn(
    "strace",
    ["-f", "-y", "-s", "8192", "-e", `trace=${TRACED_CALLS}`, "-e", "signal=none", "-o", file, ...command],
    { stdio: ["ignore", "pipe", "ignore"] },
  );
  const ended = new Promise<void>((resolve, reject) => {
    child.once("error", (error) => reject(error));
    child.once("exit", () => resolve());
  });
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) signalTraced(child, "SIGKILL");
    await ended.catch(() => {});
  });
  const lines = createInterface({ input: child.stdout! });
  const firstLine = await Promise.race([
    new Promise<string>((resolve) => lines.once("line", resolve)),
    ended.then(() => Promise.reject(new Error("the traced program ended before it was ready"))),
  ]);
  return {
    dir,
    firstLine,
    async finish() {
      signalTraced(child, "SIGTERM");
      await ended;
      return readFileSync(file, "latin1");
    },
  };
}

async function putMarkers(endpoints: readonly string[]): Promise<void> {
  await using client = await connect({ endpoints });
  for (let i = 1; i <= PUTS; i++) await client.put("key", `marker-${i}-`, { prevKv: true, timeoutMs: 30_000 });
}

needsStrace(
  "no acknowledgement leaves a member before the fdatasync of its record",
  async () => {
    const member = await traced(source("../support/member.ts"), (dir) => [join(dir, "data"), "synced"]);
    await putMarkers([member.firstLine]);
    const { answers, early } = checkDurability(await member.finish(), 1);
    expect(early).toEqual([]);
    expect(answers).toBe(PUTS - 1);
  },
  120_000,
);

needsStrace(
  "the same test finds a member whose disk does not sync",
  async () => {
    const member = await traced(source("../support/member.ts"), (dir) => [join(dir, "data"), "unsynced"]);
    await putMarkers([member.firstLine]);
    const { answers, early } = checkDurability(await member.finish(), 1);
    expect(answers).toBe(PUTS - 1);
    expect(early).toHaveLength(PUTS - 1);
  },
  120_000,
);

needsStrace(
  "a cluster acknowledges once two of three members have synced the record",
  async () => {
    const cluster = await traced(source("../../dist/cli/main.js"), (dir) => [
      "cluster",
      "--base-port",
      "0",
      "--json",
      "--dir",
      join(dir, "data"),
    ]);
    const { members } = JSON.parse(cluster.firstLine) as ClusterReady;
    await putMarkers(members.map((member) => member.clientUrl));
    const { answers, early } = checkDurability(await cluster.finish(), 2);
    expect(early).toEqual([]);
    expect(answers).toBe(PUTS - 1);
  },
  180_000,
);
