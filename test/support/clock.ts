/** A clock whose time runs as fast as its events can: each takes a turn of the real loop, in the order of their times. */
import type { Clock, Timer } from "../../src/platform/clock.ts";

export class FastClock implements Clock {
  #now = 0;
  #sequence = 0;
  #events: { time: number; sequence: number; callback: () => void }[] = [];
  #pumping = false;

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now;
  }

  after(ms: number, callback: () => void): Timer {
    const event = { time: this.#now + Math.max(0, ms), sequence: this.#sequence++, callback };
    this.#events.push(event);
    if (!this.#pumping) this.#pump();
    return { cancel: () => void (this.#events = this.#events.filter((other) => other !== event)) };
  }

  every(ms: number, callback: () => void): Timer {
    let timer: Timer;
    const beat = (): void => {
      timer = this.after(ms, beat);
      callback();
    };
    timer = this.after(ms, beat);
    return { cancel: () => timer.cancel() };
  }

  defer(callback: () => void): void {
    this.after(0, callback);
  }

  #pump(): void {
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      this.#events.sort((a, b) => a.time - b.time || a.sequence - b.sequence);
      const event = this.#events.shift();
      if (event === undefined) return;
      this.#now = event.time;
      event.callback();
      if (this.#events.length > 0 && !this.#pumping) this.#pump();
    });
  }
}
