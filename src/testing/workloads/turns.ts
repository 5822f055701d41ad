/**
 * Workloads for one promise each, as turns of the clients of `KvWorkload`. Their histories are histories of the same
 * store, so every general checker holds for them too; each adds its own, weaker and simpler one.
 */
import { randomInt } from "../../base/prng.ts";
import { checkBank, checkSet, checkUniqueIds } from "../checkers/invariants.ts";
import { checkAppend, parseList } from "../checkers/transactions.ts";
import type { Verdict } from "../checkers/verdict.ts";
import type { HistoryKeyValue, HistoryOp, HistoryResult, Operation } from "../history.ts";
import type { Turn } from "./kv.ts";

export interface TurnWorkload {
  /** A fresh turn for each run: it may remember what its clients did. */
  readonly turn: () => Turn;
  /** By promise. `final` is the store at the end, as one linearizable read showed it. */
  readonly check: (
    operations: readonly Operation[],
    final: ReadonlyMap<string, string>,
  ) => Readonly<Record<string, Verdict>>;
}

/** Elements of a list or set before the next one is begun: values stay small, and histories searchable. */
const ELEMENTS_MAX = 40;
const ACCOUNTS = 5;
const MONEY = 100;

/** Append a row for a new workload; names are those of `--workload`. */
export const TURN_WORKLOADS: Readonly<Record<string, TurnWorkload>> = {
  register: { turn: register, check: () => ({}) },
  set: {
    turn: casSet,
    check: (operations, final) => ({ "sets keep what was added": checkSet(operations, final) }),
  },
  append: {
    turn: append,
    check: (operations) => ({ "transactions are serializable": checkAppend(operations.filter(isOfLists)) }),
  },
  ids: { turn: ids, check: (operations) => ({ "ids are unique": checkUniqueIds(operations) }) },
  bank: {
    turn: bank,
    check: (operations) => ({ "money is kept": checkBank(operations, MONEY * ACCOUNTS, ACCOUNTS) }),
  },
};

/** Few keys under contention: the classic test of linearizability. */
function register(): Turn {
  let values = 0;
  const seen = new Map<string, string>();
  return async (perform, random) => {
    const key = `r${randomInt(random, 0, 2)}`;
    const dice = random();
    const value = `v${++values}`;
    let result: HistoryResult | undefined;
    if (dice < 0.4) result = await perform({ kind: "get", key });
    else if (dice < 0.7) await perform({ kind: "put", key, value });
    else {
      const expected = seen.get(key) ?? "";
      const compare = [{ key, target: "value", is: expected }] as const;
      const get: HistoryOp = { kind: "get", key };
      await perform({ kind: "txn", compare, success: [{ kind: "put", key, value }], failure: [get] });
    }
    const kv = only(result);
    if (kv !== undefined) seen.set(key, kv.value);
  };
}

function casSet(): Turn {
  let elements = 0;
  return async (perform) => {
    const element = ++elements;
    const key = `set/${Math.floor(element / ELEMENTS_MAX)}`;
    const old = await perform({ kind: "get", key });
    if (old === undefined) return;
    const kv = only(old);
    const value = [...parseList(kv?.value), `e${element}`].join(",");
    await perform({
      kind: "txn",
      compare: [{ key, target: "mod", is: kv?.mod ?? 0 }],
      success: [{ kind: "put", key, value }],
      failure: [],
    });
  };
}

/** Reads two or three lists and appends to one of them, if they all are as they were seen before. */
function append(): Turn {
  let elements = 0;
  return async (perform, random) => {
    const generation = Math.floor(elements / (3 * ELEMENTS_MAX));
    const names = ["x", "y", "z"].filter(() => random() < 0.7).map((name) => `l${generation}/${name}`);
    if (names.length === 0) return;
    const reads = names.map((key): HistoryOp => ({ kind: "get", key }));
    const before = await perform({ kind: "txn", compare: [], success: reads, failure: [] });
    if (before?.kind !== "txn" || random() < 0.3) return;
    const target = randomInt(random, 0, names.length - 1);
    const kvs = before.results.map((result) => (result.kind === "get" ? result.kvs[0] : undefined));
    const value = [...parseList(kvs[target]?.value), `e${++elements}`].join(",");
    await perform({
      kind: "txn",
      // Only the list that is written is guarded: the others are read again, at the same instant.
      compare: [{ key: names[target]!, target: "mod", is: kvs[target]?.mod ?? 0 }],
      success: [...reads, { kind: "put", key: names[target]!, value }],
      failure: [],
    });
  };
}

function ids(): Turn {
  let values = 0;
  return async (perform, random) => {
    await perform({ kind: "put", key: `id${randomInt(random, 0, 3)}`, value: `v${++values}` });
  };
}

/** Money goes from one account to another in one transaction, if neither changed since it was looked at. */
function bank(): Turn {
  const account = (i: number): string => `bank/${i}`;
  return async (perform, random) => {
    const seen = await perform({ kind: "get", key: "bank/", end: "bank0" });
    if (seen?.kind !== "get") return;
    if (seen.kvs.length === 0) {
      const all = Array.from({ length: ACCOUNTS }, (_, i) => account(i));
      await perform({
        kind: "txn",
        compare: [{ key: account(0), target: "create", is: 0 }],
        success: all.map((key): HistoryOp => ({ kind: "put", key, value: `${MONEY}` })),
        failure: [],
      });
      return;
    }
    const [from, to] = [randomInt(random, 0, ACCOUNTS - 1), randomInt(random, 0, ACCOUNTS - 1)].map((i) => seen.kvs[i]);
    if (from === undefined || to === undefined || from === to) return;
    const amount = randomInt(random, 1, 20);
    if (Number(from.value) < amount) return;
    await perform({
      kind: "txn",
      compare: [from, to].map(({ key, mod }) => ({ key, target: "mod", is: mod })),
      success: [
        { kind: "put", key: from.key, value: `${Number(from.value) - amount}` },
        { kind: "put", key: to.key, value: `${Number(to.value) + amount}` },
      ],
      failure: [],
    });
  };
}

/** Its keys are lists' and no other workload's. */
function isOfLists({ request }: Operation): boolean {
  return request.kind === "txn" && request.success.every(({ key }) => /^l\d+\//.test(key));
}

function only(result: HistoryResult | undefined): HistoryKeyValue | undefined {
  return result?.kind === "get" ? result.kvs[0] : undefined;
}
