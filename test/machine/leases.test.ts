/** Leases as entries of the log: what they hold, what goes with them, and what an entry of another term may not do. */
import { describe, expect, test } from "vitest";
import { type LeaseId, leaseId, logIndex, term } from "../../src/base/ids.ts";
import type { Command } from "../../src/machine/command.ts";
import { encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import { leaseKey } from "../../src/machine/records.ts";
import type { PutRequest, RequestOp } from "../../src/protocol/requests.ts";
import { bytes, envelopeOf, Member, text } from "../support/state.ts";

const ONE = leaseId(7);
const OTHER = leaseId(-8);

const put = (key: string, lease?: LeaseId, more: Partial<PutRequest> = {}): PutRequest => ({
  kind: "put",
  key: bytes(key),
  value: bytes(""),
  lease,
  ...more,
});
const grant = (id: LeaseId, ttl = 60): Command => ({ kind: "leaseGrant", id, ttl });
const revoke = (id: LeaseId, at?: number): Command => ({
  kind: "leaseRevoke",
  id,
  term: at === undefined ? undefined : term(at),
});
const txn = (...success: RequestOp[]): Command => ({ kind: "txn", compare: [], success, failure: [] });

function told(member: Member, command: Command, slice = 1_000): object {
  const { outcome } = member.apply(command, slice);
  return outcome.ok ? outcome.result : { error: outcome.error.code, details: outcome.error.details };
}

const keysOf = (member: Member, id: LeaseId): string[] => member.machine.lessor.keys(id);
const live = (member: Member): string[] => {
  const result = member.ask({ kind: "range", key: bytes("\0"), rangeEnd: bytes("\0") });
  return result.kind === "range" ? result.kvs.map(({ key }) => text(key)) : [];
};

/** As `told`, and the same again after a restart from what was recorded before. */
function everywhere(member: Member, check: () => void): void {
  check();
  member.reload();
  check();
}

describe("grant", () => {
  test("answers id and TTL, and moves no revision", () => {
    const member = new Member();
    expect(told(member, grant(ONE))).toEqual({ kind: "leaseGrant", revision: 1, id: ONE, ttl: 60 });
    expect(member.machine.revision).toBe(1);
    everywhere(member, () => expect(member.machine.lessor.list()).toEqual([ONE]));
  });

  test.each([
    ["an id that is taken", grant(ONE), { error: "LEASE_EXISTS", details: { leaseId: ONE } }],
    ["a TTL too large", grant(OTHER, 9_000_000_001), { error: "LEASE_TTL_TOO_LARGE", details: {} }],
    ["no id", grant(leaseId(0)), { error: "LEASE_NOT_FOUND", details: { leaseId: 0n } }],
  ])("refuses %s and changes nothing", (_name, command, refusal) => {
    const member = new Member();
    told(member, grant(ONE));
    const before = new Map(member.state.records);
    expect(told(member, command)).toEqual(refusal);
    expect(member.machine.lessor.list()).toEqual([ONE]);
    expect(member.state.records.get(nameOf(ONE))).toEqual(before.get(nameOf(ONE)));
    expect(member.state.records.size).toBe(before.size);
  });
});

const nameOf = (id: LeaseId): string => Buffer.from(leaseKey(id)).toString("latin1");

describe("attachment follows the newest put", () => {
  const steps: readonly (readonly [string, Command, readonly string[], readonly string[]])[] = [
    ["a put takes hold", put("a", ONE), ["a"], []],
    ["another key too", put("b", ONE), ["a", "b"], []],
    ["the same again changes nothing", put("a", ONE), ["a", "b"], []],
    ["another lease takes over", put("a", OTHER), ["b"], ["a"]],
    ["ignoreLease keeps it", put("a", undefined, { ignoreLease: true }), ["b"], ["a"]],
    ["no lease lets go", put("b"), [], ["a"]],
    ["in a txn as well", txn(put("c", ONE), put("a", ONE)), ["a", "c"], []],
    ["a delete lets go", { kind: "deleteRange", key: bytes("a") }, ["c"], []],
    ["of a range too", { kind: "deleteRange", key: bytes("\0"), rangeEnd: bytes("\0") }, [], []],
  ];
  test("step by step, and after a restart at each", () => {
    const member = new Member();
    told(member, grant(ONE));
    told(member, grant(OTHER));
    for (const [name, command, one, other] of steps) {
      expect(told(member, command), name).not.toHaveProperty("error");
      everywhere(member, () => expect([keysOf(member, ONE), keysOf(member, OTHER)], name).toEqual([one, other]));
    }
  });

  test("an unknown lease fails the put, and the whole txn", () => {
    const member = new Member();
    told(member, grant(ONE));
    const { revision } = member.machine;
    expect(told(member, put("a", OTHER))).toMatchObject({ error: "LEASE_NOT_FOUND" });
    expect(told(member, txn(put("a", ONE), put("b", OTHER)))).toMatchObject({ error: "LEASE_NOT_FOUND" });
    expect([member.machine.revision, live(member), keysOf(member, ONE)]).toEqual([revision, [], []]);
  });
});

describe("revoke", () => {
  const full = (): Member => {
    const member = new Member();
    told(member, grant(ONE));
    for (const key of ["b", "a\xff", "\xff", "a", "a\0"]) told(member, put(key, ONE));
    told(member, put("stays"));
    return member;
  };

  test.each([1, 2, 1_000])("deletes its keys in one revision, in the order of their bytes (slices of %i)", (slice) => {
    const member = full();
    const { revision } = member.machine;
    expect(told(member, revoke(ONE), slice)).toEqual({ kind: "leaseRevoke", revision: revision + 1 });
    const changes = [...member.machine.history.changesAt(revision + 1)!];
    expect(changes.map((kv) => [text(kv.key), kv.version, kv.expired])).toEqual(
      ["a", "a\0", "a\xff", "b", "\xff"].map((key) => [key, 0, undefined]),
    );
    everywhere(member, () => expect([live(member), member.machine.lessor.list()]).toEqual([["stays"], []]));
    expect(member.state.records.has(nameOf(ONE))).toBe(false);
  });

  test("without keys moves no revision, of an unknown one is refused", () => {
    const member = new Member();
    told(member, grant(ONE));
    expect(told(member, revoke(ONE))).toEqual({ kind: "leaseRevoke", revision: 1 });
    expect(told(member, revoke(ONE))).toEqual({ error: "LEASE_NOT_FOUND", details: { leaseId: ONE } });
  });

  test("an expiry's is marked, in the history and in what is stored", () => {
    const member = full();
    const at = member.machine.revision + 1;
    expect(told(member, revoke(ONE, 1))).toMatchObject({ revision: at });
    const changes = [...member.machine.history.changesAt(at)!];
    expect(changes.map(({ expired, lease }) => [expired, lease])).toEqual(Array(5).fill([true, 0n]));
    told(member, { kind: "deleteRange", key: bytes("stays") });
    expect([...member.machine.history.changesAt(at + 1)!]).toEqual([expect.not.objectContaining({ expired: true })]);
  });

  test("an expiry's in an entry of another term changes nothing (B49)", () => {
    const member = full();
    const { revision } = member.machine;
    const index = logIndex(member.machine.applied.index + 1);
    const data = encodeEnvelope(envelopeOf(revoke(ONE, 2), 1));
    member.machine.begin({ index, term: term(3), data, wanted: () => true });
    const applied = member.machine.step(1_000);
    expect(applied?.outcome).toMatchObject({ ok: false, error: { code: "LEADER_CHANGED", outcome: "rejected" } });
    expect([member.machine.revision, keysOf(member, ONE).length]).toEqual([revision, 5]);
  });

  test("a new lease under the same id knows nothing of the old one's keys", () => {
    const member = full();
    told(member, revoke(ONE));
    told(member, grant(ONE, 5));
    everywhere(member, () => expect(keysOf(member, ONE)).toEqual([]));
    told(member, put("new", ONE));
    told(member, revoke(ONE));
    expect(live(member)).toEqual(["stays"]);
  });
});

describe("checkpoint", () => {
  const checkpoint = (at: number, remainingTtl: number, ...ids: LeaseId[]): Command => ({
    kind: "leaseCheckpoint",
    term: term(at),
    checkpoints: ids.map((id) => ({ id, remainingTtl })),
  });

  test("survives a restart, passes over what has ended, and is cleared by the TTL", () => {
    const member = new Member();
    told(member, grant(ONE));
    const remaining = (): number => member.machine.lessor.lookup(ONE)!.remainingTtl;
    expect(told(member, checkpoint(1, 20, OTHER, ONE))).toEqual({ kind: "leaseList", leases: [ONE] });
    everywhere(member, () => expect(remaining()).toBe(20));
    told(member, checkpoint(1, 60, ONE));
    everywhere(member, () => expect(remaining()).toBe(60));
  });

  test("of another term changes nothing", () => {
    const member = new Member();
    told(member, grant(ONE));
    expect(told(member, checkpoint(2, 20, ONE))).toMatchObject({ error: "LEADER_CHANGED" });
    expect(member.machine.lessor.lookup(ONE)!.remainingTtl).toBe(60);
  });
});

test("the state hash tells leases, what they have left, and their ends apart", () => {
  const hashOf = (...commands: Command[]): string => {
    const member = new Member();
    for (const command of commands) told(member, command);
    return member.machine.stateHash;
  };
  const left = (remainingTtl: number): Command => ({
    kind: "leaseCheckpoint",
    term: term(1),
    checkpoints: [{ id: ONE, remainingTtl }],
  });
  const hashes = [
    hashOf(grant(ONE), put("a")),
    hashOf(grant(OTHER), put("a")),
    hashOf(grant(ONE, 61), put("a")),
    hashOf(grant(ONE), left(60)),
    hashOf(grant(ONE), left(59)),
    hashOf(grant(ONE), put("a", ONE)),
    hashOf(grant(ONE), revoke(ONE)),
    hashOf(grant(ONE), revoke(ONE, 1)),
    hashOf(grant(ONE), put("a", ONE), revoke(ONE)),
    hashOf(grant(ONE), put("a", ONE), revoke(ONE, 1)),
  ];
  // A revoke of nothing is the same whoever found it due: the mark is on keys.
  expect(hashes[6]).toBe(hashes[7]);
  expect(new Set(hashes).size).toBe(hashes.length - 1);
});

test("a key that names a lease which is not there is STATE_CORRUPT", () => {
  const member = new Member();
  told(member, grant(ONE));
  told(member, put("a", ONE));
  member.state.records.delete(nameOf(ONE));
  expect(() => member.reload()).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
});
