import { getEventListeners } from "node:events";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { type ErrorCode, StoreError } from "../../src/base/errors.ts";
import { clusterId, memberId, NO_LEASE, revision } from "../../src/base/ids.ts";
import { Client } from "../../src/client/client.ts";
import { compare, op } from "../../src/client/txn.ts";
import type { Result, StatusResult } from "../../src/protocol/responses.ts";
import { answered, NOTHING, PUT, plainAnswer, Script } from "./scripted.ts";

const b = encodeUtf8;
const KV = {
  key: b("a"),
  createRevision: revision(2),
  modRevision: revision(3),
  version: 2,
  value: b("1"),
  lease: NO_LEASE,
};
const MEMBER = { id: memberId(9n), name: "n1", peerUrls: ["ws://a:1"], clientUrls: [], isLearner: false };
const STATUS: StatusResult = {
  kind: "status",
  revision: revision(5),
  version: "1",
  dbSize: 1,
  dbSizeInUse: 1,
  dbSizeQuota: 0,
  raftIndex: 1,
  raftTerm: 1,
  raftAppliedIndex: 1,
  errors: [],
  isLearner: false,
  stateHash: "",
};

describe("calls", () => {
  /** What each call asks and what it makes of the answer. */
  const table: readonly (readonly [string, (client: Client) => Promise<unknown>, object, Result, object])[] = [
    [
      "get",
      (client) => client.get("a", { prefix: true, limit: 2 }),
      { kind: "range", key: b("a"), rangeEnd: b("b"), limit: 2 },
      { kind: "range", revision: revision(5), kvs: [KV], more: true, count: 3 },
      { kind: "get", revision: 5, kvs: [KV], more: true, count: 3 },
    ],
    [
      "put",
      (client) => client.put("a", "1", { prevKv: true }),
      { kind: "put", key: b("a"), value: b("1"), prevKv: true },
      { kind: "put", revision: revision(6), prevKv: KV },
      { kind: "put", revision: 6, prevKv: KV },
    ],
    [
      "delete",
      (client) => client.delete("a", { fromKey: true }),
      { kind: "deleteRange", key: b("a"), rangeEnd: Uint8Array.of(0) },
      { kind: "deleteRange", revision: revision(6), deleted: 1, prevKvs: [KV] },
      { kind: "delete", revision: 6, deleted: 1, prevKvs: [KV] },
    ],
    [
      "txn",
      (client) =>
        client
          .txn()
          .if(compare.version("a", "=", 0))
          .then(op.put("a", "1"))
          .commit(),
      {
        kind: "txn",
        compare: [{ key: b("a"), result: "equal", target: "version", version: 0 }],
        success: [{ kind: "put", key: b("a"), value: b("1") }],
        failure: [],
      },
      { kind: "txn", revision: revision(6), succeeded: true, results: [{ kind: "put", revision: revision(6) }] },
      { kind: "txn", revision: 6, succeeded: true, results: [{ kind: "put", revision: 6 }] },
    ],
    [
      "compact",
      (client) => client.compact(4, { physical: true }),
      { kind: "compact", revision: 4, physical: true },
      { kind: "compact", revision: revision(5) },
      {},
    ],
    [
      "members.list",
      (client) => client.members.list(),
      { kind: "memberList", linearizable: true },
      { kind: "members", members: [MEMBER] },
      { members: [MEMBER] },
    ],
    [
      "members.list, of one member's knowledge",
      (client) => client.members.list({ linearizable: false }),
      { kind: "memberList", linearizable: false },
      { kind: "members", members: [] },
      { members: [] },
    ],
    [
      "members.add",
      (client) => client.members.add(["ws://a:1"], { isLearner: true }),
      { kind: "memberAdd", peerUrls: ["ws://a:1"], isLearner: true },
      { kind: "members", member: MEMBER, members: [MEMBER] },
      { member: MEMBER, members: [MEMBER] },
    ],
    [
      "members.remove",
      (client) => client.members.remove(MEMBER.id),
      { kind: "memberRemove", id: MEMBER.id },
      { kind: "members", members: [] },
      { members: [] },
    ],
    [
      "members.update",
      (client) => client.members.update(MEMBER.id, ["ws://b:2"]),
      { kind: "memberUpdate", id: MEMBER.id, peerUrls: ["ws://b:2"] },
      { kind: "members", members: [MEMBER] },
      { members: [MEMBER] },
    ],
    [
      "members.promote",
      (client) => client.members.promote(MEMBER.id),
      { kind: "memberPromote", id: MEMBER.id },
      { kind: "members", members: [MEMBER] },
      { members: [MEMBER] },
    ],
    ["status", (client) => client.status("m1"), { kind: "status" }, STATUS, { ...STATUS }],
    [
      "hashKv",
      (client) => client.hashKv("m1", { revision: 3 }),
      { kind: "hashKv", revision: 3 },
      { kind: "hashKv", revision: revision(5), hash: 7, compactRevision: -1, hashRevision: 3 },
      { kind: "hashKv", revision: 5, hash: 7, compactRevision: -1, hashRevision: 3 },
    ],
    [
      "alarms.list",
      (client) => client.alarms.list(),
      { kind: "alarm", action: "get" },
      { kind: "alarm", alarms: [{ member: MEMBER.id, alarm: "nospace" }] },
      { alarms: [{ member: 9n, alarm: "nospace" }] },
    ],
    [
      "alarms.activate",
      (client) => client.alarms.activate({ member: MEMBER.id, alarm: "nospace" }),
      { kind: "alarm", action: "activate", member: 9n, alarm: "nospace" },
      { kind: "alarm", alarms: [{ member: MEMBER.id, alarm: "nospace" }] },
      { alarms: [{ member: 9n, alarm: "nospace" }] },
    ],
    [
      "alarms.disarm of one",
      (client) => client.alarms.disarm({ member: MEMBER.id, alarm: "nospace" }),
      { kind: "alarm", action: "deactivate", member: 9n, alarm: "nospace" },
      { kind: "alarm", alarms: [] },
      { alarms: [] },
    ],
  ];
  test.each(table)("%s", async (_, act, request, result, expected) => {
    const script = await Script.open(1);
    script.member(1).answer = async () => answered(result);
    const outcome = await script.settle(act(script.client));
    expect(script.member(1).calls.map((call) => call.request)).toStrictEqual([request]);
    expect(outcome).toEqual({ header: answered(result).header, ...expected });
  });

  test("moveLeader asks each member once for the one that leads", async () => {
    const script = await Script.open(3);
    script.member(1).rejects("NOT_LEADER");
    script.member(2).rejects("NOT_LEADER");
    script.member(3).answer = async () => answered({ kind: "moveLeader" });
    await script.settle(script.client.moveLeader(memberId(2n)));
    script.member(3).rejects("NOT_LEADER");
    const { error } = await script.failure(script.client.moveLeader(memberId(2n)));
    expect(error.code).toBe("NOT_LEADER");
    expect(script.members.flatMap(({ calls }) => calls).length).toBe(6);
  });

  test("the time that is left goes with each attempt", async () => {
    const script = await Script.open(2, { timeoutMs: 3_000 });
    script.member(1).answer = async () => {
      await new Promise<void>((resolve) => script.world.clock.after(1_000, resolve));
      throw new StoreError("STOPPED");
    };
    await script.settle(script.client.put("a", "1"));
    await script.settle(script.client.put("a", "1", { timeoutMs: 50 }));
    expect(script.member(1).calls.map(({ options }) => options.timeoutMs)).toEqual([3_000]);
    expect(script.member(2).calls.map(({ options }) => Math.round(options.timeoutMs))).toEqual([2_000, 50]);
  });

  test.each([0, -1, Number.NaN])("a time-out of %d is refused by name", async (timeoutMs) => {
    const script = await Script.open(1);
    expect((await script.failure(script.client.get("a", { timeoutMs }))).error.code).toBe("INVALID_REQUEST");
  });
});

describe("open", () => {
  test.each([
    ["no endpoint", { endpoints: [] }],
    ["an empty endpoint", { endpoints: ["a", ""] }],
    ["a time-out of 0", { timeoutMs: 0 }],
    ["a dial time-out below 0", { dialTimeoutMs: -1 }],
  ])("%s is BAD_CONFIG", async (_, options) => {
    await expect(Script.open(1, options)).rejects.toMatchObject({ code: "BAD_CONFIG" });
  });

  test("connects when first needed, and once for all who wait", async () => {
    const script = await Script.open(2);
    expect(script.dialed).toEqual([]);
    await script.settle(Promise.all(Array.from({ length: 50 }, () => script.client.put("a", "1"))));
    expect(script.dialed).toEqual([1]);
  });

  test("clients with the same list begin at different members", async () => {
    const begun = new Set<string>();
    for (const chance of [0, 0.4, 0.99]) {
      const client = await Client.open({
        clock: (await Script.open(1)).world.clock,
        random: { next: () => chance, bytes: (length) => new Uint8Array(length) },
        endpoints: ["a", "b", "c"],
        dial: (endpoint) => {
          begun.add(endpoint);
          return new Promise(() => {});
        },
      });
      void client.get("a").catch(() => {});
      await client.close();
    }
    expect(begun).toEqual(new Set(["a", "b", "c"]));
  });
});

describe("what is sent again", () => {
  const passing: readonly ErrorCode[] = [
    ...(["NO_LEADER", "LEADER_CHANGED", "TIMEOUT", "DEADLINE_EXCEEDED", "UNAVAILABLE", "STOPPED"] as const),
    ...(["CONNECTION_LOST", "MEMBER_REMOVED", "DISK_FAILED", "DISK_FULL", "NOT_SUPPORTED_FOR_LEARNER"] as const),
  ];

  test.each(passing)("a write that was rejected with %s goes to another member or again to this one", async (code) => {
    const script = await Script.open(2);
    let refusals = 0;
    const { answer } = script.member(1);
    script.member(1).answer = async (request, options) => {
      if (refusals++ === 0) throw new StoreError(code, { outcome: "rejected" });
      return answer(request, options);
    };
    await script.settle(script.client.put("a", "1"));
    expect(refusals).toBe(code === "LEADER_CHANGED" ? 2 : 1);
  });

  test.each(passing.filter((code) => code !== "NOT_SUPPORTED_FOR_LEARNER"))(
    "a write whose outcome is unknown after %s is never sent again",
    async (code) => {
      const script = await Script.open(3);
      for (const member of script.members) member.rejects(code, { outcome: "unknown" });
      const { error } = await script.failure(script.client.put("a", "1"));
      expect(error).toMatchObject({ code, outcome: "unknown" });
      expect(script.members.flatMap(({ calls }) => calls).length).toBe(1);
    },
  );

  test.each(passing)("a read is sent again after %s, whatever its outcome", async (code) => {
    const script = await Script.open(2);
    let refusals = 0;
    script.member(1).answer = async (request) => {
      if (refusals++ === 0)
        throw new StoreError(code, { outcome: code === "NOT_SUPPORTED_FOR_LEARNER" ? "rejected" : "unknown" });
      return plainAnswer(request);
    };
    await script.settle(script.client.get("a"));
  });

  test.each<[string, Parameters<Client["request"]>[0], boolean]>([
    ["a txn of reads", { kind: "txn", compare: [], success: [{ kind: "range", key: b("a") }], failure: [] }, true],
    [
      "a txn with a write in the branch not taken",
      { kind: "txn", compare: [], success: [], failure: [{ kind: "put", key: b("a"), value: b("1") }] },
      false,
    ],
    ["a compaction", { kind: "compact", revision: 3 }, false],
    ["a list of members", { kind: "memberList" }, true],
    ["a new member", { kind: "memberAdd", peerUrls: ["ws://a:1"] }, false],
  ])("%s counts as what it is", async (_, request, isRead) => {
    const script = await Script.open(2);
    for (const member of script.members) member.rejects("CONNECTION_LOST", { outcome: "unknown" });
    const { error } = await script.failure(script.client.request(request, { timeoutMs: 1_000 }));
    expect(error.outcome).toBe("unknown");
    expect(script.members.flatMap(({ calls }) => calls).length > 1).toBe(isRead);
  });

  test.each<ErrorCode>([
    "EMPTY_KEY",
    "COMPACTED",
    "TOO_MANY_REQUESTS",
    "INVALID_REQUEST",
    "UNHEALTHY",
    "NO_SPACE",
    "INTERNAL",
  ])("nothing is after %s: no other member would answer otherwise", async (code) => {
    const script = await Script.open(3);
    script.member(1).rejects(code);
    expect((await script.failure(script.client.put("a", "1"))).error.code).toBe(code);
    expect((await script.failure(script.client.get("a"))).error.code).toBe(code);
    expect(script.dialed).toEqual([1]);
  });

  test("once one attempt was unknown the call cannot end rejected", async () => {
    const script = await Script.open(2);
    script.member(1).rejects("STOPPED", { outcome: "rejected" });
    script.member(2).rejects("CONNECTION_LOST", { outcome: "unknown" });
    const { error } = await script.failure(script.client.put("a", "1"));
    expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect(script.member(1).calls.length).toBe(1);
  });

  test("attempts end with the call's time, in the last attempt's words", async () => {
    const script = await Script.open(2);
    for (const member of script.members) member.rejects("NO_LEADER");
    const { error, afterMs } = await script.failure(script.client.put("a", "1", { timeoutMs: 2_000 }));
    expect(error).toMatchObject({ code: "NO_LEADER", outcome: "rejected" });
    expect(afterMs).toBeGreaterThan(1_000);
    expect(afterMs).toBeLessThanOrEqual(2_000);
    // Pauses grow: two seconds of them are not hundreds of attempts.
    const attempts = script.members.flatMap(({ calls }) => calls).length;
    expect(attempts).toBeGreaterThan(6);
    expect(attempts).toBeLessThan(40);
  });

  test("a leader is found again within moments of its election", async () => {
    const script = await Script.open(3);
    for (const member of script.members) member.rejects("NO_LEADER");
    const put = script.client.put("a", "1");
    await script.world.runFor(900);
    for (const member of script.members) member.answer = async (request) => plainAnswer(request);
    const begun = script.world.clock.now();
    await script.settle(put);
    expect(script.world.clock.now() - begun).toBeLessThan(500);
  });
});

describe("fail-over", () => {
  test("a member that dies is left at once, for one that lives", async () => {
    const script = await Script.open(3);
    await script.settle(script.client.put("a", "1"));
    script.member(1).dies();
    script.member(2).refuses();
    const begun = script.world.clock.now();
    await script.settle(script.client.put("a", "2"));
    expect(script.member(3).calls.length).toBe(1);
    expect(script.world.clock.now() - begun).toBeLessThan(1);
  });

  test("calls under way when it dies go on elsewhere if they may", async () => {
    const script = await Script.open(2);
    const lost: ((error: StoreError) => void)[] = [];
    script.member(1).answer = () => new Promise((_, reject) => lost.push(reject));
    const write = script.caught(script.client.put("a", "1"));
    const read = script.client.get("a");
    await script.world.until(() => lost.length === 2, 1_000);
    script.member(1).dies();
    lost[0]!(new StoreError("CONNECTION_LOST", { outcome: "unknown" }));
    lost[1]!(new StoreError("CONNECTION_LOST", { outcome: "rejected" }));
    expect((await script.settle(write)).error.outcome).toBe("unknown");
    expect((await script.settle(read)).header.memberId).toBe(2n);
  });

  test("a member that is silent is not waited for alone", async () => {
    const script = await Script.open(3);
    script.member(1).dialed = () => new Promise(() => {});
    const begun = script.world.clock.now();
    await script.settle(script.client.put("a", "1"));
    expect(script.dialed).toEqual([1, 2]);
    expect(script.world.clock.now() - begun).toBeLessThan(300);
  });

  test("what failed lately is asked last", async () => {
    const script = await Script.open(3);
    script.member(1).refuses();
    await script.settle(script.client.put("a", "1"));
    expect(script.dialed).toEqual([1, 2]);
    script.member(2).dies();
    await script.settle(script.client.put("a", "1"));
    script.member(3).dies();
    script.member(1).dialed = async () => {};
    await script.settle(script.client.put("a", "1"));
    // Neither of the dead is tried before the third; of those that failed, the longest ago first.
    expect(script.dialed).toEqual([1, 2, 3, 1]);
  });

  test("a member without a leader is left, its connection kept for later", async () => {
    const script = await Script.open(2);
    await script.settle(script.client.put("a", "1"));
    script.member(1).rejects("TIMEOUT", { outcome: "unknown" });
    await script.failure(script.client.put("a", "1"));
    await script.settle(script.client.put("a", "1"));
    expect(script.member(2).calls.length).toBe(1);
    script.member(1).answer = async (request) => plainAnswer(request);
    script.member(2).dies();
    await script.settle(script.client.put("a", "1"));
    expect(script.dialed).toEqual([1, 2]);
    expect(script.member(1).calls.length).toBe(3);
  });

  test("nobody answers: UNAVAILABLE, rejected, after the time to connect", async () => {
    const script = await Script.open(2, { dialTimeoutMs: 700 });
    for (const member of script.members) member.refuses();
    const { error, afterMs } = await script.failure(script.client.put("a", "1"));
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "rejected" });
    expect(error.message).toMatch(/^quorate: no endpoint could be reached: member \d refuses; member \d refuses$/);
    expect(afterMs).toBeLessThanOrEqual(700);
    expect(script.dialed.length).toBeGreaterThan(4);
  });

  test("one that comes back in that time is found", async () => {
    const script = await Script.open(1);
    script.member(1).refuses();
    const put = script.client.put("a", "1");
    await script.world.runFor(1_200);
    script.member(1).dialed = async () => {};
    await script.settle(put);
  });

  test("the call's own time ends the wait too: rejected, nothing was handed over", async () => {
    const script = await Script.open(1);
    script.member(1).dialed = () => new Promise(() => {});
    const { error, afterMs } = await script.failure(script.client.put("a", "1", { timeoutMs: 300 }));
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED", outcome: "rejected" });
    expect(afterMs).toBeCloseTo(300);
  });

  test.each<ErrorCode>(["PROTOCOL_VERSION", "BAD_CONFIG", "FORBIDDEN_ORIGIN"])(
    "%s is told at once: waiting would not help",
    async (code) => {
      const script = await Script.open(2);
      for (const member of script.members) member.dialed = () => Promise.reject(new StoreError(code));
      const { error, afterMs } = await script.failure(script.client.put("a", "1"));
      expect(error.code).toBe(code);
      expect(afterMs).toBe(0);
      expect(script.dialed).toEqual([1, 2]);
    },
  );

  test("a learner's refusal is not the end while a voter is away for a moment", async () => {
    for (const exactlyOnce of [false, true]) {
      const script = await Script.open(2, { exactlyOnce });
      script.member(2).rejects("NOT_SUPPORTED_FOR_LEARNER");
      const { dialed } = script.member(1);
      script.member(1).refuses();
      const { answer } = script.member(1);
      script.member(1).answer = async (request, options) =>
        request.kind === "register" ? answered({ kind: "register", clientId: 3 }) : answer(request, options);
      const call: Promise<unknown> = exactlyOnce ? script.client.put("a", "1") : script.client.get("a");
      await script.settle(script.world.runFor(1_000));
      script.member(1).dialed = dialed;
      await script.settle(call);
    }
    const learners = await Script.open(2);
    for (const member of learners.members) member.rejects("NOT_SUPPORTED_FOR_LEARNER");
    const { error, afterMs } = await learners.failure(learners.client.put("a", "1"));
    expect(error.code).toBe("NOT_SUPPORTED_FOR_LEARNER");
    expect(afterMs).toBeLessThan(100);
  });

  test("an endpoint of another cluster is refused, and the others serve", async () => {
    const script = await Script.open(2);
    await script.settle(script.client.put("a", "1"));
    script.member(2).cluster = clusterId(0xbadn);
    script.member(1).dies();
    const { error } = await script.failure(script.client.put("a", "1"));
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "rejected" });
    expect(error.message).toContain("cluster ID mismatch");
    expect(error.message).toContain("member 1 refuses");
    expect(script.member(2).calls).toEqual([]);
    expect(script.member(2).open.size).toBe(0);
    script.member(1).dialed = async () => {};
    await script.settle(script.client.put("a", "1"));
  });
});

describe("status and hashKv", () => {
  test("ask the endpoint named and no other, and leave the rest alone", async () => {
    const script = await Script.open(2);
    for (const member of script.members) {
      member.answer = async (request) =>
        request.kind === "status" ? answered(STATUS, member.id) : plainAnswer(request);
    }
    await script.settle(script.client.put("a", "1"));
    expect((await script.settle(script.client.status("m2"))).header.memberId).toBe(2n);
    expect((await script.settle(script.client.status("m1"))).header.memberId).toBe(1n);
    await script.settle(script.client.put("a", "1"));
    expect(script.dialed).toEqual([1, 2]);
    script.member(2).refuses();
    script.member(2).dies();
    const { error } = await script.failure(script.client.status("m2"));
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "rejected" });
    expect(script.member(1).calls.length).toBe(3);
  });

  test("may name any address", async () => {
    const script = await Script.open(2, { endpoints: ["m1"] });
    script.member(2).answer = async () => answered(STATUS, 2);
    expect((await script.settle(script.client.status("m2"))).header.memberId).toBe(2n);
    expect((await script.settle(script.client.status("m2"))).header.memberId).toBe(2n);
    expect(script.dialed).toEqual([2]);
    expect((await script.failure(script.client.status("elsewhere"))).error.code).toBe("BAD_CONFIG");
  });
});

test("an address of another cluster that was asked first says nothing of the endpoints", async () => {
  const script = await Script.open(2, { endpoints: ["m1"] });
  script.member(2).cluster = clusterId(0xbadn);
  script.member(2).answer = async () => answered(STATUS, 2);
  await script.settle(script.client.status("m2"));
  await script.settle(script.client.put("a", "1"));
});

describe("AbortSignal", () => {
  test("ends a wait for a connection: rejected, with the reason", async () => {
    const script = await Script.open(1);
    script.member(1).dialed = () => new Promise(() => {});
    const aborter = new AbortController();
    const call = script.caught(script.client.put("a", "1", { signal: aborter.signal }));
    await script.world.runFor(50);
    const reason = new Error("enough");
    aborter.abort(reason);
    expect((await script.settle(call)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected", cause: reason });
    expect(getEventListeners(aborter.signal, "abort")).toEqual([]);
  });

  test("ends a pause between attempts", async () => {
    const script = await Script.open(1);
    script.member(1).rejects("NO_LEADER");
    const aborter = new AbortController();
    const call = script.caught(script.client.put("a", "1", { signal: aborter.signal }));
    await script.world.runFor(1_000);
    aborter.abort();
    expect((await script.settle(call)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    expect(getEventListeners(aborter.signal, "abort")).toEqual([]);
  });

  test("goes with the call to the channel, and leaves no listener behind", async () => {
    const script = await Script.open(1);
    const { signal } = new AbortController();
    await script.settle(script.client.put("a", "1", { signal }));
    expect(script.member(1).calls[0]!.options.signal).toBe(signal);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("aborted before: nothing is dialled", async () => {
    const script = await Script.open(1);
    const { error } = await script.failure(script.client.get("a", { signal: AbortSignal.abort("why") }));
    expect(error).toMatchObject({ code: "CANCELLED", outcome: "rejected", cause: "why" });
    expect(script.dialed).toEqual([]);
  });
});

describe("close", () => {
  test("ends connections and waits; later calls are rejected by name; again does nothing", async () => {
    const script = await Script.open(1);
    await script.settle(script.client.put("a", "1"));
    script.member(1).rejects("NO_LEADER");
    const waiting = script.caught(script.client.put("a", "1"));
    await script.world.runFor(100);
    await script.client.close();
    await script.client.close();
    expect((await script.settle(waiting)).error).toMatchObject({
      code: "CANCELLED",
      outcome: "rejected",
      message: "quorate: the client is closed",
    });
    expect(script.member(1).open.size).toBe(0);
    const { client } = script;
    for (const call of [
      () => client.get("a"),
      () => client.put("a", "1"),
      () => client.status("m1"),
      () => client.members.list(),
    ]) {
      expect((await script.failure(call())).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    }
  });

  test("a connection that comes about afterwards is closed", async () => {
    const script = await Script.open(1);
    let connect!: () => void;
    script.member(1).dialed = () =>
      new Promise((resolve) => {
        connect = resolve;
      });
    const call = script.caught(script.client.put("a", "1"));
    await script.client.close();
    expect((await script.settle(call)).error.code).toBe("CANCELLED");
    connect();
    await script.world.runFor(10);
    expect(script.member(1).open.size).toBe(0);
  });

  test("await using closes", async () => {
    const script = await Script.open(1);
    {
      await using client = script.client;
      await script.settle(client.put("a", "1"));
    }
    expect(script.member(1).open.size).toBe(0);
  });
});

test("calls that wait for a connection are bounded, in number and in bytes", async () => {
  const script = await Script.open(1);
  script.member(1).dialed = () => new Promise(() => {});
  const value = new Uint8Array(1 << 20);
  const calls = Array.from({ length: 70 }, () =>
    script.client.put("a", value, { timeoutMs: 100 }).catch((error: StoreError) => error.code),
  );
  const codes = await script.settle(Promise.all(calls));
  expect(codes.filter((code) => code === "TOO_MANY_REQUESTS").length).toBe(7);
  expect(codes.filter((code) => code === "DEADLINE_EXCEEDED").length).toBe(63);
  // And the room comes back.
  script.member(1).dialed = async () => {};
  expect((await script.failure(script.client.put("a", value, { timeoutMs: 100 }))).error.code).toBe(
    "DEADLINE_EXCEEDED",
  );
});

describe("inProcess", () => {
  async function open() {
    const script = await Script.open(1);
    const channel = await script.member(1).connect();
    const random = { next: () => 0, bytes: (length: number) => new Uint8Array(length) };
    const client = Client.inProcess({ clock: script.world.clock, random, channel, exactlyOnce: false });
    return { script, member: script.member(1), client, channel };
  }

  test("is the same client, without endpoints", async () => {
    const { script, member, client } = await open();
    expect((await script.settle(client.put("a", "1"))).revision).toBe(5);
    expect((await script.settle(client.get("a"))).kvs).toEqual([]);
    member.answer = async () => answered(STATUS);
    expect((await script.settle(client.status("whatever"))).version).toBe("1");
  });

  test("hangs nothing on the member's end: clients come and go by the thousand", async () => {
    const script = await Script.open(1);
    const channel = await script.member(1).connect();
    const { closed } = channel;
    let asked = 0;
    Object.defineProperty(channel, "closed", {
      get() {
        asked += 1;
        return closed;
      },
    });
    const { clock } = script.world;
    const random = { next: () => 0, bytes: (length: number) => new Uint8Array(length) };
    const client = Client.inProcess({ clock, random, channel, exactlyOnce: false });
    await script.settle(client.put("a", "1"));
    await client.close();
    expect(asked).toBe(0);
  });

  test("a member that stops is told at once: there is nobody else to turn to", async () => {
    const { script, member, client } = await open();
    member.rejects("STOPPED");
    const { error, afterMs } = await script.failure(client.get("a"));
    expect(error.code).toBe("STOPPED");
    expect(afterMs).toBe(0);
  });

  test("what passes is waited for", async () => {
    const { script, member, client } = await open();
    member.rejects("LEADER_CHANGED");
    const put = client.put("a", "1");
    await script.world.runFor(100);
    member.answer = async () => PUT;
    await script.settle(put);
  });

  test("a call that the member does not end is ended: writes unknown, reads rejected", async () => {
    const { script, member, client } = await open();
    member.answer = () => new Promise(() => {});
    const [write, read] = await script.settle(
      Promise.all([
        script.caught(client.put("a", "1", { timeoutMs: 300 })),
        script.caught(client.get("a", { timeoutMs: 300 })),
      ]),
    );
    expect(write.error).toMatchObject({ code: "TIMEOUT", outcome: "unknown" });
    expect(read.error).toMatchObject({ code: "TIMEOUT", outcome: "rejected" });
    expect(write.afterMs).toBeGreaterThanOrEqual(300);
    expect(write.afterMs).toBeLessThan(600);
  });

  test("signals and close end calls, and leave the member's channel open", async () => {
    const { script, member, client } = await open();
    member.answer = () => new Promise(() => {});
    const aborter = new AbortController();
    const aborted = script.caught(client.put("a", "1", { signal: aborter.signal }));
    const read = script.caught(client.get("a"));
    const write = script.caught(client.put("a", "1"));
    await script.world.runFor(10);
    aborter.abort();
    expect((await script.settle(aborted)).error).toMatchObject({ code: "CANCELLED", outcome: "unknown" });
    expect(getEventListeners(aborter.signal, "abort")).toEqual([]);
    await client.close();
    expect((await script.settle(read)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    expect((await script.settle(write)).error).toMatchObject({ code: "CANCELLED", outcome: "unknown" });
    expect((await script.failure(client.get("a"))).error.code).toBe("CANCELLED");
    expect(member.open.size).toBe(1);
    expect(NOTHING.result.kind).toBe("range");
  });
});
