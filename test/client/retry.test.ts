import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { mayRetry, pauseMs } from "../../src/client/retry.ts";

describe("pauseMs", () => {
  test("another member is asked at once, and after each round over all of them there is a growing pause", () => {
    const pauses = Array.from({ length: 12 }, (_, i) => pauseMs(i + 1, 3, 0));
    expect(pauses).toEqual([0, 0, 12.5, 0, 0, 25, 0, 0, 50, 0, 0, 100]);
  });

  test("chance spreads clients over half of it, and it ends growing at half a second", () => {
    expect(pauseMs(1, 1, 0)).toBe(12.5);
    expect(pauseMs(1, 1, 0.5)).toBe(18.75);
    expect(pauseMs(20, 1, 0)).toBe(250);
    expect(pauseMs(10_000, 1, 0.999)).toBeLessThanOrEqual(500);
  });

  test("with nobody else to turn to every attempt is a round", () => {
    expect(pauseMs(1, 0, 0)).toBe(12.5);
    expect(pauseMs(2, 0, 0)).toBe(25);
  });
});

test("a transaction that was applied is not sent again, though its result was too large", () => {
  const error = new StoreError("RESULT_TOO_LARGE", { outcome: "applied" });
  const write = { kind: "put", key: new Uint8Array([1]), value: new Uint8Array() } as const;
  expect(mayRetry({ kind: "txn", compare: [], success: [write], failure: [] }, error, 1, 3)).toBe(false);
});
