/** The rules of revisions and ranges, one by one and readable. Random programs are in store.property.test.ts. */
import { describe, expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import type { RangeRequest } from "../../src/protocol/requests.ts";
import type { DeleteRangeResult, PutResult, RangeResult } from "../../src/protocol/responses.ts";
import { answer, bytes, finishRead, Member, show, text } from "../support/state.ts";

const put = (member: Member, key: string, value = "", more: object = {}): PutResult =>
  member.ask({ kind: "put", key: bytes(key), value: bytes(value), ...more }) as PutResult;
const range = (member: Member, key: string, end?: string, more: Partial<RangeRequest> = {}): RangeResult =>
  member.ask({
    kind: "range",
    key: bytes(key),
    ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
    ...more,
  }) as RangeResult;
const del = (member: Member, key: string, end?: string, prevKv = false): DeleteRangeResult =>
  member.ask({
    kind: "deleteRange",
    key: bytes(key),
    ...(end === undefined ? {} : { rangeEnd: bytes(end) }),
    prevKv,
  }) as DeleteRangeResult;
const keys = ({ kvs }: RangeResult): string[] => kvs.map(({ key }) => text(key));

describe("revisions", () => {
  test("an empty store stands at 1 and its first write is 2", () => {
    const member = new Member();
    expect(range(member, "a")).toMatchObject({ revision: 1, kvs: [], more: false, count: 0 });
    expect(put(member, "a").revision).toBe(2);
    expect(member.machine.revision).toBe(2);
  });

  test("create, mod and version follow a key through its lives", () => {
    const member = new Member();
    const seen = (): unknown => {
      const [kv] = range(member, "k").kvs;
      return kv && [kv.createRevision, kv.modRevision, kv.version];
    };
    put(member, "k", "1");
    expect(seen()).toEqual([2, 2, 1]);
    put(member, "k", "1");
    expect(seen()).toEqual([2, 3, 2]);
    del(member, "k");
    expect(seen()).toBeUndefined();
    put(member, "k", "1");
    expect(seen()).toEqual([5, 5, 1]);
  });

  test("a delete of many keys is one revision, a delete of none is none", () => {
    const member = new Member();
    for (const key of ["a", "b", "c"]) put(member, key);
    expect(del(member, "x", "z")).toMatchObject({ deleted: 0, revision: 4 });
    expect(del(member, "a", "c")).toMatchObject({ deleted: 2, revision: 5, prevKvs: [] });
    expect(del(member, "a", "c")).toMatchObject({ deleted: 0, revision: 5 });
    expect(member.machine.revision).toBe(5);
    expect(member.machine.metrics.keys).toBe(1);
  });

  test("an empty value is a live key", () => {
    const member = new Member();
    put(member, "k", "");
    expect(range(member, "k").count).toBe(1);
  });
});

describe("put", () => {
  test("returns what was there, if asked", () => {
    const member = new Member();
    expect(put(member, "k", "1", { prevKv: true }).prevKv).toBeUndefined();
    expect(text(put(member, "k", "2", { prevKv: true }).prevKv!.value)).toBe("1");
    expect(put(member, "k", "3").prevKv).toBeUndefined();
    del(member, "k");
    expect(put(member, "k", "4", { prevKv: true }).prevKv).toBeUndefined();
  });

  test("ignoreValue and ignoreLease keep what is there and still make a revision", () => {
    const member = new Member();
    put(member, "k", "kept");
    put(member, "k", "", { ignoreValue: true });
    put(member, "k", "", { ignoreValue: true, ignoreLease: true });
    expect(show(range(member, "k"))).toMatchObject({ kvs: [{ value: "kept", version: 3, mod: 4, create: 2 }] });
    put(member, "k", "new", { ignoreLease: true });
    expect(show(range(member, "k"))).toMatchObject({ kvs: [{ value: "new", version: 4 }] });
  });

  test("refusals change nothing: lease before key", () => {
    const member = new Member();
    put(member, "there");
    const refused = (key: string, more: object): unknown => answer(() => put(member, key, "", more));
    expect(refused("absent", { ignoreValue: true })).toEqual({ error: "KEY_NOT_FOUND" });
    expect(refused("absent", { ignoreLease: true })).toEqual({ error: "KEY_NOT_FOUND" });
    expect(refused("there", { lease: leaseId(7) })).toEqual({ error: "LEASE_NOT_FOUND" });
    expect(refused("there", { lease: leaseId(-7) })).toEqual({ error: "LEASE_NOT_FOUND" });
    expect(refused("absent", { lease: leaseId(7), ignoreValue: true })).toEqual({ error: "LEASE_NOT_FOUND" });
    expect(answer(() => put(member, "there", "", { lease: leaseId(0) }))).toMatchObject({ revision: 3 });
    del(member, "there");
    expect(refused("there", { ignoreValue: true })).toEqual({ error: "KEY_NOT_FOUND" });
    expect(member.machine.revision).toBe(4);
  });
});

describe("delete", () => {
  test("returns what was there, in key order, if asked", () => {
    const member = new Member();
    put(member, "b", "2");
    put(member, "a", "1");
    expect(show(del(member, "\0", "\0", true))).toMatchObject({
      deleted: 2,
      prevKvs: [
        { key: "a", value: "1", create: 3 },
        { key: "b", value: "2", create: 2 },
      ],
    });
  });
});

/** a: version 3, created 2; b: created 4, "z"; c: created 5, "m"; d: deleted; e: created 8, "" */
function example(): Member {
  const member = new Member();
  put(member, "a", "1"); // 2
  put(member, "a", "2"); // 3
  put(member, "b", "z"); // 4
  put(member, "c", "m"); // 5
  put(member, "d", "d"); // 6
  del(member, "d"); // 7
  put(member, "e", ""); // 8
  put(member, "a", "y"); // 9
  return member;
}

describe("range", () => {
  const cases: readonly (readonly [
    string,
    string,
    string | undefined,
    Partial<RangeRequest>,
    string,
    boolean,
    number,
  ])[] = [
    ["one key", "a", undefined, {}, "a", false, 1],
    ["one absent key", "d", undefined, {}, "", false, 0],
    ["half-open", "a", "c", {}, "ab", false, 2],
    ["from a key on", "b", "\0", {}, "bce", false, 3],
    ["everything", "\0", "\0", {}, "abce", false, 4],
    ["an end below the key", "c", "a", {}, "", false, 0],
    ["an old revision", "\0", "\0", { revision: 6 }, "abcd", false, 4],
    ["revision 1 is before everything", "\0", "\0", { revision: 1 }, "", false, 0],
    ["a negative revision is the current one", "\0", "\0", { revision: -3 }, "abce", false, 4],
    ["a limit", "\0", "\0", { limit: 2 }, "ab", true, 4],
    ["a limit that is just enough", "\0", "\0", { limit: 4 }, "abce", false, 4],
    ["a negative limit is none", "\0", "\0", { limit: -1 }, "abce", false, 4],
    ["a limit on one key", "a", undefined, { limit: 1 }, "a", false, 1],
    ["descending", "\0", "\0", { sortOrder: "descend" }, "ecba", false, 4],
    ["descending with a limit", "\0", "\0", { sortOrder: "descend", limit: 1 }, "e", true, 4],
    ["by version", "\0", "\0", { sortOrder: "descend", sortTarget: "version" }, "abce", false, 4],
    [
      "by version, ascending: ties in key order",
      "\0",
      "\0",
      { sortOrder: "ascend", sortTarget: "version" },
      "bcea",
      false,
      4,
    ],
    ["by create revision", "\0", "\0", { sortOrder: "descend", sortTarget: "create" }, "ecba", false, 4],
    ["by mod revision", "\0", "\0", { sortOrder: "ascend", sortTarget: "mod" }, "bcea", false, 4],
    ["by value", "\0", "\0", { sortOrder: "ascend", sortTarget: "value" }, "ecab", false, 4],
    ["by value, downwards", "\0", "\0", { sortOrder: "descend", sortTarget: "value" }, "bace", false, 4],
    ["by value, downwards, limited", "\0", "\0", { sortOrder: "descend", sortTarget: "value", limit: 1 }, "b", true, 4],
    ["a target without an order ascends", "\0", "\0", { sortTarget: "mod" }, "bcea", false, 4],
    ["but with a limit chooses among the first keys", "\0", "\0", { sortTarget: "mod", limit: 2 }, "bc", true, 4],
    ["whatever lies behind them", "\0", "\0", { sortTarget: "value", limit: 1 }, "a", true, 4],
    ["unlike one with an order", "\0", "\0", { sortTarget: "create", sortOrder: "descend", limit: 2 }, "ec", true, 4],
    ["ascending keys with a limit", "\0", "\0", { sortOrder: "ascend", limit: 3 }, "abc", true, 4],
    ["mod at least", "\0", "\0", { minModRevision: 8 }, "ae", false, 4],
    ["mod at most", "\0", "\0", { maxModRevision: 8 }, "bce", false, 4],
    ["create at least", "\0", "\0", { minCreateRevision: 5 }, "ce", false, 4],
    ["create at most", "\0", "\0", { maxCreateRevision: 5 }, "abc", false, 4],
    [
      "both ends of both",
      "\0",
      "\0",
      { minModRevision: 4, maxModRevision: 8, minCreateRevision: 5, maxCreateRevision: 7 },
      "c",
      false,
      4,
    ],
    ["a filter, then the limit", "\0", "\0", { minModRevision: 5, limit: 1 }, "a", true, 4],
    ["a negative bound is a bound", "\0", "\0", { maxModRevision: -1 }, "", false, 4],
    ["the count alone", "\0", "\0", { countOnly: true }, "", false, 4],
    ["the count ignores limit and filters", "\0", "\0", { countOnly: true, limit: 1, minModRevision: 9 }, "", false, 4],
    ["the count of an old revision", "\0", "\0", { countOnly: true, revision: 4 }, "", false, 2],
    ["the count of one key", "a", undefined, { countOnly: true }, "", false, 1],
  ];
  test.each(cases)("%s", (_name, key, end, more, expected, moreToCome, count) => {
    const member = example();
    const result = range(member, key, end, more);
    expect([keys(result).join(""), result.more, result.count]).toEqual([expected, moreToCome, count]);
    // Stamped with the current revision, whatever the revision read.
    expect(result.revision).toBe(9);
    // And the same when cut into the smallest slices.
    const request = {
      kind: "range",
      key: bytes(key),
      rangeEnd: end === undefined ? undefined : bytes(end),
      ...more,
    } as const;
    expect(show(finishRead(member.machine.startRange(request), 1))).toEqual(show(result));
  });

  test("keysOnly strips values, sorts by them all the same, and leaves the lease out but then", () => {
    const member = example();
    const plain = range(member, "\0", "\0", { keysOnly: true });
    expect(plain.kvs.map(({ value }) => value.length)).toEqual([0, 0, 0, 0]);
    expect(plain.kvs.map(({ version }) => version)).toEqual([3, 1, 1, 1]);
    const byValue = range(member, "\0", "\0", { keysOnly: true, sortTarget: "value" });
    expect([keys(byValue).join(""), byValue.kvs.map(({ value }) => value.length)]).toEqual(["ecab", [0, 0, 0, 0]]);
  });

  test("refuses the future and what is compacted, not the compact revision", () => {
    const member = example();
    member.ask({ kind: "compact", revision: 6 });
    const at = (revision: number): unknown => answer(() => range(member, "\0", "\0", { revision }));
    expect(at(10)).toEqual({ error: "FUTURE_REVISION" });
    expect(at(5)).toEqual({ error: "COMPACTED" });
    expect(at(6)).toMatchObject({ count: 4 });
    expect(at(9)).toMatchObject({ count: 4 });
    expect(() => range(member, "a", undefined, { revision: 5 })).toThrow(
      expect.objectContaining({ details: { compactRevision: 6 } }),
    );
  });

  test("a range under way shows one revision, though writes go on", () => {
    const member = example();
    const request = { kind: "range", key: bytes("\0"), rangeEnd: bytes("\0"), sortTarget: "value" } as const;
    const expected = show(member.ask(request));
    const read = member.machine.startRange(request);
    expect(read.step(1)).toBeUndefined();
    put(member, "aa", "new");
    del(member, "b", "\0");
    // The stamp too: whoever watches from there on misses nothing.
    expect(show(finishRead(read, 1))).toEqual(expected);
  });

  test("byte order, not the order of text", () => {
    const member = new Member();
    const names = ["\x7f", "\x80", "\xff", "a", "a\0", "a\xff", "aa", "\0", "\0\0"];
    for (const name of names) put(member, name);
    expect(keys(range(member, "\0", "\0"))).toEqual(["\0", "\0\0", "a", "a\0", "aa", "a\xff", "\x7f", "\x80", "\xff"]);
    expect(keys(range(member, "\x80", "\0"))).toEqual(["\x80", "\xff"]);
  });

  test("a thousand keys come in pages that fit together", () => {
    const member = new Member();
    for (let i = 0; i < 1_000; i++) put(member, `k${String((i * 7) % 1_000).padStart(4, "0")}`);
    const { revision } = range(member, "k", "l", { limit: 1 });
    const seen: string[] = [];
    for (let from = "k"; ; from = `${seen.at(-1)}\0`) {
      const page = range(member, from, "l", { limit: 64, revision });
      seen.push(...keys(page));
      expect(page.count).toBe(1_000 - (seen.length - page.kvs.length));
      if (!page.more) break;
    }
    expect(seen).toEqual(Array.from({ length: 1_000 }, (_, i) => `k${String(i).padStart(4, "0")}`));
  });

  test("reading gives copies: what a caller does to them stays with it", () => {
    const member = example();
    const [kv] = range(member, "a").kvs;
    kv!.value.fill(0x21);
    kv!.key.fill(0x21);
    expect(show(range(member, "a"))).toMatchObject({ kvs: [{ key: "a", value: "y" }] });
  });
});
