/**
 * What each command does. A pure function of (state, command): no clock, no chance, nothing that two members could see
 * differently. A refusal is thrown before anything has changed.
 */
import { StoreError } from "../base/errors.ts";
import { type LeaseId, type LogIndex, revision, type Term } from "../base/ids.ts";
import type { ResultRoom } from "../kv/result-room.ts";
import { type Budget, type Slices, sortInSlices } from "../kv/slices.ts";
import type { Store } from "../kv/store.ts";
import { precheckPut, runDeleteRange, runTxn } from "../kv/txn.ts";
import type { Lessor } from "../lease/lessor.ts";
import type { DeleteRangeRequest, PutRequest, TxnRequest } from "../protocol/requests.ts";
import type {
  AlarmResult,
  CompactResult,
  LeaseGrantResult,
  LeaseListResult,
  LeaseRevokeResult,
  MembersResult,
  OpResult,
  PutResult,
  RegisterResult,
} from "../protocol/responses.ts";
import type { Alarms } from "./alarms.ts";
import type { ClientExpireCommand, Command, LeaseCheckpointCommand, LeaseRevokeCommand } from "./command.ts";
import type { Ledger } from "./ledger.ts";
import type { Members } from "./members.ts";
import { costOf } from "./quota.ts";

export interface ApplyContext {
  readonly store: Store;
  readonly members: Members;
  readonly alarms: Alarms;
  readonly lessor: Lessor;
  readonly ledger: Ledger;
  readonly leaseExists: (id: LeaseId) => boolean;
  readonly counts: OperationCounts;
}

/** Operations since this process opened the state. */
export interface OperationCounts {
  puts: number;
  deletes: number;
  txns: number;
  ranges: number;
  leasesGranted: number;
  leasesRevoked: number;
  leasesExpired: number;
}

export type ApplyResult =
  | OpResult
  | CompactResult
  | RegisterResult
  | LeaseGrantResult
  | LeaseRevokeResult
  | LeaseListResult
  | AlarmResult
  | MembersResult;

/**
 * Commands that may be long come back as slices; the others are done at once. `index` and `term` are the entry's. What
 * there is no `room` for is left out of the result.
 */
export function startCommand(
  context: ApplyContext,
  command: Command,
  index: LogIndex,
  term: Term,
  room: ResultRoom,
  budget: Budget,
): { readonly result: ApplyResult } | { readonly slices: Slices<ApplyResult> } {
  const { store, members, alarms } = context;
  // Before all else: whatever else is wrong with it, a write that grows is refused for the lack of space (section 0.1).
  if (alarms.noSpace && costOf(command) > 0) throw new StoreError("NO_SPACE");
  switch (command.kind) {
    case "put":
      return { result: applyPut(context, command, room) };
    case "deleteRange":
      return { slices: applyDeleteRange(context, command, budget, room) };
    case "txn":
      return { slices: applyTxn(context, command, budget, room) };
    case "compact":
      store.compact(command.revision);
      return { result: { kind: "compact", revision: revision(store.revision) } };
    case "leaseGrant": {
      const { id, grantedTtl } = context.lessor.grant(command.id, command.ttl);
      context.counts.leasesGranted += 1;
      return { result: { kind: "leaseGrant", revision: store.revision, id, ttl: grantedTtl } };
    }
    case "leaseRevoke":
      return { slices: applyLeaseRevoke(context, command, term, budget) };
    case "leaseCheckpoint":
      return { result: applyLeaseCheckpoint(context, command, term) };
    case "alarm":
      return { result: { kind: "alarm", alarms: alarms.apply(command) } };
    case "clientRegister":
      context.ledger.register(index);
      return { result: { kind: "register", clientId: index } };
    case "clientExpire":
      applyClientExpire(context, command, term);
      return { result: { kind: "members", members: members.list() } };
    case "memberAdd":
    case "memberRemove":
    case "memberUpdate":
    case "memberPromote":
    case "memberPublish": {
      const member = members.apply(command);
      if (command.kind === "memberRemove") alarms.memberRemoved(command.id);
      return { result: { kind: "members", member, members: members.list() } };
    }
  }
}

function applyPut({ store, leaseExists, counts }: ApplyContext, put: PutRequest, room: ResultRoom): PutResult {
  precheckPut(store, put, store.revision, leaseExists);
  store.beginWrite();
  const prevKv = store.put(put, room);
  store.endWrite();
  counts.puts += 1;
  return { kind: "put", revision: store.revision, prevKv };
}

function* applyDeleteRange(
  context: ApplyContext,
  request: DeleteRangeRequest,
  budget: Budget,
  room: ResultRoom,
): Slices<ApplyResult> {
  const { store, counts } = context;
  store.beginWrite();
  const result = yield* runDeleteRange(store, request, budget, room);
  store.endWrite();
  counts.deletes += 1;
  return result;
}

function* applyTxn(context: ApplyContext, txn: TxnRequest, budget: Budget, room: ResultRoom): Slices<ApplyResult> {
  const { store, leaseExists, counts } = context;
  store.beginWrite();
  try {
    const result = yield* runTxn(store, txn, { kind: "write" }, leaseExists, budget, room);
    counts.txns += 1;
    countResults(counts, result.results);
    if (room.exceeded) throw new StoreError("RESULT_TOO_LARGE", { outcome: "applied" });
    return result;
  } finally {
    // Refused: it changed nothing, so this moves nothing. Too large to answer: it changed what it had to.
    store.endWrite();
  }
}

/**
 * All keys of the lease go in one revision, in the order of their bytes; the lease itself at the end of it. The lessor's
 * own list shrinks as they go, so a slice ends with lease and keys in step.
 */
function* applyLeaseRevoke(
  context: ApplyContext,
  command: LeaseRevokeCommand,
  term: Term,
  budget: Budget,
): Slices<ApplyResult> {
  const { store, lessor, counts } = context;
  const { id } = command;
  const lease = lessor.lookup(id);
  if (lease === undefined) throw new StoreError("LEASE_NOT_FOUND", { details: { leaseId: id } });
  if (command.term !== undefined && command.term !== term) throw new StoreError("LEADER_CHANGED");
  const expired = command.term !== undefined;
  const keys = yield* sortInSlices([...(lease.keys ?? [])], (a, b) => (a < b ? -1 : 1), budget);
  store.beginWrite();
  for (const key of keys) {
    yield* store.deleteRange({ single: true, low: key, high: key }, undefined, budget, expired);
    counts.deletes += 1;
    if (budget.left <= 0) yield;
  }
  lessor.revoke(id);
  counts.leasesRevoked += 1;
  if (expired) counts.leasesExpired += 1;
  store.endWrite();
  return { kind: "leaseRevoke", revision: store.revision };
}

/** The leases that it found: some end while their checkpoint is under way. */
function applyLeaseCheckpoint({ lessor }: ApplyContext, command: LeaseCheckpointCommand, term: Term): LeaseListResult {
  if (command.term !== term) throw new StoreError("LEADER_CHANGED");
  const found = command.checkpoints.filter(({ id, remainingTtl }) => lessor.checkpoint(id, remainingTtl));
  return { kind: "leaseList", leases: found.map(({ id }) => id) };
}

function applyClientExpire({ ledger }: ApplyContext, command: ClientExpireCommand, term: Term): void {
  if (command.term !== term) throw new StoreError("LEADER_CHANGED");
  for (const { id, lastSequence } of command.clients) ledger.expire(id, lastSequence);
}

function countResults(counts: OperationCounts, results: readonly OpResult[]): void {
  for (const result of results) {
    if (result.kind === "put") counts.puts += 1;
    else if (result.kind === "deleteRange") counts.deletes += 1;
    else if (result.kind === "range") counts.ranges += 1;
    else countResults(counts, result.results);
  }
}
