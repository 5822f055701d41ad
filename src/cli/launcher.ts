/**
 * `quorate cluster`: real members in real processes, watched until they end. It owns processes and ports; consensus is
 * the members' business, and who leads is learned by asking them as any client would.
 */
import { type ChildProcess, fork } from "node:child_process";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { StoreError } from "../base/errors.ts";
import type { Client } from "../client/client.ts";
import { freeBlock } from "../platform/node/ports.ts";
import {
  type ClusterConfig,
  type ClusterOverrides,
  DEFAULT_BASE_PORT,
  memberNames,
  memberUrls,
  type ResolvedCluster,
  readClusterConfig,
  resolveCluster,
  toClusterConfig,
} from "./config.ts";
import { CommandError, Ended } from "./exit.ts";
import { type MemberFailed, type MemberReady, type StopMember, signalCounter } from "./member.ts";
import { firstTaken, hostAndPort } from "./ports.ts";

export interface LaunchOptions extends Omit<ClusterOverrides, "basePort"> {
  /** 0 takes a free block. */
  readonly basePort?: number | undefined;
  readonly restart: boolean;
  readonly json: boolean;
}

/** What `--json` prints, once. */
export interface ClusterReady {
  readonly event: "ready";
  readonly leader: string;
  readonly members: readonly {
    readonly name: string;
    readonly pid: number;
    readonly clientUrl: string;
    readonly peerUrl: string;
    readonly dir: string;
  }[];
}

/** The name under which a launched cluster's own settings lie in its directory. */
export const RUN_CONFIG = "cluster.config.json";
/** A member that has not ended this long after being told to is killed. */
const STOP_LIMIT_MS = 20_000;
const LEADER_POLL_MS = 25;
const STILL_WAITING_MS = 10_000;
const RESTART_BACKOFF_MAX_MS = 5_000;
/** What V8 takes by itself. */
const ENGINE_THREADS_MAX = 4;
/** A semi-space's. */
const YOUNG_MIB = 8;

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Runs until every member has ended. Returns after a clean stop; throws for everything else. */
export async function runCluster(options: LaunchOptions): Promise<void> {
  const file = options.config === undefined ? undefined : readClusterConfig(options.config);
  const cluster = await layOut(options, file);
  await refuseRunning(cluster.dir);
  const taken = await firstTaken(cluster.members.flatMap((member) => [member.clientUrl, member.peerUrl]));
  if (taken !== undefined) {
    const { host, port } = hostAndPort(taken);
    throw new StoreError("ADDRESS_IN_USE", { message: `quorate: the address ${host}:${port} is in use` });
  }
  await new Launcher(cluster, writeRunConfig(cluster), options).run();
}

/** Settles addresses. A free block that a directory's cluster used before is used again when it still is free. */
async function layOut(options: LaunchOptions, file: ClusterConfig | undefined): Promise<ResolvedCluster> {
  if (options.basePort !== 0) {
    const cluster = resolveCluster(options, file);
    refuseOtherCluster(cluster, earlierRun(cluster.dir));
    return cluster;
  }
  const names = memberNames(file, options.nodes);
  const { dir, token } = resolveCluster({ ...options, basePort: DEFAULT_BASE_PORT }, file);
  const earlier = earlierRun(dir);
  let basePort: number | undefined;
  if (earlier !== undefined && earlier.members.length === names.length) {
    const { port } = hostAndPort(earlier.members[0]!.clientUrl);
    const urls = names.flatMap((_, i) => Object.values(memberUrls(port, i + 1)));
    if ((await firstTaken(urls)) === undefined) basePort = port;
  }
  basePort ??= await freeBlock(2 * names.length);
  const cluster = resolveCluster({ ...options, token, basePort }, file);
  refuseOtherCluster(cluster, earlier);
  return cluster;
}

function earlierRun(dir: string): ClusterConfig | undefined {
  const file = join(dir, RUN_CONFIG);
  return existsSync(file) ? readClusterConfig(file) : undefined;
}

/** Its members read their settings from the file in there, so nobody else may write it. */
async function refuseRunning(dir: string): Promise<void> {
  const earlier = earlierRun(dir);
  if (earlier === undefined) return;
  const taken = await firstTaken(earlier.members.flatMap((member) => [member.clientUrl, member.peerUrl]));
  if (taken === undefined) return;
  throw new StoreError("DATA_DIR_IN_USE", {
    message: `quorate: the data directory is in use: ${dir} belongs to a cluster that has ${taken}, and something listens there`,
  });
}

/** Members would refuse too, but one by one and after having started. */
function refuseOtherCluster(cluster: ResolvedCluster, earlier: ClusterConfig | undefined): void {
  if (earlier === undefined || !cluster.members.some((member) => existsSync(member.dir))) return;
  const describe = (token: string, members: readonly { readonly name: string }[]) =>
    `${members.map((member) => member.name).join(", ")} (token ${token})`;
  const was = describe(earlier.token ?? "", earlier.members);
  const now = describe(cluster.token, cluster.members);
  if (was === now) return;
  throw new StoreError("DATA_DIR_MISMATCH", {
    message: `quorate: ${cluster.dir} holds the cluster of ${was}, not of ${now}`,
  });
}

/** Every member reads its settings from here, so `quorate server --name n1 --config <this>` runs one by hand. */
function writeRunConfig(cluster: ResolvedCluster): string {
  const file = join(cluster.dir, RUN_CONFIG);
  try {
    mkdirSync(cluster.dir, { recursive: true });
    writeFileSync(`${file}.new`, `${JSON.stringify(toClusterConfig(cluster), null, 2)}\n`);
    renameSync(`${file}.new`, file);
  } catch (error) {
    throw new CommandError("io", `cannot write ${file}: ${(error as Error).message.split(",")[0]}`);
  }
  return file;
}

/** One member's process, through all its restarts. */
interface Slot {
  readonly name: string;
  readonly dir: string;
  child: ChildProcess | undefined;
  ready: MemberReady | undefined;
  failed: MemberFailed | undefined;
  /** Consecutive ends before it was ready. */
  failures: number;
}

class Launcher {
  readonly #cluster: ResolvedCluster;
  readonly #configFile: string;
  readonly #restart: boolean;
  readonly #json: boolean;
  readonly #slots: Slot[];
  /** Aborted once everything shall stop. */
  readonly #stopping = new AbortController();
  #announced = false;
  #error: Error | undefined;
  #allEnded: () => void = () => {};
  #restartsPending = 0;

  constructor(cluster: ResolvedCluster, configFile: string, options: LaunchOptions) {
    this.#cluster = cluster;
    this.#configFile = configFile;
    this.#restart = options.restart;
    this.#json = options.json;
    this.#slots = cluster.members.map(({ name, dir }) => ({
      name,
      dir,
      child: undefined,
      ready: undefined,
      failed: undefined,
      failures: 0,
    }));
  }

  async run(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      this.#allEnded = resolve;
    });
    const signalled = signalCounter(
      () => {
        say("stopping: handing leadership over and closing (once more kills)");
        this.#stop();
      },
      (exitCode) => {
        for (const slot of this.#slots) slot.child?.kill("SIGKILL");
        process.exit(exitCode);
      },
    );
    process.on("SIGINT", () => signalled("SIGINT"));
    process.on("SIGTERM", () => signalled("SIGTERM"));
    process.on("SIGHUP", () => signalled("SIGTERM"));

    say(`starting ${this.#slots.map((slot) => slot.name).join(", ")} in ${this.#cluster.dir}`);
    for (const slot of this.#slots) this.#start(slot);
    this.#announce().catch((error: Error) => this.#giveUp(error));
    await ended;
    if (this.#error !== undefined) throw this.#error;
    say("stopped");
  }

  #start(slot: Slot): void {
    // Whoever says it himself has the last word; the environment would not, against an argument.
    const said = (process.env.NODE_OPTIONS ?? "").replaceAll("_", "-");
    const engine = engineOptions(this.#slots.length).filter((option) => !said.includes(option.split("=")[0]!));
    // The same interpreter and loaders as this process: Node on the build, or tsx on the source.
    const child = fork(mainFile(), ["server", "--launched", "--name", slot.name, "--config", this.#configFile], {
      stdio: ["ignore", 2, 2, "ipc"],
      env: memberEnvironment(),
      execArgv: [...engine, ...process.execArgv.filter((arg) => !arg.startsWith("--inspect"))],
    });
    slot.child = child;
    slot.ready = undefined;
    slot.failed = undefined;
    child.on("message", (message) => {
      const said = message as MemberReady | MemberFailed;
      if (said.event === "ready") {
        slot.ready = said;
        slot.failures = 0;
        say(`${slot.name} is up (pid ${said.pid}): clients ${said.clientUrl}, peers ${said.peerUrl}`);
      } else if (said.event === "failed") {
        slot.failed = said;
      }
    });
    child.once("error", (error) => this.#giveUp(error));
    child.once("exit", (code, signal) => this.#ended(slot, code, signal));
  }

  #ended(slot: Slot, code: number | null, signal: NodeJS.Signals | null): void {
    const pid = slot.child?.pid;
    slot.child = undefined;
    if (!this.#stopping.signal.aborted) {
      const why = slot.failed?.message ?? (signal === null ? `exit code ${code}` : `killed by ${signal}`);
      if (this.#restart && (this.#announced || slot.failed === undefined)) {
        this.#startAgain(slot, `${slot.name} (pid ${pid}) ended: ${why}`);
        return;
      }
      if (!this.#announced) {
        // A cluster that cannot start as asked does not start by half.
        this.#giveUp(new CommandError("error", `${slot.name}: ${why}`), slot.failed?.exitCode);
      } else {
        say(`${slot.name} (pid ${pid}) ended: ${why}`);
        if (this.#slots.every(({ child }) => child === undefined)) {
          this.#giveUp(new CommandError("error", "every member has ended"));
        }
      }
    }
    this.#settleIfEnded();
  }

  #startAgain(slot: Slot, report: string): void {
    const wait = slot.failures === 0 ? 0 : Math.min(RESTART_BACKOFF_MAX_MS, 100 * 2 ** slot.failures);
    slot.failures += 1;
    say(`${report}; starting it again${wait === 0 ? "" : ` in ${wait} ms`}`);
    this.#restartsPending += 1;
    delay(wait, undefined, { signal: this.#stopping.signal })
      .then(
        () => this.#start(slot),
        () => {}, // told to stop meanwhile
      )
      .finally(() => {
        this.#restartsPending -= 1;
        this.#settleIfEnded();
      });
  }

  #settleIfEnded(): void {
    const over = this.#stopping.signal.aborted && this.#restartsPending === 0;
    if (over && this.#slots.every(({ child }) => child === undefined)) this.#allEnded();
  }

  #giveUp(error: Error, exitCode?: number): void {
    if (this.#error !== undefined || this.#stopping.signal.aborted) return;
    this.#error = error;
    if (exitCode !== undefined) {
      say(`Error: ${error.message}`);
      this.#error = new Ended(exitCode);
    }
    this.#stop();
  }

  /** One after the other, so that each has somebody to hand its leadership to and writes under way still commit. */
  #stop(): void {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    const limit = setTimeout(() => {
      for (const slot of this.#slots) {
        if (slot.child === undefined) continue;
        say(`${slot.name} (pid ${slot.child.pid}) did not stop within ${STOP_LIMIT_MS / 1000} s: killed`);
        slot.child.kill("SIGKILL");
      }
    }, STOP_LIMIT_MS);
    limit.unref();
    void this.#stopInTurn().finally(() => this.#settleIfEnded());
  }

  async #stopInTurn(): Promise<void> {
    for (const [i, slot] of this.#slots.entries()) {
      const { child } = slot;
      if (child === undefined) continue;
      const others = this.#slots.slice(i + 1).some((later) => later.child !== undefined && later.ready !== undefined);
      const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
      const order: StopMember = { command: "stop", handOver: others };
      if (child.connected) child.send(order, () => {});
      else child.kill("SIGTERM");
      await gone;
    }
  }

  /** Waits until all members agree on a leader, then says so on stdout: the one line that programs wait for. */
  async #announce(): Promise<void> {
    const leader = await this.#findLeader();
    if (leader === undefined) return;
    const members = this.#slots.map(({ name, dir, ready }) => ({
      name,
      pid: ready?.pid ?? 0,
      clientUrl: ready?.clientUrl ?? "",
      peerUrl: ready?.peerUrl ?? "",
      dir,
    }));
    const ready: ClusterReady = { event: "ready", leader, members };
    this.#announced = true;
    const clients = members.map((member) => hostAndPort(member.clientUrl)).map(({ host, port }) => `${host}:${port}`);
    process.stdout.write(
      this.#json
        ? `${JSON.stringify(ready)}\n`
        : `quorate is ready: ${members.length} member${members.length === 1 ? "" : "s"}, leader ${leader}, endpoints ${clients.join(",")} (Ctrl-C stops)\n`,
    );
  }

  async #findLeader(): Promise<string | undefined> {
    const { connect } = await import("../node/connect.ts");
    let client: Client | undefined;
    let reportAt = performance.now() + STILL_WAITING_MS;
    try {
      while (!this.#stopping.signal.aborted) {
        const ready = this.#slots.map((slot) => slot.ready);
        if (ready.every((member) => member !== undefined)) {
          try {
            client ??= await connect({ endpoints: ready.map((member) => member.clientUrl) });
            const leader = await agreedLeader(client, ready, this.#stopping.signal);
            if (leader !== undefined) return leader;
          } catch {
            // A member that is still busy with its start; the next round asks again.
          }
        }
        if (performance.now() > reportAt) {
          reportAt += STILL_WAITING_MS;
          const missing = this.#slots.filter((slot) => slot.ready === undefined).map((slot) => slot.name);
          say(missing.length > 0 ? `still waiting for ${missing.join(", ")} to start` : "still waiting for a leader");
        }
        await delay(LEADER_POLL_MS, undefined, { signal: this.#stopping.signal }).catch(() => {});
      }
      return undefined;
    } finally {
      await client?.close();
    }
  }
}

/** The name of the leader that every member names, if they agree. */
async function agreedLeader(
  client: Client,
  members: readonly MemberReady[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const answers = await Promise.all(
    members.map((member) => client.status(member.clientUrl, { signal, timeoutMs: 1_000 })),
  );
  const leader = answers[0]?.leader;
  if (leader === undefined || answers.some((answer) => answer.leader !== leader)) return undefined;
  return members.find((member) => BigInt(`0x${member.id}`) === leader)?.name;
}

function mainFile(): string {
  const own = fileURLToPath(import.meta.url);
  return own.replace(/launcher\.(ts|js)$/, "main.$1");
}

/**
 * How the engine of each member shares the machine with the others.
 *
 * Threads for its collector and its compiler: of V8's four, those of two or three members take every processor of a small
 * machine from all loops at once, and each keeps memory of its own.
 *
 * Room for new objects, half of V8's: collecting them stops the loop for as long as what survived takes, and at a moderate load
 * that grows with the room, to 2 to 5 ms with V8's 16 MiB. With 8 it is about 1 ms, twice as often, and costs no more in all.
 */
export function engineOptions(members: number): string[] {
  const threads = Math.floor(availableParallelism() / members);
  const pool = Math.min(ENGINE_THREADS_MAX, Math.max(1, threads));
  return [`--v8-pool-size=${pool}`, `--max-semi-space-size=${YOUNG_MIB}`];
}

/** The launcher has already merged the environment into the file that members read. */
function memberEnvironment(): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of Object.keys(env)) if (name.startsWith("QUORATE_")) delete env[name];
  return env;
}
