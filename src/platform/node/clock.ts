/** Time from the machine. */
import type { Clock, Timer } from "../clock.ts";

/** Node fires a longer timer at once: such a wait is taken in parts. */
const LONGEST_MS = 2 ** 31 - 1;

/** Its timers keep the process alive, as a listening server does: whoever waits for one is never left behind. */
export class NodeClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  after(ms: number, callback: () => void): Timer {
    const due = this.now() + ms;
    let handle: NodeJS.Timeout;
    const arm = (left: number): void => {
      handle = setTimeout(fire, Math.min(Math.max(0, Math.ceil(left)), LONGEST_MS));
    };
    const fire = (): void => {
      // Node's timers count whole milliseconds and may be one early: a deadline that is looked at must have passed.
      const left = due - this.now();
      if (left > 0) arm(left);
      else callback();
    };
    arm(ms);
    return { cancel: () => clearTimeout(handle) };
  }

  /** A steady beat: a late call shortens the next wait, and beats missed by a whole period are skipped. */
  every(ms: number, callback: () => void): Timer {
    const step = Math.max(1, ms);
    let due = this.now() + step;
    let cancelled = false;
    let timer: Timer;
    const beat = (): void => {
      if (cancelled) return;
      const late = this.now() - due;
      due += step * (1 + Math.max(0, Math.floor(late / step)));
      timer = this.after(due - this.now(), beat);
      callback();
    };
    timer = this.after(step, beat);
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  defer(callback: () => void): void {
    setImmediate(callback);
  }
}
