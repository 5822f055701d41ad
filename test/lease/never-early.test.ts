/**
 * A lease never expires early (docs/guarantees.md), whatever the sequence of leaders: members with a lessor and a clock of
 * their own, deposed leaders that do not know it, entries that are lost with their leader or inherited by the next.
 */
import { describe, expect, test } from "vitest";
import { type LeaseId, leaseId } from "../../src/base/ids.ts";
import { prng, type RandomSource, randomInt } from "../../src/base/prng.ts";
import { Expiry } from "../../src/lease/expiry.ts";
import type { Lease } from "../../src/lease/lease.ts";
import { Lessor } from "../../src/lease/lessor.ts";
import { testSeed } from "../support/seed.ts";
import { MapRecords } from "./records.ts";

const seed = testSeed();
const MEMBERS = 3;
const CHECKPOINT_MS = 1_500;

type Entry = { readonly term: number; committedAt: number } & (
  | { readonly kind: "noop" }
  | { readonly kind: "grant"; readonly id: LeaseId; readonly ttl: number }
  | { readonly kind: "revoke"; readonly id: LeaseId }
  | { readonly kind: "checkpoint"; readonly id: LeaseId; readonly remaining: number; readonly mark: number | undefined }
);

interface KeepAlive {
  readonly id: LeaseId;
  readonly promised: number;
  /** The clearing checkpoint that must be applied first. */
  readonly after: Entry | undefined;
}

class Member {
  readonly lessor = new Lessor(new MapRecords());
  readonly expiry = new Expiry({ checkpointIntervalMs: CHECKPOINT_MS });
  readonly clockOffset: number;
  applied = 0;
  /** The term it believes to lead in. */
  leadsIn: number | undefined;
  /** In its log, not committed. */
  unsettled: Entry[] = [];
  keepAlives: KeepAlive[] = [];
  readonly clears = new Map<LeaseId, { readonly mark: number; readonly entry: Entry }>();
  readonly done = new Set<Entry>();

  constructor(clockOffset: number) {
    this.clockOffset = clockOffset;
  }

  stepDown(): void {
    this.leadsIn = undefined;
    this.unsettled = [];
    this.keepAlives = [];
    this.clears.clear();
    this.expiry.demote();
  }
}

class Cluster {
  readonly seen = { revokes: 0, acknowledged: 0, cleared: 0, inherited: 0, checkpoints: 0 };
  readonly #random: RandomSource;
  readonly #members: Member[];
  readonly #log: Entry[] = [];
  readonly #promised = new Map<LeaseId, number>();
  #now = 0;
  #term = 0;
  #leader: Member;
  #lastId = 0;

  constructor(random: RandomSource) {
    this.#random = random;
    this.#members = Array.from({ length: MEMBERS }, () => new Member(randomInt(random, 0, 1_000_000)));
    for (const member of this.#members) {
      member.lessor.observer = {
        granted: (lease) => member.expiry.granted(lease, this.#clock(member)),
        revoked: (lease) => member.expiry.revoked(lease),
      };
    }
    this.#leader = this.#members[0]!;
    this.#elect();
  }

  step(): void {
    const anyone = this.#members[randomInt(this.#random, 0, MEMBERS - 1)]!;
    // Half of what happens at all happens to the real leader, or nothing would ever come to its end.
    const member = this.#random() < 0.5 ? this.#leader : anyone;
    const chance = this.#random();
    if (chance < 0.12) this.#now += randomInt(this.#random, 1, this.#random() < 0.5 ? 50 : 3_000);
    else if (chance < 0.15) this.#grant();
    else if (chance < 0.35) this.#keepAlive(member);
    else if (chance < 0.5) this.#turn(member);
    else if (chance < 0.65) this.#commit();
    else if (chance < 0.8) this.#apply(member);
    else if (chance < 0.82) member.expiry.adopt(2);
    else if (chance < 0.97) this.#acknowledge();
    else if (chance < 0.985) this.#elect();
    else if (anyone !== this.#leader && anyone.leadsIn !== undefined) anyone.stepDown();
  }

  #clock = (member: Member): number => this.#now + member.clockOffset;

  /** Only into the leader's own log: these are never forwarded. A deposed leader's reach nobody unless inherited. */
  #propose(member: Member, what: DistributiveOmit<Entry, "term" | "committedAt">): Entry | undefined {
    if (member.leadsIn === undefined) return undefined;
    const entry = { ...what, term: member.leadsIn, committedAt: -1 } as Entry;
    member.unsettled.push(entry);
    return entry;
  }

  #grant(): void {
    if (this.#leader.lessor.size >= 4) return;
    this.#propose(this.#leader, { kind: "grant", id: leaseId(++this.#lastId), ttl: randomInt(this.#random, 1, 15) });
  }

  #keepAlive(member: Member): void {
    const leases = [...member.lessor.leases()];
    const lease = leases[randomInt(this.#random, 0, 3)];
    if (member.leadsIn === undefined || lease === undefined) return;
    const { id } = lease;
    const renewal = member.expiry.renew(lease, this.#clock(member));
    if (renewal.kind !== "renewed" && renewal.kind !== "checkpointed") return;
    const after = renewal.kind === "checkpointed" ? this.#clear(member, lease, renewal.mark) : undefined;
    member.keepAlives.push({ id, promised: this.#now + lease.grantedTtl * 1_000, after });
  }

  /** Keep-alives with one mark share a proposal. */
  #clear(member: Member, { id, grantedTtl }: Lease, mark: number): Entry | undefined {
    const underWay = member.clears.get(id);
    if (underWay?.mark === mark) return underWay.entry;
    const entry = this.#propose(member, { kind: "checkpoint", id, remaining: grantedTtl, mark });
    if (entry !== undefined) member.clears.set(id, { mark, entry });
    return entry;
  }

  #turn(member: Member): void {
    for (const { id } of member.expiry.due(this.#clock(member), 2)) this.#propose(member, { kind: "revoke", id });
    for (const { lease, remainingTtl } of member.expiry.checkpointsDue(this.#clock(member), 2)) {
      this.#propose(member, { kind: "checkpoint", id: lease.id, remaining: remainingTtl, mark: undefined });
    }
  }

  #commit(): void {
    const count = randomInt(this.#random, 0, this.#leader.unsettled.length);
    for (const entry of this.#leader.unsettled.splice(0, count)) this.#settle(entry);
  }

  #settle(entry: Entry): void {
    entry.committedAt = this.#now;
    this.#log.push(entry);
    if (entry.kind === "grant") this.#promised.set(entry.id, this.#now + entry.ttl * 1_000);
    if (entry.kind !== "revoke") return;
    const promised = this.#promised.get(entry.id)!;
    this.seen.revokes += 1;
    if (this.#now < promised) {
      expect.fail(`lease ${entry.id} was revoked at ${this.#now} in term ${entry.term}, promised until ${promised}`);
    }
  }

  #apply(member: Member): void {
    const end = Math.min(this.#log.length, member.applied + randomInt(this.#random, 1, 8));
    while (member.applied < end) this.#applyOne(member, this.#log[member.applied]!);
  }

  #applyOne(member: Member, entry: Entry): void {
    if (member.leadsIn !== undefined && entry.term > member.leadsIn) member.stepDown();
    member.applied += 1;
    member.done.add(entry);
    const { lessor, expiry } = member;
    switch (entry.kind) {
      case "noop":
        if (entry.term === member.leadsIn) expiry.promote(lessor.leases(), this.#clock(member));
        break;
      case "grant":
        lessor.grant(entry.id, entry.ttl);
        break;
      case "revoke":
        // Two leaders may each have got one in.
        if (lessor.lookup(entry.id) !== undefined) lessor.revoke(entry.id);
        break;
      case "checkpoint": {
        lessor.checkpoint(entry.id, entry.remaining);
        const lease = lessor.lookup(entry.id);
        if (entry.mark === undefined) this.seen.checkpoints += 1;
        else if (lease !== undefined && entry.term === member.leadsIn) expiry.cleared(lease, entry.mark);
      }
    }
  }

  /** A read round ends: only a leader that is one still gets there. */
  #acknowledge(): void {
    const { lessor, done, applied, keepAlives } = this.#leader;
    if (applied < this.#log.length) return;
    const still: KeepAlive[] = [];
    for (const keepAlive of keepAlives) {
      const { id, promised, after } = keepAlive;
      if (after !== undefined && !done.has(after)) still.push(keepAlive);
      else if (lessor.lookup(id) !== undefined) {
        this.seen.acknowledged += 1;
        if (after !== undefined) this.seen.cleared += 1;
        this.#promised.set(id, Math.max(this.#promised.get(id)!, promised));
      }
    }
    this.#leader.keepAlives = still;
  }

  /** A member with every committed entry takes over, and with it some of what the old leader had under way. */
  #elect(): void {
    const before = this.#leader;
    const count = randomInt(this.#random, 0, before.unsettled.length);
    for (const entry of before.unsettled.slice(0, count)) {
      this.#settle(entry);
      this.seen.inherited += 1;
    }
    const next = this.#members[randomInt(this.#random, 0, MEMBERS - 1)]!;
    next.stepDown();
    this.#leader = next;
    next.leadsIn = ++this.#term;
    this.#propose(next, { kind: "noop" });
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

describe("a lease never expires early", () => {
  test(`across leaders, lost entries and late news (seed ${seed})`, () => {
    const total = { revokes: 0, acknowledged: 0, cleared: 0, inherited: 0, checkpoints: 0 };
    for (let run = 0; run < 150; run++) {
      const cluster = new Cluster(prng(seed + run));
      for (let step = 0; step < 1_500; step++) cluster.step();
      for (const what of Object.keys(total) as (keyof typeof total)[]) total[what] += cluster.seen[what];
    }
    // A run in which none of it happened would prove nothing.
    for (const [what, count] of Object.entries(total)) expect(count, what).toBeGreaterThan(500);
  });
});
