/** The hot paths of a put and of a read, each alone and in one process: what `bench` times and `bench:guard` watches over. */
import { encodeUtf8 } from "../src/base/bytes.ts";
import { clusterId, logIndex, memberId, NO_LEASE, revision, term } from "../src/base/ids.ts";
import type { Envelope } from "../src/machine/command.ts";
import { decodeEnvelope, encodeEnvelope } from "../src/machine/envelope-codec.ts";
import { type Machine, MachineLoader } from "../src/machine/machine.ts";
import type { StateStore } from "../src/machine/state-store.ts";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse } from "../src/protocol/codec.ts";
import type { KeyValue } from "../src/protocol/key-value.ts";
import type { PutRequest, RangeRequest, TxnRequest } from "../src/protocol/requests.ts";
import type { Response, Result } from "../src/protocol/responses.ts";
import { decodeMessage, encodeMessage } from "../src/raft/codec.ts";
import type { Append } from "../src/raft/message.ts";
import { Raft } from "../src/raft/raft.ts";

export interface HotPath {
  readonly name: string;
  readonly once: () => void;
}

const VALUE = new Uint8Array(256).fill(7);
const KEYS = 10_000;
const keyOf = (i: number): Uint8Array => encodeUtf8(`bench/key/${i.toString().padStart(8, "0")}`);
const putOf = (i: number): PutRequest => ({ kind: "put", key: keyOf(i), value: VALUE });
const envelopeOf = (command: PutRequest): Envelope => ({
  proposer: memberId(1n),
  incarnation: 1,
  ref: 1,
  clientId: 0,
  sequence: 0,
  lowestUnacknowledged: 0,
  command,
});

/** Records in memory: what is measured is the machine, not LevelDB. */
function memoryState(): StateStore {
  const records = new Map<string, Uint8Array>();
  // By numbers, as the state backend does: a name for each would be dearer than what is measured.
  const revisions = new Map<number, Uint8Array>();
  const placeOf = (main: number, sub: number): number => main * 256 + sub;
  const name = (key: Uint8Array): string => String.fromCharCode(...key);
  return {
    read: (key) => records.get(name(key)),
    write: (key, value) => void records.set(name(key), value),
    readRevision: (main, sub) => revisions.get(placeOf(main, sub)),
    writeRevision: (main, sub, record) => void revisions.set(placeOf(main, sub), record),
    dropRevision: (main, sub) => void revisions.delete(placeOf(main, sub)),
    delete: (key) => void records.delete(name(key)),
  };
}

function newMachine(): Machine {
  return new MachineLoader().finish({ store: memoryState(), applied: { index: logIndex(0), term: term(0) } });
}

function apply(machine: Machine, envelope: Envelope): void {
  const index = logIndex(machine.applied.index + 1);
  machine.begin({ index, term: term(1), data: VALUE, envelope, wanted: () => true });
  machine.step(1_000);
}

function filled(): Machine {
  const machine = newMachine();
  for (let i = 0; i < KEYS; i++) apply(machine, envelopeOf(putOf(i)));
  return machine;
}

function range(machine: Machine, request: RangeRequest): void {
  const read = machine.startRange(request);
  while (read.step(10_000) === undefined);
  read.close();
}

/** Three cores joined by arrays, whose disks are done at once: what one put costs in consensus alone. */
function group(): (batch: number) => void {
  const ids = [1n, 2n, 3n].map(memberId);
  const conf = { voters: ids, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
  const zero = { index: logIndex(0), term: term(0) };
  const cores = ids.map(
    (id) =>
      new Raft(
        {
          id,
          electionTicks: 50,
          heartbeatTicks: 5,
          maxMessageBytes: 1 << 20,
          inflightCountMax: 256,
          inflightBytesMax: 16 << 20,
          uncommittedBytesMax: 64 << 20,
          applyBytesMax: 16 << 20,
          pendingReadsMax: 10_000,
          electionTimeout: () => 60,
        },
        {
          hardState: { term: term(0), votedFor: undefined, commit: logIndex(0) },
          base: zero,
          entries: [],
          applied: logIndex(0),
          conf,
        },
      ),
  );
  const settle = (): void => {
    for (let busy = true; busy; ) {
      busy = false;
      for (const [i, core] of cores.entries()) {
        for (let ready = core.takeReady(); ready !== undefined; ready = core.takeReady()) {
          busy = true;
          for (const { to, message } of ready.messages) cores[ids.indexOf(to)]!.step(ids[i]!, message);
          const last = ready.committed.at(-1);
          if (last !== undefined) core.applied(last.index);
        }
        const batch = core.takePersist();
        if (batch === undefined) continue;
        busy = true;
        core.persisted(batch.seq);
        for (const { to, message } of batch.messagesAfter) cores[ids.indexOf(to)]!.step(ids[i]!, message);
      }
    }
  };
  cores[0]!.campaign();
  settle();
  const data = encodeEnvelope(envelopeOf(putOf(1)));
  return (batch) => {
    cores[0]!.propose(Array.from({ length: batch }, (_, ref) => ({ ref, data })));
    settle();
    for (const core of cores) {
      const { applied, base } = core.status();
      if (applied - base.index > 1_000) core.release(logIndex(applied));
    }
  };
}

/** Each with a state of its own, so that they may be run in any order and number. */
export function hotPaths(): readonly HotPath[] {
  const request = putOf(1);
  const requestBytes = encodeRequest(request).slice();
  const get: RangeRequest = { kind: "range", key: keyOf(1) };
  const getBytes = encodeRequest(get).slice();
  const swap: TxnRequest = {
    kind: "txn",
    compare: [{ key: keyOf(1), result: "equal", target: "mod", modRevision: 7 }],
    success: [request],
    failure: [get],
  };
  const swapBytes = encodeRequest(swap).slice();
  const kv = (i: number): KeyValue => ({
    key: keyOf(i),
    createRevision: revision(i + 2),
    modRevision: revision(i + 2),
    version: 1,
    value: VALUE,
    lease: NO_LEASE,
  });
  const stamp = { clusterId: clusterId(1n), memberId: memberId(1n) };
  const answerOf = (result: Result): Response => ({
    header: { ...stamp, revision: revision(90_000), raftTerm: term(3) },
    result,
  });
  const rangeOf = (keys: number): Response =>
    answerOf({
      kind: "range",
      revision: revision(90_000),
      kvs: Array.from({ length: keys }, (_, i) => kv(i)),
      more: false,
      count: keys,
    });
  const [putAnswer, getAnswer, rangeAnswer] = [
    answerOf({ kind: "put", revision: revision(90_000) }),
    rangeOf(1),
    rangeOf(100),
  ];
  const [putAnswerBytes, getAnswerBytes, rangeAnswerBytes] = [putAnswer, getAnswer, rangeAnswer].map((answer) =>
    encodeResponse(answer, stamp).slice(),
  ) as [Uint8Array, Uint8Array, Uint8Array];
  const envelope = envelopeOf(request);
  const envelopeBytes = encodeEnvelope(envelope);
  const append: Append = {
    kind: "append",
    term: term(3),
    prevIndex: logIndex(100),
    prevTerm: term(3),
    commit: logIndex(90),
    session: 1,
    entries: Array.from({ length: 32 }, (_, i) => ({
      index: logIndex(101 + i),
      term: term(3),
      kind: "normal" as const,
      data: envelopeBytes,
    })),
  };
  const appendBytes = encodeMessage(append);
  const [replicateOne, replicateMany] = [group(), group()];
  const growing = newMachine();
  const machine = filled();
  let next = 0;
  let at = 0;

  return [
    { name: "protocol: encode a put of 256 B", once: () => void encodeRequest(request) },
    { name: "protocol: decode a put of 256 B", once: () => void decodeRequest(requestBytes) },
    { name: "protocol: encode a put's answer", once: () => void encodeResponse(putAnswer, stamp) },
    { name: "protocol: decode a put's answer", once: () => void decodeResponse(putAnswerBytes, stamp) },
    { name: "protocol: encode a get", once: () => void encodeRequest(get) },
    { name: "protocol: decode a get", once: () => void decodeRequest(getBytes) },
    { name: "protocol: encode a get's answer", once: () => void encodeResponse(getAnswer, stamp) },
    { name: "protocol: decode a get's answer", once: () => void decodeResponse(getAnswerBytes, stamp) },
    { name: "protocol: encode an answer of 100 keys", once: () => void encodeResponse(rangeAnswer, stamp) },
    { name: "protocol: decode an answer of 100 keys", once: () => void decodeResponse(rangeAnswerBytes, stamp) },
    { name: "protocol: encode a txn", once: () => void encodeRequest(swap) },
    { name: "protocol: decode a txn", once: () => void decodeRequest(swapBytes) },
    { name: "entry: encode a put of 256 B", once: () => void encodeEnvelope(envelope) },
    { name: "entry: decode a put of 256 B", once: () => void decodeEnvelope(envelopeBytes) },
    { name: "raft: encode an append of 32 entries", once: () => void encodeMessage(append) },
    { name: "raft: decode an append of 32 entries", once: () => void decodeMessage(appendBytes) },
    { name: "raft: replicate 1 entry to 3 cores", once: () => replicateOne(1) },
    { name: "raft: replicate 100 entries to 3 cores", once: () => replicateMany(100) },
    { name: "machine: put a new key", once: () => apply(growing, envelopeOf(putOf(next++))) },
    { name: "machine: put over one of 10,000 keys", once: () => apply(machine, envelopeOf(putOf(at++ % KEYS))) },
    { name: "machine: get one of 10,000 keys", once: () => range(machine, { kind: "range", key: keyOf(at++ % KEYS) }) },
    {
      name: "machine: range of 100 keys",
      once: () => range(machine, { kind: "range", key: keyOf(1_000), rangeEnd: keyOf(1_100) }),
    },
    {
      name: "machine: count 10,000 keys",
      once: () => range(machine, { kind: "range", key: keyOf(0), rangeEnd: encodeUtf8("c"), countOnly: true }),
    },
  ];
}
