import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromByteString, toHex } from "../../src/base/bytes.ts";
import { clusterId, logIndex, memberId, term } from "../../src/base/ids.ts";
import type { Entry } from "../../src/raft/entry.ts";
import {
  decodeRecord,
  encodeRecord,
  RECORD_VERSION,
  readRecordKey,
  recordKey,
  type WalRecord,
} from "../../src/storage/record.ts";
import { testSeed } from "../support/seed.ts";
import { at, checksum, conf, entry, hard, identity } from "../support/storage.ts";

const seed = testSeed();
const KEY = recordKey(0x0102_0304_0506);

const plain: WalRecord = {
  identity,
  generation: 1,
  released: at(0, 0),
  oldest: 1,
  hardState: hard(0, 0),
  cutFrom: undefined,
  install: undefined,
  noted: [],
  entries: [],
};
const full: WalRecord = {
  identity: { memberId: memberId(0xfedc_ba98_7654_3210n), clusterId: clusterId(2n), incarnation: 3 },
  generation: 4,
  released: at(5, 6),
  oldest: 7,
  hardState: hard(8, 9, 0xffff_ffff_ffff_ffffn),
  cutFrom: logIndex(10),
  install: { ...at(11, 12), conf: { ...conf, votersOutgoing: [memberId(7n)], autoLeave: true } },
  noted: [memberId(13n), memberId(14n)],
  entries: [entry(15, 16, "ab"), { ...entry(16, 16, ""), kind: "confChange" }],
};

const counter = fc.oneof(fc.nat(5), fc.maxSafeNat());
const id = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn }).map((n) => memberId(n));
const position = fc.record({ index: counter.map((n) => logIndex(n)), term: counter.map((n) => term(n)) });
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const list = fc.array(id, { maxLength: 4 });
const record: fc.Arbitrary<WalRecord> = fc
  .record({
    identity: fc.record({ memberId: id, clusterId: id.map((n) => clusterId(n)), incarnation: counter }),
    generation: counter,
    released: position,
    oldest: counter,
    hardState: fc.record({
      term: counter.map((n) => term(n)),
      votedFor: maybe(id),
      commit: counter.map((n) => logIndex(n)),
    }),
    cutFrom: maybe(counter.map((n) => logIndex(n))),
    install: maybe(
      fc
        .tuple(
          position,
          fc.record({
            voters: list,
            votersOutgoing: list,
            learners: list,
            learnersNext: list,
            autoLeave: fc.boolean(),
          }),
        )
        .map(([where, inForce]) => ({ ...where, conf: inForce })),
    ),
    noted: list,
    first: fc.nat(1_000_000),
    entries: fc.array(
      fc.record({
        term: counter.map((n) => term(n)),
        kind: fc.constantFrom("normal" as const, "confChange" as const),
        data: fc.uint8Array({ maxLength: 30 }),
      }),
      { maxLength: 4 },
    ),
  })
  .map(({ first, entries, ...rest }) => ({
    ...rest,
    entries: entries.map((one, i): Entry => ({ index: logIndex(first + i), ...one })),
  }));

describe("a WAL record", () => {
  test("golden bytes: a plain one", () => {
    const { bytes } = encodeRecord(KEY, plain, 0xaabbccdd, checksum);
    expect(toHex(bytes)).toBe(
      [
        "315de164", // checksum
        "01000000aabbccdd", // version, flags, reserved, the checksum before
        "00000000000000a1", // member
        "00000000000000c1", // cluster
        "0000000000000000", // incarnation
        "0000000000000001", // generation
        "00000000000000000000000000000000", // released: index, term
        "0000000000000001", // oldest
        "000000000000000000000000000000000000000000000000", // term, vote, commit
        "0000000000000000", // reserved
        "00000000", // entries
      ].join(""),
    );
  });

  test("golden bytes: everything at once", () => {
    const { bytes } = encodeRecord(KEY, full, 1, checksum);
    expect(toHex(bytes)).toBe(
      [
        "35470483",
        "010f000000000001",
        "fedcba9876543210",
        "0000000000000002",
        "0000000000000003",
        "0000000000000004",
        "00000000000000050000000000000006",
        "0000000000000007",
        "0000000000000008ffffffffffffffff0000000000000009",
        "0000000000000000",
        "000000000000000a", // cut from
        "000000000000000b000000000000000c00000029", // snapshot: index, term, length of the configuration
        "01", // leaves the joint configuration by itself
        "000200000000000000a100000000000000a2",
        "00010000000000000007",
        "000100000000000000a3",
        "0000",
        "00000002000000000000000d000000000000000e", // noted
        "00000002000000000000000f", // entries: count, first index
        "00000000000000100000000002" + "6162", // term, kind, length, data
        "00000000000000100100000000",
      ].join(""),
    );
  });

  test("the checksum starts from the one before and covers the key", () => {
    const { bytes, crc } = encodeRecord(KEY, full, 99, checksum);
    expect(decodeRecord(KEY, bytes, checksum)).toEqual({ kind: "record", record: full, crc, previousCrc: 99 });
    expect(crc).toBe(checksum(bytes.subarray(4), checksum(KEY, 99)));
    expect(decodeRecord(recordKey(1), bytes, checksum)).toMatchObject({ kind: "damaged" });
    expect(encodeRecord(KEY, full, 98, checksum).crc).not.toBe(crc);
  });

  test("each flipped bit is damage", () => {
    const { bytes } = encodeRecord(KEY, full, 1, checksum);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const wrong = bytes.slice();
      wrong[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeRecord(KEY, wrong, checksum).kind, `bit ${bit}`).toBe("damaged");
    }
  });

  test("each shorter or longer one is damage", () => {
    const { bytes } = encodeRecord(KEY, full, 1, checksum);
    for (let length = 0; length < bytes.length; length++) {
      expect(decodeRecord(KEY, bytes.subarray(0, length), checksum).kind).toBe("damaged");
    }
    expect(decodeRecord(KEY, Uint8Array.from([...bytes, 0]), checksum).kind).toBe("damaged");
  });

  /** With a checksum that fits: damage, or a writer's mistake, that only the shape gives away. */
  function sealed(bytes: Uint8Array, change: (bytes: Uint8Array) => void): Uint8Array {
    const wrong = bytes.slice();
    change(wrong);
    const view = new DataView(wrong.buffer);
    view.setUint32(0, checksum(wrong.subarray(4), checksum(KEY, view.getUint32(8))));
    return wrong;
  }

  test("a newer version is told apart from damage", () => {
    const { bytes } = encodeRecord(KEY, full, 1, checksum);
    const newer = sealed(bytes, (wrong) => {
      wrong[4] = RECORD_VERSION + 1;
    });
    expect(decodeRecord(KEY, newer, checksum)).toEqual({ kind: "newer", version: RECORD_VERSION + 1 });
  });

  test.each<[string, (bytes: Uint8Array) => void]>([
    ["version 0", (bytes) => void (bytes[4] = 0)],
    ["an unknown flag", (bytes) => void (bytes[5] = 0x10)],
    ["a reserved byte", (bytes) => void (bytes[6] = 1)],
    ["no member", (bytes) => bytes.fill(0, 12, 20)],
    ["a term that is no counter", (bytes) => bytes.fill(0xff, 68, 76)],
    ["an entry of an unknown kind", (bytes) => void (bytes[bytes.length - 5] = 9)],
    ["an entry longer than the record", (bytes) => void (bytes[bytes.length - 1] = 200)],
    ["more entries than there is room for", (bytes) => bytes.fill(0xff, bytes.length - 40, bytes.length - 36)],
  ])("%s is damage though the checksum fits", (_what, change) => {
    const { bytes } = encodeRecord(KEY, full, 1, checksum);
    expect(decodeRecord(KEY, sealed(bytes, change), checksum).kind).toBe("damaged");
  });

  test(`decode after encode is identity (seed ${seed})`, () => {
    fc.assert(
      fc.property(record, fc.nat(), counter, (one, previous, number) => {
        const { bytes, crc } = encodeRecord(recordKey(number), one, previous, checksum);
        expect(decodeRecord(recordKey(number), bytes, checksum)).toEqual({
          kind: "record",
          record: one,
          crc,
          previousCrc: previous,
        });
      }),
      { seed },
    );
  });

  test(`random bytes never crash it, with or without a checksum that fits (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 220 }), fc.boolean(), (bytes, fits) => {
        if (fits && bytes.length >= 12) bytes[4] = RECORD_VERSION;
        const given = fits && bytes.length >= 12 ? sealed(bytes, () => {}) : bytes;
        expect(["damaged", "newer", "record"]).toContain(decodeRecord(KEY, given, checksum).kind);
      }),
      { seed, numRuns: 2_000 },
    );
  });

  test("keys sort as their numbers do, and nothing else is a key", () => {
    const numbers = [0, 1, 255, 256, 0xffff_ffff, 2 ** 32, Number.MAX_SAFE_INTEGER];
    const keys = numbers.map((number) => toHex(recordKey(number)));
    expect([...keys].sort()).toEqual(keys);
    for (const number of numbers) expect(readRecordKey(recordKey(number))).toBe(number);
    expect(readRecordKey(new Uint8Array(7))).toBeUndefined();
    expect(readRecordKey(fromByteString("\xff".repeat(8)))).toBeUndefined();
  });
});
