/**
 * Serializable reads may be old but never wrong: each shows exactly the state at its header's revision, and on one run of
 * one member they never go back. (A member that restarts may: what it knew to be committed is not all on its disk.)
 */
import { describeOperation, type HistoryRecord, operationsOf } from "../history.ts";
import { checkLinearizability, isSerializable, type LinearizabilityOptions } from "./linearizability.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

/** A note "start" or "stop" with a member's id parts its runs. */
export function checkSerializable(records: readonly HistoryRecord[], options: LinearizabilityOptions = {}): Verdict {
  const operations = operationsOf(records);
  const starts = new Map<string, number[]>();
  for (const record of records) {
    if (record.type !== "note" || (record.note !== "start" && record.note !== "stop")) continue;
    starts.set(record.member, [...(starts.get(record.member) ?? []), record.time]);
  }

  // Per member, in the order of their answers: the newest revision shown by an answer given before the call.
  const reads = operations.filter((operation) => operation.outcome === "ok" && isSerializable(operation));
  const members = new Set(reads.map((read) => read.result!.member));
  for (const member of members) {
    const mine = reads.filter((read) => read.result!.member === member);
    const answered = [...mine].sort((a, b) => a.returned - b.returned);
    const called = [...mine].sort((a, b) => a.invoked - b.invoked);
    const runs = starts.get(member) ?? [];
    let newest = answered[0]!;
    let taken = 0;
    for (const read of called) {
      for (; taken < answered.length && answered[taken]!.returned < read.invoked; taken++) {
        const earlier = answered[taken]!;
        const restarted = runs.some((time) => time >= newest.invoked && time <= earlier.returned);
        if (taken === 0 || restarted || earlier.result!.revision > newest.result!.revision) newest = earlier;
      }
      if (taken === 0 || newest.result!.revision <= read.result!.revision) continue;
      if (runs.some((time) => time >= newest.invoked && time <= read.returned)) continue;
      return violation(
        `member ${member} went back in time: ${describeOperation(newest)}, and later ${describeOperation(read)}`,
      );
    }
  }

  const both = checkLinearizability(operations, { ...options, withSerializable: true });
  if (both.verdict === "ok") return OK;
  // A broken order of the writes themselves is not blamed on serializable reads.
  const order = checkLinearizability(operations, options);
  if (order.verdict !== "ok")
    return { verdict: "unknown", message: `no order of writes to compare with: ${order.message}` };
  return both.verdict === "violation" ? violation(`serializable: ${both.message}`) : both;
}
