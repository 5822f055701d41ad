/** Random requests and programs of them, for property tests. Few keys and small revisions, so that things meet. */
import fc from "fast-check";
import { leaseId } from "../../src/base/ids.ts";
import type {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  Request,
  TxnRequest,
} from "../../src/protocol/requests.ts";
import { bytes } from "./state.ts";

const key = fc.oneof(
  { weight: 60, arbitrary: fc.constantFrom("a", "a\0", "b", "ba", "c", "d", "\xff", "\xff\xff") },
  { weight: 1, arbitrary: fc.constant("") },
);
const rangeEnd = fc.constantFrom("", "\0", "a\0", "b", "c", "d", "\xff").map(bytes);
const value = fc.constantFrom("", "", "1", "2", "\0\xff", "a longer value");
const revision = fc.integer({ min: -2, max: 14 });
/** Most requests leave most options out. (`fc.option` reads otherwise than it counts: with `freq: 1` nothing is ever given.) */
const oneIn =
  (count: number) =>
  <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.oneof(
      { withCrossShrink: true },
      { weight: count - 1, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary },
    );
const often = oneIn(2);
const rarely = oneIn(4);
const seldom = oneIn(12);

export const range: fc.Arbitrary<RangeRequest> = fc.record({
  kind: fc.constant("range"),
  key: key.map(bytes),
  rangeEnd: often(rangeEnd),
  limit: rarely(fc.integer({ min: -1, max: 4 })),
  revision: rarely(revision),
  sortOrder: rarely(fc.constantFrom("none", "ascend", "descend")),
  sortTarget: rarely(fc.constantFrom("key", "version", "create", "mod", "value")),
  serializable: rarely(fc.boolean()),
  keysOnly: rarely(fc.boolean()),
  countOnly: rarely(fc.boolean()),
  minModRevision: seldom(revision),
  maxModRevision: seldom(revision),
  minCreateRevision: seldom(revision),
  maxCreateRevision: seldom(revision),
});

export const put: fc.Arbitrary<PutRequest> = fc
  .record({
    kind: fc.constant("put"),
    key: key.map(bytes),
    value: value.map(bytes),
    lease: seldom(fc.integer({ min: -1, max: 1 }).map(leaseId)),
    prevKv: often(fc.boolean()),
    ignoreValue: rarely(fc.boolean()),
    ignoreLease: rarely(fc.boolean()),
  })
  // Mostly without a value where none may be given.
  .map((one) =>
    one.ignoreValue && one.value.length < 2 ? { ...one, value: bytes("") } : one,
  ) as fc.Arbitrary<PutRequest>;

export const deleteRange: fc.Arbitrary<DeleteRangeRequest> = fc.record({
  kind: fc.constant("deleteRange"),
  key: key.map(bytes),
  rangeEnd: often(rangeEnd),
  prevKv: often(fc.boolean()),
});

const compare: fc.Arbitrary<Compare> = fc
  .record({
    key: key.map(bytes),
    rangeEnd: rarely(rangeEnd),
    result: fc.constantFrom("equal" as const, "greater" as const, "less" as const, "notEqual" as const),
    operand: fc.oneof(
      fc.record({ target: fc.constant("version" as const), version: fc.integer({ min: -1, max: 3 }) }),
      fc.record({ target: fc.constant("create" as const), createRevision: revision }),
      fc.record({ target: fc.constant("mod" as const), modRevision: revision }),
      fc.record({ target: fc.constant("value" as const), value: value.map(bytes) }),
      fc.record({ target: fc.constant("lease" as const), lease: fc.integer({ min: -1, max: 1 }).map(leaseId) }),
    ),
  })
  .map(({ operand, ...rest }) => ({ ...rest, ...operand }));

export const txn: fc.Arbitrary<TxnRequest> = fc.letrec<{ txn: TxnRequest }>((tie) => {
  const op = fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    { weight: 3, arbitrary: put },
    { weight: 2, arbitrary: deleteRange },
    { weight: 2, arbitrary: range },
    { weight: 2, arbitrary: tie("txn") },
  );
  return {
    txn: fc.record({
      kind: fc.constant("txn"),
      compare: fc.array(compare, { maxLength: 2 }),
      success: fc.array(op, { maxLength: 4 }),
      failure: fc.array(op, { maxLength: 4 }),
    }),
  };
}).txn;

export const request: fc.Arbitrary<Request> = fc.oneof(
  { weight: 5, arbitrary: put },
  { weight: 2, arbitrary: deleteRange },
  { weight: 4, arbitrary: range },
  { weight: 6, arbitrary: txn },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), revision }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("hashKv" as const), revision: rarely(revision) }) },
);

export const program: fc.Arbitrary<Request[]> = fc.array(request, { maxLength: 40, size: "max" });
