/** etcd's hash, held to what etcd itself answers and to the definition. The model holds it to random programs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { leaseId, NO_LEASE, revision } from "../../src/base/ids.ts";
import { encodeKeyValue, recordKey } from "../../src/kv/hash-kv.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { HashKvResult } from "../../src/protocol/responses.ts";
import { testSeed } from "../support/seed.ts";
import { answer, bytes, finishRead, Member } from "../support/state.ts";
import { Model, slowCrc32c } from "./model.ts";

const seed = testSeed();

const put = (member: Member, key: string, value: string): void => {
  member.ask({ kind: "put", key: bytes(key), value: bytes(value) });
};
const hashAt = (member: Member, at = 0): number =>
  (member.ask({ kind: "hashKv", revision: at }, 3) as HashKvResult).hash;

function program(): Member {
  const member = new Member();
  put(member, "a", "1");
  put(member, "b", "2");
  put(member, "a", "3");
  member.ask({ kind: "deleteRange", key: bytes("b") });
  member.ask({
    kind: "txn",
    compare: [],
    success: [
      { kind: "put", key: bytes("c"), value: bytes("x") },
      { kind: "put", key: bytes("d"), value: bytes("") },
    ],
    failure: [],
  });
  put(member, "b", "\xc3\xbf");
  return member;
}

describe("hashKv", () => {
  test("answers what etcd answers after the same requests", () => {
    // Taken from `etcdctl endpoint hashkv --rev N` against etcd 3.4.23.
    const expected = [2587454935, 1827592406, 2069675932, 1125682900, 2613649842, 3936083111];
    const member = program();
    expect([2, 3, 4, 5, 6, 7].map((at) => hashAt(member, at))).toEqual(expected);
    expect(hashAt(member)).toBe(3936083111);
    expect(hashAt(new Member())).toBe(1084519789);
  });

  test("answers what etcd answers after compactions, one of them exactly at a delete", () => {
    const member = program();
    member.ask({ kind: "compact", revision: 5 });
    expect([hashAt(member), hashAt(member, 6)]).toEqual([1852644381, 3604948674]);
    member.ask({ kind: "compact", revision: 6 });
    expect([hashAt(member), hashAt(member, 7)]).toEqual([1852644381, 1852644381]);
  });

  test("answers what etcd answers where nothing is alive: what the compaction kept counts, its tombstone does not", () => {
    const member = new Member();
    put(member, "a", "1");
    put(member, "b", "2");
    member.ask({ kind: "deleteRange", key: bytes("a") });
    member.ask({ kind: "compact", revision: 4 });
    member.ask({ kind: "deleteRange", key: bytes("b") });
    expect(hashAt(member)).toBe(1762963974);
    member.dropAll();
    expect(hashAt(member)).toBe(1762963974);
  });

  test(`of few keys that come and go is what the definition says (seed ${seed})`, () => {
    const key = fc.constantFrom("a", "b").map(bytes);
    const step: fc.Arbitrary<Request> = fc.oneof(
      fc.record({ kind: fc.constant("put" as const), key, value: fc.constant(bytes("v")) }),
      fc.record({ kind: fc.constant("deleteRange" as const), key }),
      fc.record({ kind: fc.constant("compact" as const), revision: fc.integer({ min: 2, max: 12 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20, size: "max" }), fc.nat({ max: 5 }), (steps, drops) => {
        const member = new Member();
        const model = new Model();
        for (const one of steps) expect(answer(() => member.ask(one))).toEqual(model.run(one));
        for (let i = 0; i < drops; i++) member.machine.compactStep(1);
        for (let at = 1; at <= model.revision; at++) {
          const hash = { kind: "hashKv", revision: at } as const;
          expect(answer(() => member.ask(hash))).toEqual(model.run(hash));
        }
      }),
      { seed, numRuns: 500 },
    );
  });

  test("does not show how far the dropping got", () => {
    for (const compacted of [2, 3, 4, 5, 6, 7]) {
      const member = program();
      member.ask({ kind: "compact", revision: compacted });
      const before = hashAt(member);
      while (!member.machine.compactStep(1)) expect(hashAt(member)).toBe(before);
      expect(hashAt(member)).toBe(before);
      member.reload();
      expect(hashAt(member)).toBe(before);
    }
  });

  test("is the checksum of `key` alone while nothing is stored", () => {
    expect(hashAt(new Member())).toBe(slowCrc32c(bytes("key")));
  });

  test("one record, by hand", () => {
    const member = new Member();
    put(member, "a", "1");
    const record = [
      ...[0, 0, 0, 0, 0, 0, 0, 2, 0x5f, 0, 0, 0, 0, 0, 0, 0, 0],
      ...[0x0a, 1, 0x61, 0x10, 2, 0x18, 2, 0x20, 1, 0x2a, 1, 0x31],
    ];
    expect(hashAt(member)).toBe(slowCrc32c(Uint8Array.from([...bytes("key"), ...record])));
  });

  test("says what it hashed", () => {
    const member = program();
    expect(member.ask({ kind: "hashKv" })).toMatchObject({ revision: 7, compactRevision: -1, hashRevision: 7 });
    member.ask({ kind: "compact", revision: 4 });
    expect(member.ask({ kind: "hashKv", revision: 5 })).toMatchObject({
      revision: 7,
      compactRevision: 4,
      hashRevision: 5,
    });
  });

  test("refuses what is compacted or not there yet, but not the compact revision itself", () => {
    const member = program();
    member.ask({ kind: "compact", revision: 4 });
    expect(answer(() => member.ask({ kind: "hashKv", revision: 3 }))).toEqual({ error: "COMPACTED" });
    expect(answer(() => member.ask({ kind: "hashKv", revision: 8 }))).toEqual({ error: "FUTURE_REVISION" });
    expect(answer(() => member.ask({ kind: "hashKv", revision: 4 }))).toMatchObject({ hashRevision: 4 });
  });

  test("a hash under way is not disturbed by writes and compactions", () => {
    const member = program();
    const expected = hashAt(member);
    const read = member.machine.startHashKv(0);
    read.step(1);
    put(member, "a", "later");
    member.ask({ kind: "deleteRange", key: bytes("\0"), rangeEnd: bytes("\0") });
    member.ask({ kind: "compact", revision: member.machine.revision });
    expect(member.machine.compactStep(10_000)).toBe(false);
    expect(finishRead(read, 1)).toMatchObject({ hash: expected, hashRevision: 7, compactRevision: -1 });
    member.dropAll();
    expect(member.machine.compactionPending).toBe(false);
  });
});

describe("recordKey", () => {
  test("is main, underscore, sub, and a t behind a tombstone", () => {
    expect([...recordKey(0x1_0000_0002, 3, false)]).toEqual([0, 0, 0, 1, 0, 0, 0, 2, 0x5f, 0, 0, 0, 0, 0, 0, 0, 3]);
    expect([...recordKey(7, 0, true)]).toEqual([0, 0, 0, 0, 0, 0, 0, 7, 0x5f, 0, 0, 0, 0, 0, 0, 0, 0, 0x74]);
  });
});

describe("encodeKeyValue", () => {
  const kv = {
    key: bytes("k"),
    createRevision: revision(300),
    modRevision: revision(2 ** 40),
    version: 1,
    value: bytes(""),
    lease: NO_LEASE,
  };
  test("leaves out what is empty and writes varints", () => {
    expect([...encodeKeyValue(kv)]).toEqual([
      ...[0x0a, 1, 0x6b, 0x10, 0xac, 0x02],
      ...[0x18, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 0x20, 1],
    ]);
  });
  test("writes a lease as an int64: a negative one takes ten bytes", () => {
    const [positive, negative] = [leaseId(0x694d), leaseId(-2)].map((lease) => encodeKeyValue({ ...kv, lease }));
    const plain = encodeKeyValue(kv).length;
    expect([...positive!.subarray(plain)]).toEqual([0x30, 0xcd, 0xd2, 0x01]);
    expect([...negative!.subarray(plain)]).toEqual([0x30, 0xfe, ...Array<number>(8).fill(0xff), 0x01]);
  });
  test("of a tombstone holds the key alone", () => {
    const tombstone = { ...kv, createRevision: revision(0), version: 0 };
    expect([...encodeKeyValue(tombstone)]).toEqual([0x0a, 1, 0x6b]);
  });
});
