/**
 * A whole cluster and its clients, from one seed. First a safety phase, in which the nemesis may do anything and nothing
 * may be lost; then the faults end and a liveness phase must converge: every call answered, one leader, equal states.
 */
import { decodeUtf8, encodeUtf8 } from "../base/bytes.ts";
import { formatId } from "../base/ids.ts";
import { type RandomSource, randomInt } from "../base/prng.ts";
import type { Client } from "../client/client.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response } from "../protocol/responses.ts";
import type { ServerOptions } from "../server/options.ts";
import type { Server } from "../server/server.ts";
import { checkLeases } from "./checkers/leases.ts";
import { checkLinearizability } from "./checkers/linearizability.ts";
import { checkLostWrites } from "./checkers/lost-writes.ts";
import { checkSerializable } from "./checkers/serializable.ts";
import { OK, type Verdict, violation } from "./checkers/verdict.ts";
import { checkWatches } from "./checkers/watches.ts";
import { SimulatedCluster, simulatedClient } from "./cluster.ts";
import { Collector } from "./collector.ts";
import { cutting } from "./cutting.ts";
import { withFragment } from "./fragment.ts";
import { History, type Operation } from "./history.ts";
import { FASTEST_CLOCK, type FaultKind, Nemesis } from "./nemesis.ts";
import { onceVerdicts, pauseClients } from "./once-runs.ts";
import { figuresOf, progress, recipesOf, recipeVerdicts } from "./recipe-runs.ts";
import type { RunSummary } from "./report.ts";
import { KvWorkload, toKeyValue, type WorkloadCounts } from "./workloads/kv.ts";
import { LeaseWorkload } from "./workloads/leases.ts";
import { OnceWorkload } from "./workloads/once.ts";
import { TURN_WORKLOADS, type TurnWorkload } from "./workloads/turns.ts";
import { WatchWorkload } from "./workloads/watches.ts";
import { SimulatedWorld } from "./world.ts";

export interface SimOptions {
  readonly seed: number;
  /** Default: 3 or 5, drawn from the seed. */
  readonly nodes?: number;
  /** Virtual seconds of the safety phase. Default 30. */
  readonly seconds?: number;
  readonly clients?: number;
  /** False: clients send writes as to etcd, without numbers, and repeat none whose outcome is unknown. Default true. */
  readonly exactlyOnce?: boolean;
  /** Whether clients turn to the leader. Default: half of them, by chance. */
  readonly preferLeader?: boolean;
  /** Mean pause of a client between two operations. Default: drawn from the seed. */
  readonly thinkMs?: number;
  /**
   * What the clients do. "kv" by default. Leases move revisions by themselves, so the two do not mix. "watches": as "kv",
   * and others watch. "once": writes that bear names, over connections that are cut. "lock", "election", "config": the
   * recipes, each with contenders, observers or watchers. "lock-service", "election-service": the same, half of them through
   * the members' services. Further ones: `TURN_WORKLOADS`.
   */
  readonly workload?: string;
  readonly faults?: readonly FaultKind[];
  /** Mean quiet time of each of the nemesis's two hands between two faults. Default 2,000 ms. */
  readonly meanPauseMs?: number;
  readonly server?: Partial<ServerOptions>;
  readonly keepTrace?: boolean;
  /** False saves the search for the smallest piece of history that shows a violation. Default true. */
  readonly fragments?: boolean;
}

export interface SimReport {
  readonly seed: number;
  readonly nodes: number;
  readonly ok: boolean;
  /** One verdict for each promise. */
  readonly verdicts: Readonly<Record<string, Verdict>>;
  readonly operations: WorkloadCounts;
  readonly errors: Readonly<Record<string, number>>;
  /** What else the workload counted. */
  readonly figures: Readonly<Record<string, number>>;
  /** Which kinds this seed allowed, and how often each struck. */
  readonly faults: Readonly<Record<string, number>>;
  /** How often each rare event happened (counters.ts). */
  readonly rareEvents: Readonly<Record<string, number>>;
  readonly workload: string;
  readonly hashComparisons: number;
  readonly virtualMs: number;
  readonly events: number;
  /** Equal for equal seeds. */
  readonly traceHash: string;
  readonly history: History;
  readonly trace: readonly string[] | undefined;
}

/** Longest virtual time in which a healed cluster has to converge: 30 default election timeouts. */
const LIVENESS_MS = 30_000;
/** The longest TTL of the workload, the election timeout that a change of leaders adds, and two seconds. */
const LEASES_MS = 6_000 + 1_000 + 2_000;

/** The longest that a synchronous write takes where nothing stalls it, by seed: good disks and bad ones. */
const SYNC_MS = [0.5, 4, 20] as const;

const WATCHERS = 8;

/** Names for `--workload`. Append a row for a new one. */
export const WORKLOADS: readonly string[] = [
  ...["kv", "leases", "watches", "once", "lock", "election", "config"],
  ...["lock-service", "election-service"],
  ...Object.keys(TURN_WORKLOADS),
];

/** Held against everything that happened, so there the past must stay. */
const KEEPS_PAST: ReadonlySet<string> = new Set([
  ...["watches", "once", "lock", "election", "lock-service", "election-service"],
]);

/** Of each frame of a client's: so often its connection is cut with it. */
const CUT_CHANCE = 0.02;

export async function simulate(options: SimOptions): Promise<SimReport> {
  const workloadName = options.workload ?? "kv";
  if (!WORKLOADS.includes(workloadName)) throw new RangeError(`simulate: no workload "${workloadName}"`);
  const world = new SimulatedWorld({
    seed: options.seed,
    keepTrace: options.keepTrace === true,
    syncMs: [0.1, SYNC_MS[options.seed % SYNC_MS.length]!],
  });
  const shape = world.random("shape");
  const nodes = options.nodes ?? (shape() < 0.75 ? 3 : 5);
  const trailing = [1, 3, 20, 5_000];
  const trailingEntries = trailing[randomInt(shape, 0, trailing.length - 1)]!;
  const housekeeping = world.random("housekeeping");
  const compacts = !KEEPS_PAST.has(workloadName) && housekeeping() < 0.5;
  const history = new History((line) => world.trace.add(line));
  const cluster = new SimulatedCluster(world, {
    nodes,
    server: {
      // A window of a few entries makes catching up by snapshot common.
      trailingEntries,
      trailingBytes: trailingEntries * 200,
      flushIntervalMs: randomInt(shape, 50, 2_000),
      requestTimeoutMs: 5_000,
      ...(compacts ? compactionFrom(housekeeping) : {}),
      // So short that registrations expire under writes.
      ...(workloadName === "once" ? { clientIdleMs: randomInt(shape, 500, 8_000) } : {}),
      membershipTransition: world.random("joint")() < 0.5 ? "joint" : "auto",
      ...options.server,
    },
    note: (note, member, detail) => history.note(world.clock.now(), note, member, detail),
    onRole: (member, role, term) => history.add({ type: "role", time: world.clock.now(), member, role, term }),
    random: world.random("cluster"),
  });
  const urls = cluster.names.map((name) => SimulatedCluster.clientUrl(name));
  const cuts = world.random("cuts");
  let cutsEnd = workloadName !== "once" || options.faults?.length === 0;
  const clients = await Promise.all(
    Array.from({ length: options.clients ?? randomInt(shape, 2, 6) }, (_, i) =>
      simulatedClient(
        world,
        `client${i}`,
        urls,
        (connection) =>
          workloadName === "once" ? cutting(connection, () => !cutsEnd && cuts() < CUT_CHANCE) : connection,
        options.exactlyOnce,
        options.preferLeader,
      ),
    ),
  );
  const turns = TURN_WORKLOADS[workloadName];
  const kv = new KvWorkload({
    clock: world.clock,
    random: world.random("workload"),
    history,
    calls: clients.map((client) => (request, call) => client.request(request, call)),
    keys: randomInt(shape, 1, 6),
    thinkMs: options.thinkMs ?? randomInt(shape, 10, 200),
    ...(turns === undefined ? {} : { turn: turns.turn() }),
  });
  const leases = new LeaseWorkload({
    clock: world.clock,
    random: world.random("leases"),
    clients,
    note: (note, detail) => history.note(world.clock.now(), note, "", detail),
    onCall: (call) => history.add({ type: "call", ...call }),
  });
  const once = new OnceWorkload({
    clock: world.clock,
    random: world.random("once"),
    clients,
    hands: 2,
    thinkMs: 150,
    note: (note, detail) => history.note(world.clock.now(), note, "", detail),
  });
  if (KEEPS_PAST.has(workloadName)) cluster.compactLimit = () => 0;
  const recipes = await recipesOf(world, urls, workloadName, (note, detail) =>
    history.note(world.clock.now(), note, "", detail),
  );
  const workload = recipes.workload ?? (workloadName === "leases" ? leases : workloadName === "once" ? once : kv);
  const watchers = await Promise.all(
    Array.from({ length: options.workload === "watches" ? WATCHERS : 0 }, (_, i) =>
      simulatedClient(world, `watcher${i}`, urls),
    ),
  );
  const watches = new WatchWorkload({ clock: world.clock, random: world.random("watches"), clients: watchers });
  const collector = watchers.length === 0 ? undefined : collectorOf(world, cluster);
  if (collector !== undefined) cluster.compactLimit = () => collector.collected;
  const nemesis = new Nemesis({
    clock: world.clock,
    random: world.random("nemesis"),
    controls: cluster,
    onFault: (fault) => history.fault(world.clock.now(), fault),
    ...(options.faults === undefined ? {} : { kinds: options.faults }),
    ...(options.meanPauseMs === undefined ? {} : { meanPauseMs: options.meanPauseMs }),
  });
  const sampler = world.clock.every(50, () => cluster.sample());

  const verdicts: Record<string, Verdict> = {};
  for (const name of cluster.names) cluster.start(name);
  const started = await cluster.ready();
  if (!started) verdicts["cluster starts"] = violation(`no leader within 30 s: ${cluster.failures.join("; ")}`);
  else {
    workload.start();
    watches.start();
    collector?.start();
    if (options.faults === undefined || options.faults.length > 0) nemesis.start();
    const stopPauses = workloadName === "once" && !cutsEnd ? pauseClients(world, clients.length) : undefined;
    await world.runFor((options.seconds ?? 30) * 1_000);
    stopPauses?.();
    cutsEnd = true;
    history.note(world.clock.now(), "faults end");
    let healed = false;
    void nemesis.stop().then(() => {
      healed = true;
    });
    await world.until(() => healed, 60_000);
    if (recipes.contenders !== undefined) verdicts["progress resumes"] = await progress(world, recipes.contenders);
    let quiet = false;
    void workload.stop().then(() => {
      quiet = true;
    });
    verdicts["every call is answered"] = (await world.until(() => quiet, LIVENESS_MS))
      ? OK
      : violation(`${workload.inFlight} calls had no answer ${LIVENESS_MS} ms after the faults ended`);
    verdicts["the cluster converges"] = (await world.until(() => cluster.converged, LIVENESS_MS))
      ? OK
      : violation(`not converged ${LIVENESS_MS} ms after the faults ended: ${statusText(cluster)}`);
    cluster.sample();
    if (options.server?.quotaBytes !== undefined) {
      const free = (): boolean => cluster.names.every((name) => cluster.server(name)?.figures().alarms.length === 0);
      verdicts["alarms end by themselves"] = (await world.until(free, LIVENESS_MS))
        ? OK
        : violation(`an alarm stands ${LIVENESS_MS} ms after the faults ended`);
    }
    verdicts["serves after the faults"] = await finalChecks(world, clients[0]!, kv, history, verdicts, turns);
    if (collector !== undefined) Object.assign(verdicts, await watchVerdicts(world, cluster, watches, collector));
    if (workload === once) Object.assign(verdicts, await onceVerdicts(world, cluster, once));
    Object.assign(verdicts, await recipeVerdicts(world, clients[0]!, recipes, nemesis.kinds.includes("fast clock")));
    if (workload === leases) verdicts["no lease is left behind"] = await leftovers(world, cluster);
  }
  sampler.cancel();

  if (workload === leases) {
    const faultless = options.faults?.length === 0;
    verdicts["no lease ends early"] = checkLeases(leases.lives, {
      ...(faultless ? { mostLateMs: 1_250 } : {}),
      ...(nemesis.kinds.includes("fast clock") ? { fastestClock: FASTEST_CLOCK } : {}),
    });
  } else if (started && workload === kv) {
    const operations = history.operations();
    const order = checkLinearizability(operations);
    const bounded = (some: readonly Operation[]): Verdict => checkLinearizability(some, { maxStates: 3_000 });
    verdicts.linearizability = options.fragments === false ? order : withFragment(order, operations, bounded);
    verdicts["serializable reads"] = checkSerializable(history.records);
  }
  verdicts["hash agreement"] = cluster.hashes.verdict();
  verdicts["no member fails"] = cluster.failures.length === 0 ? OK : violation(cluster.failures.join("; "));
  verdicts["errors are named"] =
    workload.unexpected.length === 0 ? OK : violation(workload.unexpected.map((error) => String(error)).join("; "));

  for (const life of leases.lives) history.add({ type: "lease", time: world.clock.now(), life });
  for (const watch of watches.records()) history.add({ type: "watch", time: world.clock.now(), watch });
  cluster.counters.count("watch compacted", watches.compacted);
  const report: SimReport = {
    seed: options.seed,
    nodes,
    ok: Object.values(verdicts).every(({ verdict }) => verdict === "ok"),
    verdicts,
    operations: workload.counts,
    errors: Object.fromEntries(workload.errors),
    figures: figuresOf(recipes),
    faults: Object.fromEntries(nemesis.kinds.map((kind) => [kind, nemesis.counts.get(kind) ?? 0])),
    rareEvents: cluster.counters.toJSON(),
    workload: workloadName,
    hashComparisons: cluster.hashes.compared,
    virtualMs: world.clock.now(),
    events: world.clock.events,
    traceHash: world.trace.hash,
    history,
    trace: world.trace.lines,
  };
  await world.settle(Promise.all([...clients, ...watchers, ...recipes.clients].map((client) => client.close())));
  for (const name of cluster.names) cluster.kill(name, "stays");
  return report;
}

/** Reads what happened while it is still there to be read. */
function collectorOf(world: SimulatedWorld, cluster: SimulatedCluster): Collector {
  const ahead = (): Server | undefined => {
    let best: Server | undefined;
    for (const name of cluster.names) {
      const server = cluster.server(name);
      if (server === undefined || world.host(name).paused) continue;
      if (best === undefined || server.figures().revision > best.figures().revision) best = server;
    }
    return best;
  };
  return new Collector({
    clock: world.clock,
    newest: async () => ahead()?.figures().revision,
    read: async (at) => {
      const range = { kind: "range", key: encodeUtf8("k"), rangeEnd: encodeUtf8("l"), serializable: true } as const;
      try {
        const answer = ahead()?.handle({ ...range, revision: at }, { timeoutMs: 2_000 });
        // A member that dies meanwhile never answers.
        const late = new Promise<undefined>((resolve) => world.clock.after(2_500, () => resolve(undefined)));
        const response = await Promise.race([answer, late]);
        return response?.result.kind === "range" ? response.result.kvs.map(toKeyValue) : undefined;
      } catch {
        return undefined; // it is behind, or going down: the next one is asked
      }
    },
  });
}

/** What happened, as it was collected, against what the watches told. */
async function watchVerdicts(
  world: SimulatedWorld,
  cluster: SimulatedCluster,
  watches: WatchWorkload,
  collector: Collector,
): Promise<Readonly<Record<string, Verdict>>> {
  watches.hurry();
  await world.settle(collector.stop());
  const { happened } = collector;
  // Of all members: a leader whose own disk is slow applies after those that made the majority.
  const figures = cluster.names.map((name) => cluster.server(name)?.figures());
  const last = Math.max(...figures.map((one) => one?.revision ?? 0));
  const compactedTo = Math.max(...figures.map((one) => one?.compactRevision ?? 0));
  if (collector.collected !== last) {
    return { "watches catch up": violation(`collected up to ${collector.collected} of ${last}`) };
  }
  await world.until(() => watches.behind(happened).length === 0, LIVENESS_MS);
  const behind = watches.behind(happened);
  await world.settle(watches.stop());
  return {
    "watches go on": watches.failures.length === 0 ? OK : violation(watches.failures.join("; ")),
    "watches catch up":
      behind.length === 0
        ? OK
        : violation(`not told of revision ${last} within ${LIVENESS_MS} ms: ${behind.join(", ")}`),
    ...checkWatches(watches.records(), happened, { compactedTo }),
  };
}

/** Nobody holds a lease any more: in so long each must end by itself, on every member, and its key with it. */
async function leftovers(world: SimulatedWorld, cluster: SimulatedCluster): Promise<Verdict> {
  await world.runFor(LEASES_MS);
  for (const name of cluster.names) {
    const server = cluster.server(name);
    if (server === undefined) return violation(`${name} is not running`);
    const ask = <Q extends Request>(request: Q): Promise<Response> =>
      world.settle(server.handle(request, { timeoutMs: 5_000 }));
    // A learner tells of keys alone.
    const lists = !server.status().conf.learners.includes(server.id);
    const left = lists ? (await ask({ kind: "leaseList" })).result : undefined;
    const prefix = { key: encodeUtf8("lease/"), rangeEnd: encodeUtf8("lease0") };
    const { result: keys } = await ask({ kind: "range", ...prefix, serializable: true });
    if ((left !== undefined && left.kind !== "leaseList") || keys.kind !== "range") {
      return violation("another answer than asked for");
    }
    const names = [...(left?.leases ?? []).map(formatId), ...keys.kvs.filter(({ lease }) => lease !== 0n).map(keyName)];
    if (names.length > 0) return violation(`${name} still has ${names.join(", ")}`);
  }
  return OK;
}

/** What a run's folder and page are made from. */
export function summaryOf(report: SimReport, replay: string): RunSummary {
  const { ok, nodes, workload, verdicts, errors, faults, rareEvents } = report;
  const operations = { ...report.operations };
  const durationMs = report.virtualMs;
  return {
    harness: "simulator",
    ok,
    replay,
    nodes,
    workload,
    durationMs,
    verdicts,
    operations,
    errors,
    faults,
    rareEvents,
    skipped: {},
  };
}

function keyName({ key }: KeyValue): string {
  return decodeUtf8(key);
}

/** A last write and a read of everything: both must be answered, and hold all that was acknowledged. */
async function finalChecks(
  world: SimulatedWorld,
  client: Client,
  workload: KvWorkload,
  history: History,
  verdicts: Record<string, Verdict>,
  turns: TurnWorkload | undefined,
): Promise<Verdict> {
  // The first connection may be one that a fault ended: the second attempt has no excuse.
  for (let attempt = 0; attempt < 3; attempt++) {
    const written = await world.settle(
      workload.perform((request, call) => client.request(request, call), 0, {
        kind: "put",
        key: "tombstone",
        value: `end${attempt}`,
      }),
    );
    if (written === undefined) continue;
    const all = await world.settle(
      workload.perform((request, call) => client.request(request, call), 0, { kind: "get", key: "\0", end: "\0" }),
    );
    if (all?.kind !== "get") continue;
    verdicts["no acknowledged write is lost"] = checkLostWrites(history.operations(), {
      revision: all.revision,
      kvs: all.kvs,
    });
    const final = new Map(all.kvs.map(({ key, value }) => [key, value]));
    if (turns !== undefined) Object.assign(verdicts, turns.check(history.operations(), final));
    return OK;
  }
  return violation("neither a write nor a read was answered in three attempts after the faults had ended");
}

/** By time or by revisions, and so little that hardly a revision survives a second. */
function compactionFrom(chance: RandomSource): Partial<ServerOptions> {
  return chance() < 0.5
    ? { autoCompactionRetention: `${randomInt(chance, 200, 3_000)}ms` }
    : {
        autoCompactionMode: "revision",
        autoCompactionRetention: randomInt(chance, 1, 20),
        autoCompactionIntervalMs: randomInt(chance, 50, 1_000),
      };
}

function statusText(cluster: SimulatedCluster): string {
  return cluster.names
    .map((name) => {
      const status = cluster.server(name)?.status();
      return status === undefined
        ? `${name} down`
        : `${name} ${status.role} term ${status.term} commit ${status.commit} applied ${status.applied}`;
    })
    .join("; ");
}
