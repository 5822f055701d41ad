/** Runs the `quorate` command as a real process. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { ClusterReady } from "../../src/cli/launcher.ts";

export const MAIN: string = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** A process whose output is collected, killed when the test ends whatever happened. */
export class Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ran>;
  stdout = "";
  stderr = "";
  #changed: () => void = () => {};

  constructor(args: readonly string[], options: RunOptions = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(QUORATE_|VITEST|NODE_OPTIONS)/.test(name));
    this.child = spawn(process.execPath, [MAIN, ...args], {
      cwd: options.cwd,
      env: { ...Object.fromEntries(inherited), NO_COLOR: "1", ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.child.stdout?.on("data", (data: Buffer) => {
      this.stdout += data.toString();
      this.#changed();
    });
    this.child.stderr?.on("data", (data: Buffer) => {
      this.stderr += data.toString();
      this.#changed();
    });
    this.child.stdin?.on("error", () => {}); // it may end before it has read its input
    this.child.stdin?.end(options.stdin ?? "");
    this.ended = new Promise((resolve) => {
      this.child.once("close", (code) => {
        this.#changed();
        resolve({ code, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Waits until the output so far satisfies this; throws if the process ends first. */
  async until(done: (running: this) => boolean): Promise<void> {
    while (!done(this)) {
      if (this.child.exitCode !== null || this.child.signalCode !== null) {
        throw new Error(`ended with ${this.child.exitCode ?? this.child.signalCode} too early:\n${this.stderr}`);
      }
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }
}

export function start(args: readonly string[], options: RunOptions = {}): Running {
  const running = new Running(args, options);
  onTestFinished(async () => {
    // SIGTERM first: a launcher killed outright leaves its members a moment longer than the test.
    running.kill("SIGTERM");
    await running.ended;
  });
  return running;
}

/** Runs to the end. */
export function quorate(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return start(args, options).ended;
}

export function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "quorate-cli-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  return dir;
}

export interface RunningCluster {
  readonly launcher: Running;
  readonly ready: ClusterReady;
  /** For `--endpoints`. */
  readonly endpoints: string;
}

/** A cluster on free ports, once its ready line is out. */
export async function startCluster(dir: string, ...args: readonly string[]): Promise<RunningCluster> {
  const launcher = start(["cluster", "--base-port", "0", "--dir", dir, "--json", ...args]);
  await launcher.until(({ stdout }) => stdout.includes("\n"));
  const ready = JSON.parse(launcher.stdout) as ClusterReady;
  return { launcher, ready, endpoints: ready.members.map((member) => member.clientUrl.replace("ws://", "")).join(",") };
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
