/**
 * `npm run contend`: contenders for one lock and one election, in processes of their own, on a real cluster, while leaders
 * are killed and members and contenders stopped past the TTL. Checked: no effect of an older token lands after a newer
 * one's, tokens rise, one holder at a time up to its deadline, losses are learned in time, everybody gets a turn again.
 */
import { type ChildProcess, fork } from "node:child_process";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { prng, randomInt } from "../src/base/prng.ts";
import type { ClusterReady } from "../src/cli/launcher.ts";
import { connect } from "../src/node/connect.ts";
import {
  checkFencing,
  checkObservations,
  type Effect,
  landedEffects,
  type Observation,
  type Stop,
  type Tenure,
  unguardedOverlaps,
} from "../src/testing/index.ts";
import { launch } from "./cluster.ts";

export type ToContender = { readonly kind: "stop" };
export type FromContender =
  /** `holds`: one of its contenders has the lock, or leads. */
  | { readonly kind: "turns"; readonly turns: readonly number[]; readonly holds: boolean }
  | {
      readonly kind: "records";
      readonly of: "lock" | "election";
      readonly tenures: readonly Tenure[];
      readonly effects: readonly Effect[];
      readonly observed: Readonly<Record<string, readonly Observation[]>>;
      readonly proclaimed: readonly string[];
      readonly errors: Readonly<Record<string, number>>;
      readonly unexpected: readonly string[];
    }
  | { readonly kind: "done" };

type Records = Extract<FromContender, { kind: "records" }>;

/** On a busy machine a process that may run does not run at once. */
const SLACK_MS = 1_000;
const PROGRESS_MS = 120_000;

interface Worker {
  readonly label: string;
  readonly child: ChildProcess;
  readonly records: Records[];
  turns: readonly number[];
  holds: boolean;
  readonly done: Promise<void>;
}

const now = (): number => Number(process.hrtime.bigint()) / 1e6;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      /** Of the lock, and as many of the election. */
      contenders: { type: "string", default: "20" },
      processes: { type: "string", default: "5" },
      ttl: { type: "string", default: "3" },
      seed: { type: "string", default: String(Math.floor(now()) % 1_000_000) },
      json: { type: "boolean", default: false },
    },
  });
  const [contenders, processes, ttl, seed] = [values.contenders, values.processes, values.ttl, values.seed].map(Number);
  const random = prng(seed!);
  const { dir, launcher, pids, said } = launch("contend");
  const workers: Worker[] = [];
  const violations: string[] = [];
  try {
    const ready = await firstLine(launcher);
    for (const { name, pid } of ready.members) pids.set(name, pid);
    const endpoints = ready.members.map(({ clientUrl }) => clientUrl);
    await using client = await connect({ endpoints });
    for (let i = 0; i < processes!; i++) {
      const share = Math.floor(contenders! / processes!) + (i < contenders! % processes! ? 1 : 0);
      if (share > 0) workers.push(startWorker(`p${i}/`, [share, ttl!, seed! + 10 * i].map(String), endpoints));
    }
    await until(() => workers.every(({ turns }) => turns.length > 0), 60_000, "contenders to start");

    const stops: Stop[] = [];
    const faults = { leadersKilled: 0, membersStopped: 0, contendersStopped: 0 };
    const end = now() + Number(values.seconds) * 1_000;
    const kill = async (): Promise<void> => {
      while (now() < end) {
        // Each new leader gives leases their TTL anew: with quiet times between, those of stopped holders end too.
        await delay(faults.leadersKilled === 0 ? 1_500 : 2_000 + random() * 5_000 * ttl!);
        if (now() >= end) return;
        const leader = await leaderName(client, ready);
        const pid = leader === undefined ? undefined : pids.get(leader);
        if (pid === undefined || !signal(pid, "SIGKILL")) continue;
        faults.leadersKilled += 1;
      }
    };
    const stopMembers = async (): Promise<void> => {
      while (now() < end) {
        await delay(2_000 + random() * 4_000);
        if (now() >= end) return;
        const pid = [...pids.values()][randomInt(random, 0, pids.size - 1)]!;
        if (!signal(pid, "SIGSTOP")) continue;
        faults.membersStopped += 1;
        await delay(500 + random() * 1_000 * (ttl! + 1));
        signal(pid, "SIGCONT");
      }
    };
    const stopContenders = async (): Promise<void> => {
      while (now() < end) {
        await delay(500 + random() * 3_000);
        if (now() >= end) return;
        // One that holds, more often than not: it is the one that may do harm.
        const holding = workers.filter(({ holds }) => holds);
        const among = holding.length > 0 && random() < 0.8 ? holding : workers;
        const worker = among[randomInt(random, 0, among.length - 1)]!;
        const from = now();
        worker.child.kill("SIGSTOP");
        faults.contendersStopped += 1;
        // Past the TTL, so that what they hold goes to others.
        await delay(1_000 * ttl! + 1_000 + random() * 5_000);
        const stopped = now();
        worker.child.kill("SIGCONT");
        for (let i = 0; i < contenders!; i++)
          stops.push({ holder: `${worker.label}contender ${i}`, from, until: stopped });
      }
    };
    await Promise.all([kill(), stopMembers(), stopContenders()]);

    const before = workers.map(({ turns }) => turns);
    const lagging = (): number =>
      workers.reduce((sum, { turns }, w) => sum + turns.filter((count, i) => count <= before[w]![i]!).length, 0);
    const healedAt = now();
    await until(() => lagging() === 0, PROGRESS_MS).catch(() => {});
    const progressMs = now() - healedAt;
    if (lagging() > 0) violations.push(`progress resumes: ${lagging()} contenders had no turn in ${PROGRESS_MS} ms`);

    for (const { child } of workers) child.send({ kind: "stop" } satisfies ToContender);
    await Promise.all(workers.map(({ done }) => done));
    const results: Record<string, Readonly<Record<string, number>>> = {};
    for (const kind of ["lock", "election"] as const) {
      const records = workers.flatMap((worker) => worker.records.filter(({ of }) => of === kind));
      const tenures = records.flatMap((each) => each.tenures);
      const effects = records.flatMap((each) => each.effects);
      const landed = await landedEffects(client, kind);
      const verdicts = checkFencing({ tenures, effects, landed, stops, slackMs: SLACK_MS });
      const observed = Object.assign({}, ...records.map((each) => each.observed)) as Records["observed"];
      const proclaimed = new Set(records.flatMap((each) => each.proclaimed));
      for (const [promise, verdict] of [
        ...Object.entries(verdicts),
        ["observers see leaders in order", checkObservations(observed, proclaimed)] as const,
      ]) {
        if (verdict.verdict !== "ok") violations.push(`${kind}: ${promise}: ${verdict.message}`);
      }
      for (const text of records.flatMap((each) => each.unexpected))
        violations.push(`${kind}: without a name: ${text}`);
      results[kind] = {
        turns: tenures.length,
        lost: tenures.filter(({ lost }) => lost).length,
        effectsLanded: landed.length,
        effectsRefused: effects.filter(({ outcome }) => outcome === "refused").length,
        effectsUnknown: effects.filter(({ outcome }) => outcome === "unknown").length,
        unguardedOverlaps: unguardedOverlaps(tenures),
        observations: Object.values(observed).reduce((sum, each) => sum + each.length, 0),
      };
    }
    const figures = {
      seed: seed!,
      contenders: contenders!,
      processes: workers.length,
      ttl: ttl!,
      ...faults,
      progressMs,
      ...results,
      violations,
    };
    process.stdout.write(
      values.json
        ? `${JSON.stringify(figures)}\n`
        : `${JSON.stringify(figures, undefined, 2)}\n${violations.join("\n")}\n`,
    );
  } finally {
    for (const { child } of workers) {
      child.kill("SIGCONT");
      child.kill("SIGKILL");
    }
    for (const pid of pids.values()) signal(pid, "SIGCONT");
    const ended = new Promise<void>((resolve) => launcher.once("exit", () => resolve()));
    if (launcher.exitCode === null && launcher.kill("SIGTERM")) await ended;
    if (violations.length === 0) rmSync(dir, { recursive: true, force: true });
    else process.stderr.write(`${said.join("\n")}\nthe data stays in ${dir}\n`);
  }
  return violations.length === 0 ? 0 : 1;
}

function startWorker(label: string, args: readonly string[], endpoints: readonly string[]): Worker {
  const child = fork(fileURLToPath(new URL("contender.ts", import.meta.url)), [label, ...args, ...endpoints], {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const records: Records[] = [];
  let worker: Worker | undefined;
  const done = new Promise<void>((resolve, reject) => {
    child.on("message", (message: FromContender) => {
      if (message.kind === "done") resolve();
      else if (message.kind === "records") records.push(message);
      else if (worker !== undefined) Object.assign(worker, { turns: message.turns, holds: message.holds });
    });
    child.once("exit", (code, by) => reject(new Error(`contender ${label} ended with ${code ?? by}`)));
  });
  done.catch(() => {}); // whoever waits hears of it
  worker = { label, child, records, turns: [], holds: false, done };
  return worker;
}

/** False where there is no such process any more. */
function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch {
    return false;
  }
}

async function firstLine(child: ChildProcess): Promise<ClusterReady> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line) as ClusterReady;
  throw new Error("the cluster ended before it was ready; run `npm run build` first");
}

/** As the members that answer see it. */
async function leaderName(
  client: Awaited<ReturnType<typeof connect>>,
  ready: ClusterReady,
): Promise<string | undefined> {
  const answers = await Promise.all(
    ready.members.map(({ clientUrl }) => client.status(clientUrl, { timeoutMs: 1_000 }).catch(() => undefined)),
  );
  const i = answers.findIndex((answer) => answer !== undefined && answer.leader === answer.header.memberId);
  return ready.members[i]?.name;
}

async function until(condition: () => boolean, limitMs: number, what = "it"): Promise<void> {
  const limit = now() + limitMs;
  while (!condition()) {
    if (now() > limit) throw new Error(`gave up waiting for ${what}`);
    await delay(50);
  }
}

process.exit(await main());
