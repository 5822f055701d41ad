import { crc32 as zlibCrc32 } from "node:zlib";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { crc32 } from "../../src/base/crc32.ts";
import { silent } from "../../src/platform/log.ts";
import { nodeChecksum } from "../../src/platform/node/checksum.ts";
import { NodeRandom } from "../../src/platform/node/random.ts";
import { nodeWorld } from "../../src/platform/node/world.ts";

describe("NodeRandom", () => {
  test("numbers lie in [0, 1) and use the whole of it", () => {
    const random = new NodeRandom();
    let low = 0;
    for (let i = 0; i < 10_000; i++) {
      const n = random.next();
      expect(n >= 0 && n < 1).toBe(true);
      if (n < 0.5) low++;
    }
    // Chance of a false alarm: one in 10^20.
    expect(low).toBeGreaterThan(4_500);
    expect(low).toBeLessThan(5_500);
  });

  test("bytes are handed out once, over the pool's end, and belong to the caller", () => {
    const random = new NodeRandom();
    const seen = new Set<string>();
    const kept: Uint8Array[] = [];
    for (const length of [16, 16, 1024, 1025, 5000, 16, 999, 999, 999, 999, 999, 16]) {
      const bytes = random.bytes(length);
      expect(bytes.length).toBe(length);
      expect(bytes.constructor).toBe(Uint8Array);
      kept.push(bytes);
      seen.add(toHex(bytes));
    }
    expect(seen.size).toBe(12);
    const before = toHex(kept[1]!);
    kept[0]!.fill(0);
    for (let i = 0; i < 300; i++) random.bytes(16).fill(0);
    expect(toHex(kept[1]!)).toBe(before);
    expect(random.bytes(0).length).toBe(0);
  });
});

describe("the machine's world", () => {
  test("checksums are those of pure code", () => {
    const bytes = Uint8Array.from({ length: 300 }, (_, i) => i * 7);
    expect(nodeChecksum(bytes)).toBe(crc32(bytes));
    expect(nodeChecksum(bytes.subarray(9), nodeChecksum(bytes.subarray(0, 9)))).toBe(zlibCrc32(bytes));
  });

  test("hmac is HMAC-SHA-256 (RFC 4231, case 2)", () => {
    const world = nodeWorld({ dir: "unused" });
    const tag = world.hmac(Buffer.from("Jefe"), Buffer.from("what do ya want for nothing?"));
    expect(toHex(tag)).toBe("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    expect(world.log).toBe(silent);
  });
});
