import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, memberId, term } from "../../src/base/ids.ts";
import type { Command, Envelope } from "../../src/machine/command.ts";
import { decodeEnvelope, encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import type { RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import { TXN_DEPTH_MAX } from "../../src/protocol/requests.ts";
import { deleteRange, put, txn } from "../support/requests.ts";
import { testSeed } from "../support/seed.ts";
import { bytes, envelopeOf } from "../support/state.ts";

const seed = testSeed();

const counter = fc.oneof(fc.nat(), fc.maxSafeNat());
const member = fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn }).map(memberId);
const lease = fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }).map(leaseId);
const name = fc.string({ unit: "grapheme", maxLength: 8 });
const urls = fc.array(name, { maxLength: 3 });

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 2, arbitrary: put },
  { weight: 2, arbitrary: deleteRange },
  { weight: 5, arbitrary: txn },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("compact" as const),
      revision: fc.maxSafeInteger(),
      physical: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("memberAdd" as const),
      id: member,
      name,
      peerUrls: urls,
      clientUrls: urls,
      isLearner: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("leaseGrant" as const), id: lease, ttl: fc.maxSafeInteger() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("leaseRevoke" as const),
      id: lease,
      term: fc.option(counter.map(term), { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("leaseCheckpoint" as const),
      term: counter.map(term),
      checkpoints: fc.array(fc.record({ id: lease, remainingTtl: fc.maxSafeInteger() }), { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("alarm" as const),
      action: fc.constantFrom("activate" as const, "deactivate" as const),
      member,
      alarm: fc.constantFrom("nospace" as const, "corrupt" as const),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: "clientRegister" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("clientExpire" as const),
      term: counter.map(term),
      clients: fc.array(fc.record({ id: counter, lastSequence: counter }), { maxLength: 3 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("memberRemove" as const), id: member }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("memberUpdate" as const), id: member, peerUrls: urls }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("memberPromote" as const), id: member }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("memberPublish" as const), id: member, name, clientUrls: urls }),
  },
);

const envelope: fc.Arbitrary<Envelope> = fc.record({
  proposer: member,
  incarnation: counter,
  ref: counter,
  clientId: fc.oneof(fc.constant(0), counter),
  sequence: fc.oneof(fc.constant(0), counter),
  lowestUnacknowledged: fc.oneof(fc.constant(0), counter),
  command,
});

/** What decoding gives for it: options that were left out have their defaults. */
function filled(op: Command | RequestOp): unknown {
  switch (op.kind) {
    case "put":
      return {
        ...op,
        lease: op.lease,
        prevKv: !!op.prevKv,
        ignoreValue: !!op.ignoreValue,
        ignoreLease: !!op.ignoreLease,
      };
    case "deleteRange":
      return { ...op, rangeEnd: op.rangeEnd, prevKv: !!op.prevKv };
    case "range":
      return {
        ...op,
        sortOrder: op.sortOrder ?? "none",
        sortTarget: op.sortTarget ?? "key",
        serializable: !!op.serializable,
        keysOnly: !!op.keysOnly,
        countOnly: !!op.countOnly,
      };
    case "txn":
      return { ...op, success: op.success.map(filled), failure: op.failure.map(filled) };
    default:
      return op;
  }
}

/** Named, or the codec's own: nothing else may come out of bytes from outside. */
function decodeOr(data: Uint8Array): Envelope | "refused" {
  try {
    return decodeEnvelope(data);
  } catch (error) {
    if (error instanceof RangeError || StoreError.is(error, "FORMAT_TOO_NEW")) return "refused";
    throw error;
  }
}

describe("golden bytes", () => {
  const head = "00000000000000a1" + "0000000000000001" + "0000000000000007";
  const cases: readonly (readonly [string, Command, string])[] = [
    ["put", { kind: "put", key: bytes("k"), value: bytes("v") }, `010100${head}00000000016b0000000176`],
    [
      "put with everything",
      {
        kind: "put",
        key: bytes("k"),
        value: bytes(""),
        lease: leaseId(-2),
        prevKv: true,
        ignoreValue: true,
        ignoreLease: true,
      },
      `010100${head}0ffffffffffffffffe000000016b00000000`,
    ],
    ["leaseGrant", { kind: "leaseGrant", id: leaseId(-2), ttl: 60 }, `010b00${head}fffffffffffffffe000000000000003c`],
    ["leaseRevoke", { kind: "leaseRevoke", id: leaseId(5) }, `010c00${head}000000000000000005`],
    [
      "leaseRevoke of an expiry",
      { kind: "leaseRevoke", id: leaseId(5), term: term(9) },
      `010c00${head}0100000000000000050000000000000009`,
    ],
    [
      "leaseCheckpoint",
      { kind: "leaseCheckpoint", term: term(9), checkpoints: [{ id: leaseId(5), remainingTtl: 7 }] },
      `010d00${head}00000000000000090000000100000000000000050000000000000007`,
    ],
    ["clientRegister", { kind: "clientRegister" }, `010e00${head}`],
    [
      "clientExpire",
      { kind: "clientExpire", term: term(9), clients: [{ id: 17, lastSequence: 5 }] },
      `010f00${head}00000000000000090000000100000000000000110000000000000005`,
    ],
    [
      "alarm",
      { kind: "alarm", action: "deactivate", member: memberId(0xb2n), alarm: "corrupt" },
      `011400${head}010100000000000000b2`,
    ],
    [
      "deleteRange",
      { kind: "deleteRange", key: bytes("a"), rangeEnd: bytes("\0"), prevKv: true },
      `010200${head}0300000001610000000100`,
    ],
    [
      "txn",
      {
        kind: "txn",
        compare: [
          { key: bytes("a"), result: "greater", target: "mod", modRevision: -1 },
          { key: bytes("b"), rangeEnd: bytes("c"), result: "notEqual", target: "value", value: bytes("x") },
          { key: bytes("c"), result: "less", target: "lease", lease: leaseId(5) },
        ],
        success: [
          { kind: "put", key: bytes("k"), value: bytes("v") },
          { kind: "txn", compare: [], success: [], failure: [] },
        ],
        failure: [
          {
            kind: "range",
            key: bytes("k"),
            rangeEnd: bytes("l"),
            limit: 5,
            minCreateRevision: 2,
            sortOrder: "descend",
            sortTarget: "value",
            keysOnly: true,
          },
          { kind: "deleteRange", key: bytes("k") },
        ],
      },
      [
        `010300${head}000000030000000200000002`,
        "0001020000000161ffffffffffffffff",
        "0103030000000162000000016300000001" + "78",
        "00020400000001630000000000000005",
        "0100000000016b0000000176" + "03000000000000000000000000",
        "04011a0204000000016b000000016c00000000000000050000000000000002",
        "0200000000016b",
      ].join(""),
    ],
    ["compact", { kind: "compact", revision: 0x1_0000_0001, physical: true }, `010500${head}010000000100000001`],
    [
      "memberAdd",
      { kind: "memberAdd", id: memberId(0xb2n), name: "n2", peerUrls: ["p", "ö"], clientUrls: [], isLearner: true },
      `010600${head}0100000000000000b200000001000000026e320000000200000001700000000` + "2c3b600000000",
    ],
    ["memberRemove", { kind: "memberRemove", id: memberId(0xb2n) }, `010700${head}00000000000000b2`],
    [
      "memberUpdate",
      { kind: "memberUpdate", id: memberId(0xb2n), peerUrls: ["p"] },
      `010800${head}00000000000000b2000000010000000170`,
    ],
    ["memberPromote", { kind: "memberPromote", id: memberId(0xb2n) }, `010900${head}00000000000000b2`],
    [
      "memberPublish",
      { kind: "memberPublish", id: memberId(0xb2n), name: "n2", clientUrls: ["c"] },
      `010a00${head}00000000000000b200000001000000026e32000000010000000163`,
    ],
  ];
  test.each(cases)("%s", (_name, one, hex) => {
    expect(toHex(encodeEnvelope(envelopeOf(one, 7)))).toBe(hex);
    const decoded = decodeEnvelope(encodeEnvelope(envelopeOf(one, 7)));
    expect(decoded).toEqual({ ...envelopeOf(one, 7), command: filled(one) });
  });

  test("client and sequence have their places", () => {
    const full: Envelope = {
      ...envelopeOf({ kind: "compact", revision: 3 }, 7),
      clientId: 0x11,
      sequence: 0x12,
      lowestUnacknowledged: 0x13,
    };
    expect(toHex(encodeEnvelope(full))).toBe(
      `010501${head}0000000000000011${"0000000000000012"}0000000000000013000000000000000003`,
    );
  });
});

describe("round trip", () => {
  test(`decode after encode is identity, but for defaults (seed ${seed})`, () => {
    fc.assert(
      fc.property(envelope, (one) => {
        const data = encodeEnvelope(one);
        const decoded = decodeEnvelope(data);
        expect(decoded).toEqual({ ...one, command: filled(one.command) });
        expect(encodeEnvelope(decoded)).toEqual(data);
      }),
      { seed, numRuns: 500 },
    );
  });

  test("keys and values are views of the entry's bytes", () => {
    const data = encodeEnvelope(envelopeOf({ kind: "put", key: bytes("key"), value: bytes("value") }));
    const { command: decoded } = decodeEnvelope(data);
    expect(decoded).toMatchObject({ kind: "put" });
    if (decoded.kind === "put") expect([decoded.key.buffer, decoded.value.buffer]).toEqual([data.buffer, data.buffer]);
  });

  test("transactions nest as deep as a request may", () => {
    const nested = (depth: number): TxnRequest => ({
      kind: "txn",
      compare: [],
      success: depth === 1 ? [] : [nested(depth - 1)],
      failure: [],
    });
    const deepest = envelopeOf(nested(TXN_DEPTH_MAX));
    expect(decodeEnvelope(encodeEnvelope(deepest))).toEqual(deepest);
    expect(() => encodeEnvelope(envelopeOf(nested(TXN_DEPTH_MAX + 1)))).toThrow(RangeError);
  });
});

describe("bytes from outside", () => {
  test(`no beginning of an envelope is one, and nothing may follow it (seed ${seed})`, () => {
    fc.assert(
      fc.property(envelope, fc.uint8Array({ minLength: 1, maxLength: 9 }), (one, more) => {
        const data = encodeEnvelope(one);
        for (let length = 0; length < data.length; length++) expect(decodeOr(data.subarray(0, length))).toBe("refused");
        expect(decodeOr(Buffer.concat([data, more]))).toBe("refused");
      }),
      { seed, numRuns: 30 },
    );
  });

  test(`changed bytes are refused or mean something else, which goes round again (seed ${seed})`, () => {
    let meant = 0;
    fc.assert(
      fc.property(
        envelope,
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
        (one, changes) => {
          const data = encodeEnvelope(one);
          for (const [at, byte] of changes) data[at % data.length] = byte;
          const decoded = decodeOr(data);
          if (decoded === "refused") return;
          meant += 1;
          expect(decodeEnvelope(encodeEnvelope(decoded))).toEqual(decoded);
        },
      ),
      { seed, numRuns: 1_500 },
    );
    expect(meant).toBeGreaterThan(100);
  });

  test(`noise is refused (seed ${seed})`, () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 10 }),
        (noise, plausible, kind) => {
          if (plausible && noise.length > 3) noise.set([1, kind, 0]);
          decodeOr(noise);
        },
      ),
      { seed, numRuns: 1_500 },
    );
  });

  test("a count beyond the bytes allocates nothing", () => {
    const data = encodeEnvelope(envelopeOf({ kind: "txn", compare: [], success: [], failure: [] }));
    data.fill(0xff, data.length - 12);
    expect(() => decodeEnvelope(data)).toThrow(RangeError);
  });

  test("nesting beyond the limit is refused before the stack ends", () => {
    const head = encodeEnvelope(envelopeOf({ kind: "txn", compare: [], success: [], failure: [] })).subarray(0, 27);
    const floor = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 3];
    const deep = Uint8Array.from([...head, ...Array.from({ length: 50_000 }, () => floor).flat()]);
    expect(() => decodeEnvelope(deep)).toThrow(RangeError);
  });

  test.each([
    ["version", 0],
    ["command", 1],
  ])("a newer %s says so", (_name, at) => {
    const data = encodeEnvelope(envelopeOf({ kind: "compact", revision: 1 }));
    data[at] = 99;
    expect(() => decodeEnvelope(data)).toThrow(
      expect.objectContaining({ code: "FORMAT_TOO_NEW", details: { format: 99 } }),
    );
  });

  test("so does a newer operation of a transaction", () => {
    const inner: RequestOp = { kind: "deleteRange", key: bytes("k") };
    const data = encodeEnvelope(envelopeOf({ kind: "txn", compare: [], success: [inner], failure: [] }));
    data[27 + 12] = 77;
    expect(() => decodeEnvelope(data)).toThrow(
      expect.objectContaining({ code: "FORMAT_TOO_NEW", details: { format: 77 } }),
    );
  });
});

describe("encodeEnvelope", () => {
  test("refuses numbers that the format cannot hold", () => {
    const wrong =
      (more: Partial<Envelope>): (() => void) =>
      () =>
        encodeEnvelope({ ...envelopeOf({ kind: "compact", revision: 1 }), ...more });
    expect(wrong({ ref: -1 })).toThrow(RangeError);
    expect(wrong({ incarnation: 0.5 })).toThrow(RangeError);
    expect(wrong({ clientId: 2 ** 53 })).toThrow(RangeError);
    expect(wrong({ command: { kind: "compact", revision: Number.NaN } })).toThrow(RangeError);
  });
});
