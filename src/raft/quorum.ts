/** Majorities: pure functions of a configuration and of what each member said. */
import type { MemberId } from "../base/ids.ts";
import type { ConfState } from "./membership-types.ts";

export type VoteResult = "won" | "lost" | "pending";

/** How many make a majority of `count`. */
export function majority(count: number): number {
  return Math.floor(count / 2) + 1;
}

/** An empty half decides nothing: it has won before it was asked. */
function half(ids: readonly MemberId[], tally: ReadonlyMap<MemberId, boolean>): VoteResult {
  if (ids.length === 0) return "won";
  let granted = 0;
  let refused = 0;
  for (const id of ids) {
    const answer = tally.get(id);
    if (answer === true) granted += 1;
    else if (answer === false) refused += 1;
  }
  if (granted >= majority(ids.length)) return "won";
  return ids.length - refused < majority(ids.length) ? "lost" : "pending";
}

/** Joint configurations need both halves (M3); one lost half loses the election (E8). */
export function voteResult(conf: ConfState, tally: ReadonlyMap<MemberId, boolean>): VoteResult {
  if (conf.voters.length === 0) return "lost";
  const incoming = half(conf.voters, tally);
  const outgoing = half(conf.votersOutgoing, tally);
  if (incoming === "lost" || outgoing === "lost") return "lost";
  return incoming === "won" && outgoing === "won" ? "won" : "pending";
}

/**
 * The largest value that a majority of `values[0..count)` has reached. Sorts the array in place. Without voters there
 * is nothing to wait for: `Infinity`, the neutral element of the minimum over both halves.
 */
export function majorityValue(values: number[], count: number): number {
  if (count === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort, descending: groups have three to seven voters.
  for (let i = 1; i < count; i++) {
    const value = values[i]!;
    let j = i - 1;
    while (j >= 0 && values[j]! < value) {
      values[j + 1] = values[j]!;
      j -= 1;
    }
    values[j + 1] = value;
  }
  return values[majority(count) - 1]!;
}
