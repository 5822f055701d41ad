import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeFrame, encodeFrame, MESSAGE_OVERHEAD } from "../../src/transport/frame.ts";
import { testSeed } from "../support/seed.ts";

const seed = testSeed();

function decoded(frame: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  decodeFrame(frame, (message) => messages.push(message.slice()));
  return messages;
}

describe("frames", () => {
  test("golden bytes", () => {
    const frame = encodeFrame([Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(255)]);
    expect(Buffer.from(frame).toString("hex")).toBe("000000020102" + "00000000" + "00000001ff");
    expect(encodeFrame([])).toEqual(new Uint8Array(0));
  });

  test(`decode after encode is identity, and costs four bytes a message (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (messages) => {
        const frame = encodeFrame(messages);
        expect(decoded(frame)).toEqual(messages);
        expect(frame.length).toBe(messages.reduce((sum, { length }) => sum + length + MESSAGE_OVERHEAD, 0));
      }),
      { seed },
    );
  });

  test("a message is a view of its frame, not a copy", () => {
    const frame = encodeFrame([Uint8Array.of(7)]);
    decodeFrame(frame, (message) => {
      expect(message.buffer).toBe(frame.buffer);
    });
  });

  test("a frame that is cut short throws RangeError after the whole messages before", () => {
    const frame = encodeFrame([Uint8Array.of(1, 2), Uint8Array.of(3, 4)]);
    for (let length = 1; length < frame.length; length++) {
      if (length === 6) continue;
      const messages: Uint8Array[] = [];
      expect(() => decodeFrame(frame.subarray(0, length), (m) => messages.push(m))).toThrow(RangeError);
      expect(messages.length).toBe(length < 6 ? 0 : 1);
    }
  });

  test(`any bytes are messages or a RangeError (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          expect(encodeFrame(decoded(bytes))).toEqual(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { seed, numRuns: 1_000 },
    );
  });
});
