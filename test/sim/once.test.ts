/** Writes that are sent more than once, told step by step on virtual time. */
import { describe, expect, onTestFinished, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import type { Client } from "../../src/client/client.ts";
import { compare, op } from "../../src/client/txn.ts";
import type { OperationId } from "../../src/protocol/channel.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { type CutMoment, cutting, SimulatedCluster, SimulatedWorld, simulatedClient } from "../../src/testing/index.ts";
import type { Connection } from "../../src/transport/network.ts";

class Story {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;
  #clients = 0;

  constructor(seed: number, { nodes = 3, server = {} }: { nodes?: number; server?: Partial<ServerOptions> } = {}) {
    this.world = new SimulatedWorld({ seed });
    this.cluster = new SimulatedCluster(this.world, { nodes, server: { electionTimeoutMs: 1_000, ...server } });
    for (const name of this.cluster.names) this.cluster.start(name);
    onTestFinished(() => {
      expect(this.cluster.failures).toEqual([]);
      for (const name of this.cluster.names) this.cluster.kill(name, "stays");
    });
  }

  async leader(): Promise<string> {
    expect(await this.cluster.ready(), this.cluster.failures.join("; ")).toBe(true);
    return this.cluster.leader!;
  }

  get followers(): string[] {
    return this.cluster.names.filter((name) => name !== this.cluster.leader);
  }

  async client(through?: (connection: Connection) => Connection): Promise<Client> {
    const urls = this.cluster.names.map((name) => SimulatedCluster.clientUrl(name));
    const client = await simulatedClient(this.world, `client${this.#clients++}`, urls, through);
    onTestFinished(() => client.close());
    return client;
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise);
  }

  async caught(promise: Promise<unknown>): Promise<StoreError> {
    const error = await this.settle(
      promise.then(
        () => expect.fail("it was answered"),
        (reason: unknown) => reason,
      ),
    );
    expect(error).toBeInstanceOf(StoreError);
    return error as StoreError;
  }

  async register(via: string): Promise<number> {
    const { result } = await this.settle(this.cluster.server(via)!.handle({ kind: "register" }, { timeoutMs: 5_000 }));
    return result.kind === "register" ? result.clientId : expect.fail(result.kind);
  }

  /** The revision that one attempt is told. */
  async put(via: string, value: string, operation: OperationId): Promise<number> {
    const request = { kind: "put", key: encodeUtf8("a"), value: encodeUtf8(value) } as const;
    const { result } = await this.cluster.server(via)!.handle(request, { timeoutMs: 5_000, operation });
    return result.kind === "put" ? result.revision : expect.fail(result.kind);
  }

  /** Every value that "a" ever had, in their order. */
  async values(): Promise<string[]> {
    const server = this.cluster.server(await this.leader())!;
    const values: string[] = [];
    for (let revision = 2; revision <= server.figures().revision; revision++) {
      const range = { kind: "range", key: encodeUtf8("a"), revision, minModRevision: revision } as const;
      const { result } = await this.settle(server.handle(range, { timeoutMs: 5_000 }));
      if (result.kind === "range") values.push(...result.kvs.map(({ value }) => decodeUtf8(value)));
    }
    return values;
  }

  hits(): number {
    return this.cluster.names.reduce((sum, name) => sum + (this.cluster.server(name)?.figures().ledgerHits ?? 0), 0);
  }
}

const of = (clientId: number, sequence = 1, lowestUnacknowledged = 1): OperationId => ({
  clientId,
  sequence,
  lowestUnacknowledged,
});

/** Of the client below: a greeting, a registration, three puts, a read, a transaction. As many come back. */
const FRAMES = 7;

describe("a connection that is cut", () => {
  const moments: readonly CutMoment[] = ["before sending", "after sending", "before receiving"];
  test.each(moments)(
    "%s, at each step of a client's life: every write is answered, and is there once",
    async (moment) => {
      const story = new Story(61, { nodes: 1 });
      await story.leader();
      const expected: string[] = [];
      let struck = 0;
      for (let step = 0; step < FRAMES; step++) {
        let steps = 0;
        const client = await story.client((connection) =>
          cutting(connection, (now) => {
            if (now !== moment || steps++ !== step) return false;
            struck += 1;
            return true;
          }),
        );
        for (const n of [1, 2, 3]) {
          const value = `${step}.${n}`;
          expected.push(value);
          await story.settle(client.put("a", value));
        }
        const { kvs } = await story.settle(client.get("a"));
        const more = await story.settle(
          client
            .txn()
            .if(compare.modRevision("a", "=", kvs[0]!.modRevision))
            .then(op.put("a", `${step}.txn`))
            .commit(),
        );
        expected.push(`${step}.txn`);
        expect(more.succeeded).toBe(true);
        await client.close();
      }
      expect(struck).toBe(FRAMES);
      expect(await story.values()).toEqual(expected);
      if (moment !== "before sending") expect(story.hits()).toBeGreaterThan(0);
    },
  );
});

describe("one write at several members", () => {
  test("at the same time: both callers are told the same, and it is there once", async () => {
    const story = new Story(62);
    const leader = await story.leader();
    const client = await story.register(leader);
    const attempts = [leader, ...story.followers, leader].map((name) => story.put(name, "1", of(client)));
    const revisions = await story.settle(Promise.all(attempts));
    expect(new Set(revisions)).toEqual(new Set([2]));
    expect(await story.values()).toEqual(["1"]);
  });

  test("one after the other, with another leader and a member that got the ledger with a snapshot", async () => {
    const story = new Story(63, { server: { trailingEntries: 1, trailingBytes: 100, flushIntervalMs: 50 } });
    const { world, cluster } = story;
    const leader = await story.leader();
    const [late] = story.followers as [string];
    const client = await story.register(leader);
    cluster.kill(late, "cut");
    const told = await story.settle(story.put(leader, "1", of(client)));
    // Until the leader counts it out: for a follower that it hears of it keeps the log.
    await world.runFor(3_000);
    for (let i = 0; i < 30; i++) await story.settle(story.put(leader, `other ${i}`, of(client, 2 + i)));
    await world.runFor(500);
    cluster.start(late);
    expect(await world.until(() => cluster.converged, 30_000)).toBe(true);
    expect(cluster.server(late)!.figures().snapshotsInstalled).toBe(1);
    const target = cluster.server(late)!.id;
    await story.settle(cluster.server(leader)!.handle({ kind: "moveLeader", target }, { timeoutMs: 5_000 }));
    for (const name of cluster.names) expect(await story.settle(story.put(name, "1", of(client)))).toBe(told);
    expect((await story.values()).filter((value) => value === "1")).toEqual(["1"]);
    expect(new Set(cluster.names.map((name) => cluster.server(name)!.status().stateHash)).size).toBe(1);
  });

  test("after a power cut of all members, before and after the state was flushed", async () => {
    for (const flushIntervalMs of [50, 100_000]) {
      const story = new Story(64, { server: { flushIntervalMs } });
      const { world, cluster } = story;
      const leader = await story.leader();
      const client = await story.register(leader);
      const told = await story.settle(story.put(leader, "1", of(client)));
      await world.runFor(500);
      for (const name of cluster.names) cluster.kill(name, "cut");
      for (const name of cluster.names) cluster.start(name);
      const next = await story.leader();
      expect(await story.settle(story.put(next, "1", of(client)))).toBe(told);
      expect(await story.settle(story.put(next, "2", of(client, 2, 2)))).toBe(told + 1);
      const error = await story.caught(story.put(next, "1", of(client)));
      expect(error).toMatchObject({ code: "SEQUENCE_SETTLED", outcome: "rejected" });
      expect(await story.values()).toEqual(["1", "2"]);
    }
  });

  test("placed in the log of a leader that is cut off, and again with the next one", async () => {
    const story = new Story(65);
    const { world, cluster } = story;
    const old = await story.leader();
    const client = await story.register(old);
    for (const other of story.followers) {
      cluster.cut(old, other);
      cluster.cut(other, old);
    }
    const first = story.put(old, "1", of(client)).then(String, (error: StoreError) => error.outcome);
    const elected = (): string | undefined =>
      cluster.names.find((name) => name !== old && cluster.server(name)?.status().role === "leader");
    expect(await world.until(() => elected() !== undefined, 30_000)).toBe(true);
    const told = await story.settle(story.put(elected()!, "1", of(client)));
    cluster.healCuts();
    // Of its own attempt the old leader may say what it likes, but not that it is another write's.
    expect([String(told), "rejected", "unknown"]).toContain(await story.settle(first));
    expect(await world.until(() => cluster.converged, 30_000)).toBe(true);
    expect(await story.values()).toEqual(["1"]);
  });
});

describe("registrations expire", () => {
  const IDLE_MS = 2_000;

  test("of a client that is silent, on every member; the next write takes a new one, and is applied once", async () => {
    const story = new Story(66, { server: { clientIdleMs: IDLE_MS } });
    const { world, cluster } = story;
    await story.leader();
    const client = await story.client();
    await story.settle(client.put("a", "1"));
    const clients = (): number[] => cluster.names.map((name) => cluster.server(name)!.figures().ledgerClients);
    await world.runFor(IDLE_MS - 500);
    expect(clients()).toEqual([1, 1, 1]);
    // Idle for at least so long, at most an eighth more, and a round.
    await world.runFor(500 + IDLE_MS / 8 + 100);
    expect(clients()).toEqual([0, 0, 0]);
    await story.settle(client.put("a", "2"));
    expect(clients()).toContain(1);
    expect(await story.values()).toEqual(["1", "2"]);
  });

  test("not of one that writes; and a new leader gives each its time anew", async () => {
    const story = new Story(67, { server: { clientIdleMs: IDLE_MS } });
    const { world, cluster } = story;
    const leader = await story.leader();
    const busy = await story.register(leader);
    const silent = await story.register(leader);
    for (let i = 1; i <= 8; i++) {
      await story.settle(story.put(leader, `${i}`, of(busy, i, i)));
      await world.runFor(IDLE_MS / 5);
      if (i !== 4) continue;
      // Before the silent one's time is up: with the next leader it begins again.
      cluster.kill(leader, "stays");
      expect(await world.until(() => cluster.leader !== undefined && cluster.leader !== leader, 30_000)).toBe(true);
      cluster.start(leader);
      await story.leader();
    }
    expect(await story.settle(story.put(cluster.leader!, "silent", of(silent)))).toBeGreaterThan(1);
    await world.runFor(2 * IDLE_MS);
    expect(cluster.server(cluster.leader!)!.figures().ledgerClients).toBe(0);
    expect(await story.caught(story.put(cluster.leader!, "late", of(busy, 9, 9)))).toMatchObject({
      code: "CLIENT_EXPIRED",
      outcome: "rejected",
    });
    expect(await story.values()).not.toContain("late");
  });

  test("while a write is in doubt: it ends unknown, was applied once, and the client's next write is well", async () => {
    const story = new Story(68, { nodes: 1, server: { clientIdleMs: IDLE_MS } });
    const { world, cluster } = story;
    await story.leader();
    let strikes = false;
    const client = await story.client((connection) =>
      cutting(connection, (moment) => strikes && moment === "before receiving"),
    );
    await story.settle(client.put("a", "1"));
    strikes = true;
    const doubtful = client.put("a", "2", { timeoutMs: 20_000 });
    doubtful.catch(() => {});
    await world.runFor(50);
    expect(await story.values()).toEqual(["1", "2"]);
    // As long as the client's process is stopped nobody repeats it.
    world.host("client0").pause();
    await world.runFor(2 * IDLE_MS);
    expect(cluster.server("n1")!.figures().ledgerClients).toBe(0);
    strikes = false;
    world.host("client0").resume();
    expect(await story.caught(doubtful)).toMatchObject({ code: "CLIENT_EXPIRED", outcome: "unknown" });
    await story.settle(client.put("a", "3"));
    expect(await story.values()).toEqual(["1", "2", "3"]);
  });
});
