/**
 * Compaction that nobody has to ask for (etcd-semantics 3.4): by time, so that what is older than the retention goes, or by
 * count of revisions. Every member samples, and only the leader proposes: whoever leads next knows how old revisions are.
 *
 * Beyond etcd: what may go is not left to gather by the million until an interval ends. Under a heavy load that would be
 * most of a member's memory, and then one long compaction.
 */
import { StoreError } from "../base/errors.ts";
import type { Term } from "../base/ids.ts";
import type { Applied } from "../machine/machine.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import type { CompactRequest } from "../protocol/requests.ts";
import type { SoftState } from "../raft/ready.ts";

export const AUTO_COMPACTION_MODES = ["periodic", "revision"] as const;
export type AutoCompactionMode = (typeof AUTO_COMPACTION_MODES)[number];

/** What is kept at least: milliseconds of history, or revisions. */
export type Retention =
  | { readonly mode: "periodic"; readonly ms: number }
  | { readonly mode: "revision"; readonly revisions: number };

const HOUR_MS = 3_600_000;
/** Longer than any member runs. */
const LONGEST_MS = 100 * 365 * 24 * HOUR_MS;
/** Two attempts are no further apart, however long the retention is. */
const INTERVAL_MOST_MS = HOUR_MS;
/** Samples of the revision in one interval. */
const SAMPLES = 10;
/** So many revisions that may go do not wait, or as many as there are keys if that is more: a compaction visits each key. */
const MANY_REVISIONS = 100_000;
/** How often it is asked whether so many have gathered. */
const MANY_INTERVAL_MS = 1_000;

/** Go's units of time. */
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: HOUR_MS,
};

/**
 * etcd's two settings: a bare number is hours, or revisions; periods may also be written as Go does ("10m", "1h30m"). 0 is
 * off: `undefined`. Throws `BAD_CONFIG`.
 */
export function parseRetention(mode: string, retention: string | number | undefined): Retention | undefined {
  const bad = (what: string): StoreError => new StoreError("BAD_CONFIG", { message: `quorate: ${what}` });
  if (mode !== "periodic" && mode !== "revision") {
    throw bad(`autoCompactionMode must be ${AUTO_COMPACTION_MODES.join(" or ")}, not ${String(mode)}`);
  }
  if (mode === "revision") {
    if (retention === undefined)
      throw bad("autoCompactionMode revision needs autoCompactionRetention: how many to keep");
    const revisions = numberIn(retention);
    if (revisions === undefined || !Number.isSafeInteger(revisions)) {
      throw bad(`autoCompactionRetention must be a number of revisions, not ${String(retention)}`);
    }
    return revisions === 0 ? undefined : { mode, revisions };
  }
  const hours = retention === undefined ? 1 : numberIn(retention);
  const ms = hours === undefined ? durationIn(String(retention)) : hours * HOUR_MS;
  if (ms === undefined || ms > LONGEST_MS || (hours !== undefined && !Number.isSafeInteger(hours))) {
    throw bad(`autoCompactionRetention must be whole hours or a period such as 10m, not ${String(retention)}`);
  }
  if (ms > 0 && ms < 1) throw bad(`autoCompactionRetention must be a millisecond at least, not ${String(retention)}`);
  return ms === 0 ? undefined : { mode, ms };
}

function numberIn(retention: string | number): number | undefined {
  if (typeof retention === "number") return retention >= 0 ? retention : undefined;
  return typeof retention === "string" && /^\d{1,16}$/.test(retention) ? Number(retention) : undefined;
}

function durationIn(text: string): number | undefined {
  if (text.length > 64 || !/^(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined;
  let ms = 0;
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g))
    ms += Number(count) * UNIT_MS[unit!]!;
  return ms;
}

export interface AutoCompactorOptions {
  readonly retention: Retention;
  /** How often the revision is looked at where revisions are counted. */
  readonly revisionIntervalMs: number;
  readonly clock: Clock;
  readonly log: Logger;
  readonly revision: () => number;
  readonly compactRevision: () => number;
  readonly keys: () => number;
  readonly soft: () => SoftState;
  /** Places it in this member's own log as the leader of `onlyIn`, or rejects. */
  readonly propose: (command: CompactRequest, deadline: number, onlyIn: Term) => Promise<Applied>;
}

export class AutoCompactor {
  readonly #o: AutoCompactorOptions;
  readonly #timers: Timer[] = [];
  #running = false;
  /** Revisions as they were, the oldest first; for periods. */
  readonly #samples: number[] = [];
  /** The same, taken whenever many have come since the last: what of them is old enough does not wait for a sample's turn. */
  readonly #marks: { readonly atMs: number; readonly revision: number }[] = [];
  /** What a compaction that succeeded, or was not needed any more, compacted to. */
  #last = 0;
  #lastAt = 0;
  /** No attempt before so long has passed: at first the whole period, for nothing is known of what was before. */
  #waitMs = 0;

  constructor(options: AutoCompactorOptions) {
    this.#o = options;
  }

  start(): void {
    const { clock, retention, revisionIntervalMs } = this.#o;
    this.#lastAt = clock.now();
    if (retention.mode === "revision") {
      const count = (): number => this.#o.revision() - retention.revisions;
      this.#timers.push(
        clock.every(revisionIntervalMs, () => this.#compactNew(count())),
        clock.every(MANY_INTERVAL_MS, () => this.#compactMany(count())),
      );
      return;
    }
    const intervalMs = Math.min(retention.ms, INTERVAL_MOST_MS);
    const sampleMs = intervalMs / SAMPLES;
    const most = Math.floor(retention.ms / sampleMs) + 1;
    this.#waitMs = retention.ms;
    this.#samples.push(this.#o.revision());
    const sample = (): void => {
      this.#period(intervalMs);
      this.#samples.push(this.#o.revision());
      if (this.#samples.length > most) this.#samples.shift();
    };
    const mark = (): void => {
      if (this.#compactMany(this.#oldEnough(retention.ms))) this.#waitMs = intervalMs;
    };
    this.#timers.push(clock.every(sampleMs, sample), clock.every(MANY_INTERVAL_MS, mark));
  }

  stop(): void {
    for (const timer of this.#timers) timer.cancel();
  }

  /** False: not so many, or nothing was proposed. */
  #compactMany(to: number): boolean {
    const many = Math.max(MANY_REVISIONS, this.#o.keys());
    return to - Math.max(0, this.#o.compactRevision()) >= many && this.#compact(to);
  }

  /** Marks the revision if many came since the last mark; returns the newest that was marked so long ago, 0 if none was. */
  #oldEnough(ms: number): number {
    const marks = this.#marks;
    const [atMs, revision] = [this.#o.clock.now(), this.#o.revision()];
    if (revision - (marks.at(-1)?.revision ?? 0) >= MANY_REVISIONS) marks.push({ atMs, revision });
    while (marks.length > 1 && atMs - marks[1]!.atMs >= ms) marks.shift();
    const oldest = marks[0];
    return oldest !== undefined && atMs - oldest.atMs >= ms ? oldest.revision : 0;
  }

  #compactNew(to: number): void {
    if (to > 0 && to !== this.#last) this.#compact(to);
  }

  #period(intervalMs: number): void {
    const to = this.#samples[0]!;
    if (this.#o.clock.now() - this.#lastAt < this.#waitMs || to === this.#last) return;
    if (this.#compact(to)) this.#waitMs = intervalMs;
  }

  /** False: this member does not lead, or one is under way. */
  #compact(to: number): boolean {
    const { soft, clock, log, propose } = this.#o;
    const { role, term } = soft();
    if (role !== "leader" || this.#running) return false;
    this.#running = true;
    const reached = (): void => {
      this.#last = to;
      this.#lastAt = clock.now();
    };
    // Without a deadline: placed in a leader's own log it stays there for as long as that leader leads.
    propose({ kind: "compact", revision: to }, Infinity, term)
      .then(
        ({ outcome }) => {
          if (outcome.ok || outcome.error.code === "COMPACTED") {
            reached();
            log.info({ revision: to }, "compacted by itself");
          } else log.warn({ revision: to, code: outcome.error.code }, "a compaction was refused; it is tried again");
        },
        () => {}, // another leads, or nobody: the next turn sees
      )
      .finally(() => {
        this.#running = false;
      });
    return true;
  }
}
