/**
 * Random programs. Few keys, few values and revisions near the current one, so that everything meets; at most a dozen
 * keys, for etcd sorts that many stably and leaves ties among more in any order.
 */
import fc from "fast-check";
import { type LeaseId, leaseId } from "../../src/base/ids.ts";
import type { Compare, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest } from "../../src/protocol/requests.ts";
import type { WatchCreate, WatchRequest } from "../../src/protocol/watch.ts";
import { bytes } from "../support/state.ts";
import type { CallRequest, LeaseRequest } from "./answer.ts";
import { operations, SHORT_LEASES } from "./normalisers.ts";
import type { Pair } from "./pair.ts";
import { NOW } from "./revisions.ts";

/** One step. Throws `Difference`. */
export interface Operation {
  run(pair: Pair): Promise<void>;
}

export interface Program {
  /** On new stores, never compacted; else on used ones that were cleared. */
  readonly fresh: boolean;
  readonly operations: readonly Operation[];
}

/** One request, one answer. */
class Call implements Operation {
  readonly #request: CallRequest;

  constructor(request: CallRequest) {
    this.#request = request;
  }

  run(pair: Pair): Promise<void> {
    return pair.ask(this.#request);
  }
}

/** A lease so short that it may end by itself if the program holds it: granted, and revoked at once. */
class ShortLease implements Operation {
  readonly #grant: LeaseRequest & { readonly kind: "leaseGrant" };

  constructor(ttl: number, id: LeaseId) {
    this.#grant = { kind: "leaseGrant", ttl, id };
  }

  async run(pair: Pair): Promise<void> {
    await pair.ask(this.#grant);
    await pair.ask({ kind: "leaseRevoke", id: this.#grant.id! });
  }
}

class UnnamedLease implements Operation {
  readonly #ttl: number;

  constructor(ttl: number) {
    this.#ttl = ttl;
  }

  run(pair: Pair): Promise<void> {
    return pair.grantUnnamed(this.#ttl);
  }
}

class OnWatchStream implements Operation {
  readonly #request: WatchRequest;

  constructor(request: WatchRequest) {
    this.#request = request;
  }

  run(pair: Pair): Promise<void> {
    return pair.watch(this.#request);
  }
}

class WatchFromBelow implements Operation {
  readonly #create: WatchCreate & { readonly startRevision: number };

  constructor(create: WatchCreate, startRevision: number) {
    this.#create = { ...create, startRevision };
  }

  run(pair: Pair): Promise<void> {
    return pair.watchFromBelow(this.#create);
  }
}

class Look implements Operation {
  run(pair: Pair): Promise<void> {
    return pair.look();
  }
}

const MAX = Number.MAX_SAFE_INTEGER;

/** Most requests leave most options out. */
const withChance =
  (oneIn: number) =>
  <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.oneof(
      { withCrossShrink: true },
      { weight: oneIn - 1, arbitrary: fc.constant(undefined) },
      { weight: 1, arbitrary },
    );
const often = withChance(2);
const rarely = withChance(5);

const key = fc.oneof(
  {
    weight: 200,
    arbitrary: fc.constantFrom("a", "a\0", "ab", "b", "c", "\0", "\xff", "\xff\0", "\xff\xff").map(bytes),
  },
  { weight: 1, arbitrary: fc.constant(bytes("")) },
);
const rangeEnd = fc.constantFrom("", "\0", "a", "a\0", "b", "c", "\0\0", "\xff", "\xff\xff", "\xff\xff\xff").map(bytes);
const value = fc.constantFrom("", "1", "2", "\0", "\xfe\xff", "a longer value").map(bytes);
/** 9 is never granted. */
const lease = fc.constantFrom(0n, 0n, 1n, 1n, 2n, -1n, 9n).map(leaseId);
const someLease = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(1n, 1n, 2n, -1n).map(leaseId) },
  { weight: 1, arbitrary: fc.constantFrom(0n, 9n, -(2n ** 63n), 2n ** 63n - 1n).map(leaseId) },
);
const revision = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -6, max: 3 }).map((offset) => NOW + offset) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 20 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -1, -2, MAX, -MAX) },
);
/** Where most revisions should be readable. */
const readable = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: -4, max: 0 }).map((offset) => NOW + offset) },
  { weight: 1, arbitrary: revision },
);
const limit = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 5 }) },
  { weight: 1, arbitrary: fc.constantFrom(-1, -MAX, MAX) },
);

const range: fc.Arbitrary<RangeRequest> = fc.record({
  kind: fc.constant("range"),
  key,
  rangeEnd: often(rangeEnd),
  limit: rarely(limit),
  revision: rarely(readable),
  sortOrder: rarely(fc.constantFrom("none", "ascend", "descend")),
  sortTarget: rarely(fc.constantFrom("key", "version", "create", "mod", "value")),
  serializable: rarely(fc.boolean()),
  keysOnly: rarely(fc.boolean()),
  countOnly: rarely(fc.boolean()),
  minModRevision: rarely(revision),
  maxModRevision: rarely(revision),
  minCreateRevision: rarely(revision),
  maxCreateRevision: rarely(revision),
});

/** Of everything there is, mostly more than the limit. */
const limitedRange: fc.Arbitrary<RangeRequest> = fc.record({
  kind: fc.constant("range"),
  key: fc.constant(bytes("\0")),
  rangeEnd: fc.constant(bytes("\0")),
  limit: fc.integer({ min: 1, max: 3 }),
  sortOrder: rarely(fc.constantFrom("none", "ascend", "descend")),
  sortTarget: rarely(fc.constantFrom("key", "version", "create", "mod", "value")),
  minModRevision: rarely(revision),
});

const rightPut: fc.Arbitrary<PutRequest> = fc.record({
  kind: fc.constant("put"),
  key,
  value,
  prevKv: often(fc.boolean()),
});
/** Keeps the value or the lease, mostly without giving another. */
const keepingPut: fc.Arbitrary<PutRequest> = fc.record({
  kind: fc.constant("put"),
  key,
  value: fc.oneof({ weight: 5, arbitrary: fc.constant(bytes("")) }, { weight: 1, arbitrary: value }),
  lease: rarely(lease),
  prevKv: often(fc.boolean()),
  ignoreValue: fc.boolean(),
  ignoreLease: fc.boolean(),
});
const leasedPut: fc.Arbitrary<PutRequest> = fc.record({ kind: fc.constant("put"), key, value, lease });
const put = fc.oneof(
  { weight: 12, arbitrary: rightPut },
  { weight: 4, arbitrary: keepingPut },
  { weight: 3, arbitrary: leasedPut },
);

const deleteRange: fc.Arbitrary<DeleteRangeRequest> = fc.record({
  kind: fc.constant("deleteRange"),
  key,
  rangeEnd: rarely(rangeEnd),
  prevKv: often(fc.boolean()),
});

const operand = fc.oneof(
  fc.record({ target: fc.constant("version" as const), version: fc.integer({ min: -1, max: 4 }) }),
  fc.record({ target: fc.constant("create" as const), createRevision: revision }),
  fc.record({ target: fc.constant("mod" as const), modRevision: revision }),
  fc.record({ target: fc.constant("value" as const), value }),
  fc.record({ target: fc.constant("lease" as const), lease }),
);
const compare: fc.Arbitrary<Compare> = fc
  .record({
    key,
    rangeEnd: rarely(rangeEnd),
    result: fc.constantFrom("equal" as const, "greater" as const, "less" as const, "notEqual" as const),
    operand,
  })
  .map(({ operand, ...rest }) => ({ ...rest, ...operand }));
const compares = fc.array(compare, { maxLength: 2 });

const txn: fc.Arbitrary<TxnRequest> = fc.letrec<{ txn: TxnRequest }>((tie) => {
  const op = fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    { weight: 4, arbitrary: range },
    { weight: 4, arbitrary: put },
    { weight: 2, arbitrary: deleteRange },
    { weight: 3, arbitrary: tie("txn") },
  );
  const ops = fc.array(op, { maxLength: 4 });
  return { txn: fc.record({ kind: fc.constant("txn"), compare: compares, success: ops, failure: ops }) };
}).txn;

/** Only reads: such a transaction takes another way through the server. */
const readOnlyTxn: fc.Arbitrary<TxnRequest> = fc.record({
  kind: fc.constant("txn"),
  compare: compares,
  success: fc.array(range, { maxLength: 3 }),
  failure: fc.array(range, { maxLength: 3 }),
});

/** Around the limit of 128 operations: a long list, and one within it that may hold what the outer leaves over. */
const longTxn: fc.Arbitrary<TxnRequest> = fc
  .record({
    list: fc.constantFrom("compare" as const, "success" as const, "failure" as const),
    length: fc.oneof(fc.integer({ min: 125, max: 129 }), fc.integer({ min: 60, max: 128 })),
    over: fc.integer({ min: -2, max: 2 }),
    place: fc.constantFrom("success" as const, "failure" as const, undefined),
    compare,
    op: fc.oneof(range, deleteRange),
    inner: put,
  })
  .map(({ list, length, over, place, compare, op, inner }) => {
    const lists = { compare: [compare], success: [op], failure: [op] };
    const outer = { ...lists, [list]: Array(length).fill(list === "compare" ? compare : op) };
    if (place === undefined) return { kind: "txn", ...outer };
    const left = Math.max(0, 128 - Math.max(length, outer[place].length + 1) + over);
    const nested: TxnRequest = { kind: "txn", compare: [], success: [inner], failure: Array(left).fill(op) };
    return { kind: "txn", ...outer, [place]: [...outer[place], nested] };
  });

/**
 * etcd's process ends with a panic at a put that keeps the value or lease of a key which the same transaction deleted
 * "to the end" (docs/etcd-differences.md). It must survive to be compared with.
 */
function sparing(txn: TxnRequest): TxnRequest {
  const deletesToTheEnd = [...operations(txn)].some(
    (op) => op.kind === "deleteRange" && op.rangeEnd?.length === 1 && op.rangeEnd[0] === 0,
  );
  return deletesToTheEnd ? withoutKeeping(txn) : txn;
}

function withoutKeeping(txn: TxnRequest): TxnRequest {
  const change = (op: TxnRequest["success"][number]): TxnRequest["success"][number] => {
    if (op.kind === "txn") return withoutKeeping(op);
    return op.kind === "put" ? { ...op, ignoreValue: false, ignoreLease: false } : op;
  };
  return { ...txn, success: txn.success.map(change), failure: txn.failure.map(change) };
}

/** Long enough to outlive any program. */
const ttl = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 600, max: 100_000 }) },
  { weight: 1, arbitrary: fc.constantFrom(9_000_000_000, 9_000_000_001, MAX) },
);
const leaseCall: fc.Arbitrary<LeaseRequest> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("leaseGrant"),
      ttl,
      // 0 would have each choose one.
      id: someLease.map((id) => (id === 0n ? leaseId(1n) : id)),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("leaseRevoke"), id: someLease }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("leaseTimeToLive"), id: someLease, keys: often(fc.boolean()) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("leaseKeepAlive"), id: someLease }) },
  { weight: 1, arbitrary: fc.constant({ kind: "leaseList" }) },
);
const shortLease = fc
  .record({
    ttl: fc.constantFrom(-MAX, -1, 0, 1, 2),
    id: fc.constantFrom(...SHORT_LEASES),
  })
  .map(({ ttl, id }) => new ShortLease(ttl, leaseId(id)));

const watchCreate: fc.Arbitrary<WatchCreate> = fc
  .record({
    key,
    rangeEnd: often(rangeEnd),
    // Both filters at once leave nothing by which to tell that all was told.
    filter: fc.oneof({ weight: 3, arbitrary: fc.constant({}) }, fc.constantFrom({ noPut: true }, { noDelete: true })),
    prevKv: often(fc.boolean()),
    watchId: often(fc.constantFrom(0, 1, 2, 2, 7, 7, -3, MAX, -MAX)),
    progressNotify: rarely(fc.boolean()),
    fragment: rarely(fc.boolean()),
  })
  .map(({ filter, ...rest }) => ({ ...rest, ...filter }));
const startRevision = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(0, undefined) },
  { weight: 4, arbitrary: fc.integer({ min: -8, max: 4 }).map((offset) => NOW + offset) },
  { weight: 4, arbitrary: fc.integer({ min: 1, max: 20 }) },
  { weight: 1, arbitrary: fc.constant(MAX) },
);
const watchStep: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc
      .record({ create: watchCreate, startRevision })
      .map(({ create, startRevision }) => new OnWatchStream({ kind: "create", ...create, startRevision })),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom(0, 0, 1, 2, 3, 7, -3).map((watchId) => new OnWatchStream({ kind: "cancel", watchId })),
  },
  { weight: 2, arbitrary: fc.constant(new OnWatchStream({ kind: "progress" })) },
  {
    weight: 1,
    arbitrary: fc
      .record({ create: watchCreate, startRevision: fc.constantFrom(-1, -2, -MAX) })
      // 3.4 looks at the range first, and later at the start.
      .map(({ create, startRevision }) => new WatchFromBelow({ ...create, rangeEnd: undefined }, startRevision)),
  },
  { weight: 1, arbitrary: fc.constant(new Look()) },
);

/** Begins at the compact revision, or below it. */
const watchFromCompacted: fc.Arbitrary<Operation> = fc
  .record({ create: watchCreate, at: fc.integer({ min: -2, max: 0 }), below: fc.integer({ min: 0, max: 2 }) })
  .map(({ create, at, below }) => {
    const compact = new Call({ kind: "compact", revision: NOW + at, physical: true });
    const watch = new OnWatchStream({ kind: "create", ...create, startRevision: NOW + at - below });
    return { run: (pair) => compact.run(pair).then(() => watch.run(pair)) };
  });

const request: fc.Arbitrary<CallRequest> = fc.oneof(
  { weight: 30, arbitrary: put },
  { weight: 10, arbitrary: deleteRange },
  { weight: 22, arbitrary: range },
  { weight: 3, arbitrary: limitedRange },
  { weight: 30, arbitrary: txn.map(sparing) },
  { weight: 4, arbitrary: readOnlyTxn },
  { weight: 1, arbitrary: longTxn.map(sparing) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("compact"), revision, physical: often(fc.boolean()) }) },
);

const callStep: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 100, arbitrary: request.map((each) => new Call(each)) },
  { weight: 12, arbitrary: leaseCall.map((each) => new Call(each)) },
  { weight: 1, arbitrary: shortLease },
  { weight: 1, arbitrary: ttl.map((each) => new UnnamedLease(each)) },
);
const watchingStep: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 16, arbitrary: callStep },
  { weight: 3, arbitrary: watchStep },
  { weight: 1, arbitrary: watchFromCompacted },
);

/** Longer programs meet more, shorter ones shrink faster. */
export const programOf = (maxLength: number): fc.Arbitrary<Program> =>
  fc.record({
    // A new pair takes as long as hundreds of operations.
    fresh: fc.oneof({ weight: 99, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    // etcd looks for watchers that begin in the past only every 100 ms.
    operations: fc.oneof(
      { weight: 3, arbitrary: fc.array(callStep, { minLength: 1, maxLength, size: "max" }) },
      { weight: 1, arbitrary: fc.array(watchingStep, { minLength: 1, maxLength, size: "max" }) },
    ),
  });
