/** Laws of the codec: what goes out comes in again, and whatever else comes in is refused by name. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import {
  decodeClientHello,
  decodeError,
  decodeRequest,
  decodeResponse,
  decodeServerHello,
  decodeWatchRequest,
  decodeWatchResponse,
  encodeError,
  encodeRequest,
  encodeResponse,
  encodeWatchRequest,
  encodeWatchResponse,
} from "../../src/protocol/codec.ts";
import { testSeed } from "../support/seed.ts";
import { anyError, anyRequest, anyResponse, anyStamp, anyWatchRequest, anyWatchResponse } from "./arbitraries.ts";

const seed = testSeed();

/** In the middle of a message, as in a frame. */
function within(bytes: Uint8Array): { readonly message: Uint8Array; readonly start: number } {
  const message = new Uint8Array(7 + bytes.length).fill(0x93, 0, 7);
  message.set(bytes, 7);
  return { message, start: 7 };
}

describe(`decode after encode (seed ${seed})`, () => {
  test("gives the same request, with nothing added and nothing undefined", () => {
    fc.assert(
      fc.property(anyRequest, (request) => {
        const bytes = Uint8Array.from(encodeRequest(request));
        expect(decodeRequest(bytes)).toStrictEqual(request);
        const { message, start } = within(bytes);
        expect(decodeRequest(message, start)).toStrictEqual(request);
      }),
      { seed, numRuns: 500 },
    );
  });

  test("gives the same response, with and without the stamp of the handshake", () => {
    fc.assert(
      fc.property(anyResponse, anyStamp, (response, other) => {
        expect(decodeResponse(Uint8Array.from(encodeResponse(response)))).toStrictEqual(response);
        const stamped = Uint8Array.from(encodeResponse(response, response.header));
        expect(decodeResponse(stamped, response.header)).toStrictEqual(response);
        expect(() => decodeResponse(stamped)).toThrow(RangeError);
        const otherwise = Uint8Array.from(encodeResponse(response, other));
        expect(decodeResponse(otherwise, other)).toStrictEqual(response);
      }),
      { seed, numRuns: 300 },
    );
  });

  test("gives the same of a watch stream", () => {
    fc.assert(
      fc.property(anyWatchRequest, anyWatchResponse, anyStamp, (request, response, other) => {
        const asked = Uint8Array.from(encodeWatchRequest(request));
        const told = Uint8Array.from(encodeWatchResponse(response, other));
        const [decodedRequest, decodedResponse] = [decodeWatchRequest(asked), decodeWatchResponse(told, other)];
        // What is decoded is a copy: what happens to the frame afterwards does not reach it.
        asked.fill(0xee);
        told.fill(0xee);
        expect(decodedRequest).toStrictEqual(request);
        expect(decodedResponse).toStrictEqual(response);
        const stamped = within(encodeWatchResponse(response, response.header));
        expect(decodeWatchResponse(stamped.message, response.header, stamped.start)).toStrictEqual(response);
      }),
      { seed, numRuns: 300 },
    );
  });

  test("gives the same error, but for its cause", () => {
    fc.assert(
      fc.property(anyError, (error) => {
        const decoded = decodeError(Uint8Array.from(encodeError(error)));
        expect(decoded).toBeInstanceOf(StoreError);
        expect(decoded.code).toBe(error.code);
        expect(decoded.outcome).toBe(error.outcome);
        expect(decoded.message).toBe(error.message);
        expect(Object.entries(decoded.details)).toStrictEqual(Object.entries(error.details));
      }),
      { seed, numRuns: 500 },
    );
  });

  test("copies: what happens to the frame afterwards reaches no key and no value", () => {
    fc.assert(
      fc.property(anyRequest, anyResponse, (request, response) => {
        for (const [bytes, decode, expected] of [
          [Uint8Array.from(encodeRequest(request)), decodeRequest, request],
          [Uint8Array.from(encodeResponse(response)), decodeResponse, response],
        ] as const) {
          const decoded = decode(bytes);
          bytes.fill(0xee);
          expect(decoded).toStrictEqual(expected);
        }
      }),
      { seed, numRuns: 100 },
    );
  });

  test("keys and values are plain bytes, also out of a Buffer", () => {
    fc.assert(
      fc.property(anyRequest, (request) => {
        expect(decodeRequest(Buffer.from(encodeRequest(request)))).toStrictEqual(request);
      }),
      { seed, numRuns: 100 },
    );
  });
});

/** Every way in, with the only errors that may come out of it. */
const DECODERS: readonly (readonly [string, (bytes: Uint8Array) => unknown, (error: unknown) => boolean])[] = [
  [
    "decodeRequest",
    (bytes) => decodeRequest(bytes),
    (error) => StoreError.is(error, "INVALID_REQUEST") && error.outcome === "rejected",
  ],
  ["decodeResponse", (bytes) => decodeResponse(bytes), (error) => error instanceof RangeError],
  [
    "decodeWatchRequest",
    (bytes) => decodeWatchRequest(bytes),
    (error) => StoreError.is(error, "INVALID_REQUEST") && error.outcome === "rejected",
  ],
  ["decodeWatchResponse", (bytes) => decodeWatchResponse(bytes), (error) => error instanceof RangeError],
  ["decodeError", (bytes) => decodeError(bytes), (error) => error instanceof RangeError],
  ["decodeClientHello", (bytes) => decodeClientHello(bytes), (error) => error instanceof RangeError],
  [
    "decodeServerHello",
    (bytes) => decodeServerHello(bytes),
    (error) => error instanceof RangeError || StoreError.is(error, "PROTOCOL_VERSION"),
  ],
];

function survives(bytes: Uint8Array): void {
  for (const [name, decode, allowed] of DECODERS) {
    try {
      decode(bytes);
    } catch (error) {
      expect(allowed(error), `${name}: ${String(error)}`).toBe(true);
    }
  }
}

describe(`hostile bytes (seed ${seed})`, () => {
  test("random bytes never crash a decoder", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), survives), { seed, numRuns: 2_000 });
  });

  test("nor do bytes that look like messages", () => {
    // Few tokens, so that arrays, records, extensions and lengths meet.
    const token = fc.constantFrom(
      ...[
        0x90, 0x91, 0x92, 0x95, 0x9f, 0xc0, 0xc4, 0xc6, 0xc7, 0xcf, 0xd4, 0xdd, 0x80, 0x81, 0x40, 0x72, 0x01, 0x02,
        0x04, 0x00, 0xff,
      ],
    );
    fc.assert(
      fc.property(
        fc.array(token, { maxLength: 60 }).map((tokens) => Uint8Array.from(tokens)),
        survives,
      ),
      {
        seed,
        numRuns: 2_000,
      },
    );
  });

  test("nor does a message with a byte changed, cut off or appended; and it is decoded or refused as a whole", () => {
    const damage = fc.record({
      at: fc.nat(500),
      byte: fc.nat(255),
      keep: fc.nat(500),
      more: fc.uint8Array({ maxLength: 3 }),
    });
    fc.assert(
      fc.property(anyRequest, anyResponse, anyError, anyWatchRequest, anyWatchResponse, damage, (...given) => {
        const [request, response, error, watchRequest, watchResponse, { at, byte, keep, more }] = given;
        for (const encode of [
          () => encodeRequest(request),
          () => encodeResponse(response),
          () => encodeError(error),
          () => encodeWatchRequest(watchRequest),
          () => encodeWatchResponse(watchResponse),
        ]) {
          const bytes = Uint8Array.from(encode());
          survives(bytes.slice(0, keep % (bytes.length + 1)));
          survives(Uint8Array.from([...bytes, ...more]));
          bytes[at % bytes.length] = byte;
          survives(bytes);
        }
      }),
      { seed, numRuns: 500 },
    );
  });

  test("a request that was cut or continued is never taken for another", () => {
    fc.assert(
      fc.property(anyRequest, fc.nat(500), fc.uint8Array({ minLength: 1, maxLength: 3 }), (request, keep, more) => {
        const bytes = Uint8Array.from(encodeRequest(request));
        expect(() => decodeRequest(bytes.slice(0, keep % bytes.length))).toThrow(StoreError);
        expect(() => decodeRequest(Uint8Array.from([...bytes, ...more]))).toThrow(StoreError);
      }),
      { seed, numRuns: 300 },
    );
  });
});
