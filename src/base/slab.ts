/**
 * Small arrays of bytes cut from larger ones: an allocation of its own outside the heap for each record costs more than
 * all else that is done with it. What is cut keeps its whole slab alive, so it is for bytes that live about as long as
 * those cut before and after them; whoever keeps one of them for longer copies it.
 */

const SLAB_BYTES = 64 << 10;
/** Larger arrays stand alone: the rest of a slab is not thrown away for them. */
const CUT_BYTES_MAX: number = SLAB_BYTES / 16;

export class Slab {
  #bytes = new ArrayBuffer(0);
  #at = 0;

  /** Zeros, of nobody else. */
  cut(size: number): Uint8Array {
    if (size > CUT_BYTES_MAX) return new Uint8Array(size);
    if (this.#at + size > this.#bytes.byteLength) {
      this.#bytes = new ArrayBuffer(SLAB_BYTES);
      this.#at = 0;
    }
    const cut = new Uint8Array(this.#bytes, this.#at, size);
    this.#at += size;
    return cut;
  }
}
