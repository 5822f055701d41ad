/** Lock and election services: one queue with the recipes, places given up in time, errors as etcd names them. */
import { describe, expect, onTestFinished, test } from "vitest";
import { decodeUtf8, encodeUtf8 } from "../../src/base/bytes.ts";
import type { StoreError } from "../../src/base/errors.ts";
import { type LeaseId, leaseId } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import { op } from "../../src/client/txn.ts";
import { Election } from "../../src/concurrency/election.ts";
import { Mutex } from "../../src/concurrency/mutex.ts";
import { Session } from "../../src/concurrency/session.ts";
import { connect } from "../../src/node/connect.ts";
import { Node } from "../../src/node/node.ts";
import type { WatchOutlet } from "../../src/protocol/channel.ts";
import { Queues } from "../../src/server/queues.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { failure, Stage } from "../concurrency/member.ts";

const WAYS = ["in process", "over a socket"] as const;

async function open(way: (typeof WAYS)[number]): Promise<{ readonly node: Node; readonly client: Client }> {
  const node = await Node.open(way === "in process" ? {} : { listenClientUrl: "ws://127.0.0.1:0" });
  onTestFinished(() => node.close({ handOver: false }));
  return { node, client: await another(node, way) };
}

async function another(node: Node, way: (typeof WAYS)[number]): Promise<Client> {
  const client = way === "in process" ? node.client() : await connect({ endpoints: [node.clientUrl!] });
  onTestFinished(() => client.close());
  return client;
}

async function grant(client: Client, ttl = 60): Promise<LeaseId> {
  return (await client.lease.grant(ttl)).id;
}

/** Returns once so many keys are there. */
async function standing(client: Client, prefix: string, count: number): Promise<readonly string[]> {
  for (;;) {
    const { kvs } = await client.get(prefix, { prefix: true, sort: { by: "create", order: "ascend" } });
    if (kvs.length === count) return kvs.map((kv) => kv.keyText());
  }
}

describe.each(WAYS)("the lock service, %s", (way) => {
  test("answers with etcd's key; a second one waits for its turn; unlock gives it up", async () => {
    const { client } = await open(way);
    const [a, b] = [await grant(client), await grant(client)];
    const first = await client.locks.lock("jobs", { lease: a });
    expect(decodeUtf8(first.key)).toBe(`jobs/${a.toString(16)}`);
    const { kvs } = await client.get(first.key);
    expect(kvs[0]).toMatchObject({ createRevision: first.token, lease: a, value: new Uint8Array(0) });
    const second = client.locks.lock("jobs", { lease: b });
    expect(await standing(client, "jobs/", 2)).toEqual([`jobs/${a.toString(16)}`, `jobs/${b.toString(16)}`]);
    await client.locks.unlock(first.key);
    const { token, header } = await second;
    expect(token).toBeGreaterThan(first.token);
    expect(header.revision).toBeGreaterThan(token);
  });

  test("the same lease twice: the same key, at once, and the same token", async () => {
    const { client } = await open(way);
    const lease = await grant(client);
    const [once, twice] = [await client.locks.lock("a", { lease }), await client.locks.lock("a", { lease })];
    expect(twice).toMatchObject({ key: once.key, token: once.token });
  });

  test("without a lease the member grants one of 60 s", async () => {
    const { client } = await open(way);
    const { key } = await client.locks.lock("a");
    const lease = leaseId(BigInt(`0x${decodeUtf8(key).slice(2)}`));
    expect((await client.lease.timeToLive(lease)).grantedTtl).toBe(60);
  });

  test.each([
    ["is cancelled", (abort: AbortController) => abort.abort(), "CANCELLED"],
    ["has waited for its time", () => {}, "DEADLINE_EXCEEDED"],
  ] as const)("a call that %s leaves no place behind, nor the lease that it was granted", async (_, end, code) => {
    const { client } = await open(way);
    const held = await client.locks.lock("a", { lease: await grant(client) });
    const leases = (await client.lease.list()).leases.length;
    const lease = await grant(client);
    const abort = new AbortController();
    const timeoutMs = code === "CANCELLED" ? undefined : 50;
    const options = { signal: abort.signal, timeoutMs };
    const ends = [client.locks.lock("a", { ...options, lease }), client.locks.lock("a", options)].map(failure);
    await standing(client, "a/", 3);
    end(abort);
    for (const error of await Promise.all(ends)) expect(error.code).toBe(code);
    expect(await standing(client, "a/", 1)).toEqual([decodeUtf8(held.key)]);
    while ((await client.lease.list()).leases.length !== leases + 1);
  });

  test("a client that goes leaves the queue with its connection", async () => {
    const { node, client } = await open(way);
    await client.locks.lock("a", { lease: await grant(client) });
    const other = await another(node, way);
    const waiting = failure(other.locks.lock("a", { lease: await grant(client) }));
    await standing(client, "a/", 2);
    await other.close();
    expect((await waiting).code).toBe("CANCELLED");
    await standing(client, "a/", 1);
  });

  test("a lease that ends while its lock waits ends the call, as etcd says it", async () => {
    const { client } = await open(way);
    await client.locks.lock("a", { lease: await grant(client) });
    const lease = await grant(client);
    const waiting = failure(client.locks.lock("a", { lease }));
    await standing(client, "a/", 2);
    await client.lease.revoke(lease);
    expect(await waiting).toMatchObject({ code: "SESSION_LOST", message: "mutex: session is expired" });
  });

  test("stands in one queue with Mutex, whoever came first", async () => {
    const { client } = await open(way);
    await using session = await Session.open(client, { ttl: 60 });
    await using other = await Session.open(client, { ttl: 60 });
    const [one, two] = [new Mutex(session, "q"), new Mutex(other, "q")];
    await one.lock();
    const service = client.locks.lock("q", { lease: await grant(client) });
    await standing(client, "q/", 2);
    const recipe = two.lock();
    await standing(client, "q/", 3);
    await one.unlock();
    const { key } = await service;
    expect(await two.session.client.get(two.key)).toMatchObject({ count: 1 });
    expect(two.token).toBeUndefined();
    await client.locks.unlock(key);
    await recipe;
    expect(two.token).toBeDefined();
  });

  test("what a later call of the same lease has taken over, an earlier one does not take away", async () => {
    const { node, client } = await open(way);
    const [held, lease] = [await client.locks.lock("a", { lease: await grant(client) }), await grant(client)];
    const abort = new AbortController();
    const earlier = failure(client.locks.lock("a", { lease, signal: abort.signal }));
    const [, mine] = await standing(client, "a/", 2);
    const later = (await another(node, way)).locks.lock("a", { lease });
    while ((await client.get(mine!)).kvs[0]?.version !== 2);
    abort.abort();
    expect((await earlier).code).toBe("CANCELLED");
    await client.locks.unlock(held.key);
    const ended = await later.then(
      ({ key }) => decodeUtf8(key),
      (error: StoreError) => error.code,
    );
    expect(ended).toBe(mine);
    // What the earlier one wrote at its end is applied: it held nothing.
    await client.put("x", "y");
    expect((await client.get(mine!)).count).toBe(1);
  });

  test.each([
    ["an empty name", (c: Client) => c.locks.lock(""), "INVALID_REQUEST", "a lock needs a name"],
    [
      "an unknown lease",
      (c: Client) => c.locks.lock("a", { lease: leaseId(77n) }),
      "LEASE_NOT_FOUND",
      "etcdserver: requested lease not found",
    ],
    ["no key to unlock", (c: Client) => c.locks.unlock(""), "EMPTY_KEY", "etcdserver: key is not provided"],
    ["an empty election", (c: Client) => c.elections.campaign("", "v"), "INVALID_REQUEST", "an election needs a name"],
    [
      "the leader of an empty election",
      (c: Client) => c.elections.leader(""),
      "INVALID_REQUEST",
      "an election needs a name",
    ],
    [
      "an empty election to observe",
      (c: Client) => c.elections.observe("").next(),
      "INVALID_REQUEST",
      "an election needs a name",
    ],
    [
      "a proclamation of nobody",
      (c: Client) => c.elections.proclaim(undefined as never, "v"),
      "ELECTION_LEADER_MISSING",
      '"leader" field must be provided',
    ],
    [
      "a resignation of nobody",
      (c: Client) => c.elections.resign(undefined as never),
      "ELECTION_LEADER_MISSING",
      '"leader" field must be provided',
    ],
    [
      "who leads where nobody does",
      (c: Client) => c.elections.leader("a"),
      "ELECTION_NO_LEADER",
      "election: no leader",
    ],
  ] as const)("%s is refused by name, and nothing changes", async (_, act, code, message) => {
    const { client } = await open(way);
    const { header } = await client.get("x");
    const error = await failure(act(client));
    expect(error).toMatchObject({ code, outcome: "rejected" });
    expect(error.message).toContain(message);
    expect((await client.get("x")).header.revision).toBe(header.revision);
  });

  test("to unlock what is not locked is no error, as in etcd", async () => {
    const { client } = await open(way);
    await client.locks.unlock("a/77");
  });
});

describe.each(WAYS)("the election service, %s", (way) => {
  test("campaign, proclaim, leader, resign; a stale leader is told, or ignored", async () => {
    const { client } = await open(way);
    const [a, b] = [await grant(client), await grant(client)];
    const { leader } = await client.elections.campaign("e", "one", { lease: a });
    expect(leader).toMatchObject({ name: encodeUtf8("e"), key: encodeUtf8(`e/${a.toString(16)}`), lease: a });
    const next = client.elections.campaign("e", "two", { lease: b });
    await standing(client, "e/", 2);
    expect((await client.elections.leader("e")).kv.text()).toBe("one");
    await client.elections.proclaim(leader, "more");
    expect((await client.elections.leader("e")).kv).toMatchObject({ createRevision: leader.revision, version: 2 });
    await client.elections.resign(leader);
    expect((await client.elections.leader("e")).kv.text()).toBe("two");
    await next;
    expect(await failure(client.elections.proclaim(leader, "late"))).toMatchObject({
      ...{ code: "ELECTION_NOT_LEADER", message: "election: not leader", status: "UNKNOWN" },
    });
    await client.elections.resign(leader);
    expect((await client.elections.leader("e")).kv.text()).toBe("two");
  });

  test("who campaigns again under its lease only changes its value", async () => {
    const { client } = await open(way);
    const lease = await grant(client);
    const { leader } = await client.elections.campaign("e", "one", { lease });
    const again = await client.elections.campaign("e", "two", { lease });
    expect(again.leader).toStrictEqual(leader);
    expect((await client.elections.leader("e")).kv.text()).toBe("two");
  });

  test("stands in one election with Election, which goes on where the service has led", async () => {
    const { client } = await open(way);
    await using session = await Session.open(client, { ttl: 60 });
    await using other = await Session.open(client, { ttl: 60 });
    const { leader } = await client.elections.campaign("e", "service", { lease: session.lease });
    const election = Election.resume(session, "e", { key: leader.key, token: leader.revision });
    await election.proclaim("recipe");
    const waiting = new Election(other, "e");
    const elected = waiting.campaign("next");
    await standing(client, "e/", 2);
    const guarded = await client.txn().if(election.isLeader()).then(op.get("x")).commit();
    expect(guarded.succeeded).toBe(true);
    await client.elections.resign(leader);
    await elected;
    expect((await client.elections.leader("e")).kv.text()).toBe("next");
  });

  test("observe tells the leader there is, each change, and the next leader", async () => {
    const { client } = await open(way);
    const observed = client.elections.observe("e");
    const next = async (): Promise<string | undefined> => {
      const { value } = await observed.next();
      return value?.kv.text();
    };
    const first = next();
    const { leader } = await client.elections.campaign("e", "one", { lease: await grant(client) });
    expect(await first).toBe("one");
    await client.elections.proclaim(leader, "more");
    expect(await next()).toBe("more");
    const second = client.elections.campaign("e", "two", { lease: await grant(client) });
    await standing(client, "e/", 2);
    await client.elections.resign(leader);
    await second;
    expect(await next()).toBe("two");
    await observed.return();
  });

  test("an observer ends with its signal, and with its client", async () => {
    const { node, client } = await open(way);
    const abort = new AbortController();
    const one = failure(client.elections.observe("e", { signal: abort.signal }).next());
    abort.abort();
    expect((await one).code).toBe("CANCELLED");
    const other = await another(node, way);
    const two = failure(other.elections.observe("e").next());
    await other.get("x");
    await other.close();
    expect((await two).code).toBe("CANCELLED");
  });
});

test("an observer too many ends with that word, whenever its turn comes", async () => {
  const queues = new Queues({
    clock: new VirtualClock(),
    attemptMs: 1_000,
    call: () => new Promise(() => {}),
    watch: () => expect.fail("nobody gets as far"),
  });
  const observe = (): Promise<string> =>
    new Promise((resolve) => {
      const outlet: WatchOutlet = { writable: false, send: () => {}, ended: ({ code }) => resolve(code) };
      queues.observe(encodeUtf8("e"), outlet);
    });
  for (let i = 0; i < 16_384; i++) void observe();
  expect(await observe()).toBe("TOO_MANY_REQUESTS");
  // It has left no trace.
  expect(await observe()).toBe("TOO_MANY_REQUESTS");
});

describe("services of a cluster", () => {
  test("a waiting lock outlives the change of leaders, and an observer the member that served it", async () => {
    const stage = await Stage.open(4_711);
    const [{ client: a }, { client: b }] = [await stage.client(), await stage.client()];
    const { cluster, world } = stage;
    const leases = [(await stage.settle(a.lease.grant(600))).id, (await stage.settle(a.lease.grant(600))).id];
    const { leader } = await stage.settle(a.elections.campaign("e", "one", { lease: leases[0] }));
    const observed = b.elections.observe("e");
    expect((await stage.settle(observed.next())).value?.kv.text()).toBe("one");
    const waiting = b.elections.campaign("e", "two", { lease: leases[1], timeoutMs: 600_000 }).then(
      (answer) => answer.leader.lease,
      (error) => error.outcome,
    );
    const second = observed.next();
    const stop = cluster.names.find((name) => cluster.server(name)?.status().role === "leader")!;
    cluster.kill(stop, "stays");
    await world.until(
      () => cluster.names.some((n) => n !== stop && cluster.server(n)?.status().role === "leader"),
      30_000,
    );
    await stage.settle(a.elections.resign(leader));
    const ended = await stage.settle(waiting);
    // Its own member may have been the one that died: then the place is there still, and asking again takes it over.
    if (ended !== leases[1]) {
      const again = await stage.settle(b.elections.campaign("e", "two", { lease: leases[1] }));
      expect(again.leader.lease).toBe(leases[1]);
    }
    expect((await stage.settle(second)).value?.kv.text()).toBe("two");
  });
});
