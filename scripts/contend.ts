/**
 * `npm run contend`: contenders for one lock and one election, in processes of their own, on a real cluster, while leaders
 * are killed and members and contenders stopped past the TTL. Checked: no effect of an older token lands after a newer
 * one's, tokens rise, one holder at a time up to its deadline, losses are learned in time, everybody gets a turn again.
 */
import { type ChildProcess, fork } from "node:child_process";
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
import { count, seedOf } from "./arguments.ts";
import { signal, torment, until } from "./cluster.ts";
import { keepPace, leastFaults, type Pace } from "./pace.ts";

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

type Faults = Readonly<Record<"leadersKilled" | "membersStopped" | "contendersStopped" | "holdersStopped", number>>;
type Paces = Readonly<Record<Exclude<keyof Faults, "holdersStopped">, Pace>>;

function pacesOf(ttl: number): Paces {
  return {
    // Each new leader gives leases their TTL anew: with quiet times between, those of stopped holders end too.
    leadersKilled: { first: [1_500, 1_500], pause: [2_000, 2_000 + 5_000 * ttl], lasts: [0, 0] },
    membersStopped: { first: [2_000, 6_000], pause: [2_000, 6_000], lasts: [500, 500 + 1_000 * (ttl + 1)] },
    // Past the TTL, so that what they hold goes to others.
    contendersStopped: { first: [500, 3_500], pause: [500, 3_500], lasts: [1_000 * (ttl + 1), 1_000 * (ttl + 6)] },
  };
}

/** A green run means that the faults were there: one line for each kind that was not. */
function tooFew(faults: Faults, paces: Paces, seconds: number): string[] {
  const least = { ...faults };
  for (const kind of Object.keys(paces) as (keyof Paces)[]) least[kind] = leastFaults(paces[kind], seconds * 1_000);
  least.holdersStopped = Math.min(1, least.contendersStopped);
  return (Object.keys(faults) as (keyof Faults)[])
    .filter((kind) => faults[kind] < least[kind])
    .map((kind) => `too few faults: ${kind} ${faults[kind]} in ${seconds} s, at least ${least[kind]} are due`);
}

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
  const seconds = count(values.seconds, "seconds");
  const contenders = count(values.contenders, "contenders");
  const processes = count(values.processes, "processes");
  const ttl = count(values.ttl, "ttl");
  const seed = seedOf(values.seed);
  const random = prng(seed);
  const workers: Worker[] = [];
  const violations: string[] = [];
  return torment("contend", violations, async ({ ready, endpoints, pids }) => {
    try {
      await using client = await connect({ endpoints });
      for (let i = 0; i < processes; i++) {
        const share = Math.floor(contenders / processes) + (i < contenders % processes ? 1 : 0);
        if (share > 0) workers.push(startWorker(`p${i}/`, [share, ttl, seed + 10 * i].map(String), endpoints));
      }
      await until(() => workers.every(({ turns }) => turns.length > 0), "contenders to start");

      const stops: Stop[] = [];
      const faults = { leadersKilled: 0, membersStopped: 0, contendersStopped: 0, holdersStopped: 0 };
      const paces = pacesOf(ttl);
      const end = now() + seconds * 1_000;
      const isOver = (): boolean => now() >= end;
      const kill = keepPace(paces.leadersKilled, random, isOver, async () => {
        const leader = await leaderName(client, ready);
        const pid = leader === undefined ? undefined : pids.get(leader);
        if (pid === undefined || !signal(pid, "SIGKILL")) return false;
        faults.leadersKilled += 1;
        return true;
      });
      const stopMembers = keepPace(paces.membersStopped, random, isOver, async (ms) => {
        const pid = [...pids.values()][randomInt(random, 0, pids.size - 1)]!;
        if (!signal(pid, "SIGSTOP")) return false;
        faults.membersStopped += 1;
        await delay(ms);
        signal(pid, "SIGCONT");
        return true;
      });
      const stopContenders = keepPace(paces.contendersStopped, random, isOver, async (ms) => {
        // One that holds, more often than not, and once for certain: it is the one that may do harm.
        const holding = workers.filter(({ holds }) => holds);
        const wantsHolder = faults.holdersStopped === 0 || random() < 0.8;
        const among = wantsHolder && holding.length > 0 ? holding : workers;
        const worker = among[randomInt(random, 0, among.length - 1)]!;
        const from = now();
        if (worker.holds) faults.holdersStopped += 1;
        worker.child.kill("SIGSTOP");
        faults.contendersStopped += 1;
        await delay(ms);
        const stopped = now();
        worker.child.kill("SIGCONT");
        for (let i = 0; i < contenders; i++)
          stops.push({ holder: `${worker.label}contender ${i}`, from, until: stopped });
        return true;
      });
      await Promise.all([kill, stopMembers, stopContenders]);
      violations.push(...tooFew(faults, paces, seconds));

      const before = workers.map(({ turns }) => turns);
      const lagging = (): number =>
        workers.reduce((sum, { turns }, w) => sum + turns.filter((count, i) => count <= before[w]![i]!).length, 0);
      const healedAt = now();
      await until(() => lagging() === 0, "turns", PROGRESS_MS).catch(() => {});
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
        seed,
        contenders,
        processes: workers.length,
        ttl,
        ...faults,
        progressMs,
        ...results,
        violations,
      };
      process.stdout.write(values.json ? `${JSON.stringify(figures)}\n` : `${JSON.stringify(figures, undefined, 2)}\n`);
    } finally {
      for (const { child } of workers) {
        child.kill("SIGCONT");
        child.kill("SIGKILL");
      }
    }
  });
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

process.exit(await main());
