/** Node's own way to make byte strings gives the ones that plain JavaScript does. */
import { expect, test } from "vitest";
import { concatBytes, EMPTY, fromByteString, toByteString } from "../../src/base/bytes.ts";
import { useNodeBytes } from "../../src/platform/node/bytes.ts";

test("byte strings are the same with Node's help, at any length and any place in their buffer", () => {
  const all = Uint8Array.from({ length: 70_000 }, (_, i) => (i * 31) ^ (i >>> 8));
  const lengths = [...Array.from({ length: 300 }, (_, i) => i), 4_095, 4_096, 4_097, 65_536];
  const views = lengths.flatMap((length) => [0, 1, 777].map((at) => all.subarray(at, at + length)));
  const plain = views.map(toByteString);
  useNodeBytes();
  for (const [i, view] of views.entries()) {
    const text = toByteString(view);
    expect(text === plain[i]).toBe(true);
    expect(fromByteString(text)).toEqual(view);
  }
});

test("what is empty stays here, whoever sends it away", () => {
  useNodeBytes();
  try {
    structuredClone(EMPTY, { transfer: [EMPTY.buffer as ArrayBuffer] });
  } catch {
    // Newer versions of Node say so, older ones clone what was to be sent.
  }
  expect(concatBytes([EMPTY, Uint8Array.of(7)])).toEqual(Uint8Array.of(7));
});
