/**
 * Contenders for one lock or one election: each enters, does some guarded work, and leaves, or dies, or is stopped past its
 * TTL without knowing. The recipes run here unchanged, each on a client of its own.
 */
import { decodeUtf8 } from "../../base/bytes.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import type { LockAnswer } from "../../client/queues.ts";
import { compare, op } from "../../client/txn.ts";
import { Election, observeElection } from "../../concurrency/election.ts";
import { Mutex } from "../../concurrency/mutex.ts";
import { Session } from "../../concurrency/session.ts";
import type { Clock } from "../../platform/clock.ts";
import type { Compare, LeaderKey } from "../../protocol/requests.ts";
import type { Effect, LandedEffect, Stop, Tenure } from "../checkers/fencing.ts";
import type { Observation } from "../checkers/observations.ts";
import { Calls } from "./calls.ts";

export interface ContenderOptions {
  readonly kind: "lock" | "election";
  /** Every other contender, and all observers, ask a member's service instead of running the recipe: one queue for both. */
  readonly service?: boolean | undefined;
  /** The world's: it runs on while a contender is stopped. */
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly clients: readonly Client[];
  /** Of elections: who only looks on. */
  readonly observers?: readonly Client[] | undefined;
  /** Before the contenders' names, where several workloads contend for the same. No blanks. Default: nothing. */
  readonly label?: string | undefined;
  /** Stops a contender's process, and lets it go on. */
  readonly pause: (contender: number, paused: boolean) => void;
  readonly note: (note: string, detail: string) => void;
  /** Seconds. Default 2 to 4. */
  readonly ttl?: { readonly min: number; readonly max: number } | undefined;
  /** Longest time between two effects of a holder, milliseconds. Default 200. */
  readonly workMs?: number | undefined;
  /** Longest pause of a contender, milliseconds. Default 8,000; 0: none. */
  readonly pauseMs?: number | undefined;
}

/** The last leader's value: observers must end on it. */
const END = "end";
const CALL_MS = 3_000;

/** Each effect overwrites it: the key's history is the order in which effects landed. */
function effectKey(kind: ContenderOptions["kind"]): string {
  return `effect/${kind}`;
}

/** What the store kept of effects, read backwards from its newest revision. */
export async function landedEffects(client: Client, kind: ContenderOptions["kind"]): Promise<readonly LandedEffect[]> {
  const landed: LandedEffect[] = [];
  let revision: number | undefined;
  for (;;) {
    const { kvs } = await client.get(effectKey(kind), { revision });
    const kv = kvs[0];
    if (kv === undefined) break;
    const [token = "", id = ""] = kv.text().split(" ");
    landed.push({ revision: kv.modRevision, token: Number(token), id });
    if (kv.version === 1) break;
    revision = kv.modRevision - 1;
  }
  return landed.reverse();
}

interface Turn {
  enter(options: { readonly signal: AbortSignal }): Promise<void>;
  readonly token: number | undefined;
  guard(): Compare;
  /** Something that only holders do beside effects. */
  busy(): Promise<void>;
  leave(): Promise<void>;
}

export class ContenderWorkload extends Calls {
  readonly tenures: Tenure[] = [];
  readonly effects: Effect[] = [];
  readonly stops: Stop[] = [];
  readonly observed: Record<string, Observation[]> = {};
  readonly proclaimed: Set<string> = new Set([END]);
  /** Turns of each contender. */
  readonly turns: number[];
  readonly kind: ContenderOptions["kind"];
  readonly #o: ContenderOptions;
  readonly #name: string;
  readonly #effectKey: string;
  readonly #stop = new AbortController();
  readonly #done = new AbortController();
  readonly #finished: Promise<void>[] = [];
  readonly #observing: Promise<void>[] = [];
  #freezing = true;

  constructor(options: ContenderOptions) {
    super();
    this.#o = options;
    this.kind = options.kind;
    this.#name = `sim/${options.kind}`;
    this.#effectKey = effectKey(options.kind);
    this.turns = options.clients.map(() => 0);
  }

  start(): void {
    const { clients, observers = [], pauseMs = 8_000 } = this.#o;
    clients.forEach((client, i) => {
      this.#finished.push(this.#contend(client, i));
    });
    observers.forEach((client, i) => {
      this.#observing.push(this.#observe(client, `observer ${i}`));
    });
    if (pauseMs > 0) this.#freeze(pauseMs);
  }

  /** No contender is stopped from now on. */
  thaw(): void {
    this.#freezing = false;
    for (const stop of this.stops) if (stop.until === Infinity) this.#resume(stop);
  }

  /** Everybody leaves. An election has one leader more, so that all observers have the same end to see. */
  async stop(): Promise<void> {
    this.thaw();
    this.#stop.abort();
    await Promise.all(this.#finished);
    if (this.#o.kind === "lock") return;
    for (;;) {
      const client = this.#o.clients[0]!;
      const last = await this.call(async () => {
        await using session = await Session.open(client, { ttl: 5, timeoutMs: CALL_MS });
        const election = new Election(session, this.#name);
        await election.campaign(END);
        while (!this.caughtUp && !session.signal.aborted) await this.#wait(client.host.clock, 50);
        session.assertHeld();
      });
      if ("value" in last) break;
    }
    this.#done.abort();
    await Promise.all(this.#observing);
  }

  get caughtUp(): boolean {
    return Object.values(this.observed).every((observations) => observations.at(-1)?.value === END);
  }

  async #contend(client: Client, contender: number): Promise<void> {
    const { random } = this.#o;
    const { min, max } = this.#o.ttl ?? { min: 2, max: 4 };
    const { clock } = client.host;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#wait(clock, random() * 300);
      const opened = await this.call(() =>
        Session.open(client, { ttl: randomInt(random, min, max), timeoutMs: CALL_MS }),
      );
      if ("error" in opened) continue;
      const session = opened.value;
      const turn = this.#turn(client, session, contender);
      for (let turns = randomInt(random, 1, 3); turns > 0 && !signal.aborted; turns--) {
        const entered = await this.call(() => turn.enter({ signal }));
        if ("error" in entered) break;
        await this.#hold(client, contender, session, turn);
        // A service's unlock names a key and no token: one that was delayed must not find a later place there.
        if (session.signal.aborted || this.tenures.at(-1)?.kept === true) break;
      }
      // Some die: what they hold goes with the lease.
      if (random() < 0.15) session.orphan();
      else await session.close().catch(() => {});
    }
  }

  async #hold(client: Client, contender: number, session: Session, turn: Turn): Promise<void> {
    const { clock: world, random, note } = this.#o;
    const { clock } = client.host;
    const token = turn.token!;
    const holder = this.#holder(contender);
    const tenure: Tenure = { holder, token, from: world.now(), until: Infinity, deadline: Infinity, lost: false };
    this.tenures.push(tenure);
    this.turns[contender]! += 1;
    note("turn begins", `${holder} token ${token}`);
    const over = (lost: boolean): void => {
      if (tenure.until !== Infinity) return;
      Object.assign(tenure, { until: world.now(), deadline: session.deadline, lost });
      note(lost ? "turn lost" : "turn ends", `${holder} token ${token}`);
    };
    const onAbort = (): void => over(true);
    session.signal.addEventListener("abort", onAbort, { once: true });
    const guard = turn.guard();
    // A careless holder: it goes on after its loss, so its guard is all there is.
    const careless = random() < 0.3;
    for (let n = randomInt(random, 1, 5); n > 0 && (careless || tenure.until === Infinity); n--) {
      const effect: Effect = {
        id: `${this.#o.label ?? ""}${contender}.${this.effects.length}`,
        holder,
        token,
        outcome: "unknown",
      };
      this.effects.push(effect);
      const done = await this.call(() =>
        client
          .txn({ timeoutMs: CALL_MS })
          .if(guard)
          .then(op.put(this.#effectKey, `${token} ${effect.id}`))
          .commit(),
      );
      if ("value" in done) effect.outcome = done.value.succeeded ? "landed" : "refused";
      else if (done.error?.outcome === "rejected") effect.outcome = "rejected";
      await this.#wait(clock, random() * (this.#o.workMs ?? 200));
      if (random() < 0.3) await this.call(() => turn.busy());
    }
    over(false);
    session.signal.removeEventListener("abort", onAbort);
    if (random() < 0.85 && !tenure.lost) tenure.kept = "error" in (await this.call(() => turn.leave()));
    else if (!tenure.lost) session.orphan();
  }

  #turn(client: Client, session: Session, contender: number): Turn {
    const serves = this.#o.service === true && contender % 2 === 0;
    if (this.#o.kind === "lock") {
      return serves ? lockService(client, session, this.#name) : lockTurn(session, this.#name);
    }
    let n = 0;
    const value = (): string => {
      const text = `${this.#o.label ?? ""}${contender}/${session.lease}/${n++}`;
      this.proclaimed.add(text);
      return text;
    };
    if (serves) return electionService(client, session, this.#name, value);
    const election = new Election(session, this.#name);
    return {
      enter: (options) => election.campaign(value(), options),
      get token() {
        return election.token;
      },
      guard: () => election.isLeader(),
      busy: () => election.proclaim(value(), { timeoutMs: CALL_MS }),
      leave: async () => {
        await election.resign();
      },
    };
  }

  async #observe(client: Client, name: string): Promise<void> {
    const observations: Observation[] = [];
    this.observed[name] = observations;
    const { signal } = this.#done;
    try {
      const leaders =
        this.#o.service === true
          ? client.elections.observe(this.#name, { signal })
          : observeElection(client, this.#name, { signal });
      for await (const { kv } of leaders) {
        const { createRevision: create, modRevision: mod } = kv;
        observations.push({ key: decodeUtf8(kv.key), create, mod, value: kv.text() });
      }
    } catch (error) {
      if (!signal.aborted) this.unexpected.push(error);
    }
  }

  /** Stops one contender after the other, often for longer than its TTL. */
  #freeze(longestMs: number): void {
    const { clock, random, clients } = this.#o;
    clock.after(300 + random() * 2_000, () => {
      if (!this.#freezing) return;
      // The one that holds, more often than not: it is the one that may do harm.
      const now = random() < 0.7 ? this.tenures.find(({ until }) => until === Infinity) : undefined;
      const holder = now?.holder ?? this.#holder(randomInt(random, 0, clients.length - 1));
      const contender = Number(holder.split(" ")[1]);
      const stop: Stop = { holder, from: clock.now(), until: Infinity };
      this.stops.push(stop);
      this.#o.pause(contender, true);
      this.#o.note("contender stopped", holder);
      clock.after(100 + random() * longestMs, () => {
        if (stop.until === Infinity) this.#resume(stop);
        if (this.#freezing) this.#freeze(longestMs);
      });
    });
  }

  #resume(stop: Stop): void {
    stop.until = this.#o.clock.now();
    this.#o.note("contender goes on", stop.holder);
    this.#o.pause(Number(stop.holder.split(" ")[1]), false);
  }

  #holder(contender: number): string {
    return `${this.#o.label ?? ""}contender ${contender}`;
  }

  #wait(clock: Clock, ms: number): Promise<void> {
    return new Promise((resolve) => clock.after(ms, resolve));
  }
}

/** What the service answered holds while the session does: the one who asked keeps its lease alive. */
function lockService(client: Client, session: Session, name: string): Turn {
  let lock: LockAnswer | undefined;
  return {
    enter: async (options) => {
      lock = await client.locks.lock(name, { ...options, lease: session.lease });
      session.assertHeld();
    },
    get token() {
      return lock?.token;
    },
    guard: () => compare.createRevision(lock!.key, "=", lock!.token),
    busy: async () => {},
    leave: async () => {
      await client.locks.unlock(lock!.key, { timeoutMs: CALL_MS });
    },
  };
}

function electionService(client: Client, session: Session, name: string, value: () => string): Turn {
  let leader: LeaderKey | undefined;
  return {
    enter: async (options) => {
      ({ leader } = await client.elections.campaign(name, value(), { ...options, lease: session.lease }));
      session.assertHeld();
    },
    get token() {
      return leader?.revision;
    },
    guard: () => compare.createRevision(leader!.key, "=", leader!.revision),
    busy: async () => {
      await client.elections.proclaim(leader!, value(), { timeoutMs: CALL_MS });
    },
    leave: async () => {
      await client.elections.resign(leader!, { timeoutMs: CALL_MS });
    },
  };
}

function lockTurn(session: Session, name: string): Turn {
  const mutex = new Mutex(session, name);
  return {
    enter: (options) => mutex.lock(options),
    get token() {
      return mutex.token;
    },
    guard: () => mutex.isOwner(),
    busy: async () => {},
    leave: async () => {
      await mutex.unlock();
    },
  };
}
