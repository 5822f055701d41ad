/**
 * Promises of leases, checked against what their holders saw: none ends early, its keys go with it, and none is left behind.
 *
 * Times are the holders', so the check errs on the safe side: a renewal counts from when it was sent, an end from when
 * somebody was told of it.
 */
import { OK, type Verdict, violation } from "./verdict.ts";

/** One lease, from its grant to its end. */
export interface LeaseLife {
  readonly id: string;
  readonly key: string;
  /** Acknowledged grants and renewals. */
  readonly renewals: { readonly sentAt: number; readonly ttlMs: number }[];
  /** The put of its key was acknowledged, at this time. */
  attachedAt: number | undefined;
  /** Its holder asked for its end. */
  revoked: boolean;
  /** Answers of linearizable questions after the grant, in their order; none overlaps another. */
  readonly seen: LeaseSight[];
}

export type LeaseSight =
  | { readonly kind: "key"; readonly at: number; readonly present: boolean }
  /** `keys` where the lease lives. */
  | { readonly kind: "lease"; readonly at: number; readonly lives: boolean; readonly keys: readonly string[] };

export interface LeaseCheckOptions {
  /** Where no fault can delay it: longest time between a lease's deadline and its end. */
  readonly mostLateMs?: number;
  /** Where members' clocks may run fast: at most this many times as fast as true time. Default 1. */
  readonly fastestClock?: number;
}

export function checkLeases(lives: readonly LeaseLife[], options: LeaseCheckOptions = {}): Verdict {
  for (const life of lives) {
    const fault = faultOf(life, options.mostLateMs, options.fastestClock ?? 1);
    if (fault !== undefined) return violation(`lease ${life.id} of ${life.key}: ${fault}`, story(life));
  }
  return OK;
}

/** The last of what its holder did and saw. */
function story(life: LeaseLife): readonly string[] {
  const lines = [
    ...life.renewals.map(({ sentAt, ttlMs }) => [sentAt, `granted or renewed for ${ttlMs} ms (sent)`] as const),
    ...life.seen.map((sight) =>
      sight.kind === "key"
        ? ([sight.at, `its key ${sight.present ? "is there" : "is gone"}`] as const)
        : ([sight.at, sight.lives ? `it lives, with ${sight.keys.join(", ") || "no key"}` : "it is gone"] as const),
    ),
  ];
  if (life.attachedAt !== undefined) lines.push([life.attachedAt, `its key ${life.key} was put`]);
  if (life.revoked) lines.push([Infinity, "its holder asked for its end"]);
  return lines
    .sort((a, b) => a[0] - b[0])
    .slice(-12)
    .map(([at, what]) => `${at === Infinity ? "at some time" : `${at.toFixed(1)} ms`}: ${what}`);
}

function faultOf(life: LeaseLife, mostLateMs: number | undefined, fastestClock: number): string | undefined {
  // A leader measures a TTL by its own clock.
  const deadline = Math.max(...life.renewals.map(({ sentAt, ttlMs }) => sentAt + ttlMs / fastestClock));
  let endedAt: number | undefined;
  for (const sight of life.seen) {
    const ended =
      sight.kind === "lease"
        ? !sight.lives
        : !sight.present && life.attachedAt !== undefined && sight.at >= life.attachedAt;
    const at = sight.at.toFixed(1);
    if (ended) {
      if (!life.revoked && sight.at < deadline) {
        return `the ${sight.kind} was gone at ${at} ms, before its deadline at ${deadline.toFixed(1)} ms`;
      }
      endedAt ??= sight.at;
      continue;
    }
    if (endedAt !== undefined) {
      // A key that is there without its lease has been left behind; a lease that is back never ended.
      const alive = sight.kind === "lease" || sight.present;
      if (alive) return `the ${sight.kind} was there at ${at} ms, though its end was seen at ${endedAt.toFixed(1)} ms`;
    }
    if (sight.kind === "lease" && life.attachedAt !== undefined && !sight.keys.includes(life.key)) {
      return `it lived at ${at} ms without its key`;
    }
    if (mostLateMs !== undefined && sight.at > deadline + mostLateMs) {
      return `the ${sight.kind} was still there at ${at} ms, ${(sight.at - deadline).toFixed(1)} ms after its deadline`;
    }
  }
  return undefined;
}
