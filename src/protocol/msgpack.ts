/**
 * Arrays of plain values as msgpack. What comes in is trusted with nothing: a scan first proves that the bytes are one
 * value made of arrays, numbers, texts, byte strings, booleans and nil, nested no deeper than a legal message. Maps,
 * records and extensions, which the library would otherwise decode, never reach it.
 */
import { Packr } from "msgpackr";
import { TXN_DEPTH_MAX } from "./requests.ts";

/** Each transaction takes two arrays. */
const ARRAY_DEPTH_MAX = 2 * TXN_DEPTH_MAX + 8;

const packr = new Packr({ useRecords: false });

/** Valid until the turn ends at least; keep a copy for longer. */
export function pack(fields: readonly unknown[]): Uint8Array {
  return packr.pack(fields);
}

/** The array whose bytes begin at `start` and end with the source. Byte strings are views of it. Throws `RangeError`. */
export function unpack(source: Uint8Array, start: number): readonly unknown[] {
  // A Buffer's slices are Buffers: keys and values shall be plain bytes, whoever made the frame.
  const plain =
    source.constructor === Uint8Array ? source : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  scan(plain, start);
  const fields: unknown = packr.unpack(plain, start === 0 ? undefined : { start });
  if (!Array.isArray(fields)) throw new RangeError("list expected");
  return fields;
}

/** Proves that exactly one value follows, made of nothing but what our encoders write. */
function scan(source: Uint8Array, start: number): void {
  const end = source.length;
  /** Values still to come in each array that is open, outermost first. */
  const open: number[] = [];
  let left = 1;
  let at = start;
  for (;;) {
    while (left === 0) {
      const outer = open.pop();
      if (outer === undefined) {
        if (at !== end) throw new RangeError("bytes after the end");
        return;
      }
      left = outer;
    }
    left -= 1;
    if (at >= end) throw new RangeError("ends too early");
    const token = source[at++]!;
    let length = 0;
    if (token < 0x80 || token >= 0xe0) continue;
    else if (token >= 0x90 && token < 0xa0) length = token & 0x0f;
    else if (token >= 0xa0 && token < 0xc0) {
      at += token & 0x1f;
      continue;
    } else {
      switch (token) {
        case 0xc0:
        case 0xc2:
        case 0xc3:
          continue;
        case 0xc4:
        case 0xd9:
          at += 1 + lengthAt(source, at, 1);
          continue;
        case 0xc5:
        case 0xda:
          at += 2 + lengthAt(source, at, 2);
          continue;
        case 0xc6:
        case 0xdb:
          at += 4 + lengthAt(source, at, 4);
          continue;
        case 0xcc:
        case 0xd0:
          at += 1;
          continue;
        case 0xcd:
        case 0xd1:
          at += 2;
          continue;
        case 0xce:
        case 0xd2:
          at += 4;
          continue;
        case 0xcb:
        case 0xcf:
        case 0xd3:
          at += 8;
          continue;
        case 0xdc:
          length = lengthAt(source, at, 2);
          at += 2;
          break;
        case 0xdd:
          length = lengthAt(source, at, 4);
          at += 4;
          break;
        default:
          throw new RangeError(`a value of type 0x${token.toString(16)} has no place here`);
      }
    }
    // Each element takes a byte at least: a short message cannot ask for a long array.
    if (length > end - at) throw new RangeError("ends too early");
    if (open.length >= ARRAY_DEPTH_MAX) throw new RangeError("nested too deeply");
    open.push(left);
    left = length;
  }
}

function lengthAt(source: Uint8Array, at: number, size: 1 | 2 | 4): number {
  if (at + size > source.length) throw new RangeError("ends too early");
  let length = 0;
  for (let i = 0; i < size; i++) length = length * 256 + source[at + i]!;
  return length;
}
