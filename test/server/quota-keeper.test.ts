/** The quota of whole members: what is refused, who says so, and when it ends. */
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { StoreError } from "../../src/base/errors.ts";
import { memberId } from "../../src/base/ids.ts";
import { silent } from "../../src/platform/log.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Response, ResultOf, StatusResult } from "../../src/protocol/responses.ts";
import { healthAnswer } from "../../src/server/health.ts";
import type { ServerOptions } from "../../src/server/options.ts";
import { QuotaKeeper, quotaOf } from "../../src/server/quota-keeper.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";
import { testSeed } from "../support/seed.ts";
import { Member } from "../support/state.ts";

const QUOTA = 20_000;

async function members(nodes: number, server: Partial<ServerOptions> = {}) {
  const world = new SimulatedWorld({ seed: testSeed() });
  const cluster = new SimulatedCluster(world, {
    nodes,
    server: { quotaBytes: QUOTA, flushIntervalMs: 100, ...server },
  });
  for (const name of cluster.names) cluster.start(name);
  expect(await cluster.ready(), cluster.failures.join("; ")).toBe(true);
  await world.runFor(1_000);
  onTestFinished(() => {
    for (const name of cluster.names) cluster.kill(name, "stays");
    expect(cluster.failures).toEqual([]);
  });
  return {
    world,
    cluster,
    ask<Q extends Request>(request: Q, name = cluster.leader!): Promise<Response<ResultOf<Q>>> {
      const asked = cluster.server(name)!.handle(request, { timeoutMs: 5_000 });
      return world.settle(asked) as Promise<Response<ResultOf<Q>>>;
    },
    async refusal(request: Request, name = cluster.leader!): Promise<StoreError> {
      return this.ask(request, name).then(
        () => expect.fail("it was answered"),
        (error: StoreError) => error,
      );
    },
    /** Until one is refused; how many were not. */
    async fill(name = cluster.leader!): Promise<number> {
      for (let i = 0; i < 1_000; i++) {
        try {
          await this.ask(put(`k${i}`, "v".repeat(500)), name);
        } catch (error) {
          expect(error).toMatchObject({ code: "NO_SPACE", outcome: "rejected", status: "RESOURCE_EXHAUSTED" });
          return i;
        }
      }
      return expect.fail("nothing was refused");
    },
    async alarms(): Promise<string[]> {
      const { result } = await this.ask({ kind: "alarm", action: "get" });
      return result.alarms.map(({ member, alarm }) => `${cluster.nameOf(member)} ${alarm}`);
    },
    async status(name = cluster.leader!): Promise<StatusResult> {
      return (await this.ask({ kind: "status" }, name)).result;
    },
    /** Deletes everything and lets each member drop it. */
    async free(): Promise<void> {
      const { result } = await this.ask({ kind: "deleteRange", key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) });
      await this.ask({ kind: "compact", revision: result.revision, physical: true });
    },
  };
}

const put = (key: string, value = "v"): Extract<Request, { kind: "put" }> => ({
  kind: "put",
  key: encodeUtf8(key),
  value: encodeUtf8(value),
});

describe("a member beyond its quota", () => {
  test("refuses what grows by etcd's text, raises its alarm, and every member refuses while it stands", async () => {
    const c = await members(3);
    const name = c.cluster.leader!;
    const stored = await c.fill(name);
    // Each put takes about 560 bytes here, and is reckoned at 760.
    expect(stored).toBeGreaterThan(25);
    expect(stored).toBeLessThan(40);
    await c.world.runFor(200);
    expect(await c.alarms()).toEqual([`${name} nospace`]);
    const status = await c.status();
    expect(status.dbSizeInUse).toBeLessThan(QUOTA);
    expect(status.dbSizeInUse).toBeGreaterThan(QUOTA - 1_000);
    expect(status.dbSize).toBeGreaterThanOrEqual(status.dbSizeInUse);
    expect(status.dbSizeQuota).toBe(QUOTA);
    expect(status.errors).toEqual([`memberID:${c.cluster.server(name)!.id} alarm:NOSPACE `]);
    const grows: Request[] = [
      put("small", ""),
      { kind: "txn", compare: [], success: [], failure: [put("a")] },
      { kind: "leaseGrant", ttl: 60 },
    ];
    for (const request of grows) {
      for (const member of c.cluster.names) {
        expect(await c.refusal(request, member)).toMatchObject({
          code: "NO_SPACE",
          message: "etcdserver: mvcc: database space exceeded",
          outcome: "rejected",
        });
      }
    }
    await c.ask({ kind: "range", key: encodeUtf8("k1") });
    await c.ask({ kind: "txn", compare: [], success: [{ kind: "deleteRange", key: encodeUtf8("k1") }], failure: [] });
    await c.ask({ kind: "deleteRange", key: encodeUtf8("k2") });
    await c.ask({ kind: "compact", revision: 10 });
  });

  test("refuses before it looks at anything else, but for what is no request at all", async () => {
    const c = await members(1);
    await c.fill();
    const huge = "v".repeat(QUOTA);
    expect((await c.refusal(put("", huge))).code).toBe("NO_SPACE");
    for (const malformed of [{ kind: "put" }, { kind: "put", key: 5, value: 5 }, { kind: "txn", success: 5 }]) {
      expect((await c.refusal(malformed as Request)).code).not.toBe("NO_SPACE");
    }
  });

  test("takes its alarm back once a tenth of the quota is free, and writes go on", async () => {
    const c = await members(3);
    await c.fill();
    await c.world.runFor(3_000);
    expect((await c.alarms()).length).toBe(1);
    await c.free();
    await c.world.runFor(3_000);
    expect(await c.alarms()).toEqual([]);
    for (const name of c.cluster.names) await c.ask(put("again"), name);
    expect((await c.status()).errors).toEqual([]);
  });

  test("what a compaction dropped is free soon, also where nothing else is written any more", async () => {
    const c = await members(1, { quotaBytes: 0, flushIntervalMs: 3 });
    for (let round = 0; round < 30; round++) {
      const success = Array.from({ length: 100 }, (_, i) => put(`k${i}`, "v".repeat(20)));
      await c.ask({ kind: "txn", compare: [], success, failure: [] });
    }
    await c.world.runFor(1_000);
    const { dbSizeInUse: full } = await c.status();
    // It takes several turns: a flush comes in between, and no entry after it.
    await c.ask({ kind: "compact", revision: c.cluster.server("n1")!.figures().revision });
    await c.world.runFor(1_000);
    expect((await c.status()).dbSizeInUse).toBeLessThan(full / 10);
  });

  test("keeps its alarm while too little is free", async () => {
    const c = await members(1);
    await c.fill();
    const { result } = await c.ask({ kind: "deleteRange", key: encodeUtf8("k1") });
    await c.ask({ kind: "compact", revision: result.revision, physical: true });
    await c.world.runFor(5_000);
    expect((await c.status()).dbSizeInUse).toBeGreaterThan(0.9 * QUOTA);
    expect((await c.alarms()).length).toBe(1);
  });

  test("raises it again with the next write after it was disarmed", async () => {
    const c = await members(3);
    const name = c.cluster.leader!;
    const { id } = c.cluster.server(name)!;
    await c.fill(name);
    await c.world.runFor(200);
    const disarm = { kind: "alarm", action: "deactivate", member: id, alarm: "nospace" } as const;
    expect((await c.ask(disarm)).result.alarms).toEqual([{ member: id, alarm: "nospace" }]);
    expect(await c.alarms()).toEqual([]);
    expect((await c.ask(disarm)).result.alarms).toEqual([]);
    await c.world.runFor(5_000);
    expect(await c.alarms()).toEqual([]);
    expect((await c.refusal(put("k", "v".repeat(500)), name)).code).toBe("NO_SPACE");
    await c.world.runFor(200);
    expect(await c.alarms()).toEqual([`${name} nospace`]);
  });

  test("knows its size and its alarm again after a restart", async () => {
    const c = await members(1);
    await c.fill();
    await c.world.runFor(1_000);
    const { dbSizeInUse } = await c.status();
    c.cluster.kill("n1", "cut");
    await c.world.runFor(100);
    c.cluster.start("n1");
    expect(await c.cluster.ready()).toBe(true);
    await c.world.runFor(2_000);
    expect(await c.alarms()).toEqual(["n1 nospace"]);
    // A term's first entry and a start's publication lie between.
    expect(Math.abs((await c.status()).dbSizeInUse - dbSizeInUse)).toBeLessThan(200);
  });

  test("is full too where only applying showed it: that write counts, and was the last", async () => {
    const c = await members(1);
    const server = c.cluster.server("n1")!;
    const write = (i: number) => server.handle(put(`k${i}`, "v".repeat(500)), { timeoutMs: 5_000 });
    // All are let in before any is applied.
    const all = Promise.allSettled(Array.from({ length: 60 }, (_, i) => write(i)));
    const ends = await c.world.settle(all);
    expect(ends.filter(({ status }) => status === "fulfilled").length).toBe(60);
    await c.world.runFor(100);
    expect(await c.alarms()).toEqual(["n1 nospace"]);
    expect((await c.refusal(put("k", ""))).code).toBe("NO_SPACE");
  });

  test("an alarm goes with the member that raised it", async () => {
    const c = await members(3, { quotaBytes: 0 });
    await c.world.runFor(6_000);
    const away = c.cluster.names.find((name) => name !== c.cluster.leader)!;
    const { id } = c.cluster.server(away)!;
    c.cluster.kill(away, "cut");
    await c.ask({ kind: "alarm", action: "activate", member: id, alarm: "nospace" });
    await c.world.runFor(5_000);
    expect((await c.refusal(put("a"))).code).toBe("NO_SPACE");
    await c.ask({ kind: "memberRemove", id });
    await c.ask(put("a"));
  });
});

describe("an alarm request", () => {
  test("asks for all, for one kind, or for nothing that it could mean", async () => {
    const c = await members(1, { quotaBytes: -1 });
    const { id } = c.cluster.server("n1")!;
    expect((await c.status()).dbSizeQuota).toBe(0);
    expect((await c.ask({ kind: "alarm", action: "activate", member: id })).result.alarms).toEqual([]);
    const raised = [{ member: id, alarm: "nospace" }];
    const raise = { kind: "alarm", action: "activate", member: id, alarm: "nospace" } as const;
    expect((await c.ask(raise)).result.alarms).toEqual(raised);
    expect((await c.ask({ kind: "alarm", action: "get" })).result.alarms).toEqual(raised);
    expect((await c.ask({ kind: "alarm", action: "get", alarm: "nospace" })).result.alarms).toEqual(raised);
    expect((await c.ask({ kind: "alarm", action: "get", alarm: "corrupt" })).result.alarms).toEqual([]);
    // It has space: it takes it back by itself.
    await c.world.runFor(3_000);
    expect(await c.alarms()).toEqual([]);
  });

  test.each<readonly [string, object]>([
    ["without a member", { action: "activate", alarm: "nospace" }],
    ["of member 0", { action: "activate", alarm: "nospace", member: 0n }],
    ["of a member beyond 64 bits", { action: "deactivate", alarm: "nospace", member: 1n << 64n }],
    ["of an unknown kind", { action: "activate", alarm: "fire", member: 1n }],
    ["of an unknown action", { action: "toString", alarm: "nospace", member: 1n }],
    ["that says a member is corrupt", { action: "activate", alarm: "corrupt", member: 1n }],
  ])("%s is INVALID_REQUEST, and changes nothing", async (_name, what) => {
    const c = await members(1);
    const { applied } = c.cluster.server("n1")!.status();
    const error = await c.refusal({ kind: "alarm", ...what } as Request);
    expect(error).toMatchObject({ code: "INVALID_REQUEST", outcome: "rejected" });
    expect(c.cluster.server("n1")!.status().applied).toBe(applied);
  });
});

describe("health", () => {
  test("an alarm makes a member unhealthy unless it is excluded; readiness does not look at space", async () => {
    const source = {
      alarms: () => ["NOSPACE"],
      hasLeader: () => true,
      isLearner: () => false,
      read: async () => {},
      metrics: async () => "",
    };
    expect(await healthAnswer("GET", "/health", source)).toMatchObject({
      status: 503,
      body: '{"health":"false","reason":"ALARM NOSPACE"}\n',
    });
    expect((await healthAnswer("GET", "/health?exclude=NOSPACE", source)).status).toBe(200);
    expect((await healthAnswer("GET", "/readyz", source)).status).toBe(200);
    const corrupt = await healthAnswer("GET", "/readyz", { ...source, alarms: () => ["CORRUPT"] });
    expect(corrupt.body).toContain("[-]data_corruption failed: alarm activated: CORRUPT");
  });
});

describe("QuotaKeeper", () => {
  test.each<readonly [number, number]>([
    [0, 2_147_483_648],
    [-1, Infinity],
    [1, 1],
    [9 * 1024 ** 3, 9 * 1024 ** 3],
  ])("quotaBytes %d is %d", (given, quota) => {
    expect(quotaOf(given)).toBe(quota);
  });

  test.each([0.5, Number.NaN, Infinity, 2 ** 60])("quotaBytes %d is BAD_CONFIG", (given) => {
    expect(() => quotaOf(given)).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });

  test("has one proposal under way, and tries again after it was lost", async () => {
    const world = new SimulatedWorld({ seed: 1 });
    const member = new Member();
    const ends: (() => void)[] = [];
    const keeper = new QuotaKeeper({
      self: memberId(7),
      clock: world.clock,
      log: silent,
      quotaBytes: 1_000,
      usedBytes: () => 1_000,
      machine: () => member.machine,
      propose: () => new Promise<void>((_resolve, reject) => ends.push(() => reject(new Error("lost")))),
    });
    const request = put("a");
    for (let i = 0; i < 5; i++) expect(() => keeper.admit(request)).toThrow();
    expect(ends.length).toBe(1);
    ends[0]!();
    await world.runFor(1);
    expect(() => keeper.admit(request)).toThrow();
    expect(ends.length).toBe(2);
    keeper.stop();
    ends[1]!();
    await world.runFor(1);
    expect(() => keeper.admit(request)).toThrow();
    expect(ends.length).toBe(2);
  });
});
