/** Calls between two members, over a wire in the test's hand. */
import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, leaseId, memberId, revision, term } from "../../src/base/ids.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Result } from "../../src/protocol/responses.ts";
import { PEER_CALL, PeerCalls } from "../../src/server/peer-calls.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";

const A = memberId(1n);
const B = memberId(2n);
const STRANGER = memberId(3n);
const KEEP_ALIVE: Request = { kind: "leaseKeepAlive", id: leaseId(7n) };
const PROMOTE: Request = { kind: "memberPromote", id: memberId(9n) };
const ALIVE: Result = { kind: "leaseKeepAlive", id: leaseId(7n), ttl: 5 };

class Rig {
  readonly world = new SimulatedWorld({ seed: 5 });
  readonly sent: Uint8Array[] = [];
  connected = true;
  /** What a connection takes. */
  longest = Infinity;
  served: (request: Request, deadline: number) => Promise<Result> = async () => ALIVE;
  a: PeerCalls = this.#member((message) => this.b.onMessage(A, message));
  readonly b: PeerCalls = this.#member((message) => this.a.onMessage(B, message));

  #member(deliver: (message: Uint8Array) => void, incarnation = 1): PeerCalls {
    return new PeerCalls({
      clock: this.world.clock,
      incarnation,
      send: (_to, message) => {
        if (!this.connected || message.length > this.longest) return false;
        this.sent.push(message);
        this.world.clock.after(10, () => deliver(message.slice()));
        return true;
      },
      serve: (request, deadline) => this.served(request, deadline),
      header: () => ({ clusterId: clusterId(1n), memberId: B, revision: revision(0), raftTerm: term(1) }),
    });
  }

  /** The member that asks begins anew, under the id that it had. */
  restart(): void {
    this.a = this.#member((message) => this.b.onMessage(A, message), 2);
  }

  /** How it ends, and after how long. */
  async end(promise: Promise<unknown>): Promise<{ readonly value: unknown; readonly afterMs: number }> {
    const begun = this.world.clock.now();
    const value = await this.world.settle(promise.catch((error: unknown) => error));
    return { value, afterMs: this.world.clock.now() - begun };
  }
}

describe("a call", () => {
  test("carries the request, its time and the answer", async () => {
    const rig = new Rig();
    let asked: unknown;
    rig.served = async (request, deadline) => {
      asked = { request, left: deadline - rig.world.clock.now() };
      return ALIVE;
    };
    const { value, afterMs } = await rig.end(rig.a.call(B, KEEP_ALIVE, 3_000));
    expect([value, afterMs]).toEqual([ALIVE, 20]);
    expect(asked).toEqual({ request: KEEP_ALIVE, left: 3_000 });
    expect(rig.sent.map((message) => message.subarray(0, 2))).toEqual([
      Uint8Array.of(PEER_CALL, 0),
      Uint8Array.of(PEER_CALL, 1),
    ]);
  });

  test("of an earlier run is not answered to a later one's", async () => {
    const rig = new Rig();
    rig.served = async ({ kind }) => {
      if (kind === "leaseKeepAlive") await new Promise<void>((resolve) => rig.world.clock.after(100, resolve));
      return ALIVE;
    };
    rig.a.call(B, KEEP_ALIVE, 3_000).catch(() => {});
    rig.restart();
    rig.served = async () => ({ kind: "leaseKeepAlive", id: leaseId(8n), ttl: 0 });
    await rig.world.runFor(50);
    const { value } = await rig.end(rig.a.call(B, { kind: "leaseKeepAlive", id: leaseId(8n) }, 3_000));
    expect(value).toEqual({ kind: "leaseKeepAlive", id: leaseId(8n), ttl: 0 });
  });

  test.each([
    [{ kind: "leaseTimeToLive", id: leaseId(7n), keys: true } as const, "rejected"],
    [PROMOTE, "applied"],
  ])("whose answer cannot be sent is refused by name, not left to its deadline: %o", async (request, outcome) => {
    const rig = new Rig();
    rig.longest = 200;
    const keys = Array.from({ length: 100 }, () => new Uint8Array(10));
    rig.served = async () => ({ kind: "leaseTimeToLive", id: leaseId(7n), ttl: 5, grantedTtl: 5, keys });
    const { value, afterMs } = await rig.end(rig.a.call(B, request, 3_000));
    expect(value).toMatchObject({ code: "TOO_MANY_REQUESTS", outcome });
    expect(afterMs).toBe(20);
  });

  test("carries the other's refusal, with all that it says", async () => {
    const rig = new Rig();
    rig.served = () => Promise.reject(new StoreError("MEMBER_NOT_FOUND", { details: { id: 9n } }));
    const { value } = await rig.end(rig.a.call(B, PROMOTE, 3_000));
    expect(value).toMatchObject({ code: "MEMBER_NOT_FOUND", outcome: "rejected", details: { id: 9n } });
  });

  test("that cannot be sent certainly did not happen", async () => {
    const rig = new Rig();
    rig.connected = false;
    const { value, afterMs } = await rig.end(rig.a.call(B, PROMOTE, 3_000));
    expect(value).toMatchObject({ code: "NO_LEADER", outcome: "rejected" });
    expect(afterMs).toBe(0);
  });

  const ends: readonly (readonly [string, Request, (rig: Rig) => void, string, string, number])[] = [
    ["at its deadline", PROMOTE, () => {}, "TIMEOUT", "unknown", 3_000],
    ["at its deadline, of a question", KEEP_ALIVE, () => {}, "TIMEOUT", "rejected", 3_000],
    ["with the connection", PROMOTE, (rig) => rig.a.peerDown(B), "CONNECTION_LOST", "unknown", 100],
    ["with the connection, of a question", KEEP_ALIVE, (rig) => rig.a.peerDown(B), "CONNECTION_LOST", "rejected", 100],
    ["not with another's connection", PROMOTE, (rig) => rig.a.peerDown(STRANGER), "TIMEOUT", "unknown", 3_000],
    [
      "when another leads, of a question",
      KEEP_ALIVE,
      (rig) => rig.a.leaderChanged(STRANGER),
      "LEADER_CHANGED",
      "rejected",
      100,
    ],
    [
      "not when another leads, of what may have happened",
      PROMOTE,
      (rig) => rig.a.leaderChanged(STRANGER),
      "TIMEOUT",
      "unknown",
      3_000,
    ],
    ["not when the same still leads", KEEP_ALIVE, (rig) => rig.a.leaderChanged(B), "TIMEOUT", "rejected", 3_000],
    ["when the member stops", PROMOTE, (rig) => rig.a.endAll(), "STOPPED", "unknown", 100],
  ];
  test.each(ends)("without an answer ends %s", async (_name, request, happens, code, outcome, afterMs) => {
    const rig = new Rig();
    rig.served = () => new Promise(() => {});
    const ended = rig.a.call(B, request, 3_000);
    rig.world.clock.after(100, () => happens(rig));
    expect(await rig.end(ended)).toMatchObject({ value: { code, outcome }, afterMs });
  });
});

test("what nobody asked for, from whomever, changes nothing", async () => {
  const rig = new Rig();
  rig.served = () => new Promise(() => {});
  const ended = rig.a.call(B, KEEP_ALIVE, 1_000);
  for (const bytes of [[], [PEER_CALL], [PEER_CALL, 1, 0, 0, 0, 99, 1], [PEER_CALL, 0, 0, 0, 0, 1, 2]]) {
    rig.a.onMessage(B, Uint8Array.from(bytes));
  }
  // The right number from the wrong member.
  rig.a.onMessage(STRANGER, Uint8Array.from([PEER_CALL, 1, ...rig.sent[0]!.subarray(2, 6), 0x90]));
  expect(await rig.end(ended)).toMatchObject({ value: { code: "TIMEOUT" }, afterMs: 1_000 });
});

test("bytes that are no request are refused, bytes that are no answer end the call", async () => {
  const rig = new Rig();
  rig.b.onMessage(A, Uint8Array.from([PEER_CALL, 0, 0, 0, 0, 1, 0, 0, 3, 232, 0xc1]));
  await rig.world.runFor(100);
  expect(rig.sent.map((message) => message[1])).toEqual([2]);
  rig.served = () => new Promise(() => {});
  const ended = rig.a.call(B, KEEP_ALIVE, 1_000);
  await rig.world.runFor(50);
  rig.a.onMessage(B, Uint8Array.from([PEER_CALL, 1, ...rig.sent.at(-1)!.subarray(2, 6), 0xc1]));
  expect(await rig.end(ended)).toMatchObject({ value: { code: "INTERNAL" }, afterMs: 0 });
});
