/** Bytes: compare, concatenate, convert. Nothing of Node, so that the client also runs in a browser. */
import { Slab } from "./slab.ts";

export const EMPTY: Uint8Array = new Uint8Array(0);

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Longest text that a loop turns into bytes sooner than a call of the encoder does (0.2 against 0.8 µs for 18 letters). */
const SHORT = 64;

export function encodeUtf8(text: string): Uint8Array {
  return (text.length <= SHORT ? asciiBytes(text) : undefined) ?? encoder.encode(text);
}

/** `undefined`: not all of it is ASCII. */
function asciiBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) return undefined;
    bytes[i] = code;
  }
  return bytes;
}

export function decodeUtf8(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** A caller's key or value as bytes. Bytes given by the caller are copied: what it does to them later is its own. */
export function toBytes(value: string | Uint8Array): Uint8Array {
  return typeof value === "string" ? encodeUtf8(value) : copyBytes(value);
}

/** Of the size of Node's own: what an embedding program keeps of an answer keeps no more than that alive. */
const copies = new Slab(8 << 10);

/** A copy of `bytes` from `start` on: a view that nobody else has, of a buffer that other copies may share. */
export function copyBytes(bytes: Uint8Array, start: number = 0): Uint8Array {
  const copy = copies.cut(bytes.length - start);
  copy.set(start === 0 ? bytes : bytes.subarray(start));
  return copy;
}

/** Unsigned, byte by byte: etcd's key order. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const shared = Math.min(a.length, b.length);
  for (let i = 0; i < shared; i++) {
    const difference = a[i]! - b[i]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** From as many bytes on, handing each to `String.fromCharCode` costs more than a call out of JavaScript. */
const LONG_BYTES = 64;

let longByteString = (bytes: Uint8Array): string => {
  let text = "";
  // 4,096 arguments at a time: within every engine's limit.
  for (let at = 0; at < bytes.length; at += 4096) {
    text += Reflect.apply(String.fromCharCode, undefined, bytes.subarray(at, at + 4096));
  }
  return text;
};

/** Where the platform makes byte strings itself: of 256 bytes, which are checked by load, in a sixth of the time. */
export function longByteStringsBy(make: (bytes: Uint8Array) => string): void {
  longByteString = make;
}

/**
 * A byte string: one character per byte, character code = byte. `<` on byte strings sorts as bytes do, and a Map finds
 * one in a tenth of what a comparison of arrays costs (design, section 2). Only `kv` keeps keys in this form.
 */
export function toByteString(bytes: Uint8Array): string {
  // Without a view of the view: three keys are converted for each put.
  return bytes.length < LONG_BYTES ? Reflect.apply(String.fromCharCode, undefined, bytes) : longByteString(bytes);
}

export function fromByteString(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** Reads an unsigned 64-bit counter, big endian. Throws `RangeError` above 2^53 - 1: no counter of ours gets there. */
export function readCounter(view: DataView, at: number): number {
  const high = view.getUint32(at);
  if (high > 0x1f_ffff) throw new RangeError("counter above 2^53 - 1");
  return high * 0x1_0000_0000 + view.getUint32(at + 4);
}

export function writeCounter(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / 0x1_0000_0000));
  view.setUint32(at + 4, value >>> 0);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Big endian, without a view: an object for each record would be garbage. */
export function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function get32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
