/** Many deadlines, one timer: arming costs a comparison while the timer stands for an earlier one. */
import type { Clock, Timer } from "../platform/clock.ts";

export class DeadlineTimer {
  readonly #clock: Clock;
  /** Ends what is due; gives the earliest deadline that is left. */
  readonly #expire: (now: number) => number | undefined;
  #at = Number.POSITIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(clock: Clock, expire: (now: number) => number | undefined) {
    this.#clock = clock;
    this.#expire = expire;
  }

  /** `expire` runs at `deadline` at the latest. */
  arm(deadline: number): void {
    if (deadline >= this.#at) return;
    this.#timer?.cancel();
    this.#at = deadline;
    this.#timer = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () => this.#fire());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
  }

  #fire(): void {
    this.#timer = undefined;
    this.#at = Number.POSITIVE_INFINITY;
    const next = this.#expire(this.#clock.now());
    if (next !== undefined) this.arm(next);
  }
}
