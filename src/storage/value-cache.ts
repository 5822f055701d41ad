/**
 * Values read or flushed lately, within a budget of bytes. A few segments, the newest first asked and the oldest first
 * forgotten as a whole; what was flushed joins as it was gathered. No list to keep in order, no object for each value,
 * next to no work for a value that nobody reads.
 */
import { type RevisionRun, revisionName } from "./revision-run.ts";
import { REVISION_KEY_BYTES } from "./tally.ts";

/** Of the budget, what one segment holds before a new one begins. */
const SHARE = 1 / 16;
const OVERHEAD_BYTES = 100;
/** Takes the place of a value that is known to be absent. No record is as short. */
export const ABSENT: Uint8Array = new Uint8Array(0);

interface Segment {
  /** Newer than what stands under the same key in the run. */
  readonly values: Map<string, Uint8Array>;
  /** Revisions as they were flushed. */
  run: RevisionRun | undefined;
  bytes: number;
}

export class ValueCache {
  readonly #budgetBytes: number;
  /** The oldest first. Never empty. */
  #segments: Segment[] = [{ values: new Map(), run: undefined, bytes: 0 }];
  #bytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  /** `name` is the key as a byte string. */
  get(name: string): Uint8Array | undefined {
    const newest = this.#segments.length - 1;
    for (let i = newest; i >= 0; i--) {
      const value = this.#segments[i]!.values.get(name);
      if (value === undefined) continue;
      if (2 * i < newest) this.#keep(name, value);
      return value;
    }
    return undefined;
  }

  getRevision(main: number, sub: number): Uint8Array | undefined {
    const newest = this.#segments.length - 1;
    let name: string | undefined;
    for (let i = newest; i >= 0; i--) {
      const { values, run } = this.#segments[i]!;
      let value: Uint8Array | undefined;
      if (values.size > 0) value = values.get((name ??= revisionName(main, sub)));
      if (value === undefined && run !== undefined) {
        const place = run.find(main, sub);
        if (place >= 0) value = run.records[place];
      }
      if (value === undefined) continue;
      if (2 * i < newest) this.#keep(name ?? revisionName(main, sub), value);
      return value;
    }
    return undefined;
  }

  set(name: string, value: Uint8Array): void {
    const segment = this.#open();
    const old = segment.values.get(name);
    segment.values.set(name, value);
    this.#grow(segment, weightOf(name.length, value) - (old === undefined ? 0 : weightOf(name.length, old)));
  }

  /** Takes all of `values` and the run, newer than anything here, and the run itself where it is large. */
  absorb(values: ReadonlyMap<string, Uint8Array>, run: RevisionRun): void {
    let bytes = 0;
    for (const record of run.records) bytes += weightOf(REVISION_KEY_BYTES, record);
    if (run.length > 0) {
      let segment = this.#open();
      if (segment.run !== undefined && bytes < SHARE * this.#budgetBytes) segment.run.append(run);
      else {
        if (segment.run !== undefined) this.#segments.push((segment = { values: new Map(), run, bytes: 0 }));
        segment.run = run;
      }
      this.#grow(segment, bytes);
    }
    for (const [name, value] of values) this.set(name, value);
  }

  /** What is used stays: it moves before the half that holds it is forgotten, and leaves its slab behind. */
  #keep(name: string, value: Uint8Array): void {
    this.set(name, value === ABSENT ? value : value.slice());
  }

  /** The segment that takes what comes. */
  #open(): Segment {
    let segment = this.#segments.at(-1)!;
    if (segment.bytes > SHARE * this.#budgetBytes) {
      segment = { values: new Map(), run: undefined, bytes: 0 };
      this.#segments.push(segment);
    }
    return segment;
  }

  #grow(segment: Segment, bytes: number): void {
    segment.bytes += bytes;
    this.#bytes += bytes;
    while (this.#bytes > this.#budgetBytes) {
      this.#bytes -= this.#segments.shift()!.bytes;
      if (this.#segments.length === 0) this.#segments.push({ values: new Map(), run: undefined, bytes: 0 });
    }
  }
}

function weightOf(nameBytes: number, value: Uint8Array): number {
  return nameBytes + value.length + OVERHEAD_BYTES;
}
