/**
 * Bytes laid out by hand: what the hot path writes and reads pays for no generic decoding. Integers are big endian,
 * lengths 4 bytes. Reading trusts nothing: what does not fit throws a `RangeError`, and nothing is allocated for a count
 * before the bytes that it takes at least are there.
 */
import { decodeUtf8, readCounter, viewOf, writeCounter } from "./bytes.ts";
import { type LeaseId, leaseId, type MemberId, memberId } from "./ids.ts";

/** Fills bytes that are as many as will be written. */
export class Writer {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  u8(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  flag(value: boolean): void {
    this.#bytes[this.#at++] = value ? 1 : 0;
  }

  u16(value: number): void {
    this.#view.setUint16(this.#at, value);
    this.#at += 2;
  }

  u32(value: number): void {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }

  u64(value: bigint): void {
    this.#view.setBigUint64(this.#at, value);
    this.#at += 8;
  }

  i64(value: bigint): void {
    this.#view.setBigInt64(this.#at, value);
    this.#at += 8;
  }

  counter(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a counter: ${value}`);
    writeCounter(this.#view, this.#at, value);
    this.#at += 8;
  }

  /** A signed one: a caller may ask for a negative revision. */
  integer(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
    this.#view.setInt32(this.#at, Math.floor(value / 0x1_0000_0000));
    this.#view.setUint32(this.#at + 4, value >>> 0);
    this.#at += 8;
  }

  /** One byte: the place in the list. */
  choice<T>(choices: readonly T[], value: T): void {
    const at = choices.indexOf(value);
    if (at < 0) throw new RangeError(`not a choice: ${String(value)}`);
    this.u8(at);
  }

  bytes(value: Uint8Array): void {
    this.u32(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
  }

  finish(): Uint8Array {
    if (this.#at !== this.#bytes.length) throw new RangeError(`wrote ${this.#at} of ${this.#bytes.length} bytes`);
    return this.#bytes;
  }
}

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  flag(): boolean {
    return this.flags(1) === 1;
  }

  flags(known: number): number {
    const flags = this.u8();
    if (flags & ~known) throw new RangeError(`unknown flags: ${flags}`);
    return flags;
  }

  choice<T>(choices: readonly T[], what: string): T {
    const at = this.u8();
    const value = choices[at];
    if (value === undefined) throw new RangeError(`unknown ${what}: ${at}`);
    return value;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  counter(): number {
    return readCounter(this.#view, this.#take(8));
  }

  integer(): number {
    const at = this.#take(8);
    const value = this.#view.getInt32(at) * 0x1_0000_0000 + this.#view.getUint32(at + 4);
    if (!Number.isSafeInteger(value)) throw new RangeError("integer beyond 2^53 - 1");
    return value;
  }

  lease(): LeaseId {
    return leaseId(this.#view.getBigInt64(this.#take(8)));
  }

  member(): MemberId {
    return memberId(this.#view.getBigUint64(this.#take(8)));
  }

  /** Of items that take so many bytes each, at least. */
  count(itemBytes: number): number {
    const count = this.u32();
    if (count * itemBytes > this.left) throw new RangeError(`${count} items in ${this.left} bytes`);
    return count;
  }

  /** A view: whoever keeps it owns what is read. */
  bytes(): Uint8Array {
    const length = this.u32();
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  texts(): string[] {
    const texts: string[] = [];
    for (let left = this.count(4); left > 0; left--) texts.push(decodeUtf8(this.bytes()));
    return texts;
  }

  end(): void {
    if (this.left > 0) throw new RangeError(`${this.left} bytes too many`);
  }

  #take(size: number): number {
    const at = this.#at;
    if (size > this.left) throw new RangeError(`truncated: ${size} bytes wanted, ${this.left} left`);
    this.#at = at + size;
    return at;
  }
}
