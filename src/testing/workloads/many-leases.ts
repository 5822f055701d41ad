/** Very many leases of random times to live, each with a key; some are renewed for a while. For `checkers/lease-census.ts`. */
import { StoreError } from "../../base/errors.ts";
import type { LeaseId } from "../../base/ids.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import type { Clock } from "../../platform/clock.ts";
import type { LeaseCensus } from "../checkers/lease-census.ts";

export interface ManyLeasesOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly census: LeaseCensus;
  readonly leases: number;
  /** Seconds. */
  readonly ttl: { readonly min: number; readonly max: number };
  /** Of all members: grants and renews. */
  readonly client: Client;
  /** Each of one member: they count in turn. */
  readonly members: readonly Client[];
}

const PREFIX = "many-leases/";
const CALL_MS = 1_500;
const COUNT_EVERY_MS = 200;
const RENEW_EVERY_MS = 40;
/** Grants under way at once. */
const GRANTS_MAX = 100;

export class ManyLeases {
  readonly #o: ManyLeasesOptions;
  readonly #running: Promise<void>[] = [];
  /** Half of them: the others end as they were granted. */
  readonly #renewable: LeaseId[] = [];
  #isRenewing = true;
  #isCounting = true;

  constructor(options: ManyLeasesOptions) {
    this.#o = options;
  }

  /** Grants them all, and begins to renew and to count. Rejects if one cannot be granted. */
  async start(): Promise<void> {
    for (let first = 0; first < this.#o.leases; first += GRANTS_MAX) {
      const many = Math.min(GRANTS_MAX, this.#o.leases - first);
      await Promise.all(Array.from({ length: many }, (_, i) => this.#grant(first + i)));
    }
    this.#running.push(this.#renew(), this.#count());
  }

  stopRenewing(): void {
    this.#isRenewing = false;
  }

  /** Also counts once more, on each member, and tells what is left of their keys. */
  async stop(): Promise<number> {
    this.#isRenewing = false;
    this.#isCounting = false;
    await Promise.all(this.#running);
    let keys = 0;
    for (const member of this.#o.members) keys = Math.max(keys, await this.#countOn(member, 30_000));
    return keys;
  }

  async #grant(i: number): Promise<void> {
    const { clock, random, census, client, ttl } = this.#o;
    const sentAt = clock.now();
    const granted = await client.lease.grant(randomInt(random, ttl.min, ttl.max), { timeoutMs: 30_000 });
    census.granted(granted.id, granted.ttl * 1_000, sentAt, clock.now());
    if (i % 2 === 0) this.#renewable.push(granted.id);
    await client.put(`${PREFIX}${i}`, "", { lease: granted.id, timeoutMs: 30_000 });
  }

  async #renew(): Promise<void> {
    const { random } = this.#o;
    const underWay = new Set<Promise<void>>();
    while (this.#isRenewing) {
      const id = this.#renewable[randomInt(random, 0, this.#renewable.length - 1)]!;
      const renewal = this.#renewOne(id).finally(() => underWay.delete(renewal));
      underWay.add(renewal);
      await this.#wait(RENEW_EVERY_MS);
    }
    await Promise.all(underWay);
  }

  async #renewOne(id: LeaseId): Promise<void> {
    const { clock, census, client } = this.#o;
    const sentAt = clock.now();
    try {
      await client.lease.keepAliveOnce(id, { timeoutMs: CALL_MS });
      census.renewed(id, sentAt, clock.now());
    } catch (error) {
      if (!StoreError.is(error)) throw error;
      // It had ended, or nobody answered.
      if (error.code !== "LEASE_NOT_FOUND") census.tried(id, clock.now());
    }
  }

  async #count(): Promise<void> {
    const { members } = this.#o;
    for (let i = 0; this.#isCounting; i++) {
      try {
        await this.#countOn(members[i % members.length]!, CALL_MS);
      } catch (error) {
        // That member is down, or has no leader: then nobody can say what there is.
        if (!StoreError.is(error)) throw error;
      }
      await this.#wait(COUNT_EVERY_MS);
    }
  }

  /** The list is a member's own, so it is brought up to date first. Tells how many keys there are. */
  async #countOn(member: Client, timeoutMs: number): Promise<number> {
    const { clock, census } = this.#o;
    const askedAt = clock.now();
    const { count } = await member.get(PREFIX, { prefix: true, countOnly: true, timeoutMs });
    const { leases } = await member.lease.list({ timeoutMs });
    census.counted(new Set(leases), askedAt, clock.now());
    return count;
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#o.clock.after(ms, resolve));
  }
}
