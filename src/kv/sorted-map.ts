/**
 * Keys in order and by name: a Map for the point look-ups that most calls are, and sorted blocks for ranges. Blocks
 * instead of a tree: two binary searches, one short move per new key, next to no objects for a million keys.
 */

/** Keys in one block before it splits. Inserting moves half of them on average, about 50 ns. */
const BLOCK = 256;
/** Keys in one block when loaded. */
const FILL: number = (BLOCK * 3) / 4;

/** Above every byte string: no character of one exceeds 0xff. */
export const TOP = "\uffff";

export class SortedMap<V> {
  readonly #byKey: Map<string, V>;
  /** Never empty as a whole; each block is sorted, and every key of a block is below those of the next. */
  #blocks: string[][] = [[]];
  /** The first key of each block but the first: a search touches these and one block. */
  #bounds: string[] = [];

  /** Takes over `byKey`; its keys follow through `append`. */
  constructor(byKey: Map<string, V> = new Map()) {
    this.#byKey = byKey;
  }

  /** A key of the map that was taken over, above all before it: loading, in linear time. Leaves room in each block for inserts. */
  append(key: string): void {
    const last = this.#blocks[this.#blocks.length - 1]!;
    if (last.length < FILL) last.push(key);
    else {
      this.#blocks.push([key]);
      this.#bounds.push(key);
    }
  }

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): V | undefined {
    return this.#byKey.get(key);
  }

  /** `key` must be new. */
  insert(key: string, value: V): void {
    this.#byKey.set(key, value);
    const at = this.#blockOf(key);
    const block = this.#blocks[at]!;
    const last = block[block.length - 1];
    if (last === undefined || last < key) block.push(key);
    else block.splice(lowerBound(block, key), 0, key);
    if (block.length <= BLOCK) return;
    // Keys that only ever grow leave full blocks behind, others leave halves.
    const keep = at === this.#blocks.length - 1 && last !== undefined && last < key ? BLOCK : BLOCK / 2;
    const next = block.splice(keep);
    this.#blocks.splice(at + 1, 0, next);
    this.#bounds.splice(at, 0, next[0]!);
  }

  delete(key: string): void {
    if (!this.#byKey.delete(key)) return;
    const at = this.#blockOf(key);
    const block = this.#blocks[at]!;
    block.splice(lowerBound(block, key), 1);
    if (block.length > 0 || this.#blocks.length === 1) return;
    this.#blocks.splice(at, 1);
    this.#bounds.splice(Math.max(0, at - 1), 1);
  }

  /** At most `max` keys of [low, high), ascending. Fewer than `max` means that there are no more. */
  page(low: string, high: string, max: number): string[] {
    const keys: string[] = [];
    let at = this.#blockOf(low);
    let i = lowerBound(this.#blocks[at]!, low);
    for (; at < this.#blocks.length; at++, i = 0) {
      const block = this.#blocks[at]!;
      for (; i < block.length; i++) {
        const key = block[i]!;
        if (keys.length >= max || key >= high) return keys;
        keys.push(key);
      }
    }
    return keys;
  }

  /** The block where `key` is, or belongs. */
  #blockOf(key: string): number {
    const bounds = this.#bounds;
    let low = 0;
    let high = bounds.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (bounds[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** First place in `keys` that is not below `key`. */
function lowerBound(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
