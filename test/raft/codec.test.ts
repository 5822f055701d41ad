/** Bytes of messages: pinned, reversible, and harmless whatever they are (J7). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8, toHex } from "../../src/base/bytes.ts";
import { term } from "../../src/base/ids.ts";
import {
  decodeConfChange,
  decodeConfState,
  decodeEntries,
  decodeEntry,
  decodeMessage,
  encodeConfChange,
  encodeConfState,
  encodeEntries,
  encodeEntry,
  encodeMessage,
  messageFault,
} from "../../src/raft/codec.ts";
import type { Entry } from "../../src/raft/entry.ts";
import type { ConfChange } from "../../src/raft/membership-types.ts";
import type { DropReason, Message } from "../../src/raft/message.ts";
import { testSeed } from "../support/seed.ts";
import { append, at, beat, conf, entry, heartbeat, install, m, ok, preVote, refused, vote, voted } from "./core.ts";
import { expectGolden } from "./golden.ts";

const seed = testSeed();
const change: ConfChange = {
  steps: [
    { action: "addVoter", id: m(4) },
    { action: "remove", id: m(1) },
  ],
  transition: "joint",
  context: encodeUtf8("n4"),
};

const EXAMPLES: readonly Message[] = [
  vote(7, [300, 6], { transfer: true, commit: at(299), commitTerm: term(6) }),
  preVote(7, [300, 6]),
  voted(7, true, "voteResponse", [299, 6]),
  voted(7, false, "preVoteResponse"),
  append(7, [1, 1], [6, 7], { commit: at(1), session: 3 }),
  { ...append(2, [0, 0], []), entries: [entry(1, 1, "", "confChange")] },
  ok(7, 3, 3),
  refused(7, 3, 3, [2, 1]),
  heartbeat(7, 3, 9),
  beat(7, 9),
  install(7, [300, 6], conf([1, 2], { votersOutgoing: [1, 3], learners: [4], learnersNext: [3] }), 5),
  { kind: "timeoutNow", term: term(7), lastIndex: at(300), lastTerm: term(7) },
  {
    kind: "forwardPropose",
    proposals: [
      { ref: 1, kind: "normal", data: encodeUtf8("put") },
      { ref: 2, kind: "confChange", data: encodeConfChange(change) },
    ],
  },
  { kind: "proposeRefused", refs: [1, 2], reason: "busy" },
  { kind: "forwardRead", ref: 11 },
  { kind: "readResponse", ref: 11, index: at(300) },
  { kind: "readResponse", ref: 11, index: undefined },
];

function malformed(bytes: Uint8Array): void {
  expect(() => decodeMessage(bytes)).toThrow(RangeError);
}

describe("encodeMessage", () => {
  test("the bytes are the ones on everybody's wire", () => {
    const lines = EXAMPLES.map((message) => `${message.kind} ${toHex(encodeMessage(message))}`);
    lines.push(`entry ${toHex(encodeEntry(entry(5, 2, "data")))}`);
    lines.push(`confChange ${toHex(encodeConfChange(change))}`);
    lines.push(`confState ${toHex(encodeConfState(conf([1, 2], { votersOutgoing: [3] })))}`);
    for (const reason of ["noLeader", "transferring", "busy", "notMember", "confChangePending", "invalid"] as const) {
      lines.push(`${reason} ${toHex(encodeMessage({ kind: "proposeRefused", refs: [], reason }))}`);
    }
    expectGolden("messages", `${lines.join("\n")}\n`);
  });

  test("counters that are none are not sent", () => {
    expect(() => encodeMessage({ ...heartbeat(1), readPosition: 2 ** 53 })).toThrow(RangeError);
    expect(() => encodeMessage({ ...heartbeat(1), readPosition: -1 })).toThrow(RangeError);
  });
});

const counter = fc.oneof(fc.nat(1000), fc.maxSafeNat());
const data = fc.uint8Array({ maxLength: 40 });
const someTerm = fc.integer({ min: 1, max: 1000 });

const message: fc.Arbitrary<Message> = fc.oneof(
  fc
    .record({ term: someTerm, back: fc.nat(5), last: counter, transfer: fc.boolean(), pre: fc.boolean() })
    .map(({ term: t, back, last, transfer, pre }) =>
      vote(t, [last, Math.max(0, t - 1 - back)], {
        transfer,
        kind: pre ? "requestPreVote" : "requestVote",
        commit: at(Math.floor(last / 2)),
      }),
    ),
  fc
    .record({ t: someTerm, granted: fc.boolean(), commit: counter })
    .map(({ t, granted, commit }) => voted(t, granted, "voteResponse", [commit, t])),
  fc
    .record({
      t: someTerm,
      prev: fc.nat(1000),
      blobs: fc.array(data, { maxLength: 5 }),
      commit: counter,
      session: counter,
    })
    .map(({ t, prev, blobs, commit, session }) => ({
      ...append(t, [prev, prev === 0 ? 0 : 1], [], { commit: at(commit), session }),
      entries: blobs.map((blob, i): Entry => ({ index: at(prev + 1 + i), term: term(t), kind: "normal", data: blob })),
    })),
  fc.record({ t: someTerm, a: counter, b: counter, c: counter }).map(({ t, a, b, c }) => refused(t, a, b, [c, t])),
  fc.record({ t: someTerm, a: counter, b: counter }).map(({ t, a, b }) => heartbeat(t, a, b)),
  fc.record({ t: someTerm, a: counter }).map(({ t, a }) => beat(t, a)),
  fc
    .record({ t: someTerm, a: counter })
    .map(({ t, a }) => install(t, [a + 1 > Number.MAX_SAFE_INTEGER ? 1 : a + 1, 1], conf([1, 2], { learners: [3] }))),
  fc
    .array(fc.record({ ref: counter, kind: fc.constantFrom("normal" as const, "confChange" as const), data }))
    .map((proposals): Message => ({ kind: "forwardPropose", proposals })),
  fc
    .record({ refs: fc.array(counter), reason: fc.constantFrom<DropReason>("noLeader", "busy", "invalid") })
    .map((fields): Message => ({ kind: "proposeRefused", ...fields })),
  fc
    .record({ ref: counter, index: fc.option(counter.map(at), { nil: undefined }) })
    .map((fields): Message => ({ kind: "readResponse", ...fields })),
);

describe("decodeMessage", () => {
  test.each(EXAMPLES.map((one) => [one.kind, one] as const))("gives back %s", (_, one) => {
    expect(decodeMessage(encodeMessage(one))).toEqual(one);
  });

  test(`gives back what was encoded (seed ${seed})`, () => {
    fc.assert(
      fc.property(message, (one) => {
        expect(decodeMessage(encodeMessage(one))).toEqual(one);
      }),
      { seed, numRuns: 500 },
    );
  });

  test("entry data is a copy: a view would keep the frame alive", () => {
    const message = encodeMessage(append(1, [0, 0], [1]));
    const frame = new Uint8Array(10_000);
    frame.set(message, 5_000);
    const decoded = decodeMessage(frame.subarray(5_000, 5_000 + message.length));
    frame.fill(0xff);
    expect(decoded).toEqual(append(1, [0, 0], [1]));
    const [first] = decoded.kind === "append" ? decoded.entries : [];
    // One copy of the message, without the frame around it.
    expect(first?.data.buffer.byteLength).toBe(message.length);
  });

  test("a prefix of a message is none, and neither is a message with more behind it", () => {
    for (const one of EXAMPLES) {
      const bytes = encodeMessage(one);
      for (let length = 0; length < bytes.length; length++) malformed(bytes.subarray(0, length));
      malformed(Uint8Array.from([...bytes, 0]));
    }
  });

  test(`random bytes never do more than throw RangeError (seed ${seed})`, () => {
    // With a valid beginning, or nothing would get past the first two bytes.
    const hostile = fc
      .tuple(fc.nat(15), fc.uint8Array({ maxLength: 120 }))
      .map(([kind, rest]) => Uint8Array.from([1, kind, ...rest]));
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 60 }), hostile), (bytes) => {
        harmless(bytes);
      }),
      { seed, numRuns: 2000 },
    );
  });

  test(`flipped bits never do more than throw RangeError (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.constantFrom(...EXAMPLES), fc.nat(), fc.integer({ min: 1, max: 255 }), (one, where, flip) => {
        const bytes = encodeMessage(one);
        bytes[where % bytes.length]! ^= flip;
        harmless(bytes);
      }),
      { seed, numRuns: 2000 },
    );
  });

  /** What decodes is a message like any other: it encodes to the same bytes. */
  function harmless(bytes: Uint8Array): void {
    for (const decode of [decodeEntry, decodeEntries, decodeConfChange, decodeConfState]) {
      try {
        decode(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
      }
    }
    let decoded: Message;
    try {
      decoded = decodeMessage(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
      return;
    }
    expect(messageFault(decoded)).toBeUndefined();
    expect(encodeMessage(decoded)).toEqual(bytes);
  }

  test("a count is held against the frame before anything is allocated for it", () => {
    const empty = encodeMessage(append(1, [0, 0], []));
    new DataView(empty.buffer).setUint32(empty.length - 4, 0xffff_ffff);
    malformed(empty);
    const one = encodeMessage(append(1, [0, 0], [1]));
    new DataView(one.buffer).setUint32(one.length - 7, 0xffff_ffff);
    malformed(one);
  });

  const BAD: readonly [string, Message][] = [
    ["a term of 0", { ...heartbeat(1), term: term(0) }],
    ["a term that nobody could follow", { ...heartbeat(1), term: term(Number.MAX_SAFE_INTEGER) }],
    ["entries with a hole", { ...append(2, [3, 1], []), entries: [entry(5, 2)] }],
    ["entries of falling terms", { ...append(3, [3, 1], []), entries: [entry(4, 3), entry(5, 2)] }],
    ["an entry below prevTerm", append(3, [3, 2], [1])],
    ["an entry of a later term than the message", append(2, [3, 1], [3])],
    ["index 0 of a term", append(2, [0, 1], [2])],
    ["an index without a term", append(2, [3, 0], [2])],
    ["a candidate whose last entry is of the term to be won", vote(2, [3, 2])],
    ["a candidate that committed beyond its log", vote(2, [3, 1], { commit: at(4), commitTerm: term(1) })],
    ["a candidate whose commit is of a later term", vote(3, [3, 1], { commit: at(3), commitTerm: term(2) })],
    ["a voter whose commit is of a later term", voted(2, true, "voteResponse", [3, 3])],
    ["an empty snapshot", install(2, [0, 0])],
    ["a snapshot of a later term", install(2, [5, 3])],
    ["a snapshot whose configuration cannot be", install(2, [5, 2], conf([1], { learners: [1] }))],
    [
      "a transfer for a log of a later term",
      { kind: "timeoutNow", term: term(2), lastIndex: at(1), lastTerm: term(3) },
    ],
  ];
  test.each(BAD)("J7: refuses %s", (_, bad) => {
    malformed(encodeMessage(bad));
  });

  test("refuses what it does not know", () => {
    const bytes = encodeMessage(heartbeat(1));
    malformed(Uint8Array.from([2, ...bytes.subarray(1)]));
    malformed(Uint8Array.from([1, 14, ...bytes.subarray(2)]));
    const flag = encodeMessage({ kind: "readResponse", ref: 1, index: undefined });
    flag[flag.length - 1] = 2;
    malformed(flag);
    const nobody = encodeConfChange({
      steps: [{ action: "addVoter", id: m(1) }],
      transition: "auto",
      context: encodeUtf8(""),
    });
    nobody.fill(0, 7, 15);
    expect(() => decodeConfChange(nobody)).toThrow("not a member id: 0");
  });
});

describe("the smaller codecs", () => {
  test("entries, changes and configurations come back", () => {
    const some = [entry(3, 1, ""), entry(9, 1, "gap", "confChange")];
    expect(decodeEntries(encodeEntries(some))).toEqual(some);
    expect(decodeEntry(encodeEntry(some[1]!))).toEqual(some[1]);
    expect(decodeConfChange(encodeConfChange(change))).toEqual(change);
    const joint = conf([1, 2], { votersOutgoing: [2, 3], learners: [4], learnersNext: [3] });
    expect(decodeConfState(encodeConfState(joint))).toEqual(joint);
  });
});
