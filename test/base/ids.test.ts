import { describe, expect, test } from "vitest";
import {
  clusterId,
  compareIds,
  formatId,
  leaseId,
  logIndex,
  memberId,
  NO_LEASE,
  parseId,
  revision,
  term,
} from "../../src/base/ids.ts";

const U64_MAX = 0xffff_ffff_ffff_ffffn;

describe("counters", () => {
  test.each([
    ["term", term],
    ["logIndex", logIndex],
    ["revision", revision],
  ])("%s mints safe integers from 0 and nothing else", (_name, mint) => {
    for (const n of [0, 1, Number.MAX_SAFE_INTEGER]) expect(mint(n)).toBe(n);
    for (const n of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) expect(() => mint(n)).toThrow(RangeError);
  });
});

describe("identifiers", () => {
  test.each([
    ["memberId", memberId],
    ["clusterId", clusterId],
  ])("%s mints unsigned 64-bit numbers but 0, from numbers too", (_name, mint) => {
    for (const id of [1n, 1n << 63n, U64_MAX]) expect(mint(id)).toBe(id);
    expect(mint(5)).toBe(5n);
    for (const id of [0, 0n, -1n, U64_MAX + 1n]) expect(() => mint(id)).toThrow(RangeError);
  });

  test("a lease is signed 64 bit, 0 stands for none", () => {
    for (const id of [0n, 1n, -1n, (1n << 63n) - 1n, -(1n << 63n)]) expect(leaseId(id)).toBe(id);
    expect(leaseId(7)).toBe(7n);
    expect(NO_LEASE).toBe(0n);
    for (const id of [1n << 63n, -(1n << 63n) - 1n]) expect(() => leaseId(id)).toThrow(RangeError);
  });

  test("order is that of unsigned numbers", () => {
    expect([U64_MAX, 3n, 1n << 63n, 1n].sort(compareIds)).toEqual([1n, 3n, 1n << 63n, U64_MAX]);
    expect(compareIds(4n, 4n)).toBe(0);
  });

  test("text is etcdctl's: hexadecimal without padding, and back", () => {
    for (const [id, text] of [
      [1n, "1"],
      [0x8e9e05c52164694dn, "8e9e05c52164694d"],
      [U64_MAX, "ffffffffffffffff"],
    ] as const) {
      expect(formatId(id)).toBe(text);
      expect(parseId(text)).toBe(id);
      expect(parseId(`0x${text}`)).toBe(id);
    }
    // A negative lease as etcd prints it.
    expect(formatId(-1n)).toBe("ffffffffffffffff");
    expect(parseId("8E9E05C52164694D")).toBe(0x8e9e05c52164694dn);
    for (const text of ["", "0x", "g", "12345678123456789", "-1", " 1", "1n", "1 "])
      expect(parseId(text)).toBeUndefined();
  });
});
