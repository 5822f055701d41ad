import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { type Deferred, deferred } from "../../src/base/deferred.ts";
import { StoreError } from "../../src/base/errors.ts";
import { logIndex, memberId, revision, term } from "../../src/base/ids.ts";
import type { Applied } from "../../src/machine/machine.ts";
import { silent } from "../../src/platform/log.ts";
import type { SoftState } from "../../src/raft/ready.ts";
import { AutoCompactor, parseRetention, type Retention } from "../../src/server/auto-compactor.ts";
import { SimulatedCluster, SimulatedWorld } from "../../src/testing/index.ts";

const SELF = memberId(1n);
const MINUTE = 60_000;

/** A store that grows by a revision each second, or as told, and a leadership in the test's hand. */
class Rig {
  readonly world = new SimulatedWorld({ seed: 1 });
  readonly compacted: { readonly atMs: number; readonly revision: number }[] = [];
  soft: SoftState = { role: "leader", term: term(1), leader: SELF };
  /** What the next proposals end with. */
  refusal: StoreError | undefined;
  held: Deferred<void> | undefined;
  keys = 1;
  readonly #compactor: AutoCompactor;

  constructor(retention: Retention, grown: (seconds: number) => number = (seconds) => seconds) {
    const { clock } = this.world;
    let compactRevision = -1;
    this.#compactor = new AutoCompactor({
      retention,
      revisionIntervalMs: 5 * MINUTE,
      clock,
      log: silent,
      revision: () => 1 + Math.floor(grown(clock.now() / 1_000)),
      compactRevision: () => compactRevision,
      keys: () => this.keys,
      soft: () => this.soft,
      propose: async ({ revision: at }, _deadline, onlyIn): Promise<Applied> => {
        expect(onlyIn).toBe(this.soft.term);
        this.compacted.push({ atMs: clock.now(), revision: at });
        await this.held?.promise;
        if (this.refusal !== undefined && this.refusal.code !== "COMPACTED") throw this.refusal;
        compactRevision = at;
        const place = { index: logIndex(1), term: term(1), envelope: undefined };
        return this.refusal === undefined
          ? { ...place, outcome: { ok: true, result: { kind: "compact", revision: revision(9) } } }
          : { ...place, outcome: { ok: false, error: this.refusal } };
      },
    });
    this.#compactor.start();
  }

  /** What was proposed in so many minutes from now on: when, and to which revision, in minutes. */
  async run(minutes: number): Promise<string[]> {
    this.compacted.length = 0;
    await this.world.runFor(minutes * MINUTE);
    return this.compacted.map(({ atMs, revision: at }) => `${atMs / MINUTE} ${(at - 1) / 60}`);
  }

  stop(): void {
    this.#compactor.stop();
  }
}

describe("periodic", () => {
  test("keeps its period, and compacts once in each", async () => {
    const rig = new Rig({ mode: "periodic", ms: 10 * MINUTE });
    expect(await rig.run(9.99)).toEqual([]);
    // The oldest sample: of the start, then of a period and one sample ago.
    expect(await rig.run(30.02)).toEqual(["10 0", "20 9", "30 19", "40 29"]);
    rig.stop();
    expect(await rig.run(60)).toEqual([]);
  });

  test("of more than an hour compacts each hour", async () => {
    const rig = new Rig({ mode: "periodic", ms: 180 * MINUTE });
    expect(await rig.run(301)).toEqual(["180 0", "240 54", "300 114"]);
  });

  test("goes on sampling where it does not lead, and compacts once it does", async () => {
    const rig = new Rig({ mode: "periodic", ms: 10 * MINUTE });
    rig.soft = { ...rig.soft, role: "follower" };
    expect(await rig.run(34.5)).toEqual([]);
    rig.soft = { role: "leader", term: term(7), leader: SELF };
    expect(await rig.run(12)).toEqual(["35 24", "45 34"]);
  });

  test("tries again at the next sample after a failure, not where another has compacted already", async () => {
    const rig = new Rig({ mode: "periodic", ms: 10 * MINUTE });
    rig.refusal = new StoreError("LEADER_CHANGED", { outcome: "unknown" });
    expect(await rig.run(12.5)).toEqual(["10 0", "11 0", "12 1"]);
    rig.refusal = new StoreError("COMPACTED");
    expect(await rig.run(10)).toEqual(["13 2"]);
    rig.refusal = undefined;
    expect(await rig.run(1)).toEqual(["23 12"]);
  });

  test("has one compaction under way at the most, and none for a store that stands still", async () => {
    const rig = new Rig({ mode: "periodic", ms: 10 * MINUTE });
    rig.held = deferred<void>();
    expect(await rig.run(30)).toEqual(["10 0"]);
    rig.held.resolve();
    rig.held = undefined;
    expect(await rig.run(15)).toEqual(["40 29"]);
  });
});

describe("revision", () => {
  test("keeps so many revisions, looking each five minutes", async () => {
    const rig = new Rig({ mode: "revision", revisions: 420 });
    // 300 revisions in five minutes: nothing is old enough at first.
    expect(await rig.run(5)).toEqual([]);
    expect(rig.compacted).toEqual([]);
    await rig.run(10);
    expect(rig.compacted.map(({ revision: at }) => at)).toEqual([181, 481]);
    rig.soft = { ...rig.soft, role: "follower" };
    expect(await rig.run(10)).toEqual([]);
  });
});

describe("many revisions do not wait for the interval", () => {
  const seconds = (rig: Rig): string[] => rig.compacted.map(({ atMs, revision: at }) => `${atMs / 1_000} ${at}`);

  test("where revisions are counted", async () => {
    const rig = new Rig({ mode: "revision", revisions: 1_000 }, (now) => 40_000 * now);
    await rig.run(9.5 / 60);
    // 100,000 and what is kept are there after 2.6 seconds, and so many again each 2.5.
    expect(seconds(rig)).toEqual(["3 119001", "6 239001", "9 359001"]);
    rig.keys = 1_000_000;
    await rig.run(60 / 60);
    // A compaction visits each key: no more often than as many revisions come.
    expect(seconds(rig)).toEqual(["34 1359001", "59 2359001"]);
  });

  test("nor of a period, which is kept all the same", async () => {
    const rig = new Rig({ mode: "periodic", ms: 10 * MINUTE }, (now) => 2_000 * now);
    await rig.run(800 / 60);
    // The first as without it; then 100,000 at a time, each ten minutes after it was reached.
    expect(seconds(rig)).toEqual(["600 1", "650 100001", "700 200001", "750 300001", "800 400001"]);
    rig.keys = 1_000_000;
    await rig.run(500 / 60);
    expect(seconds(rig)).toEqual(["1300 1400001"]);
  });

  test("and the regular ones go on in between", async () => {
    const hour = 60 * MINUTE;
    // Many in the first hour, few from then on.
    const rig = new Rig({ mode: "periodic", ms: 10 * hour }, (now) => (now < 3_600 ? 50 * now : 180_000 + now - 3_600));
    rig.soft = { ...rig.soft, role: "follower" };
    await rig.run(10.55 * 60);
    rig.soft = { ...rig.soft, role: "leader" };
    await rig.run(4 * 60);
    const hours = rig.compacted.map(({ atMs }) => (atMs / hour).toFixed(1));
    expect(hours).toEqual(["10.6", "11.6", "12.6", "13.6", "14.5"].slice(0, hours.length));
    expect(hours.length).toBeGreaterThanOrEqual(4);
  });
});

describe("parseRetention", () => {
  test.each<readonly [string, string | number | undefined, Retention | undefined]>([
    ["periodic", undefined, { mode: "periodic", ms: 3_600_000 }],
    ["periodic", 0, undefined],
    ["periodic", "0", undefined],
    ["periodic", "0s", undefined],
    ["periodic", 2, { mode: "periodic", ms: 7_200_000 }],
    ["periodic", "24", { mode: "periodic", ms: 86_400_000 }],
    ["periodic", "10m", { mode: "periodic", ms: 600_000 }],
    ["periodic", "1h30m", { mode: "periodic", ms: 5_400_000 }],
    ["periodic", "1.5s", { mode: "periodic", ms: 1_500 }],
    ["periodic", "250ms", { mode: "periodic", ms: 250 }],
    ["periodic", "5000us", { mode: "periodic", ms: 5 }],
    ["revision", 1_000, { mode: "revision", revisions: 1_000 }],
    ["revision", "1000", { mode: "revision", revisions: 1_000 }],
    ["revision", 0, undefined],
  ])("%s %s", (mode, retention, parsed) => {
    expect(parseRetention(mode, retention)).toEqual(parsed);
  });

  test.each<readonly [string, string | number | undefined]>([
    ["hourly", 1],
    ["constructor", 1],
    ["periodic", -1],
    ["periodic", 1.5],
    ["periodic", Number.NaN],
    ["periodic", ""],
    ["periodic", "-1h"],
    ["periodic", "1 h"],
    ["periodic", "1d"],
    ["periodic", "10" + "0".repeat(20)],
    ["periodic", "1e9h"],
    ["periodic", "9999999h"],
    ["periodic", "1ns"],
    ["revision", undefined],
    ["revision", "10m"],
    ["revision", 0.5],
    ["revision", -5],
    ["revision", "99999999999999999"],
  ])("%s %s is BAD_CONFIG", (mode, retention) => {
    expect(() => parseRetention(mode, retention)).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });
});

describe("a cluster that compacts by itself", () => {
  test("forgets what is older than its period on every member, whoever leads, and nothing younger", async () => {
    const world = new SimulatedWorld({ seed: 311 });
    const cluster = new SimulatedCluster(world, { nodes: 3, server: { autoCompactionRetention: "10s" } });
    for (const name of cluster.names) cluster.start(name);
    expect(await cluster.ready(), cluster.failures.join()).toBe(true);
    const put = async (): Promise<void> => {
      const request = { kind: "put", key: encodeUtf8("a"), value: encodeUtf8("v") } as const;
      await world.settle(cluster.server(cluster.leader!)!.handle(request, { timeoutMs: 5_000 }));
    };
    const compactRevisions = (): number[] =>
      cluster.names.map((name) => cluster.server(name)!.figures().compactRevision);
    for (let second = 0; second < 60; second++) {
      if (second === 25) {
        cluster.transferLeadership();
        await world.runFor(200);
      }
      await put();
      await world.runFor(1_000);
    }
    // Every member is where the newest attempt put it: between 10 s and two periods and a sample ago.
    expect(new Set(compactRevisions()).size).toBe(1);
    expect(compactRevisions()[0]).toBeGreaterThan(61 - 23);
    expect(compactRevisions()[0]).toBeLessThanOrEqual(61 - 10);
    expect(cluster.failures).toEqual([]);
    for (const name of cluster.names) cluster.kill(name, "stays");
  });

  test("off means off", async () => {
    const world = new SimulatedWorld({ seed: 312 });
    const server = {
      autoCompactionMode: "revision",
      autoCompactionRetention: 0,
      autoCompactionIntervalMs: 100,
    } as const;
    const cluster = new SimulatedCluster(world, { nodes: 1, server });
    cluster.start("n1");
    expect(await cluster.ready()).toBe(true);
    for (let i = 0; i < 20; i++) {
      const request = { kind: "put", key: encodeUtf8("a"), value: encodeUtf8("v") } as const;
      await world.settle(cluster.server("n1")!.handle(request, { timeoutMs: 5_000 }));
    }
    await world.runFor(5_000);
    expect(cluster.server("n1")!.figures().compactRevision).toBe(-1);
    cluster.kill("n1", "stays");
  });
});
