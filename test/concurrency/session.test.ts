import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import { Session } from "../../src/concurrency/session.ts";
import { failure, member, Stage } from "./member.ts";

describe("a session", () => {
  test("takes a lease of 60 seconds unless told otherwise, and ends it with all its keys", async () => {
    const { client } = await member();
    const session = await Session.open(client);
    expect(session.ttl).toBe(60);
    expect(session.signal.aborted).toBe(false);
    session.assertHeld();
    await client.put("a", "1", { lease: session.lease });
    expect(await client.lease.timeToLive(session.lease)).toMatchObject({ grantedTtl: 60 });
    await session.close();
    await session.close();
    expect((await client.get("a")).count).toBe(0);
    expect(await client.lease.timeToLive(session.lease)).toMatchObject({ ttl: -1 });
    expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST", message: "quorate: the session is closed" });
    expect(() => session.assertHeld()).toThrow("the session is closed");
  });

  test("goes on with a lease that exists, and says so where it does not", async () => {
    const { client, asked } = await member();
    const { id } = await client.lease.grant(30);
    const session = await Session.open(client, { lease: id });
    expect([session.lease, session.ttl]).toEqual([id, 30]);
    expect(asked().filter(({ kind }) => kind === "leaseGrant")).toHaveLength(1);
    await session.close();
    expect(await failure(Session.open(client, { lease: id }))).toMatchObject({ code: "LEASE_NOT_FOUND" });
  });

  test("orphaned it leaves its keys to the lease", async () => {
    const { client } = await member();
    const session = await Session.open(client, { ttl: 30 });
    await client.put("a", "1", { lease: session.lease });
    session.orphan();
    expect(session.signal.reason).toMatchObject({ code: "SESSION_LOST", message: "quorate: the session is orphaned" });
    expect((await client.get("a")).count).toBe(1);
    expect((await client.lease.timeToLive(session.lease)).grantedTtl).toBe(30);
  });

  test("whose lease was revoked by another is lost", async () => {
    const { client } = await member();
    await using session = await Session.open(client, { ttl: 2 });
    await client.lease.revoke(session.lease);
    await new Promise((resolve) => session.signal.addEventListener("abort", resolve));
    expect(session.signal.reason).toMatchObject({
      ...{ code: "SESSION_LOST", details: { leaseId: session.lease } },
      cause: expect.objectContaining({ code: "LEASE_NOT_FOUND" }),
    });
  });

  test("disposed of where no server answers, it ends without an error; close says what was in the way", async () => {
    const stage = await Stage.open(401);
    const { client } = await stage.client();
    const session = await stage.settle(Session.open(client, { ttl: 3 }));
    for (const name of stage.cluster.names) stage.cluster.kill(name, "stays");
    const closing = session.close();
    expect((await stage.failure(closing)).status).toMatch(/UNAVAILABLE|DEADLINE_EXCEEDED/);
    await stage.settle(session[Symbol.asyncDispose]());
  });
});

describe("a session through faults", () => {
  test("outlives its leader, and lost connections", async () => {
    const stage = await Stage.open(402);
    const { client } = await stage.client();
    const session = await stage.settle(Session.open(client, { ttl: 5 }));
    for (let i = 0; i < 3; i++) {
      const leader = stage.cluster.leader!;
      stage.cluster.kill(leader, "stays");
      await stage.world.runFor(4_000);
      stage.cluster.start(leader);
      expect(await stage.cluster.ready()).toBe(true);
      await stage.world.runFor(3_000);
      session.assertHeld();
    }
    expect((await stage.settle(client.lease.timeToLive(session.lease))).grantedTtl).toBe(5);
    await stage.settle(session.close());
  });

  test("ends exactly at its deadline when nobody answers", async () => {
    const stage = await Stage.open(403);
    const { client } = await stage.client();
    const session = await stage.settle(Session.open(client, { ttl: 4 }));
    await stage.world.runFor(10_000);
    let lostAt: number | undefined;
    session.signal.addEventListener("abort", () => {
      lostAt = stage.now;
    });
    for (const name of stage.cluster.names) stage.cluster.kill(name, "stays");
    const { deadline } = session;
    expect(deadline).toBeGreaterThan(stage.now);
    await stage.world.runUntil(deadline - 1);
    expect(lostAt).toBeUndefined();
    session.assertHeld();
    await stage.world.runUntil(deadline);
    expect(lostAt).toBe(deadline);
    expect(() => session.assertHeld()).toThrow(StoreError);
  });

  test("of a process that was stopped past its deadline ends in its first turn, and assertHeld knows before", async () => {
    const stage = await Stage.open(404);
    const { client, host } = await stage.client();
    const session = await stage.settle(Session.open(client, { ttl: 3 }));
    const { signal } = session;
    let lostAt: number | undefined;
    signal.addEventListener("abort", () => {
      lostAt = stage.now;
    });
    host.pause();
    await stage.world.runFor(30_000);
    expect(lostAt).toBeUndefined();
    expect(signal.aborted).toBe(false);
    expect(() => session.assertHeld()).toThrow(StoreError);
    expect(lostAt).toBe(stage.now);

    const other = await stage.client();
    const second = await stage.settle(Session.open(other.client, { ttl: 3 }));
    let turns = 0;
    const heard = new Promise<number>((resolve) => second.signal.addEventListener("abort", () => resolve(turns)));
    other.host.pause();
    await stage.world.runFor(30_000);
    const resumedAt = stage.now;
    other.host.resume();
    while (!second.signal.aborted) {
      turns += 1;
      await stage.world.step();
    }
    // All that was held is let through in one turn, at one moment.
    expect(stage.now).toBe(resumedAt);
    expect(await heard).toBeLessThanOrEqual(2);
  });

  test("a lease given by its id keeps its bits, negative ones too", async () => {
    const { client } = await member();
    const id = leaseId(-5n);
    await client.lease.grant(30, { id });
    await using session = await Session.open(client, { lease: id });
    expect(session.lease).toBe(id);
  });
});
