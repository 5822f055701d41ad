/**
 * Tells frames that come for the first time from repeated ones, by their numbers. A socket repeats nothing, but a message
 * that comes twice would be proposed twice, so "at most once" is checked, not hoped for. Gaps are no fault here: what is
 * lost or late is for the layers above to bear.
 */

/** Late by more than as many frames, a frame counts as lost. */
const WINDOW = 1_024;

export class Arrivals {
  #newest = 0;
  /** Passed over and not yet come; all within the window below the newest. */
  readonly #missing = new Set<number>();

  /** Numbers begin at 1. */
  isFirst(number: number): boolean {
    if (number <= this.#newest) return this.#missing.delete(number);
    if (number > this.#newest + 1) this.#pass(number);
    this.#newest = number;
    return true;
  }

  #pass(number: number): void {
    for (let n = Math.max(this.#newest + 1, number - WINDOW); n < number; n++) this.#missing.add(n);
    for (const n of this.#missing) {
      // A Set keeps the order of insertion: the oldest come first.
      if (n >= number - WINDOW) break;
      this.#missing.delete(n);
    }
  }
}
