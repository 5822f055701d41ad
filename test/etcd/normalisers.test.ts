import { describe, expect, test } from "vitest";
import { type ErrorCode, FAILURES } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import type { PutRequest, RangeRequest, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import { bytes } from "../support/state.ts";
import type { Answer, EventAnswer, KvAnswer, LookStep, ResultAnswer, Step, WatchMessage } from "./answer.ts";
import { batching, gatewayError, NORMALISERS, type Normaliser } from "./normalisers.ts";

const named = (name: string): Normaliser => NORMALISERS.find((each) => each.name === name)!;
const VERSIONS = ["3.4.23", "3.4.34", "3.5.15", "3.5.16", "3.6.0", "3.7.0", "3.10.1", "4.0.0"];
const shownBy = (normaliser: Normaliser): string[] => VERSIONS.filter((version) => normaliser.shows(version));

const granted = (result: ResultAnswer, revision = 9): Answer => ({ kind: "granted", revision, result });
const told = (...messages: WatchMessage[]): Answer => ({ kind: "told", messages });
const message = (more: Partial<WatchMessage>): WatchMessage => ({
  ...{
    revision: 0,
    watchId: 0,
    created: false,
    canceled: false,
    compactRevision: 0,
    cancelReason: "",
    fragment: false,
  },
  events: [],
  ...more,
});
const kvOf = (key: string, modRevision: number, lease = "0"): KvAnswer => ({
  ...{ key, createRevision: modRevision, modRevision, version: 1, value: "", lease },
});
const put = (key: string, modRevision: number): EventAnswer => ({
  ...{ type: "put", kv: kvOf(key, modRevision), prevKv: undefined },
});
const deletion = (key: string, modRevision: number): EventAnswer => ({
  type: "delete",
  kv: { ...kvOf(key, modRevision), createRevision: 0, version: 0 },
  prevKv: undefined,
});

describe(gatewayError.name, () => {
  const message = "etcdserver: key is not provided";

  test("3.4's and 3.6's say the same", () => {
    expect(gatewayError.read({ error: message, message, code: 3 })).toEqual({ kind: "refused", code: 3, message });
    expect(gatewayError.read({ code: 3, message, details: [] })).toEqual({ kind: "refused", code: 3, message });
  });

  test("an answer is no error", () => {
    expect(gatewayError.read({ header: { revision: "3" } })).toBeUndefined();
    expect(gatewayError.read({})).toBeUndefined();
    expect(gatewayError.read([])).toBeUndefined();
  });

  test("a field that says something else is not passed over", () => {
    expect(() => gatewayError.read({ error: "another", message, code: 3 })).toThrow("not compared");
    expect(() => gatewayError.read({ message, code: 3, status: "x" })).toThrow("not compared");
  });
});

describe("order of a transaction's checks", () => {
  const normaliser = named("order of a transaction's checks");
  const put = (more: Partial<PutRequest>): PutRequest => ({
    kind: "put",
    key: bytes("k"),
    value: bytes(""),
    ...more,
  });
  const range = (more: Partial<RangeRequest>): RangeRequest => ({ kind: "range", key: bytes("k"), ...more });
  const txn = (...success: RequestOp[]): TxnRequest => ({ kind: "txn", compare: [], success, failure: [] });
  const refused = (code: ErrorCode): Answer => ({ kind: "refused", code: 3, message: FAILURES[code].message });
  const old = range({ revision: 1 });
  const leased = put({ lease: leaseId(1n) });
  const keeping = put({ ignoreValue: true });
  const both = put({ lease: leaseId(1n), ignoreValue: true });

  test("shows before 3.6", () => {
    expect(shownBy(normaliser)).toEqual(["3.4.23", "3.4.34", "3.5.15", "3.5.16"]);
  });

  const same: readonly (readonly [string, TxnRequest, ErrorCode, ErrorCode])[] = [
    ["an unknown lease before a compacted range", txn(old, leased), "LEASE_NOT_FOUND", "COMPACTED"],
    ["a missing key before a future range", txn(old, keeping), "KEY_NOT_FOUND", "FUTURE_REVISION"],
    ["the same in a transaction within", txn(old, txn(leased)), "LEASE_NOT_FOUND", "FUTURE_REVISION"],
    ["a put's key before its lease", txn(both), "KEY_NOT_FOUND", "LEASE_NOT_FOUND"],
  ];
  test.each(same)("%s is the same refusal", (_name, request, etcd, quorate) => {
    expect(normaliser.normalise(request, refused(etcd), refused(quorate))).toEqual(refused(quorate));
  });

  const other: readonly (readonly [string, TxnRequest, ErrorCode, ErrorCode])[] = [
    ["a range before a put", txn(old, leased), "COMPACTED", "LEASE_NOT_FOUND"],
    ["a put's lease before its key", txn(both), "LEASE_NOT_FOUND", "KEY_NOT_FOUND"],
    ["one range before another", txn(old, old, leased), "COMPACTED", "FUTURE_REVISION"],
    ["a put's refusal where no range can fail", txn(range({}), leased), "LEASE_NOT_FOUND", "COMPACTED"],
    ["a put's refusal where no put can fail", txn(old, put({})), "LEASE_NOT_FOUND", "COMPACTED"],
    ["a key before the lease of another put", txn(keeping, leased), "KEY_NOT_FOUND", "LEASE_NOT_FOUND"],
    ["another kind of refusal", txn(old, both), "DUPLICATE_KEY", "COMPACTED"],
  ];
  test.each(other)("%s stays a difference", (_name, request, etcd, quorate) => {
    expect(normaliser.normalise(request, refused(etcd), refused(quorate))).toEqual(refused(etcd));
  });

  test("what is granted, or refused outside a transaction, stays", () => {
    const granted: Answer = { kind: "granted", revision: 2, result: { kind: "txn", succeeded: true, results: [] } };
    expect(normaliser.normalise(txn(old, both), granted, refused("COMPACTED"))).toBe(granted);
    expect(normaliser.normalise(both, refused("KEY_NOT_FOUND"), refused("LEASE_NOT_FOUND"))).toEqual(
      refused("KEY_NOT_FOUND"),
    );
  });
});

describe("lease of keys only", () => {
  const normaliser = named("lease of keys only");
  const answer = (lease: string): ResultAnswer => ({
    kind: "range",
    kvs: [kvOf("k", 3, lease)],
    more: false,
    count: 1,
  });
  const range = (more: Partial<RangeRequest>): RangeRequest => ({ kind: "range", key: bytes("k"), ...more });

  test("shows before 3.7", () => {
    expect(shownBy(normaliser)).toEqual(VERSIONS.slice(0, 5));
  });

  test("is left out as by 3.7, in transactions too", () => {
    const keysOnly = range({ keysOnly: true, sortTarget: "mod" });
    const quorate = granted(answer("0"));
    expect(normaliser.normalise(keysOnly, granted(answer("7")), quorate)).toEqual(quorate);
    const inTxn = (inner: ResultAnswer): Answer => {
      const nested = { kind: "txn", succeeded: false, results: [{ revision: 9, result: inner }] } as const;
      return granted({ kind: "txn", succeeded: true, results: [{ revision: 0, result: nested as never }] });
    };
    const request: TxnRequest = {
      ...{ kind: "txn", compare: [], failure: [range({})] },
      success: [{ kind: "txn", compare: [], success: [range({})], failure: [keysOnly] }],
    };
    expect(normaliser.normalise(request, inTxn(answer("7")), quorate)).toEqual(inTxn(answer("0")));
  });

  test("stays where values are asked for, or sorted by", () => {
    for (const request of [range({}), range({ keysOnly: true, sortTarget: "value" })]) {
      const etcd = granted(answer("7"));
      expect(normaliser.normalise(request, etcd, granted(answer("0")))).toEqual(etcd);
    }
  });
});

describe("watch from below zero", () => {
  const normaliser = named("watch from below zero");
  const step = (startRevision: number): Step => ({
    ...{ kind: "watch", inStep: false, request: { kind: "create", key: bytes("k"), startRevision } },
  });
  const created = message({ revision: 9, watchId: 4, created: true });
  const canceled = message({ watchId: 4, canceled: true, compactRevision: 5 });
  const refused = message({
    ...{ revision: 9, watchId: -1, created: true, canceled: true },
    cancelReason: FAILURES.COMPACTED.message,
  });

  test("shows in 3.4", () => {
    expect(shownBy(normaliser)).toEqual(["3.4.23", "3.4.34"]);
  });

  test("created, then ended as compacted, is refused at once", () => {
    expect(normaliser.normalise(step(-1), told(created, canceled), told(refused))).toEqual(told(refused));
  });

  const other: readonly (readonly [string, Step, Answer, Answer])[] = [
    ["a start at 0", step(0), told(created, canceled), told(refused)],
    ["one that goes on", step(-1), told(created), told(refused)],
    ["another's end", step(-1), told(created, { ...canceled, watchId: 5 }), told(refused)],
    ["an end without a compact revision", step(-1), told(created, { ...canceled, compactRevision: 0 }), told(refused)],
    ["events in between", step(-1), told(created, message({ events: [put("k", 9)] }), canceled), told(refused)],
    ["another revision", step(-1), told(created, canceled), told({ ...refused, revision: 8 })],
  ];
  test.each(other)("%s stays", (_name, asked, etcd, quorate) => {
    expect(normaliser.normalise(asked, etcd, quorate)).toBe(etcd);
  });
});

describe("progress out of step", () => {
  const normaliser = named("progress out of step");
  const step = (inStep: boolean): Step => ({ kind: "watch", request: { kind: "progress" }, inStep });
  const progress = told(message({ revision: 9, watchId: -1 }));

  test("shows in 3.4", () => {
    expect(shownBy(normaliser)).toEqual(["3.4.23", "3.4.34"]);
  });

  test("3.4 answers where a newer etcd does not", () => {
    expect(normaliser.normalise(step(false), progress, told())).toEqual(told());
  });

  const other: readonly (readonly [string, Step, Answer, Answer])[] = [
    ["a stream whose watchers have all seen everything", step(true), progress, told()],
    ["an answer that both give", step(false), progress, told(message({ revision: 8, watchId: -1 }))],
    ["another answer", step(false), told(message({ revision: 9, watchId: 3 })), told()],
    ["no answer", step(true), told(), progress],
  ];
  test.each(other)("%s stays", (_name, asked, etcd, quorate) => {
    expect(normaliser.normalise(asked, etcd, quorate)).toBe(etcd);
  });
});

describe("what a compaction drops at its own revision", () => {
  const replaced = named("change replaced within the compaction revision");
  const tombstone = named("tombstone at the compaction revision");
  const look = (from: number): LookStep => ({ kind: "look", watchers: [{ id: 2, from, compacted: 5 }] });
  const events = (...all: EventAnswer[]): Answer => told(message({ watchId: 2, events: all }));
  const [kept, gone, later] = [put("k", 5), deletion("b", 5), put("b", 7)];

  test("the tombstone shows before 3.4.34 and 3.5.16, the rest always", () => {
    expect(shownBy(tombstone)).toEqual(["3.4.23", "3.5.15"]);
    expect(shownBy(replaced)).toEqual(VERSIONS);
  });

  test("a change whose successor a filter hides may be missing", () => {
    const filtered: LookStep = { kind: "look", watchers: [{ id: 2, from: 5, compacted: 5, filtered: true }] };
    expect(replaced.normalise(filtered, events(later), events(kept, later))).toEqual(events(kept, later));
  });

  const same: readonly (readonly [string, Normaliser, Answer, Answer])[] = [
    ["a deletion", tombstone, events(kept, later), events(gone, kept, later)],
    ["all deletions", tombstone, events(later), events(gone, deletion("c", 5), later)],
    ["some of them", tombstone, events(deletion("c", 5), later), events(gone, deletion("c", 5), later)],
    ["a put before a deletion", replaced, events(gone, later), events(put("b", 5), gone, later)],
    ["a deletion before a put", replaced, events(put("b", 5), later), events(gone, put("b", 5), later)],
  ];
  test.each(same)("%s may be missing", (_name, normaliser, etcd, quorate) => {
    expect(normaliser.normalise(look(5), etcd, quorate)).toEqual(quorate);
  });

  const other: readonly (readonly [string, Normaliser, Step, Answer, Answer])[] = [
    ["a put", tombstone, look(5), events(later), events(kept, later)],
    ["a deletion above the compact revision", tombstone, look(5), events(later), events(deletion("k", 6), later)],
    ["a deletion that a watcher from later on gets", tombstone, look(6), events(later), events(gone, later)],
    ["a deletion that only etcd tells", tombstone, look(5), events(gone, later), events(later)],
    ["the last change of a key", replaced, look(5), events(put("b", 5), later), events(put("b", 5), gone, later)],
    ["another key's", replaced, look(5), events(later), events(kept, later)],
  ];
  test.each(other)("%s may not", (_name, normaliser, step, etcd, quorate) => {
    expect(normaliser.normalise(step, etcd, quorate)).toEqual(etcd);
  });
});

describe("what a lease has left", () => {
  const normaliser = named("what a lease has left");
  const step: Step = { kind: "leaseTimeToLive", id: leaseId(7n) };
  const left = (ttl: number, grantedTtl = 60): Answer =>
    granted({ kind: "leaseTimeToLive", id: "7", ttl, grantedTtl, keys: [] });

  test("seconds apart are the same", () => {
    expect(normaliser.normalise(step, left(57), left(59))).toEqual(left(59));
    expect(normaliser.normalise(step, left(60), left(59))).toEqual(left(59));
  });

  test("minutes apart, one of two ended, another grant, or more than was granted are not", () => {
    for (const [etcd, quorate] of [
      [left(20), left(59)],
      [left(-1, 0), left(59)],
      [left(0), left(-1, 0)],
      [left(59, 60), left(61, 60)],
    ] as const) {
      expect(normaliser.normalise(step, etcd, quorate)).toEqual(etcd);
    }
    expect(normaliser.normalise(step, left(59, 61), left(59, 60))).toEqual(left(59, 61));
  });
});

test("order of a lease's keys: ascending", () => {
  const keys = (...all: string[]): Answer =>
    granted({ kind: "leaseTimeToLive", id: "7", ttl: 9, grantedTtl: 9, keys: all });
  const step: Step = { kind: "leaseTimeToLive", id: leaseId(7n), keys: true };
  const { normalise } = named("order of a lease's keys");
  expect(normalise(step, keys("b", "a", "\xff"), keys())).toEqual(keys("a", "b", "\xff"));
});

test("order of leases: ascending, as signed numbers", () => {
  const leases = (...all: string[]): Answer => granted({ kind: "leaseList", leases: all });
  const { normalise } = named("order of leases");
  expect(normalise({ kind: "leaseList" }, leases("10", "9", "-1"), leases())).toEqual(leases("-1", "9", "10"));
});

test("an id that the server chose: any above 0, and only where the server chose", () => {
  const lease = (id: string, ttl = 60): Answer => granted({ kind: "leaseGrant", id, ttl });
  const { normalise } = named("an id that the server chose");
  const step: Step = { kind: "leaseGrant", ttl: 60 };
  expect(normalise(step, lease("7"), lease("8"))).toEqual(lease("8"));
  expect(normalise(step, lease("7", 61), lease("8"))).toEqual(lease("8", 61));
  expect(normalise(step, lease("-7"), lease("8"))).toEqual(lease("-7"));
  expect(normalise(step, lease("7"), lease("0"))).toEqual(lease("7"));
  expect(normalise({ ...step, id: leaseId(7n) }, lease("7"), lease("8"))).toEqual(lease("7"));
});

test("a short lease that ended by itself: of those alone that are granted for no longer", () => {
  const { normalise } = named("a short lease that ended by itself");
  const revoke = (id: bigint): Step => ({ kind: "leaseRevoke", id: leaseId(id) });
  const revoked = granted({ kind: "leaseRevoke" });
  const gone: Answer = { kind: "refused", code: 5, message: FAILURES.LEASE_NOT_FOUND.message };
  const other: Answer = { kind: "refused", code: 3, message: FAILURES.LEASE_EXISTS.message };
  expect(normalise(revoke(101n), gone, revoked)).toBe(revoked);
  expect(normalise(revoke(102n), revoked, gone)).toBe(gone);
  expect(normalise(revoke(1n), revoked, gone)).toBe(revoked);
  expect(normalise(revoke(101n), other, revoked)).toBe(other);
});

describe(batching.name, () => {
  const of = (revision: number, ...events: EventAnswer[]): WatchMessage => message({ revision, watchId: 2, events });

  test("is one answer, whatever its revision", () => {
    const apart = [of(3, put("a", 3)), of(9, put("a", 4), put("b", 4), put("a", 5))];
    const whole = of(0, put("a", 3), put("a", 4), put("b", 4), put("a", 5));
    expect(batching.merge(apart)).toEqual([whole]);
    expect(batching.merge([of(5, ...whole.events)])).toEqual([whole]);
  });

  test("what is no event stays, in its place", () => {
    const end = message({ watchId: 2, canceled: true, compactRevision: 5 });
    expect(batching.merge([of(3, put("a", 3)), end])).toEqual([of(0, put("a", 3)), end]);
    expect(batching.merge([])).toEqual([]);
  });

  test("a revision in two answers, or stamped below its events, is an error", () => {
    expect(() => batching.merge([of(3, put("a", 3)), of(3, put("b", 3))])).toThrow("two answers");
    expect(() => batching.merge([of(2, put("a", 3))])).toThrow("too low");
  });
});
