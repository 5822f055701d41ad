import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import { prng, randomInt } from "../../src/base/prng.ts";
import { CHECKPOINT_INTERVAL_MS, Expiry } from "../../src/lease/expiry.ts";
import type { Lease } from "../../src/lease/lease.ts";
import { Lessor } from "../../src/lease/lessor.ts";
import { testSeed } from "../support/seed.ts";
import { MapRecords } from "./records.ts";

const seed = testSeed();

function promote(expiry: Expiry, lessor: Lessor, now: number): void {
  expiry.promote(lessor.leases(), now);
  expect(expiry.adopt(Infinity)).toBe(true);
}

/** A leader from time 0 on, with an empty lessor. */
function leader(): { lessor: Lessor; expiry: Expiry; grant: (id: number, ttl: number, now: number) => Lease } {
  const lessor = new Lessor(new MapRecords());
  const expiry = new Expiry();
  promote(expiry, lessor, 0);
  return {
    lessor,
    expiry,
    grant: (id, ttl, now) => {
      const lease = lessor.grant(leaseId(id), ttl);
      expiry.granted(lease, now);
      return lease;
    },
  };
}

const idsOf = (leases: readonly Lease[]): number[] => leases.map(({ id }) => Number(id));

describe("deadlines", () => {
  test("a lease is due once its TTL has passed since the grant, and not before", () => {
    const { expiry, grant } = leader();
    grant(1, 10, 500);
    expect(expiry.due(10_499, 10)).toEqual([]);
    expect(idsOf(expiry.due(10_500, 10))).toEqual([1]);
  });

  test("a keep-alive moves the deadline to its arrival plus the TTL", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expect(expiry.renew(lease, 9_999)).toEqual({ kind: "renewed" });
    expect(expiry.due(19_998, 10)).toEqual([]);
    expect(idsOf(expiry.due(19_999, 10))).toEqual([1]);
  });

  test("a keep-alive that arrived earlier but is handled later takes nothing away", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expiry.renew(lease, 5_000);
    expiry.renew(lease, 4_000);
    expect(expiry.due(14_999, 10)).toEqual([]);
  });

  test("a keep-alive between the deadline and the revoke's proposal still counts", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expect(expiry.renew(lease, 12_000)).toEqual({ kind: "renewed" });
    expect(expiry.due(21_999, 10)).toEqual([]);
  });

  test("leases come in the order of their deadlines, then ids, as many as asked for", () => {
    const { expiry, grant } = leader();
    for (const [id, ttl] of [
      [5, 3],
      [2, 1],
      [9, 2],
      [1, 2],
      [3, 9],
    ] as const) {
      grant(id, ttl, 0);
    }
    expect(idsOf(expiry.due(5_000, 3))).toEqual([2, 1, 9]);
    expect(idsOf(expiry.due(5_000, 3))).toEqual([5]);
    expect(idsOf(expiry.due(5_000, 3))).toEqual([]);
    expect(expiry.pendingRevokes).toBe(4);
    expect(expiry.waiting).toBe(1);
  });

  test("a clock that went back ends nothing early", () => {
    const { expiry, grant } = leader();
    expiry.due(50_000, 10);
    grant(1, 10, 40_000);
    expect(expiry.due(59_999, 10)).toEqual([]);
    expect(idsOf(expiry.due(60_000, 10))).toEqual([1]);
  });

  test("a revoked lease is never due, whoever revoked it", () => {
    const { lessor, expiry, grant } = leader();
    const leases = [1, 2, 3, 4, 5].map((id) => grant(id, id, 0));
    for (const lease of [leases[0]!, leases[4]!, leases[2]!]) {
      lessor.revoke(lease.id);
      expiry.revoked(lease);
    }
    expect(idsOf(expiry.due(99_000, 10))).toEqual([2, 4]);
  });
});

describe("a proposed revoke", () => {
  test("makes keep-alives wait until it is applied", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expiry.due(10_000, 1);
    expect(expiry.pendingRevoke(lease)).toBe(true);
    expect(expiry.renew(lease, 10_001)).toEqual({ kind: "revoking" });
    expiry.revoked(lease);
    expect(expiry.pendingRevoke(lease)).toBe(false);
    expect(expiry.pendingRevokes).toBe(0);
    expect(expiry.due(99_000, 10)).toEqual([]);
  });

  test("that is lost is proposed again, unless a keep-alive comes first", () => {
    const { expiry, grant } = leader();
    const [first, second] = [grant(1, 10, 0), grant(2, 10, 0)];
    expiry.due(10_000, 10);
    expiry.lostRevoke(first);
    expiry.lostRevoke(second);
    expiry.lostRevoke(second);
    expect(expiry.waiting).toBe(2);
    expect(expiry.renew(second, 10_100)).toEqual({ kind: "renewed" });
    expect(idsOf(expiry.due(10_200, 10))).toEqual([1]);
    expect(idsOf(expiry.due(20_100, 10))).toEqual([2]);
  });

  test("that is lost after this member stopped leading changes nothing", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expiry.due(10_000, 10);
    expiry.demote();
    expiry.lostRevoke(lease);
    expect(expiry.waiting).toBe(0);
    expect(expiry.due(99_000, 10)).toEqual([]);
  });
});

describe("a change of leader", () => {
  test("gives each lease its TTL, or what its checkpoint says", () => {
    const { lessor, expiry, grant } = leader();
    grant(1, 10, 0);
    grant(2, 10, 0);
    lessor.checkpoint(leaseId(2), 4);
    expiry.demote();
    promote(expiry, lessor, 100_000);
    expect(expiry.due(103_999, 10)).toEqual([]);
    expect(idsOf(expiry.due(104_000, 10))).toEqual([2]);
    expect(expiry.due(109_999, 10)).toEqual([]);
    expect(idsOf(expiry.due(110_000, 10))).toEqual([1]);
  });

  test("forgets what was proposed before", () => {
    const { lessor, expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expiry.due(10_000, 1);
    promote(expiry, lessor, 10_000);
    expect(expiry.pendingRevokes).toBe(0);
    expect(expiry.renew(lease, 10_500)).toEqual({ kind: "renewed" });
  });

  test("starts timers a few at a time, all from the moment of the change, and first where somebody asks", () => {
    const { lessor, expiry, grant } = leader();
    const leases = [1, 2, 3, 4, 5].map((id) => grant(id, 10, 0));
    expiry.promote(lessor.leases(), 1_000);
    expect(expiry.adopt(2)).toBe(false);
    expect(expiry.waiting).toBe(2);
    expect(expiry.timeToLive(leases[4], 2_000)).toEqual({ ttl: 9, grantedTtl: 10 });
    expect(expiry.renew(leases[3]!, 4_000)).toEqual({ kind: "renewed" });
    expect(expiry.waiting).toBe(4);
    lessor.revoke(leases[4]!.id);
    expiry.revoked(leases[4]!);
    grant(6, 10, 4_500);
    expect(expiry.adopt(10)).toBe(true);
    expect(expiry.waiting).toBe(5);
    expect(expiry.due(10_999, 10)).toEqual([]);
    expect(idsOf(expiry.due(11_000, 10))).toEqual([1, 2, 3]);
    expect(idsOf(expiry.due(14_000, 10))).toEqual([4]);
    expect(idsOf(expiry.due(14_500, 10))).toEqual([6]);
  });

  test("a lease that is revoked before its timer starts never gets one", () => {
    const { lessor, expiry, grant } = leader();
    const leases = [grant(1, 10, 0), grant(2, 10, 0)];
    // A list, which unlike the lessor still has the lease when its turn comes.
    expiry.promote(leases, 1_000);
    expiry.timeToLive(leases[1], 1_000);
    for (const lease of leases) {
      lessor.revoke(lease.id);
      expiry.revoked(lease);
    }
    expect(expiry.adopt(10)).toBe(true);
    expect(expiry.waiting).toBe(0);
  });

  test("a member that does not lead knows no deadlines", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expiry.demote();
    const later = grant(2, 10, 0);
    expect(expiry.isPrimary).toBe(false);
    expect(expiry.due(99_000, 10)).toEqual([]);
    expect(expiry.checkpointsDue(999_000, 10)).toEqual([]);
    expect(expiry.renew(lease, 99_000)).toEqual({ kind: "demoted" });
    expect(expiry.timeToLive(later, 99_000)).toBeUndefined();
    expect(expiry.timeToLive(undefined, 99_000)).toBeUndefined();
  });
});

describe("timeToLive", () => {
  test.each([
    ["right after the grant", 0, 10],
    ["a moment later: truncated", 1, 9],
    ["on a whole second", 3_000, 7],
    ["in the last second", 9_001, 0],
    ["at the deadline", 10_000, 0],
    ["just overdue", 10_500, 0],
    ["a second overdue", 11_000, -1],
    ["long overdue", 15_700, -5],
  ])("%s", (_name, now, ttl) => {
    const { expiry, grant } = leader();
    const lease = grant(1, 10, 0);
    expect(expiry.timeToLive(lease, now)).toEqual({ ttl, grantedTtl: 10 });
  });

  test("of no lease is -1, and no error", () => {
    expect(leader().expiry.timeToLive(undefined, 0)).toEqual({ ttl: -1, grantedTtl: 0 });
  });
});

describe("checkpoints", () => {
  const INTERVAL = CHECKPOINT_INTERVAL_MS;
  const taken = (expiry: Expiry, now: number, limit = 10): [number, number][] =>
    expiry.checkpointsDue(now, limit).map(({ lease, remainingTtl }) => [Number(lease.id), remainingTtl]);

  test("are taken each interval while more than the interval is left, rounded up", () => {
    const { lessor, expiry, grant } = leader();
    grant(1, 900, 0);
    grant(2, 300, 0);
    expect(taken(expiry, INTERVAL - 1)).toEqual([]);
    expect(taken(expiry, INTERVAL + 1)).toEqual([[1, 600]]);
    lessor.checkpoint(leaseId(1), 600);
    expect(taken(expiry, 2 * INTERVAL)).toEqual([]);
    // 299.999 s are left: by the next interval the lease will have ended.
    expect(taken(expiry, 2 * INTERVAL + 1)).toEqual([]);
    expect(taken(expiry, 890_000)).toEqual([]);
  });

  test("spare a lease that is kept alive", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 900, 0);
    expiry.renew(lease, INTERVAL - 1);
    expect(taken(expiry, INTERVAL)).toEqual([]);
    expect(taken(expiry, 2 * INTERVAL - 1)).toEqual([[1, 600]]);
  });

  test("are bounded a turn, the longest untouched first", () => {
    const { expiry, grant } = leader();
    for (let id = 1; id <= 5; id++) grant(id, 900, id);
    expect(taken(expiry, INTERVAL + 5, 2)).toEqual([
      [1, 600],
      [2, 600],
    ]);
    expect(taken(expiry, INTERVAL + 5, 2).map(([id]) => id)).toEqual([3, 4]);
    expect(taken(expiry, INTERVAL + 5, 2).map(([id]) => id)).toEqual([5]);
    expect(taken(expiry, INTERVAL + 5, 2)).toEqual([]);
  });

  test("are not taken where they would tell a new leader nothing new", () => {
    const { lessor, expiry, grant } = leader();
    grant(1, 900, 0);
    lessor.checkpoint(leaseId(1), 500);
    expect(taken(expiry, INTERVAL)).toEqual([]);
  });

  test("end with the lease", () => {
    const { expiry, grant } = leader();
    const lease = grant(1, 900, 0);
    expiry.revoked(lease);
    expect(taken(expiry, INTERVAL)).toEqual([]);
  });

  test("make the next keep-alive clear them first, applied or in flight", () => {
    const { lessor, expiry, grant } = leader();
    const lease = grant(1, 900, 0);
    taken(expiry, INTERVAL);
    const first = expiry.renew(lease, INTERVAL + 1);
    expect(first).toEqual({ kind: "checkpointed", mark: 1 });
    lessor.checkpoint(lease.id, 600);
    expect(expiry.renew(lease, INTERVAL + 2)).toEqual(first);
    lessor.checkpoint(lease.id, 900);
    expiry.cleared(lease, 1);
    expect(expiry.renew(lease, INTERVAL + 3)).toEqual({ kind: "renewed" });
  });

  test("taken after a clearing one was proposed are not cleared by it", () => {
    const { lessor, expiry, grant } = leader();
    const lease = grant(1, 2_000, 0);
    taken(expiry, INTERVAL);
    expect(expiry.renew(lease, INTERVAL + 1)).toEqual({ kind: "checkpointed", mark: 1 });
    expect(taken(expiry, 2 * INTERVAL + 1)).toEqual([[1, 1_700]]);
    // In the log's order: 1,700 left, the clearing one, 1,700 left.
    lessor.checkpoint(lease.id, 2_000);
    expiry.cleared(lease, 1);
    expect(expiry.renew(lease, 2 * INTERVAL + 2)).toEqual({ kind: "checkpointed", mark: 2 });
  });

  test("of an earlier leader make a keep-alive clear them first", () => {
    const { lessor, expiry, grant } = leader();
    const lease = grant(1, 900, 0);
    lessor.checkpoint(lease.id, 600);
    promote(expiry, lessor, 1_000);
    expect(expiry.renew(lease, 2_000)).toEqual({ kind: "checkpointed", mark: 0 });
    lessor.checkpoint(lease.id, 900);
    expect(expiry.renew(lease, 2_001)).toEqual({ kind: "renewed" });
  });

  test("let two leaders in a row extend a lease by the rest of its time only (B50)", () => {
    const { lessor, expiry, grant } = leader();
    grant(1, 900, 0);
    for (const { lease, remainingTtl } of expiry.checkpointsDue(INTERVAL, 10)) {
      lessor.checkpoint(lease.id, remainingTtl);
    }
    for (const now of [INTERVAL + 1_000, INTERVAL + 2_000]) promote(expiry, lessor, now);
    expect(idsOf(expiry.due(INTERVAL + 2_000 + 600_000, 10))).toEqual([1]);
  });
});

// --- against the obvious model ---

type Step =
  | { readonly kind: "grant" | "renew" | "revoke" | "lost"; readonly id: number; readonly ttl: number }
  | { readonly kind: "due"; readonly limit: number }
  | { readonly kind: "advance"; readonly ms: number }
  | { readonly kind: "promote" | "demote" };

const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("grant" as const, "grant" as const, "renew" as const, "revoke" as const, "lost" as const),
      id: fc.integer({ min: 1, max: 12 }),
      ttl: fc.integer({ min: 1, max: 9 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("due" as const), limit: fc.integer({ min: 0, max: 4 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("advance" as const), ms: fc.integer({ min: 0, max: 4_000 }) }),
  },
  fc.record({ kind: fc.constantFrom("promote" as const, "demote" as const) }),
);

interface ModelLease {
  readonly ttl: number;
  deadline: number;
  revoking: boolean;
}

describe("Expiry", () => {
  test(`does what a list of deadlines does (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(aStep, { maxLength: 80 }), (steps) => {
        const { lessor, expiry } = leader();
        const model = new Map<number, ModelLease>();
        let now = 0;
        let leads = true;
        for (const step of steps) {
          const id = "id" in step ? leaseId(step.id) : leaseId(0);
          const lease = lessor.lookup(id);
          const known = "id" in step ? model.get(step.id) : undefined;
          switch (step.kind) {
            case "grant":
              if (lease !== undefined) break;
              expiry.granted(lessor.grant(id, step.ttl), now);
              model.set(step.id, { ttl: step.ttl, deadline: now + step.ttl * 1_000, revoking: false });
              break;
            case "renew":
              if (lease === undefined || known === undefined) break;
              expect(expiry.renew(lease, now).kind).toBe(!leads ? "demoted" : known.revoking ? "revoking" : "renewed");
              if (leads && !known.revoking) known.deadline = Math.max(known.deadline, now + known.ttl * 1_000);
              break;
            case "revoke":
              if (lease === undefined) break;
              lessor.revoke(id);
              expiry.revoked(lease);
              model.delete(Number(id));
              break;
            case "lost":
              if (lease === undefined || known === undefined) break;
              expiry.lostRevoke(lease);
              known.revoking = false;
              break;
            case "due": {
              const expected = [...model]
                .filter(([, { deadline, revoking }]) => leads && !revoking && deadline <= now)
                .sort(([a, x], [b, y]) => x.deadline - y.deadline || a - b)
                .slice(0, step.limit);
              expect(idsOf(expiry.due(now, step.limit))).toEqual(expected.map(([one]) => one));
              for (const [, one] of expected) one.revoking = true;
              break;
            }
            case "advance":
              now += step.ms;
              break;
            case "promote":
              leads = true;
              promote(expiry, lessor, now);
              for (const one of model.values()) {
                one.deadline = now + one.ttl * 1_000;
                one.revoking = false;
              }
              break;
            case "demote":
              leads = false;
              expiry.demote();
              for (const one of model.values()) one.revoking = false;
          }
          const revoking = [...model.values()].filter((one) => one.revoking).length;
          expect(expiry.pendingRevokes).toBe(revoking);
          expect(expiry.waiting).toBe(leads ? model.size - revoking : 0);
          for (const [one, { deadline, ttl }] of model) {
            const expected = leads ? { ttl: Math.trunc((deadline - now) / 1_000) + 0, grantedTtl: ttl } : undefined;
            expect(expiry.timeToLive(lessor.lookup(leaseId(one)), now)).toEqual(expected);
          }
        }
      }),
      { seed, numRuns: 300 },
    );
  });

  test("a hundred thousand leases, renewed and revoked at random, end in order and leave nothing behind", () => {
    const random = prng(seed);
    const { lessor, expiry, grant } = leader();
    const deadlines = new Map<Lease, number>();
    for (let id = 1; id <= 100_000; id++) {
      const ttl = randomInt(random, 2, 60);
      deadlines.set(grant(id, ttl, 0), ttl * 1_000);
    }
    for (const lease of [...deadlines.keys()]) {
      const chance = random();
      if (chance < 0.1) {
        lessor.revoke(lease.id);
        expiry.revoked(lease);
        deadlines.delete(lease);
      } else if (chance < 0.6) {
        const arrival = randomInt(random, 1, 1_000);
        expiry.renew(lease, arrival);
        deadlines.set(lease, arrival + lease.grantedTtl * 1_000);
      }
    }
    let previous = 0;
    let ended = 0;
    for (let now = 1_000; now <= 62_000; now += 250) {
      for (let turn = expiry.due(now, 500); turn.length > 0; turn = expiry.due(now, 500)) {
        for (const lease of turn) {
          const deadline = deadlines.get(lease)!;
          if (deadline > now || deadline <= now - 250 || deadline < previous) {
            expect.fail(`lease ${lease.id} with deadline ${deadline} was due at ${now}, after one of ${previous}`);
          }
          previous = deadline;
          ended += 1;
          expiry.revoked(lease);
        }
      }
    }
    expect(ended).toBe(deadlines.size);
    expect([expiry.waiting, expiry.pendingRevokes]).toEqual([0, 0]);
  });
});
