/**
 * Any sequence of moves: after each one the oracle holds all cores to the safety properties (O1-O9, O13 of
 * docs/raft-notes.md), and after the last the group is left alone and has to recover (O11). What fast-check finds it
 * shrinks to the fewest moves, and prints with the seed and path that show it again.
 */
import fc from "fast-check";
import { describe, test } from "vitest";
import { testSeed } from "../support/seed.ts";
import { recover } from "./chaos.ts";
import { Group } from "./group.ts";
import { anyMove, perform } from "./moves.ts";

const seed = testSeed();

describe.each([
  [3, 250],
  [5, 150],
])("a group of %i", (voters, numRuns) => {
  test(`election safety, log matching, leader completeness, state machine safety, monotonic commits, safe configurations, linearizable reads (seed ${seed})`, () => {
    const moves = fc.array(anyMove(voters), { minLength: 20, maxLength: 150, size: "max" });
    fc.assert(
      fc.property(moves, fc.integer({ min: 1, max: 3 }), fc.nat(1000), (all, writesMax, chance) => {
        const group = new Group({
          voters,
          seed: chance,
          manual: true,
          writesMax,
          config: { maxMessageBytes: 128, inflightCountMax: 2, applyBytesMax: 64, uncommittedBytesMax: 400 },
        });
        group.until(() => group.leader() !== undefined, "a first leader");
        for (const move of all) perform(group, move);
        recover(group);
      }),
      { seed, numRuns },
    );
  });
});
