/** Complete members in a simulated world: started, killed, paused and parted by name. */
import { formatId, type MemberId } from "../base/ids.ts";
import { Client } from "../client/client.ts";
import { silent } from "../platform/log.ts";
import type { ServerOptions } from "../server/options.ts";
import { Server } from "../server/server.ts";
import { connectChannel } from "../transport/client-channel.ts";
import type { Connection } from "../transport/network.ts";
import { HashAgreement } from "./checkers/hash-agreement.ts";
import type { FaultControls, LinkTrouble } from "./nemesis.ts";
import type { SimulatedWorld } from "./world.ts";

export interface ClusterOptions {
  readonly nodes: number;
  /** On top of the defaults, for every member. */
  readonly server?: Partial<ServerOptions>;
  /** Told of starts and ends of members. */
  readonly note?: (note: string, member: string, detail: string) => void;
}

export class SimulatedCluster implements FaultControls {
  readonly names: readonly string[];
  readonly world: SimulatedWorld;
  readonly hashes: HashAgreement = new HashAgreement();
  /** Ends that nobody asked for, with their errors: each fails a run. */
  readonly failures: string[] = [];
  readonly #options: ClusterOptions;
  readonly #servers = new Map<string, Server>();
  readonly #ids = new Map<string, string>();

  constructor(world: SimulatedWorld, options: ClusterOptions) {
    this.world = world;
    this.#options = options;
    this.names = Array.from({ length: options.nodes }, (_, i) => `n${i + 1}`);
  }

  static clientUrl(name: string): string {
    return `ws://${name}:7400`;
  }

  /** Starts a member; `server` gives it once it is open. */
  start(name: string): void {
    const host = this.world.host(name);
    if (host.up) return;
    const world = host.boot();
    const boot = host.boots;
    const mine = (): boolean => host.up && host.boots === boot;
    this.#note("boot", name, `${boot}`);
    const members = this.names.map((each) => ({
      name: each,
      peerUrl: `ws://${each}:7401`,
      clientUrl: SimulatedCluster.clientUrl(each),
    }));
    Server.open(world, {
      ...this.#options.server,
      name,
      bootstrap: { kind: "static", token: "simulation", members },
      listenPeerUrl: `ws://${name}:7401`,
      listenClientUrl: SimulatedCluster.clientUrl(name),
    }).then(
      (server) => {
        if (!mine()) return;
        this.#servers.set(name, server);
        this.#ids.set(name, formatId(server.id));
        this.#note("start", formatId(server.id), name);
        void server.stopped.then((error) => {
          if (!mine() || error === undefined) return;
          this.failures.push(`${name} stopped: ${error.code} ${error.message} ${describeCause(error)}`);
        });
      },
      (error) => {
        if (mine()) this.failures.push(`${name} did not open: ${String(error)} ${describeCause(error)}`);
      },
    );
  }

  kill(name: string, power: "stays" | "cut"): void {
    const host = this.world.host(name);
    if (!host.up) return;
    const server = this.#servers.get(name);
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
    for (const [name, server] of this.#servers) {
      const { applied, stateHash } = server.status();
      this.hashes.add({ member: name, time: this.world.clock.now(), applied, stateHash });
      this.world.trace.add(`${name} ${applied} ${stateHash}`);
    }
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

  #note(note: string, member: string, detail: string): void {
    this.#options.note?.(note, member, detail);
  }
}

function describeCause(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error ? `(${cause.stack ?? cause.message})` : "";
}

/** The shipped client on a host of its own; its connections as `through` makes them. */
export function simulatedClient(
  world: SimulatedWorld,
  name: string,
  endpoints: readonly string[],
  through: (connection: Connection) => Connection = (connection) => connection,
): Promise<Client> {
  const { clock, random, network } = world.host(name).boot();
  return Client.open({
    clock,
    random,
    endpoints,
    dial: async (endpoint, timeoutMs) => {
      const connection = await network.dial(endpoint, { maxFrameBytes: 64 << 20, timeoutMs });
      return connectChannel(through(connection), { clock, log: silent, timeoutMs });
    },
  });
}
