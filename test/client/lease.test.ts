/** Leases as the client sees them: the calls, and a lease kept alive on virtual time. */
import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, revision } from "../../src/base/ids.ts";
import type { Client } from "../../src/client/client.ts";
import type { KeepAlive, KeepAliveAnswer } from "../../src/client/lease.ts";
import type { Response, Result } from "../../src/protocol/responses.ts";
import { answered, Script } from "./scripted.ts";

const ID = leaseId(7n);
const alive = (ttl: number): Response => answered({ kind: "leaseKeepAlive", id: ID, ttl });

describe("calls", () => {
  const table: readonly (readonly [string, (client: Client) => Promise<unknown>, object, Result, object])[] = [
    [
      "grant",
      (client) => client.lease.grant(30),
      { kind: "leaseGrant", ttl: 30 },
      { kind: "leaseGrant", revision: revision(5), id: ID, ttl: 31 },
      { id: ID, ttl: 31 },
    ],
    [
      "grant under an id",
      (client) => client.lease.grant(30, { id: ID }),
      { kind: "leaseGrant", ttl: 30, id: ID },
      { kind: "leaseGrant", revision: revision(5), id: ID, ttl: 30 },
      { id: ID, ttl: 30 },
    ],
    [
      "revoke",
      (client) => client.lease.revoke(ID),
      { kind: "leaseRevoke", id: ID },
      { kind: "leaseRevoke", revision: revision(5) },
      {},
    ],
    [
      "timeToLive",
      (client) => client.lease.timeToLive(ID, { keys: true }),
      { kind: "leaseTimeToLive", id: ID, keys: true },
      { kind: "leaseTimeToLive", id: ID, ttl: 9, grantedTtl: 10, keys: [Uint8Array.of(1)] },
      { id: ID, ttl: 9, grantedTtl: 10, keys: [Uint8Array.of(1)] },
    ],
    [
      "list",
      (client) => client.lease.list(),
      { kind: "leaseList" },
      { kind: "leaseList", leases: [ID] },
      { leases: [ID] },
    ],
  ];
  test.each(table)("%s", async (_name, call, request, result, expected) => {
    const script = await Script.open(1);
    const response = answered(result);
    script.member(1).answer = async () => response;
    expect(await script.settle(call(script.client))).toEqual({ header: response.header, ...expected });
    expect(script.member(1).calls.map((each) => each.request)).toEqual([request]);
  });

  test("keepAliveOnce counts its deadline from when it was sent; TTL 0 is LEASE_NOT_FOUND", async () => {
    const script = await Script.open(1);
    const { clock } = script.world;
    script.member(1).answer = () => new Promise((resolve) => clock.after(700, () => resolve(alive(10))));
    const sentAt = clock.now();
    expect(await script.settle(script.client.lease.keepAliveOnce(ID))).toMatchObject({
      ttl: 10,
      deadline: sentAt + 10_000,
    });
    script.member(1).answer = async () => alive(0);
    const { error } = await script.failure(script.client.lease.keepAliveOnce(ID));
    expect([error.code, error.details]).toEqual(["LEASE_NOT_FOUND", { leaseId: ID }]);
  });
});

/** Collects until it ends. */
function collect(kept: KeepAlive): { readonly answers: KeepAliveAnswer[]; readonly end: Promise<unknown> } {
  const answers: KeepAliveAnswer[] = [];
  const end = (async () => {
    for await (const answer of kept) answers.push(answer);
  })().then(
    () => "over",
    (error: unknown) => error,
  );
  return { answers, end };
}

describe("keepAlive", () => {
  test("renews three times within each TTL, whether or not anybody looks, and ends with the signal", async () => {
    const script = await Script.open(1);
    const stop = new AbortController();
    script.member(1).answer = async () => alive(6);
    const kept = script.client.lease.keepAlive(ID, { signal: stop.signal });
    await script.world.runFor(19_000);
    expect(script.member(1).calls.length).toBe(10);
    expect(kept.deadline).toBe(18_000 + 6_000);
    // Only the newest waited.
    const { answers, end } = collect(kept);
    await script.world.runFor(2_500);
    expect(answers.map(({ deadline }) => deadline)).toEqual([24_000, 26_000]);
    stop.abort();
    expect(await script.settle(end)).toMatchObject({ code: "CANCELLED" });
    await script.world.runFor(10_000);
    expect(script.member(1).calls.length).toBe(11);
  });

  test("leaving the iteration ends it without an error", async () => {
    const script = await Script.open(1);
    script.member(1).answer = async () => alive(6);
    const kept = script.client.lease.keepAlive(ID);
    const first = (async () => {
      for await (const answer of kept) return answer.ttl;
      return undefined;
    })();
    expect(await script.settle(first)).toBe(6);
    expect(await script.settle(kept.ended)).toBeUndefined();
    await script.world.runFor(10_000);
    expect(script.member(1).calls.length).toBe(1);
  });

  test("goes on over lost connections and other members", async () => {
    const script = await Script.open(2);
    for (const each of script.members) each.answer = async () => alive(6);
    const { answers, end } = collect(script.client.lease.keepAlive(ID));
    await script.world.runFor(3_000);
    script.member(1).dies();
    await script.world.runFor(10_000);
    script.member(2).rejects("NO_LEADER");
    await script.world.runFor(3_000);
    script.member(2).answer = async () => alive(6);
    await script.world.runFor(4_000);
    expect(script.member(2).calls.length).toBeGreaterThan(4);
    for (let i = 1; i < answers.length; i++) {
      // No answer came after the deadline of the one before.
      expect(answers[i]!.deadline - answers[i - 1]!.deadline).toBeLessThan(6_000);
    }
    expect(answers.at(-1)!.deadline).toBeGreaterThan(script.world.clock.now());
    await script.client.close();
    expect(await script.settle(end)).toMatchObject({ code: "CANCELLED" });
  });

  test("ends at its deadline, no later, when nobody answers", async () => {
    const script = await Script.open(1);
    script.member(1).answer = async () => alive(6);
    const kept = script.client.lease.keepAlive(ID);
    const { end } = collect(kept);
    await script.world.runFor(100);
    const { deadline } = kept;
    script.member(1).answer = () => new Promise(() => {});
    const error = await script.settle(end);
    expect(error).toMatchObject({ code: "TIMEOUT", outcome: "unknown" });
    expect((error as StoreError).message).toContain("not renewed before its deadline");
    expect(script.world.clock.now()).toBeGreaterThanOrEqual(deadline!);
    expect(script.world.clock.now()).toBeLessThanOrEqual(deadline! + 10);
  });

  test.each([
    ["the lease has ended", async () => alive(0), "LEASE_NOT_FOUND"],
    ["the request is refused", () => Promise.reject(new StoreError("INVALID_REQUEST")), "INVALID_REQUEST"],
  ])("ends when %s, and says so once", async (_name, answer, code) => {
    const script = await Script.open(1);
    script.member(1).answer = answer;
    const kept = script.client.lease.keepAlive(ID);
    expect(await script.settle(collect(kept).end)).toMatchObject({ code });
    expect(await kept.next()).toEqual({ done: true, value: undefined });
    expect(await kept.ended).toMatchObject({ code });
  });

  test("an answer that waited too long in a stopped process is no renewal", async () => {
    const script = await Script.open(1);
    const { clock } = script.world;
    script.member(1).answer = () => new Promise((resolve) => clock.after(4_000, () => resolve(alive(3))));
    expect(await script.settle(collect(script.client.lease.keepAlive(ID)).end)).toMatchObject({ code: "TIMEOUT" });
  });
});
