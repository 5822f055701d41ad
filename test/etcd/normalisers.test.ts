import { describe, expect, test } from "vitest";
import { type ErrorCode, FAILURES } from "../../src/base/errors.ts";
import { leaseId } from "../../src/base/ids.ts";
import type { PutRequest, RangeRequest, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import { bytes } from "../support/state.ts";
import type { Answer } from "./answer.ts";
import { gatewayError, NORMALISERS } from "./normalisers.ts";

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
  const normaliser = NORMALISERS.find(({ name }) => name === "order of a transaction's checks")!;
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
    expect(["3.4.23", "3.5.16", "3.6.0", "3.10.1", "4.0.0"].map((version) => normaliser.shows(version))).toEqual([
      ...[true, true, false, false, false],
    ]);
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
