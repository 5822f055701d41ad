/**
 * Records of revisions, which are written in their order and once: three arrays, found by a binary search. No name is made
 * and no Map grows for what is written most and read least.
 */
import { assert } from "../base/assert.ts";
import { put32, toByteString } from "../base/bytes.ts";
import { REVISION_KEY_BYTES, REVISION_SPACE } from "./tally.ts";

export class RevisionRun {
  readonly #mains: number[] = [];
  readonly #subs: number[] = [];
  readonly records: Uint8Array[] = [];

  get length(): number {
    return this.records.length;
  }

  /** Behind all that is here. */
  push(main: number, sub: number, record: Uint8Array): void {
    const last = this.#mains.length - 1;
    if (last >= 0 && (main < this.#mains[last]! || (main === this.#mains[last] && sub <= this.#subs[last]!))) {
      assert(false, "state", () => `revision ${main}.${sub} after ${this.#mains[last]}.${this.#subs[last]}`);
    }
    this.#mains.push(main);
    this.#subs.push(sub);
    this.records.push(record);
  }

  /** Takes over all of `run`, which lies above what is here. */
  append(run: RevisionRun): void {
    for (let i = 0; i < run.length; i++) this.push(run.#mains[i]!, run.#subs[i]!, run.records[i]!);
  }

  /** The place of a record; -1 if it is not here. */
  find(main: number, sub: number): number {
    const mains = this.#mains;
    let high = mains.length;
    if (high === 0 || main < mains[0]! || main > mains[high - 1]!) return -1;
    let low = 0;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const at = mains[middle]!;
      if (at < main || (at === main && this.#subs[middle]! < sub)) low = middle + 1;
      else high = middle;
    }
    return mains[low] === main && this.#subs[low] === sub ? low : -1;
  }

  /** Into the first bytes of `key`. */
  keyInto(key: Uint8Array, place: number): void {
    putRevisionKey(key, this.#mains[place]!, this.#subs[place]!);
  }
}

/** space 1 | main 8 | sub 4 */
export function revisionKey(main: number, sub: number): Uint8Array {
  const key = new Uint8Array(REVISION_KEY_BYTES);
  putRevisionKey(key, main, sub);
  return key;
}

/** Into the first bytes of `key`. */
export function putRevisionKey(key: Uint8Array, main: number, sub: number): void {
  key[0] = REVISION_SPACE;
  put32(key, 1, Math.floor(main / 0x1_0000_0000));
  put32(key, 5, main);
  put32(key, 9, sub);
}

/** The key as a byte string, for what is kept by name. */
export function revisionName(main: number, sub: number): string {
  return toByteString(revisionKey(main, sub));
}
