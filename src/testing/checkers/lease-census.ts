/**
 * Many leases through changes of leaders, counted again and again: none ends early, none late, none comes back.
 *
 * Times are those of whoever asks, so each check errs on the safe side: a lease was there when the count was asked for,
 * and gone when it was answered. A count must show everything that was granted, and nothing that had ended, before it was
 * asked for.
 */
import { formatId, type LeaseId } from "../../base/ids.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

export interface LeaseCensusOptions {
  /** What a change of leaders may add beside the TTL. */
  readonly electionTimeoutMs: number;
  /** How long after that a lease may still be there. Default 2,000. */
  readonly slackMs?: number;
}

export interface LeaseCensusFigures {
  readonly leases: number;
  readonly ended: number;
  readonly renewals: number;
  /** Leases that would have been seen to end early had their renewals done nothing. 0: the run says nothing about renewals. */
  readonly renewalsShown: number;
  readonly leaderChanges: number;
  readonly counts: number;
  /** The longest that a lease was seen beyond its deadline. */
  readonly mostOverdueMs: number;
  /** The same, less what changes of leaders may add: at most `slackMs`, or it is a violation. Below 0: far from it. */
  readonly mostLateMs: number;
}

/** So much later than by grant and leaders alone must a renewed lease end, for an end without its renewals to be noticed. */
const NOTICED_MS = 1_000;

interface Counted {
  readonly ttlMs: number;
  /** Acknowledged. */
  readonly grantedAt: number;
  /** When its last acknowledged grant or renewal was sent. */
  renewedAt: number;
  /** It lives until then, at least: acknowledged. */
  deadline: number;
  /** Until then it may, by what was sent. */
  latest: number;
  endedAt: number | undefined;
}

export class LeaseCensus {
  readonly #electionTimeoutMs: number;
  readonly #slackMs: number;
  readonly #leases = new Map<LeaseId, Counted>();
  readonly #changes: number[] = [];
  #violation: string | undefined;
  #renewals = 0;
  #counts = 0;
  #mostOverdueMs = Number.NEGATIVE_INFINITY;
  #mostLateMs = Number.NEGATIVE_INFINITY;

  constructor(options: LeaseCensusOptions) {
    this.#electionTimeoutMs = options.electionTimeoutMs;
    this.#slackMs = options.slackMs ?? 2_000;
  }

  /** Leases not seen to have ended. */
  get living(): LeaseId[] {
    return [...this.#leases].flatMap(([id, { endedAt }]) => (endedAt === undefined ? [id] : []));
  }

  /** Acknowledged at `at`. */
  granted(id: LeaseId, ttlMs: number, sentAt: number, at: number): void {
    this.#leases.set(id, {
      ttlMs,
      grantedAt: at,
      renewedAt: sentAt,
      deadline: sentAt + ttlMs,
      latest: at + ttlMs,
      endedAt: undefined,
    });
  }

  renewed(id: LeaseId, sentAt: number, at: number): void {
    const lease = this.#leases.get(id)!;
    this.#renewals += 1;
    lease.renewedAt = Math.max(lease.renewedAt, sentAt);
    lease.deadline = Math.max(lease.deadline, sentAt + lease.ttlMs);
    lease.latest = Math.max(lease.latest, at + lease.ttlMs);
  }

  /** A renewal that failed at `at`: it may have arrived. */
  tried(id: LeaseId, at: number): void {
    const lease = this.#leases.get(id)!;
    lease.latest = Math.max(lease.latest, at + lease.ttlMs);
  }

  leaderChanged(at: number): void {
    this.#changes.push(at);
  }

  counted(there: ReadonlySet<LeaseId>, askedAt: number, answeredAt: number): void {
    this.#counts += 1;
    for (const [id, lease] of this.#leases) {
      if (!there.has(id)) {
        lease.endedAt ??= answeredAt;
        continue;
      }
      if (lease.endedAt !== undefined) {
        this.#violation ??= `lease ${formatId(id)} was there at ${askedAt.toFixed(1)} ms, though it had ended`;
        continue;
      }
      const seen = this.#changes.filter((at) => at > lease.renewedAt && at <= answeredAt).length;
      const overdue = askedAt - lease.latest;
      const late = overdue - seen * (lease.ttlMs + this.#electionTimeoutMs);
      this.#mostOverdueMs = Math.max(this.#mostOverdueMs, overdue);
      this.#mostLateMs = Math.max(this.#mostLateMs, late);
      if (late <= this.#slackMs) continue;
      this.#violation ??=
        `lease ${formatId(id)} of ${lease.ttlMs} ms was there at ${askedAt.toFixed(1)} ms, ` +
        `${overdue.toFixed(1)} ms after its deadline, having seen ${seen} changes of leaders`;
    }
  }

  /** At the end, when every lease should be gone. */
  verdict(): Verdict {
    if (this.#violation !== undefined) return violation(this.#violation);
    for (const [id, { deadline, endedAt }] of this.#leases) {
      if (endedAt === undefined) return violation(`lease ${formatId(id)} is left behind`);
      // Looked at here, and not when it ended: the renewal that it broke may have been acknowledged later.
      if (endedAt < deadline) {
        const at = endedAt.toFixed(1);
        return violation(
          `lease ${formatId(id)} was gone at ${at} ms, before its deadline at ${deadline.toFixed(1)} ms`,
        );
      }
    }
    return OK;
  }

  get figures(): LeaseCensusFigures {
    return {
      leases: this.#leases.size,
      ended: this.#leases.size - this.living.length,
      renewals: this.#renewals,
      renewalsShown: this.#shown(),
      leaderChanges: this.#changes.length,
      counts: this.#counts,
      mostOverdueMs: Math.round(this.#mostOverdueMs),
      mostLateMs: Math.round(this.#mostLateMs),
    };
  }
  /** A new leader gives each lease its TTL anew, which hides what renewals before did. */
  #shown(): number {
    let shown = 0;
    for (const { ttlMs, grantedAt, deadline, endedAt } of this.#leases.values()) {
      if (endedAt === undefined) continue;
      const begun = Math.max(grantedAt, ...this.#changes.filter((at) => at <= endedAt));
      if (deadline >= begun + ttlMs + NOTICED_MS) shown += 1;
    }
    return shown;
  }
}
