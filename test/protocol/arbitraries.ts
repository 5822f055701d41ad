/** Any request, response and error that can be asked, answered or raised. */
import fc from "fast-check";
import { type ErrorCode, type ErrorDetails, FAILURES, StoreError } from "../../src/base/errors.ts";
import { clusterId, leaseId, memberId, revision, term } from "../../src/base/ids.ts";
import type { KeyValue, Member, ResponseHeader } from "../../src/protocol/key-value.ts";
import type { Compare, Request, RequestOp, TxnRequest } from "../../src/protocol/requests.ts";
import type { OpResult, Response, Result } from "../../src/protocol/responses.ts";
import type { WatchEvent, WatchRequest, WatchResponse } from "../../src/protocol/watch.ts";

/** fast-check's records have no prototype; ours are plain objects. */
const plain = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> => arbitrary.map((value) => structuredClone(value));

const bytes = fc.uint8Array({ maxLength: 40 });
const int = fc.oneof(fc.integer({ min: -5, max: 300 }), fc.maxSafeInteger());
const count = fc.oneof(fc.nat(300), fc.maxSafeNat());
const lease = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(leaseId);
const member = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }).map(memberId);
const cluster = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }).map(clusterId);
const at = count.map(revision);
const leaderKey = fc.record({ name: bytes, key: bytes, revision: count, lease });
/** A flag is set or absent: the wire does not tell `false` from absence. */
const flag = fc.constant(true as const);
const urls = fc.array(fc.string({ maxLength: 20, unit: "grapheme" }), { maxLength: 3 });

const range = fc.record(
  {
    kind: fc.constant("range" as const),
    key: bytes,
    rangeEnd: bytes,
    limit: int,
    revision: int,
    sortOrder: fc.constantFrom("none" as const, "ascend" as const, "descend" as const),
    sortTarget: fc.constantFrom(
      "key" as const,
      "version" as const,
      "create" as const,
      "mod" as const,
      "value" as const,
    ),
    serializable: flag,
    keysOnly: flag,
    countOnly: flag,
    minModRevision: int,
    maxModRevision: int,
    minCreateRevision: int,
    maxCreateRevision: int,
  },
  { requiredKeys: ["kind", "key"] },
);
const put = fc.record(
  {
    kind: fc.constant("put" as const),
    key: bytes,
    value: bytes,
    lease,
    prevKv: flag,
    ignoreValue: flag,
    ignoreLease: flag,
  },
  { requiredKeys: ["kind", "key", "value"] },
);
const alarm = fc.constantFrom("nospace" as const, "corrupt" as const);
const deleteRange = fc.record(
  { kind: fc.constant("deleteRange" as const), key: bytes, rangeEnd: bytes, prevKv: flag },
  { requiredKeys: ["kind", "key"] },
);

const left = { key: bytes, rangeEnd: bytes, result: fc.constantFrom("equal", "greater", "less", "notEqual") } as const;
const required = { requiredKeys: ["key", "result", "target"] } as const;
const compare: fc.Arbitrary<Compare> = fc.oneof(
  fc.record(
    { ...left, target: fc.constant("version" as const), version: int },
    { requiredKeys: [...required.requiredKeys, "version"] },
  ),
  fc.record(
    { ...left, target: fc.constant("create" as const), createRevision: int },
    { requiredKeys: [...required.requiredKeys, "createRevision"] },
  ),
  fc.record(
    { ...left, target: fc.constant("mod" as const), modRevision: int },
    { requiredKeys: [...required.requiredKeys, "modRevision"] },
  ),
  fc.record(
    { ...left, target: fc.constant("value" as const), value: bytes },
    { requiredKeys: [...required.requiredKeys, "value"] },
  ),
  fc.record(
    { ...left, target: fc.constant("lease" as const), lease },
    { requiredKeys: [...required.requiredKeys, "lease"] },
  ),
);

const { txn } = fc.letrec<{ op: RequestOp; txn: TxnRequest }>((tie) => ({
  op: fc.oneof({ maxDepth: 3, withCrossShrink: true }, put, range, deleteRange, tie("txn")),
  txn: fc.record({
    kind: fc.constant("txn" as const),
    compare: fc.array(compare, { maxLength: 3 }),
    success: fc.array(tie("op"), { maxLength: 4 }),
    failure: fc.array(tie("op"), { maxLength: 4 }),
  }),
}));

const optional = <K extends string, T>(name: K, arbitrary: fc.Arbitrary<T>): fc.Arbitrary<{ [k in K]?: T }> =>
  fc
    .option(arbitrary, { nil: undefined })
    .map((value) => (value === undefined ? {} : { [name]: value }) as { [k in K]?: T });

export const anyRequest: fc.Arbitrary<Request> = plain(
  fc.oneof<fc.Arbitrary<Request>[]>(
    range,
    put,
    deleteRange,
    txn,
    fc
      .tuple(int, optional("physical", flag))
      .map(([at, more]) => ({ kind: "compact" as const, revision: at, ...more })),
    optional("linearizable", flag).map((more) => ({ kind: "memberList" as const, ...more })),
    fc
      .tuple(urls, optional("isLearner", flag))
      .map(([peerUrls, more]) => ({ kind: "memberAdd" as const, peerUrls, ...more })),
    member.map((id) => ({ kind: "memberRemove" as const, id })),
    fc.tuple(member, urls).map(([id, peerUrls]) => ({ kind: "memberUpdate" as const, id, peerUrls })),
    member.map((id) => ({ kind: "memberPromote" as const, id })),
    member.map((target) => ({ kind: "moveLeader" as const, target })),
    fc.constant({ kind: "status" as const }),
    optional("revision", int).map((more) => ({ kind: "hashKv" as const, ...more })),
    fc.tuple(int, optional("id", lease)).map(([ttl, more]) => ({ kind: "leaseGrant" as const, ttl, ...more })),
    lease.map((id) => ({ kind: "leaseRevoke" as const, id })),
    lease.map((id) => ({ kind: "leaseKeepAlive" as const, id })),
    fc.tuple(lease, optional("keys", flag)).map(([id, more]) => ({ kind: "leaseTimeToLive" as const, id, ...more })),
    fc.constant({ kind: "leaseList" as const }),
    fc
      .tuple(optional("session", count), optional("part", count), optional("close", flag))
      .map(([session, part, close]) => ({ kind: "snapshot" as const, ...session, ...part, ...close })),
    fc.record(
      { kind: fc.constant("alarm" as const), action: fc.constantFrom("get", "activate", "deactivate"), member, alarm },
      { requiredKeys: ["kind", "action"] },
    ),
    fc.constant({ kind: "register" as const }),
    fc.record({ kind: fc.constant("lock" as const), name: bytes, lease }, { requiredKeys: ["kind", "name"] }),
    fc.record({ kind: fc.constant("unlock" as const), key: bytes }),
    fc.record(
      { kind: fc.constant("campaign" as const), name: bytes, value: bytes, lease },
      { requiredKeys: ["kind", "name", "value"] },
    ),
    fc.record(
      { kind: fc.constant("proclaim" as const), leader: leaderKey, value: bytes },
      { requiredKeys: ["kind", "value"] },
    ),
    fc.record({ kind: fc.constant("resign" as const), leader: leaderKey }, { requiredKeys: ["kind"] }),
    fc.record({ kind: fc.constant("leader" as const), name: bytes }),
  ),
);

const keyValue: fc.Arbitrary<KeyValue> = fc.record({
  key: bytes,
  createRevision: at,
  modRevision: at,
  version: count,
  value: bytes,
  lease: fc.oneof(fc.constant(leaseId(0)), lease),
});
const kvs = fc.array(keyValue, { maxLength: 4 });
const rangeResult = fc.record({ kind: fc.constant("range" as const), revision: at, kvs, more: fc.boolean(), count });
const putResult = fc.record(
  { kind: fc.constant("put" as const), revision: at, prevKv: keyValue },
  { requiredKeys: ["kind", "revision"] },
);
const deleteResult = fc.record({
  kind: fc.constant("deleteRange" as const),
  revision: at,
  deleted: count,
  prevKvs: kvs,
});
const { txnResult } = fc.letrec<{ result: OpResult; txnResult: OpResult }>((tie) => ({
  result: fc.oneof({ maxDepth: 3, withCrossShrink: true }, putResult, rangeResult, deleteResult, tie("txnResult")),
  txnResult: fc.record({
    kind: fc.constant("txn" as const),
    revision: at,
    succeeded: fc.boolean(),
    results: fc.array(tie("result"), { maxLength: 4 }),
  }),
}));
const anyMember: fc.Arbitrary<Member> = fc.record({
  id: member,
  name: fc.string({ maxLength: 20, unit: "grapheme" }),
  peerUrls: urls,
  clientUrls: urls,
  isLearner: fc.boolean(),
});
const result: fc.Arbitrary<Result> = fc.oneof(
  rangeResult,
  putResult,
  deleteResult,
  txnResult,
  fc.record({ kind: fc.constant("compact" as const), revision: at }),
  fc.record(
    { kind: fc.constant("members" as const), member: anyMember, members: fc.array(anyMember, { maxLength: 3 }) },
    { requiredKeys: ["kind", "members"] },
  ),
  fc.constant({ kind: "moveLeader" as const }),
  fc.record(
    {
      kind: fc.constant("status" as const),
      revision: at,
      version: fc.string(),
      dbSize: count,
      dbSizeInUse: count,
      dbSizeQuota: count,
      leader: member,
      raftIndex: count,
      raftTerm: count,
      raftAppliedIndex: count,
      errors: urls,
      isLearner: fc.boolean(),
      stateHash: fc.string(),
    },
    {
      requiredKeys: [
        ...(["kind", "revision", "version", "dbSize", "dbSizeInUse", "raftIndex", "raftTerm"] as const),
        ...(["raftAppliedIndex", "errors", "isLearner", "stateHash", "dbSizeQuota"] as const),
      ],
    },
  ),
  fc.record({
    kind: fc.constant("hashKv" as const),
    revision: at,
    hash: count,
    compactRevision: int,
    hashRevision: int,
  }),
  fc.record({ kind: fc.constant("alarm" as const), alarms: fc.array(fc.record({ member, alarm }), { maxLength: 3 }) }),
  fc.record({ kind: fc.constant("leaseGrant" as const), revision: at, id: lease, ttl: int }),
  fc.record({ kind: fc.constant("leaseRevoke" as const), revision: at }),
  fc.record({ kind: fc.constant("leaseKeepAlive" as const), id: lease, ttl: int }),
  fc.record({
    kind: fc.constant("leaseTimeToLive" as const),
    id: lease,
    ttl: int,
    grantedTtl: int,
    keys: fc.array(bytes, { maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant("register" as const), clientId: fc.maxSafeNat() }),
  fc.record({ kind: fc.constant("lock" as const), key: bytes, token: at }),
  fc.record({ kind: fc.constantFrom("unlock" as const, "proclaim" as const, "resign" as const) }),
  fc.record({ kind: fc.constant("campaign" as const), leader: leaderKey }),
  fc.record({ kind: fc.constant("leader" as const), kv: keyValue }),
  fc.record({ kind: fc.constant("leaseList" as const), leases: fc.array(lease, { maxLength: 3 }) }),
  fc.record({
    ...{ kind: fc.constant("snapshot" as const), revision: at, session: count, bytes },
    ...{ isLast: fc.boolean(), aboutBytes: count, version: fc.string() },
  }),
);
const header: fc.Arbitrary<ResponseHeader> = fc.record({
  clusterId: cluster,
  memberId: member,
  revision: at,
  raftTerm: count.map(term),
});

export const anyWatchRequest: fc.Arbitrary<WatchRequest> = plain(
  fc.oneof<fc.Arbitrary<WatchRequest>[]>(
    fc.record(
      {
        kind: fc.constant("create" as const),
        key: bytes,
        rangeEnd: bytes,
        startRevision: int,
        watchId: int,
        noPut: flag,
        noDelete: flag,
        prevKv: flag,
        progressNotify: flag,
        fragment: flag,
      },
      { requiredKeys: ["kind", "key"] },
    ),
    int.map((watchId) => ({ kind: "cancel" as const, watchId })),
    fc.constant({ kind: "progress" as const }),
    fc.record({ kind: fc.constant("observe" as const), name: bytes }),
  ),
);

const deletion: fc.Arbitrary<KeyValue> = fc.record({
  key: bytes,
  createRevision: fc.constant(revision(0)),
  modRevision: at,
  version: fc.constant(0),
  value: fc.constant(new Uint8Array(0)),
  lease: fc.constant(leaseId(0)),
});
const event: fc.Arbitrary<WatchEvent> = fc.oneof(
  fc.record({ type: fc.constant("put" as const), kv: keyValue, prevKv: keyValue }, { requiredKeys: ["type", "kv"] }),
  fc.record(
    { type: fc.constant("delete" as const), kv: deletion, prevKv: keyValue, expired: flag },
    { requiredKeys: ["type", "kv"] },
  ),
);
export const anyWatchResponse: fc.Arbitrary<WatchResponse> = plain(
  fc.record({
    header,
    watchId: int,
    created: fc.boolean(),
    canceled: fc.boolean(),
    fragment: fc.boolean(),
    compactRevision: int,
    cancelReason: fc.string({ unit: "grapheme" }),
    events: fc.array(event, { maxLength: 4 }),
  }),
);

export const anyStamp = fc.record({ clusterId: cluster, memberId: member });
export const anyResponse: fc.Arbitrary<Response> = plain(fc.record({ header, result }));

export const anyError: fc.Arbitrary<StoreError> = fc
  .record({
    code: fc.constantFrom(...(Object.keys(FAILURES) as ErrorCode[])),
    outcome: fc.constantFrom("rejected" as const, "unknown" as const, "applied" as const),
    message: fc.option(fc.string({ unit: "grapheme" }), { nil: undefined }),
    details: fc.dictionary(
      fc.oneof(fc.string(), fc.constant("__proto__")),
      fc.oneof(
        fc.string(),
        fc.maxSafeInteger(),
        fc.double({ noNaN: true }),
        fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }),
        fc.boolean(),
      ),
      { maxKeys: 4 },
    ) as fc.Arbitrary<ErrorDetails>,
  })
  .map(
    ({ code, outcome, message, details }) =>
      new StoreError(code, { outcome, details, ...(message === undefined ? {} : { message }) }),
  );
