/**
 * What locks and elections promise, held against what holders did and what the store kept of it: guarded by its token, no
 * effect of an older holder lands after a newer one's; tokens rise; a holder that lost its session learns it in time.
 */
import { OK, type Verdict, violation } from "./verdict.ts";

/** One holder, from when it was told that it holds until it holds no more, as far as it knows. */
export interface Tenure {
  readonly holder: string;
  readonly token: number;
  readonly from: number;
  /** It gave it up, or learned that it was lost. */
  until: number;
  /** Until when its lease certainly lived, as its session knew at the end. */
  deadline: number;
  /** It did not give it up: its session was lost. */
  lost: boolean;
  /** Its giving up was refused, or had no answer: the place may be its own still, and so the token. */
  kept?: boolean;
}

/** One attempt of a holder to change something, in a txn guarded by its token. */
export interface Effect {
  readonly id: string;
  readonly holder: string;
  readonly token: number;
  /** "refused": the txn's compare did not hold. "rejected": it certainly did not happen. */
  outcome: "landed" | "refused" | "rejected" | "unknown";
}

/** What the store kept of an effect. */
export interface LandedEffect {
  readonly revision: number;
  readonly token: number;
  readonly id: string;
}

/** When a holder's process was stopped. `until` is Infinity while it is. */
export interface Stop {
  readonly holder: string;
  readonly from: number;
  until: number;
}

export interface Contention {
  readonly tenures: readonly Tenure[];
  readonly effects: readonly Effect[];
  /** In the order of revisions. */
  readonly landed: readonly LandedEffect[];
  readonly stops: readonly Stop[];
  /** Longest time between the moment at which a loss can be known and the moment at which it is. Default 0: virtual time. */
  readonly slackMs?: number;
}

export function checkFencing(contention: Contention): Readonly<Record<string, Verdict>> {
  return {
    "no effect of an older token lands late": late(contention),
    "effects end as they were told to": told(contention),
    "tokens rise": rising(contention),
    "one holder at a time": alone(contention),
    "losses are learned in time": learned(contention),
  };
}

function late({ landed }: Contention): Verdict {
  let newest: LandedEffect | undefined;
  for (const effect of landed) {
    if (newest !== undefined && effect.token < newest.token) {
      return violation(
        `effect ${effect.id} of token ${effect.token} landed at revision ${effect.revision}, after ${newest.id} of token ${newest.token}`,
      );
    }
    newest = effect;
  }
  return OK;
}

function told({ effects, landed }: Contention): Verdict {
  const times = new Map<string, number>();
  for (const { id } of landed) times.set(id, (times.get(id) ?? 0) + 1);
  const known = new Map(effects.map((effect) => [effect.id, effect]));
  for (const { id, token, revision } of landed) {
    const effect = known.get(id);
    if (effect === undefined) return violation(`revision ${revision} holds effect ${id}, which nobody asked for`);
    if (effect.token !== token) return violation(`effect ${id} of token ${effect.token} landed with token ${token}`);
  }
  for (const { id, outcome } of effects) {
    const count = times.get(id) ?? 0;
    if (count > 1) return violation(`effect ${id} landed ${count} times`);
    if (outcome === "landed" && count === 0) return violation(`effect ${id} was acknowledged, but did not land`);
    if ((outcome === "refused" || outcome === "rejected") && count > 0)
      return violation(`effect ${id} was ${outcome}, but landed`);
  }
  return OK;
}

function rising({ tenures }: Contention): Verdict {
  let last: Tenure | undefined;
  for (const tenure of inOrder(tenures)) {
    const isAgain = last?.kept === true && tenure.holder === last.holder && tenure.token === last.token;
    if (last !== undefined && tenure.token <= last.token && !isAgain) {
      return violation(`${describe(tenure)} came after ${describe(last)}`);
    }
    last = tenure;
  }
  return OK;
}

/** Up to its deadline a holder is alone, stopped or not. */
function alone({ tenures }: Contention): Verdict {
  const pair = overlaps(tenures, (tenure) => Math.min(tenure.until, tenure.deadline))[0];
  return pair === undefined ? OK : violation(`${describe(pair[1])} began while ${describe(pair[0])} held`);
}

function learned({ tenures, stops, slackMs = 0 }: Contention): Verdict {
  for (const tenure of tenures) {
    if (!tenure.lost) continue;
    let due = tenure.deadline;
    // What is stopped at its deadline cannot learn anything before it runs again.
    for (const { holder, from, until } of [...stops].sort((a, b) => a.from - b.from)) {
      if (holder === tenure.holder && from <= due && until >= due) due = until;
    }
    if (tenure.until > due + slackMs) {
      return violation(
        `${describe(tenure)} could know of its loss at ${due.toFixed(1)}, and knew at ${tenure.until.toFixed(1)}`,
      );
    }
  }
  return OK;
}

/**
 * How often somebody began to hold while another, stopped past its deadline, still believed to: what a lock alone cannot
 * prevent. Guarded effects are safe from it.
 */
export function unguardedOverlaps(tenures: readonly Tenure[]): number {
  return overlaps(tenures, ({ until }) => until).length;
}

function overlaps(tenures: readonly Tenure[], end: (tenure: Tenure) => number): (readonly [Tenure, Tenure])[] {
  const pairs: (readonly [Tenure, Tenure])[] = [];
  const before: Tenure[] = [];
  for (const tenure of inOrder(tenures)) {
    for (const other of before) if (end(other) > tenure.from) pairs.push([other, tenure]);
    before.push(tenure);
  }
  return pairs;
}

function inOrder(tenures: readonly Tenure[]): readonly Tenure[] {
  return [...tenures].sort((a, b) => a.from - b.from || a.token - b.token);
}

function describe({ holder, token, from, until }: Tenure): string {
  return `${holder} (token ${token}, ${from.toFixed(1)} to ${until.toFixed(1)} ms)`;
}
