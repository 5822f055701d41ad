import { expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { keyArguments, prefixEnd } from "../../src/cli/range.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test.each([
  ["the last byte grows by one", encodeUtf8("ab"), encodeUtf8("ac")],
  ["0xff at the end is dropped", bytes(0x61, 0xff), bytes(0x62)],
  ["nothing but 0xff has no end", bytes(0xff, 0xff), bytes(0)],
])("prefixEnd: %s", (_, prefix, end) => {
  expect(prefixEnd(prefix)).toEqual(end);
});

test.each([
  ["one key", "a", undefined, {}, { key: encodeUtf8("a"), rangeEnd: undefined }],
  ["a range", "a", "c", {}, { key: encodeUtf8("a"), rangeEnd: encodeUtf8("c") }],
  ["a prefix", "a", undefined, { prefix: true }, { key: encodeUtf8("a"), rangeEnd: encodeUtf8("b") }],
  ["from a key on", "a", undefined, { fromKey: true }, { key: encodeUtf8("a"), rangeEnd: bytes(0) }],
  ["the empty prefix is everything", "", undefined, { prefix: true }, { key: bytes(0), rangeEnd: bytes(0) }],
  ["from the empty key on is everything", "", undefined, { fromKey: true }, { key: bytes(0), rangeEnd: bytes(0) }],
] as const)("keyArguments: %s", (_, key, end, options, expected) => {
  expect(keyArguments("get", key, end, options)).toEqual(expected);
});
