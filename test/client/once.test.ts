import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ErrorCode, FAILURES, type Outcome, StoreError, type StoreErrorOptions } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import { Client } from "../../src/client/client.ts";
import { Registration, Registrations } from "../../src/client/once.ts";
import { endOf, isNumbered, nextStep, settles } from "../../src/client/retry.ts";
import { op } from "../../src/client/txn.ts";
import { OPEN_MAX } from "../../src/machine/ledger.ts";
import { REFUSALS } from "../../src/machine/machine.ts";
import type { OperationId } from "../../src/protocol/channel.ts";
import type { Request } from "../../src/protocol/requests.ts";
import { testSeed } from "../support/seed.ts";
import { answered, type Member, NOTHING, PUT, Script } from "./scripted.ts";

const seed = testSeed();

/** Members that register clients, each with an id of its own, and answer writes as told. */
async function open(count: number, options: { timeoutMs?: number } = {}) {
  const script = await Script.open(count, { exactlyOnce: true, ...options });
  let registered = 100;
  let asked = 0;
  const writes: { readonly member: number; readonly operation: OperationId }[] = [];
  const answers: (StoreError | "ok" | "never")[] = [];
  for (const member of script.members) {
    member.answer = async (request, { operation }) => {
      if (request.kind === "register") {
        asked += 1;
        return answered({ kind: "register", clientId: ++registered });
      }
      if (!isNumbered(request)) return NOTHING;
      if (operation === undefined) expect.fail("a write without a number");
      const { clientId, sequence, lowestUnacknowledged } = operation;
      writes.push({ member: member.id, operation: { clientId, sequence, lowestUnacknowledged } });
      const next = answers.shift() ?? "ok";
      if (next === "never") return new Promise(() => {});
      if (next !== "ok") throw next;
      return PUT;
    };
  }
  return {
    script,
    client: script.client,
    writes,
    /** What the next writes meet, in their order; after that all is well. */
    meets: (...next: (StoreError | "ok" | "never")[]) => void answers.push(...next),
    get registrations() {
      return asked;
    },
  };
}

const failing = (code: ErrorCode, outcome: Outcome = "rejected", more: StoreErrorOptions = {}): StoreError =>
  new StoreError(code, { outcome, ...more });
const LOST = failing("CONNECTION_LOST", "unknown");

describe("a client's writes", () => {
  test("wait for one registration, which is asked for before the first of them and shared", async () => {
    const rig = await open(1);
    await rig.script.settle(rig.client.get("a"));
    expect(rig.registrations).toBe(0);
    await rig.script.settle(Promise.all(Array.from({ length: 5 }, (_, i) => rig.client.put(`k${i}`, ""))));
    expect(rig.registrations).toBe(1);
    expect(rig.writes.map(({ operation }) => operation)).toEqual(
      Array.from({ length: 5 }, (_, i) => ({ clientId: 101, sequence: i + 1, lowestUnacknowledged: 1 })),
    );
    await rig.script.settle(rig.client.put("a", ""));
    expect(rig.writes.at(-1)?.operation).toEqual({ clientId: 101, sequence: 6, lowestUnacknowledged: 6 });
  });

  const numbered: readonly (readonly [string, boolean, (client: Client) => Promise<unknown>])[] = [
    ["put", true, (client) => client.put("a", "")],
    ["delete", true, (client) => client.delete("a")],
    ["txn", true, (client) => client.txn().then(op.put("a", "")).commit()],
    ["a txn that may write", true, (client) => client.txn().then(op.get("a")).else(op.delete("a")).commit()],
    ["compact", true, (client) => client.compact(1)],
    ["lease.grant", true, (client) => client.lease.grant(5)],
    ["lease.revoke", true, (client) => client.lease.revoke(leaseId(5))],
    ["get", false, (client) => client.get("a")],
    ["a txn that reads", false, (client) => client.txn().then(op.get("a")).commit()],
    ["lease.timeToLive", false, (client) => client.lease.timeToLive(leaseId(5))],
    ["members.list", false, (client) => client.members.list()],
    ["members.remove", false, (client) => client.members.remove(leaseId(5) as never)],
  ];
  test.each(numbered)("carry a number each: %s", async (_, isNumber, call) => {
    const rig = await open(1);
    // What it makes of an answer of another kind is of no interest here.
    await rig.script.settle(call(rig.client).catch(() => {}));
    expect(rig.writes.length).toBe(isNumber ? 1 : 0);
    expect(rig.registrations).toBe(isNumber ? 1 : 0);
  });

  test("are sent again under the same number when an outcome is unknown, on other members, and answered once", async () => {
    const rig = await open(3);
    rig.meets(LOST, failing("LEADER_CHANGED", "unknown"), failing("TIMEOUT", "unknown"), failing("NO_LEADER"));
    expect((await rig.script.settle(rig.client.put("a", ""))).revision).toBe(5);
    expect(rig.writes.map(({ operation }) => operation.sequence)).toEqual([1, 1, 1, 1, 1]);
    expect(new Set(rig.writes.map(({ member }) => member)).size).toBe(3);
  });

  test("within the process too: there the same member is asked again", async () => {
    const rig = await open(1);
    const random = { next: () => 0, bytes: (length: number) => new Uint8Array(length) };
    const channel = await rig.script.member(1).connect();
    await using client = Client.inProcess({ clock: rig.script.world.clock, random, channel });
    rig.meets(failing("LEADER_CHANGED", "unknown"), failing("TIMEOUT", "unknown"));
    await rig.script.settle(client.put("a", ""));
    expect(rig.writes.map(({ operation }) => operation.sequence)).toEqual([1, 1, 1]);
    rig.meets(failing("STOPPED", "unknown"));
    expect((await rig.script.failure(client.put("a", ""))).error).toMatchObject({
      code: "STOPPED",
      outcome: "unknown",
    });
  });

  test("that ended unknown are acknowledged too: what may still be under way is refused from the next write on", async () => {
    const rig = await open(1, { timeoutMs: 300 });
    rig.meets(LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST, LOST);
    const { error } = await rig.script.failure(rig.client.put("a", ""));
    expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    await rig.script.settle(rig.client.put("a", "", { timeoutMs: 5_000 }));
    expect(rig.writes.at(-1)?.operation).toEqual({ clientId: 101, sequence: 2, lowestUnacknowledged: 2 });
  });
});

describe("the outcome speaks of the whole call", () => {
  interface Case {
    readonly name: string;
    readonly meets: readonly (StoreError | "ok" | "never")[];
    readonly ends: { readonly code: ErrorCode; readonly outcome: Outcome } | "answered";
    /** Registrations that it takes. Default 1. */
    readonly registrations?: number;
  }
  const expired = failing("CLIENT_EXPIRED");
  const cases: readonly Case[] = [
    {
      name: "a refusal that is no member's fault",
      meets: [failing("REQUEST_TOO_LARGE")],
      ends: { code: "REQUEST_TOO_LARGE", outcome: "rejected" },
    },
    {
      name: "the same after an unknown attempt",
      meets: [LOST, failing("REQUEST_TOO_LARGE")],
      ends: { code: "REQUEST_TOO_LARGE", outcome: "unknown" },
    },
    {
      name: "too many requests",
      meets: [failing("TOO_MANY_REQUESTS")],
      ends: { code: "TOO_MANY_REQUESTS", outcome: "rejected" },
    },
    {
      name: "too many requests after an unknown attempt",
      meets: [LOST, failing("TOO_MANY_REQUESTS")],
      ends: { code: "TOO_MANY_REQUESTS", outcome: "unknown" },
    },
    {
      name: "the ledger's refusal",
      meets: [failing("LEASE_NOT_FOUND")],
      ends: { code: "LEASE_NOT_FOUND", outcome: "rejected" },
    },
    {
      name: "the ledger's refusal settles an unknown attempt",
      meets: [LOST, failing("LEASE_NOT_FOUND")],
      ends: { code: "LEASE_NOT_FOUND", outcome: "rejected" },
    },
    {
      name: "the ledger's word that it was applied",
      meets: [LOST, failing("RESULT_NOT_KEPT", "applied")],
      ends: { code: "RESULT_NOT_KEPT", outcome: "applied" },
    },
    { name: "a registration that has expired", meets: [expired], ends: "answered", registrations: 2 },
    {
      name: "one that has expired after refusals that are certain",
      meets: [failing("NO_LEADER"), expired],
      ends: "answered",
      registrations: 2,
    },
    {
      name: "one that has expired after an unknown attempt",
      meets: [LOST, expired],
      ends: { code: "CLIENT_EXPIRED", outcome: "unknown" },
    },
    {
      name: "an acknowledged sequence after an unknown attempt",
      meets: [LOST, failing("SEQUENCE_SETTLED")],
      ends: { code: "SEQUENCE_SETTLED", outcome: "unknown" },
    },
    {
      name: "refusals until the time is up",
      meets: Array.from({ length: 60 }, () => failing("NO_LEADER")),
      ends: { code: "NO_LEADER", outcome: "rejected" },
    },
    {
      name: "the same after an unknown attempt",
      meets: [LOST, ...Array.from({ length: 60 }, () => failing("NO_LEADER"))],
      ends: { code: "NO_LEADER", outcome: "unknown" },
    },
  ];
  test.each(cases)("$name", async ({ meets, ends, registrations = 1 }) => {
    const rig = await open(2, { timeoutMs: 3_000 });
    rig.meets(...meets);
    const call = rig.client.put("a", "");
    if (ends === "answered") await rig.script.settle(call);
    else expect((await rig.script.failure(call)).error).toMatchObject(ends);
    expect(rig.registrations).toBe(registrations);
    const numbers = new Set(rig.writes.map(({ operation }) => `${operation.clientId}.${operation.sequence}`));
    expect(numbers.size).toBe(registrations);
  });

  test("an error that becomes unknown keeps its text, its details and its cause", () => {
    const error = failing("REQUEST_TOO_LARGE", "rejected", { message: "m", details: { n: 1 } });
    expect(endOf(error, true)).toMatchObject({ outcome: "unknown", message: "m", details: { n: 1 }, cause: error });
    expect(endOf(error, false)).toBe(error);
    const other = new TypeError("a bug");
    expect(endOf(other, true)).toBe(other);
  });

  test("only what the state machine itself answers settles a call", () => {
    for (const code of ["NO_LEADER", "TOO_MANY_REQUESTS", "CLIENT_EXPIRED", "SEQUENCE_SETTLED", "EMPTY_KEY"] as const) {
      expect(settles(failing(code))).toBe(false);
    }
    expect(settles(failing("KEY_NOT_FOUND"))).toBe(true);
    // Told by whom, if it is not known whether it happened?
    expect(settles(failing("KEY_NOT_FOUND", "unknown"))).toBe(false);
    expect(nextStep(failing("INTERNAL", "unknown"), 1, 3, true)).toBe("end");
    expect(nextStep(failing("DISK_FULL", "unknown"), 1, 3, true)).toBe("again");
    expect(nextStep(failing("DISK_FULL", "unknown"), 1, 0, true)).toBe("end");
  });
});

test("what the state machine may answer to a numbered write settles its call, and nothing else does", () => {
  /** Of the machine's refusals: what no numbered write meets, or what it is told before it is looked at. */
  const others: readonly ErrorCode[] = [
    "LEADER_CHANGED",
    "MEMBER_NOT_FOUND",
    "MEMBER_EXISTS",
    "PEER_URL_EXISTS",
    "TOO_MANY_LEARNERS",
    "MEMBER_NOT_LEARNER",
    "NO_SPACE",
    "CLIENT_EXPIRED",
    "SEQUENCE_SETTLED",
    "TOO_MANY_OPEN_WRITES",
  ];
  for (const code of Object.keys(FAILURES) as ErrorCode[]) {
    const isApplied = code === "RESULT_TOO_LARGE" || code === "RESULT_NOT_KEPT";
    const expected = REFUSALS.has(code) && !others.includes(code);
    expect(`${code} ${settles(failing(code, isApplied ? "applied" : "rejected"))}`).toBe(`${code} ${expected}`);
  }
});

describe("giving up", () => {
  test("before a registration there is nothing that could have happened", async () => {
    const rig = await open(1);
    const { answer } = rig.script.member(1);
    rig.script.member(1).answer = () => new Promise(() => {});
    const aborter = new AbortController();
    const aborted = rig.script.caught(rig.client.put("a", "", { signal: aborter.signal }));
    const late = rig.script.caught(rig.client.put("b", "", { timeoutMs: 400 }));
    rig.script.world.clock.after(100, () => aborter.abort());
    expect((await rig.script.settle(aborted)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    expect(await rig.script.settle(late)).toMatchObject({
      afterMs: 400,
      error: { code: "DEADLINE_EXCEEDED", outcome: "rejected" },
    });
    expect(rig.writes).toEqual([]);
    rig.script.member(1).answer = answer;
  });

  test("a registration goes on for the others when the time of the one that asked for it is up", async () => {
    const rig = await open(1);
    const { answer } = rig.script.member(1);
    let stalled = true;
    rig.script.member(1).answer = (request, options) =>
      stalled
        ? new Promise((_, reject) =>
            rig.script.world.clock.after(Math.min(500, options.timeoutMs), () => reject(failing("TIMEOUT"))),
          )
        : answer(request, options);
    const short = rig.script.caught(rig.client.put("a", "", { timeoutMs: 200 }));
    const long = rig.client.put("b", "", { timeoutMs: 9_000 });
    // Longer than a registration may take.
    rig.script.world.clock.after(6_000, () => {
      stalled = false;
    });
    expect((await rig.script.settle(short)).error).toMatchObject({ outcome: "rejected" });
    expect((await rig.script.settle(long)).revision).toBe(5);
    expect(rig.writes.map(({ operation }) => operation.sequence)).toEqual([1]);
  });

  test("an abort while a repeated write waits for its next attempt is unknown", async () => {
    const rig = await open(1);
    rig.meets(...Array.from({ length: 50 }, () => LOST));
    const aborter = new AbortController();
    rig.script.world.clock.after(700, () => aborter.abort());
    const { error } = await rig.script.failure(rig.client.put("a", "", { signal: aborter.signal }));
    expect(error).toMatchObject({ code: "CANCELLED", outcome: "unknown" });
  });

  test("so is one whose members are all gone after it was sent", async () => {
    const rig = await open(2);
    const { answer } = rig.script.member(1);
    const dies = async (member: Member, request: Request): Promise<never> => {
      for (const each of rig.script.members) each.dies();
      expect(request.kind).toBe("put");
      throw failing("CONNECTION_LOST", "unknown", { message: `member ${member.id} died` });
    };
    for (const member of rig.script.members) {
      member.answer = (request, options) =>
        request.kind === "register" ? answer(request, options) : dies(member, request);
    }
    const { error } = await rig.script.failure(rig.client.put("a", ""));
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "unknown" });
  });
});

describe("registrations", () => {
  test("one slow call does not hold up the others: where a registration is full another one is taken", async () => {
    const rig = await open(1, { timeoutMs: 30_000 });
    await rig.script.settle(rig.client.put("first", ""));
    rig.meets("never");
    const slow = rig.client.put("slow", "").catch((error: unknown) => error);
    for (let i = 0; i < OPEN_MAX + 10; i++) await rig.script.settle(rig.client.put(`k${i}`, ""));
    expect(rig.registrations).toBe(2);
    const under = (id: number): OperationId[] =>
      rig.writes.map(({ operation }) => operation).filter(({ clientId }) => clientId === id);
    expect(under(101).length).toBe(1 + OPEN_MAX);
    expect(under(101).at(-1)).toMatchObject({ sequence: 1 + OPEN_MAX, lowestUnacknowledged: 2 });
    expect(under(102).at(-1)).toEqual({ clientId: 102, sequence: 11, lowestUnacknowledged: 11 });
    await rig.client.close();
    void slow;
  });

  test("many calls at once take as many registrations as they need", async () => {
    const rig = await open(1);
    const calls = Array.from({ length: 2 * OPEN_MAX + 1 }, (_, i) => rig.client.put(`k${i}`, ""));
    await rig.script.settle(Promise.all(calls));
    const numbers = rig.writes.map(({ operation }) => `${operation.clientId}.${operation.sequence}`);
    expect(new Set(numbers).size).toBe(2 * OPEN_MAX + 1);
    for (const { operation } of rig.writes) {
      expect(operation.sequence - operation.lowestUnacknowledged).toBeLessThan(OPEN_MAX);
    }
  });

  test("one that has expired is not used again", async () => {
    const rig = await open(1);
    rig.meets(failing("CLIENT_EXPIRED"));
    await rig.script.settle(rig.client.put("a", ""));
    await rig.script.settle(rig.client.put("b", ""));
    expect(rig.writes.map(({ operation }) => operation.clientId)).toEqual([101, 102, 102]);
  });

  test(`numbers are unique, and the lowest never passes one whose call goes on (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constant("take" as const), fc.nat(2_000)), { maxLength: 3_000 }), (moves) => {
        const registration = new Registration(5);
        const open: { readonly sequence: number; end(): void }[] = [];
        let taken = 0;
        for (const move of moves) {
          if (move === "take") {
            if (registration.isFull) {
              expect(open.length).toBeGreaterThan(0);
              continue;
            }
            const operation = registration.take();
            open.push(operation);
            const lowest = Math.min(...open.map(({ sequence }) => sequence));
            expect(operation).toMatchObject({ clientId: 5, sequence: ++taken, lowestUnacknowledged: lowest });
            expect(operation.sequence - operation.lowestUnacknowledged).toBeLessThan(OPEN_MAX);
          } else {
            open.splice(move % Math.max(1, open.length), 1)[0]?.end();
          }
        }
      }),
      { seed },
    );
  });

  test("there are not endlessly many", async () => {
    const registrations = new Registrations();
    let ids = 0;
    while (registrations.hasRoom) await registrations.more(async () => ++ids);
    for (let i = 0; i < ids * OPEN_MAX; i++) expect(registrations.take()).toBeDefined();
    expect(registrations.take()).toBeUndefined();
    expect(ids * OPEN_MAX).toBe(1 << 16);
  });
});

test("a client without exactly-once sends as to etcd: no registration, no numbers, and unknown is unknown", async () => {
  const script = await Script.open(2, { exactlyOnce: false });
  for (const member of script.members) member.rejects("CONNECTION_LOST", { outcome: "unknown" });
  const { error } = await script.failure(script.client.put("a", ""));
  expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
  const calls = script.members.flatMap((member) => member.calls);
  expect(calls.map(({ request }) => request.kind)).toEqual(["put"]);
  expect(calls[0]?.options.operation).toBeUndefined();
});
