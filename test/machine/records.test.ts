import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, memberId, NO_LEASE, revision } from "../../src/base/ids.ts";
import {
  alarmKey,
  type ClientRecord,
  clientKey,
  decodeAlarm,
  decodeClient,
  decodeCompacted,
  decodeHead,
  decodeLease,
  decodeMember,
  decodeMeta,
  decodeRevision,
  encodeAlarm,
  encodeClient,
  encodeCompacted,
  encodeLease,
  encodeMember,
  encodeMeta,
  encodePut,
  encodeTombstone,
  FORM,
  leaseKey,
  type MemberRecord,
  memberKey,
  revisionKey,
} from "../../src/machine/records.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import { testSeed } from "../support/seed.ts";
import { bytes, text } from "../support/state.ts";

const seed = testSeed();
const hex = (of: string): Uint8Array => new Uint8Array(Buffer.from(of, "hex"));

const kv: KeyValue = {
  key: bytes("k"),
  createRevision: revision(2),
  modRevision: revision(5),
  version: 3,
  value: bytes("v"),
  lease: NO_LEASE,
};
const lease = { grantedTtl: 60, remainingTtl: 60 };
const client: ClientRecord = {
  id: 17,
  lastIndex: 32,
  lastSequence: 9,
  lowest: 4,
  operations: [
    { sequence: 4, index: 31, form: FORM.put, revision: 7, bytes: undefined },
    { sequence: 9, index: 32, form: FORM.result, revision: 8, bytes: hex("aabb") },
    { sequence: 5, index: 30, form: FORM.dropped, revision: 6, bytes: undefined },
  ],
};
const member = { id: memberId(0xb2n), name: "n2", peerUrls: ["p", "ö"], clientUrls: ["c"], isLearner: true };

describe("golden bytes", () => {
  test("revisions", () => {
    expect(toHex(revisionKey(0x1_0000_0005, 7))).toBe("01" + "0000000100000005" + "00000007");
    expect(toHex(encodePut(kv))).toBe("10" + "00000001" + "6b" + "0000000000000002" + "0000000000000003" + "76");
    expect(toHex(encodePut({ ...kv, lease: leaseId(-2) }))).toBe(
      "12" + "00000001" + "6b" + "0000000000000002" + "0000000000000003" + "fffffffffffffffe" + "76",
    );
    expect(toHex(encodeTombstone(bytes("k")))).toBe("11" + "00000001" + "6b");
    expect(toHex(encodeTombstone(bytes("k"), true))).toBe("15" + "00000001" + "6b");
  });
  test("leases", () => {
    expect(toHex(leaseKey(leaseId(-2)))).toBe("02" + "fffffffffffffffe");
    expect(toHex(encodeLease({ grantedTtl: 60, remainingTtl: 7 }))).toBe(
      "01" + "000000000000003c" + "0000000000000007",
    );
  });
  test("alarms", () => {
    expect(toHex(alarmKey({ member: member.id, alarm: "nospace" }))).toBe("04" + "00000000000000b2" + "01");
    expect(toHex(alarmKey({ member: member.id, alarm: "corrupt" }))).toBe("04" + "00000000000000b2" + "02");
    expect(toHex(encodeAlarm())).toBe("01");
  });
  test("clients of the request ledger", () => {
    expect(toHex(clientKey(17))).toBe("05" + "0000000000000011");
    expect(toHex(encodeClient(client))).toBe(
      "01" +
        "0000000000000020" +
        "0000000000000009" +
        "0000000000000004" +
        "00000003" +
        "0000000000000004" +
        "000000000000001f" +
        "01" +
        "0000000000000007" +
        "00000000" +
        "0000000000000009" +
        "0000000000000020" +
        "02" +
        "0000000000000008" +
        "00000002" +
        "aabb" +
        "0000000000000005" +
        "000000000000001e" +
        "04" +
        "0000000000000006" +
        "00000000",
    );
    expect(toHex(encodeClient({ ...client, operations: [] }))).toBe(
      "01" + "0000000000000020" + "0000000000000009" + "0000000000000004" + "00000000",
    );
  });
  test("machine", () => {
    expect(toHex(encodeMeta({ revision: 2 ** 40, compactRevision: -1, hashA: 0xfedcba98, hashB: 1 }))).toBe(
      "01" + "0000010000000000" + "0000000000000000" + "fedcba98" + "00000001",
    );
    expect(toHex(encodeMeta({ revision: 9, compactRevision: 2 ** 33, hashA: 0, hashB: 0 }))).toBe(
      "01" + "0000000000000009" + "0000000200000001" + "00000000" + "00000000",
    );
    expect(toHex(encodeCompacted(-1))).toBe("01" + "0000000000000000");
    expect(toHex(encodeCompacted(2 ** 33))).toBe("01" + "0000000200000001");
  });
  test("members", () => {
    expect(toHex(memberKey(member.id))).toBe("03" + "00000000000000b2");
    expect(toHex(encodeMember({ kind: "member", member }))).toBe(
      "01" + "01" + "0002" + "0001" + "000000026e32" + "0000000170" + "00000002c3b6" + "0000000163",
    );
    expect(toHex(encodeMember({ kind: "removed", id: member.id }))).toBe("01" + "02");
  });
});

describe("round trip", () => {
  const counter = fc.oneof(fc.nat(), fc.maxSafeNat());
  const value = fc.uint8Array({ maxLength: 20 });
  const anyKv = fc.record({
    key: fc.uint8Array({ minLength: 1, maxLength: 20 }),
    createRevision: counter.map(revision),
    modRevision: counter.map(revision),
    version: fc.oneof(fc.integer({ min: 1 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
    value,
    lease: fc.oneof(fc.constant(NO_LEASE), fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }).map(leaseId)),
  });

  test(`of puts (seed ${seed})`, () => {
    fc.assert(
      fc.property(anyKv, fc.nat(), (one, sub) => {
        const record = encodePut(one);
        expect(decodeRevision(one.modRevision, record)).toEqual(one);
        const key = revisionKey(one.modRevision, sub);
        const head = {
          key: text(one.key),
          main: one.modRevision,
          sub,
          create: one.createRevision,
          version: one.version,
          lease: one.lease,
        };
        expect(decodeHead(key, record)).toEqual(head);
      }),
      { seed },
    );
  });

  test("of a tombstone: key and revision alone", () => {
    const record = encodeTombstone(bytes("gone"));
    expect(decodeRevision(9, record)).toEqual({
      key: bytes("gone"),
      createRevision: 0,
      modRevision: 9,
      version: 0,
      value: new Uint8Array(),
      lease: 0n,
    });
    const head = { key: "gone", main: 9, sub: 2, create: 0, version: 0, lease: 0n };
    expect(decodeHead(revisionKey(9, 2), record)).toEqual(head);
    const expired = encodeTombstone(bytes("gone"), true);
    expect(decodeRevision(9, expired)).toEqual({ ...decodeRevision(9, record), expired: true });
    expect(decodeHead(revisionKey(9, 2), expired)).toEqual(head);
  });

  test(`of clients; and what is cut off, longer or of no known form is refused (seed ${seed})`, () => {
    const operation = fc.oneof(
      fc.record({
        sequence: counter,
        index: counter,
        form: fc.constantFrom(FORM.put, FORM.dropped),
        revision: counter,
        bytes: fc.constant(undefined),
      }),
      fc.record({
        sequence: counter,
        index: counter,
        form: fc.constantFrom(FORM.result, FORM.refused),
        revision: counter,
        bytes: value,
      }),
    );
    const any = fc.record({
      id: counter,
      lastIndex: counter,
      lastSequence: counter,
      lowest: counter,
      operations: fc.array(operation, { maxLength: 4 }),
    });
    fc.assert(
      fc.property(any, fc.nat(), (one, at) => {
        const record = encodeClient(one);
        expect(decodeClient(clientKey(one.id), record)).toEqual(one);
        const refuses = (bytes: Uint8Array, code: string): void => {
          let caught: unknown;
          try {
            decodeClient(clientKey(one.id), bytes);
          } catch (error) {
            caught = error;
          }
          expect(caught).toMatchObject({ code });
        };
        refuses(record.subarray(0, at % record.length), "STATE_CORRUPT");
        refuses(new Uint8Array([...record, 0]), "STATE_CORRUPT");
        refuses(new Uint8Array([2, ...record.subarray(1)]), "FORMAT_TOO_NEW");
        if (one.operations.length === 0) return;
        const other = record.slice();
        other[29 + 16] = 9;
        refuses(other, "STATE_CORRUPT");
      }),
      { seed },
    );
  });

  test(`of leases (seed ${seed})`, () => {
    const id = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }).map(leaseId);
    fc.assert(
      fc.property(fc.record({ id, grantedTtl: counter, remainingTtl: counter }), (one) => {
        expect(decodeLease(leaseKey(one.id), encodeLease(one))).toEqual(one);
      }),
      { seed },
    );
  });

  test.each(["nospace", "corrupt"] as const)("of alarms: %s", (alarm) => {
    const one = { member: member.id, alarm };
    expect(decodeAlarm(alarmKey(one), encodeAlarm())).toEqual(one);
  });

  test(`of keys: they sort as their revisions do (seed ${seed})`, () => {
    const place = fc.tuple(fc.oneof(fc.nat(), fc.maxSafeNat()), fc.nat());
    fc.assert(
      fc.property(place, place, ([mainA, subA], [mainB, subB]) => {
        const sign = Math.sign(Buffer.compare(revisionKey(mainA, subA), revisionKey(mainB, subB)));
        expect(sign).toBe(Math.sign(mainA - mainB || subA - subB));
      }),
      { seed },
    );
  });

  test(`of the machine's own (seed ${seed})`, () => {
    const word = fc.integer({ min: 0, max: 0xffff_ffff });
    const compactRevision = fc.integer({ min: -1, max: 2 ** 50 });
    fc.assert(
      fc.property(fc.record({ revision: counter, compactRevision, hashA: word, hashB: word }), (meta) => {
        expect(decodeMeta(encodeMeta(meta))).toEqual(meta);
        expect(decodeCompacted(encodeCompacted(meta.compactRevision))).toBe(meta.compactRevision);
      }),
      { seed },
    );
  });

  test(`of members (seed ${seed})`, () => {
    const urls = fc.array(fc.string({ unit: "grapheme" }), { maxLength: 4 });
    const id = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn }).map(memberId);
    const any: fc.Arbitrary<MemberRecord> = fc.oneof(
      fc.record({
        kind: fc.constant("member" as const),
        member: fc.record({
          id,
          name: fc.string({ unit: "grapheme" }),
          peerUrls: urls,
          clientUrls: urls,
          isLearner: fc.boolean(),
        }),
      }),
      fc.record({ kind: fc.constant("removed" as const), id }),
    );
    fc.assert(
      fc.property(any, (record) => {
        const key = memberKey(record.kind === "member" ? record.member.id : record.id);
        expect(decodeMember(key, encodeMember(record))).toEqual(record);
      }),
      { seed },
    );
  });
});

describe("what was not written so is named, never served", () => {
  const key = revisionKey(5, 0);
  const memberAt = memberKey(member.id);
  const alarmAt = alarmKey({ member: member.id, alarm: "nospace" });
  const corrupt: readonly (readonly [string, () => unknown])[] = [
    ["a lease at a short key", () => decodeLease(leaseKey(leaseId(1)).subarray(1), encodeLease(lease))],
    ["a lease that ends early", () => decodeLease(leaseKey(leaseId(1)), encodeLease(lease).subarray(0, 16))],
    ["an empty lease", () => decodeLease(leaseKey(leaseId(1)), hex(""))],
    ["an alarm at a short key", () => decodeAlarm(alarmAt.subarray(1), encodeAlarm())],
    ["an empty alarm", () => decodeAlarm(alarmAt, hex(""))],
    ["an alarm with more behind it", () => decodeAlarm(alarmAt, hex("0100"))],
    ["an alarm of no member", () => decodeAlarm(hex(`04${"00".repeat(8)}01`), encodeAlarm())],
    ["an empty revision", () => decodeRevision(5, hex(""))],
    ["a key that ends early", () => decodeRevision(5, hex("1000000002" + "6b"))],
    ["a put that ends early", () => decodeRevision(5, encodePut(kv).subarray(0, 15))],
    ["a put whose lease ends early", () => decodeRevision(5, encodePut({ ...kv, lease: leaseId(1) }).subarray(0, 25))],
    ["a tombstone with more behind it", () => decodeRevision(5, hex("11000000016b" + "00"))],
    ["a version beyond 2^53", () => decodeRevision(5, hex("10000000016b" + "0000000000000001" + "ffffffffffffffff"))],
    [
      "a create revision beyond 2^53",
      () => decodeRevision(5, hex("10000000016b" + "0020000000000000" + "0000000000000001")),
    ],
    ["a head whose place is short", () => decodeHead(key.subarray(1), encodePut(kv))],
    ["a head that ends early", () => decodeHead(key, encodePut(kv).subarray(0, 15))],
    ["a head whose lease ends early", () => decodeHead(key, encodePut({ ...kv, lease: leaseId(1) }).subarray(0, 25))],
    ["a head of a tombstone with more behind it", () => decodeHead(key, hex("11000000016b" + "00"))],
    ["a head with version 0", () => decodeHead(key, encodePut({ ...kv, version: 0 }))],
    ["a head at a revision beyond 2^53", () => decodeHead(hex("01" + "ffffffffffffffff" + "00000000"), encodePut(kv))],
    ["an empty machine record", () => decodeMeta(hex(""))],
    ["a machine record that ends early", () => decodeMeta(hex("0100"))],
    ["a machine record with more behind it", () => decodeMeta(hex("01" + "00".repeat(25)))],
    ["an empty compaction record", () => decodeCompacted(hex(""))],
    ["a compaction record that ends early", () => decodeCompacted(hex("0100"))],
    ["an empty member", () => decodeMember(memberAt, hex(""))],
    ["a member at a short key", () => decodeMember(memberAt.subarray(1), encodeMember({ kind: "member", member }))],
    ["a member 0", () => decodeMember(hex("030000000000000000"), encodeMember({ kind: "member", member }))],
    ["a member of no kind", () => decodeMember(memberAt, hex("0103"))],
    ["a member that ends early", () => decodeMember(memberAt, hex("01000001"))],
    [
      "a member whose text ends early",
      () => decodeMember(memberAt, encodeMember({ kind: "member", member }).subarray(0, 20)),
    ],
    [
      "a member with more behind it",
      () => decodeMember(memberAt, Buffer.concat([encodeMember({ kind: "member", member }), hex("00")])),
    ],
  ];
  test.each(corrupt)("%s is STATE_CORRUPT", (_name, decode) => {
    expect(decode).toThrow(expect.objectContaining({ name: "StoreError", code: "STATE_CORRUPT" }));
  });

  const newer: readonly (readonly [string, () => unknown, number])[] = [
    ["revision", () => decodeRevision(5, hex("20000000016b")), 2],
    ["revision, at opening", () => decodeHead(key, hex("30000000016b")), 3],
    [
      "revision with a flag that is not known",
      () => decodeHead(key, Buffer.concat([hex("14"), encodePut(kv).subarray(1)])),
      1,
    ],
    ["machine", () => decodeMeta(hex("02")), 2],
    ["compaction", () => decodeCompacted(hex("09")), 9],
    ["member", () => decodeMember(memberAt, hex("0500")), 5],
    ["alarm", () => decodeAlarm(alarmAt, hex("02")), 2],
    ["alarm of a kind that is not known", () => decodeAlarm(hex("0400000000000000b209"), encodeAlarm()), 9],
  ];
  test.each(newer)("a newer %s record is FORMAT_TOO_NEW", (_name, decode, format) => {
    expect(decode).toThrow(
      expect.objectContaining({ name: "StoreError", code: "FORMAT_TOO_NEW", details: { format } }),
    );
  });

  test(`whatever the bytes, a named error or an answer (seed ${seed})`, () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc
        .uint8Array({ minLength: 4, maxLength: 60 })
        .map((one) => Uint8Array.from([0x10 | (one[0]! & 3), 0, 0, 0, ...one])),
      fc.uint8Array({ maxLength: 60 }).map((one) => Uint8Array.from([1, ...one])),
    );
    const decoders = [
      (one: Uint8Array) => decodeRevision(5, one),
      (one: Uint8Array) => decodeHead(key, one),
      (one: Uint8Array) => decodeHead(one, encodePut(kv)),
      (one: Uint8Array) => decodeMeta(one),
      (one: Uint8Array) => decodeCompacted(one),
      (one: Uint8Array) => decodeMember(memberAt, one),
      (one: Uint8Array) => decodeAlarm(alarmAt, one),
      (one: Uint8Array) => decodeAlarm(one, encodeAlarm()),
    ];
    fc.assert(
      fc.property(noise, (one) => {
        for (const decode of decoders) {
          try {
            decode(one);
          } catch (error) {
            expect(StoreError.is(error, "STATE_CORRUPT") || StoreError.is(error, "FORMAT_TOO_NEW")).toBe(true);
          }
        }
      }),
      { seed, numRuns: 2_000 },
    );
  });
});
