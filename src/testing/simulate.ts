/**
 * A whole cluster and its clients, from one seed. First a safety phase, in which the nemesis may do anything and nothing
 * may be lost; then the faults end and a liveness phase must converge: every call answered, one leader, equal states.
 */
import { decodeUtf8, encodeUtf8 } from "../base/bytes.ts";
import { formatId } from "../base/ids.ts";
import { type RandomSource, randomInt } from "../base/prng.ts";
import type { Client } from "../client/client.ts";
import type { Timer } from "../platform/clock.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response } from "../protocol/responses.ts";
import type { ServerOptions } from "../server/options.ts";
import { checkExactlyOnce, type OnceEffect } from "./checkers/exactly-once.ts";
import { checkFencing, type Effect, unguardedOverlaps } from "./checkers/fencing.ts";
import { checkLeases } from "./checkers/leases.ts";
import { checkLinearizability } from "./checkers/linearizability.ts";
import { checkLostWrites } from "./checkers/lost-writes.ts";
import { checkObservations } from "./checkers/observations.ts";
import { checkSerializable } from "./checkers/serializable.ts";
import { OK, type Verdict, violation } from "./checkers/verdict.ts";
import { checkWatches, type WatchedEvent } from "./checkers/watches.ts";
import { SimulatedCluster, simulatedClient } from "./cluster.ts";
import { cutting } from "./cutting.ts";
import { History } from "./history.ts";
import { type FaultKind, Nemesis } from "./nemesis.ts";
import { ConfigWorkload } from "./workloads/config.ts";
import { ContenderWorkload, landedEffects } from "./workloads/contenders.ts";
import { KvWorkload, type WorkloadCounts } from "./workloads/kv.ts";
import { LeaseWorkload } from "./workloads/leases.ts";
import { ONCE_RANGE, OnceWorkload, onceEffect } from "./workloads/once.ts";
import { WatchWorkload } from "./workloads/watches.ts";
import { SimulatedWorld } from "./world.ts";

export interface SimOptions {
  readonly seed: number;
  /** Default: 3 or 5, drawn from the seed. */
  readonly nodes?: number;
  /** Virtual seconds of the safety phase. Default 30. */
  readonly seconds?: number;
  readonly clients?: number;
  /**
   * What the clients do. "kv" by default. Leases move revisions by themselves, so the two do not mix. "watches": as "kv",
   * and others watch. "once": writes that bear names, over connections that are cut. "lock", "election", "config": the recipes, each with contenders, observers or watchers.
   */
  readonly workload?: WorkloadName;
  readonly faults?: readonly FaultKind[];
  readonly server?: Partial<ServerOptions>;
  readonly keepTrace?: boolean;
}

export const WORKLOADS = ["kv", "leases", "watches", "once", "lock", "election", "config"] as const;
export type WorkloadName = (typeof WORKLOADS)[number];

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

/** Each contender's turn may be held up by the TTLs of others that died. */
const PROGRESS_MS = 90_000;

const WATCHERS = 6;

/** Of each frame of a client's: so often its connection is cut with it. */
const CUT_CHANCE = 0.02;

export async function simulate(options: SimOptions): Promise<SimReport> {
  const world = new SimulatedWorld({ seed: options.seed, keepTrace: options.keepTrace === true });
  const shape = world.random("shape");
  const nodes = options.nodes ?? (shape() < 0.75 ? 3 : 5);
  const trailing = [1, 3, 20, 5_000];
  const trailingEntries = trailing[randomInt(shape, 0, trailing.length - 1)]!;
  const housekeeping = world.random("housekeeping");
  // Watches are held against everything that happened, so there the past must stay.
  const compacts = options.workload !== "watches" && housekeeping() < 0.5;
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
      ...(options.workload === "once" ? { clientIdleMs: randomInt(shape, 500, 8_000) } : {}),
      ...options.server,
    },
    note: (note, member, detail) => history.note(world.clock.now(), note, member, detail),
  });
  const urls = cluster.names.map((name) => SimulatedCluster.clientUrl(name));
  const cuts = world.random("cuts");
  let cutsEnd = options.workload !== "once" || options.faults?.length === 0;
  const clients = await Promise.all(
    Array.from({ length: options.clients ?? randomInt(shape, 2, 6) }, (_, i) =>
      simulatedClient(world, `client${i}`, urls, (connection) =>
        options.workload === "once" ? cutting(connection, () => !cutsEnd && cuts() < CUT_CHANCE) : connection,
      ),
    ),
  );
  const kv = new KvWorkload({
    clock: world.clock,
    random: world.random("workload"),
    history,
    calls: clients.map((client) => (request, call) => client.request(request, call)),
    keys: randomInt(shape, 1, 6),
    thinkMs: randomInt(shape, 10, 200),
  });
  const leases = new LeaseWorkload({
    clock: world.clock,
    random: world.random("leases"),
    clients,
    note: (note, detail) => history.note(world.clock.now(), note, "", detail),
  });
  const once = new OnceWorkload({
    clock: world.clock,
    random: world.random("once"),
    clients,
    hands: 2,
    thinkMs: 150,
    note: (note, detail) => history.note(world.clock.now(), note, "", detail),
  });
  const recipes = await recipesOf(world, urls, options.workload, (note, detail) =>
    history.note(world.clock.now(), note, "", detail),
  );
  const workload =
    recipes.workload ?? (options.workload === "leases" ? leases : options.workload === "once" ? once : kv);
  const watchers = await Promise.all(
    Array.from({ length: options.workload === "watches" ? WATCHERS : 0 }, (_, i) =>
      simulatedClient(world, `watcher${i}`, urls),
    ),
  );
  const watches = new WatchWorkload({ clock: world.clock, random: world.random("watches"), clients: watchers });
  const nemesis = new Nemesis({
    clock: world.clock,
    random: world.random("nemesis"),
    controls: cluster,
    note: (note, detail) => history.note(world.clock.now(), note, "", detail),
    ...(options.faults === undefined ? {} : { kinds: options.faults }),
  });
  const sampler = world.clock.every(50, () => cluster.sample());

  const verdicts: Record<string, Verdict> = {};
  for (const name of cluster.names) cluster.start(name);
  const started = await cluster.ready();
  if (!started) verdicts["cluster starts"] = violation(`no leader within 30 s: ${cluster.failures.join("; ")}`);
  else {
    workload.start();
    watches.start();
    if (options.faults === undefined || options.faults.length > 0) nemesis.start();
    const stopPauses = options.workload === "once" && !cutsEnd ? pauseClients(world, clients.length) : undefined;
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
    verdicts["serves after the faults"] = await finalChecks(world, clients[0]!, kv, history, verdicts);
    if (watchers.length > 0) Object.assign(verdicts, await watchVerdicts(world, cluster, watches));
    if (workload === once) Object.assign(verdicts, await onceVerdicts(world, cluster, once));
    Object.assign(verdicts, await recipeVerdicts(world, clients[0]!, recipes));
    if (workload === leases) verdicts["no lease is left behind"] = await leftovers(world, cluster);
  }
  sampler.cancel();

  if (workload === leases) {
    const faultless = options.faults?.length === 0;
    verdicts["no lease ends early"] = checkLeases(leases.lives, faultless ? { mostLateMs: 1_250 } : {});
  } else if (started && workload === kv) {
    verdicts.linearizability = checkLinearizability(history.operations());
    verdicts["serializable reads"] = checkSerializable(history.records);
  }
  verdicts["hash agreement"] = cluster.hashes.verdict();
  verdicts["no member fails"] = cluster.failures.length === 0 ? OK : violation(cluster.failures.join("; "));
  verdicts["errors are named"] =
    workload.unexpected.length === 0 ? OK : violation(workload.unexpected.map((error) => String(error)).join("; "));

  const report: SimReport = {
    seed: options.seed,
    nodes,
    ok: Object.values(verdicts).every(({ verdict }) => verdict === "ok"),
    verdicts,
    operations: workload.counts,
    errors: Object.fromEntries(workload.errors),
    figures: figuresOf(recipes),
    faults: Object.fromEntries(nemesis.kinds.map((kind) => [kind, nemesis.counts.get(kind) ?? 0])),
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

interface Recipes {
  readonly clients: readonly Client[];
  readonly contenders?: ContenderWorkload;
  readonly config?: ConfigWorkload;
  readonly workload?: ContenderWorkload | ConfigWorkload;
}

/** Who contends, looks on or watches, each on a host of its own. */
async function recipesOf(
  world: SimulatedWorld,
  urls: readonly string[],
  name: WorkloadName | undefined,
  note: (note: string, detail: string) => void,
): Promise<Recipes> {
  const random = world.random("recipes");
  const some = (kind: string, count: number): Promise<Client[]> =>
    Promise.all(Array.from({ length: count }, (_, i) => simulatedClient(world, `${kind}${i}`, urls)));
  if (name === "lock" || name === "election") {
    const contending = await some("contender", randomInt(random, 3, 6));
    const observers = await some("observer", name === "election" ? 3 : 0);
    const contenders = new ContenderWorkload({
      ...{ kind: name, clock: world.clock, random, clients: contending, observers, note },
      pause: (contender, paused) => {
        const host = world.host(`contender${contender}`);
        if (paused) host.pause();
        else host.resume();
      },
    });
    return { clients: [...contending, ...observers], contenders, workload: contenders };
  }
  if (name !== "config") return { clients: [] };
  const writers = await some("writer", 2);
  const watching = await some("watching", 6);
  const config = new ConfigWorkload({ random, writers, watchers: watching });
  return { clients: [...writers, ...watching], config, workload: config };
}

/** Nobody is stopped any more: everybody must get a turn again. */
async function progress(world: SimulatedWorld, contenders: ContenderWorkload): Promise<Verdict> {
  contenders.thaw();
  const before = [...contenders.turns];
  const left = (): string[] => contenders.turns.flatMap((turns, i) => (turns === before[i] ? [`contender ${i}`] : []));
  await world.until(() => left().length === 0, PROGRESS_MS);
  return left().length === 0
    ? OK
    : violation(`no turn within ${PROGRESS_MS} ms after the faults ended: ${left().join(", ")}`);
}

async function recipeVerdicts(
  world: SimulatedWorld,
  client: Client,
  { contenders, config }: Recipes,
): Promise<Readonly<Record<string, Verdict>>> {
  if (contenders !== undefined) {
    const { tenures, effects, stops } = contenders;
    const landed = await world.settle(landedEffects(client, contenders.kind));
    return {
      ...checkFencing({ tenures, effects, landed, stops }),
      ...(Object.keys(contenders.observed).length === 0
        ? {}
        : { "observers see leaders in order": checkObservations(contenders.observed, contenders.proclaimed) }),
    };
  }
  if (config === undefined) return {};
  await world.until(() => config.caughtUp, LIVENESS_MS);
  const verdicts = config.verdicts();
  await world.settle(config.close());
  return verdicts;
}

function figuresOf({ contenders, config }: Recipes): Readonly<Record<string, number>> {
  if (config !== undefined) return config.figures;
  if (contenders === undefined) return {};
  const { tenures, effects, stops } = contenders;
  const count = (outcome: Effect["outcome"]): number => effects.filter((effect) => effect.outcome === outcome).length;
  return {
    turns: tenures.length,
    ...{ lost: tenures.filter(({ lost }) => lost).length, stops: stops.length },
    ...{ landed: count("landed"), refused: count("refused"), unknown: count("unknown") },
    unguardedOverlaps: unguardedOverlaps(tenures),
  };
}

/** Reads the store at each revision, and holds what the watches told against it. */
async function watchVerdicts(
  world: SimulatedWorld,
  cluster: SimulatedCluster,
  watches: WatchWorkload,
): Promise<Readonly<Record<string, Verdict>>> {
  const server = cluster.server(cluster.names[0]!);
  if (server === undefined) return { "watches catch up": violation("the member to ask is down") };
  const happened = new Map<number, readonly WatchedEvent[]>();
  const last = server.figures().revision;
  let before = new Map<string, string>();
  for (let revision = 2; revision <= last; revision++) {
    const range = { kind: "range", key: encodeUtf8("k"), rangeEnd: encodeUtf8("l"), serializable: true } as const;
    const { result } = await world.settle(server.handle({ ...range, revision }, { timeoutMs: 5_000 }));
    if (result.kind !== "range") return { "watches catch up": violation("another answer than asked for") };
    const now = new Map(result.kvs.map((kv) => [keyName(kv), decodeUtf8(kv.value)]));
    const events: WatchedEvent[] = [];
    for (const kv of result.kvs) {
      if (kv.modRevision !== revision) continue;
      const key = keyName(kv);
      events.push({ revision, type: "put", key, value: decodeUtf8(kv.value), previous: before.get(key) });
    }
    for (const [key, previous] of before) {
      if (!now.has(key)) events.push({ revision, type: "delete", key, value: "", previous });
    }
    happened.set(revision, events);
    before = now;
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
    ...checkWatches(watches.records(), happened),
  };
}

/** Processes of clients are stopped for a while, as by SIGSTOP: what they had begun is settled without them. */
function pauseClients(world: SimulatedWorld, clients: number): () => void {
  const random = world.random("client pauses");
  let timer: Timer;
  const next = (): void => {
    timer = world.clock.after(random() * 6_000, () => {
      const host = world.host(`client${randomInt(random, 0, clients - 1)}`);
      host.pause();
      world.clock.after(random() < 0.5 ? random() * 1_000 : random() * 8_000, () => host.resume());
      next();
    });
  };
  next();
  return () => timer.cancel();
}

/** Reads the whole history, revision by revision, and holds what the writers were told against it. */
async function onceVerdicts(
  world: SimulatedWorld,
  cluster: SimulatedCluster,
  once: OnceWorkload,
): Promise<Readonly<Record<string, Verdict>>> {
  const server = cluster.server(cluster.names[0]!);
  if (server === undefined) return { "exactly once": violation("the member to ask is down") };
  const effects: OnceEffect[] = [];
  const last = server.figures().revision;
  for (let revision = 2; revision <= last; revision++) {
    const range = { kind: "range", ...ONCE_RANGE, serializable: true, minModRevision: revision } as const;
    const { result } = await world.settle(server.handle({ ...range, revision }, { timeoutMs: 5_000 }));
    if (result.kind !== "range") return { "exactly once": violation("another answer than asked for") };
    effects.push(...result.kvs.map(onceEffect));
  }
  return { "exactly once": checkExactlyOnce(once.operations, effects) };
}

/** Nobody holds a lease any more: in so long each must end by itself, on every member, and its key with it. */
async function leftovers(world: SimulatedWorld, cluster: SimulatedCluster): Promise<Verdict> {
  await world.runFor(LEASES_MS);
  for (const name of cluster.names) {
    const server = cluster.server(name);
    if (server === undefined) return violation(`${name} is not running`);
    const ask = <Q extends Request>(request: Q): Promise<Response> =>
      world.settle(server.handle(request, { timeoutMs: 5_000 }));
    const { result: left } = await ask({ kind: "leaseList" });
    const prefix = { key: encodeUtf8("lease/"), rangeEnd: encodeUtf8("lease0") };
    const { result: keys } = await ask({ kind: "range", ...prefix, serializable: true });
    if (left.kind !== "leaseList" || keys.kind !== "range") return violation("another answer than asked for");
    const names = [...left.leases.map(formatId), ...keys.kvs.filter(({ lease }) => lease !== 0n).map(keyName)];
    if (names.length > 0) return violation(`${name} still has ${names.join(", ")}`);
  }
  return OK;
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
