/**
 * Time that moves only when told to: one queue of events, ordered by time and then by the order of their asking. Nothing
 * here waits; `world.ts` takes one event after the other. `HostClock` is what one simulated process sees of it: it can be
 * paused (events wait, as under SIGSTOP) or stopped for good (events of a dead process never run).
 */
import type { Clock, Timer } from "../platform/clock.ts";

interface Event {
  readonly time: number;
  readonly sequence: number;
  /** `undefined` once cancelled: it leaves the heap when it reaches the top. */
  callback: (() => void) | undefined;
}

const before = (a: Event, b: Event): boolean => a.time < b.time || (a.time === b.time && a.sequence < b.sequence);

/** Milliseconds since 1970 at virtual time 0: a fixed day, so that no run depends on the real one. */
const WALL_ORIGIN = 1_700_000_000_000;

export class VirtualClock implements Clock {
  readonly #heap: Event[] = [];
  #now = 0;
  #sequence = 0;
  #events = 0;

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return WALL_ORIGIN + this.#now;
  }

  /** Events run so far. */
  get events(): number {
    return this.#events;
  }

  after(ms: number, callback: () => void): Timer {
    const event = this.#push(this.#now + Math.max(0, ms), callback);
    return {
      cancel() {
        event.callback = undefined;
      },
    };
  }

  every(ms: number, callback: () => void): Timer {
    return steady(this, ms, callback);
  }

  defer(callback: () => void): void {
    this.#push(this.#now, callback);
  }

  /** When the next event is due; `undefined` when none is left. */
  nextTime(): number | undefined {
    while (this.#heap.length > 0 && this.#heap[0]!.callback === undefined) this.#pop();
    return this.#heap[0]?.time;
  }

  /** Takes the next event: time moves to it and its callback runs. False when none is left. */
  runNext(): boolean {
    if (this.nextTime() === undefined) return false;
    const event = this.#pop();
    this.#now = event.time;
    this.#events++;
    const callback = event.callback!;
    event.callback = undefined;
    callback();
    return true;
  }

  /** Moves time on to `time`, when no event is due before it. */
  advanceTo(time: number): void {
    if (time > this.#now && (this.nextTime() ?? Infinity) >= time) this.#now = time;
  }

  #push(time: number, callback: () => void): Event {
    const event: Event = { time, sequence: this.#sequence++, callback };
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
    return event;
  }

  #pop(): Event {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

/** A steady beat that skips the beats it missed: after a pause it beats once, then falls back into step. */
function steady(clock: Clock, ms: number, callback: () => void): Timer {
  const step = Math.max(ms, 0.001);
  let due = clock.now() + step;
  let cancelled = false;
  let timer: Timer;
  const beat = (): void => {
    if (cancelled) return;
    const late = clock.now() - due;
    due += step * (1 + Math.max(0, Math.floor(late / step)));
    timer = clock.after(due - clock.now(), beat);
    callback();
  };
  timer = clock.after(step, beat);
  return {
    cancel() {
      cancelled = true;
      timer.cancel();
    },
  };
}

/** Whether what belongs to one process may run now, later, or never. */
export class Gate {
  readonly #clock: VirtualClock;
  #state: "running" | "paused" | "stopped" = "running";
  #held: (() => void)[] = [];

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get isOpen(): boolean {
    return this.#state === "running";
  }

  get stopped(): boolean {
    return this.#state === "stopped";
  }

  get paused(): boolean {
    return this.#state === "paused";
  }

  /** Runs it now, holds it until `resume`, or drops it. */
  run(callback: () => void): void {
    if (this.#state === "running") callback();
    else if (this.#state === "paused") this.#held.push(callback);
  }

  pause(): void {
    if (this.#state === "running") this.#state = "paused";
  }

  /** What was held runs in its order, one event each, before anything that comes later. */
  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    const held = this.#held;
    this.#held = [];
    for (const callback of held) this.#clock.defer(() => this.run(callback));
  }

  stop(): void {
    this.#state = "stopped";
    this.#held = [];
  }
}

/** How one machine's clock goes: at a rate of its own, and with a time of day that may jump. It never goes backwards. */
export class ClockDrift {
  readonly #clock: VirtualClock;
  #rate = 1;
  #trueAt = 0;
  #localAt = 0;
  #wallOffset = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  get rate(): number {
    return this.#rate;
  }

  set rate(rate: number) {
    this.#localAt = this.now();
    this.#trueAt = this.#clock.now();
    this.#rate = rate;
  }

  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  now(): number {
    return this.#localAt + (this.#clock.now() - this.#trueAt) * this.#rate;
  }

  wallNow(): number {
    return this.#clock.wallNow() + this.#wallOffset;
  }
}

/** The clock of one process: its machine's, behind the process's gates. */
export class HostClock implements Clock {
  readonly #clock: VirtualClock;
  readonly #gates: readonly Gate[];
  readonly #drift: ClockDrift;

  /** The first gate is the outermost: what it holds passes the others only when it is let through. */
  constructor(clock: VirtualClock, gates: readonly Gate[], drift: ClockDrift = new ClockDrift(clock)) {
    this.#clock = clock;
    this.#gates = gates;
    this.#drift = drift;
  }

  now(): number {
    return this.#drift.now();
  }

  wallNow(): number {
    return this.#drift.wallNow();
  }

  after(ms: number, callback: () => void): Timer {
    let cancelled = false;
    // A held event may be cancelled too: by another one that was held before it.
    const unlessCancelled = (): void => {
      if (!cancelled) callback();
    };
    const timer = this.#clock.after(ms / this.#drift.rate, () => this.#pass(0, unlessCancelled));
    return {
      cancel() {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  every(ms: number, callback: () => void): Timer {
    return steady(this, ms, callback);
  }

  defer(callback: () => void): void {
    this.#clock.defer(() => this.run(callback));
  }

  /** Runs something that arrives from outside (a frame, a completion) as the gates allow. */
  run(callback: () => void): void {
    this.#pass(0, callback);
  }

  /** Through the gates from this one on. Nearly all are open nearly always: that must cost nothing. */
  #pass(from: number, callback: () => void): void {
    for (let i = from; i < this.#gates.length; i++) {
      const gate = this.#gates[i]!;
      if (gate.isOpen) continue;
      gate.run(() => this.#pass(i + 1, callback));
      return;
    }
    callback();
  }
}
