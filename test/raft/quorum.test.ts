import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { MemberId } from "../../src/base/ids.ts";
import { majority, majorityValue, voteResult } from "../../src/raft/quorum.ts";
import { testSeed } from "../support/seed.ts";
import { conf, m } from "./core.ts";

const seed = testSeed();

describe("majority", () => {
  test.each([
    [1, 1],
    [2, 2],
    [3, 2],
    [4, 3],
    [5, 3],
    [6, 4],
    [7, 4],
  ])("of %i is %i", (count, expected) => {
    expect(majority(count)).toBe(expected);
  });
});

describe("voteResult", () => {
  /** `y` granted, `n` refused, `.` silent, for members 1, 2, 3 and so on. */
  const CASES: readonly [string, readonly number[], readonly number[], string, string][] = [
    ["nobody to ask", [], [], "", "lost"],
    ["a sole voter that agrees", [1], [], "y", "won"],
    ["a sole voter that refuses", [1], [], "n", "lost"],
    ["one of three", [1, 2, 3], [], "y..", "pending"],
    ["two of three", [1, 2, 3], [], "yy.", "won"],
    ["two of three refuse", [1, 2, 3], [], "ynn", "lost"],
    ["one each of three", [1, 2, 3], [], "yn.", "pending"],
    ["half of four", [1, 2, 3, 4], [], "yy..", "pending"],
    ["half of four refuse: nobody can win", [1, 2, 3, 4], [], "nn..", "lost"],
    ["three of four", [1, 2, 3, 4], [], "yyyn", "won"],
    ["M3: joint, the incoming half alone", [1, 2, 3], [3, 4, 5], "yy...", "pending"],
    ["M3: joint, the outgoing half alone", [1, 2, 3], [3, 4, 5], "...yy", "pending"],
    ["M3: joint, both halves", [1, 2, 3], [3, 4, 5], "y.yy.", "won"],
    ["E8: joint, one half is lost", [1, 2, 3], [3, 4, 5], "yyynn", "lost"],
    ["joint, a learner's grant counts for nothing", [1, 2, 3], [], "y..yyy", "pending"],
  ];
  test.each(CASES)("%s", (_, voters, votersOutgoing, answers, expected) => {
    const tally = new Map<MemberId, boolean>();
    [...answers].forEach((c, i) => {
      if (c !== ".") tally.set(m(i + 1), c === "y");
    });
    expect(voteResult(conf(voters, { votersOutgoing }), tally)).toBe(expected);
  });
});

describe("majorityValue", () => {
  test("without voters there is nothing to wait for", () => {
    expect(majorityValue([], 0)).toBe(Number.POSITIVE_INFINITY);
  });

  test("looks only at the values that count", () => {
    expect(majorityValue([3, 1, 2, 99, 99], 3)).toBe(2);
  });

  test(`is the largest value that a majority has reached (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }), (values) => {
        const reached = (value: number): boolean => values.filter((v) => v >= value).length >= majority(values.length);
        const slow = Math.max(...values.filter(reached));
        expect(majorityValue([...values], values.length)).toBe(slow);
      }),
      { seed },
    );
  });
});
