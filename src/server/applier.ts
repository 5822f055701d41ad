/**
 * Carries committed entries to the machine, in order, a slice at a time: one entry may take seconds (a delete of a
 * million keys), and ticks and messages must never wait for it. Slices are cut by counts, never by elapsed time.
 */
import type { LogIndex, Term } from "../base/ids.ts";
import type { Envelope } from "../machine/command.ts";
import type { Applied, Machine } from "../machine/machine.ts";
import type { Clock } from "../platform/clock.ts";
import { decodeConfChange } from "../raft/codec.ts";
import type { Entry } from "../raft/entry.ts";
import type { ConfChange } from "../raft/membership-types.ts";

/** Index steps in one turn of the loop: a few milliseconds (bench/run.ts). */
const STEPS_PER_TURN = 2_048;

export interface ApplierHost {
  decoded(index: LogIndex, term: Term): Envelope | undefined;
  /** Somebody here waits for the result, wherever the entry was placed in the log. */
  wanted(envelope: Envelope): boolean;
  /** So much waits to be flushed that nothing more may be applied before `proceed`. */
  isFull(): boolean;
  /** One entry is through. For a configuration change `change` is what to activate, or undefined if it was vetoed. */
  onApplied(applied: Applied, entry: Entry, change: ConfChange | undefined): void;
  /** A turn ends; `index` is the last entry applied. */
  onTurn(index: LogIndex): void;
  onFailure(error: unknown): void;
}

export class Applier {
  #machine: Machine;
  readonly #clock: Clock;
  readonly #host: ApplierHost;
  #queue: Entry[] = [];
  #head = 0;
  #current: Entry | undefined;
  #currentChange: ConfChange | undefined;
  #scheduled = false;
  #inTurn = false;
  #stopped = false;
  #boundaryCallbacks: (() => void)[] = [];

  constructor(machine: Machine, clock: Clock, host: ApplierHost) {
    this.#machine = machine;
    this.#clock = clock;
    this.#host = host;
  }

  get machine(): Machine {
    return this.#machine;
  }

  get backlog(): number {
    return this.#queue.length - this.#head;
  }

  push(entries: readonly Entry[]): void {
    if (this.#stopped) return;
    for (const entry of entries) this.#queue.push(entry);
    if (!this.#scheduled) this.#run();
  }

  /** A flush has ended: what stood still may go on. */
  proceed(): void {
    if (!this.#scheduled && this.backlog > 0) this.#run();
  }

  /**
   * Calls back between two entries: now, if none is half-way. No entry begins before the turn ends, so who awaits this goes
   * on at the boundary too.
   */
  atBoundary(callback: () => void): void {
    if (this.#current === undefined && !this.#inTurn) {
      this.#holdThisTurn();
      callback();
    } else {
      this.#boundaryCallbacks.push(callback);
    }
  }

  /** A snapshot took the place of everything: what was half-way or waiting goes with the state it belonged to. */
  replace(machine: Machine): void {
    this.#machine = machine;
    this.#queue = [];
    this.#head = 0;
    this.#current = undefined;
    this.#atBoundaryNow();
  }

  stop(): void {
    this.#stopped = true;
    this.#queue = [];
    this.#head = 0;
    // Who waits for a boundary looks whether it is stopped itself.
    this.#atBoundaryNow();
  }

  #run(): void {
    this.#scheduled = false;
    if (this.#stopped) return;
    this.#inTurn = true;
    try {
      this.#turn();
    } catch (error) {
      this.#host.onFailure(error);
    } finally {
      this.#inTurn = false;
    }
    // Asked for behind the last entry of the turn.
    if (this.#current === undefined && this.#boundaryCallbacks.length > 0) {
      this.#holdThisTurn();
      this.#atBoundaryNow();
    }
  }

  /** Nothing is applied in the rest of this turn of the loop. */
  #holdThisTurn(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.defer(() => this.#run());
  }

  #turn(): void {
    let steps = STEPS_PER_TURN;
    let last: LogIndex | undefined;
    let isFull = false;
    while (steps > 0) {
      if (this.#current === undefined) {
        const entry = this.#queue[this.#head];
        if (entry === undefined) break;
        isFull = this.#host.isFull();
        if (isFull) break;
        this.#head += 1;
        this.#begin(entry);
      }
      const machine = this.#machine;
      const applied = machine.step(steps);
      if (applied === undefined) break;
      const entry = this.#current!;
      this.#current = undefined;
      const change = applied.outcome.ok ? this.#currentChange : undefined;
      this.#host.onApplied(applied, entry, change);
      if (this.#stopped) return;
      last = entry.index;
      steps -= 4;
      if (this.#boundaryCallbacks.length > 0) {
        this.#holdThisTurn();
        this.#atBoundaryNow();
        break;
      }
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    const more = this.#current !== undefined || this.#head < this.#queue.length;
    if (!more) {
      this.#queue = [];
      this.#head = 0;
    }
    if (more && !isFull) this.#holdThisTurn();
    if (last !== undefined) this.#host.onTurn(last);
  }

  #begin(entry: Entry): void {
    this.#current = entry;
    const { index, term } = entry;
    const wanted = (envelope: Envelope): boolean => this.#host.wanted(envelope);
    if (entry.kind === "confChange") {
      const change = decodeConfChange(entry.data);
      this.#currentChange = change;
      this.#machine.begin({ index, term, data: change.context, wanted });
      return;
    }
    this.#currentChange = undefined;
    const envelope = this.#host.decoded(index, term);
    this.#machine.begin(
      envelope === undefined
        ? { index, term, data: entry.data, wanted }
        : { index, term, data: entry.data, envelope, wanted },
    );
  }

  #atBoundaryNow(): void {
    const callbacks = this.#boundaryCallbacks;
    this.#boundaryCallbacks = [];
    for (const callback of callbacks) callback();
  }
}
