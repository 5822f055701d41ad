import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EMPTY } from "../../src/base/bytes.ts";
import { changeConf, confFault, isMember, isVoter } from "../../src/raft/membership.ts";
import type { ConfChange, ConfChangeStep, ConfState } from "../../src/raft/membership-types.ts";
import { majority } from "../../src/raft/quorum.ts";
import { testSeed } from "../support/seed.ts";
import { conf, m } from "./core.ts";

const seed = testSeed();

/** `+4` adds a voter, `~4` a learner, `-4` removes, `=4` updates. An empty text leaves. */
function change(text: string, transition: ConfChange["transition"] = "auto"): ConfChange {
  const ACTIONS = { "+": "addVoter", "~": "addLearner", "-": "remove", "=": "updateNode" } as const;
  const steps: ConfChangeStep[] = text
    .split(" ")
    .filter((word) => word !== "")
    .map((word) => ({ action: ACTIONS[word[0] as keyof typeof ACTIONS], id: m(Number(word.slice(1))) }));
  return { steps, transition, context: EMPTY };
}

function show(of: ConfState): string {
  const parts = [of.voters.join(",")];
  if (of.votersOutgoing.length > 0) parts.push(`out ${of.votersOutgoing.join(",")}`);
  if (of.learners.length > 0) parts.push(`learners ${of.learners.join(",")}`);
  if (of.learnersNext.length > 0) parts.push(`next ${of.learnersNext.join(",")}`);
  if (of.autoLeave) parts.push("auto");
  return parts.join(" ");
}

const three = conf([1, 2, 3]);
const joint = conf([1, 2, 4], { votersOutgoing: [1, 2, 3], learnersNext: [3] });

describe("changeConf", () => {
  const CASES: readonly [string, ConfState, ConfChange, string][] = [
    ["adds a voter", three, change("+4"), "1,2,3,4"],
    ["removes a voter", three, change("-3"), "1,2"],
    ["adds a learner", three, change("~4"), "1,2,3 learners 4"],
    ["promotes a learner", conf([1], { learners: [2] }), change("+2"), "1,2"],
    ["demotes a voter", three, change("~3"), "1,2 learners 3"],
    ["removes a learner", conf([1], { learners: [2] }), change("-2"), "1"],
    ["an update changes nothing", three, change("=2"), "1,2,3"],
    ["M3: adding who is there already succeeds", three, change("+3"), "1,2,3"],
    ["M3: removing who is not there succeeds", three, change("-9"), "1,2,3"],
    ["a learner that is one stays one", conf([1], { learners: [2] }), change("~2"), "1 learners 2"],
    ["M3: two voters enter a joint phase", three, change("+4 +5"), "1,2,3,4,5 out 1,2,3 auto"],
    ["M3: a swap enters a joint phase", three, change("+4 -3"), "1,2,4 out 1,2,3 auto"],
    ["one voter and any number of learners do not", three, change("+4 ~5 ~6"), "1,2,3,4 learners 5,6"],
    ["joint on request", three, change("+4", "joint"), "1,2,3,4 out 1,2,3 auto"],
    ["M1: a demoted voter waits in learnersNext", three, change("~3 +4", "joint"), "1,2,4 out 1,2,3 next 3 auto"],
    ["M1: leaving makes it a learner", joint, change(""), "1,2,4 learners 3"],
    ["the first voter of an empty configuration", conf([]), change("+1"), "1"],
    ["M3: joint while joint is refused", joint, change("+5"), "joint"],
    ["M3: leaving while not joint is refused", three, change(""), "notJoint"],
    ["M3: the last voter stays", conf([1]), change("-1"), "noVoters"],
    ["M3: the last voter is not demoted", conf([1]), change("~1"), "noVoters"],
    ["M3: an empty configuration has nothing to leave behind", conf([]), change("+1 +2"), "emptyConfiguration"],
    ["B30: added, removed and added again is one change", three, change("+4 -4 +4"), "1,2,3,4"],
    [
      "B30: an update of a learner leaves it one (etcd #21694)",
      conf([1], { learners: [2] }),
      change("=2"),
      "1 learners 2",
    ],
  ];
  test.each(CASES)("%s", (_, before, how, expected) => {
    const result = changeConf(before, how);
    expect(result.ok ? show(result.conf) : result.problem).toBe(expected);
    if (result.ok) expect(confFault(result.conf)).toBeUndefined();
  });

  test(`every result is well formed, and consecutive quorums meet (seed ${seed})`, () => {
    const step = fc.record({
      action: fc.constantFrom("addVoter" as const, "addLearner" as const, "remove" as const, "updateNode" as const),
      id: fc.integer({ min: 1, max: 5 }).map(m),
    });
    const any = fc.record({
      steps: fc.array(step, { maxLength: 3 }),
      transition: fc.constantFrom("auto" as const, "joint" as const),
      context: fc.constant(EMPTY),
    });
    fc.assert(
      fc.property(fc.array(any, { maxLength: 12 }), (changes) => {
        let now = conf([1, 2]);
        for (const how of changes) {
          const result = changeConf(now, how);
          if (!result.ok) continue;
          expect(confFault(result.conf)).toBeUndefined();
          expect(quorumsMeet(now, result.conf)).toBe(true);
          now = result.conf;
        }
      }),
      { seed },
    );
  });

  /** Every set of members that decides in `a` shares one with every set that decides in `b`. */
  function quorumsMeet(a: ConfState, b: ConfState): boolean {
    const decides = (of: ConfState, set: number): boolean =>
      [of.voters, of.votersOutgoing].every((half) => {
        const have = half.filter((id) => (set & (1 << Number(id))) !== 0).length;
        return half.length === 0 || have >= majority(half.length);
      });
    // If a set decides in one, its complement must not decide in the other.
    for (let set = 0; set < 1 << 6; set++) if (decides(a, set) && decides(b, ~set & 0x3f)) return false;
    return true;
  }
});

describe("confFault", () => {
  const BAD: readonly [string, ConfState, string][] = [
    ["ids out of order", { ...three, voters: [m(2), m(1)] }, "ascending"],
    ["an id twice", { ...three, voters: [m(1), m(1)] }, "ascending"],
    ["a voter that is a learner", conf([1, 2], { learners: [2] }), "a learner votes"],
    ["an outgoing voter that is a learner", conf([1], { votersOutgoing: [1, 2], learners: [2] }), "a learner votes"],
    ["learnersNext without a joint phase", conf([1], { learnersNext: [2] }), "no subset"],
    ["learnersNext that votes", conf([1, 2], { votersOutgoing: [1, 2], learnersNext: [2] }), "also in learnersNext"],
    ["learners without voters", conf([], { learners: [2] }), "no voters"],
    ["autoLeave alone", { ...three, autoLeave: true }, "autoLeave"],
  ];
  test.each(BAD)("V9: names %s", (_, bad, expected) => {
    expect(confFault(bad)).toContain(expected);
  });

  test("a joining member's empty configuration is fine (M12)", () => {
    expect(confFault(conf([]))).toBeUndefined();
  });
});

describe("isVoter and isMember", () => {
  test("B27: the outgoing half and those who wait to become learners belong", () => {
    expect([1, 2, 3, 4, 5].map((n) => isVoter(joint, m(n)))).toEqual([true, true, true, true, false]);
    const leaving = conf([1], { votersOutgoing: [1, 2, 3], learnersNext: [3] });
    expect([1, 2, 3, 4].map((n) => isMember(leaving, m(n)))).toEqual([true, true, true, false]);
  });
});
