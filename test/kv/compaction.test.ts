import { describe, expect, test } from "vitest";
import { Compactor } from "../../src/kv/compaction.ts";
import { KeyIndex } from "../../src/kv/key-index.ts";
import { SortedMap, TOP } from "../../src/kv/sorted-map.ts";
import { Store } from "../../src/kv/store.ts";
import { Lessor } from "../../src/lease/lessor.ts";
import { decodeHead, StateRecords } from "../../src/machine/records.ts";
import { StateHash } from "../../src/machine/state-hash.ts";
import { KEY_SPACE } from "../../src/machine/state-store.ts";
import { answer, bytes, Member, MemoryState, openMachine, show } from "../support/state.ts";

const put = (member: Member, key: string, value = ""): object =>
  member.ask({ kind: "put", key: bytes(key), value: bytes(value) });
const del = (member: Member, key: string): object => member.ask({ kind: "deleteRange", key: bytes(key) });
const compact = (member: Member, revision: number): object => answer(() => member.ask({ kind: "compact", revision }));
const all = (member: Member, revision = 0): object =>
  answer(() => member.ask({ kind: "range", key: bytes("\0"), rangeEnd: bytes("\0"), revision }));

/** The records of the store as "key@revision", with a † behind tombstones. */
function stored(member: Member): string[] {
  const found: [number, string][] = [];
  for (const [name, value] of member.state.records) {
    const key = bytes(name);
    if (key[0] !== KEY_SPACE.revision) continue;
    const { key: of, main, version } = decodeHead(key, value);
    found.push([main, `${of}@${main}${version === 0 ? "†" : ""}`]);
  }
  return found.sort(([a], [b]) => a - b).map(([, shown]) => shown);
}

/** put x@2, then k: put@3 put@4 del@5, put@6; x again @7, y put@8 del@9. */
function example(): Member {
  const member = new Member();
  put(member, "x");
  put(member, "k", "3");
  put(member, "k", "4");
  del(member, "k");
  put(member, "k", "6");
  put(member, "x");
  put(member, "y");
  del(member, "y");
  return member;
}

describe("compact", () => {
  test("the errors, and where they begin", () => {
    const member = example();
    expect(compact(member, 10)).toEqual({ error: "FUTURE_REVISION" });
    expect(compact(member, -1)).toEqual({ error: "COMPACTED" });
    expect(compact(member, -5)).toEqual({ error: "COMPACTED" });
    expect(member.machine.compactRevision).toBe(-1);
    // 0 works once, on a store never compacted.
    expect(compact(member, 0)).toEqual({ kind: "compact", revision: 9 });
    expect(compact(member, 0)).toEqual({ error: "COMPACTED" });
    expect(compact(member, 4)).toEqual({ kind: "compact", revision: 9 });
    expect(compact(member, 4)).toEqual({ error: "COMPACTED" });
    expect(compact(member, 3)).toEqual({ error: "COMPACTED" });
    expect(compact(member, 9)).toEqual({ kind: "compact", revision: 9 });
    expect(compact(member, 10)).toEqual({ error: "FUTURE_REVISION" });
    expect(member.machine.compactRevision).toBe(9);
  });

  test("COMPACTED says the compact revision", () => {
    const member = example();
    compact(member, 4);
    expect(() => member.ask({ kind: "compact", revision: 4 })).toThrow(
      expect.objectContaining({ code: "COMPACTED", details: { compactRevision: 4 } }),
    );
  });

  test("holds for reads at once, before anything is dropped", () => {
    const member = example();
    const at5 = all(member, 5);
    compact(member, 5);
    expect(all(member, 4)).toEqual({ error: "COMPACTED" });
    expect(all(member, 5)).toEqual(at5);
    expect(member.machine.compactionPending).toBe(true);
  });

  test("makes no revision", () => {
    const member = example();
    compact(member, 5);
    expect(put(member, "n")).toMatchObject({ revision: 10 });
  });
});

describe("what dropping leaves", () => {
  test.each([
    [2, "x@2 k@3 k@4 k@5† k@6 x@7 y@8 y@9†"],
    [3, "x@2 k@3 k@4 k@5† k@6 x@7 y@8 y@9†"],
    [4, "x@2 k@4 k@5† k@6 x@7 y@8 y@9†"],
    // Exactly at a delete the tombstone stays: a watch may still begin there and must see it (B52).
    [5, "x@2 k@5† k@6 x@7 y@8 y@9†"],
    [6, "x@2 k@6 x@7 y@8 y@9†"],
    [7, "k@6 x@7 y@8 y@9†"],
    [8, "k@6 x@7 y@8 y@9†"],
    [9, "k@6 x@7 y@9†"],
  ])("after a compaction at %i", (revision, expected) => {
    const member = example();
    const readable = Array.from({ length: 10 - revision }, (_, i) => all(member, revision + i));
    compact(member, revision);
    member.dropAll();
    expect(stored(member).join(" ")).toBe(expected);
    expect(Array.from({ length: 10 - revision }, (_, i) => all(member, revision + i))).toEqual(readable);
    // Restarted, the same.
    member.reload();
    expect(Array.from({ length: 10 - revision }, (_, i) => all(member, revision + i))).toEqual(readable);
    expect(all(member, revision - 1)).toEqual({ error: "COMPACTED" });
  });

  test("the boundary's tombstone goes with the next compaction, and its key with it", () => {
    const member = example();
    compact(member, 9);
    member.dropAll();
    put(member, "n");
    compact(member, 10);
    member.dropAll();
    expect(stored(member).join(" ")).toBe("k@6 x@7 n@10");
    put(member, "y");
    expect(show(member.ask({ kind: "range", key: bytes("y") }))).toMatchObject({ kvs: [{ create: 11, version: 1 }] });
  });

  test("the revision never goes back, though the record that carried it is dropped", () => {
    const member = new Member();
    put(member, "k");
    del(member, "k");
    compact(member, 3);
    put(member, "other");
    del(member, "other");
    compact(member, 5);
    member.dropAll();
    member.reload();
    expect(member.machine.revision).toBe(5);
    expect(put(member, "k")).toMatchObject({ revision: 6 });
  });
});

describe("dropping", () => {
  test("can be broken off and restarted after any step, and ends the same", () => {
    const whole = example();
    compact(whole, 9);
    whole.dropAll();
    const expected = stored(whole).join(" ");
    for (let steps = 0; steps < 12; steps++) {
      const member = example();
      compact(member, 9);
      const current = all(member);
      for (let i = 0; i < steps; i++) member.machine.compactStep(1);
      member.reload();
      expect(all(member)).toEqual(current);
      expect(all(member, 8)).toEqual({ error: "COMPACTED" });
      member.dropAll(1);
      expect(stored(member).join(" ")).toBe(expected);
      expect(member.machine.compactionPending).toBe(false);
      member.reload();
      expect(member.machine.compactionPending).toBe(false);
    }
  });

  test("a key with many records is dropped in slices, the oldest first", () => {
    const member = new Member();
    for (let i = 0; i < 3_000; i++) put(member, "k", String(i));
    put(member, "other");
    compact(member, 3_002);
    const all = stored(member);
    let steps = 0;
    let before = all.length;
    while (!member.machine.compactStep(10)) {
      const after = stored(member);
      expect(before - after.length).toBeLessThanOrEqual(300);
      before = after.length;
      expect(after).toEqual(all.slice(all.length - after.length));
      // Half-way, the key reads as ever, and may be written.
      if (steps++ === 3) {
        put(member, "k", "meanwhile");
        all.push("k@3003");
        before += 1;
      }
    }
    expect(steps).toBeGreaterThan(8);
    expect(stored(member)).toEqual(["k@3001", "other@3002", "k@3003"]);
    expect(show(member.ask({ kind: "range", key: bytes("k"), revision: 3_002 }))).toMatchObject({
      kvs: [{ value: "2999" }],
    });
    expect(show(member.ask({ kind: "range", key: bytes("k") }))).toMatchObject({
      kvs: [{ value: "meanwhile", version: 3_001 }],
    });
  });

  test("waits for a read that holds a revision, as far as that needs it", () => {
    const member = example();
    const at4 = all(member, 4);
    const read = member.machine.startRange({ kind: "range", key: bytes("\0"), rangeEnd: bytes("\0"), revision: 4 });
    read.step(1);
    compact(member, 9);
    for (let i = 0; i < 20; i++) expect(member.machine.compactStep(100)).toBe(false);
    // Everything below 4 that 4 does not need is gone already.
    expect(stored(member).join(" ")).toBe("x@2 k@4 k@5† k@6 x@7 y@8 y@9†");
    expect(show(read.step(1_000)!)).toEqual(at4);
    member.dropAll();
    expect(stored(member).join(" ")).toBe("k@6 x@7 y@9†");
  });

  test("covers compactions that arrive while it goes on", () => {
    const member = example();
    compact(member, 4);
    member.machine.compactStep(1);
    compact(member, 9);
    member.dropAll(1);
    expect(stored(member).join(" ")).toBe("k@6 x@7 y@9†");
  });

  test("forgets keys of which nothing is left", () => {
    const keys = new SortedMap<KeyIndex>();
    const state = new MemoryState();
    for (const [sub, name, gone] of [
      [0, "a", 3],
      [1, "b", 4],
      [2, "c", 9],
    ] as const) {
      const index = new KeyIndex(2, sub, 2, 1, 20);
      index.append(gone, 0, 0, 0, 20);
      state.writeRevision(2, sub, new Uint8Array(20));
      state.writeRevision(gone, 0, new Uint8Array(20));
      keys.insert(name, index);
    }
    const records = new StateRecords(state, new StateHash(), new Lessor({ write() {}, delete() {} }));
    const store = new Store(records, { keys, liveKeys: 0, revision: 9, compactRevision: -1 }, 0);
    const finished: number[] = [];
    const compactor = new Compactor(store, -1, (revision) => finished.push(revision));
    store.compact(4);
    expect(compactor.step(1_000)).toBe(true);
    expect([keys.page("", TOP, 10), finished, compactor.finished]).toEqual([["b", "c"], [4], 4]);
    // Both of "a"; the first of "b", whose tombstone stands at 4 itself.
    expect([2, 3, 4].map((main) => state.readRevision(main, 0) !== undefined)).toEqual([false, false, true]);
  });

  test("with nothing to drop is done at once", () => {
    expect(new Member().machine.compactStep(1)).toBe(true);
    const member = openMachine(new Member().state);
    expect(member.compactionPending).toBe(false);
  });
});
