/** The checkers of locks, elections and configs find what was planted. */
import { describe, expect, test } from "vitest";
import {
  type ConfigRecord,
  type ConfigSight,
  type ConfigWrite,
  type Contention,
  checkConfig,
  checkFencing,
  checkObservations,
  type Effect,
  type Observation,
  type Tenure,
  unguardedOverlaps,
  type Verdict,
} from "../../src/testing/index.ts";

const tenure = (holder: string, token: number, from: number, until: number, more: Partial<Tenure> = {}): Tenure => ({
  ...{ holder, token, from, until, deadline: Infinity, lost: false },
  ...more,
});
const effect = (id: string, token: number, outcome: Effect["outcome"] = "landed"): Effect => ({
  ...{ id, token, outcome },
  holder: "a",
});

/** Two turns, three effects; the first holder was stopped past its deadline while the second began. */
const GOOD: Contention = {
  tenures: [tenure("a", 5, 0, 900, { deadline: 300, lost: true }), tenure("b", 7, 400, 700)],
  effects: [
    effect("1", 5),
    effect("2", 5, "refused"),
    effect("3", 7),
    effect("4", 7, "unknown"),
    effect("5", 7, "unknown"),
  ],
  landed: [
    { revision: 10, token: 5, id: "1" },
    { revision: 12, token: 7, id: "3" },
    { revision: 13, token: 7, id: "5" },
  ],
  stops: [{ holder: "a", from: 200, until: 900 }],
};

function broken(verdicts: Readonly<Record<string, Verdict>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(verdicts).flatMap(([promise, verdict]) =>
      verdict.verdict === "ok" ? [] : [[promise, verdict.message]],
    ),
  );
}

describe("fencing", () => {
  test("a good history is ok, and the overlap that no lock prevents is counted", () => {
    expect(broken(checkFencing(GOOD))).toEqual({});
    expect(unguardedOverlaps(GOOD.tenures)).toBe(1);
    expect(unguardedOverlaps([tenure("a", 5, 0, 1), tenure("b", 6, 1, 2)])).toBe(0);
  });

  test("whoever could not give up may hold on with the token that it has", () => {
    const tenures = [
      tenure("a", 5, 0, 100, { kept: true }),
      tenure("a", 5, 200, 300, { kept: true }),
      tenure("a", 5, 350, 390),
    ];
    expect(broken(checkFencing({ ...GOOD, tenures: [...tenures, tenure("b", 7, 400, 700)] }))).toEqual({});
  });

  const bad: readonly (readonly [string, Partial<Contention>, string, string])[] = [
    [
      "an old holder's effect after a new one's",
      { landed: [GOOD.landed[1]!, { revision: 14, token: 5, id: "1" }, GOOD.landed[2]!] },
      "no effect of an older token lands late",
      "effect 1 of token 5 landed at revision 14, after 3 of token 7",
    ],
    [
      "an acknowledged effect that is gone",
      { landed: GOOD.landed.slice(1) },
      "effects end as they were told to",
      "effect 1 was acknowledged, but did not land",
    ],
    [
      "a refused effect that landed",
      { landed: [GOOD.landed[0]!, { revision: 11, token: 5, id: "2" }, ...GOOD.landed.slice(1)] },
      "effects end as they were told to",
      "effect 2 was refused, but landed",
    ],
    [
      "an effect that landed twice",
      { landed: [...GOOD.landed, { revision: 14, token: 7, id: "5" }] },
      "effects end as they were told to",
      "effect 5 landed 2 times",
    ],
    [
      "an effect of nobody",
      { landed: [...GOOD.landed, { revision: 14, token: 7, id: "9" }] },
      "effects end as they were told to",
      "revision 14 holds effect 9, which nobody asked for",
    ],
    [
      "a token that falls",
      { tenures: [tenure("a", 7, 0, 100), tenure("b", 5, 200, 300)] },
      "tokens rise",
      "b (token 5, 200.0 to 300.0 ms) came after a (token 7",
    ],
    [
      "a token that comes twice",
      { tenures: [tenure("a", 7, 0, 100), tenure("b", 7, 200, 300)] },
      "tokens rise",
      "b (token 7",
    ],
    [
      "a token that its holder has given up and has again",
      { tenures: [tenure("a", 7, 0, 100), tenure("a", 7, 200, 300)] },
      "tokens rise",
      "a (token 7",
    ],
    [
      "another's token, though its holder's giving up came to nothing",
      { tenures: [tenure("a", 7, 0, 100, { kept: true }), tenure("b", 7, 200, 300)] },
      "tokens rise",
      "b (token 7",
    ],
    [
      "a token that its holder has again after another's",
      {
        tenures: [tenure("a", 5, 0, 100, { kept: true }), tenure("b", 7, 200, 300), tenure("a", 5, 400, 500)],
      },
      "tokens rise",
      "a (token 5, 400.0 to 500.0 ms) came after b (token 7",
    ],
    [
      "two holders at a time",
      { tenures: [tenure("a", 5, 0, 500), tenure("b", 7, 400, 700)] },
      "one holder at a time",
      "b (token 7, 400.0 to 700.0 ms) began while a (token 5, 0.0 to 500.0 ms) held",
    ],
    [
      "two holders before the deadline of the one that was stopped",
      { tenures: [tenure("a", 5, 0, 900, { deadline: 450, lost: true }), tenure("b", 7, 400, 700)] },
      "one holder at a time",
      "began while a",
    ],
    [
      "a holder that runs and does not learn of its loss",
      { stops: [{ holder: "a", from: 310, until: 900 }] },
      "losses are learned in time",
      "could know of its loss at 300.0, and knew at 900.0",
    ],
    [
      "a holder that was let go on and learned of its loss later",
      { stops: [{ holder: "a", from: 200, until: 880 }] },
      "losses are learned in time",
      "could know of its loss at 880.0",
    ],
    [
      "another's stop is no excuse",
      { stops: [{ holder: "b", from: 200, until: 900 }] },
      "losses are learned in time",
      "could know of its loss at 300.0",
    ],
  ];
  test.each(bad)("%s: violation", (_name, planted, promise, message) => {
    const found = broken(checkFencing({ ...GOOD, ...planted }));
    expect(Object.keys(found)).toEqual([promise]);
    expect(found[promise]).toContain(message);
  });

  test("stops that follow each other delay what can be known", () => {
    const stops = [
      { holder: "a", from: 890, until: 900 },
      { holder: "a", from: 200, until: 890 },
    ];
    expect(broken(checkFencing({ ...GOOD, stops }))).toEqual({});
    expect(broken(checkFencing({ ...GOOD, stops: [{ holder: "a", from: 200, until: 895 }], slackMs: 5 }))).toEqual({});
  });
});

describe("observers of an election", () => {
  const seen = (create: number, mod: number, value: string): Observation => ({ key: `k${create}`, create, mod, value });
  const values = new Set(["a", "a2", "b"]);
  const check = (...observed: readonly Observation[]) => checkObservations({ one: [], two: observed }, values);

  test("leaders in their order, also where a candidate spoke first: ok", () => {
    expect(check(seen(2, 2, "a"), seen(2, 9, "a2"), seen(5, 5, "b"))).toEqual({ verdict: "ok" });
  });
  test.each<[string, readonly Observation[], string]>([
    ["an older leader after a newer one", [seen(5, 5, "b"), seen(2, 9, "a2")], "two was told of k2"],
    ["older words after newer ones", [seen(2, 9, "a2"), seen(2, 2, "a")], "two was told of k2"],
    ["the same words twice", [seen(2, 2, "a"), seen(2, 2, "a")], "two was told of k2"],
    ["words of nobody", [seen(2, 2, "c")], "two was told c, which nobody proclaimed"],
  ])("%s: violation", (_name, observed, message) => {
    expect(check(...observed)).toMatchObject({ verdict: "violation", message: expect.stringContaining(message) });
  });
});

describe("configs", () => {
  const writes: readonly ConfigWrite[] = [
    { revision: 2, text: "ok 1" },
    { revision: 3, text: "bad 2" },
    { revision: 5, text: undefined },
    { revision: undefined, text: "ok 6" },
    { revision: 7, text: "ok 7" },
  ];
  const value = (revision: number, text: string): ConfigSight => ({ kind: "value", revision, text });
  const invalid = (revision: number): ConfigSight => ({ kind: "invalid", revision });
  const absent = (revision: number): ConfigSight => ({ kind: "absent", revision });
  const check = (seen: readonly ConfigSight[], more: Partial<ConfigRecord & { endsInvalid: boolean }> = {}) =>
    broken(
      checkConfig([{ name: "w", seen, current: "current" in more ? more.current : "ok 7" }], writes, {
        ...{ isValid: (text) => text.startsWith("ok"), newest: "ok 7" },
        endsInvalid: more.endsInvalid ?? false,
      }),
    );

  test.each<[string, readonly ConfigSight[]]>([
    ["all of it", [absent(1), value(2, "ok 1"), invalid(3), absent(5), value(6, "ok 6"), value(7, "ok 7")]],
    ["the newest alone", [value(7, "ok 7")]],
  ])("%s: ok", (_name, seen) => {
    expect(check(seen)).toEqual({});
  });

  test.each<[string, readonly ConfigSight[], string, string]>([
    [
      "an invalid value told as one",
      [value(3, "bad 2"), value(7, "ok 7")],
      "configs tell what was written",
      "not valid",
    ],
    [
      "another value than was written",
      [value(2, "ok 9"), value(7, "ok 7")],
      "configs tell what was written",
      "where ok 1",
    ],
    ["a value that nobody wrote", [value(4, "ok 9"), value(7, "ok 7")], "configs tell what was written", "told ok 9"],
    [
      "a valid value told as invalid",
      [invalid(2), value(7, "ok 7")],
      "configs tell what was written",
      "ok 1 of revision 2 is invalid",
    ],
    [
      "a step back",
      [value(7, "ok 7"), value(2, "ok 1"), value(7, "ok 7")],
      "configs go forwards",
      "revision 2 after revision 7",
    ],
    ["one that was not told the end", [value(2, "ok 1"), invalid(3)], "configs end on the newest", "told invalid last"],
  ])("%s: violation", (_name, seen, promise, message) => {
    const found = check(seen);
    expect(Object.keys(found)).toEqual([promise]);
    expect(found[promise]).toContain(message);
  });

  test("one that stays behind, or was not told of an invalid end: violation", () => {
    expect(check([value(7, "ok 7")], { current: "ok 6" })).toHaveProperty(["configs end on the newest"]);
    expect(check([value(7, "ok 7")], { endsInvalid: true })).toHaveProperty(["configs end on the newest"]);
    expect(check([], { current: undefined })).toHaveProperty(["configs end on the newest"]);
  });
});
