import { describe, expect, test } from "vitest";
import { NO_LEASE, revision } from "../../src/base/ids.ts";
import { History } from "../../src/kv/history.ts";
import type { KeyValue } from "../../src/protocol/key-value.ts";
import { bytes, Member, text } from "../support/state.ts";

const kv = (key: string, at: number): KeyValue => ({
  key: bytes(key),
  createRevision: revision(at),
  modRevision: revision(at),
  version: 1,
  value: new Uint8Array(0),
  lease: NO_LEASE,
});

/** A record of this file: the key, padded with zeros. */
const record = (key: string, size = 0): Uint8Array => bytes(key.padEnd(size, "\0"));
const historyOf = (budget: number): History =>
  new History(budget, 2, (at, kept) => kv(text(kept).replaceAll("\0", ""), at));

const keysAt = (history: History, at: number): string[] | undefined => {
  const changes = history.changesAt(at);
  return changes === undefined ? undefined : Array.from(changes, ({ key }) => text(key));
};

/** Publishes `count` revisions of one change each; returns what one weighs. */
function fill(history: History, from: number, count: number, size = 0): number {
  const before = history.bytes;
  for (let at = from; at < from + count; at++) {
    history.stage(record(`k${at}`, size));
    history.publish(at);
  }
  return (history.bytes - before) / count;
}

describe("History", () => {
  test("tells each revision's changes, in their order, and nothing of others", () => {
    const history = historyOf(1 << 20);
    history.stage(record("b"));
    history.stage(record("a"));
    history.publish(2);
    fill(history, 3, 1);
    expect(history.first).toBe(2);
    expect(keysAt(history, 2)).toEqual(["b", "a"]);
    expect(keysAt(history, 3)).toEqual(["k3"]);
    expect(history.changesAt(1)).toBeUndefined();
    expect(history.changesAt(4)).toBeUndefined();
  });

  test("what is staged is not told before it is published", () => {
    const history = historyOf(1 << 20);
    history.stage(record("a"));
    expect(history.changesAt(2)).toBeUndefined();
  });

  test("keeps the newest within its budget", () => {
    const weight = fill(historyOf(1 << 20), 2, 1);
    const history = historyOf(10 * weight);
    fill(history, 2, 9);
    expect(history.first).toBe(2);
    fill(history, 11, 3_000);
    expect(history.bytes).toBeLessThanOrEqual(10 * weight);
    const next = 3_011;
    expect(history.first).toBeGreaterThan(next - 11);
    expect(history.first).toBeLessThanOrEqual(next - 9);
    for (let at = history.first; at < next; at++) expect(keysAt(history, at)).toEqual([`k${at}`]);
    expect(history.changesAt(history.first - 1)).toBeUndefined();
  });

  test("a revision larger than the budget leaves a gap, and the next ones are told again", () => {
    const history = historyOf(2_000);
    fill(history, 2, 2);
    for (let i = 0; i < 50; i++) history.stage(record(`big${i}`, 100));
    history.publish(4);
    expect([2, 3, 4].map((at) => history.changesAt(at))).toEqual([undefined, undefined, undefined]);
    expect(history.bytes).toBe(0);
    expect(history.first).toBe(5);
    fill(history, 5, 2);
    expect(keysAt(history, 5)).toEqual(["k5"]);
    expect(keysAt(history, 6)).toEqual(["k6"]);
  });

  test("of a store holds deletes as events show them: key and revision alone", () => {
    const member = new Member();
    member.ask({ kind: "put", key: bytes("a"), value: bytes("1") });
    member.ask({ kind: "put", key: bytes("b"), value: bytes("2") });
    member.ask({ kind: "deleteRange", key: bytes("a"), rangeEnd: bytes("\0") });
    const { history } = member.machine;
    expect(keysAt(history, 4)).toEqual(["a", "b"]);
    expect(history.changesAt(4)!.at(0)).toEqual({ ...kv("a", 4), createRevision: 0, version: 0 });
    // A read, a refused write and a delete of nothing make no revision, and no history.
    member.ask({ kind: "deleteRange", key: bytes("zzz") });
    expect(history.changesAt(5)).toBeUndefined();
  });

  test("of a restarted member begins behind what it holds", () => {
    const member = new Member();
    member.ask({ kind: "put", key: bytes("a"), value: bytes("1") });
    member.reload();
    expect(member.machine.history.first).toBe(3);
    expect(member.machine.history.changesAt(2)).toBeUndefined();
    member.ask({ kind: "put", key: bytes("a"), value: bytes("2") });
    expect(keysAt(member.machine.history, 3)).toEqual(["a"]);
  });
});
