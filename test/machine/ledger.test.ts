/**
 * The request ledger: what is sent twice is applied once, what is not known or was acknowledged is never applied, and all
 * members agree on it, whoever was restarted, whoever waited for a result.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, memberId, revision, term } from "../../src/base/ids.ts";
import type { ApplyResult } from "../../src/machine/apply.ts";
import type { Command, Envelope } from "../../src/machine/command.ts";
import {
  type Ending,
  Ledger,
  type LedgerLimits,
  loadLedger,
  OPEN_MAX,
  RESULT_BYTES_MAX,
} from "../../src/machine/ledger.ts";
import type { Applied } from "../../src/machine/machine.ts";
import { decodeClient, FORM } from "../../src/machine/records.ts";
import { StateHash } from "../../src/machine/state-hash.ts";
import type { OperationId } from "../../src/protocol/channel.ts";
import type { PutRequest, TxnRequest } from "../../src/protocol/requests.ts";
import { testSeed } from "../support/seed.ts";
import { bytes, Member, MemoryState, PLAIN, show } from "../support/state.ts";

const seed = testSeed();

const put = (key: string, value = "", more: Partial<PutRequest> = {}): PutRequest => ({
  kind: "put",
  key: bytes(key),
  value: bytes(value),
  ...more,
});
const swap = (key: string, value: string): TxnRequest => ({
  kind: "txn",
  compare: [],
  success: [put(key, value, { prevKv: true })],
  failure: [],
});
const told = ({ outcome }: Applied): object =>
  outcome.ok
    ? show(outcome.result)
    : { code: outcome.error.code, outcome: outcome.error.outcome, details: outcome.error.details };

/** What the state holds. The other figures count from the start of the process. */
function figures({ machine }: Member): object {
  const { clients, operations, resultBytes } = machine.metrics.ledger;
  return { clients, operations, resultBytes };
}

/** Two members that apply the same log. Only the first has a caller that waits; both must agree at every entry. */
class Pair {
  readonly first = new Member();
  readonly second = new Member();

  apply(command: Command, operation: OperationId = PLAIN): object {
    const answered = told(this.first.apply(command, 1_000, undefined, true, operation));
    this.second.apply(command, 7, undefined, false, operation);
    expect(this.second.machine.stateHash).toBe(this.first.machine.stateHash);
    expect(figures(this.second)).toEqual(figures(this.first));
    return answered;
  }

  /** The client's id. */
  register(): number {
    const answered = this.apply({ kind: "clientRegister" });
    expect(answered).toEqual({ kind: "register", clientId: this.first.machine.applied.index });
    return this.first.machine.applied.index;
  }

  /** The second member restarts; the ledger comes back as it was. */
  restart(): void {
    this.second.reload();
    expect(figures(this.second)).toEqual(figures(this.first));
    expect(this.second.machine.stateHash).toBe(this.first.machine.stateHash);
  }

  revision(): number {
    expect(this.second.machine.revision).toBe(this.first.machine.revision);
    return this.first.machine.revision;
  }
}

const of = (clientId: number, sequence: number, lowestUnacknowledged = 1): OperationId => ({
  clientId,
  sequence,
  lowestUnacknowledged,
});

describe("a write of a registered client", () => {
  const results: readonly (readonly [string, Command, object])[] = [
    ["put", put("a", "2"), { kind: "put", revision: 3 }],
    ["put with what it replaced", put("a", "2", { prevKv: true }), { kind: "put", prevKv: { value: "1" } }],
    ["delete", { kind: "deleteRange", key: bytes("a"), prevKv: true }, { kind: "deleteRange", deleted: 1 }],
    ["txn", swap("a", "2"), { kind: "txn", results: [{ kind: "put", prevKv: { value: "1" } }] }],
    ["compaction", { kind: "compact", revision: 2 }, { kind: "compact" }],
    ["lease", { kind: "leaseGrant", id: leaseId(7), ttl: 5 }, { kind: "leaseGrant", id: 7n, ttl: 5 }],
    ["refusal", put("a", "", { lease: leaseId(9) }), { code: "LEASE_NOT_FOUND", outcome: "rejected" }],
    ["refused revoke", { kind: "leaseRevoke", id: leaseId(9) }, { code: "LEASE_NOT_FOUND", details: { leaseId: 9n } }],
  ];
  test.each(results)("is applied once, and its repetition has the first answer: %s", (_, command, expected) => {
    const pair = new Pair();
    const client = pair.register();
    pair.apply(put("a", "1"));
    const first = pair.apply(command, of(client, 1));
    expect(first).toMatchObject(expected);
    const after = pair.revision();
    pair.apply({ kind: "leaseGrant", id: leaseId(9), ttl: 5 });
    pair.restart();
    expect(pair.apply(command, of(client, 1))).toEqual(first);
    // What is repeated is known by its number, whatever it says.
    expect(pair.apply(put("b"), of(client, 1))).toEqual(first);
    expect(pair.revision()).toBe(after);
    expect(pair.first.machine.metrics.ledger).toMatchObject({ operations: 1, hits: 2, registrations: 1 });
  });

  test("without a number it is applied each time, as in etcd", () => {
    const pair = new Pair();
    pair.register();
    expect(pair.apply(put("a"))).toEqual({ kind: "put", revision: 2, prevKv: undefined });
    expect(pair.apply(put("a"))).toEqual({ kind: "put", revision: 3, prevKv: undefined });
  });

  test("under an id that nobody registered is never applied", () => {
    const pair = new Pair();
    pair.apply(put("a"));
    // Of an entry that exists, and registers nobody.
    for (const id of [1, 99]) {
      expect(pair.apply(put("b"), of(id, 1))).toEqual({
        code: "CLIENT_EXPIRED",
        outcome: "rejected",
        details: { clientId: id },
      });
    }
    expect(pair.revision()).toBe(2);
  });

  test("below the lowest unacknowledged sequence ever seen is never applied", () => {
    const pair = new Pair();
    const client = pair.register();
    pair.apply(put("a"), of(client, 1));
    pair.apply(put("a"), of(client, 5, 5));
    const after = pair.revision();
    pair.restart();
    for (const sequence of [1, 4]) {
      expect(pair.apply(put("b"), of(client, sequence, 1))).toMatchObject({ code: "SEQUENCE_SETTLED" });
    }
    // Its own number is acknowledged with it: it cannot be meant.
    expect(pair.apply(put("b"), of(client, 6, 7))).toMatchObject({ code: "SEQUENCE_SETTLED" });
    expect(pair.revision()).toBe(after);
    expect(pair.first.machine.metrics.ledger.operations).toBe(0);
  });

  test("may come after one that has a higher sequence", () => {
    const pair = new Pair();
    const client = pair.register();
    expect(pair.apply(put("a"), of(client, 3))).toMatchObject({ revision: 2 });
    expect(pair.apply(put("a"), of(client, 1))).toMatchObject({ revision: 3 });
    expect(pair.apply(put("a"), of(client, 3))).toMatchObject({ revision: 2 });
  });

  test(`is refused ${OPEN_MAX} sequences from the lowest open one on, and taken once that has moved`, () => {
    const pair = new Pair();
    const client = pair.register();
    for (let sequence = 1; sequence <= OPEN_MAX; sequence++) pair.apply(put("a"), of(client, sequence));
    expect(pair.apply(put("b"), of(client, OPEN_MAX + 1))).toEqual({
      code: "TOO_MANY_OPEN_WRITES",
      outcome: "rejected",
      details: { clientId: client, sequence: OPEN_MAX + 1, lowest: 1 },
    });
    expect(pair.revision()).toBe(1 + OPEN_MAX);
    pair.restart();
    expect(pair.apply(put("b"), of(client, OPEN_MAX + 1, 2))).toMatchObject({ revision: 2 + OPEN_MAX });
    expect(pair.first.machine.metrics.ledger.operations).toBe(OPEN_MAX);
  });

  test("that is abandoned half-way leaves no trace", () => {
    const member = new Member();
    member.apply({ kind: "clientRegister" });
    for (let i = 0; i < 20; i++) member.apply(put(`k${i}`));
    const { state } = member;
    member.machine.save();
    const before = state.copy();
    const { stateHash, applied } = member.machine;
    const command: Command = { kind: "deleteRange", key: bytes("k"), rangeEnd: bytes("l") };
    expect(() =>
      member.apply(
        command,
        3,
        () => {
          throw new Error("a snapshot takes its place");
        },
        true,
        of(1, 1),
      ),
    ).toThrow("a snapshot");
    expect(() => member.machine.save()).toThrow("machine-order");
    const other = new Member(before, applied.index);
    expect(other.machine.stateHash).toBe(stateHash);
    expect(told(other.apply(command, 1_000, undefined, true, of(1, 1)))).toMatchObject({ deleted: 20 });
  });

  test("what its caller does to the answer changes no later one", () => {
    const member = new Member();
    member.apply({ kind: "clientRegister" });
    member.apply(put("a", "1"));
    const applied = member.apply(swap("a", "2"), 1_000, undefined, true, of(1, 1));
    const first = told(applied);
    if (applied.outcome.ok && applied.outcome.result.kind === "txn") {
      const [result] = applied.outcome.result.results;
      if (result?.kind === "put") result.prevKv?.value.fill(0);
    }
    expect(told(applied)).not.toEqual(first);
    expect(told(member.apply(swap("a", "2"), 1_000, undefined, true, of(1, 1)))).toEqual(first);
  });
});

describe("a result that is too long to keep", () => {
  const notKept = (at: number): object => ({ code: "RESULT_NOT_KEPT", outcome: "applied", details: { revision: at } });

  test(`up to ${RESULT_BYTES_MAX} bytes it is kept, and beyond it is not`, () => {
    const lengthOf = (pair: Pair): number => pair.first.machine.metrics.ledger.resultBytes;
    const pair = new Pair();
    const client = pair.register();
    pair.apply(put("a", "x".repeat(1_000)));
    pair.apply(put("a", "", { prevKv: true }), of(client, 1));
    // What is not the value's: with a long value, two bytes more for its length at the most.
    const overhead = lengthOf(pair) - 1_000;
    const longest = RESULT_BYTES_MAX - overhead;
    const told: unknown[] = [];
    for (const length of [longest, longest + 1]) {
      pair.apply(put("a", "x".repeat(length)));
      const operation = of(client, 2 + told.length, 2 + told.length);
      expect(pair.apply(put("a", "", { prevKv: true }), operation)).toMatchObject({
        prevKv: { value: "x".repeat(length) },
      });
      told.push(pair.apply(put("b"), operation));
      if (told.length === 1) expect(lengthOf(pair)).toBe(RESULT_BYTES_MAX);
    }
    expect(told).toEqual([expect.objectContaining({ kind: "put" }), notKept(pair.revision())]);
  });

  test("of many small parts, of few large ones, and of more than a member builds that nobody waits on", () => {
    const parts: readonly (readonly [number, number])[] = [
      [1_500, 1],
      [2_100, 1],
      [40, 500],
      [3, 1_000_000],
    ];
    for (const [keys, length] of parts) {
      const pair = new Pair();
      const client = pair.register();
      for (let i = 0; i < keys; i++) pair.apply(put(`k${i}`, "v".repeat(length)));
      const all: Command = { kind: "deleteRange", key: bytes("k"), rangeEnd: bytes("l"), prevKv: true };
      expect(pair.apply(all, of(client, 1))).toMatchObject({ deleted: keys });
      pair.restart();
      expect(pair.apply(all, of(client, 1))).toEqual(notKept(pair.revision()));
    }
  });

  test("of a put over a value that is longer than what a member builds that nobody waits on", () => {
    const pair = new Pair();
    const client = pair.register();
    pair.apply(put("a", "v".repeat(1_100_000)));
    const over = put("a", "", { prevKv: true });
    expect(pair.apply(over, of(client, 1))).toMatchObject({ kind: "put", revision: 3 });
    pair.restart();
    expect(pair.apply(over, of(client, 1))).toEqual(notKept(3));
    expect(pair.second.machine.ledger.record(client)).toEqual(pair.first.machine.ledger.record(client));
  });

  test("of a transaction that was too large to answer at all", () => {
    const pair = new Pair();
    const client = pair.register();
    for (let i = 0; i < 70; i++) pair.apply(put(`k${i}`, "v".repeat(500_000)));
    const txn: TxnRequest = {
      kind: "txn",
      compare: [],
      success: [{ kind: "deleteRange", key: bytes("k"), rangeEnd: bytes("l"), prevKv: true }],
      failure: [],
    };
    expect(pair.apply(txn, of(client, 1))).toMatchObject({ code: "RESULT_TOO_LARGE", outcome: "applied" });
    expect(pair.apply(txn, of(client, 1))).toEqual(notKept(pair.revision()));
  });
});

describe("expiry", () => {
  test("forgets a silent client, and what it writes then is refused", () => {
    const pair = new Pair();
    const client = pair.register();
    pair.apply(put("a"), of(client, 4));
    pair.restart();
    pair.apply({ kind: "clientExpire", term: term(1), clients: [{ id: client, lastSequence: 4 }] });
    pair.restart();
    expect(pair.first.machine.metrics.ledger).toMatchObject({ clients: 0, operations: 0 });
    expect(pair.apply(put("a"), of(client, 4))).toMatchObject({ code: "CLIENT_EXPIRED" });
    expect(pair.revision()).toBe(2);
    expect([...pair.second.state.records.keys()].filter((key) => key[0] === "\x05")).toEqual([]);
  });

  test("does nothing in another term than the leader's who proposed it", () => {
    const pair = new Pair();
    const client = pair.register();
    const clients = [{ id: client, lastSequence: 0 }];
    expect(pair.apply({ kind: "clientExpire", term: term(2), clients })).toMatchObject({ code: "LEADER_CHANGED" });
    expect(pair.apply(put("a"), of(client, 1))).toMatchObject({ kind: "put" });
  });

  test("spares a client that wrote meanwhile, and one that is gone already", () => {
    const pair = new Pair();
    const [silent, busy] = [pair.register(), pair.register()];
    pair.apply(put("a"), of(busy, 1));
    const clients = [silent, busy, 99].map((id) => ({ id, lastSequence: 0 }));
    pair.apply({ kind: "clientExpire", term: term(1), clients });
    expect(pair.apply(put("a"), of(silent, 1))).toMatchObject({ code: "CLIENT_EXPIRED" });
    expect(pair.apply(put("a"), of(busy, 1))).toMatchObject({ kind: "put", revision: 2 });
  });

  test("finds the silent ones in the order of their silence, those of refused writes not among them", () => {
    const pair = new Pair();
    const [a, b, c] = [pair.register(), pair.register(), pair.register()] as [number, number, number];
    pair.apply(put("a"), of(a, 1));
    pair.apply(put("a"), of(b, OPEN_MAX + 1));
    pair.restart();
    const { ledger, applied } = pair.second.machine;
    expect(ledger.silentSince(applied.index, 9).map(({ id }) => id)).toEqual([c, a, b]);
    expect(ledger.silentSince(applied.index, 2)).toEqual([
      { id: c, lastSequence: 0 },
      { id: a, lastSequence: 1 },
    ]);
    expect(ledger.silentSince(c, 9).map(({ id }) => id)).toEqual([c]);
    expect(ledger.silentSince(c - 1, 9)).toEqual([]);
  });
});

// --- against a model that keeps everything in plain lists ---

const SMALL: LedgerLimits = { resultBytes: 400, clients: 3, operations: 9 };

type Answer =
  | { readonly kind: "put" }
  | { readonly kind: "refused" }
  | { readonly kind: "result"; readonly size: number };
type Move =
  | { readonly kind: "register" }
  | {
      readonly kind: "write";
      readonly client: number;
      /** From the client's highest sequence; and of the lowest one, from its own. */
      readonly ahead: number;
      readonly acknowledges: number;
      readonly answer: Answer;
    }
  | { readonly kind: "expire"; readonly client: number; readonly stale: boolean }
  | { readonly kind: "flush" }
  | { readonly kind: "restart" };

const move: fc.Arbitrary<Move> = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ kind: "register" as const }) },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      client: fc.nat(4),
      ahead: fc.oneof({ weight: 4, arbitrary: fc.integer({ min: -3, max: 2 }) }, fc.constantFrom(1_030, 5_000)),
      acknowledges: fc.oneof({ weight: 5, arbitrary: fc.integer({ min: -5, max: 3 }) }, fc.constant(0)),
      answer: fc.oneof(
        fc.constant({ kind: "put" as const }),
        fc.constant({ kind: "refused" as const }),
        fc.record({
          kind: fc.constant("result" as const),
          size: fc.constantFrom(0, 60, 150, RESULT_BYTES_MAX, 2 * RESULT_BYTES_MAX),
        }),
      ),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("expire" as const), client: fc.nat(4), stale: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constant({ kind: "flush" as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: "restart" as const }) },
);

interface ModelOperation {
  readonly sequence: number;
  readonly index: number;
  answer: string;
  bytes: number;
}
interface ModelClient {
  readonly id: number;
  lastIndex: number;
  lastSequence: number;
  lowest: number;
  operations: ModelOperation[];
}

class Model {
  clients: ModelClient[] = [];

  register(index: number): void {
    this.clients.push({ id: index, lastIndex: index, lastSequence: 0, lowest: 1, operations: [] });
    this.#bound();
  }

  write(
    index: number,
    { clientId, sequence, lowestUnacknowledged }: OperationId,
    answer: string,
    size: number,
  ): string {
    const client = this.clients.find(({ id }) => id === clientId);
    if (client === undefined) return "CLIENT_EXPIRED";
    client.lastIndex = index;
    client.lastSequence = Math.max(client.lastSequence, sequence);
    client.lowest = Math.max(client.lowest, lowestUnacknowledged);
    client.operations = client.operations.filter((each) => each.sequence >= client.lowest);
    if (sequence < client.lowest) return "SEQUENCE_SETTLED";
    const known = client.operations.find((each) => each.sequence === sequence);
    if (known !== undefined) return known.answer;
    if (sequence >= client.lowest + OPEN_MAX) return "TOO_MANY_OPEN_WRITES";
    const kept = size <= RESULT_BYTES_MAX;
    client.operations.push({
      sequence,
      index,
      answer: kept ? answer : `RESULT_NOT_KEPT ${index}`,
      bytes: kept ? size : 0,
    });
    this.#bound();
    return `fresh ${answer}`;
  }

  expire(clientId: number, lastSequence: number): void {
    this.clients = this.clients.filter((each) => each.id !== clientId || each.lastSequence !== lastSequence);
  }

  operations(): ModelOperation[] {
    return this.clients.flatMap(({ operations }) => operations).sort((a, b) => a.index - b.index);
  }

  resultBytes(): number {
    return this.operations().reduce((sum, each) => sum + each.bytes, 0);
  }

  #bound(): void {
    for (const operation of this.operations()) {
      if (this.resultBytes() <= SMALL.resultBytes) break;
      if (operation.bytes === 0) continue;
      operation.bytes = 0;
      operation.answer = `RESULT_NOT_KEPT ${operation.index}`;
    }
    this.clients.sort((a, b) => a.lastIndex - b.lastIndex);
    while (this.clients.length > SMALL.clients || this.operations().length > SMALL.operations) {
      if (this.clients.length === 1) return;
      this.clients.shift();
    }
  }
}

/** A ledger and its records; what an entry does stands in the move, and its index is its revision. */
class Subject {
  state = new MemoryState();
  hash = new StateHash();
  ledger = new Ledger(this.state, this.hash, undefined, SMALL);

  write(index: number, operation: OperationId, answer: Answer): string {
    const envelope: Envelope = {
      proposer: memberId(1),
      incarnation: 1,
      ref: index,
      ...operation,
      command: { kind: "clientRegister" },
    };
    let known: string | undefined;
    try {
      const result = this.ledger.known(envelope);
      if (result !== undefined) known = textOf(result);
    } catch (error) {
      if (!StoreError.is(error)) throw error;
      known = error.code === "RESULT_NOT_KEPT" ? `${error.code} ${error.details.revision}` : error.code;
    }
    this.ledger.through(envelope, index, known === undefined ? endingOf(index, answer) : undefined);
    return known ?? `fresh ${answerText(index, answer)}`;
  }

  restart(): void {
    this.ledger.save();
    const records = [...this.state.records].map(([key, value]) => decodeClient(bytes(key), value));
    this.hash = new StateHash(this.hash.a, this.hash.b);
    const loaded = loadLedger(records, { left: Infinity }).next().value!;
    this.ledger = new Ledger(this.state, this.hash, loaded, SMALL);
  }
}

function resultOf(index: number, answer: Answer): ApplyResult {
  const at = revision(index);
  if (answer.kind !== "result") return { kind: "put", revision: at };
  const prevKv = { key: bytes("k"), value: new Uint8Array(answer.size), lease: leaseId(0), version: 1 };
  return { kind: "put", revision: at, prevKv: { ...prevKv, createRevision: revision(1), modRevision: revision(1) } };
}

function endingOf(index: number, answer: Answer): Ending {
  const outcome =
    answer.kind === "refused"
      ? ({ ok: false, error: new StoreError("KEY_NOT_FOUND", { details: { index } }) } as const)
      : ({ ok: true, result: resultOf(index, answer) } as const);
  return { outcome, isCut: false, revision: index };
}

function textOf(result: ApplyResult): string {
  if (result.kind !== "put") return result.kind;
  return `put ${result.revision} ${result.prevKv?.value.length ?? ""}`;
}

const answerText = (index: number, answer: Answer): string =>
  answer.kind === "refused" ? "KEY_NOT_FOUND" : textOf(resultOf(index, answer));

/** As the ledger counts it: the bytes of the encoded result. */
function sizeOf(index: number, answer: Answer): number {
  const alone = new Ledger(new MemoryState(), new StateHash());
  alone.register(1);
  const envelope: Envelope = {
    proposer: memberId(1),
    incarnation: 1,
    ref: 1,
    clientId: 1,
    sequence: 1,
    lowestUnacknowledged: 1,
    command: { kind: "clientRegister" },
  };
  alone.through(envelope, index, endingOf(index, answer));
  const form = alone.record(1)!.operations[0]!.form;
  return form === FORM.dropped ? RESULT_BYTES_MAX + 1 : alone.metrics.resultBytes;
}

test(`the ledger does what the model does, and restarted ones agree with those that run on (seed ${seed})`, () => {
  fc.assert(
    fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const model = new Model();
      const subject = new Subject();
      const steady = new Subject();
      const known: number[] = [];
      moves.forEach((one, at) => {
        const index = at + 1;
        switch (one.kind) {
          case "register":
            model.register(index);
            for (const each of [subject, steady]) each.ledger.register(index);
            known.push(index);
            break;
          case "write": {
            const clientId = known[known.length - 1 - one.client] ?? 999;
            const client = model.clients.find(({ id }) => id === clientId);
            const sequence = Math.max(1, (client?.lastSequence ?? 0) + one.ahead);
            const lowest = Math.max(1, (client?.lowest ?? 1) + one.acknowledges);
            const operation = of(clientId, sequence, lowest);
            const expected = model.write(index, operation, answerText(index, one.answer), sizeOf(index, one.answer));
            expect(subject.write(index, operation, one.answer)).toBe(expected);
            expect(steady.write(index, operation, one.answer)).toBe(expected);
            break;
          }
          case "expire": {
            const id = known[known.length - 1 - one.client] ?? 999;
            const last = model.clients.find((each) => each.id === id)?.lastSequence ?? 0;
            const lastSequence = one.stale ? last + 1 : last;
            model.expire(id, lastSequence);
            for (const each of [subject, steady]) each.ledger.expire(id, lastSequence);
            break;
          }
          case "flush":
            subject.ledger.save();
            break;
          case "restart":
            subject.restart();
            break;
        }
        expect(subject.ledger.metrics).toMatchObject({
          clients: model.clients.length,
          operations: model.operations().length,
          resultBytes: model.resultBytes(),
        });
        for (const { id, lastIndex, lastSequence, lowest, operations } of model.clients) {
          const record = subject.ledger.record(id);
          expect(record).toMatchObject({ lastIndex, lastSequence, lowest });
          expect(record?.operations.map((each) => each.sequence)).toEqual(operations.map((each) => each.sequence));
        }
        const bySilence = model.clients.map(({ id }) => id).sort((a, b) => lastOf(model, a) - lastOf(model, b));
        expect(subject.ledger.silentSince(index, 99).map(({ id }) => id)).toEqual(bySilence);
        expect(subject.hash.toString()).toBe(steady.hash.toString());
      });
      for (const each of [subject, steady]) each.ledger.save();
      expect(subject.state.records).toEqual(steady.state.records);
    }),
    { seed, numRuns: 300 },
  );
});

function lastOf(model: Model, id: number): number {
  return model.clients.find((each) => each.id === id)!.lastIndex;
}

describe("bounds", () => {
  test("when results are too many the oldest are dropped, whoever's they are, and their numbers are not", () => {
    const subject = new Subject();
    subject.ledger.register(1);
    subject.ledger.register(2);
    const size = 150;
    const results = [of(1, 1), of(2, 1), of(1, 2)].map((operation, i) =>
      subject.write(3 + i, operation, { kind: "result", size }),
    );
    expect(subject.ledger.metrics.resultBytes).toBeLessThanOrEqual(SMALL.resultBytes);
    expect(subject.write(9, of(1, 1), { kind: "put" })).toBe("RESULT_NOT_KEPT 3");
    expect(subject.write(10, of(2, 1), { kind: "put" })).toBe(results[1]!.replace("fresh ", ""));
    expect(subject.write(11, of(1, 2), { kind: "put" })).toBe(results[2]!.replace("fresh ", ""));
  });

  test("one client too many, and the one that was silent for longest is forgotten", () => {
    const subject = new Subject();
    for (const index of [1, 2, 3]) subject.ledger.register(index);
    subject.write(4, of(1, 1), { kind: "put" });
    subject.ledger.register(5);
    expect(subject.write(6, of(2, 1), { kind: "put" })).toBe("CLIENT_EXPIRED");
    expect(subject.write(7, of(1, 1), { kind: "put" })).toBe("put 4 ");
  });

  test("a client that skips a billion sequences costs no more than one that skips none", () => {
    const subject = new Subject();
    subject.ledger.register(1);
    subject.write(2, of(1, 1), { kind: "put" });
    subject.write(3, of(1, 2 ** 52, 2 ** 52), { kind: "put" });
    expect(subject.ledger.record(1)).toMatchObject({ lowest: 2 ** 52, operations: [{ index: 3 }] });
  });
});
