/** The keeper of leases against a machine, with leadership, reads and proposals in the test's hand. */
import { describe, expect, onTestFinished, test } from "vitest";
import { type Deferred, deferred } from "../../src/base/deferred.ts";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, leaseId, memberId, revision, term } from "../../src/base/ids.ts";
import type { LeaseCommand } from "../../src/machine/command.ts";
import type { Applied } from "../../src/machine/machine.ts";
import type { SoftState } from "../../src/raft/ready.ts";
import { LeaseKeeper } from "../../src/server/lease-keeper.ts";
import { PeerCalls } from "../../src/server/peer-calls.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";
import { Member } from "../support/state.ts";

const ELECTION_MS = 1_000;
const SELF = memberId(1n);
const ID = leaseId(7n);

interface Proposed {
  readonly command: LeaseCommand;
  readonly settled: Deferred<Applied>;
}

class Rig {
  readonly world = new SimulatedWorld({ seed: 3 });
  readonly member = new Member();
  readonly proposed: Proposed[] = [];
  readonly reads: Deferred<void>[] = [];
  /** While set, reads end at once. */
  readsAtOnce = true;
  soft: SoftState = { role: "leader", term: term(1), leader: SELF };
  readonly keeper: LeaseKeeper;
  readonly sent: bigint[] = [];
  /** Milliseconds for which the process stood still. */
  stalledMs = 0;

  constructor() {
    // The first entry of term 1.
    this.member.apply({ kind: "compact", revision: 1 });
    const { clock } = this.world;
    const now = (): number => clock.now() + this.stalledMs;
    let drawn = 0;
    this.keeper = new LeaseKeeper({
      clock: {
        now,
        wallNow: now,
        after: (ms, callback) => clock.after(ms, callback),
        every: (ms, callback) => clock.every(ms, callback),
        defer: (callback) => clock.defer(callback),
      },
      random: { next: () => 0, bytes: (length) => new Uint8Array(length).fill(++drawn < 3 ? 0x80 : drawn) },
      electionTimeoutMs: ELECTION_MS,
      heartbeatMs: 100,
      soft: () => this.soft,
      machine: () => this.member.machine,
      atBoundary: (callback) => callback(),
      calls: new PeerCalls({
        incarnation: 1,
        clock,
        send: (to) => {
          this.sent.push(to);
          return false;
        },
        serve: () => Promise.reject(new StoreError("INVALID_REQUEST")),
        header: () => ({
          clusterId: clusterId(1n),
          memberId: SELF,
          revision: revision(0),
          raftTerm: term(1),
        }),
      }),
      propose: (command, _deadline, onlyIn) => {
        expect(onlyIn).toBe(this.soft.term);
        const settled = deferred<Applied>();
        this.proposed.push({ command, settled });
        return settled.promise;
      },
      linearizable: () => {
        const read = deferred<void>();
        this.reads.push(read);
        if (this.readsAtOnce) read.resolve();
        return read.promise;
      },
    });
    this.keeper.attach(this.member.machine);
    this.keeper.start();
    onTestFinished(() => this.keeper.stop());
  }

  grant(count: number, ttl = 5): void {
    for (let i = 0; i < count; i++) this.member.apply({ kind: "leaseGrant", id: leaseId(BigInt(100 + i)), ttl });
  }

  /** The machine applies it, and whoever proposed it hears. */
  apply({ command, settled }: Proposed): void {
    settled.resolve(this.member.apply(command));
  }

  run(ms: number): Promise<void> {
    return this.world.runFor(ms);
  }

  async caught(promise: Promise<unknown>): Promise<unknown> {
    return this.world.settle(
      promise.then(
        () => expect.fail("it was answered"),
        (error: unknown) => error,
      ),
    );
  }
}

describe("expiry", () => {
  test("only by a leader that has applied an entry of its term, a TTL after that", async () => {
    const rig = new Rig();
    rig.soft = { role: "leader", term: term(2), leader: SELF };
    rig.grant(1);
    rig.keeper.follow();
    await rig.run(10_000);
    expect(rig.proposed).toEqual([]);
    rig.soft = { role: "leader", term: term(1), leader: SELF };
    rig.keeper.follow();
    await rig.run(4_900);
    expect(rig.proposed).toEqual([]);
    await rig.run(400);
    expect(rig.proposed.map(({ command }) => command)).toEqual([
      { kind: "leaseRevoke", id: leaseId(100n), term: term(1) },
    ]);
  });

  test("is proposed again where it certainly did not happen, and not where it may", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(2);
    await rig.run(5_300);
    expect(rig.proposed.length).toBe(2);
    rig.proposed[0]!.settled.reject(new StoreError("TOO_MANY_REQUESTS"));
    rig.proposed[1]!.settled.reject(new StoreError("LEADER_CHANGED", { outcome: "unknown" }));
    // Not at once: it would be refused again.
    await rig.run(1);
    expect(rig.proposed.length).toBe(2);
    await rig.run(1_000);
    expect(rig.proposed.slice(2).map(({ command }) => command)).toEqual([rig.proposed[0]!.command]);
  });

  test("keeps a bounded number under way, and goes on as they are through", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(600);
    await rig.run(7_000);
    expect(rig.proposed.length).toBe(256);
    for (let i = 0; i < rig.proposed.length; i++) {
      rig.apply(rig.proposed[i]!);
      await rig.run(0);
    }
    expect(rig.proposed.length).toBe(600);
    expect(rig.member.machine.lessor.size).toBe(0);
  });

  test("after a stall waits for proof of leadership, and then for what was renewed meanwhile", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1, 5);
    await rig.run(1_000);
    rig.readsAtOnce = false;
    rig.stalledMs = 60_000;
    await rig.run(300);
    expect([rig.proposed.length, rig.reads.length]).toEqual([0, 1]);
    // The keep-alive that had waited in the socket comes first.
    const alive = rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(100n) }, 100_000);
    await rig.run(0);
    for (const read of rig.reads) read.resolve();
    expect(await rig.world.settle(alive)).toMatchObject({ ttl: 5 });
    await rig.run(4_000);
    expect(rig.proposed).toEqual([]);
    await rig.run(1_500);
    expect(rig.proposed.length).toBe(1);
  });

  test("nothing is proposed by one that leads no more", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1);
    rig.soft = { role: "follower", term: term(2), leader: memberId(2n) };
    // Even before it is told so.
    await rig.run(10_000);
    rig.keeper.follow();
    await rig.run(10_000);
    expect(rig.proposed).toEqual([]);
  });
});

describe("keep-alive", () => {
  test("is not acknowledged where the round was answered by another leader", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1);
    rig.readsAtOnce = false;
    const alive = rig.caught(rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(100n) }, 100_000));
    await rig.run(0);
    rig.soft = { role: "follower", term: term(2), leader: memberId(2n) };
    rig.keeper.follow();
    for (const read of rig.reads) read.resolve();
    expect(await alive).toMatchObject({ code: "NOT_LEADER" });
  });

  test("nor where this member leads again, in another term", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1);
    rig.readsAtOnce = false;
    const alive = rig.caught(rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(100n) }, 100_000));
    await rig.run(0);
    rig.soft = { role: "leader", term: term(3), leader: SELF };
    for (const read of rig.reads) read.resolve();
    expect(await alive).toMatchObject({ code: "NOT_LEADER" });
  });

  test("waits for its round, which begins after it arrived", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1);
    rig.readsAtOnce = false;
    let answer: unknown;
    void rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(100n) }, 100_000).then((result) => {
      answer = result;
    });
    await rig.run(1_000);
    expect([rig.reads.length, answer]).toEqual([1, undefined]);
    rig.reads[0]!.resolve();
    await rig.run(0);
    expect(answer).toEqual({ kind: "leaseKeepAlive", id: leaseId(100n), ttl: 5 });
  });

  test("of a lease under revocation ends with it; where that is lost, renews", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(2);
    await rig.run(5_300);
    const answers = [100n, 101n].map((id) =>
      rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(id) }, rig.world.clock.now() + 20_000),
    );
    await rig.run(3_000);
    rig.apply(rig.proposed[0]!);
    rig.proposed[1]!.settled.reject(new StoreError("TOO_MANY_REQUESTS"));
    const results = await rig.world.settle(Promise.all(answers));
    expect(results.map(({ ttl }) => ttl)).toEqual([0, 5]);
  });

  test("of one under revocation has its time too", async () => {
    const rig = new Rig();
    rig.keeper.follow();
    rig.grant(1);
    await rig.run(5_300);
    const asked = rig.keeper.serve({ kind: "leaseKeepAlive", id: leaseId(100n) }, rig.world.clock.now() + 2_000);
    expect(await rig.caught(asked)).toMatchObject({ code: "TIMEOUT", outcome: "rejected" });
  });

  test("without a leader is asked again until its time is over", async () => {
    const rig = new Rig();
    rig.soft = { role: "follower", term: term(2), leader: undefined };
    const begun = rig.world.clock.now();
    const error = await rig.caught(rig.keeper.handle({ kind: "leaseKeepAlive", id: ID }, begun + 1_000));
    expect(error).toMatchObject({ code: "NO_LEADER", outcome: "rejected" });
    expect(rig.world.clock.now() - begun).toBeGreaterThan(900);
    rig.soft = { role: "follower", term: term(2), leader: memberId(2n) };
    const later = rig.world.clock.now();
    await rig.caught(rig.keeper.handle({ kind: "leaseKeepAlive", id: ID }, later + 1_000));
    expect(rig.sent.length).toBeGreaterThan(10);
    expect(new Set(rig.sent)).toEqual(new Set([2n]));
  });

  test("ends when the member stops", async () => {
    const rig = new Rig();
    rig.soft = { role: "follower", term: term(2), leader: undefined };
    const ended = rig.caught(rig.keeper.handle({ kind: "leaseKeepAlive", id: ID }, 100_000));
    await rig.run(100);
    rig.keeper.stop();
    expect(await ended).toMatchObject({ code: "STOPPED", outcome: "rejected" });
  });
});

describe("grant", () => {
  test("chooses a positive id that is free, and raises the TTL to the minimum", () => {
    const rig = new Rig();
    // The first draws have the top bit of each byte set: the highest is left out, so that the id is positive.
    const taken = leaseId(0x0080_8080_8080_8080n);
    rig.member.apply({ kind: "leaseGrant", id: taken, ttl: 5 });
    const { id, ttl } = rig.keeper.grantCommand({ kind: "leaseGrant", ttl: -5 });
    expect(id).toBeGreaterThan(0n);
    expect(id).not.toBe(taken);
    expect(ttl).toBe(2);
    expect(rig.keeper.grantCommand({ kind: "leaseGrant", ttl: 60, id: leaseId(-3n) })).toEqual({
      kind: "leaseGrant",
      id: -3n,
      ttl: 60,
    });
  });

  test.each([
    ["a TTL too large", { ttl: 9_000_000_001 }, "LEASE_TTL_TOO_LARGE"],
    ["a TTL that is no integer", { ttl: 1.5 }, "INVALID_REQUEST"],
  ])("refuses %s", (_name, request, code) => {
    const rig = new Rig();
    expect(() => rig.keeper.grantCommand({ kind: "leaseGrant", ...request })).toThrow(
      expect.objectContaining({ code, outcome: "rejected" }),
    );
  });
});
