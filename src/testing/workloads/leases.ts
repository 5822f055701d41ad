/**
 * Holders of leases: each takes one, hangs a key on it, keeps it alive for a while, then lets it go (or revokes it) and
 * looks until it has ended. What they saw is for `checkers/leases.ts`.
 */
import { decodeUtf8 } from "../../base/bytes.ts";
import { StoreError } from "../../base/errors.ts";
import { formatId, type LeaseId } from "../../base/ids.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import type { Clock } from "../../platform/clock.ts";
import type { LeaseLife } from "../checkers/leases.ts";
import type { HistoryRecord } from "../history.ts";
import type { WorkloadCounts } from "./kv.ts";

export interface LeaseWorkloadOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly clients: readonly Client[];
  /** Told what happens, in words. */
  readonly note: (note: string, detail: string) => void;
  /** Told of each call as it ends. */
  readonly onCall?: (call: CallRecord) => void;
  /** Seconds. Default 2 to 6. */
  readonly ttl?: { readonly min: number; readonly max: number };
}

export type CallRecord = Omit<Extract<HistoryRecord, { type: "call" }>, "type">;

/** Shorter than the server's limit: a holder that waits for an answer cannot renew. */
const CALL_MS = 1_500;

export class LeaseWorkload {
  readonly #o: LeaseWorkloadOptions;
  readonly #finished: Promise<void>[] = [];
  readonly lives: LeaseLife[] = [];
  readonly counts: WorkloadCounts = { invoked: 0, ok: 0, failed: 0, unknown: 0 };
  readonly errors: Map<string, number> = new Map();
  readonly unexpected: unknown[] = [];
  #stopping = false;
  #inFlight = 0;

  constructor(options: LeaseWorkloadOptions) {
    this.#o = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  start(): void {
    this.#o.clients.forEach((client, holder) => {
      // Two at a time, so that leases end while their holders are busy with others.
      for (const hand of ["a", "b"]) this.#finished.push(this.#holder(client, `lease/${holder}${hand}`));
    });
  }

  /** Takes no new leases; those that are held are let go, and not looked at any more. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#finished);
  }

  async #holder(client: Client, prefix: string): Promise<void> {
    const { random } = this.#o;
    for (let n = 0; !this.#stopping; n++) {
      await this.#wait(random() * 500);
      if (!this.#stopping) await this.#life(client, `${prefix}/${n}`);
    }
  }

  async #life(client: Client, key: string): Promise<void> {
    const { clock, random, note } = this.#o;
    const { min, max } = this.#o.ttl ?? { min: 2, max: 6 };
    let sentAt = clock.now();
    const granted = await this.#call("grant", () =>
      client.lease.grant(randomInt(random, min, max), { timeoutMs: CALL_MS }),
    );
    if (granted === undefined) return;
    const { id, ttl } = granted;
    const life: LeaseLife = {
      id: formatId(id),
      key,
      renewals: [{ sentAt, ttlMs: ttl * 1000 }],
      attachedAt: undefined,
      revoked: false,
      seen: [],
    };
    this.lives.push(life);
    const put = await this.#call("put with a lease", () => client.put(key, "", { lease: id, timeoutMs: CALL_MS }));
    if (put !== undefined) life.attachedAt = clock.now();
    note("lease granted", `${life.id} ${key} ${ttl} s`);

    for (let beats = randomInt(random, 0, 12); beats > 0 && !this.#stopping; beats--) {
      await this.#wait(random() * 600 * ttl);
      if (random() < 0.3) await this.#look(client, id, life);
      sentAt = clock.now();
      const alive = await this.#call(
        "keep-alive",
        () => client.lease.keepAliveOnce(id, { timeoutMs: CALL_MS }),
        id,
        life,
      );
      if (alive !== undefined) {
        life.renewals.push({ sentAt, ttlMs: alive.ttl * 1000 });
        note("lease renewed", `${life.id} sent ${sentAt.toFixed(1)}`);
      }
      if (this.#hasEnded(life)) break;
    }
    if (random() < 0.2) {
      life.revoked = true;
      await this.#call("revoke", () => client.lease.revoke(id, { timeoutMs: CALL_MS }));
    }
    while (!this.#stopping && !this.#hasEnded(life)) {
      await this.#wait(100 + random() * 300);
      await this.#look(client, id, life);
    }
    // Both sides of it: once the one is gone, so is the other.
    if (!this.#stopping) for (let i = 0; i < 4; i++) await this.#look(client, id, life);
    note("lease done", life.id);
  }

  #hasEnded({ seen }: LeaseLife): boolean {
    return seen.some((sight) => (sight.kind === "lease" ? !sight.lives : !sight.present));
  }

  async #look(client: Client, id: LeaseId, life: LeaseLife): Promise<void> {
    const { clock, random } = this.#o;
    if (random() < 0.5) {
      const read = await this.#call("get", () => client.get(life.key, { timeoutMs: CALL_MS }));
      // What was put with an unknown outcome may come later, or never.
      if (read !== undefined && life.attachedAt !== undefined) {
        life.seen.push({ kind: "key", at: clock.now(), present: read.count > 0 });
      }
      return;
    }
    const left = await this.#call("time to live", () =>
      client.lease.timeToLive(id, { keys: true, timeoutMs: CALL_MS }),
    );
    if (left === undefined) return;
    const keys = left.keys.map(decodeUtf8);
    life.seen.push({ kind: "lease", at: clock.now(), lives: left.grantedTtl > 0, keys });
  }

  /** Never rejects. A lease that is told to be gone is a sight of its end. */
  async #call<T>(name: string, call: () => Promise<T>, id?: LeaseId, life?: LeaseLife): Promise<T | undefined> {
    this.counts.invoked += 1;
    this.#inFlight += 1;
    const begun = this.#o.clock.now();
    const tell = (outcome: CallRecord["outcome"], error?: string): void => {
      const time = this.#o.clock.now();
      const call = { time, process: 0, name, ms: time - begun, outcome };
      this.#o.onCall?.(error === undefined ? call : { ...call, error });
    };
    try {
      const answer = await call();
      this.counts.ok += 1;
      tell("ok");
      return answer;
    } catch (error) {
      if (!StoreError.is(error)) {
        this.unexpected.push(error);
        return undefined;
      }
      this.errors.set(error.code, (this.errors.get(error.code) ?? 0) + 1);
      if (error.outcome === "rejected") this.counts.failed += 1;
      else this.counts.unknown += 1;
      tell(error.outcome === "rejected" ? "fail" : "unknown", error.code);
      if (id !== undefined && life !== undefined && error.code === "LEASE_NOT_FOUND") {
        life.seen.push({ kind: "lease", at: this.#o.clock.now(), lives: false, keys: [] });
      }
      return undefined;
    } finally {
      this.#inFlight -= 1;
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#o.clock.after(ms, resolve));
  }
}
