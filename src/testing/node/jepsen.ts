/**
 * Real processes, real sockets, real disks under faults, with the simulator's workloads, history and checkers. One run is
 * one cluster: it starts, is tormented, is left in peace, and must then have kept every promise.
 */
import { existsSync, mkdirSync } from "node:fs";
import { encodeUtf8 } from "../../base/bytes.ts";
import { crc32 } from "../../base/crc32.ts";
import { prng, type RandomSource } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import { connect } from "../../node/connect.ts";
import type { Clock } from "../../platform/clock.ts";
import { NodeClock } from "../../platform/node/clock.ts";
import { checkAvailability } from "../checkers/availability.ts";
import { checkLeases } from "../checkers/leases.ts";
import { checkLinearizability } from "../checkers/linearizability.ts";
import { checkLostWrites } from "../checkers/lost-writes.ts";
import { checkSerializable } from "../checkers/serializable.ts";
import { OK, type Verdict, violation } from "../checkers/verdict.ts";
import { checkWatches } from "../checkers/watches.ts";
import { Collector } from "../collector.ts";
import { withFragment } from "../fragment.ts";
import { History } from "../history.ts";
import { type CustomFault, FASTEST_CLOCK, Nemesis } from "../nemesis.ts";
import type { RunSummary } from "../report.ts";
import { type Call, KvWorkload, toKeyValue } from "../workloads/kv.ts";
import { LeaseWorkload } from "../workloads/leases.ts";
import { TURN_WORKLOADS, type TurnWorkload } from "../workloads/turns.ts";
import { WatchWorkload } from "../workloads/watches.ts";
import { canMount, ProcessCluster } from "./process-cluster.ts";

export interface JepsenOptions {
  readonly nodes: number;
  readonly seconds: number;
  /** Names of `JEPSEN_FAULTS`; what this machine does not allow is skipped, with the reason. */
  readonly faults: readonly string[];
  /** Names of `JEPSEN_WORKLOADS`, which run together. Leases move revisions by themselves and run alone. */
  readonly workloads: readonly string[];
  /** Draws faults and operations. Real processes keep their own time: a seed repeats the plan, not the run. */
  readonly seed: number;
  readonly dir: string;
  readonly main: string;
  readonly replay: string;
  /** Told each second, for people who wait. */
  readonly onProgress?: (line: string) => void;
}

export interface JepsenReport {
  readonly summary: RunSummary;
  readonly history: History;
}

/** Append a row for a new workload: turns of clients on one store, or one of the two special ones. */
export const JEPSEN_WORKLOADS: readonly string[] = ["kv", ...Object.keys(TURN_WORKLOADS), "watches", "leases"];

/** Every fault that real processes can be given. Append rows; `skip` says why a machine cannot. */
export const JEPSEN_FAULTS: readonly string[] = [
  "partition",
  "one-way partition",
  "partial partition",
  "bridge",
  "flapping links",
  "slow links",
  "broken connections",
  "byte rate",
  "kill",
  "kill of several",
  "kill of all",
  "pause",
  "rolling restart",
  "leadership transfer",
  "member replacement",
  "membership change",
  "compaction",
  "bit flip",
  "disk full",
  "fast clock",
  "slow clock",
  "clock jump",
  "leader isolation",
  "sleeping leader",
];

const ELECTION_MS = 1_000;
const WINDOW_MS = 10 * ELECTION_MS;
const SETTLE_MS = 60_000;
const THINK_MS = 40;
const WORKERS_PER_NODE = 3;
const WATCHERS = 8;
const LIBFAKETIME: readonly string[] = [
  "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
  "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
  "/usr/lib64/faketime/libfaketimeMT.so.1",
];
/** Members that catch up by snapshot, and flushes that faults can hit, in minutes instead of hours. */
const FLAGS: readonly string[] = [
  ...["--trailing-entries", "200", "--flush-interval-ms", "300", "--election-timeout-ms", `${ELECTION_MS}`],
];

export async function jepsen(options: JepsenOptions): Promise<JepsenReport> {
  const { nodes, seed, dir } = options;
  const clock = new NodeClock();
  const begun = clock.now();
  // Every record counts from the beginning of the run.
  const time: Clock = {
    now: () => clock.now() - begun,
    wallNow: () => clock.wallNow(),
    after: (ms, callback) => clock.after(ms, callback),
    every: (ms, callback) => clock.every(ms, callback),
    defer: (callback) => clock.defer(callback),
  };
  const random = (label: string): RandomSource => prng((seed ^ crc32(encodeUtf8(label))) >>> 0);
  const history = new History();
  const { kinds, skipped, faketime, smallDisks } = allowed(options.faults, dir);
  const roles = new Map<string, string>();
  const cluster = new ProcessCluster({
    nodes,
    dir,
    main: options.main,
    clock: time,
    random: random("cluster"),
    note: (note, member, detail) => history.note(time.now(), note, member, detail),
    onRole: (member, role, term) => {
      if (roles.get(member) === `${role} ${term}`) return;
      roles.set(member, `${role} ${term}`);
      history.add({ type: "role", time: time.now(), member, role, term });
    },
    onHealth: (connected, quorum) => history.add({ type: "health", time: time.now(), connected, quorum }),
    smallDisks,
    flags: FLAGS,
    ...(faketime === undefined ? {} : { faketime }),
  });
  const verdicts: Record<string, Verdict> = {};
  const clients: Client[] = [];
  const open = async (endpoints: readonly string[]): Promise<Client> => {
    const client = await connect({ endpoints });
    clients.push(client);
    return client;
  };
  const kvs: KvWorkload[] = [];
  const turns: TurnWorkload[] = [];
  let leases: LeaseWorkload | undefined;
  let watches: WatchWorkload | undefined;
  let collector: Collector | undefined;
  const nemesis = new Nemesis({
    clock: time,
    random: random("nemesis"),
    controls: cluster,
    kinds,
    custom: customFaults(cluster),
    meanPauseMs: 2_500,
    onFault: (fault) => history.fault(time.now(), fault),
  });
  try {
    await cluster.open();
    if (!(await cluster.ready())) throw new Error(`jepsen: the cluster did not start: ${cluster.failures.join("; ")}`);
    options.onProgress?.(`members run: pids ${cluster.pids.join(" ")}`);
    const urls = cluster.clientUrls();
    if (options.workloads.includes("leases")) {
      const holders = await Promise.all(Array.from({ length: 2 * nodes }, () => open(urls)));
      leases = new LeaseWorkload({
        clock: time,
        random: random("leases"),
        clients: holders,
        note: (note, detail) => history.note(time.now(), note, "", detail),
        onCall: (call) => history.add({ type: "call", ...call }),
      });
      leases.start();
    } else {
      const named = options.workloads.filter((name) => name !== "watches");
      const workers = Math.max(named.length, WORKERS_PER_NODE * nodes);
      for (const [i, name] of named.entries()) {
        const mine = Array.from({ length: workers }, (_, w) => w).filter((w) => w % named.length === i);
        // Every other worker talks to one member only, so that each is asked whatever state it is in.
        const own = await Promise.all(mine.map((w) => open(w % 2 === 0 ? urls : [urls[w % urls.length]!])));
        const turn = TURN_WORKLOADS[name];
        if (turn !== undefined) turns.push(turn);
        kvs.push(
          new KvWorkload({
            clock: time,
            random: random(name),
            history,
            calls: own.map((client) => (request, call) => client.request(request, call)),
            thinkMs: THINK_MS,
            firstProcess: kvs.length * workers,
            ...(turn === undefined ? {} : { turn: turn.turn() }),
          }),
        );
      }
      if (options.workloads.includes("watches")) {
        const readers = await Promise.all(Array.from({ length: WATCHERS }, () => open(urls)));
        watches = new WatchWorkload({ clock: time, random: random("watches"), clients: readers });
        collector = collectorOf(await open(cluster.directUrls()), time);
        cluster.compactLimit = () => collector?.collected ?? 1;
        watches.start();
        collector.start();
      }
      for (const kv of kvs) kv.start();
    }
    const from = time.now();
    if (kinds.length > 0) nemesis.start();
    for (let second = 1; second <= options.seconds; second++) {
      await wait(time, 1_000);
      if (second % 10 === 0 || second === options.seconds)
        options.onProgress?.(progress(second, options, history, nemesis, cluster));
    }
    history.note(time.now(), "faults end");
    const healed = await within(time, nemesis.stop(), SETTLE_MS);
    verdicts["faults heal"] = healed ? OK : violation(`a fault was not over ${SETTLE_MS} ms after the last began`);
    const to = time.now();
    const working = [...kvs, ...(leases === undefined ? [] : [leases])];
    const quiet = await within(time, Promise.all(working.map((each) => each.stop())), SETTLE_MS);
    verdicts["every call is answered"] = quiet ? OK : violation(`calls had no answer ${SETTLE_MS} ms after the faults`);
    verdicts["operations succeed while a majority is connected"] = checkAvailability(history.records, {
      windowMs: WINDOW_MS,
      from,
      to,
    });
    const converged = await cluster.until(() => cluster.converged, SETTLE_MS);
    verdicts["the cluster converges"] = converged ? OK : violation(`not converged ${SETTLE_MS} ms after the faults`);
    if (leases === undefined) await finalChecks(await open(urls), time, history, turns, verdicts);
    if (watches !== undefined && collector !== undefined) {
      Object.assign(verdicts, await watchVerdicts(time, watches, collector, cluster.compactedTo));
    }
    verdicts["no member fails"] = cluster.failures.length === 0 ? OK : violation(cluster.failures.join("; "));
  } finally {
    await Promise.all(clients.map((client) => client.close().catch(() => {})));
    await cluster.close();
  }
  const end = time.now();

  if (leases !== undefined) {
    const fast = kinds.includes("fast clock") ? { fastestClock: FASTEST_CLOCK } : {};
    verdicts["no lease ends early"] = checkLeases(leases.lives, fast);
  } else {
    options.onProgress?.("checking the history");
    const operations = history.operations();
    verdicts.linearizability = withFragment(
      checkLinearizability(operations, { maxStates: 2_000_000 }),
      operations,
      (some) => checkLinearizability(some, { maxStates: 3_000 }),
    );
    verdicts["serializable reads"] = checkSerializable(history.records, { maxStates: 2_000_000 });
  }
  verdicts["hash agreement"] = cluster.hashes.verdict();
  const working = [...kvs, ...(leases === undefined ? [] : [leases])];
  const unexpected = working.flatMap((each) => each.unexpected);
  verdicts["errors are named"] = unexpected.length === 0 ? OK : violation(unexpected.map(String).join("; "));

  for (const life of leases?.lives ?? []) history.add({ type: "lease", time: end, life });
  for (const watch of watches?.records() ?? []) history.add({ type: "watch", time: end, watch });
  if (watches !== undefined) cluster.counters.count("watch compacted", watches.compacted);
  const operations = { invoked: 0, ok: 0, failed: 0, unknown: 0 };
  const errors: Record<string, number> = {};
  for (const { counts, errors: codes } of working) {
    for (const key of Object.keys(operations) as (keyof typeof operations)[]) operations[key] += counts[key];
    for (const [code, count] of codes) errors[code] = (errors[code] ?? 0) + count;
  }
  const summary: RunSummary = {
    harness: "jepsen",
    ok: Object.values(verdicts).every(({ verdict }) => verdict === "ok"),
    replay: options.replay,
    nodes,
    workload: options.workloads.join(","),
    durationMs: end,
    verdicts,
    operations,
    errors,
    faults: Object.fromEntries(kinds.map((kind) => [kind, nemesis.counts.get(kind) ?? 0])),
    rareEvents: Object.fromEntries(Object.entries(cluster.counters.toJSON()).filter(([, count]) => count > 0)),
    skipped,
  };
  return { summary, history };
}

/** What this machine allows of what was asked for. */
function allowed(
  asked: readonly string[],
  dir: string,
): {
  readonly kinds: readonly string[];
  readonly skipped: Readonly<Record<string, string>>;
  readonly faketime: string | undefined;
  readonly smallDisks: boolean;
} {
  mkdirSync(dir, { recursive: true });
  const skipped: Record<string, string> = {};
  const clocks = asked.filter((kind) => kind.endsWith("clock") || kind === "clock jump");
  const faketime = clocks.length === 0 ? undefined : LIBFAKETIME.find((file) => existsSync(file));
  if (faketime === undefined) for (const kind of clocks) skipped[kind] = "libfaketime is not installed";
  const smallDisks = asked.includes("disk full") && canMount(dir);
  if (asked.includes("disk full") && !smallDisks)
    skipped["disk full"] = "no small file system can be mounted (needs root)";
  return { kinds: asked.filter((kind) => skipped[kind] === undefined), skipped, faketime, smallDisks };
}

/** Faults of real processes that the simulator knows no equal of. Append rows. */
function customFaults(cluster: ProcessCluster): Readonly<Record<string, CustomFault>> {
  return {
    "broken connections": async ({ random, lastingMs, begin, end, wait }) => {
      begin("");
      for (let left = lastingMs; left > 0; left -= 200) {
        cluster.breakConnections(0.1 + 0.4 * random());
        await wait(200);
      }
      end("");
    },
    "byte rate": async ({ random, lastingMs, begin, end, wait }) => {
      const rate = Math.round(20_000 + random() * 200_000);
      begin(`${rate} bytes/s`);
      cluster.limitRate(rate);
      await wait(lastingMs);
      cluster.limitRate(Infinity);
      end("");
    },
    "kill of all": async ({ random, begin, end, wait }) => {
      begin("");
      const names = [...cluster.names];
      for (const name of names) cluster.kill(name);
      for (const name of names) {
        await wait(random() * 500);
        cluster.start(name);
      }
      end("");
    },
    "rolling restart": async ({ begin, end, wait }) => {
      begin("");
      for (const name of [...cluster.names]) {
        await cluster.stop(name);
        cluster.start(name);
        await wait(1_500);
      }
      end("");
    },
  };
}

function collectorOf(client: Client, clock: Clock): Collector {
  const [key, rangeEnd] = [encodeUtf8("k"), encodeUtf8("l")];
  return new Collector({
    clock,
    newest: () =>
      client.request({ kind: "range", key, rangeEnd, countOnly: true }, { timeoutMs: 2_000 }).then(
        ({ header }) => header.revision,
        () => undefined,
      ),
    read: (at) =>
      client.request({ kind: "range", key, rangeEnd, serializable: true, revision: at }, { timeoutMs: 2_000 }).then(
        ({ result }) => (result.kind === "range" ? result.kvs.map(toKeyValue) : undefined),
        () => undefined, // a member that is behind or going down: asked again
      ),
  });
}

async function watchVerdicts(
  clock: Clock,
  watches: WatchWorkload,
  collector: Collector,
  compactedTo: number,
): Promise<Readonly<Record<string, Verdict>>> {
  watches.hurry();
  await collector.stop();
  const { happened } = collector;
  for (let waited = 0; waited < SETTLE_MS && watches.behind(happened).length > 0; waited += 100) await wait(clock, 100);
  const behind = watches.behind(happened);
  await watches.stop();
  return {
    "watches go on": watches.failures.length === 0 ? OK : violation(watches.failures.join("; ")),
    "watches catch up":
      behind.length === 0 ? OK : violation(`still behind after ${SETTLE_MS} ms: ${behind.join(", ")}`),
    ...checkWatches(watches.records(), happened, { compactedTo }),
  };
}

/** A last write and a read of everything: both must be answered, and hold all that was acknowledged. */
async function finalChecks(
  client: Client,
  clock: Clock,
  history: History,
  turns: readonly TurnWorkload[],
  verdicts: Record<string, Verdict>,
): Promise<void> {
  const kv = new KvWorkload({ clock, random: prng(0), history, calls: [] });
  const call: Call = (request, options) => client.request(request, options);
  for (let attempt = 0; attempt < 3; attempt++) {
    const put = { kind: "put", key: "tombstone", value: `end${attempt}` } as const;
    if ((await kv.perform(call, 0, put)) === undefined) continue;
    const all = await kv.perform(call, 0, { kind: "get", key: "\0", end: "\0" });
    if (all?.kind !== "get") continue;
    const operations = history.operations();
    verdicts["no acknowledged write is lost"] = checkLostWrites(operations, { revision: all.revision, kvs: all.kvs });
    const final = new Map(all.kvs.map(({ key, value }) => [key, value]));
    for (const { check } of turns) Object.assign(verdicts, check(operations, final));
    verdicts["serves after the faults"] = OK;
    return;
  }
  verdicts["serves after the faults"] = violation("neither a write nor a read was answered in three attempts");
}

function progress(
  second: number,
  { seconds }: JepsenOptions,
  history: History,
  nemesis: Nemesis,
  cluster: ProcessCluster,
): string {
  let ok = 0;
  for (const { type } of history.records) if (type === "ok" || type === "call") ok += 1;
  const faults = [...nemesis.counts.values()].reduce((sum, count) => sum + count, 0);
  const failed = cluster.failures.length === 0 ? "" : `, ${cluster.failures.length} members failed`;
  return `${second}/${seconds} s: ${ok} operations, ${faults} faults, leader ${cluster.leader ?? "none"}, members ${cluster.names.join(" ")}${failed}`;
}

function wait(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}

/** False if it takes longer. */
function within(clock: Clock, promise: Promise<unknown>, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    promise.then(
      () => {
        timer.cancel();
        resolve(true);
      },
      () => {
        timer.cancel();
        resolve(false);
      },
    );
  });
}
