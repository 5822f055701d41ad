import { describe, expect, test } from "vitest";
import { checkLeases, type LeaseLife, type LeaseSight } from "../../src/testing/index.ts";

const key = (at: number, present: boolean): LeaseSight => ({ kind: "key", at, present });
const lease = (at: number, lives: boolean, keys: readonly string[] = lives ? ["k"] : []): LeaseSight => ({
  kind: "lease",
  at,
  lives,
  keys,
});
/** Granted at 0 for 2 s, renewed at 1 s: its deadline is at 3 s. */
const life = (more: Partial<LeaseLife>): LeaseLife => ({
  id: "7",
  key: "k",
  renewals: [
    { sentAt: 0, ttlMs: 2_000 },
    { sentAt: 1_000, ttlMs: 2_000 },
  ],
  attachedAt: 10,
  revoked: false,
  seen: [],
  ...more,
});

describe("leases", () => {
  const good: readonly (readonly [string, Partial<LeaseLife>])[] = [
    ["ended after its deadline", { seen: [key(2_900, true), lease(3_100, false), key(3_200, false)] }],
    ["revoked", { revoked: true, seen: [key(1_500, false), lease(1_600, false)] }],
    ["extended by changes of leaders", { seen: [lease(2_000, true), key(60_000, true)] }],
    ["whose put may never have happened", { attachedAt: undefined, seen: [lease(100, true, [])] }],
  ];
  test.each(good)("%s: ok", (_name, more) => {
    expect(checkLeases([life({}), life(more)])).toEqual({ verdict: "ok" });
  });

  const bad: readonly (readonly [string, Partial<LeaseLife>, string])[] = [
    ["a key that went early", { seen: [key(2_999, false)] }, "the key was gone at 2999.0 ms, before its deadline"],
    ["a lease that went early", { seen: [lease(2_000, false)] }, "the lease was gone"],
    ["a key left behind", { seen: [lease(3_100, false), key(3_200, true)] }, "the key was there at 3200.0 ms"],
    ["a key left behind by a revoke", { revoked: true, seen: [lease(500, false), key(600, true)] }, "though its end"],
    ["a lease that came back", { seen: [key(3_100, false), lease(3_200, true)] }, "the lease was there at 3200.0 ms"],
    ["a key that lost its lease", { seen: [lease(1_000, true, [])] }, "it lived at 1000.0 ms without its key"],
  ];
  test.each(bad)("%s: violation", (_name, more, message) => {
    expect(checkLeases([life({}), life(more)])).toMatchObject({
      verdict: "violation",
      message: expect.stringContaining(message),
    });
  });

  test("where nothing delays it, late is a violation too", () => {
    const late = life({ seen: [key(4_100, true)] });
    expect(checkLeases([late], { mostLateMs: 1_200 })).toEqual({ verdict: "ok" });
    expect(checkLeases([late], { mostLateMs: 1_000 })).toMatchObject({ verdict: "violation" });
  });
});
