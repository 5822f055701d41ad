import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, NO_LEASE, revision } from "../../src/base/ids.ts";
import {
  deleteRequest,
  type GetOptions,
  getResult,
  prefixEnd,
  putRequest,
  type RangeSelection,
  rangeRequest,
  StoredKeyValue,
  selection,
} from "../../src/client/kv.ts";

const b = encodeUtf8;
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe("selection", () => {
  const table: readonly (readonly [string, string | Uint8Array, RangeSelection, object])[] = [
    ["one key", "a", {}, { key: b("a") }],
    ["one key, options off", "a", { prefix: false, fromKey: false, rangeEnd: undefined }, { key: b("a") }],
    ["a range", "a", { rangeEnd: "c" }, { key: b("a"), rangeEnd: b("c") }],
    ["a range in bytes", bytes(0), { rangeEnd: bytes(0xff, 0) }, { key: bytes(0), rangeEnd: bytes(0xff, 0) }],
    ["a prefix", "ab", { prefix: true }, { key: b("ab"), rangeEnd: b("ac") }],
    [
      "a prefix that ends in 0xff",
      bytes(0x61, 0xff),
      { prefix: true },
      { key: bytes(0x61, 0xff), rangeEnd: bytes(0x62) },
    ],
    [
      "a prefix of nothing but 0xff has no end",
      bytes(0xff, 0xff),
      { prefix: true },
      { key: bytes(0xff, 0xff), rangeEnd: bytes(0) },
    ],
    ["the empty prefix is everything", "", { prefix: true }, { key: bytes(0), rangeEnd: bytes(0) }],
    ["from a key on", "a", { fromKey: true }, { key: b("a"), rangeEnd: bytes(0) }],
    ["from the empty key on is everything", "", { fromKey: true }, { key: bytes(0), rangeEnd: bytes(0) }],
    ["the empty key alone is the server's to refuse", "", {}, { key: b("") }],
    ["text is UTF-8", "é", {}, { key: bytes(0xc3, 0xa9) }],
  ];
  test.each(table)("%s", (_, key, options, expected) => {
    expect(selection(key, options)).toStrictEqual(expected);
  });

  test.each([
    { prefix: true, fromKey: true },
    { prefix: true, rangeEnd: "b" },
    { fromKey: true, rangeEnd: "b" },
  ])("only one of the three may be set: %j", (options) => {
    expect(caught(() => selection("a", options))).toMatchObject({ code: "INVALID_REQUEST", outcome: "rejected" });
  });

  test.each([[undefined], [null], [7], [["a"]]])("a key that is %j is refused by name", (key) => {
    expect(caught(() => selection(key as never, {}))).toMatchObject({ code: "INVALID_REQUEST", outcome: "rejected" });
  });

  test("prefixEnd leaves its argument alone", () => {
    const prefix = bytes(1, 2, 0xff);
    expect(prefixEnd(prefix)).toEqual(bytes(1, 3));
    expect(prefix).toEqual(bytes(1, 2, 0xff));
  });
});

describe("requests", () => {
  test.each<[string, GetOptions, object]>([
    ["nothing asked for", {}, {}],
    [
      "everything",
      {
        revision: 4,
        limit: 3,
        sort: { by: "mod", order: "descend" },
        serializable: true,
        keysOnly: true,
        countOnly: false,
        minModRevision: 1,
        maxModRevision: 2,
        minCreateRevision: 3,
        maxCreateRevision: 0,
      },
      {
        revision: 4,
        limit: 3,
        sortOrder: "descend",
        sortTarget: "mod",
        serializable: true,
        keysOnly: true,
        countOnly: false,
        minModRevision: 1,
        maxModRevision: 2,
        minCreateRevision: 3,
        maxCreateRevision: 0,
      },
    ],
    ["keys ascending is no sorting", { sort: { by: "key", order: "ascend" } }, {}],
    ["so is an empty sort", { sort: {} }, {}],
    ["keys descending", { sort: { order: "descend" } }, { sortOrder: "descend", sortTarget: "key" }],
    [
      "another target ascends unless told otherwise",
      { sort: { by: "value" } },
      { sortOrder: "ascend", sortTarget: "value" },
    ],
    ["undefined is absent", { limit: undefined, revision: undefined, sort: undefined }, {}],
  ])("get: %s", (_, options, expected) => {
    expect(rangeRequest("a", options)).toStrictEqual({ kind: "range", key: b("a"), ...expected });
  });

  test("put", () => {
    expect(putRequest("a", "1", {})).toStrictEqual({ kind: "put", key: b("a"), value: b("1") });
    expect(putRequest("a", bytes(0), { lease: leaseId(7), prevKv: true, ignoreLease: undefined })).toStrictEqual({
      kind: "put",
      key: b("a"),
      value: bytes(0),
      lease: leaseId(7),
      prevKv: true,
    });
    expect(caught(() => putRequest("a", 1 as never, {})).message).toContain(
      "a value must be a string or bytes, not number",
    );
  });

  test("delete", () => {
    expect(deleteRequest("a", {})).toStrictEqual({ kind: "deleteRange", key: b("a") });
    expect(deleteRequest("a", { prefix: true, prevKv: true })).toStrictEqual({
      kind: "deleteRange",
      key: b("a"),
      rangeEnd: b("b"),
      prevKv: true,
    });
  });

  test.each([
    ["bytes", () => Uint8Array.of(1, 2)],
    ["a Buffer", () => Buffer.from([1, 2])],
    ["a view of a larger buffer", () => new Uint8Array([0, 1, 2, 3]).subarray(1, 3)],
  ])("%s given by the caller are copied: what becomes of them is its own affair", (_, make) => {
    const key = make();
    const value = make();
    const request = putRequest(key, value, {});
    key.fill(9);
    value.fill(9);
    expect(request).toStrictEqual({ kind: "put", key: bytes(1, 2), value: bytes(1, 2) });
  });
});

describe("StoredKeyValue", () => {
  const kv = (value: string): StoredKeyValue =>
    new StoredKeyValue({
      key: b("clé"),
      createRevision: revision(2),
      modRevision: revision(3),
      version: 2,
      value: b(value),
      lease: NO_LEASE,
    });

  test("reads key and value as text, and the value as JSON", () => {
    expect(kv('{"n":1}').keyText()).toBe("clé");
    expect(kv('{"n":1}').text()).toBe('{"n":1}');
    expect(kv('{"n":1}').json<{ n: number }>().n).toBe(1);
    expect(() => kv("{").json()).toThrow(SyntaxError);
  });

  test("is a key-value like any other", () => {
    expect({ ...kv("v") }).toStrictEqual({
      key: b("clé"),
      createRevision: 2,
      modRevision: 3,
      version: 2,
      value: b("v"),
      lease: 0n,
    });
    const result = getResult({ kind: "range", revision: revision(3), kvs: [kv("v")], more: false, count: 1 });
    expect(result.kvs[0]).toBeInstanceOf(StoredKeyValue);
  });
});

function caught(act: () => unknown): StoreError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(StoreError);
    return error as StoreError;
  }
  return expect.fail("nothing was thrown");
}
