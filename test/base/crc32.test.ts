import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { crc32, crc32c } from "../../src/base/crc32.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const bytes = fc.uint8Array({ maxLength: 70 });

/** Bit by bit, from the definition. */
function slow(polynomial: number, data: Uint8Array): number {
  let c = 0xffff_ffff;
  for (const byte of data) {
    c ^= byte;
    for (let k = 0; k < 8; k++) c = c & 1 ? polynomial ^ (c >>> 1) : c >>> 1;
  }
  return ~c >>> 0;
}

describe(`CRC-32 (seed ${seed})`, () => {
  test("check values of both polynomials", () => {
    const check = encodeUtf8("123456789");
    expect(crc32(check)).toBe(0xcbf43926);
    expect(crc32c(check)).toBe(0xe3069283);
    // RFC 3720, appendix B.4.
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect([crc32(new Uint8Array(0)), crc32c(new Uint8Array(0))]).toEqual([0, 0]);
  });

  test("equals zlib's and the definition's", () => {
    fc.assert(
      fc.property(bytes, fc.nat(12), (data, skipped) => {
        const some = data.subarray(Math.min(skipped, data.length));
        expect(crc32(some)).toBe(zlibCrc32(some));
        expect(crc32c(some)).toBe(slow(0x82f63b78, some));
      }),
      { seed },
    );
  });

  test("chains", () => {
    fc.assert(
      fc.property(bytes, bytes, (a, b) => {
        const whole = Uint8Array.from([...a, ...b]);
        expect(crc32(b, crc32(a))).toBe(crc32(whole));
        expect(crc32c(b, crc32c(a))).toBe(crc32c(whole));
      }),
      { seed },
    );
  });
});
