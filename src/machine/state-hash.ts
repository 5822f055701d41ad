/**
 * The chained hash of everything replicated. Equal on all members at equal applied index, whatever each has compacted
 * or restarted meanwhile. It finds divergence; it is no defence against somebody who wants two states to look alike.
 */
import { viewOf } from "../base/bytes.ts";

/** Two MurmurHash3 lanes with constants of their own; each word goes into both. About 1 ns a byte. */
export class StateHash {
  #a: number;
  #b: number;

  constructor(a = 0, b = 0) {
    this.#a = a | 0;
    this.#b = b | 0;
  }

  get a(): number {
    return this.#a >>> 0;
  }

  get b(): number {
    return this.#b >>> 0;
  }

  /** 16 hexadecimal digits. */
  toString(): string {
    return this.a.toString(16).padStart(8, "0") + this.b.toString(16).padStart(8, "0");
  }

  word(word: number): void {
    let k = Math.imul(word, 0xcc9e2d51);
    k = (k << 15) | (k >>> 17);
    let a = this.#a ^ Math.imul(k, 0x1b873593);
    a = (a << 13) | (a >>> 19);
    this.#a = (Math.imul(a, 5) + 0xe6546b64) | 0;
    k = Math.imul(word ^ this.#a, 0x85ebca6b);
    k = (k << 16) | (k >>> 16);
    let b = this.#b ^ Math.imul(k, 0xc2b2ae35);
    b = (b << 11) | (b >>> 21);
    this.#b = (Math.imul(b, 5) + 0x561ccd1b) | 0;
  }

  /** Any safe integer, negative too. */
  number(value: number): void {
    this.word(Math.floor(value / 0x1_0000_0000) | 0);
    this.word(value >>> 0);
  }

  /** Those from `from` on. Their number goes in first, so that no two sequences of byte strings look alike. */
  bytes(bytes: Uint8Array, from: number = 0): void {
    const length = bytes.length - from;
    this.word(length);
    const whole = from + (length & ~3);
    const view = viewOf(bytes);
    let i = from;
    for (; i < whole; i += 4) this.word(view.getInt32(i, true));
    let rest = 0;
    for (let shift = 0; i < bytes.length; i++, shift += 8) rest |= bytes[i]! << shift;
    if (whole < bytes.length) this.word(rest);
  }
}
