/** F1: what was sent to one follower and not acknowledged yet, bounded in messages and bytes. A ring that grows. */

export class Inflights {
  readonly #countMax: number;
  readonly #bytesMax: number;
  #last: number[] = [];
  #size: number[] = [];
  #head = 0;
  #count = 0;
  #bytes = 0;

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The byte bound is soft by one message. */
  get full(): boolean {
    return this.#count >= this.#countMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: number, bytes: number): void {
    if (this.#count === this.#last.length) this.#grow();
    const at = (this.#head + this.#count) % this.#last.length;
    this.#last[at] = lastIndex;
    this.#size[at] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Frees every message that ends at or below `index`. */
  freeTo(index: number): void {
    while (this.#count > 0 && this.#last[this.#head]! <= index) {
      this.#bytes -= this.#size[this.#head]!;
      this.#head = (this.#head + 1) % this.#last.length;
      this.#count -= 1;
    }
  }

  clear(): void {
    this.#head = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  #grow(): void {
    const size = Math.max(8, this.#last.length * 2);
    const last = new Array<number>(size).fill(0);
    const bytes = new Array<number>(size).fill(0);
    for (let i = 0; i < this.#count; i++) {
      const at = (this.#head + i) % this.#last.length;
      last[i] = this.#last[at]!;
      bytes[i] = this.#size[at]!;
    }
    this.#last = last;
    this.#size = bytes;
    this.#head = 0;
  }
}
