/**
 * Bytes laid out by hand: what the hot path writes and reads pays for no generic decoding. Integers are big endian,
 * lengths 4 bytes. Reading trusts nothing: what does not fit throws a `RangeError`, and nothing is allocated for a count
 * before the bytes that it takes at least are there.
 */
import { decodeUtf8, get32, put32 } from "./bytes.ts";
import { type LeaseId, leaseId, type MemberId, memberId } from "./ids.ts";

/** Where ids become bytes and back: a view of each array that is read or written would cost more than all its numbers. */
const id = new DataView(new ArrayBuffer(8));

/** Fills bytes that are as many as will be written. */
export class Writer {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  u8(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  flag(value: boolean): void {
    this.#bytes[this.#at++] = value ? 1 : 0;
  }

  u16(value: number): void {
    this.#bytes[this.#at++] = value >>> 8;
    this.#bytes[this.#at++] = value;
  }

  u32(value: number): void {
    put32(this.#bytes, this.#at, value);
    this.#at += 4;
  }

  u64(value: bigint): void {
    id.setBigUint64(0, value);
    this.u32(id.getUint32(0));
    this.u32(id.getUint32(4));
  }

  i64(value: bigint): void {
    id.setBigInt64(0, value);
    this.u32(id.getUint32(0));
    this.u32(id.getUint32(4));
  }

  counter(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a counter: ${value}`);
    this.u32(Math.floor(value / 0x1_0000_0000));
    this.u32(value);
  }

  /** A signed one: a caller may ask for a negative revision. */
  integer(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`not an integer: ${value}`);
    this.u32(Math.floor(value / 0x1_0000_0000));
    this.u32(value);
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
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
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
    const at = this.#take(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  u32(): number {
    return get32(this.#bytes, this.#take(4));
  }

  counter(): number {
    const at = this.#take(8);
    const high = get32(this.#bytes, at);
    if (high > 0x1f_ffff) throw new RangeError("counter above 2^53 - 1");
    return high * 0x1_0000_0000 + get32(this.#bytes, at + 4);
  }

  integer(): number {
    const at = this.#take(8);
    const value = (get32(this.#bytes, at) | 0) * 0x1_0000_0000 + get32(this.#bytes, at + 4);
    if (!Number.isSafeInteger(value)) throw new RangeError("integer beyond 2^53 - 1");
    return value;
  }

  lease(): LeaseId {
    this.#takeId();
    return leaseId(id.getBigInt64(0));
  }

  member(): MemberId {
    this.#takeId();
    return memberId(id.getBigUint64(0));
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

  #takeId(): void {
    id.setUint32(0, this.u32());
    id.setUint32(4, this.u32());
  }

  #take(size: number): number {
    const at = this.#at;
    if (size > this.left) throw new RangeError(`truncated: ${size} bytes wanted, ${this.left} left`);
    this.#at = at + size;
    return at;
  }
}
