/**
 * Small arrays of bytes cut from larger ones: an allocation of its own outside the heap for each record costs more than
 * all else that is done with it. What is cut keeps its whole slab alive, so it is for bytes that live about as long as
 * those cut before and after them; whoever keeps one of them for longer copies it.
 */

const SLAB_BYTES = 64 << 10;

let keepHere: (buffer: ArrayBuffer) => void = () => {};

/**
 * What is done with each new slab. Where a program can send a buffer away to another thread, this must keep slabs from
 * that: who sends its own bytes would take those of everybody else on the same slab with them.
 */
export function keepSlabsBy(keep: (buffer: ArrayBuffer) => void): void {
  keepHere = keep;
}

export class Slab {
  readonly #size: number;
  #bytes = new ArrayBuffer(0);
  #at = 0;

  constructor(size: number = SLAB_BYTES) {
    this.#size = size;
  }

  /** Zeros, of nobody else. */
  cut(size: number): Uint8Array {
    // Larger arrays stand alone: the rest of a slab is not thrown away for them.
    if (size > this.#size / 16) return new Uint8Array(size);
    // One that was sent away nonetheless has no length any more.
    if (this.#at + size > this.#bytes.byteLength) {
      this.#bytes = new ArrayBuffer(this.#size);
      keepHere(this.#bytes);
      this.#at = 0;
    }
    const cut = new Uint8Array(this.#bytes, this.#at, size);
    this.#at += size;
    return cut;
  }
}
