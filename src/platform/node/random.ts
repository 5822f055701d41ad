/** Chance from the operating system, drawn in advance: a call per number would cost a system call each. */
import { randomBytes } from "node:crypto";
import type { Random } from "../random.ts";

const POOL_BYTES = 4096;

export class NodeRandom implements Random {
  #pool: Uint8Array = new Uint8Array(0);
  #at = 0;

  next(): number {
    const bytes = this.#take(4);
    return (((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0) / 0x1_0000_0000;
  }

  bytes(length: number): Uint8Array {
    return length > POOL_BYTES / 4 ? new Uint8Array(randomBytes(length)) : this.#take(length).slice();
  }

  /** A view of bytes that are handed out once. */
  #take(length: number): Uint8Array {
    if (this.#at + length > this.#pool.length) {
      this.#pool = randomBytes(POOL_BYTES);
      this.#at = 0;
    }
    this.#at += length;
    // `Buffer.slice` would share the pool: what leaves is a plain array's view.
    return new Uint8Array(this.#pool.buffer, this.#pool.byteOffset + this.#at - length, length);
  }
}
