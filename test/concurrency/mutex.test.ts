import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { leaseId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import { prefixEnd } from "../../src/client/kv.ts";
import { op } from "../../src/client/txn.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { failure, member, Stage } from "./member.ts";

const prefix = encodeUtf8("jobs/");
const getOwner = {
  ...{ kind: "range", key: prefix, rangeEnd: prefixEnd(prefix), limit: 1 },
  ...{ sortOrder: "ascend", sortTarget: "create" },
} as const;

/** Returns once so many stand in the queue. */
async function queued(client: Client, count: number): Promise<void> {
  while ((await client.get("jobs/", { prefix: true })).count < count);
}

async function contender(client: Client, ttl = 30): Promise<{ session: Session; mutex: Mutex }> {
  const session = await Session.open(client, { ttl });
  return { session, mutex: new Mutex(session, "jobs") };
}

describe("the lock's keys and transactions are etcd's", () => {
  test("the key is the name, a slash and the lease in hexadecimal", async () => {
    const { client } = await member();
    await client.lease.grant(30, { id: leaseId(0x694d5765fc71500bn) });
    await client.lease.grant(30, { id: leaseId(-0x1fn) });
    const one = await Session.open(client, { lease: leaseId(0x694d5765fc71500bn) });
    const two = await Session.open(client, { lease: leaseId(-0x1fn) });
    expect(new Mutex(one, "jobs").key).toEqual(encodeUtf8("jobs/694d5765fc71500b"));
    // Go's %x of a negative int64.
    expect(new Mutex(two, "jobs").key).toEqual(encodeUtf8("jobs/-1f"));
    expect(new Mutex(one, Uint8Array.of(0xff, 0)).key.subarray(0, 3)).toEqual(Uint8Array.of(0xff, 0, 0x2f));
  });

  test("to lock, to wait, to look again and to unlock", async () => {
    const { client, asked } = await member();
    const a = await contender(client);
    const b = await contender(client);
    const before = asked().length;
    await a.mutex.lock();
    const acquire = ({ key, session }: { key: Uint8Array; session: Session }) => ({
      kind: "txn",
      compare: [{ key, result: "equal", target: "create", createRevision: 0 }],
      success: [{ kind: "put", key, value: encodeUtf8(""), lease: session.lease }, getOwner],
      failure: [{ kind: "range", key }, getOwner],
    });
    expect(asked().slice(before)).toEqual([acquire({ key: a.mutex.key, session: a.session })]);
    const waiting = b.mutex.lock();
    const others = () => asked().filter((request) => request.kind !== "range" || request.key[0] !== 0x78);
    while (others().length < before + 3) await client.get("x");
    await a.mutex.unlock();
    await waiting;
    const release = {
      kind: "txn",
      compare: [{ key: a.mutex.key, result: "equal", target: "create", createRevision: 2 }],
      success: [{ kind: "deleteRange", key: a.mutex.key }],
      failure: [],
    };
    const predecessor = {
      ...{ kind: "range", key: prefix, rangeEnd: prefixEnd(prefix), limit: 1 },
      ...{ sortOrder: "descend", sortTarget: "create", maxCreateRevision: 2 },
    };
    expect(others().slice(before + 1)).toEqual([
      acquire({ key: b.mutex.key, session: b.session }),
      predecessor,
      release,
      predecessor,
      { kind: "range", key: b.mutex.key },
    ]);
    const { kvs } = await client.get("jobs/", { prefix: true });
    expect(kvs.map((kv) => [kv.keyText(), kv.text(), kv.lease])).toEqual([
      [`jobs/${b.session.lease.toString(16)}`, "", b.session.lease],
    ]);
  });

  test("the owner's condition is its key's create revision: the fencing token", async () => {
    const { client } = await member();
    const { mutex } = await contender(client);
    await mutex.lock();
    const { kvs } = await client.get(mutex.key);
    expect(mutex.token).toBe(kvs[0]?.createRevision);
    expect(mutex.isOwner()).toEqual({
      ...{ key: mutex.key, result: "equal", target: "create" },
      createRevision: kvs[0]?.createRevision,
    });
    expect(mutex.header?.revision).toBe(kvs[0]?.createRevision);
  });
});

describe("a mutex", () => {
  test("is held by one at a time, in the order of asking, with rising tokens", async () => {
    const { client } = await member();
    const order: number[] = [];
    const tokens: number[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 8 }, async (_, i) => {
        const { session, mutex } = await contender(client);
        await mutex.lock();
        expect(++inside).toBe(1);
        order.push(i);
        tokens.push(mutex.token!);
        await client.put("effect", String(i));
        inside -= 1;
        expect(await mutex.unlock()).toBe(true);
        await session.close();
      }),
    );
    expect(order).toHaveLength(8);
    expect(tokens).toEqual([...tokens].sort((x, y) => x - y));
    expect(new Set(tokens).size).toBe(8);
    expect((await client.get("jobs/", { prefix: true })).count).toBe(0);
  });

  test("tryLock takes it if it is free, and leaves no place in the queue otherwise", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    expect(await a.mutex.tryLock()).toBe(true);
    expect(await b.mutex.tryLock()).toBe(false);
    expect(b.mutex.token).toBeUndefined();
    expect((await client.get("jobs/", { prefix: true })).count).toBe(1);
    await a.mutex.unlock();
    expect(await b.mutex.tryLock()).toBe(true);
  });

  test("a tryLock that finds another holder leaves no token of an earlier hold behind", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    await a.mutex.lock();
    await client.delete(a.mutex.key);
    await b.mutex.lock();
    expect(await a.mutex.tryLock()).toBe(false);
    expect(a.mutex.token).toBeUndefined();
    expect(await failure(a.mutex.unlock())).toMatchObject({ code: "LOCK_RELEASED" });
  });

  test("the same session enters again at once, and stays in when that was cut short", async () => {
    const { client } = await member();
    const { mutex, session } = await contender(client);
    await mutex.lock();
    const { token } = mutex;
    await mutex.lock();
    await new Mutex(session, "jobs").lock();
    expect(await failure(mutex.lock({ signal: AbortSignal.abort("enough") }))).toMatchObject({ code: "CANCELLED" });
    expect(mutex.token).toBe(token);
    expect((await client.get(mutex.key)).kvs[0]?.createRevision).toBe(token);
  });

  test("of two mutexes of one session, the one that gives up leaves the other its place", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    const twin = new Mutex(b.session, "jobs");
    await a.mutex.lock();
    const waiting = b.mutex.lock();
    await queued(client, 2);
    // Cut short before it has an answer, and while it waits.
    const controller = new AbortController();
    const early = failure(twin.lock({ signal: controller.signal }));
    controller.abort();
    await early;
    expect(await failure(twin.lock({ timeoutMs: 20 }))).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(await twin.tryLock()).toBe(false);
    await a.mutex.unlock();
    await waiting;
    expect((await client.get(b.mutex.key)).kvs[0]?.createRevision).toBe(b.mutex.token);
  });

  test("a wait that is cancelled, or takes too long, leaves the queue", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    const c = await contender(client);
    await a.mutex.lock();
    const controller = new AbortController();
    const waiting = b.mutex.lock({ signal: controller.signal });
    const last = c.mutex.lock();
    await queued(client, 3);
    controller.abort("enough");
    expect(await failure(waiting)).toMatchObject({ code: "CANCELLED", outcome: "rejected", cause: "enough" });
    expect(await failure(b.mutex.lock({ timeoutMs: 30 }))).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    const { kvs } = await client.get("jobs/", { prefix: true });
    expect(kvs.map((kv) => kv.lease).sort()).toEqual([a.session.lease, c.session.lease].sort());
    await a.mutex.unlock();
    await last;
    expect(await failure(b.mutex.unlock())).toMatchObject({ code: "LOCK_RELEASED" });
  });

  test("a wait goes on when what it watched for was compacted", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    await a.mutex.lock();
    const waiting = b.mutex.lock();
    await queued(client, 2);
    for (let i = 0; i < 5; i++) await client.put("other", String(i));
    await client.compact((await client.get("other")).header.revision);
    await a.mutex.unlock();
    await client.compact((await client.get("other")).header.revision);
    await waiting;
    expect(b.mutex.token).toBeGreaterThan(0);
  });

  test("unlock tells whether it was held still: not where the lease had ended", async () => {
    const { client } = await member();
    const { mutex, session } = await contender(client);
    await mutex.lock();
    await client.lease.revoke(session.lease);
    expect(await mutex.unlock()).toBe(false);
    expect(await failure(mutex.unlock())).toMatchObject({ code: "LOCK_RELEASED" });
  });

  test("a second wait on the same mutex is refused while the first goes on", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    await a.mutex.lock();
    const waiting = b.mutex.lock();
    expect(await failure(b.mutex.lock())).toMatchObject({ code: "INVALID_REQUEST" });
    await a.mutex.unlock();
    await waiting;
  });
});

describe("a holder whose lease ends", () => {
  test("while it waits is told so, and does not hold the lock (etcd's recipe looks too)", async () => {
    const { client } = await member();
    const a = await contender(client);
    const b = await contender(client);
    await a.mutex.lock();
    const waiting = failure(b.mutex.lock());
    await queued(client, 2);
    await client.lease.revoke(b.session.lease);
    await a.mutex.unlock();
    expect(await waiting).toMatchObject({ code: "SESSION_LOST" });
    expect(b.mutex.token).toBeUndefined();
  });

  test("before it asks gets no place", async () => {
    const { client } = await member();
    const { mutex, session } = await contender(client);
    await client.lease.revoke(session.lease);
    expect(await failure(mutex.lock())).toMatchObject({ code: "SESSION_LOST" });
    await session.close();
    expect(await failure(mutex.lock())).toMatchObject({ code: "SESSION_LOST" });
  });

  test("stopped past its TTL: the next one holds the lock, and a late effect of the first does not land", async () => {
    const stage = await Stage.open(411);
    const one = await stage.client();
    const two = await stage.client();
    const first = await stage.settle(contender(one.client, 3));
    const second = await stage.settle(contender(two.client, 3));
    await stage.settle(first.mutex.lock());
    const waiting = second.mutex.lock();
    await stage.world.runFor(100);
    one.host.pause();
    await stage.settle(waiting);
    expect(second.mutex.token).toBeGreaterThan(first.mutex.token!);
    const effect = (client: Client, mutex: Mutex, value: string) =>
      client.txn().if(mutex.isOwner()).then(op.put("effect", value)).commit();
    expect(await stage.settle(effect(two.client, second.mutex, "second"))).toMatchObject({ succeeded: true });
    one.host.resume();
    expect(await stage.settle(effect(one.client, first.mutex, "first"))).toMatchObject({ succeeded: false });
    expect(first.session.signal.aborted).toBe(true);
    const { kvs } = await stage.settle(two.client.get("effect"));
    expect(kvs[0]?.text()).toBe("second");
  });

  test("leaders die while contenders wait: every one gets its turn", async () => {
    const stage = await Stage.open(412);
    const turns: number[] = [];
    const contenders = [0, 1, 2, 3].map(async (i) => {
      const { client } = await stage.client();
      const { mutex, session } = await contender(client, 10);
      await mutex.lock();
      turns.push(i);
      for (let beat = 0; beat < 4; beat++) {
        await client
          .txn()
          .if(mutex.isOwner())
          .then(op.put("effect", String(i)))
          .commit()
          .catch(() => {});
      }
      await mutex.unlock();
      await session.close();
    });
    for (let kill = 0; kill < 3; kill++) {
      await stage.world.runFor(150);
      const { leader } = stage.cluster;
      if (leader !== undefined) stage.cluster.kill(leader, "stays");
      await stage.world.runFor(2_000);
      for (const name of stage.cluster.names) stage.cluster.start(name);
      await stage.cluster.ready();
    }
    await stage.settle(Promise.all(contenders));
    expect(turns.sort()).toEqual([0, 1, 2, 3]);
  });
});
