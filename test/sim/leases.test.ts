/** Leases through fail-overs, pauses and restarts, told step by step on virtual time. */
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { type LeaseId, leaseId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Response, ResultOf } from "../../src/protocol/responses.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { LeaseCensus, ManyLeases, SimulatedCluster, SimulatedWorld, simulatedClient } from "../../src/testing/index.ts";

const ELECTION_MS = 1_000;

class Story {
  readonly world: SimulatedWorld;
  readonly cluster: SimulatedCluster;
  #clients = 0;

  constructor(seed: number, server: Partial<ServerOptions> = {}) {
    this.world = new SimulatedWorld({ seed });
    this.cluster = new SimulatedCluster(this.world, {
      nodes: 3,
      server: { electionTimeoutMs: ELECTION_MS, ...server },
    });
    for (const name of this.cluster.names) this.cluster.start(name);
    onTestFinished(() => {
      expect(this.cluster.failures).toEqual([]);
      for (const name of this.cluster.names) this.cluster.kill(name, "stays");
    });
  }

  get now(): number {
    return this.world.clock.now();
  }

  async leader(): Promise<string> {
    expect(await this.cluster.ready(), this.cluster.failures.join("; ")).toBe(true);
    return this.cluster.leader!;
  }

  followers(): string[] {
    return this.cluster.names.filter((name) => name !== this.cluster.leader);
  }

  async client(...names: readonly string[]): Promise<Client> {
    const urls = (names.length > 0 ? names : this.cluster.names).map((name) => SimulatedCluster.clientUrl(name));
    const client = await simulatedClient(this.world, `client${this.#clients++}`, urls);
    onTestFinished(() => client.close());
    return client;
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise);
  }

  async ask<Q extends Request>(name: string, request: Q, timeoutMs = 5_000): Promise<Response<ResultOf<Q>>> {
    return (await this.settle(this.cluster.server(name)!.handle(request, { timeoutMs }))) as Response<ResultOf<Q>>;
  }

  isolate(name: string): void {
    for (const other of this.cluster.names) {
      if (other === name) continue;
      this.cluster.cut(name, other);
      this.cluster.cut(other, name);
    }
  }

  /** A lease with two keys; when it was granted at the latest. */
  async granted(client: Client, ttl: number): Promise<{ readonly id: LeaseId; readonly at: number }> {
    const at = this.now;
    const { id } = await this.settle(client.lease.grant(ttl));
    await this.settle(client.put("b", "2", { lease: id }));
    await this.settle(client.put("a", "1", { lease: id }));
    return { id, at };
  }

  /** When the key is first seen to be gone. */
  async goneAt(key: string, limitMs: number): Promise<number> {
    const end = this.now + limitMs;
    while (this.now < end) {
      const request: Request = { kind: "range", key: encodeUtf8(key), serializable: true };
      const name = this.cluster.leader;
      if (name !== undefined) {
        const { result } = await this.ask(name, request);
        if (result.kind === "range" && result.count === 0) return this.now;
      }
      await this.world.runFor(20);
    }
    return expect.fail(`${key} is still there after ${limitMs} ms`);
  }
}

describe("a lease that nobody keeps alive", () => {
  test("ends within a second of its deadline, never before, with all its keys at one revision", async () => {
    const story = new Story(201);
    await story.leader();
    const client = await story.client();
    const { id, at } = await story.granted(client, 5);
    const before = await story.settle(client.get("a"));
    const gone = await story.goneAt("a", 20_000);
    expect(gone).toBeGreaterThanOrEqual(at + 5_000);
    expect(gone).toBeLessThanOrEqual(at + 5_000 + 1_000 + 200);
    const after = await story.settle(client.get("", { prefix: true }));
    expect([after.count, after.revision]).toEqual([0, before.revision + 1]);
    expect(await story.settle(client.lease.timeToLive(id, { keys: true }))).toMatchObject({ ttl: -1, keys: [] });
    expect((await story.settle(client.lease.list())).leases).toEqual([]);
    await story.world.runFor(500);
    for (const name of story.cluster.names) {
      expect((await story.ask(name, { kind: "leaseList" })).result).toEqual({ kind: "leaseList", leases: [] });
    }
  });

  test.each(["stays", "cut"] as const)("outlives a restart of all (power %s), and then ends", async (power) => {
    const story = new Story(power === "cut" ? 202 : 203);
    await story.leader();
    const client = await story.client();
    const { at } = await story.granted(client, 4);
    await story.world.runFor(2_000);
    for (const name of story.cluster.names) story.cluster.kill(name, power);
    // For longer than the TTL: time during which nobody could have renewed it.
    await story.world.runFor(10_000);
    for (const name of story.cluster.names) story.cluster.start(name);
    await story.leader();
    const back = story.now;
    expect(await story.settle(client.get("a"))).toMatchObject({ count: 1 });
    const gone = await story.goneAt("a", 30_000);
    expect(gone).toBeGreaterThanOrEqual(at + 4_000);
    expect(gone).toBeLessThanOrEqual(back + ELECTION_MS + 4_000 + 2_000);
  });
});

describe("keep-alive", () => {
  test("works by way of every member, and ends with the lease", async () => {
    const story = new Story(204);
    const leader = await story.leader();
    const owner = await story.client();
    const { id } = await story.granted(owner, 3);
    for (const name of [leader, ...story.followers()]) {
      const client = await story.client(name);
      const stop = new AbortController();
      const kept = client.lease.keepAlive(id, { signal: stop.signal });
      await story.world.runFor(7_000);
      expect(kept.deadline).toBeGreaterThan(story.now + 1_500);
      expect(await story.settle(client.lease.timeToLive(id, { keys: true }))).toMatchObject({
        grantedTtl: 3,
        keys: [encodeUtf8("a"), encodeUtf8("b")],
      });
      stop.abort();
      await story.settle(kept.ended);
    }
    const client = await story.client(story.followers()[0]!);
    const kept = client.lease.keepAlive(id);
    await story.world.runFor(1_000);
    await story.settle(owner.lease.revoke(id));
    expect(await story.settle(kept.ended)).toMatchObject({ code: "LEASE_NOT_FOUND" });
    expect(await story.settle(owner.get("a"))).toMatchObject({ count: 0 });
  });

  test("of a lease that nobody granted is TTL 0, asked anywhere; its time to live is -1", async () => {
    const story = new Story(205);
    await story.leader();
    const id = leaseId(99n);
    for (const name of story.cluster.names) {
      const alive = await story.ask(name, { kind: "leaseKeepAlive", id });
      expect(alive.result).toEqual({ kind: "leaseKeepAlive", id, ttl: 0 });
      const left = await story.ask(name, { kind: "leaseTimeToLive", id, keys: true });
      expect(left.result).toEqual({ kind: "leaseTimeToLive", id, ttl: -1, grantedTtl: 0, keys: [] });
    }
  });

  test("waits for a revoke that is under way", async () => {
    const story = new Story(206);
    const leader = await story.leader();
    const client = await story.client();
    const { id, at } = await story.granted(client, 3);
    await story.world.runUntil(at + 2_950);
    // Shorter than an election timeout, so that the leader stays; longer than its next look at deadlines.
    for (const name of story.cluster.names) story.cluster.stallDisk(name, true);
    await story.world.runFor(500);
    const asked = story.cluster.server(leader)!.handle({ kind: "leaseKeepAlive", id }, { timeoutMs: 5_000 });
    let answered = false;
    void asked.finally(() => {
      answered = true;
    });
    await story.world.runFor(200);
    expect(answered).toBe(false);
    for (const name of story.cluster.names) story.cluster.stallDisk(name, false);
    expect((await story.settle(asked)).result).toEqual({ kind: "leaseKeepAlive", id, ttl: 0 });
    expect(story.cluster.leader).toBe(leader);
    expect(await story.settle(client.get("a"))).toMatchObject({ count: 0 });
  });

  test("is not acknowledged by a leader that is cut off", async () => {
    const story = new Story(207);
    const leader = await story.leader();
    const client = await story.client();
    const { id } = await story.granted(client, 60);
    story.isolate(leader);
    const server = story.cluster.server(leader)!;
    const error = await story.settle(
      server.handle({ kind: "leaseKeepAlive", id }, { timeoutMs: 3_000 }).then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    );
    expect(error).toBeInstanceOf(StoreError);
    expect((error as StoreError).outcome).toBe("rejected");
    story.cluster.healCuts();
  });
});

describe("a change of leaders", () => {
  test("ends no lease before its TTL since the last renewal, nor keeps it for more than the promise", async () => {
    const story = new Story(208);
    const client = await story.client();
    let leader = await story.leader();
    for (let round = 0; round < 3; round++) {
      const { id } = await story.granted(client, 4);
      await story.world.runFor(3_000);
      const { deadline } = await story.settle(client.lease.keepAliveOnce(id));
      story.cluster.kill(leader, "cut");
      const gone = await story.goneAt("a", 30_000);
      expect(gone).toBeGreaterThanOrEqual(deadline);
      expect(gone).toBeLessThanOrEqual(deadline + 4_000 + ELECTION_MS + 2_000);
      story.cluster.start(leader);
      leader = await story.leader();
    }
  });

  test("a leader paused past the TTL ends nothing that was renewed elsewhere meanwhile (B49)", async () => {
    const story = new Story(209);
    const leader = await story.leader();
    const client = await story.client(...story.followers());
    const { id } = await story.granted(client, 5);
    const kept = client.lease.keepAlive(id);
    await story.world.runFor(1_000);
    for (let round = 0; round < 3; round++) {
      const paused = round === 0 ? leader : await story.leader();
      story.cluster.pause(paused, true);
      await story.world.runFor(8_000);
      story.cluster.pause(paused, false);
      await story.world.runFor(5_000);
      expect(kept.deadline).toBeGreaterThan(story.now);
      expect(await story.settle(client.get("a"))).toMatchObject({ count: 1 });
    }
    await story.settle(kept.return());
    await story.goneAt("a", 10_000);
  });

  test("a keep-alive that a deposed leader took is acknowledged only by the one that keeps the lease now", async () => {
    const story = new Story(212);
    const leader = await story.leader();
    const near = await story.client(leader);
    const { id } = await story.granted(near, 20);
    story.cluster.pause(leader, true);
    await story.world.runFor(10_000);
    // Waits in the paused one's socket, beside what the new leader said.
    const asked = near.lease.keepAliveOnce(id, { timeoutMs: 5_000 });
    await story.world.runFor(500);
    story.cluster.pause(leader, false);
    const { deadline } = await story.settle(asked);
    const gone = await story.goneAt("a", 60_000);
    expect(gone).toBeGreaterThanOrEqual(deadline);
  });

  test("what a lease has left is committed, so that many changes do not keep it for ever", async () => {
    const story = new Story(210, { leaseCheckpointIntervalMs: 2_000 });
    const client = await story.client();
    await story.leader();
    const { id, at } = await story.granted(client, 20);
    for (let round = 0; round < 3; round++) {
      await story.world.runFor(5_000);
      const leader = await story.leader();
      story.cluster.kill(leader, "stays");
      await story.world.runFor(3_000);
      story.cluster.start(leader);
      await story.leader();
    }
    // Without checkpoints it would have all of its 20 s again.
    const { ttl } = await story.settle(client.lease.timeToLive(id));
    expect(ttl).toBeLessThan(13);
    // A renewal clears what was committed: the next leader gives it its whole TTL.
    const { deadline } = await story.settle(client.lease.keepAliveOnce(id));
    story.cluster.kill(await story.leader(), "stays");
    await story.world.runFor(4_000);
    const left = await story.settle(client.lease.timeToLive(id));
    expect(story.now + left.ttl * 1_000 + 1_000).toBeGreaterThanOrEqual(deadline);
    expect(left.ttl).toBeGreaterThan(15);
    expect(at).toBeLessThan(deadline);
    const gone = await story.goneAt("a", 60_000);
    expect(gone).toBeGreaterThanOrEqual(deadline);
    for (const name of story.cluster.names) story.cluster.start(name);
  });
});

test("a thousand leases that end together are all gone within seconds, and others are served meanwhile", async () => {
  const story = new Story(211);
  const leader = await story.leader();
  const client = await story.client(leader);
  const grants = await story.settle(Promise.all(Array.from({ length: 1_000 }, () => client.lease.grant(5))));
  await story.settle(
    Promise.all(grants.map(({ id }, i) => client.put(`many/${i}`, "", { lease: id, timeoutMs: 30_000 }))),
  );
  expect((await story.settle(client.lease.list())).leases.length).toBe(1_000);
  const end = story.now + 8_000;
  while (story.now < end) {
    await story.settle(client.put("other", "1", { timeoutMs: 1_000 }));
    await story.world.runFor(100);
  }
  expect((await story.settle(client.lease.list())).leases).toEqual([]);
  expect(await story.settle(client.get("many/", { prefix: true, countOnly: true }))).toMatchObject({ count: 0 });
});

describe("a thousand leases through ten changes of leaders", () => {
  const LEASES = 1_000;
  const CHANGES = 10;

  test.each([301, 302])("none ends early, none late, none is left behind (seed %i)", async (seed) => {
    const story = new Story(seed);
    const { world, cluster } = story;
    await story.leader();
    const census = new LeaseCensus({ electionTimeoutMs: ELECTION_MS });
    const random = world.random("many leases");
    const leases = new ManyLeases({
      ...{ clock: world.clock, random, census, leases: LEASES, ttl: { min: 2, max: 30 } },
      client: await story.client(),
      members: await Promise.all(cluster.names.map((name) => story.client(name))),
    });
    await story.settle(leases.start());
    // One that leads again, in a later term, has begun all deadlines anew as another would have.
    const reign = (): string | undefined => {
      const { leader } = cluster;
      return leader === undefined ? undefined : `${leader} in term ${cluster.server(leader)?.status().term}`;
    };
    await story.leader();
    let leading = reign();
    let changes = 0;
    const watch = world.clock.every(10, () => {
      const now = reign();
      if (now === undefined || now === leading) return;
      leading = now;
      changes += 1;
      census.leaderChanged(world.clock.now());
    });

    for (let round = 0; changes < CHANGES; round++) {
      const old = await story.leader();
      const before = changes;
      const down = ["killed", "cut off", "paused"][round % 3];
      if (down === "killed") cluster.kill(old, random() < 0.5 ? "cut" : "stays");
      else if (down === "paused") cluster.pause(old, true);
      else story.isolate(old);
      expect(await world.until(() => changes > before, 20_000), `${down} in round ${round}`).toBe(true);
      await world.runFor(random() * 3_000);
      if (down === "killed") cluster.start(old);
      else if (down === "paused") cluster.pause(old, false);
      else cluster.healCuts();
      await world.runFor(1_000 + random() * 2_000);
    }
    await story.leader();
    // A new leader gives every lease its TTL anew, renewed or not: what a renewal does shows where no change follows it.
    await world.runFor(4_000);
    leases.stopRenewing();
    const limit = story.now + (CHANGES + 1) * (30_000 + ELECTION_MS);
    expect(await world.until(() => census.living.length === 0, limit - story.now)).toBe(true);
    expect(await story.settle(leases.stop())).toBe(0);
    watch.cancel();
    expect(census.verdict()).toEqual({ verdict: "ok" });
    expect(census.figures).toMatchObject({ leases: LEASES, ended: LEASES });
    expect(census.figures.leaderChanges).toBeGreaterThanOrEqual(CHANGES);
    // Not because nothing was seen.
    expect(census.figures.counts).toBeGreaterThan(100);
    expect(census.figures.mostOverdueMs).toBeGreaterThan(2_000);
    expect(census.figures.renewals).toBeGreaterThan(100);
    expect(census.figures.renewalsShown).toBeGreaterThan(20);
  });
});
