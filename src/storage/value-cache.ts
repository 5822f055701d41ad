/**
 * Values read or flushed lately, within a budget of bytes. A few Maps, the newest first asked and the oldest first
 * forgotten as a whole; what was flushed joins as the Map that it was gathered in. No list to keep in order, no object
 * for each value, next to no work for a value that nobody reads.
 */

/** Of the budget, what one Map holds before a new one begins. */
const SHARE = 1 / 16;
const OVERHEAD_BYTES = 100;
/** Takes the place of a value that is known to be absent. No record is as short. */
export const ABSENT: Uint8Array = new Uint8Array(0);

interface Segment {
  readonly values: Map<string, Uint8Array>;
  bytes: number;
}

export class ValueCache {
  readonly #budgetBytes: number;
  /** The oldest first. Never empty. */
  #segments: Segment[] = [{ values: new Map(), bytes: 0 }];
  #bytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  get(name: string): Uint8Array | undefined {
    const newest = this.#segments.length - 1;
    for (let i = newest; i >= 0; i--) {
      const value = this.#segments[i]!.values.get(name);
      if (value === undefined) continue;
      // What is used stays: it moves before the half that holds it is forgotten, and leaves its slab behind.
      if (2 * i < newest) this.set(name, value.slice());
      return value;
    }
    return undefined;
  }

  set(name: string, value: Uint8Array): void {
    let segment = this.#segments.at(-1)!;
    if (segment.bytes > SHARE * this.#budgetBytes) {
      segment = { values: new Map(), bytes: 0 };
      this.#segments.push(segment);
    }
    const old = segment.values.get(name);
    segment.values.set(name, value);
    this.#grow(segment, weightOf(name, value) - (old === undefined ? 0 : weightOf(name, old)));
  }

  /** Takes all of `values`, newer than anything here, and the Map itself where it is large. */
  absorb(values: Map<string, Uint8Array>): void {
    let bytes = 0;
    for (const [name, value] of values) bytes += weightOf(name, value);
    if (bytes < SHARE * this.#budgetBytes) {
      for (const [name, value] of values) this.set(name, value);
      return;
    }
    const segment = { values, bytes: 0 };
    this.#segments.push(segment);
    this.#grow(segment, bytes);
  }

  #grow(segment: Segment, bytes: number): void {
    segment.bytes += bytes;
    this.#bytes += bytes;
    while (this.#bytes > this.#budgetBytes) {
      this.#bytes -= this.#segments.shift()!.bytes;
      if (this.#segments.length === 0) this.#segments.push({ values: new Map(), bytes: 0 });
    }
  }
}

function weightOf(name: string, value: Uint8Array): number {
  return name.length + value.length + OVERHEAD_BYTES;
}
