/** What the scripts that torment a real cluster share: the cluster, its leader, and how such a run ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import type { ClusterReady } from "../src/cli/launcher.ts";
import type { Client } from "../src/client/client.ts";

/** Lines of the launcher and the members that are kept, to be shown with a violation. */
const SAID_MAX = 200;
/** For what should take seconds: a start, an election. */
export const GIVE_UP_MS = 60_000;

export interface Tormented {
  readonly ready: ClusterReady;
  /** Where clients reach the members, in the order of their names. */
  readonly endpoints: readonly string[];
  /** Each member's process, by name: another one after each start. */
  readonly pids: ReadonlyMap<string, number>;
  /** To be shown with a violation. */
  readonly said: string[];
}

/**
 * Runs against three members, on free ports, that are started again when they die, and ends them. What `run` throws is a
 * violation: a run that did not get through proves nothing. Resolves with the exit code; with violations the data stays.
 */
export async function torment(
  what: string,
  violations: string[],
  run: (cluster: Tormented) => Promise<void>,
): Promise<number> {
  const dir = mkdtempSync(join(process.cwd(), `quorate-data-${what}-`));
  const launcher = spawn(
    process.execPath,
    ["dist/cli/main.js", "cluster", "--base-port", "0", "--json", "--restart", "--dir", dir],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const pids = new Map<string, number>();
  const said: string[] = [];
  // The launcher names each member's new process on stderr when it is up again.
  createInterface({ input: launcher.stderr }).on("line", (line) => {
    said.push(line);
    if (said.length > SAID_MAX) said.shift();
    const up = /^(\S+) is up \(pid (\d+)\)/.exec(line);
    if (up !== null) pids.set(up[1]!, Number(up[2]));
  });
  const failed: unknown[] = [];
  try {
    const ready = await firstLine(launcher);
    for (const { name, pid } of ready.members) pids.set(name, pid);
    await run({ ready, endpoints: ready.members.map(({ clientUrl }) => clientUrl), pids, said });
  } catch (error) {
    failed.push(error);
    violations.push(`the run broke off: ${String(error)}`);
  }
  // One that is stopped could not end.
  for (const pid of pids.values()) signal(pid, "SIGCONT");
  const ended = new Promise<void>((resolve) => launcher.once("exit", () => resolve()));
  if (launcher.exitCode === null && launcher.kill("SIGTERM")) await ended;
  if (violations.length === 0) {
    rmSync(dir, { recursive: true, force: true });
    return 0;
  }
  for (const error of failed) console.error(error);
  process.stderr.write(`${said.join("\n")}\n${violations.join("\n")}\nthe data stays in ${dir}\n`);
  return 1;
}

async function firstLine(child: ChildProcess): Promise<ClusterReady> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line) as ClusterReady;
  throw new Error("the cluster ended before it was ready; run `npm run build` first");
}

/** False where there is no such process any more. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

/** Waits until every member names the same leader, so that what follows meets a whole cluster. */
export async function agreedLeader(client: Client, { members }: ClusterReady): Promise<string> {
  const limit = performance.now() + GIVE_UP_MS;
  while (performance.now() < limit) {
    const answers = await Promise.all(
      members.map(({ clientUrl }) => client.status(clientUrl, { timeoutMs: 1_000 }).catch(() => undefined)),
    );
    const leader = answers[0]?.leader;
    if (leader !== undefined && answers.every((answer) => answer?.leader === leader)) {
      const i = answers.findIndex((answer) => answer?.header.memberId === leader);
      if (i >= 0) return members[i]!.name;
    }
    await delay(50);
  }
  throw new Error("the members did not agree on a leader");
}

export async function until(condition: () => boolean, what: string, limitMs: number = GIVE_UP_MS): Promise<void> {
  const limit = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`gave up waiting: ${what}`);
    await delay(20);
  }
}
