/**
 * A map from whole numbers for what comes and goes thousands of times a second. A built-in `Map` that is as busy is laid anew
 * every few hundred changes, and each table that it leaves behind, once it is old, keeps all that it last held from being
 * collected young: requests and their promises then pile up until the next full collection. This one is two arrays that stay.
 *
 * Open addressing with linear probing; a deletion moves what follows it, so that no marks of deleted keys pile up.
 */

const FIRST_CAPACITY = 8;
/** Odd, from the golden ratio: spreads numbers in a row, and multiples of a power of two, over the upper bits. */
const SPREAD = 0x9e37_79b1;

export class NumberMap<V extends object> {
  #keys!: Float64Array;
  #values!: (V | undefined)[];
  #shift!: number;
  #size = 0;

  constructor() {
    this.#lay(FIRST_CAPACITY);
  }

  get size(): number {
    return this.#size;
  }

  get(key: number): V | undefined {
    return this.#values[this.#find(key)];
  }

  has(key: number): boolean {
    return this.#values[this.#find(key)] !== undefined;
  }

  set(key: number, value: V): void {
    let at = this.#find(key);
    if (this.#values[at] === undefined) {
      if (2 * (this.#size + 1) > this.#values.length) {
        this.#resize(2 * this.#values.length);
        at = this.#find(key);
      }
      this.#size += 1;
      this.#keys[at] = key;
    }
    this.#values[at] = value;
  }

  delete(key: number): boolean {
    const keys = this.#keys;
    const values = this.#values;
    const mask = values.length - 1;
    let hole = this.#find(key);
    if (values[hole] === undefined) return false;
    this.#size -= 1;
    for (let at = (hole + 1) & mask; values[at] !== undefined; at = (at + 1) & mask) {
      // One that is no further from its home than from the hole would stand before its home there.
      if (((at - this.#home(keys[at]!)) & mask) < ((at - hole) & mask)) continue;
      keys[hole] = keys[at]!;
      values[hole] = values[at];
      hole = at;
    }
    values[hole] = undefined;
    return true;
  }

  /** Copies, in no order: whoever walks them may change the map. */
  keys(): number[] {
    return [...this.#keys.filter((_, at) => this.#values[at] !== undefined)];
  }

  values(): V[] {
    return this.#values.filter((value) => value !== undefined);
  }

  clear(): void {
    this.#size = 0;
    this.#lay(FIRST_CAPACITY);
  }

  /** Gives back what it grew to and needs no more. It keeps that otherwise, so as to stay as it is while it is busy. */
  trim(): void {
    let capacity = this.#values.length;
    while (capacity > FIRST_CAPACITY && 8 * this.#size < capacity) capacity /= 2;
    if (capacity < this.#values.length) this.#resize(capacity);
  }

  /** Where the key is, or the free place where it belongs. */
  #find(key: number): number {
    const keys = this.#keys;
    const values = this.#values;
    const mask = values.length - 1;
    let at = this.#home(key);
    while (values[at] !== undefined && keys[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #home(key: number): number {
    return Math.imul(key ^ (key / 0x1_0000_0000), SPREAD) >>> this.#shift;
  }

  #lay(capacity: number): void {
    this.#keys = new Float64Array(capacity);
    this.#values = new Array<V | undefined>(capacity).fill(undefined);
    this.#shift = 32 - Math.log2(capacity);
  }

  #resize(capacity: number): void {
    const keys = this.#keys;
    const values = this.#values;
    this.#lay(capacity);
    values.forEach((value, from) => {
      if (value === undefined) return;
      const at = this.#find(keys[from]!);
      this.#keys[at] = keys[from]!;
      this.#values[at] = value;
    });
  }
}
