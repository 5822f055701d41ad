/** The digest against Node's own, however the bytes are cut. */
import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { Sha256 } from "../../src/base/sha256.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();
const expected = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("Sha256", () => {
  test.each([0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 100_000])("%i bytes", (length) => {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) & 0xff);
    expect(toHex(new Sha256().update(bytes).digest())).toBe(expected(bytes));
  });

  test(`any bytes in any pieces (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 150 }), { maxLength: 8 }), (pieces) => {
        const hash = new Sha256();
        for (const piece of pieces) hash.update(piece);
        expect(toHex(hash.digest())).toBe(expected(Buffer.concat(pieces)));
      }),
      { seed },
    );
  });
});
