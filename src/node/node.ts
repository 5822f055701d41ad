/** A member inside a Node.js program: its world, its server, and a client that needs no socket. */
import { deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { MemberId } from "../base/ids.ts";
import { Client } from "../client/client.ts";
import type { Disk } from "../platform/disk.ts";
import { type Logger, silent } from "../platform/log.ts";
import { nodeWorld } from "../platform/node/world.ts";
import type { World } from "../platform/world.ts";
import type { Member } from "../protocol/key-value.ts";
import type { Bootstrap, ServerOptions, StaticMember } from "../server/options.ts";
import { Server } from "../server/server.ts";
import { probeDataDir } from "../storage/data-dir.ts";
import { reroute } from "../transport/node/reroute.ts";
import { WebSocketNetwork } from "../transport/node/websocket.ts";
import { connect } from "./connect.ts";
import { prometheusMetrics } from "./metrics.ts";

export interface NodeOptions extends Omit<ServerOptions, "name" | "bootstrap"> {
  /** Where data lives. Absent: in memory only, gone when the node closes. */
  readonly dir?: string | undefined;
  /** Default "default". */
  readonly name?: string | undefined;
  /** Every member of a new cluster, this one among them. Absent: a cluster of one, which may grow later. */
  readonly peers?: readonly StaticMember[] | undefined;
  /** Tells clusters with the same member names apart. Default "quorate-cluster". */
  readonly token?: string | undefined;
  /** An operator's word that this member never held data (docs/guarantees.md). */
  readonly skipWaitForPeers?: boolean | undefined;
  /** Joins a running cluster to which this member's peer address was added with `members.add`. */
  readonly join?: { readonly endpoints: readonly string[] } | undefined;
  /** Other members' addresses, and where to dial instead: through a proxy, or a tunnel. */
  readonly reroute?: Readonly<Record<string, string>> | undefined;
  /** Default: silent. */
  readonly log?: Logger | undefined;
  /** Ends the search for the cluster to join, and a wait for other members at start. */
  readonly signal?: AbortSignal | undefined;
}

/** A loopback address or none: nothing else may be listened on without a secret. */
function isLoopback(url: string | undefined): boolean {
  if (url === undefined) return true;
  const host = new URL(url).hostname.replace(/^\[|\]$/g, "");
  return host === "localhost" || host === "::1" || /^127\./.test(host);
}

/** Its ordered map is a library of its own, which a member on a disk does without. */
async function memoryDisk(base: World): Promise<Disk> {
  const { MemoryDisk } = await import("../platform/memory-disk.ts");
  return new MemoryDisk({ clock: base.clock, random: base.random });
}

async function joinCluster(options: NodeOptions): Promise<Bootstrap> {
  const { join, listenPeerUrl, signal } = options;
  if (listenPeerUrl === undefined) {
    throw new StoreError("BAD_CONFIG", { message: "quorate: a joining member needs a peer address (listenPeerUrl)" });
  }
  await using client = await connect({ endpoints: join!.endpoints });
  // Not linearizable at first: a cluster of one that was just grown has no quorum before this member runs.
  let { members, header } = await client.members.list({ linearizable: false, signal });
  if (!members.some(({ peerUrls }) => peerUrls.includes(listenPeerUrl))) {
    ({ members, header } = await client.members.list({ linearizable: true, signal }));
  }
  const mine = members.find(({ peerUrls }) => peerUrls.includes(listenPeerUrl));
  if (mine === undefined) {
    throw new StoreError("BAD_CONFIG", {
      message: `quorate: no member with the peer address ${listenPeerUrl} was added to the cluster: run "quorate member add" first`,
    });
  }
  if (mine.name !== "") {
    throw new StoreError("MEMBER_DATA_LOST", {
      message: `quorate: the member at ${listenPeerUrl} has run before as ${mine.name}, but its data is gone: remove it and add a new one`,
    });
  }
  return { kind: "join", id: mine.id, clusterId: header.clusterId, members };
}

export class Node implements AsyncDisposable {
  readonly #server: Server;
  readonly #clients = new Set<Client>();
  readonly #world: ReturnType<typeof nodeWorld>;
  readonly #metrics: ReturnType<typeof prometheusMetrics>;

  private constructor(
    server: Server,
    world: ReturnType<typeof nodeWorld>,
    metrics: ReturnType<typeof prometheusMetrics>,
  ) {
    this.#server = server;
    this.#world = world;
    this.#metrics = metrics;
  }

  /**
   * Opens one member. Alone it is a complete cluster of one; with `peers` it forms a cluster; with `join` it enters
   * one. Throws `BAD_CONFIG`, `ADDRESS_IN_USE`, `DATA_DIR_IN_USE`, `DATA_DIR_MISMATCH`, `FORMAT_TOO_NEW`,
   * `WAL_CORRUPT`, `STATE_CORRUPT`, `MEMBER_DATA_LOST`.
   *
   * @example
   * await using node = await Node.open({ dir: "data" });
   * await node.client().put("greeting", "hello");
   */
  static async open(options: NodeOptions = {}): Promise<Node> {
    const {
      dir,
      name,
      peers,
      token,
      skipWaitForPeers,
      join,
      log = silent,
      signal,
      reroute: instead,
      ...rest
    } = options;
    const isAborted = (): boolean => signal?.aborted === true;
    if (isAborted()) throw new StoreError("CANCELLED", { cause: signal?.reason });
    const self = peers?.find((peer) => peer.name === (name ?? "default"));
    const listenPeerUrl = rest.listenPeerUrl ?? self?.peerUrl;
    const listenClientUrl = rest.listenClientUrl ?? self?.clientUrl;
    for (const url of [listenPeerUrl, listenClientUrl]) {
      if (url !== undefined && !URL.canParse(url)) {
        throw new StoreError("BAD_CONFIG", { message: `quorate: not an address: ${url}` });
      }
    }
    if (!isLoopback(listenPeerUrl) && rest.secret === undefined) {
      throw new StoreError("BAD_CONFIG", {
        message: `quorate: ${listenPeerUrl} is not a loopback address: peers need a cluster secret there (secret)`,
      });
    }
    // Like a listening server, an open member keeps its process alive: whoever awaits it is never left behind.
    const base = nodeWorld({ dir: dir ?? ".", log });
    const world = {
      ...base,
      disk: dir === undefined ? await memoryDisk(base) : base.disk,
      network: reroute(new WebSocketNetwork(), instead ?? {}),
    };
    let bootstrap: Bootstrap;
    if (join !== undefined) {
      // A directory in which a member lives says by itself who that is: the kind only counts for an empty one.
      const lives = (await probeDataDir(world.disk)) === "present";
      bootstrap = lives ? { kind: "alone" } : await joinCluster({ ...options, listenPeerUrl });
    } else if (peers !== undefined) {
      bootstrap = { kind: "static", token: token ?? "quorate-cluster", members: peers, skipWaitForPeers };
    } else {
      bootstrap = { kind: "alone" };
    }
    const aborted = deferred<void>();
    const onAbort = (): void => aborted.resolve();
    if (isAborted()) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    const metrics = prometheusMetrics();
    try {
      const server = await Server.open(
        world,
        { ...rest, name: name ?? "default", bootstrap, listenPeerUrl, listenClientUrl },
        metrics,
        aborted.promise,
      );
      return new Node(server, base, metrics);
    } catch (error) {
      metrics.close();
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  get id(): MemberId {
    return this.#server.id;
  }

  get name(): string {
    return this.#server.name;
  }

  /** The member that leads, as far as this one knows. */
  get leader(): MemberId | undefined {
    return this.#server.status().leader;
  }

  get clientUrl(): string | undefined {
    return this.#server.clientUrl;
  }

  get peerUrl(): string | undefined {
    return this.#server.peerUrl;
  }

  get members(): readonly Member[] {
    return this.#server.members();
  }

  /** Resolves when the member ended: with the named error that ended it, or `undefined` after `close`. */
  get onStopped(): Promise<StoreError | undefined> {
    return this.#server.stopped;
  }

  /** The same interface as over a socket, without one. Closed with the node. */
  client(options: { readonly exactlyOnce?: boolean | undefined } = {}): Client {
    const { clock, random } = this.#world;
    const client: Client = Client.inProcess({
      clock,
      random,
      channel: this.#server.channel(),
      ...options,
      onClosed: () => this.#clients.delete(client),
    });
    this.#clients.add(client);
    return client;
  }

  /** Hands leadership over, drains, flushes, closes. Safe to call twice. */
  async close(options: { readonly handOver?: boolean } = {}): Promise<void> {
    // Calls under way get their answers while the server drains.
    await this.#server.close(options);
    for (const client of [...this.#clients]) await client.close();
    this.#metrics.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
