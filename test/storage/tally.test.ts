import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../src/base/bytes.ts";
import { sealRecord } from "../../src/storage/state-record.ts";
import { Tally } from "../../src/storage/tally.ts";
import { testSeed } from "../support/seed.ts";
import { checksum, revisionKey } from "../support/storage.ts";

const seed = testSeed();

function encoded(tally: Tally): Uint8Array {
  const bytes = new Uint8Array(3 + tally.encodedBytes);
  tally.encodeInto(bytes, 3);
  return bytes;
}

const lease = (id: number, value: number): readonly [Uint8Array, Uint8Array] => {
  const key = Uint8Array.of(2, id);
  return [key, sealRecord(key, Uint8Array.of(value), checksum)];
};
const revision = (main: number, sub = 0): readonly [Uint8Array, Uint8Array] => {
  const key = revisionKey(main, sub);
  return [key, sealRecord(key, Uint8Array.of(main & 255), checksum)];
};

function tallyOf(records: readonly (readonly [Uint8Array, Uint8Array])[]): Tally {
  const tally = new Tally();
  for (const [key, stored] of records) tally.add(key, stored);
  return tally;
}

describe("Tally", () => {
  test("golden bytes: highest revision, spaces with counts and sums", () => {
    const tally = tallyOf([revision(5, 1), lease(1, 9)]);
    tally.rise(revisionKey(5, 1));
    const sum = new DataView(lease(1, 9)[1].buffer).getUint32(0).toString(16).padStart(16, "0");
    expect(toHex(encoded(tally).subarray(3))).toBe(
      `${"0000000000000005"}${"00000001"}02${"01"}${"0000000000000001"}${"0000000000000006"}02${"0000000000000001"}${sum}`,
    );
  });

  test("only what lies above every revision ever written is new", () => {
    const tally = new Tally();
    expect(tally.rise(revisionKey(0, 0))).toBe(true);
    expect(tally.rise(revisionKey(4, 1))).toBe(true);
    expect(tally.rise(revisionKey(4, 1))).toBe(false);
    expect(tally.rise(revisionKey(4, 0))).toBe(false);
    expect(tally.rise(revisionKey(3, 9))).toBe(false);
    expect(tally.rise(revisionKey(4, 2))).toBe(true);
    expect(tally.clone().rise(revisionKey(4, 2))).toBe(false);
    expect(() => tally.rise(Uint8Array.of(1, 2))).toThrow(RangeError);
  });

  test("says what differs", () => {
    const records = [revision(1), revision(2), lease(1, 1), lease(2, 2)];
    const tally = tallyOf(records);
    expect(tally.differs(tallyOf([...records].reverse()))).toBeUndefined();
    expect(tally.differs(tallyOf(records.slice(1)))).toMatch(/space 1 should hold 2 records and holds 1/);
    expect(tallyOf(records.slice(2)).differs(tally)).toMatch(/space 1 should hold 0 records and holds 2/);
    expect(tally.differs(tallyOf([revision(1), revision(3), ...records.slice(2)]))).toMatch(/not the ones/);
    expect(tally.differs(tallyOf([...records.slice(0, 3), lease(2, 3)]))).toMatch(/not the ones/);
  });

  test(`counts as the set of records does, through bytes too (seed ${seed})`, () => {
    const operation = fc.tuple(fc.nat(5), fc.nat(3), fc.boolean(), fc.boolean());
    fc.assert(
      fc.property(fc.array(operation), (operations) => {
        const held = new Map<string, readonly [Uint8Array, Uint8Array]>();
        let tally = new Tally();
        for (const [id, value, isRevision, removes] of operations) {
          const [key, stored] = isRevision ? revision(id, value) : lease(id, value);
          const old = held.get(toHex(key));
          if (old !== undefined) tally.subtract(...old);
          held.delete(toHex(key));
          if (!removes) {
            tally.add(key, stored);
            held.set(toHex(key), [key, stored]);
          }
          tally = Tally.decode(encoded(tally.clone()), 3);
        }
        expect(tally.differs(tallyOf([...held.values()]))).toBeUndefined();
        // Nothing is left of a space that is empty: equal contents have equal bytes.
        expect(toHex(encoded(tally))).toBe(toHex(encoded(tallyOf([...held.values()]))));
      }),
      { seed },
    );
  });

  test(`random bytes are refused or read, and bytes too many or too few refused (seed ${seed})`, () => {
    const bytes = encoded(tallyOf([revision(1), lease(1, 1)]));
    expect(() => Tally.decode(Uint8Array.from([...bytes, 0]), 3)).toThrow(RangeError);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => Tally.decode(bytes.subarray(0, length), 3)).toThrow(RangeError);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (random) => {
        try {
          Tally.decode(random, 0);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { seed },
    );
  });
});
