/** The workload and the checkers together, against a store of twenty lines: sound first, then with one bug at a time. */
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, memberId, NO_LEASE, revision, term } from "../../src/base/ids.ts";
import { prng } from "../../src/base/prng.ts";
import type { RequestOp } from "../../src/protocol/requests.ts";
import type { Response, Result } from "../../src/protocol/responses.ts";
import { checkLinearizability } from "../../src/testing/checkers/linearizability.ts";
import { INITIAL, type ModelResult, type ModelState, step } from "../../src/testing/checkers/model.ts";
import { checkSerializable } from "../../src/testing/checkers/serializable.ts";
import { History, type HistoryOpResult, type HistoryRequest } from "../../src/testing/history.ts";
import { FAULT_KINDS, type FaultControls, Nemesis } from "../../src/testing/nemesis.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { type Call, KvWorkload, toRequest } from "../../src/testing/workloads/kv.ts";

type Bug = "none" | "stale read" | "lost write" | "refused but applied" | "applied twice" | "wrong old state";

/** Runs all events up to a time. Twenty turns of the microtask queue are more than any call here needs. */
async function run(clock: VirtualClock, until: number): Promise<void> {
  while ((clock.nextTime() ?? Infinity) <= until) {
    clock.runNext();
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }
}

/** Answers after a while, takes effect somewhere in between, and sometimes says nothing. */
function store(clock: VirtualClock, bug: Bug): { call: Call; asked: HistoryRequest[] } {
  const random = prng(99);
  const asked: HistoryRequest[] = [];
  let state: ModelState = INITIAL;
  const states: ModelState[] = [INITIAL];
  const old = (): ModelState => states[Math.max(0, states.length - 3)]!;
  const apply = (request: HistoryRequest): ModelResult => {
    const after = step(state, request);
    if (after.state !== state) states.push(after.state);
    state = after.state;
    return after.result;
  };
  const wait = (ms: number): Promise<void> => new Promise((resolve) => clock.after(ms, resolve));
  const perform = async (request: HistoryRequest): Promise<Response<Result>> => {
    await wait(random() * 10);
    const dice = random();
    const read = request.kind === "get";
    if (dice < 0.05) throw new StoreError("NO_LEADER", { outcome: "rejected" });
    if (dice < 0.1) {
      if (random() < 0.5) clock.after(random() * 200, () => apply(request));
      throw new StoreError("TIMEOUT", { outcome: "unknown" });
    }
    const planted = bug !== "none" && random() < 0.1;
    if (planted && bug === "refused but applied" && request.kind === "put") {
      apply(request);
      throw new StoreError("NO_LEADER", { outcome: "rejected" });
    }
    let answer: ModelResult;
    let at: number;
    if (read && (request.serializable === true || (planted && bug === "stale read"))) {
      const seen = request.serializable === true ? state : old();
      const shown = planted && bug === "wrong old state" && states.length > 3 ? old() : seen;
      answer = step(shown, request).result;
      at = seen.revision;
    } else if (planted && bug === "lost write" && request.kind === "put") {
      answer = { kind: "put" };
      at = state.revision + 1;
    } else {
      answer = apply(request);
      at = state.revision;
      if (planted && bug === "applied twice" && request.kind === "put") apply(request);
    }
    await wait(random() * 10);
    return respond(answer, at);
  };
  return { call: ((request: RequestOp) => perform(toHistory(request))) as unknown as Call, asked };
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function toHistory(request: RequestOp): HistoryRequest {
  if (request.kind === "put") return { kind: "put", key: text(request.key), value: text(request.value) };
  if (request.kind === "txn") {
    return {
      kind: "txn",
      compare: request.compare.map((compare) => {
        if (compare.target !== "mod") throw new TypeError("the workload compares mod revisions");
        return { key: text(compare.key), target: "mod", is: compare.modRevision };
      }),
      success: request.success.map((op) => toHistory(op) as never),
      failure: request.failure.map((op) => toHistory(op) as never),
    };
  }
  const range = {
    key: text(request.key),
    ...(request.rangeEnd === undefined ? {} : { end: text(request.rangeEnd) }),
  };
  if (request.kind === "deleteRange") return { kind: "delete", ...range };
  return { kind: "get", ...range, serializable: request.serializable === true };
}

function respond(answer: ModelResult, at: number): Response<Result> {
  const one = (result: HistoryOpResult): Result => {
    if (result.kind === "put") return { kind: "put", revision: revision(at) };
    if (result.kind === "delete") {
      return { kind: "deleteRange", revision: revision(at), deleted: result.deleted, prevKvs: [] };
    }
    const kvs = result.kvs.map((kv) => ({
      key: encodeUtf8(kv.key),
      value: encodeUtf8(kv.value),
      createRevision: revision(kv.create),
      modRevision: revision(kv.mod),
      version: kv.version,
      lease: NO_LEASE,
    }));
    return { kind: "range", revision: revision(at), kvs, more: false, count: kvs.length };
  };
  const result =
    answer.kind === "txn"
      ? ({
          kind: "txn",
          revision: revision(at),
          succeeded: answer.succeeded,
          results: answer.results.map(one),
        } as Result)
      : one(answer);
  return {
    header: { clusterId: clusterId(1), memberId: memberId(1), revision: revision(at), raftTerm: term(1) },
    result,
  };
}

async function play(bug: Bug, seed: number): Promise<{ history: History; workload: KvWorkload }> {
  const clock = new VirtualClock();
  const history = new History();
  const { call } = store(clock, bug);
  const workload = new KvWorkload({
    clock,
    random: prng(seed),
    history,
    calls: [call, call, call, call],
    keys: 4,
    thinkMs: 20,
  });
  workload.start();
  await run(clock, 10_000);
  void workload.stop();
  await run(clock, 20_000);
  return { history, workload };
}

describe("the key-value workload", () => {
  test("against a sound store that forgets to answer now and then, every checker is content", async () => {
    for (const seed of [1, 2, 3]) {
      const { history, workload } = await play("none", seed);
      expect(workload.unexpected).toEqual([]);
      expect(workload.inFlight).toBe(0);
      expect(workload.counts.ok).toBeGreaterThan(500);
      expect(workload.counts.unknown).toBeGreaterThan(10);
      expect(checkLinearizability(history.operations())).toEqual({ verdict: "ok" });
      expect(checkSerializable(history.records)).toEqual({ verdict: "ok" });
    }
  });

  test.each(["stale read", "lost write", "refused but applied", "applied twice"] as const)(
    "a store with the bug %s is found out",
    async (bug) => {
      const { history } = await play(bug, 1);
      expect(checkLinearizability(history.operations()).verdict).toBe("violation");
    },
  );

  test("a serializable read that shows the state of another revision is found out, and by its own checker", async () => {
    const { history } = await play("wrong old state", 1);
    expect(checkLinearizability(history.operations())).toEqual({ verdict: "ok" });
    expect(checkSerializable(history.records).verdict).toBe("violation");
  });

  test("one seed gives one history, to the byte", async () => {
    const one = await play("none", 7);
    const two = await play("none", 7);
    expect(one.history.toJsonLines()).toBe(two.history.toJsonLines());
  });

  test("a text request survives the way to bytes and back", () => {
    const request: HistoryRequest = { kind: "get", key: "k", end: "l", serializable: true };
    expect(toHistory(toRequest(request))).toEqual(request);
  });
});

describe("Nemesis", () => {
  function controls(log: string[]): FaultControls {
    return {
      names: ["n1", "n2", "n3"],
      leader: "n2",
      cut: (from, to) => log.push(`cut ${from} ${to}`),
      healCuts: () => log.push("heal"),
      trouble: (trouble) => log.push(`trouble ${JSON.stringify(trouble)}`),
      kill: (name, power) => log.push(`kill ${name} ${power}`),
      start: (name) => log.push(`start ${name}`),
      stallDisk: (name, stalled) => log.push(`stall ${name} ${stalled}`),
      pause: (name, paused) => log.push(`pause ${name} ${paused}`),
      transferLeadership: () => log.push("transfer"),
      fillDisk: (name, full) => log.push(`fill ${name} ${full}`),
      setClock: (name, rate, jumpMs) => log.push(`clock ${name} ${rate} ${jumpMs}`),
      compact: () => log.push("compact"),
      damage: (name) => `${log.push(`damage ${name}`)}`,
      replace: async (name) => void log.push(`replace ${name}`),
      visit: async (stayMs) => void log.push(`visit ${stayMs}`),
      crashCandidate: async () => log.push("crash candidate") > 0,
    };
  }

  async function schedule(seed: number, kinds?: typeof FAULT_KINDS): Promise<{ log: string[]; nemesis: Nemesis }> {
    const clock = new VirtualClock();
    const log: string[] = [];
    const nemesis = new Nemesis({
      clock,
      random: prng(seed),
      controls: controls(log),
      onFault: ({ fault, phase, detail }) => log.push(`${clock.now()} ${fault} ${phase} ${detail}`),
      ...(kinds === undefined ? {} : { kinds }),
    });
    nemesis.start();
    await run(clock, 400_000);
    void nemesis.stop();
    await run(clock, 500_000);
    return { log, nemesis };
  }

  test("one seed gives one schedule, and each kind strikes when all are allowed", async () => {
    const { log, nemesis } = await schedule(3, FAULT_KINDS);
    expect((await schedule(3, FAULT_KINDS)).log).toEqual(log);
    for (const kind of FAULT_KINDS) expect(nemesis.counts.get(kind) ?? 0, kind).toBeGreaterThan(0);
  });

  test("after stop nothing is cut, slow, stalled, paused or down", async () => {
    const { log } = await schedule(4);
    const since = (text: string): number => log.lastIndexOf(text);
    expect(since("heal")).toBeGreaterThan(
      Math.max(...["n1", "n2", "n3"].map((n) => log.findLastIndex((l) => l.startsWith(`cut ${n}`)))),
    );
    for (const name of ["n1", "n2", "n3"]) {
      expect(since(`start ${name}`)).toBeGreaterThan(log.findLastIndex((line) => line.startsWith(`kill ${name}`)));
      expect(since(`stall ${name} false`)).toBeGreaterThan(since(`stall ${name} true`));
      expect(since(`pause ${name} false`)).toBeGreaterThan(since(`pause ${name} true`));
    }
  });

  test("seeds differ in the kinds that they allow", async () => {
    const sets = new Set<string>();
    for (let seed = 0; seed < 8; seed++) sets.add((await schedule(seed)).nemesis.kinds.join());
    expect(sets.size).toBeGreaterThan(4);
  });
});
