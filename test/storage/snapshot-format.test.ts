import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import type { DatabaseSnapshot } from "../../src/platform/disk.ts";
import { CHUNK_BYTES, decodeChunk, streamOf } from "../../src/storage/snapshot-format.ts";
import { sealRecord } from "../../src/storage/state-record.ts";
import { testSeed } from "../support/seed.ts";
import { checksum } from "../support/storage.ts";

const seed = testSeed();

function snapshotOf(records: readonly (readonly [Uint8Array, Uint8Array])[]): DatabaseSnapshot {
  return {
    iterate() {
      let at = 0;
      return {
        next: async (count) => records.slice(at, (at += count)),
        close: async () => {},
      };
    },
    close: async () => {},
  };
}

async function chunksOf(records: readonly (readonly [Uint8Array, Uint8Array])[], session = 6): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of streamOf(snapshotOf(records), "state-1", session, checksum)) chunks.push(chunk);
  return chunks;
}

const record = (key: Uint8Array, payload: Uint8Array): readonly [Uint8Array, Uint8Array] => [
  key,
  sealRecord(key, payload, checksum),
];

describe("a snapshot's stream", () => {
  test("golden bytes", async () => {
    const chunks = await chunksOf([record(Uint8Array.of(2, 1), Uint8Array.of(0xab))]);
    expect(chunks.map(toHex)).toEqual([
      // checksum, version, kind, reserved, session, offset | lengths of key and value, key, value: checksum and payload
      "780b8878" +
        "01000000" +
        "0000000000000006" +
        "0000000000000000" +
        "00000002" +
        "00000005" +
        "0201" +
        "a4da465dab",
      "a5575fea" + "01010000" + "0000000000000006" + "000000000000000f" + "d9839930",
    ]);
  });

  test(`chunks say their session and place, hold at most 64 KiB, and add up (seed ${seed})`, async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 20 }), fc.nat(150_000)), { maxLength: 8 }),
        fc.nat(),
        async (sizes, session) => {
          const records = sizes.map(([key, size]) => record(key, new Uint8Array(size).fill(size)));
          const chunks = await chunksOf(records, session);
          const whole: Uint8Array[] = [];
          let offset = 0;
          for (const [i, bytes] of chunks.entries()) {
            expect(bytes.length).toBeLessThanOrEqual(CHUNK_BYTES);
            const chunk = decodeChunk(bytes, checksum);
            expect(chunk.session).toBe(session);
            if (i === chunks.length - 1) {
              expect(chunk).toMatchObject({ kind: "end", length: offset, crc: checksum(Buffer.concat(whole)) });
            } else {
              if (chunk.kind !== "data") throw new Error(chunk.kind);
              expect(chunk.offset).toBe(offset);
              offset += chunk.bytes.length;
              whole.push(chunk.bytes);
            }
          }
          const expected = records.flatMap(([key, stored]) => {
            const head = Buffer.alloc(8);
            head.writeUInt32BE(key.length);
            head.writeUInt32BE(stored.length, 4);
            return [head, key, stored];
          });
          expect(Buffer.concat(whole).equals(Buffer.concat(expected))).toBe(true);
        },
      ),
      { seed, numRuns: 30 },
    );
  });

  test("damage does not travel", async () => {
    const [key, stored] = record(Uint8Array.of(2, 1), Uint8Array.of(1, 2, 3));
    stored[5]! ^= 1;
    await expect(chunksOf([[key, stored]])).rejects.toMatchObject({ code: "STATE_CORRUPT" });
  });

  test("each flipped bit and each length but its own is refused", async () => {
    for (const bytes of await chunksOf([record(Uint8Array.of(2, 1), Uint8Array.of(0xab))])) {
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const wrong = bytes.slice();
        wrong[bit >> 3]! ^= 1 << (bit & 7);
        expect(() => decodeChunk(wrong, checksum)).toThrow(expect.objectContaining({ code: "INVALID_REQUEST" }));
      }
      for (let length = 0; length < bytes.length; length++) {
        expect(() => decodeChunk(bytes.subarray(0, length), checksum)).toThrow(
          expect.objectContaining({ code: "INVALID_REQUEST" }),
        );
      }
    }
  });

  test(`random bytes with a checksum that fits are refused by name or read (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 24, maxLength: 60 }), (bytes) => {
        new DataView(bytes.buffer, bytes.byteOffset).setUint32(0, checksum(bytes.subarray(4)));
        try {
          expect(["data", "end"]).toContain(decodeChunk(bytes, checksum).kind);
        } catch (error) {
          expect(["INVALID_REQUEST", "FORMAT_TOO_NEW"]).toContain((error as { code?: string }).code);
        }
      }),
      { seed, numRuns: 1_000 },
    );
  });
});
