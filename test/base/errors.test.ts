import { describe, expect, test } from "vitest";
import { assert, fail, InvariantError, unreachable } from "../../src/base/assert.ts";
import { deferred } from "../../src/base/deferred.ts";
import { type ErrorCode, FAILURES, StoreError } from "../../src/base/errors.ts";

describe("StoreError", () => {
  test("takes text and status from the table, and is rejected unless told otherwise", () => {
    for (const code of Object.keys(FAILURES) as ErrorCode[]) {
      const error = new StoreError(code);
      expect(error).toBeInstanceOf(Error);
      expect([error.name, error.code, error.message, error.status, error.outcome, error.details, error.cause]).toEqual([
        ...["StoreError", code, FAILURES[code].message, FAILURES[code].status, "rejected"],
        ...[{}, undefined],
      ]);
    }
  });

  test("keeps what the place that raises it knows", () => {
    const cause = new Error("below");
    const error = new StoreError("COMPACTED", {
      outcome: "unknown",
      details: { compactRevision: 7 },
      message: "another text",
      cause,
    });
    expect([error.outcome, error.details, error.message, error.cause]).toEqual([
      ...["unknown", { compactRevision: 7 }, "another text"],
      cause,
    ]);
  });

  test("is told apart from other errors, and by its code", () => {
    const error: unknown = new StoreError("TIMEOUT");
    expect(StoreError.is(error)).toBe(true);
    expect(StoreError.is(error, "TIMEOUT")).toBe(true);
    expect(StoreError.is(error, "NO_LEADER")).toBe(false);
    for (const other of [new Error("x"), { code: "TIMEOUT", name: "StoreError" }, undefined, "TIMEOUT"]) {
      expect(StoreError.is(other)).toBe(false);
    }
  });

  // The wire names a failure by its place: a row that moves changes what old peers understand.
  test("the table's order only ever grows", () => {
    expect(Object.keys(FAILURES).slice(0, 6)).toEqual([
      ...["EMPTY_KEY", "KEY_NOT_FOUND", "VALUE_PROVIDED", "LEASE_PROVIDED", "TOO_MANY_OPS", "DUPLICATE_KEY"],
    ]);
    expect(Object.keys(FAILURES).indexOf("DISK_FULL")).toBe(50);
    for (const { message } of Object.values(FAILURES)) {
      expect(message).toMatch(
        /^(etcdserver: |quorate: |mutex: |election: |"leader" field must be provided$|context deadline exceeded$)/,
      );
    }
  });
});

describe("invariants", () => {
  test("a broken one names its rule; a kept one builds no text", () => {
    assert(true, "V1", () => {
      throw new Error("built");
    });
    expect(() => assert(false, "V1", () => "term 2 follows term 3")).toThrow("V1: term 2 follows term 3");
    expect(() => fail("V2", "no")).toThrow(InvariantError);
    try {
      fail("V2", "no");
    } catch (error) {
      expect(error).toMatchObject({ name: "InvariantError", rule: "V2", message: "V2: no" });
    }
  });

  test("a value outside its union ends at unreachable", () => {
    const hostile = "other" as never;
    expect(() => unreachable(hostile)).toThrow("unexpected value other");
  });
});

describe("deferred", () => {
  test("hands out the promise with its handles", async () => {
    const kept = deferred<number>();
    kept.resolve(5);
    kept.reject(new Error("too late"));
    expect(await kept.promise).toBe(5);
    const broken = deferred<number>();
    broken.reject(new Error("no"));
    await expect(broken.promise).rejects.toThrow("no");
  });
});
