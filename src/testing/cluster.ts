/** Complete members in a simulated world: started, killed, paused and parted by name. */

import { type ErrorCode, StoreError } from "../base/errors.ts";
import { formatId, type MemberId, revision as toRevision } from "../base/ids.ts";
import { prng, type RandomSource, randomInt } from "../base/prng.ts";
import { Client } from "../client/client.ts";
import { silent } from "../platform/log.ts";
import type { Request } from "../protocol/requests.ts";
import type { Bootstrap, ServerOptions } from "../server/options.ts";
import { Server } from "../server/server.ts";
import { connectChannel } from "../transport/client-channel.ts";
import type { Connection } from "../transport/network.ts";
import { HashAgreement } from "./checkers/hash-agreement.ts";
import { Counters } from "./counters.ts";
import type { HistoryRole } from "./history.ts";
import type { FaultControls, LinkTrouble } from "./nemesis.ts";
import type { Power, SimulatedWorld } from "./world.ts";

export interface ClusterOptions {
  readonly nodes: number;
  /** On top of the defaults, for every member. */
  readonly server?: Partial<ServerOptions>;
  /** Told of starts and ends of members. */
  readonly note?: (note: string, member: string, detail: string) => void;
  /** Told what a member has become. */
  readonly onRole?: (member: string, role: HistoryRole, term: number) => void;
  /** Chance of its own: what the cluster itself decides (which revision to compact, whom to crash) comes from here. */
  readonly random?: RandomSource;
}

/** How long the cluster waits between two attempts of a change of members. */
const ADMIN_PAUSE_MS = 300;
const ADMIN_CALL_MS = 3_000;
const CANDIDATE_WAIT_MS = 3_000;
/** What a member may end with once its disk was damaged. */
const DAMAGE: readonly ErrorCode[] = ["WAL_CORRUPT", "STATE_CORRUPT", "DISK_FAILED"];

export class SimulatedCluster implements FaultControls {
  readonly world: SimulatedWorld;
  readonly hashes: HashAgreement = new HashAgreement();
  /** Ends that nobody asked for, with their errors: each fails a run. */
  readonly failures: string[] = [];
  readonly counters: Counters = new Counters();
  /** Compactions stay at or below: what was not read yet must not go. */
  compactLimit: () => number = () => Infinity;
  readonly #options: ClusterOptions;
  readonly #random: RandomSource;
  readonly #founders: readonly string[];
  #names: readonly string[];
  /** How members that came later were let in. */
  readonly #joins = new Map<string, Bootstrap>();
  /** Ends that a fault explains. */
  readonly #tolerated = new Map<string, Set<ErrorCode>>();
  readonly #roles = new Map<string, string>();
  /** One change of members after the other. */
  #changes: Promise<void> = Promise.resolve();
  #changesUnderWay = 0;
  #generations = 1;
  readonly #servers = new Map<string, Server>();
  readonly #ids = new Map<string, string>();
  readonly #memberIds = new Map<string, MemberId>();

  constructor(world: SimulatedWorld, options: ClusterOptions) {
    this.world = world;
    this.#options = options;
    this.#random = options.random ?? prng(world.seed);
    this.#founders = Array.from({ length: options.nodes }, (_, i) => `n${i + 1}`);
    this.#names = this.#founders;
  }

  /** The members of the moment. One that takes another's place has its name with a number: n2 becomes n2-2. */
  get names(): readonly string[] {
    return this.#names;
  }

  /** A member that takes another's place is reached where that one was. */
  static clientUrl(name: string): string {
    return `ws://${name.split("-", 1)[0]}:7400`;
  }

  /** Starts a member; `server` gives it once it is open. */
  start(name: string): void {
    const host = this.world.host(name);
    if (host.up || !this.#names.includes(name)) return;
    const world = host.boot(this.counters.logger());
    const boot = host.boots;
    const mine = (): boolean => host.up && host.boots === boot;
    this.#note("boot", name, `${boot}`);
    const members = this.#founders.map((each) => ({
      name: each,
      peerUrl: `ws://${each}:7401`,
      clientUrl: SimulatedCluster.clientUrl(each),
    }));
    Server.open(world, {
      ...this.#options.server,
      name,
      bootstrap: this.#joins.get(name) ?? { kind: "static", token: "simulation", members },
      listenPeerUrl: `ws://${name}:7401`,
      listenClientUrl: SimulatedCluster.clientUrl(name),
    }).then(
      (server) => {
        if (!mine()) return;
        this.#servers.set(name, server);
        this.#ids.set(name, formatId(server.id));
        this.#memberIds.set(name, server.id);
        this.#note("start", formatId(server.id), name);
        void server.stopped.then((error) => {
          if (mine() && error !== undefined) this.#ended(name, error, "stopped");
        });
      },
      (error) => {
        if (mine()) this.#ended(name, error, "did not open");
      },
    );
  }

  /** An end that nobody asked for fails the run, unless a fault explains it. */
  #ended(name: string, error: unknown, how: "stopped" | "did not open"): void {
    const code = StoreError.is(error) ? error.code : undefined;
    const damaged = this.#tolerated.get(name)?.has("WAL_CORRUPT") === true;
    if (code === undefined || this.#tolerated.get(name)?.has(code) !== true) {
      this.failures.push(`${name} ${how}: ${code ?? ""} ${String(error)} ${describeCause(error)}`);
      return;
    }
    this.#note("ended by a fault", name, `${how}: ${code}`);
    if (how === "did not open") this.counters.count("refusal to start");
    this.kill(name, "stays");
    if (damaged && DAMAGE.includes(code)) void this.replace(name);
  }

  kill(name: string, power: Power): void {
    const host = this.world.host(name);
    if (!host.up) return;
    const server = this.#servers.get(name);
    const status = server?.status();
    if (status?.role === "candidate" && !status.voteDurable) {
      this.counters.count("candidate crash before its vote is durable");
    }
    this.#servers.delete(name);
    host.kill(power);
    server?.kill();
    // Under the id by which answers name it: this is where one of its runs ends (checkers/serializable.ts).
    this.#note("stop", this.#ids.get(name) ?? "", `${name}, power ${power}`);
  }

  /** `undefined` while it is down or opening. */
  server(name: string): Server | undefined {
    return this.#servers.get(name);
  }

  get leader(): string | undefined {
    let best: { name: string; term: number } | undefined;
    for (const [name, server] of this.#servers) {
      const { role, term } = server.status();
      if (role === "leader" && term > (best?.term ?? 0)) best = { name, term };
    }
    return best?.name;
  }

  nameOf(id: MemberId): string | undefined {
    return [...this.#servers].find(([, server]) => server.id === id)?.[0];
  }

  /** Notes each member's hash at its applied index. */
  sample(): void {
    const statuses = new Map([...this.#servers].map(([name, server]) => [name, server.status()]));
    for (const name of this.#names) this.#sampleRole(name, statuses.get(name));
    for (const [name, { applied, stateHash }] of statuses) {
      this.hashes.add({ member: name, time: this.world.clock.now(), applied, stateHash });
      this.world.trace.add(`${name} ${applied} ${stateHash}`);
    }
  }

  #sampleRole(name: string, status: ReturnType<Server["status"]> | undefined): void {
    const role = this.world.host(name).paused ? "paused" : (status?.role ?? "down");
    const term = status?.term ?? 0;
    const text = `${role} ${term}`;
    if (this.#roles.get(name) === text) return;
    this.#roles.set(name, text);
    this.#options.onRole?.(name, role, term);
  }

  /** All members run, one leads in the newest term and all follow it, and all have applied the same entries. */
  get converged(): boolean {
    const all = this.names.map((name) => this.#servers.get(name)?.status());
    const first = all[0];
    if (first === undefined) return false;
    return (
      all.filter((status) => status?.role === "leader").length === 1 &&
      all.every(
        (status) =>
          status !== undefined &&
          status.term === first.term &&
          status.leader !== undefined &&
          status.leader === first.leader &&
          status.applied === first.applied &&
          status.applied === status.commit,
      )
    );
  }

  async ready(limitMs: number = 30_000): Promise<boolean> {
    return this.world.until(
      () => this.names.every((name) => this.#servers.has(name)) && this.leader !== undefined,
      limitMs,
    );
  }

  cut(from: string, to: string): void {
    this.world.network.cut(from, to);
  }

  healCuts(): void {
    for (const from of this.names) for (const to of this.names) if (from !== to) this.world.network.heal(from, to);
  }

  trouble(trouble: Partial<LinkTrouble> | undefined): void {
    const { network } = this.world;
    for (const from of this.names) {
      for (const to of this.names) {
        if (from === to) continue;
        network.loss(from, to, trouble?.loss ?? 0);
        network.duplicate(from, to, trouble?.duplicate ?? 0);
        network.reorder(from, to, trouble?.reorder ?? 0);
        network.delay(from, to, trouble?.delayMs ?? 0);
      }
    }
  }

  stallDisk(name: string, stalled: boolean): void {
    this.world.host(name).disk.stall(stalled);
  }

  pause(name: string, paused: boolean): void {
    const host = this.world.host(name);
    if (paused) host.pause();
    else host.resume();
  }

  transferLeadership(): void {
    const leader = this.leader;
    const target = this.names.find((name) => name !== leader && this.#servers.has(name));
    if (leader === undefined || target === undefined) return;
    this.#servers
      .get(leader)!
      .handle({ kind: "moveLeader", target: this.#servers.get(target)!.id }, { timeoutMs: 5_000 })
      .catch(() => {}); // a transfer may fail under faults; that it is answered is the router's own promise
  }

  fillDisk(name: string, full: boolean): void {
    this.#tolerate(name, ["DISK_FULL"]);
    this.world.host(name).disk.fillUp(full ? randomInt(this.#random, 0, 2_000) : undefined);
  }

  setClock(name: string, rate: number, jumpMs: number): void {
    const { drift } = this.world.host(name);
    drift.rate = rate;
    drift.jumpWall(jumpMs);
  }

  compact(): void {
    const server = this.#anyServer();
    if (server === undefined) return;
    const { revision, compactRevision } = server.figures();
    const most = Math.min(revision, this.compactLimit());
    if (most <= compactRevision) return;
    const at = randomInt(this.#random, compactRevision + 1, most);
    server.handle({ kind: "compact", revision: toRevision(at) }, { timeoutMs: ADMIN_CALL_MS }).catch(() => {});
  }

  /** Changes one bit of what a member has on its disk. It may notice at once, later or never; then it is replaced. */
  damage(name: string): string {
    if (!this.#names.includes(name)) return "gone";
    // A second lost disk, or one more voter that cannot start yet, could cost the majority for good.
    if (this.#damaged !== undefined || this.#changesUnderWay > 0) return "not while another is replaced";
    this.#tolerate(name, DAMAGE);
    this.kill(name, "stays");
    // Several: a single bit often lies where nobody reads any more.
    const { disk } = this.world.host(name);
    const flips = Array.from({ length: randomInt(this.#random, 1, 16) }, () => disk.flip());
    const what = flips.find((flip) => flip !== undefined) ?? "nothing there";
    this.start(name);
    return what;
  }

  /** Its disk is lost: it is removed, and a new member takes its place. Resolves once that one has been let in. */
  replace(name: string): Promise<void> {
    return this.#change(this.#damaged ?? name, async (name) => {
      this.#tolerate(name, ["MEMBER_REMOVED"]);
      this.kill(name, "cut");
      await this.#remove(name);
      this.#generations += 1;
      await this.#add(`${name.split("-", 1)[0]}-${this.#generations}`, this.#random() < 0.5);
    });
  }

  /** A member comes as a learner, is promoted, stays for a while and leaves again. */
  async visit(stayMs: number): Promise<void> {
    if (this.#damaged !== undefined) return;
    await this.#change(undefined, async () => {
      this.#generations += 1;
      const name = `guest-${this.#generations}`;
      await this.#add(name, true);
      await this.#pause(stayMs);
      this.#tolerate(name, ["MEMBER_REMOVED"]);
      await this.#remove(name);
      this.kill(name, "stays");
    });
  }

  /**
   * Takes the leader away while the disk of the follower that would campaign first is stalled, and cuts that one's power
   * as soon as it is a candidate whose vote is not on disk. Says whether it came to that.
   */
  async crashCandidate(): Promise<boolean> {
    const leader = this.leader;
    const voters = leader === undefined ? [] : (this.#servers.get(leader)?.status().conf.voters ?? []);
    const victim = voters.map((id) => this.nameOf(id)).find((name) => name !== undefined && name !== leader);
    if (leader === undefined || victim === undefined) return false;
    this.stallDisk(victim, true);
    this.kill(leader, "stays");
    let crashed = false;
    for (let waited = 0; waited < CANDIDATE_WAIT_MS && !crashed; waited += 2) {
      await this.#pause(2);
      const status = this.#servers.get(victim)?.status();
      if (status === undefined || status.role === "leader") break;
      if (status.role !== "candidate" || status.voteDurable) continue;
      await this.#pause(randomInt(this.#random, 0, 20));
      this.kill(victim, "cut");
      crashed = true;
    }
    this.stallDisk(victim, false);
    await this.#pause(randomInt(this.#random, 0, 500));
    this.start(victim);
    this.start(leader);
    return crashed;
  }

  /** `of`: the member that it is about, gone perhaps when its turn comes. */
  #change(of: string | undefined, work: (name: string) => Promise<void>): Promise<void> {
    this.#changesUnderWay += 1;
    const done = this.#changes
      .then(() => (of === undefined || this.#names.includes(of) ? work(of ?? "") : undefined))
      .finally(() => {
        this.#changesUnderWay -= 1;
      });
    this.#changes = done;
    return done;
  }

  /** The member whose disk was damaged and that may find out at any time. */
  get #damaged(): string | undefined {
    return this.#names.find((name) => this.#tolerated.get(name)?.has("WAL_CORRUPT") === true);
  }

  async #remove(name: string): Promise<void> {
    const id = this.#memberIds.get(name);
    this.#names = this.#names.filter((each) => each !== name);
    this.#tolerate(name, ["MEMBER_REMOVED"]);
    if (id === undefined) return;
    await this.#admin(
      (leader) => !leader.members().some((member) => member.id === id),
      () => ({ kind: "memberRemove", id }),
    );
  }

  async #add(name: string, asLearner: boolean): Promise<void> {
    const peerUrl = `ws://${name}:7401`;
    const find = (server: Server) => server.members().find(({ peerUrls }) => peerUrls.includes(peerUrl));
    const leader = await this.#admin(
      (server) => find(server) !== undefined,
      () => ({ kind: "memberAdd", peerUrls: [peerUrl], isLearner: asLearner }),
    );
    const { id } = find(leader)!;
    this.#memberIds.set(name, id);
    this.#joins.set(name, { kind: "join", id, clusterId: leader.clusterId, members: leader.members() });
    this.#names = [...this.#names, name];
    this.start(name);
    if (!asLearner) {
      // Until it has started, the next change could find too few that have.
      while (this.#names.includes(name) && this.#servers.get(name) === undefined) await this.#pause(ADMIN_PAUSE_MS);
      return;
    }
    await this.#admin(
      (server) => server.members().some((member) => member.id === id && !member.isLearner),
      () => ({ kind: "memberPromote", id }),
    );
  }

  /** Asks the leader of the moment until one of them shows that it is done. */
  async #admin(done: (leader: Server) => boolean, request: () => Request): Promise<Server> {
    for (;;) {
      const server = this.leader === undefined ? undefined : this.#servers.get(this.leader);
      if (server !== undefined) {
        // Its own commit in its term proves that what it shows is committed.
        const read = { kind: "range", key: Uint8Array.of(0), limit: 1, keysOnly: true } as const;
        const current = await server.handle(read, { timeoutMs: ADMIN_CALL_MS }).then(
          () => true,
          () => false,
        );
        if (current && done(server)) return server;
        if (current) await server.handle(request(), { timeoutMs: ADMIN_CALL_MS }).catch(() => {});
      }
      await this.#pause(ADMIN_PAUSE_MS);
    }
  }

  #anyServer(): Server | undefined {
    const running = [...this.#servers.values()];
    return running.length === 0 ? undefined : running[randomInt(this.#random, 0, running.length - 1)];
  }

  #tolerate(name: string, codes: readonly ErrorCode[]): void {
    const known = this.#tolerated.get(name) ?? new Set();
    for (const code of codes) known.add(code);
    this.#tolerated.set(name, known);
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.world.clock.after(ms, resolve));
  }

  #note(note: string, member: string, detail: string): void {
    this.#options.note?.(note, member, detail);
  }
}

function describeCause(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? `(${cause.stack ?? cause.message})` : "";
}

/**
 * The shipped client on a host of its own; its connections as `through` makes them. Half of them turn to the leader, by
 * chance, so that members have requests to pass on too.
 */
export function simulatedClient(
  world: SimulatedWorld,
  name: string,
  endpoints: readonly string[],
  through: (connection: Connection) => Connection = (connection) => connection,
  exactlyOnce: boolean = true,
  preferLeader?: boolean,
): Promise<Client> {
  const { clock, random, network } = world.host(name).boot();
  const leads = random.next() < 0.5;
  return Client.open({
    clock,
    random,
    endpoints,
    exactlyOnce,
    preferLeader: preferLeader ?? leads,
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpoint, { maxFrameBytes: 64 << 20, timeoutMs });
      return connectChannel(through(connection), { clock, log: silent, timeoutMs });
    },
  });
}
