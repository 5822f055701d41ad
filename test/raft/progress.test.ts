import { describe, expect, test } from "vitest";
import { membersOf, newProgress, type Progress, quorumReached } from "../../src/raft/progress.ts";
import { conf, m } from "./core.ts";

const OPTIONS = { inflightCountMax: 4, inflightBytesMax: 1000 };

function progress(n: number, more: Partial<Progress> = {}): Progress {
  return Object.assign(newProgress(m(n), n, 1, true, OPTIONS), { isVoter: true }, more);
}

describe("Progress", () => {
  test("a probe never starts at or below what is known to match (V6)", () => {
    const one = progress(1, { match: 7, next: 12 });
    one.becomeProbe(3, true);
    expect([one.state, one.next, one.paused]).toEqual(["probe", 8, true]);
  });

  test("streaming starts right above the match, with an empty window", () => {
    const one = progress(1, { match: 7, next: 12, paused: true });
    one.inflights.add(11, 10);
    one.becomeReplicate();
    expect([one.state, one.next, one.paused, one.inflights.count]).toEqual(["replicate", 8, false, 0]);
  });

  test("a snapshot empties the window and remembers its session", () => {
    const one = progress(1, { match: 7, next: 12, force: true });
    one.inflights.add(11, 10);
    one.becomeSnapshot(9);
    expect([one.state, one.snapshotSession, one.force, one.inflights.count]).toEqual(["snapshot", 9, false, 0]);
  });

  test("A16: a probe forgets which commit was told beyond the match", () => {
    const one = progress(1, { match: 7, sentCommit: 11 });
    one.becomeProbe(8, false);
    expect(one.sentCommit).toBe(7);
  });
});

describe("quorumReached", () => {
  const CASES: readonly [string, readonly number[], readonly number[], readonly number[], number][] = [
    ["one voter", [5], [1], [], 5],
    ["three voters", [5, 3, 9], [1, 2, 3], [], 5],
    ["four voters", [9, 8, 7, 6], [1, 2, 3, 4], [], 7],
    ["C2, M11: learners count for nothing", [5, 3, 9, 99, 99], [1, 2, 3], [], 5],
    ["joint: the slower half decides", [9, 9, 4, 2, 1], [1, 2, 3], [3, 4, 5], 2],
    ["joint: in both halves", [9, 5, 4], [1, 2, 3], [1, 2], 5],
  ];
  test.each(CASES)("%s", (_, matches, voters, outgoing, expected) => {
    const peers = matches.map((match, i) =>
      progress(i + 1, {
        match,
        readAck: match,
        isVoter: voters.includes(i + 1),
        isVoterOutgoing: outgoing.includes(i + 1),
      }),
    );
    expect(quorumReached(peers, "match")).toBe(expected);
    expect(quorumReached(peers, "readAck")).toBe(expected);
  });

  test("C1: a quorum is active or it is not", () => {
    const peers = [1, 2, 3].map((n) => progress(n, { recentActive: n === 1 }));
    expect(quorumReached(peers, "active")).toBe(0);
    peers[2]!.recentActive = true;
    expect(quorumReached(peers, "active")).toBe(1);
  });
});

describe("membersOf", () => {
  test("J2: names everybody once, in id order", () => {
    const all = conf([1, 4], { votersOutgoing: [1, 3], learners: [2], learnersNext: [3] });
    expect(membersOf(all)).toEqual([m(1), m(2), m(3), m(4)]);
  });
});
