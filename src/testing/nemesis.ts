/**
 * Faults drawn from the seed, swarm style: the seed first chooses which kinds exist at all in this run (a run with all of
 * them at once hides what needs a quiet minute), then when each begins and how long it lasts.
 */
import { type RandomSource, randomInt } from "../base/prng.ts";
import type { Clock } from "../platform/clock.ts";
import type { FaultEvent } from "./history.ts";
import type { Power } from "./world.ts";

export const FAULT_KINDS = [
  "partition",
  "one-way partition",
  "partial partition",
  "loss",
  "duplication",
  "reordering",
  "slow links",
  "kill",
  "power cut",
  "power cut of all",
  "disk stall",
  "pause",
  "leadership transfer",
  "bridge",
  "flapping links",
  "kill of several",
  "torn batch",
  "bit flip",
  "disk full",
  "fast clock",
  "slow clock",
  "clock jump",
  "member replacement",
  "membership change",
  "compaction",
  "candidate crash",
  "leader isolation",
] as const;
/** The last one strikes only where it is asked for: one more to draw from would make every seed another run. */
export type FaultKind = (typeof FAULT_KINDS)[number] | "sleeping leader";

/** What all links between two members suffer. */
export interface LinkTrouble {
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly delayMs: number;
}

/** What the nemesis may do. A cluster implements it; a user's own system can too. */
export interface FaultControls {
  readonly names: readonly string[];
  /** Who leads, as far as is known. */
  readonly leader: string | undefined;
  /** Frames from one member no longer reach the other. */
  cut(from: string, to: string): void;
  /** All cuts end. */
  healCuts(): void;
  trouble(trouble: Partial<LinkTrouble> | undefined): void;
  kill(name: string, power: Power): void;
  /** Starts a member that was killed; one that runs is left alone. */
  start(name: string): void;
  stallDisk(name: string, stalled: boolean): void;
  pause(name: string, paused: boolean): void;
  transferLeadership(): void;
  fillDisk(name: string, full: boolean): void;
  /** How fast a member's clock goes from now on (1 is true), and by how much its time of day jumps. */
  setClock(name: string, rate: number, jumpMs: number): void;
  /** Lets go of the past up to some revision. */
  compact(): void;
  /** Damages what a member has on disk, if it is the only damaged one. Says what was hit. */
  damage(name: string): string;
  /** Removes a member, whose disk is lost, and lets a new one take its place. */
  replace(name: string): Promise<void>;
  /** A further member joins, stays and leaves. */
  visit(stayMs: number): Promise<void>;
  /** Crashes a candidate whose vote is not durable. False if it did not come to that. */
  crashCandidate(): Promise<boolean>;
}

/** How long a sleeping leader is waited for to be missed. */
const SUCCESSION_MS = 8_000;

/** A clock that runs fast shortens what it measures, leases too: by no more than this. */
export const FASTEST_CLOCK = 1.3;

export interface NemesisOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly controls: FaultControls;
  /** Told of each fault as it begins and ends. */
  readonly onFault: (fault: FaultEvent) => void;
  /** Default: each of `FAULT_KINDS` with a chance of one half, but at least two. Names of `custom` ones may be among them. */
  readonly kinds?: readonly string[];
  /** Faults of your own, by name. */
  readonly custom?: Readonly<Record<string, CustomFault>>;
  /** Mean quiet time between two faults. */
  readonly meanPauseMs?: number;
}

/** One strike: it begins, lasts and ends as it likes. */
export type CustomFault = (strike: {
  readonly random: RandomSource;
  /** Drawn: short enough to race with elections, or long enough to outlast them. */
  readonly lastingMs: number;
  begin(detail: string): void;
  end(detail: string): void;
  wait(ms: number): Promise<void>;
}) => Promise<void>;

export class Nemesis {
  readonly kinds: readonly string[];
  readonly counts: Map<string, number> = new Map();
  readonly #options: NemesisOptions;
  #stopping = false;
  #running: Promise<void>[] = [];
  #faults = 0;
  #bag: string[] = [];

  constructor(options: NemesisOptions) {
    this.#options = options;
    this.kinds = options.kinds ?? drawKinds(options.random);
  }

  start(): void {
    // Two hands, so that faults overlap.
    this.#running = [this.#hand(), this.#hand()];
  }

  /** Ends when all faults have healed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
    const { controls } = this.#options;
    controls.healCuts();
    controls.trouble(undefined);
    for (const name of controls.names) {
      controls.stallDisk(name, false);
      controls.pause(name, false);
      controls.fillDisk(name, false);
      controls.setClock(name, 1, 0);
      controls.start(name);
    }
  }

  async #hand(): Promise<void> {
    const { random } = this.#options;
    while (!this.#stopping) {
      await this.#wait(random() * 2 * (this.#options.meanPauseMs ?? 2_000));
      if (this.#stopping) return;
      // Each kind once before any comes again, in an order of the seed's.
      if (this.#bag.length === 0) this.#bag = [...this.kinds];
      const [kind] = this.#bag.splice(randomInt(random, 0, this.#bag.length - 1), 1) as [string];
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
      await this.#fault(kind);
    }
  }

  async #fault(drawn: string): Promise<void> {
    const { random, controls, onFault } = this.#options;
    const id = ++this.#faults;
    const pick = (): string => controls.names[randomInt(random, 0, controls.names.length - 1)]!;
    // Short ones race with elections, long ones outlast them.
    const lasting = random() < 0.5 ? 100 + random() * 900 : 1_000 + random() * 5_000;
    const name = pick();
    const begin = (detail: string): void => onFault({ fault: drawn, id, phase: "begin", detail });
    const end = (detail: string): void => onFault({ fault: drawn, id, phase: "end", detail });
    const custom = this.#options.custom?.[drawn];
    if (custom !== undefined) {
      await custom({ random, lastingMs: lasting, begin, end, wait: (ms) => this.#wait(ms) });
      return;
    }
    const kind = drawn as FaultKind;
    switch (kind) {
      case "partition":
      case "one-way partition": {
        const side = new Set(controls.names.filter(() => random() < 0.5));
        if (side.size === 0) side.add(name);
        else if (side.size === controls.names.length) side.delete(name);
        begin([...side].join(" "));
        for (const from of side) {
          for (const to of controls.names) {
            if (side.has(to)) continue;
            controls.cut(from, to);
            if (kind === "partition") controls.cut(to, from);
          }
        }
        await this.#wait(lasting);
        controls.healCuts();
        end("");
        return;
      }
      case "partial partition": {
        const other = pick();
        begin(`${name} ${other}`);
        if (name !== other) {
          controls.cut(name, other);
          controls.cut(other, name);
        }
        await this.#wait(lasting);
        controls.healCuts();
        end("");
        return;
      }
      case "loss":
      case "duplication":
      case "reordering":
      case "slow links": {
        const much = random();
        begin(much.toFixed(3));
        if (kind === "loss") controls.trouble({ loss: much * 0.3 });
        else if (kind === "duplication") controls.trouble({ duplicate: much * 0.3 });
        else if (kind === "reordering") controls.trouble({ reorder: much * 0.5 });
        else controls.trouble({ delayMs: much * 800 });
        await this.#wait(lasting);
        controls.trouble(undefined);
        end("");
        return;
      }
      case "kill":
      case "power cut":
        begin(name);
        controls.kill(name, kind === "kill" ? "stays" : "cut");
        await this.#wait(lasting);
        controls.start(name);
        end(name);
        return;
      case "power cut of all": {
        begin("");
        for (const each of controls.names) controls.kill(each, "cut");
        for (const each of controls.names) {
          await this.#wait(random() * 500);
          controls.start(each);
        }
        end("");
        return;
      }
      case "disk stall":
        begin(name);
        controls.stallDisk(name, true);
        await this.#wait(lasting);
        controls.stallDisk(name, false);
        end(name);
        return;
      case "pause":
        begin(name);
        controls.pause(name, true);
        await this.#wait(lasting);
        controls.pause(name, false);
        end(name);
        return;
      case "leadership transfer":
        begin("");
        controls.transferLeadership();
        end("");
        return;
      case "leader isolation": {
        // Its clients go on writing to it for a while: what they write has to be cut away when it comes back.
        const leader = controls.leader ?? name;
        begin(leader);
        for (const other of controls.names) {
          if (other === leader) continue;
          controls.cut(leader, other);
          controls.cut(other, leader);
        }
        await this.#wait(1_500 + lasting / 2);
        controls.healCuts();
        end(leader);
        return;
      }
      case "sleeping leader": {
        // It sleeps through its deposition, and wakes cut off from those who know of it: until it notices, what its clients
        // had asked is answered by one that leads no more.
        const leader = controls.leader ?? name;
        begin(leader);
        const others = controls.names.filter((each) => each !== leader);
        for (const other of others) {
          controls.cut(leader, other);
          controls.cut(other, leader);
        }
        controls.pause(leader, true);
        for (let waited = 0; waited < SUCCESSION_MS && controls.leader === leader; waited += 100) await this.#wait(100);
        await this.#wait(random() * 1_500);
        controls.pause(leader, false);
        await this.#wait(200 + random() * 800);
        controls.healCuts();
        end(leader);
        return;
      }
      case "bridge": {
        // Two halves that do not see each other, and one member in both (B32).
        begin(name);
        const others = controls.names.filter((each) => each !== name);
        const left = others.filter((_, i) => i % 2 === 0);
        for (const from of left) {
          for (const to of others) {
            if (left.includes(to)) continue;
            controls.cut(from, to);
            controls.cut(to, from);
          }
        }
        await this.#wait(lasting);
        controls.healCuts();
        end(name);
        return;
      }
      case "flapping links": {
        begin(name);
        for (let left = lasting; left > 0 && !this.#stopping; ) {
          const away = 20 + random() * 300;
          for (const other of controls.names) {
            if (other === name) continue;
            controls.cut(name, other);
            controls.cut(other, name);
          }
          await this.#wait(away);
          controls.healCuts();
          const well = 20 + random() * 300;
          await this.#wait(well);
          left -= away + well;
        }
        end(name);
        return;
      }
      case "kill of several": {
        const victims = controls.names.filter(() => random() < 0.6);
        begin(victims.join(" "));
        for (const victim of victims) controls.kill(victim, random() < 0.5 ? "stays" : "cut");
        await this.#wait(lasting / 2);
        for (const victim of victims) {
          controls.start(victim);
          await this.#wait(random() * 300);
        }
        end("");
        return;
      }
      case "torn batch":
        begin(name);
        controls.kill(name, "torn");
        await this.#wait(lasting / 4);
        controls.start(name);
        end(name);
        return;
      case "bit flip":
        begin(`${name}: ${controls.damage(name)}`);
        end(name);
        return;
      case "disk full":
        begin(name);
        controls.fillDisk(name, true);
        await this.#wait(lasting);
        controls.fillDisk(name, false);
        // A member that met the end of its disk has stopped; one that did not is restarted all the same.
        controls.kill(name, "stays");
        controls.start(name);
        end(name);
        return;
      case "fast clock":
      case "slow clock": {
        const rate = kind === "fast clock" ? 1 + random() * (FASTEST_CLOCK - 1) : 1 - random() * 0.3;
        begin(`${name} at ${rate.toFixed(3)}`);
        controls.setClock(name, rate, 0);
        await this.#wait(lasting);
        controls.setClock(name, 1, 0);
        end(name);
        return;
      }
      case "clock jump": {
        const jump = (random() - 0.5) * 7_200_000;
        begin(`${name} by ${(jump / 1_000).toFixed(0)} s`);
        controls.setClock(name, 1, jump);
        await this.#wait(lasting);
        controls.setClock(name, 1, -jump);
        end(name);
        return;
      }
      case "member replacement":
        begin(name);
        await controls.replace(name);
        end(name);
        return;
      case "membership change":
        begin("");
        await controls.visit(lasting);
        end("");
        return;
      case "compaction":
        begin("");
        controls.compact();
        end("");
        return;
      case "candidate crash":
        begin("");
        end((await controls.crashCandidate()) ? "" : "none campaigned");
        return;
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.after(ms, resolve));
  }
}

function drawKinds(random: RandomSource): FaultKind[] {
  for (;;) {
    const kinds = FAULT_KINDS.filter(() => random() < 0.5);
    if (kinds.length >= 2) return kinds;
  }
}
