/** A running cluster of any contender, as the benchmarks see it. What differs lies in quorate.ts, etcd.ts, antietcd.ts. */
import type { ChildProcess } from "node:child_process";
import { openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Scratch, stop } from "../support/scratch.ts";
import type { LoadKind } from "./load.ts";

export interface Contender {
  readonly name: string;
  /** Shown beside the table, where figures alone would mislead. */
  readonly note?: string | undefined;
  /** The command that puts load on it; it takes the flags of load.ts. */
  readonly loader: readonly string[];
  /** Loads that it cannot answer, with the reason. */
  readonly cannot: Partial<Readonly<Record<LoadKind, string>>>;
  /** More than puts and gets: fail-over, growth, replaced members. */
  readonly isFull: boolean;
  start(scratch: Scratch, name: string, nodes: number): Promise<Cluster>;
}

export interface Cluster {
  readonly members: readonly Member[];
  leader(): Promise<Member>;
  /** Takes this member out and starts a new one without data in its place. Resolves once that was started. */
  replace(member: Member): Promise<void>;
}

const POLL_MS = 10;
const CHANGE_MS = 30_000;
const RETRY_MS = 200;
/** A member with a million keys takes a while. */
const READY_MS = 120_000;

/** One member, through all its starts. */
export class Member {
  readonly name: string;
  /** For the load generators. */
  readonly endpoint: string;
  readonly #scratch: Scratch;
  readonly #isReady: () => Promise<boolean>;
  readonly #logFile: string;
  #command: readonly string[];
  #child: ChildProcess | undefined;

  constructor(
    scratch: Scratch,
    name: string,
    options: { endpoint: string; isReady: () => Promise<boolean>; logFile: string; command: readonly string[] },
  ) {
    this.name = name;
    this.endpoint = options.endpoint;
    this.#scratch = scratch;
    this.#isReady = options.isReady;
    this.#logFile = options.logFile;
    this.#command = options.command;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error(`${this.name} does not run`);
    return pid;
  }

  start(command: readonly string[] = this.#command): void {
    this.#command = command;
    const log = openSync(this.#logFile, "a");
    this.#child = this.#scratch.run(command[0]!, command.slice(1), {
      stdio: ["ignore", log, log],
      env: cleanEnvironment(),
    });
  }

  /** Resolves once it serves linearizable reads. */
  async ready(): Promise<void> {
    const limit = performance.now() + READY_MS;
    while (!(await this.#isReady())) {
      const child = this.#child;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null || performance.now() > limit) {
        throw new Error(`${this.name} did not get ready:\n${this.#said()}`);
      }
      await delay(POLL_MS);
    }
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#child !== undefined) await stop(this.#child, signal);
    this.#child = undefined;
  }

  #said(): string {
    return readFileSync(this.#logFile, "utf8").slice(-2_000);
  }
}

export function logFile(scratch: Scratch, name: string): string {
  return join(scratch.dir, `${name}.log`);
}

/** All of them, or none. */
export async function startAll(members: readonly Member[]): Promise<void> {
  for (const member of members) member.start();
  try {
    await Promise.all(members.map((member) => member.ready()));
  } catch (error) {
    await Promise.all(members.map((member) => member.stop("SIGKILL")));
    throw error;
  }
}

/** Whether etcd's `/health`, which quorate has too, says that this member serves linearizable reads. */
export function isHealthy(url: string): Promise<boolean> {
  return fetch(`${url}/health`, { signal: AbortSignal.timeout(2_000) }).then(
    async (response) => {
      await response.arrayBuffer();
      return response.ok;
    },
    () => false,
  );
}

export async function stopAll(cluster: Cluster): Promise<void> {
  // Nothing of it is needed any more.
  await Promise.all(cluster.members.map((member) => member.stop("SIGKILL")));
}

/** Changes of members are refused while members have not been in touch for a few seconds. */
export async function accepted(change: () => Promise<unknown>): Promise<void> {
  for (const limit = performance.now() + CHANGE_MS; ; await delay(RETRY_MS)) {
    try {
      await change();
      return;
    } catch (error) {
      if (performance.now() > limit) throw error;
    }
  }
}

/** A POST with a JSON body, and its answer. */
export async function post<T>(url: string, body: unknown): Promise<T> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(10_000),
  });
  if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
}

/** Settings of the shell that starts a benchmark are none of the members'. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(QUORATE_|ETCD_|NODE_OPTIONS|VITEST)/.test(name)),
  );
}
