/**
 * What observers of an election are promised: leaders in their order, each one's words in theirs, nothing that nobody
 * proclaimed. A new leader's first words may be older than the last of the one before: it spoke them as a candidate.
 */
import { OK, type Verdict, violation } from "./verdict.ts";

export interface Observation {
  readonly key: string;
  readonly create: number;
  readonly mod: number;
  readonly value: string;
}

export function checkObservations(
  observed: Readonly<Record<string, readonly Observation[]>>,
  proclaimed: ReadonlySet<string>,
): Verdict {
  for (const [observer, observations] of Object.entries(observed)) {
    let last: Observation | undefined;
    for (const now of observations) {
      if (!proclaimed.has(now.value)) return violation(`${observer} was told ${now.value}, which nobody proclaimed`);
      if (last !== undefined && (now.create < last.create || (now.create === last.create && now.mod <= last.mod))) {
        return violation(
          `${observer} was told of ${now.key} (created ${now.create}, written ${now.mod}) after ${last.key} (created ${last.create}, written ${last.mod})`,
        );
      }
      last = now;
    }
  }
  return OK;
}
