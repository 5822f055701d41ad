/**
 * What a benchmark leaves behind: nothing. Its directory lies on this disk, and it and every process started through
 * `run` go when the benchmark ends, is interrupted or fails.
 */
import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statfsSync } from "node:fs";
import { join } from "node:path";

const TMPFS = 0x01021994;
const SIGNALS = { SIGINT: 2, SIGHUP: 1, SIGTERM: 15 } as const;
/** A process that was told to stop and has not after this long is killed. */
const STOP_MS = 20_000;

export class Scratch implements AsyncDisposable {
  readonly dir: string;
  readonly #children = new Set<ChildProcess>();
  readonly #onSignal = (signal: keyof typeof SIGNALS): void => {
    this.#killAll();
    process.exit(128 + SIGNALS[signal]);
  };
  readonly #onExit = (): void => this.#killAll();

  /** Below this directory, for the system's temporary one may be in memory, where fsync costs nothing. */
  constructor(name: string) {
    this.dir = mkdtempSync(join(process.cwd(), `quorate-data-bench-${name}-`));
    for (const signal of Object.keys(SIGNALS) as (keyof typeof SIGNALS)[]) process.on(signal, this.#onSignal);
    process.on("exit", this.#onExit);
    if (statfsSync(this.dir).type === TMPFS) {
      throw new Error(`${this.dir} is on tmpfs: run on a real disk, or fsync costs nothing`);
    }
  }

  /** Ends with this process, even where that is killed outright (where `setpriv` is installed). */
  run(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    const child = diesWithParent()
      ? spawn("setpriv", ["--pdeathsig", "KILL", command, ...args], options)
      : spawn(command, args, options);
    this.adopt(child);
    return child;
  }

  /** Ends it too. */
  adopt(child: ChildProcess): void {
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    // Who waits for it hears of it by its exit.
    child.once("error", () => this.#children.delete(child));
  }

  /** Removes the data of processes that have ended. Programs built into it stay. */
  empty(): void {
    for (const entry of readdirSync(this.dir, { withFileTypes: true })) {
      if (entry.isDirectory()) rmSync(join(this.dir, entry.name), { recursive: true, force: true, maxRetries: 5 });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#children].map((child) => stop(child, "SIGKILL")));
    for (const signal of Object.keys(SIGNALS)) process.off(signal, this.#onSignal);
    process.off("exit", this.#onExit);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  #killAll(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    // Those killed may still be writing: a second try finds what they left.
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Resolves once it has ended. */
export async function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  const limit = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(limit);
}

let hasSetpriv: boolean | undefined;

function diesWithParent(): boolean {
  hasSetpriv ??= spawnSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" }).status === 0;
  return hasSetpriv;
}
