/**
 * The smallest piece of a history that still shows a violation. Every step only takes knowledge away (an operation's
 * later end, a read, what a write was answered), so whatever is still a violation is one by itself: a history that some
 * order explains stays explained when less is known of it.
 */
import type { Verdict } from "./checkers/verdict.ts";
import { describeOperation, type Operation } from "./history.ts";

type Check = (operations: readonly Operation[]) => Verdict;

/** Checks made at most: the bound on the time a failure may cost. */
const CHECKS_MAX = 300;
const LINES_MAX = 60;

/** The operations that remain, or all of them if `check` finds nothing. */
export function shrink(operations: readonly Operation[], check: Check): readonly Operation[] {
  let left = CHECKS_MAX;
  const broken = (some: readonly Operation[]): boolean => left-- > 0 && check(some).verdict === "violation";
  if (!broken(operations)) return operations;

  // The shortest beginning: what ends later has not ended yet.
  const ends = operations.map(({ returned }) => returned).filter((at) => at !== Infinity);
  ends.sort((a, b) => a - b);
  const until = (at: number): readonly Operation[] =>
    operations
      .filter(({ invoked }) => invoked <= at)
      .map((operation) => (operation.returned <= at ? operation : unanswered(operation)));
  let low = 0;
  let high = ends.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (broken(until(ends[middle]!))) high = middle;
    else low = middle + 1;
  }
  let kept = ends.length === 0 ? operations : until(ends[high]!);
  if (!broken(kept)) kept = operations;

  // A refused operation and an unanswered read say nothing; an answered one is left out where it is not needed.
  const without = (operation: Operation): Operation | undefined => {
    const reads = operation.request.kind === "get";
    return operation.outcome === "fail" || reads ? undefined : unanswered(operation);
  };
  for (let size = Math.max(1, kept.length >> 1); size >= 1 && left > 0; size >>= 1) {
    for (let from = 0; from < kept.length && left > 0; from += size) {
      const less = kept.flatMap((operation, i) => {
        if (i < from || i >= from + size || operation.outcome === "unknown") return [operation];
        const weaker = without(operation);
        return weaker === undefined ? [] : [weaker];
      });
      const changed = less.length < kept.length || less.some((operation, i) => operation !== kept[i]);
      if (changed && broken(less)) {
        if (less.length < kept.length) from -= kept.length - less.length;
        kept = less;
        from = Math.max(-size, from);
      }
    }
  }
  return kept;
}

/** The verdict with its fragment: the operations that are needed, in the order of their calls. */
export function withFragment(verdict: Verdict, operations: readonly Operation[], check: Check): Verdict {
  if (verdict.verdict !== "violation" || verdict.fragment !== undefined) return verdict;
  const kept = shrink(operations, check);
  const answered = kept.filter(({ outcome }) => outcome !== "unknown");
  const lines = answered.slice(0, LINES_MAX).map(describeOperation);
  if (answered.length > LINES_MAX) lines.push(`and ${answered.length - LINES_MAX} more`);
  const hidden = kept.length - answered.length;
  if (hidden > 0) lines.push(`beside ${hidden} writes whose answers do not matter: each may have happened or not`);
  const again = check(kept);
  return { ...verdict, message: again.verdict === "violation" ? again.message : verdict.message, fragment: lines };
}

function unanswered(operation: Operation): Operation {
  return { ...operation, returned: Infinity, outcome: "unknown", result: undefined };
}
