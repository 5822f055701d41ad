import { describe, expect, test } from "vitest";
import { op } from "../../src/client/txn.ts";
import { initializeOnce } from "../../src/concurrency/initialize-once.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { failure, member, Stage } from "./member.ts";

describe("initializeOnce", () => {
  test("ten at once: one does it, the others wait until it is done", async () => {
    const { client } = await member();
    let runs = 0;
    let done = false;
    const all = Array.from({ length: 10 }, async () => {
      const mine = await initializeOnce(client, "setup", async ({ isOwner }) => {
        runs += 1;
        await client.txn().if(isOwner()).then(op.put("config", "1")).commit();
        done = true;
      });
      expect(done).toBe(true);
      return mine;
    });
    expect((await Promise.all(all)).filter(Boolean)).toHaveLength(1);
    expect(runs).toBe(1);
    const { kvs } = await client.get("", { prefix: true });
    expect(kvs.map((kv) => kv.keyText())).toEqual(["config", "setup"]);
    expect((await client.lease.list()).leases).toEqual([]);
    expect(await initializeOnce(client, "setup", () => expect.fail("done already"))).toBe(false);
  });

  test("one that fails lets another try, and its error is its own", async () => {
    const { client } = await member();
    const oops = new Error("oops");
    await expect(
      initializeOnce(client, "setup", () => {
        throw oops;
      }),
    ).rejects.toBe(oops);
    expect(await initializeOnce(client, "setup", () => {})).toBe(true);
  });

  test("one that dies half-way lets another take over; what it does late does not land", async () => {
    const stage = await Stage.open(431);
    const one = await stage.client();
    const two = await stage.client();
    let begun = 0;
    const first = initializeOnce(
      one.client,
      "setup",
      async ({ isOwner, token }) => {
        begun = token;
        one.host.pause(); // as a process that was stopped in here
        const { succeeded } = await one.client.txn().if(isOwner()).then(op.put("config", "first")).commit();
        expect(succeeded).toBe(false);
      },
      { ttl: 3 },
    );
    await stage.world.until(() => begun > 0, 10_000);
    const mine = await stage.settle(
      initializeOnce(
        two.client,
        "setup",
        async ({ isOwner, token }) => {
          expect(token).toBeGreaterThan(begun);
          await two.client.txn().if(isOwner()).then(op.put("config", "second")).commit();
        },
        { ttl: 3 },
      ),
    );
    expect(mine).toBe(true);
    one.host.resume();
    expect(await stage.settle(first)).toBe(false);
    expect((await stage.settle(two.client.get("config"))).kvs[0]?.text()).toBe("second");
    expect((await stage.settle(two.client.get("setup"))).count).toBe(1);
  });

  test("one that lost its turn before it was written down says so, and another may do it", async () => {
    const { client } = await member();
    const lost = initializeOnce(client, "setup", async () => {
      const { leases } = await client.lease.list();
      await client.lease.revoke(leases[0]!);
    });
    expect(await failure(lost)).toMatchObject({ code: "SESSION_LOST", outcome: "unknown" });
    expect(await initializeOnce(client, "setup", () => {})).toBe(true);
  });

  test("its marker is no contender of its lock, and a wait ends by its signal", async () => {
    const { client } = await member();
    await using session = await Session.open(client);
    const mutex = new Mutex(session, "setup");
    await mutex.lock();
    const waiting = initializeOnce(client, "setup", () => {}, { timeoutMs: 50 });
    expect(await failure(waiting)).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await mutex.unlock();
    await initializeOnce(client, "setup", () => {});
    await mutex.lock();
    expect((await client.get("setup")).kvs[0]?.text()).toMatch(/^[0-9]+$/);
  });
});
