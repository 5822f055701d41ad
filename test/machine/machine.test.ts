/**
 * The replicated machine: the same log gives the same results and the same state hash, however it is sliced, restarted,
 * compacted or shipped.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { InvariantError } from "../../src/base/assert.ts";
import { leaseId, logIndex, memberId, term } from "../../src/base/ids.ts";
import { prng, type RandomSource, randomInt } from "../../src/base/prng.ts";
import type { ApplyResult } from "../../src/machine/apply.ts";
import type { Command } from "../../src/machine/command.ts";
import { encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import { type Applied, seedMembers } from "../../src/machine/machine.ts";
import { encodeMeta, META_KEY, revisionKey } from "../../src/machine/records.ts";
import type { DeleteRangeRequest, PutRequest, RangeRequest, Request, TxnRequest } from "../../src/protocol/requests.ts";
import { program } from "../support/requests.ts";
import { testSeed } from "../support/seed.ts";
import {
  answer,
  bytes,
  envelopeOf,
  finishRead,
  Member,
  MemoryState,
  openMachine,
  show,
  text,
} from "../support/state.ts";

const seed = testSeed();

const put = (key: string, value = ""): PutRequest => ({ kind: "put", key: bytes(key), value: bytes(value) });
const del = (key: string, end?: string): DeleteRangeRequest => ({
  kind: "deleteRange",
  key: bytes(key),
  ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
});
const everything = (revision = 0): RangeRequest => ({
  kind: "range",
  key: bytes("\0"),
  rangeEnd: bytes("\0"),
  revision,
});

const shown = ({ outcome }: Applied): object => (outcome.ok ? show(outcome.result) : { error: outcome.error.code });

/** Key-values that an answer holds. */
function kvsIn(result: ApplyResult): number {
  switch (result.kind) {
    case "put":
      return result.prevKv === undefined ? 0 : 1;
    case "range":
      return result.kvs.length;
    case "deleteRange":
      return result.prevKvs.length;
    case "txn":
      return result.results.reduce((sum, one) => sum + kvsIn(one), 0);
    default:
      return 0;
  }
}

function writes(request: Request): request is Extract<Request, { kind: "put" | "deleteRange" | "txn" | "compact" }> {
  return ["put", "deleteRange", "txn", "compact"].includes(request.kind);
}

/** Of the leases that the programs' puts name, -1 and 1, and one that none does. Entries have term 1. */
const lease = fc.constantFrom(leaseId(-1), leaseId(1), leaseId(2));
const leaseCommand: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("leaseGrant" as const), id: lease, ttl: fc.nat(9) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("leaseRevoke" as const),
      id: lease,
      term: fc.constantFrom(undefined, term(1), term(2)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("leaseCheckpoint" as const),
      term: fc.constantFrom(term(1), term(2)),
      checkpoints: fc.array(fc.record({ id: lease, remainingTtl: fc.nat(9) }), { maxLength: 2 }),
    }),
  },
);

const alarmCommand: fc.Arbitrary<Command> = fc.record({
  kind: fc.constant("alarm" as const),
  action: fc.constantFrom("activate" as const, "deactivate" as const, "deactivate" as const),
  member: fc.constantFrom(memberId(1), memberId(2)),
  alarm: fc.constant("nospace" as const),
});

/** What a log may hold: whatever of a program writes, whether or not it passes the request checks; and memberships. */
const log: fc.Arbitrary<Command[]> = fc
  .tuple(
    program,
    fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 6 }),
    fc.array(fc.tuple(fc.nat(1_000), fc.oneof({ weight: 4, arbitrary: leaseCommand }, alarmCommand)), {
      maxLength: 10,
    }),
  )
  .map(([requests, members, leases]) => {
    const commands: Command[] = requests.filter(writes);
    members.forEach((id, i) => {
      const one = memberId(id);
      const [kind] = [["memberAdd", "memberRemove", "memberPromote", "memberPublish"] as const].map(
        (all) => all[i % 4]!,
      );
      const command: Command =
        kind === "memberAdd"
          ? { kind, id: one, name: "", peerUrls: [`p${id}`], clientUrls: [], isLearner: i % 2 === 0 }
          : kind === "memberPublish"
            ? { kind, id: one, name: `n${id}`, clientUrls: [] }
            : { kind: kind!, id: one };
      commands.splice((i * 3) % (commands.length + 1), 0, command);
    });
    leases.forEach(([at, command]) => {
      commands.splice(at % (commands.length + 1), 0, command);
    });
    return commands;
  });

/** One member that applies everything whole, with what it answered and where it stood after each entry. */
function reference(commands: readonly Command[]): {
  readonly answers: object[];
  readonly hashes: string[];
  readonly states: MemoryState[];
} {
  const member = new Member();
  const answers: object[] = [];
  const hashes = [member.machine.stateHash];
  const states = [member.flushed()];
  for (const command of commands) {
    answers.push(shown(member.apply(command, 1_000_000)));
    hashes.push(member.machine.stateHash);
    states.push(member.flushed());
  }
  return { answers, hashes, states };
}

const slices = (random: RandomSource) => (): number => randomInt(random, 1, 4);

describe("one log, one state", () => {
  test(`slices of any size give the same answers and hashes, and reads below go on meanwhile (seed ${seed})`, () => {
    let interrupted = 0;
    fc.assert(
      fc.property(log, fc.integer(), (commands, chance) => {
        const random = prng(chance);
        const { answers, hashes } = reference(commands);
        const member = new Member();
        commands.forEach((command, i) => {
          const { machine } = member;
          const before = answer(() => member.ask(everything()));
          const { revision } = machine;
          const { keys } = machine.metrics;
          const applied = member.apply(command, slices(random), () => {
            interrupted += 1;
            // Half-way, nothing shows: neither to readers nor in what is compared between members.
            expect(answer(() => member.ask(everything(), slices(random)))).toEqual(before);
            expect([machine.revision, machine.applied.index, machine.stateHash]).toEqual([revision, i, hashes[i]]);
            expect(machine.metrics.keys).toBe(keys);
            expect(machine.history.changesAt(revision + 1)).toBeUndefined();
          });
          expect(shown(applied)).toEqual(answers[i]);
          expect(machine.stateHash).toBe(hashes[i + 1]);
        });
      }),
      { seed, numRuns: 120 },
    );
    expect(interrupted).toBeGreaterThan(300);
  });

  test(`restarts, drops and slices do not show in any hash (seed ${seed})`, () => {
    fc.assert(
      fc.property(log, fc.integer(), (commands, chance) => {
        const random = prng(chance);
        const { answers, hashes } = reference(commands);
        const member = new Member();
        commands.forEach((command, i) => {
          expect(shown(member.apply(command, slices(random)))).toEqual(answers[i]);
          if (random() < 0.5) member.machine.compactStep(randomInt(random, 1, 5));
          if (random() < 0.3) member.reload();
          expect([member.machine.applied.index, member.machine.stateHash]).toEqual([i + 1, hashes[i + 1]]);
        });
      }),
      { seed, numRuns: 120 },
    );
  });

  test(`a crash goes back to the last flush and replays to the same state (seed ${seed})`, () => {
    fc.assert(
      fc.property(log, fc.integer(), (commands, chance) => {
        const random = prng(chance);
        const { answers, hashes } = reference(commands);
        let member = new Member();
        let flushed = { state: member.flushed(), index: 0 };
        for (let crashes = 0, i = 0; i < commands.length; ) {
          const at = member.machine.applied.index;
          if (random() < 0.3) flushed = { state: member.flushed(), index: at };
          if (random() < 0.2 && crashes++ < 5) {
            // In the middle of the next entry, as often as not.
            member.machine.begin({
              index: logIndex(at + 1),
              term: term(1),
              data: encodeEnvelope(envelopeOf(commands[i]!, at + 1)),
              wanted: () => true,
            });
            if (random() < 0.7) member.machine.step(1);
            member = new Member(flushed.state.copy(), flushed.index);
            i = flushed.index;
            expect(member.machine.stateHash).toBe(hashes[i]);
            continue;
          }
          if (random() < 0.3) member.machine.compactStep(3);
          expect(shown(member.apply(commands[i]!, slices(random)))).toEqual(answers[i]);
          i += 1;
          expect(member.machine.stateHash).toBe(hashes[i]);
        }
      }),
      { seed, numRuns: 120 },
    );
  });

  test(`O13: a state shipped at any entry, plus the log behind it, is the state of the whole log (seed ${seed})`, () => {
    fc.assert(
      fc.property(log, fc.nat(), fc.integer(), (commands, cut, chance) => {
        const random = prng(chance);
        const { answers, hashes, states } = reference(commands);
        const at = cut % (commands.length + 1);
        const sender = states[at]!.copy();
        const dropping = openMachine(sender, at);
        dropping.compactStep(randomInt(random, 1, 20));
        const receiver = new Member(sender.copy(), at);
        expect(receiver.machine.stateHash).toBe(hashes[at]);
        for (let i = at; i < commands.length; i++) expect(shown(receiver.apply(commands[i]!))).toEqual(answers[i]);
        expect(receiver.machine.stateHash).toBe(hashes[commands.length]);
        // Both finish dropping: then they hold the very same records.
        const whole = new Member(states[commands.length]!.copy(), commands.length);
        for (const member of [whole, receiver]) member.dropAll();
        expect([...receiver.flushed().records].sort()).toEqual([...whole.flushed().records].sort());
        const attached = ({ machine: { lessor } }: Member): object[] =>
          lessor.list().map((id) => [id, lessor.lookup(id)!.remainingTtl, lessor.keys(id)]);
        expect(attached(receiver)).toEqual(attached(whole));
        expect(receiver.machine.members()).toEqual(whole.machine.members());
        expect(receiver.machine.removedMembers).toEqual(whole.machine.removedMembers);
        expect(answer(() => receiver.ask({ kind: "hashKv" }))).toEqual(answer(() => whole.ask({ kind: "hashKv" })));
      }),
      { seed, numRuns: 120 },
    );
  });

  test(`the proposer's decoded form and the others' bytes come to the same (seed ${seed})`, () => {
    fc.assert(
      fc.property(log, (commands) => {
        const { answers, hashes } = reference(commands);
        const { machine } = new Member();
        commands.forEach((command, i) => {
          const envelope = envelopeOf(command, i + 1);
          const data = encodeEnvelope(envelope);
          machine.begin({ index: logIndex(i + 1), term: term(1), data, envelope, wanted: () => true });
          const applied = machine.step(1_000_000)!;
          expect(applied.envelope).toBe(envelope);
          expect(shown(applied)).toEqual(answers[i]);
          expect(machine.stateHash).toBe(hashes[i + 1]);
        });
      }),
      { seed, numRuns: 100 },
    );
  });
});

describe("the state hash tells", () => {
  const hashOf = (...commands: Command[]): string => {
    const member = new Member();
    for (const command of commands) member.apply(command);
    return member.machine.stateHash;
  };
  test("every difference of two histories", () => {
    const histories = [
      hashOf(),
      hashOf(put("a", "1")),
      hashOf(put("a", "2")),
      hashOf(put("b", "1")),
      hashOf(put("a", "1"), put("b", "1")),
      hashOf(put("b", "1"), put("a", "1")),
      hashOf(put("a", "1"), del("a")),
      hashOf(put("a", "1"), del("x")),
      hashOf(put("a", "1"), { kind: "compact", revision: 1 }),
      hashOf(put("a", "1"), { kind: "compact", revision: 2 }),
      // Refused, and so unlike a delete of nothing.
      hashOf(put("a", "1"), { kind: "compact", revision: 9 }),
    ];
    expect(new Set(histories).size).toBe(histories.length);
  });

  test("terms, and entries that do nothing", () => {
    const of = (...terms: number[]): string => {
      const { machine } = new Member();
      terms.forEach((one, i) => {
        machine.begin({ index: logIndex(i + 1), term: term(one), data: new Uint8Array(), wanted: () => true });
        expect(machine.step(1)).toMatchObject({ envelope: undefined, outcome: { ok: true } });
      });
      return machine.stateHash;
    };
    expect(new Set([of(), of(1), of(2), of(1, 1), of(1, 2)]).size).toBe(5);
  });

  test("golden: a change of what is hashed would make members of two releases disagree", () => {
    expect(
      hashOf(put("a", "1"), put("a", "2"), del("a"), { kind: "compact", revision: 3 }, put("b", "")),
    ).toMatchInlineSnapshot(`"78359d621e1db8f7"`);
  });
});

describe("a long entry", () => {
  test("of thousands of deletes keeps to its slices, and shows only at its end", () => {
    const member = new Member();
    for (let i = 0; i < 5_000; i++) member.apply(put(`k${String(i).padStart(5, "0")}`, "v"));
    const { stateHash } = member.machine;
    let turns = 0;
    const before = member.state.records.size;
    const applied = member.apply(del("k", "l"), 100, () => {
      turns += 1;
      const done = member.state.records.size - before;
      // A slice may overrun by what one page of keys takes.
      expect(done).toBeLessThanOrEqual(turns * 200);
      if (turns % 10 !== 0) return;
      expect(member.machine.stateHash).toBe(stateHash);
      expect(member.ask({ kind: "range", key: bytes("k"), rangeEnd: bytes("l"), countOnly: true })).toMatchObject({
        count: 5_000,
        revision: 5_001,
      });
      expect(member.ask({ kind: "range", key: bytes("k00001"), revision: 3 })).toMatchObject({ count: 1 });
      expect(answer(() => member.ask({ kind: "range", key: bytes("k"), revision: 5_002 }))).toEqual({
        error: "FUTURE_REVISION",
      });
    });
    expect(turns).toBeGreaterThan(40);
    expect(applied.outcome).toMatchObject({ ok: true, result: { deleted: 5_000, revision: 5_002 } });
    expect(member.machine.metrics.keys).toBe(0);
  });

  test("lets compaction go on between its slices, and a range within it reads what is left to read", () => {
    const member = new Member();
    for (let i = 0; i < 600; i++) member.apply(put(`k${String(i % 300).padStart(3, "0")}`, String(i)));
    member.apply({ kind: "compact", revision: 301 });
    const old = { kind: "range", key: bytes("k"), rangeEnd: bytes("l"), revision: 301 } as const;
    const expected = show(member.ask(old));
    const applied = member.apply(
      { kind: "txn", compare: [], success: [put("x"), old, del("k", "l"), old], failure: [] },
      50,
      () => member.machine.compactStep(20),
    );
    expect(applied.outcome.ok && show(applied.outcome.result)).toMatchObject({
      results: [{}, { ...expected, revision: 602 }, { deleted: 300 }, { ...expected, revision: 602 }],
    });
    member.dropAll();
    expect(show(member.ask(old))).toEqual({ ...expected, revision: 602 });
  });
});

describe("a read under way", () => {
  test("survives a whole compaction; closed, it answers nothing more", () => {
    const member = new Member();
    for (let i = 0; i < 50; i++) member.apply(put(`k${i % 5}`, String(i)));
    const request = { kind: "range", key: bytes("k"), rangeEnd: bytes("l"), revision: 20 } as const;
    const expected = show(member.ask(request));
    const [one, other] = [member.machine.startRange(request), member.machine.startRange(request)];
    one.step(1);
    other.step(1);
    member.apply({ kind: "compact", revision: 51 });
    expect(member.machine.compactStep(10_000)).toBe(false);
    expect(show(finishRead(one, 1))).toEqual(expected);
    // The other one still holds the revision.
    expect(member.machine.compactStep(10_000)).toBe(false);
    other.close();
    member.dropAll();
    expect(() => other.step(1)).toThrow(InvariantError);
    expect(answer(() => member.ask(request))).toEqual({ error: "COMPACTED" });
  });

  test("that is refused holds nothing", () => {
    const member = new Member();
    for (let i = 0; i < 5; i++) member.apply(put("k"));
    member.apply({ kind: "compact", revision: 3 });
    const read = { kind: "range", key: bytes("k"), revision: 2 } as const;
    expect(answer(() => member.ask({ kind: "txn", compare: [], success: [read], failure: [] }))).toEqual({
      error: "COMPACTED",
    });
    expect(answer(() => member.ask(read))).toEqual({ error: "COMPACTED" });
    expect(answer(() => member.ask({ kind: "hashKv", revision: 2 }))).toEqual({ error: "COMPACTED" });
    expect(member.machine.compactStep(1_000)).toBe(true);
  });
});

describe("results", () => {
  const range = (key: string, end: string, revision = 0): RangeRequest => ({
    ...everything(revision),
    key: bytes(key),
    rangeEnd: bytes(end),
  });
  const txn = (...success: TxnRequest["success"]): TxnRequest => ({ kind: "txn", compare: [], success, failure: [] });

  test(`are built only where they are wanted; the state is the same (seed ${seed})`, () => {
    fc.assert(
      fc.property(log, (commands) => {
        const { answers, hashes, states } = reference(commands);
        const member = new Member();
        commands.forEach((command, i) => {
          const { outcome } = member.apply(command, 3, undefined, false);
          const answer = answers[i]!;
          if (outcome.ok) expect(answer).toMatchObject({ kind: outcome.result.kind });
          else expect(answer).toEqual({ error: outcome.error.code });
          if (outcome.ok) expect(kvsIn(outcome.result)).toBe(0);
          expect(member.machine.stateHash).toBe(hashes[i + 1]);
        });
        expect([...member.flushed().records].sort()).toEqual([...states[commands.length]!.records].sort());
      }),
      { seed, numRuns: 120 },
    );
  });

  test("nobody wants: not one record is read, in one slice, however much the ranges span", () => {
    const member = new Member();
    for (let i = 0; i < 2_000; i++) member.apply(put(`k${i}`, "v"));
    const ranges = Array.from({ length: 120 }, () => range("k", "l"));
    const command = txn(
      { ...put("a"), prevKv: true },
      { ...put("k1"), prevKv: true },
      ...ranges,
      { kind: "txn", compare: [], success: [range("k", "l")], failure: [] },
      { ...del("k5", "k6"), prevKv: true },
    );
    let reads = 0;
    const read = member.state.read.bind(member.state);
    member.state.read = (key) => {
      reads += 1;
      return read(key);
    };
    let slices = 1;
    const { outcome } = member.apply(command, 1_000, () => (slices += 1), false);
    if (!outcome.ok || outcome.result.kind !== "txn") throw new Error("refused");
    expect(kvsIn(outcome.result)).toBe(0);
    expect(outcome.result.results).toHaveLength(124);
    expect(outcome.result.results[2]).toEqual({ kind: "range", revision: 2_002, kvs: [], more: false, count: 0 });
    // Of k5, k50 to k59, k500 to k599 and k5000 on, 111 are there.
    expect(outcome.result.results[123]).toMatchObject({ deleted: 111, prevKvs: [] });
    expect([reads, slices]).toEqual([0, 1]);
  });

  test("ranges at bad revisions are refused alike where nobody wants them", () => {
    for (const wanted of [true, false]) {
      const member = new Member();
      for (let i = 0; i < 4; i++) member.apply(put("k"));
      member.apply({ kind: "compact", revision: 4 });
      const refused = (revision: number): unknown => {
        const { outcome } = member.apply(txn(put("a"), range("k", "l", revision)), 1_000, undefined, wanted);
        return outcome.ok ? "ok" : outcome.error.code;
      };
      expect([refused(3), refused(4), refused(99)]).toEqual(["COMPACTED", "ok", "FUTURE_REVISION"]);
      expect(member.machine.revision).toBe(6);
    }
  });

  test.each([
    ["ranges", () => [...Array.from({ length: 9 }, () => range("k", "l")), put("z")]],
    [
      "keys without values",
      () => [...Array.from({ length: 127 }, () => ({ ...range("s", "t"), keysOnly: true })), put("z")],
    ],
    [
      "what was deleted",
      () => [
        ...Array.from({ length: 7 }, () => range("k", "l")),
        { ...del("k", "l"), prevKv: true },
        range("s", "t"),
        put("z"),
      ],
    ],
  ] satisfies [string, () => TxnRequest["success"]][])(
    "too large with %s: applied, as everywhere, and not answered",
    (_name, ops) => {
      const filled = (): Member => {
        const member = new Member();
        for (let i = 0; i < 64; i++) member.apply(put(`k${i}`, "v".repeat(66_000)));
        for (let i = 0; i < 1_000; i++) member.apply(put(`s${i}`));
        return member;
      };
      const asked = filled();
      const others = filled();
      const command = txn(...ops());
      const { outcome } = asked.apply(command);
      expect(others.apply(command, 1_000, undefined, false).outcome).toMatchObject({ ok: true });
      expect(outcome).toMatchObject({ ok: false, error: { code: "RESULT_TOO_LARGE", outcome: "applied" } });
      expect(asked.ask(range("z", "zz"))).toMatchObject({ count: 1 });
      expect([asked.machine.revision, asked.machine.stateHash]).toEqual([
        others.machine.revision,
        others.machine.stateHash,
      ]);
      expect(asked.machine.metrics).toMatchObject({ txns: 1, puts: others.machine.metrics.puts });
      // The next one has the whole room again.
      expect(asked.apply(txn(put("y"), range("s", "t"))).outcome).toMatchObject({ ok: true });
    },
  );
});

describe("what must not happen", () => {
  test("entries out of order are a broken invariant", () => {
    const { machine } = new Member();
    const data = new Uint8Array();
    expect(() => machine.step(1)).toThrow(InvariantError);
    machine.begin({ index: logIndex(1), term: term(1), data, wanted: () => true });
    expect(() => machine.begin({ index: logIndex(2), term: term(1), data, wanted: () => true })).toThrow(
      InvariantError,
    );
    machine.step(1);
    expect(() => machine.begin({ index: logIndex(1), term: term(1), data, wanted: () => true })).toThrow(
      InvariantError,
    );
    // One left out.
    expect(() => machine.begin({ index: logIndex(3), term: term(1), data, wanted: () => true })).toThrow(
      InvariantError,
    );
    machine.begin({ index: logIndex(2), term: term(1), data, wanted: () => true });
    expect(machine.step(1)?.index).toBe(2);
  });

  test("an entry that cannot be read stops the member by name, and changes nothing", () => {
    const member = new Member();
    member.apply(put("a"));
    const { stateHash } = member.machine;
    const begin =
      (data: Uint8Array): (() => void) =>
      () =>
        member.machine.begin({ index: logIndex(2), term: term(1), data, wanted: () => true });
    expect(begin(bytes("\x01\x05"))).toThrow(expect.objectContaining({ name: "StoreError", code: "INTERNAL" }));
    expect(begin(bytes("\x09 from the future"))).toThrow(
      expect.objectContaining({ name: "StoreError", code: "FORMAT_TOO_NEW" }),
    );
    expect([member.machine.stateHash, member.machine.applied.index]).toEqual([stateHash, 1]);
  });

  test("a record that the index knows and the state does not is damage, in a read and in a write", () => {
    const member = new Member();
    member.apply(put("a", "1"));
    member.state.delete(revisionKey(2, 0));
    const corrupt = expect.objectContaining({ code: "STATE_CORRUPT" });
    expect(() => member.ask({ kind: "range", key: bytes("a") })).toThrow(corrupt);
    // Not an answer to the caller: it passes through and stops the node.
    expect(() => member.apply({ kind: "put", key: bytes("a"), value: bytes(""), prevKv: true })).toThrow(corrupt);
  });

  test("a record above the recorded revision is damage", () => {
    const member = new Member();
    member.apply(put("a"));
    member.apply(put("b"));
    member.state.write(META_KEY, encodeMeta({ revision: 2, compactRevision: -1, hashA: 0, hashB: 0 }));
    expect(() => openMachine(member.state, 2)).toThrow(expect.objectContaining({ code: "STATE_CORRUPT" }));
  });
});

describe("opening", () => {
  test("takes its own records, and leaves those of others", () => {
    const state = new MemoryState();
    seedMembers(state, [{ id: memberId(7n), name: "n", peerUrls: [], clientUrls: [], isLearner: false }]);
    state.write(Uint8Array.of(0x07), bytes("a configuration"));
    state.write(Uint8Array.of(0x08, 1), bytes("a user of a later release"));
    const machine = openMachine(state);
    expect(machine.members()).toMatchObject([{ id: 7n, name: "n" }]);
    expect([machine.revision, machine.compactRevision, machine.stateHash]).toEqual([1, -1, "0".repeat(16)]);
  });

  test("counts what it does", () => {
    const member = new Member();
    member.apply(put("a"));
    member.apply({ kind: "txn", compare: [], success: [put("b"), del("a"), everything()], failure: [] });
    member.ask(everything());
    member.ask({ kind: "txn", compare: [], success: [], failure: [] });
    member.apply({ kind: "leaseGrant", id: leaseId(1), ttl: 5 });
    member.apply({ kind: "leaseGrant", id: leaseId(2), ttl: 5 });
    member.apply({ kind: "leaseGrant", id: leaseId(3), ttl: 5 });
    member.apply({ kind: "leaseGrant", id: leaseId(3), ttl: 5 });
    member.apply({ kind: "leaseRevoke", id: leaseId(1) });
    member.apply({ kind: "leaseRevoke", id: leaseId(2), term: term(1) });
    const operations = { puts: 2, deletes: 1, txns: 2, ranges: 2 };
    const leases = { leases: 1, leasesGranted: 3, leasesRevoked: 2, leasesExpired: 1 };
    expect(member.machine.metrics).toMatchObject({ keys: 1, ...operations, ...leases });
  });

  test("the keys of a state come in any order of age", () => {
    const member = new Member();
    for (const key of ["m", "\xff", "a", "m", "b"]) member.apply(put(key));
    member.reload();
    const result = member.ask(everything());
    expect(result.kind === "range" && result.kvs.map(({ key }) => text(key))).toEqual(["a", "b", "m", "\xff"]);
  });
});
