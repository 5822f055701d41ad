/**
 * Faults drawn from the seed, swarm style: the seed first chooses which kinds exist at all in this run (a run with all of
 * them at once hides what needs a quiet minute), then when each begins and how long it lasts.
 */
import { type RandomSource, randomInt } from "../base/prng.ts";
import type { Clock } from "../platform/clock.ts";

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
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

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
  /** Frames from one member no longer reach the other. */
  cut(from: string, to: string): void;
  /** All cuts end. */
  healCuts(): void;
  trouble(trouble: Partial<LinkTrouble> | undefined): void;
  kill(name: string, power: "stays" | "cut"): void;
  /** Starts a member that was killed; one that runs is left alone. */
  start(name: string): void;
  stallDisk(name: string, stalled: boolean): void;
  pause(name: string, paused: boolean): void;
  transferLeadership(): void;
}

export interface NemesisOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly controls: FaultControls;
  /** Told of each fault as it begins and ends. */
  readonly note: (note: string, detail: string) => void;
  /** Default: each kind with a chance of one half, but at least two. */
  readonly kinds?: readonly FaultKind[];
  /** Mean quiet time between two faults. */
  readonly meanPauseMs?: number;
}

export class Nemesis {
  readonly kinds: readonly FaultKind[];
  readonly counts: Map<FaultKind, number> = new Map();
  readonly #options: NemesisOptions;
  #stopping = false;
  #running: Promise<void>[] = [];

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
      controls.start(name);
    }
  }

  async #hand(): Promise<void> {
    const { random } = this.#options;
    while (!this.#stopping) {
      await this.#wait(random() * 2 * (this.#options.meanPauseMs ?? 2_000));
      if (this.#stopping) return;
      const kind = this.kinds[randomInt(random, 0, this.kinds.length - 1)]!;
      this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1);
      await this.#fault(kind);
    }
  }

  async #fault(kind: FaultKind): Promise<void> {
    const { random, controls, note } = this.#options;
    const pick = (): string => controls.names[randomInt(random, 0, controls.names.length - 1)]!;
    // Short ones race with elections, long ones outlast them.
    const lasting = random() < 0.5 ? 100 + random() * 900 : 1_000 + random() * 5_000;
    const name = pick();
    const begin = (detail: string): void => note(kind, detail);
    const end = (detail: string): void => note(`${kind} ends`, detail);
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
