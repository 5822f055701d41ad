/** What a command may add to the state, by etcd's measure (etcd-semantics 7.4). 0: it adds nothing, and always fits. */
import type { Request, RequestOp } from "../protocol/requests.ts";
import type { Command } from "./command.ts";

const PUT_COST = 256;
const LEASE_COST = 64;

export function costOf(command: Command | Request): number {
  switch (command.kind) {
    case "put":
      return PUT_COST + command.key.length + command.value.length;
    case "txn":
      return Math.max(costOfOps(command.success), costOfOps(command.failure));
    case "leaseGrant":
      return LEASE_COST;
    default:
      return 0;
  }
}

function costOfOps(ops: readonly RequestOp[]): number {
  let cost = 0;
  for (const op of ops) if (op.kind === "put" || op.kind === "txn") cost += costOf(op);
  return cost;
}
