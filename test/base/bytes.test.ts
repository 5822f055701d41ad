import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareBytes,
  concatBytes,
  decodeUtf8,
  EMPTY,
  encodeUtf8,
  equalBytes,
  fromByteString,
  readCounter,
  toByteString,
  toBytes,
  toHex,
  viewOf,
  writeCounter,
} from "../../src/base/bytes.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const bytes = fc.uint8Array({ maxLength: 40 });

describe(`bytes (seed ${seed})`, () => {
  test("compare as Node's Buffer does", () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.compare(a, b));
        expect(equalBytes(a, b)).toBe(Buffer.compare(a, b) === 0);
        expect(compareBytes(a, a.slice())).toBe(0);
      }),
      { seed },
    );
    expect(compareBytes(Uint8Array.of(1), Uint8Array.of(1, 0))).toBeLessThan(0);
    expect(compareBytes(Uint8Array.of(0x80), Uint8Array.of(0x7f))).toBeGreaterThan(0);
  });

  test("byte strings are the same bytes, in the same order, at any length", () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        expect(fromByteString(toByteString(a))).toEqual(a);
        const [x, y] = [toByteString(a), toByteString(b)];
        expect(x < y ? -1 : x > y ? 1 : 0).toBe(Math.sign(compareBytes(a, b)));
      }),
      { seed },
    );
    const long = Uint8Array.from({ length: 10_000 }, (_, i) => i * 31);
    expect(fromByteString(toByteString(long))).toEqual(long);
  });

  test("concatenate", () => {
    fc.assert(
      fc.property(fc.array(bytes), (parts) => {
        expect(Buffer.from(concatBytes(parts)).equals(Buffer.concat(parts))).toBe(true);
      }),
      { seed },
    );
    expect(concatBytes([])).toEqual(EMPTY);
  });

  test("text is UTF-8, hexadecimal is lower case", () => {
    expect(toHex(encodeUtf8("aé€"))).toBe("61c3a9e282ac");
    expect(decodeUtf8(encodeUtf8("aé€😀"))).toBe("aé€😀");
    expect(toHex(Uint8Array.of(0, 15, 16, 255))).toBe("000f10ff");
  });

  test("a caller's bytes are copied, its text encoded", () => {
    const given = Uint8Array.of(1, 2);
    const taken = toBytes(given);
    given[0] = 9;
    expect(taken).toEqual(Uint8Array.of(1, 2));
    expect(toBytes("é")).toEqual(Uint8Array.of(0xc3, 0xa9));
  });

  test("counters are unsigned, 64 bit, big endian, and refused above 2^53 - 1", () => {
    const place = new Uint8Array(10);
    fc.assert(
      fc.property(fc.maxSafeNat(), (n) => {
        writeCounter(viewOf(place), 1, n);
        expect(readCounter(viewOf(place), 1)).toBe(n);
        expect(viewOf(place).getBigUint64(1)).toBe(BigInt(n));
      }),
      { seed, examples: [[0], [2 ** 32 - 1], [2 ** 32], [Number.MAX_SAFE_INTEGER]] },
    );
    viewOf(place).setBigUint64(0, 1n << 53n);
    expect(() => readCounter(viewOf(place), 0)).toThrow(RangeError);
    expect(() => readCounter(viewOf(place), 5)).toThrow(RangeError);
  });

  test("a view sees only its own bytes", () => {
    const view = viewOf(Uint8Array.of(1, 2, 3, 4).subarray(1, 3));
    expect([view.byteLength, view.getUint8(0), view.getUint8(1)]).toEqual([2, 2, 3]);
  });
});
