/**
 * How much of a result is built. A log entry of a few kilobytes can ask for gigabytes (127 ranges over everything), and
 * every member applies it: so a result is built only where somebody waits for it, and only up to a bound.
 */

import type { KeyValue } from "../protocol/key-value.ts";

/** What one key-value weighs beside its bytes: its objects, and the views and buffers that hold the bytes (measured). */
const OVERHEAD = 500;

export class ResultRoom {
  #left: number;
  #exceeded = false;

  /** 0 = nobody waits: nothing is built. */
  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** False: operations do what they do, and answer with nothing. */
  get wanted(): boolean {
    return this.#left > 0;
  }

  /** Something did not fit: what was built is not the answer. */
  get exceeded(): boolean {
    return this.#exceeded;
  }

  /** Makes room for one more; false = there is none, for this and all that follow. Only while `wanted`. */
  take(kv: KeyValue): boolean {
    this.#left -= kv.key.length + kv.value.length + OVERHEAD;
    if (this.#left > 0) return true;
    this.#exceeded = true;
    return false;
  }
}

/** For what is one range, or one key, of the state. */
export const UNBOUNDED: ResultRoom = new ResultRoom(Number.POSITIVE_INFINITY);

/** For what nobody waits for. */
export const NOTHING: ResultRoom = new ResultRoom(0);
