import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import type { Client } from "../../src/client/client.ts";
import { prefixEnd } from "../../src/client/kv.ts";
import { op } from "../../src/client/txn.ts";
import { Election, observeElection } from "../../src/concurrency/election.ts";
import { Session } from "../../src/concurrency/session.ts";
import { failure, member, Stage } from "./member.ts";

const prefix = encodeUtf8("boss/");

async function candidate(client: Client, ttl = 30): Promise<{ session: Session; election: Election }> {
  const session = await Session.open(client, { ttl });
  return { session, election: new Election(session, "boss") };
}

/** Returns once so many stand. */
async function standing(client: Client, count: number): Promise<void> {
  while ((await client.get("boss/", { prefix: true })).count < count);
}

/** The next so many values told. */
async function values(told: AsyncIterator<{ readonly kv: { text(): string } }>, count: number): Promise<string[]> {
  const all: string[] = [];
  while (all.length < count) {
    const next = await told.next();
    if (next.done === true) break;
    all.push(next.value.kv.text());
  }
  return all;
}

describe("the election's keys and transactions are etcd's", () => {
  test("to campaign, to wait, to proclaim, to resign and to ask who leads", async () => {
    const { client, asked } = await member();
    const a = await candidate(client);
    const b = await candidate(client);
    const others = () => asked().filter((request) => request.kind !== "range" || request.key[0] !== 0x78);
    const before = others().length;
    const stand = ({ election, session }: typeof a, value: string) => ({
      kind: "txn",
      compare: [{ key: election.key, result: "equal", target: "create", createRevision: 0 }],
      success: [{ kind: "put", key: election.key, value: encodeUtf8(value), lease: session.lease }],
      failure: [{ kind: "range", key: election.key }],
    });
    const predecessor = (maxCreateRevision: number) => ({
      ...{ kind: "range", key: prefix, rangeEnd: prefixEnd(prefix), limit: 1 },
      ...{ sortOrder: "descend", sortTarget: "create", maxCreateRevision },
    });
    const guarded = (op: object) => ({
      kind: "txn",
      compare: [{ key: a.election.key, result: "equal", target: "create", createRevision: 2 }],
      success: [op],
      failure: [],
    });
    await a.election.campaign("a");
    await a.election.proclaim("a2");
    const waiting = b.election.campaign("b");
    while (others().length < before + 6) await client.get("x");
    expect((await a.election.leader()).kv.text()).toBe("a2");
    await a.election.resign();
    await waiting;
    expect(others().slice(before)).toEqual([
      stand(a, "a"),
      predecessor(1),
      { kind: "range", key: a.election.key },
      guarded({ kind: "put", key: a.election.key, value: encodeUtf8("a2"), lease: a.session.lease }),
      stand(b, "b"),
      predecessor(3),
      {
        ...{ kind: "range", key: prefix, rangeEnd: prefixEnd(prefix), limit: 1 },
        ...{ sortOrder: "ascend", sortTarget: "create" },
      },
      guarded({ kind: "deleteRange", key: a.election.key }),
      predecessor(3),
      { kind: "range", key: b.election.key },
    ]);
    const { kvs } = await client.get("boss/", { prefix: true });
    expect(kvs.map((kv) => [kv.keyText(), kv.text(), kv.createRevision])).toEqual([
      [`boss/${b.session.lease.toString(16)}`, "b", b.election.token],
    ]);
    expect(b.election.isLeader()).toEqual({
      ...{ key: b.election.key, result: "equal", target: "create" },
      createRevision: b.election.token,
    });
  });

  test("a candidate that stands already keeps its place and changes its value", async () => {
    const { client } = await member();
    const { session, election } = await candidate(client);
    await client.put(election.key, "from before", { lease: session.lease });
    await election.campaign("now");
    expect(election.token).toBe(2);
    expect((await election.leader()).kv).toMatchObject({ createRevision: 2, modRevision: 3, version: 2 });
    expect((await election.leader()).kv.text()).toBe("now");
    await election.campaign("again");
    expect((await election.leader()).kv).toMatchObject({ createRevision: 2, version: 3 });
    // The same value is no write.
    await election.campaign("again");
    expect((await election.leader()).kv).toMatchObject({ createRevision: 2, version: 3 });
  });
});

describe("an election", () => {
  test("is led by one at a time, with rising tokens, in the order of standing", async () => {
    const { client } = await member();
    const told: string[] = [];
    const controller = new AbortController();
    const observing = (async () => {
      for await (const { kv } of observeElection(client, "boss", { signal: controller.signal })) told.push(kv.text());
    })();
    const tokens: number[] = [];
    for (const name of ["a", "b", "c"]) {
      const { session, election } = await candidate(client);
      await election.campaign(name);
      tokens.push(election.token!);
      while (told.at(-1) !== name) await client.get("x");
      expect(await election.resign()).toBe(true);
      expect(await election.resign()).toBe(false);
      await session.close();
    }
    expect(told).toEqual(["a", "b", "c"]);
    expect(tokens).toEqual([...tokens].sort((x, y) => x - y));
    controller.abort();
    expect(await failure(observing)).toMatchObject({ code: "CANCELLED" });
  });

  test("nobody leads, then somebody: observers are told of that one, and of what it proclaims", async () => {
    const { client } = await member();
    const { election } = await candidate(client);
    expect(await failure(election.leader())).toMatchObject({
      code: "ELECTION_NO_LEADER",
      message: "election: no leader",
    });
    const told = election.observe();
    const first = values(told, 1);
    await election.campaign("a");
    expect(await first).toEqual(["a"]);
    await election.proclaim("a2");
    await election.proclaim("a3");
    expect(await values(told, 2)).toEqual(["a2", "a3"]);
    await told.return();
  });

  test("an observer that missed what was compacted goes on with the newest", async () => {
    const stage = await Stage.open(421);
    const { client } = await stage.client();
    const observer = await stage.client();
    const { election } = await stage.settle(candidate(client));
    await stage.settle(election.campaign("0"));
    const told = observeElection(observer.client, "boss");
    expect(await stage.settle(values(told, 1))).toEqual(["0"]);
    observer.host.pause();
    stage.world.network.crash("client1");
    for (let i = 1; i <= 5; i++) await stage.settle(election.proclaim(String(i)));
    await stage.settle(client.compact((await stage.settle(client.get("x"))).header.revision));
    observer.host.resume();
    const next = await stage.settle(values(told, 1));
    expect(next).toEqual(["5"]);
    await stage.settle(told.return());
  });

  test("a campaign that is cancelled is withdrawn", async () => {
    const { client } = await member();
    const a = await candidate(client);
    const b = await candidate(client);
    await a.election.campaign("a");
    const controller = new AbortController();
    const waiting = failure(b.election.campaign("b", { signal: controller.signal }));
    await standing(client, 2);
    controller.abort("enough");
    expect(await waiting).toMatchObject({ code: "CANCELLED", cause: "enough" });
    expect((await client.get("boss/", { prefix: true })).count).toBe(1);
    expect(await failure(b.election.proclaim("b"))).toMatchObject({ code: "ELECTION_NOT_LEADER" });
    expect(await failure(b.election.campaign("b", { timeoutMs: 30 }))).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect((await client.get("boss/", { prefix: true })).count).toBe(1);
  });

  test("a leader whose key is gone leads no more, and hears of it", async () => {
    const { client } = await member();
    const { election } = await candidate(client);
    await election.campaign("a");
    await client.delete(election.key);
    expect(await failure(election.proclaim("b"))).toMatchObject({
      ...{ code: "ELECTION_NOT_LEADER", message: "election: not leader", outcome: "rejected" },
    });
    expect(election.token).toBeUndefined();
    expect(() => election.isLeader()).toThrow("election: not leader");
    expect((await client.get("boss/", { prefix: true })).count).toBe(0);
  });

  test("goes on where an earlier program of the same lease left off", async () => {
    const { client } = await member();
    const { session, election } = await candidate(client);
    await election.campaign("a");
    const resumed = Election.resume(session, "boss", { key: election.key, token: election.token! });
    await resumed.proclaim("b");
    expect((await resumed.leader()).kv.text()).toBe("b");
    const stale = Election.resume(session, "boss", { key: election.key, token: 1 });
    expect(await failure(stale.proclaim("c"))).toMatchObject({ code: "ELECTION_NOT_LEADER" });
    expect(await Election.resume(session, "boss", { key: election.key, token: 1 }).resign()).toBe(false);
    expect(await resumed.resign()).toBe(true);
  });
});

describe("a candidate whose lease ends while it waits", () => {
  test("does not win: etcd's campaign would, and only the next proclamation would fail", async () => {
    const { client } = await member();
    const a = await candidate(client);
    const b = await candidate(client);
    await a.election.campaign("a");
    const waiting = failure(b.election.campaign("b"));
    await standing(client, 2);
    await client.lease.revoke(b.session.lease);
    await a.election.resign();
    expect(await waiting).toMatchObject({ code: "SESSION_LOST" });
    expect(b.election.token).toBeUndefined();
    expect((await client.get("boss/", { prefix: true })).count).toBe(0);
  });

  test("stopped past its TTL: another leads, and what the first does late does not land", async () => {
    const stage = await Stage.open(422);
    const one = await stage.client();
    const two = await stage.client();
    const first = await stage.settle(candidate(one.client, 3));
    const second = await stage.settle(candidate(two.client, 3));
    await stage.settle(first.election.campaign("first"));
    const waiting = second.election.campaign("second");
    await stage.world.runFor(100);
    const late = one.client.txn().if(first.election.isLeader()).then(op.put("effect", "first"));
    one.host.pause();
    await stage.settle(waiting);
    expect(second.election.token).toBeGreaterThan(first.election.token!);
    one.host.resume();
    expect(await stage.settle(late.commit())).toMatchObject({ succeeded: false });
    expect(await stage.failure(first.election.proclaim("first"))).toMatchObject({ code: "SESSION_LOST" });
  });
});
