/** The bytes of a snapshot file, and reading them in any pieces. Damage: test/node/snapshot.test.ts. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { leaseId } from "../../src/base/ids.ts";
import { inspectSnapshot, readSnapshotFile } from "../../src/storage/snapshot-file.ts";
import { testSeed } from "../support/seed.ts";
import { snapshotFileOf } from "../support/snapshot.ts";
import { bytes } from "../support/state.ts";
import { checksum } from "../support/storage.ts";

const seed = testSeed();

async function* inPieces(file: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0, i = 0; at < file.length; i++) {
    const size = sizes[i % sizes.length]!;
    // Memory that is used again, as a reader of files may do.
    const piece = file.slice(at, at + size);
    yield piece;
    piece.fill(0xee);
    at += size;
  }
}

describe("a snapshot file", () => {
  test("golden bytes", async () => {
    const file = await snapshotFileOf((member) => void member.apply({ kind: "leaseGrant", id: leaseId(5n), ttl: 60 }));
    const hex = toHex(file);
    // magic | frame: version, cluster, member, index, term, revision, compact revision + 1, release
    const head =
      "51534e41500d0a1a" +
      `00000036${"01"}${"00000000000000c1"}${"00000000000000a1"}` +
      `${"0000000000000001"}${"0000000000000001"}${"0000000000000001"}${"0000000000000000"}${Buffer.from("0.0.1").toString("hex")}`;
    expect(hex.slice(0, head.length)).toBe(head);
    // The last chunk, which says how long the others are together, and the digest.
    expect(hex.slice(-128, -64)).toMatch(/^0000001c[0-9a-f]{8}010100000{16}[0-9a-f]{24}$/);
    await expect(inspectSnapshot(inPieces(file, [7]), checksum)).resolves.toMatchObject({
      ...{ revision: 1, compactRevision: -1, index: 1, term: 1, serverVersion: "0.0.1", bytes: file.length },
      records: 2,
    });
  });

  test(`is read alike in any pieces (seed ${seed})`, async () => {
    const file = await snapshotFileOf((member) => {
      for (let i = 0; i < 5; i++)
        member.ask({ kind: "put", key: bytes(`k${i}`), value: bytes("v".repeat(30_000 * i)) });
    });
    const read = async (sizes: readonly number[]): Promise<[string[], unknown]> => {
      const reading = readSnapshotFile(inPieces(file, sizes), checksum);
      const keys: string[] = [];
      for (;;) {
        const next = await reading.next();
        if (next.done === true) return [keys, next.value];
        keys.push(...next.value.map(([key, stored]) => `${toHex(key)} ${checksum(stored)}`));
      }
    };
    const whole = await read([file.length]);
    expect(whole[0]).toHaveLength(6);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 500, max: 90_000 }), { minLength: 1, maxLength: 5 }),
        async (sizes) => {
          expect(await read(sizes)).toEqual(whole);
        },
      ),
      { seed, numRuns: 20 },
    );
  });
});
