import { expect, test } from "vitest";
import { leaseId } from "../../src/base/ids.ts";
import { LeaseCensus } from "../../src/testing/index.ts";

const id = leaseId(7n);
const there = new Set([id]);
const gone = new Set<typeof id>();
/** Granted at 0 for 2 s, acknowledged at 10 ms. An election takes 1 s. */
const census = (): LeaseCensus => {
  const one = new LeaseCensus({ electionTimeoutMs: 1_000 });
  one.granted(id, 2_000, 0, 10);
  return one;
};

const good: readonly (readonly [string, (census: LeaseCensus) => void])[] = [
  ["one that is gone after its deadline", (each) => each.counted(gone, 1_990, 2_000)],
  [
    "one that was renewed",
    (each) => {
      each.renewed(id, 1_500, 1_510);
      each.counted(there, 3_400, 3_410);
      each.counted(gone, 3_490, 3_500);
    },
  ],
  [
    "one that is there for two seconds more",
    (each) => {
      each.counted(there, 4_010, 4_020);
      each.counted(gone, 4_100, 4_110);
    },
  ],
  [
    "one that two changes of leaders kept",
    (each) => {
      each.leaderChanged(1_000);
      each.leaderChanged(2_000);
      each.counted(there, 10_010, 10_020);
      each.counted(gone, 10_100, 10_110);
    },
  ],
  [
    "one whose renewal failed and may have arrived",
    (each) => {
      each.tried(id, 1_900);
      each.counted(there, 5_900, 5_910);
      each.counted(gone, 6_000, 6_010);
    },
  ],
];
test.each(good)("%s: ok", (_name, happens) => {
  const each = census();
  happens(each);
  expect(each.verdict()).toEqual({ verdict: "ok" });
  expect(each.living).toEqual([]);
});

const bad: readonly (readonly [string, (census: LeaseCensus) => void, string])[] = [
  ["one that is gone before its deadline", (each) => each.counted(gone, 1_900, 1_999), "before its deadline at 2000.0"],
  [
    "one that is gone before a renewal's deadline, acknowledged afterwards",
    (each) => {
      each.counted(gone, 2_100, 2_110);
      each.renewed(id, 1_500, 2_200);
    },
    "before its deadline at 3500.0",
  ],
  [
    "one whose renewal was acknowledged and did not extend it",
    (each) => {
      each.renewed(id, 1_500, 1_510);
      each.counted(there, 1_900, 1_910);
      each.counted(gone, 2_250, 2_260);
    },
    "gone at 2260.0 ms, before its deadline at 3500.0",
  ],
  [
    "one that a new leader gave its time anew, and whose renewal after that did not extend it",
    (each) => {
      each.leaderChanged(1_000);
      each.renewed(id, 2_000, 2_010);
      each.counted(gone, 3_300, 3_310);
    },
    "gone at 3310.0 ms, before its deadline at 4000.0",
  ],
  ["one that is still there", (each) => each.counted(there, 1_000, 1_010), "left behind"],
  [
    "one that came back",
    (each) => {
      each.counted(gone, 2_100, 2_110);
      each.counted(there, 2_200, 2_210);
    },
    "though it had ended",
  ],
  [
    "one that stays for too long",
    (each) => {
      each.counted(there, 4_011, 4_020);
      each.counted(gone, 4_100, 4_110);
    },
    "2001.0 ms after its deadline, having seen 0 changes",
  ],
  [
    "one that stays for longer than a change of leaders explains, which came before its renewal",
    (each) => {
      each.leaderChanged(500);
      each.leaderChanged(1_600);
      each.renewed(id, 1_000, 1_010);
      each.counted(there, 8_011, 8_020);
      each.counted(gone, 8_100, 8_110);
    },
    "having seen 1 changes",
  ],
];
test.each(bad)("%s: violation", (_name, happens, message) => {
  const each = census();
  happens(each);
  expect(each.verdict()).toMatchObject({ verdict: "violation", message: expect.stringContaining(message) });
});

test("what a run was like", () => {
  const each = census();
  each.leaderChanged(100);
  each.renewed(id, 1_000, 1_010);
  each.counted(there, 3_500, 3_510);
  each.counted(gone, 3_600, 3_610);
  const counts = { leases: 1, ended: 1, renewals: 1, renewalsShown: 0, leaderChanges: 1, counts: 2 };
  expect(each.figures).toEqual({ ...counts, mostOverdueMs: 490, mostLateMs: 490 });
});

test.each([
  ["renewed late enough", 1_010, [], 1],
  ["renewed too soon to be noticed", 900, [], 0],
  ["given its time anew meanwhile", 1_010, [500], 0],
  ["renewed, with a change of leaders after its end", 1_010, [4_000], 1],
] as const)("a renewal that had to show: %s", (_name, renewedAt, changes, shown) => {
  const each = census();
  for (const at of changes) each.leaderChanged(at);
  each.renewed(id, renewedAt, renewedAt + 10);
  each.counted(gone, 3_500, 3_510);
  expect(each.figures.renewalsShown).toBe(shown);
});
