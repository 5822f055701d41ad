/** Time as the shell sees it: given at the root, so that the simulator can own it. */

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds from an arbitrary origin, never going back. Counts through pauses of the process. */
  now(): number;
  /** Milliseconds since 1970, for logs and ids only; may jump. */
  wallNow(): number;
  /** Calls once after `ms`. */
  after(ms: number, callback: () => void): Timer;
  /** Calls each `ms`, at a steady rate. */
  every(ms: number, callback: () => void): Timer;
  /** Runs `callback` after what has already arrived was looked at: the yield between slices of long work. */
  defer(callback: () => void): void;
}
