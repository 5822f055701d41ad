/**
 * What each command does. A pure function of (state, command): no clock, no chance, nothing that two members could see
 * differently. A refusal is thrown before anything has changed.
 */
import { type LeaseId, revision } from "../base/ids.ts";
import type { Budget, Slices } from "../kv/slices.ts";
import type { Store } from "../kv/store.ts";
import { precheckPut, runDeleteRange, runTxn } from "../kv/txn.ts";
import type { DeleteRangeRequest, PutRequest, TxnRequest } from "../protocol/requests.ts";
import type { CompactResult, MembersResult, OpResult, PutResult } from "../protocol/responses.ts";
import type { Command } from "./command.ts";
import type { Members } from "./members.ts";

export interface ApplyContext {
  readonly store: Store;
  readonly members: Members;
  /** Where the lessor plugs in. */
  readonly leaseExists: (id: LeaseId) => boolean;
  readonly counts: OperationCounts;
}

/** Operations since this process opened the state. */
export interface OperationCounts {
  puts: number;
  deletes: number;
  txns: number;
  ranges: number;
}

export type ApplyResult = OpResult | CompactResult | MembersResult;

/** Commands that may be long come back as slices; the others are done at once. */
export function startCommand(
  context: ApplyContext,
  command: Command,
  budget: Budget,
): { readonly result: ApplyResult } | { readonly slices: Slices<ApplyResult> } {
  const { store, members } = context;
  switch (command.kind) {
    case "put":
      return { result: applyPut(context, command) };
    case "deleteRange":
      return { slices: applyDeleteRange(context, command, budget) };
    case "txn":
      return { slices: applyTxn(context, command, budget) };
    case "compact":
      store.compact(command.revision);
      return { result: { kind: "compact", revision: revision(store.revision) } };
    case "memberAdd":
    case "memberRemove":
    case "memberUpdate":
    case "memberPromote":
    case "memberPublish": {
      const member = members.apply(command);
      return { result: { kind: "members", member, members: members.list() } };
    }
  }
}

function applyPut({ store, leaseExists, counts }: ApplyContext, put: PutRequest): PutResult {
  precheckPut(store, put, store.revision, leaseExists);
  store.beginWrite();
  const prevKv = store.put(put);
  store.endWrite();
  counts.puts += 1;
  return { kind: "put", revision: store.revision, prevKv };
}

function* applyDeleteRange(context: ApplyContext, request: DeleteRangeRequest, budget: Budget): Slices<ApplyResult> {
  const { store, counts } = context;
  store.beginWrite();
  const result = yield* runDeleteRange(store, request, budget);
  store.endWrite();
  counts.deletes += 1;
  return result;
}

function* applyTxn(context: ApplyContext, txn: TxnRequest, budget: Budget): Slices<ApplyResult> {
  const { store, leaseExists, counts } = context;
  store.beginWrite();
  try {
    const result = yield* runTxn(store, txn, { kind: "write" }, leaseExists, budget);
    counts.txns += 1;
    countResults(counts, result.results);
    return result;
  } finally {
    // Refused: it changed nothing, so this moves nothing.
    store.endWrite();
  }
}

function countResults(counts: OperationCounts, results: readonly OpResult[]): void {
  for (const result of results) {
    if (result.kind === "put") counts.puts += 1;
    else if (result.kind === "deleteRange") counts.deletes += 1;
    else if (result.kind === "range") counts.ranges += 1;
    else countResults(counts, result.results);
  }
}
