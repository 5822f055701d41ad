import { describe, expect, expectTypeOf, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { leaseId, NO_LEASE, revision } from "../../src/base/ids.ts";
import type { DeleteOpResult, GetOpResult, PutOpResult } from "../../src/client/kv.ts";
import { compare, op, Txn } from "../../src/client/txn.ts";
import type { TxnRequest } from "../../src/protocol/requests.ts";
import type { OpResult, TxnResult } from "../../src/protocol/responses.ts";
import { answered } from "./scripted.ts";

const b = encodeUtf8;

/** A txn whose requests are kept and which is answered with these results. */
function begin(results: readonly OpResult[] = [], succeeded = true) {
  const sent: TxnRequest[] = [];
  const result: TxnResult = { kind: "txn", revision: revision(7), succeeded, results };
  const { header } = answered(result);
  const txn = new Txn(async (request) => {
    sent.push(request);
    return { header, result };
  });
  return { txn, sent, header };
}

describe("compare", () => {
  test.each([
    [compare.value("a", "=", "1"), { key: b("a"), result: "equal", target: "value", value: b("1") }],
    [
      compare.value("a", "!=", Uint8Array.of(0)),
      { key: b("a"), result: "notEqual", target: "value", value: Uint8Array.of(0) },
    ],
    [compare.version("a", ">", 1), { key: b("a"), result: "greater", target: "version", version: 1 }],
    [compare.createRevision("a", "<", 2), { key: b("a"), result: "less", target: "create", createRevision: 2 }],
    [compare.modRevision("a", "=", 3), { key: b("a"), result: "equal", target: "mod", modRevision: 3 }],
    [compare.lease("a", "=", leaseId(4)), { key: b("a"), result: "equal", target: "lease", lease: leaseId(4) }],
    [
      compare.version("a", ">", 0, { prefix: true }),
      { key: b("a"), rangeEnd: b("b"), result: "greater", target: "version", version: 0 },
    ],
  ])("case %#", (made, expected) => {
    expect(made).toStrictEqual(expected);
  });

  test("an unknown operator is refused by name", () => {
    expect(caught(() => compare.value("a", "==" as never, "1"))).toMatchObject({ code: "INVALID_REQUEST" });
    expect(caught(() => compare.value("a", "constructor" as never, "1"))).toMatchObject({ code: "INVALID_REQUEST" });
  });
});

describe("Txn", () => {
  test("sends compares and both branches", async () => {
    const { txn, sent } = begin();
    await txn
      .if(compare.version("a", "=", 0), compare.version("b", ">", 0))
      .then(op.put("a", "1", { prevKv: true }), op.txn([compare.value("c", "=", "1")], [op.get("c")], [op.delete("c")]))
      .else(op.get("a", { prefix: true }), op.delete("b"))
      .commit();
    expect(sent).toStrictEqual([
      {
        kind: "txn",
        compare: [
          { key: b("a"), result: "equal", target: "version", version: 0 },
          { key: b("b"), result: "greater", target: "version", version: 0 },
        ],
        success: [
          { kind: "put", key: b("a"), value: b("1"), prevKv: true },
          {
            kind: "txn",
            compare: [{ key: b("c"), result: "equal", target: "value", value: b("1") }],
            success: [{ kind: "range", key: b("c") }],
            failure: [{ kind: "deleteRange", key: b("c") }],
          },
        ],
        failure: [
          { kind: "range", key: b("a"), rangeEnd: b("b") },
          { kind: "deleteRange", key: b("b") },
        ],
      },
    ]);
  });

  test("each part may be left out", async () => {
    const { txn, sent } = begin();
    await txn.commit();
    await txn.else(op.get("a")).commit();
    expect(sent.map(({ compare, success, failure }) => [compare.length, success.length, failure.length])).toEqual([
      [0, 0, 0],
      [0, 0, 1],
    ]);
  });

  test("each step gives a new txn: one can be the beginning of several", async () => {
    const { txn, sent } = begin();
    const common = txn.if(compare.version("a", "=", 0));
    await common.then(op.put("a", "1")).commit();
    await common.then(op.put("a", "2")).commit();
    expect(sent.map(({ success }) => success)).toEqual([
      [{ kind: "put", key: b("a"), value: b("1") }],
      [{ kind: "put", key: b("a"), value: b("2") }],
    ]);
  });

  test("results come place by place, in the shape of each operation", async () => {
    const kv = {
      key: b("a"),
      createRevision: revision(2),
      modRevision: revision(3),
      version: 2,
      value: b("1"),
      lease: NO_LEASE,
    };
    const { txn, header } = begin([
      { kind: "put", revision: revision(7), prevKv: kv },
      { kind: "range", revision: revision(7), kvs: [kv], more: false, count: 1 },
      { kind: "deleteRange", revision: revision(7), deleted: 1, prevKvs: [kv] },
      { kind: "txn", revision: revision(7), succeeded: false, results: [{ kind: "put", revision: revision(7) }] },
    ]);
    const outcome = await txn
      .then(op.put("a", "2"), op.get("a"), op.delete("a"), op.txn([], [], [op.put("b", "1")]))
      .commit();
    expect(outcome.header).toEqual(header);
    expect(outcome.revision).toBe(7);
    if (!outcome.succeeded) return expect.fail("it succeeded");
    const [put, get, deleted, nested] = outcome.results;
    expect(put.prevKv?.text()).toBe("1");
    expect(get.kvs[0]?.json()).toBe(1);
    expect(deleted.prevKvs.map((each) => each.keyText())).toEqual(["a"]);
    expect(nested.succeeded).toBe(false);
    expect(nested.results).toEqual([{ kind: "put", revision: 7 }]);
    expectTypeOf(put).toEqualTypeOf<PutOpResult>();
    expectTypeOf(get).toEqualTypeOf<GetOpResult>();
    expectTypeOf(deleted).toEqualTypeOf<DeleteOpResult>();
    // @ts-expect-error the branch has four results
    expect(outcome.results[4]).toBeUndefined();
  });

  test("the other branch has types of its own", async () => {
    const { txn } = begin([{ kind: "range", revision: revision(7), kvs: [], more: false, count: 0 }], false);
    const outcome = await txn.then(op.put("a", "1")).else(op.get("a")).commit();
    if (outcome.succeeded) {
      expectTypeOf(outcome.results[0]).toEqualTypeOf<PutOpResult>();
      return expect.fail("it failed");
    }
    expectTypeOf(outcome.results[0]).toEqualTypeOf<GetOpResult>();
    expect(outcome.results[0].count).toBe(0);
  });

  test("a part twice is refused, as etcd's clients do", () => {
    const { txn } = begin();
    expect(caught(() => txn.if().if()).message).toContain("a txn has one if");
    expect(caught(() => txn.then(op.get("a")).then(op.get("a"))).message).toContain("a txn has one then");
    expect(caught(() => txn.else(op.get("a")).else(op.get("a"))).message).toContain("a txn has one else");
  });

  test("awaiting it instead of its commit is named, and sends nothing", async () => {
    const { txn, sent } = begin();
    const mistaken: unknown = txn;
    const awaited = (async () => await mistaken)();
    await expect(awaited).rejects.toMatchObject({
      code: "INVALID_REQUEST",
      message: expect.stringContaining("await its commit()"),
    });
    expect(sent).toEqual([]);
  });

  test("what is no operation is refused", async () => {
    const { txn, sent } = begin();
    await expect(txn.then({ kind: "put" } as never).commit()).rejects.toMatchObject({ code: "INVALID_REQUEST" });
    await expect(txn.then(undefined as never).commit()).rejects.toMatchObject({ code: "INVALID_REQUEST" });
    expect(sent).toEqual([]);
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
