/**
 * Count and sum per key space: what the state should hold, known without reading it. A table that LevelDB lost takes
 * whole records with it, each of which would have been intact; only this notices.
 */
import { get32, readCounter, viewOf, writeCounter } from "../base/bytes.ts";

/** Keys of this space are revisions: written once, deleted once, and summed by their numbers instead of checksums. */
export const REVISION_SPACE = 0x01;
export const REVISION_KEY_BYTES = 13;
/** Sums stay exact in a number. */
const MODULUS = 2 ** 48;

export class Tally {
  readonly #spaces = new Map<number, { count: number; sum: number }>();
  /** The highest revision ever written: what lies above is certainly new. */
  highestMain = 0;
  highestSub = -1;

  add(key: Uint8Array, stored: Uint8Array): void {
    this.#change(key, stored, 1);
  }

  /** Of a revision, `stored` does not matter. */
  subtract(key: Uint8Array, stored: Uint8Array): void {
    this.#change(key, stored, -1);
  }

  /** Whether a revision key lies above all that were ever written; notes it as written. */
  rise(key: Uint8Array): boolean {
    const main = mainOf(key);
    const sub = get32(key, 9);
    if (main < this.highestMain || (main === this.highestMain && sub <= this.highestSub)) return false;
    this.highestMain = main;
    this.highestSub = sub;
    return true;
  }

  clone(): Tally {
    const copy = new Tally();
    copy.highestMain = this.highestMain;
    copy.highestSub = this.highestSub;
    for (const [space, { count, sum }] of this.#spaces) copy.#spaces.set(space, { count, sum });
    return copy;
  }

  /** The first difference in words; `undefined` if both hold the same. */
  differs(found: Tally): string | undefined {
    for (const space of new Set([...this.#spaces.keys(), ...found.#spaces.keys()])) {
      const should = this.#spaces.get(space) ?? { count: 0, sum: 0 };
      const does = found.#spaces.get(space) ?? { count: 0, sum: 0 };
      if (should.count !== does.count) {
        return `key space ${space} should hold ${should.count} records and holds ${does.count}`;
      }
      if (should.sum !== does.sum) return `the records of key space ${space} are not the ones that were written`;
    }
    return undefined;
  }

  get encodedBytes(): number {
    return 13 + 17 * this.#spaces.size;
  }

  encodeInto(bytes: Uint8Array, at: number): void {
    const view = viewOf(bytes);
    writeCounter(view, at, this.highestMain);
    view.setInt32(at + 8, this.highestSub);
    bytes[at + 12] = this.#spaces.size;
    at += 13;
    for (const space of [...this.#spaces.keys()].sort((a, b) => a - b)) {
      const { count, sum } = this.#spaces.get(space)!;
      bytes[at] = space;
      writeCounter(view, at + 1, count);
      writeCounter(view, at + 9, sum);
      at += 17;
    }
  }

  /** Throws `RangeError` on what no version wrote. */
  static decode(bytes: Uint8Array, at: number): Tally {
    const view = viewOf(bytes);
    const tally = new Tally();
    tally.highestMain = readCounter(view, at);
    tally.highestSub = view.getInt32(at + 8);
    const count = view.getUint8(at + 12);
    at += 13;
    if (at + 17 * count !== bytes.length) throw new RangeError("wrong length");
    for (let i = 0; i < count; i++, at += 17) {
      tally.#spaces.set(bytes[at]!, { count: readCounter(view, at + 1), sum: readCounter(view, at + 9) });
    }
    return tally;
  }

  #change(key: Uint8Array, stored: Uint8Array, by: 1 | -1): void {
    const space = key[0]!;
    let entry = this.#spaces.get(space);
    if (entry === undefined) this.#spaces.set(space, (entry = { count: 0, sum: 0 }));
    let part: number;
    if (space === REVISION_SPACE) {
      part = (mainOf(key) + get32(key, 9)) % MODULUS;
    } else part = get32(stored, 0);
    entry.count += by;
    entry.sum = (entry.sum + by * part + MODULUS) % MODULUS;
    if (entry.count === 0 && entry.sum === 0) this.#spaces.delete(space);
  }
}

function mainOf(key: Uint8Array): number {
  if (key.length !== REVISION_KEY_BYTES) throw new RangeError("a revision's key has 13 bytes");
  const high = get32(key, 1);
  if (high > 0x1f_ffff) throw new RangeError("counter above 2^53 - 1");
  return high * 0x1_0000_0000 + get32(key, 5);
}
