/**
 * Groups of three and five through loss, duplication, reordering, partitions, crashes, slow disks, transfers, snapshots
 * and changes of membership. A failure names its seed: QUORATE_SEED=<seed> npx vitest run test/raft/chaos.test.ts
 */
import { describe, expect, test } from "vitest";
import { chaos } from "./chaos.ts";

const STEPS = 3_000;
const fixed = process.env["QUORATE_SEED"];
const count = Number(process.env["QUORATE_SEEDS"] ?? 150);
const seeds = fixed === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(fixed)];

function run(seed: number): void {
  try {
    chaos(seed, STEPS);
  } catch (error) {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`seed ${seed} (replay: QUORATE_SEED=${seed}): ${text}`, { cause: error });
  }
}

describe("chaos", () => {
  test("O1-O9, O11, O13, U3-U6 hold for every seed", () => {
    for (const seed of seeds) run(seed);
  }, 120_000);

  test("O12: the same seed gives the same run", () => {
    const a = chaos(7, 800);
    const b = chaos(7, 800);
    expect(a.summary()).toBe(b.summary());
    expect(a.oracle.committedTerms).toEqual(b.oracle.committedTerms);
  });
});
