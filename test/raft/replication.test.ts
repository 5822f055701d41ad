/** The log's way to the followers and back: appends, hints, windows, commits, proposals (rules A, F, U, W, Q). */
import { describe, expect, test } from "vitest";
import { EMPTY, encodeUtf8 } from "../../src/base/bytes.ts";
import { term } from "../../src/base/ids.ts";
import { entryBytes } from "../../src/raft/log.ts";
import type { Outgoing } from "../../src/raft/message.ts";
import {
  acknowledgeAll,
  append,
  at,
  beat,
  Core,
  type CoreOptions,
  conf,
  entry,
  heartbeat,
  leader,
  m,
  ok,
  only,
  refused,
  vote,
} from "./core.ts";
import { Group } from "./group.ts";

const put = (ref: number, size = 3): { ref: number; data: Uint8Array } => ({
  ref,
  data: new Uint8Array(size).fill(97),
});

function appends(said: readonly Outgoing[], to: number): { prev: number; entries: number[]; commit: number }[] {
  return only(said, "append")
    .filter((one) => one.to === to)
    .map(({ message: { prevIndex, entries, commit } }) => ({
      prev: prevIndex,
      entries: entries.map(({ index }) => index),
      commit,
    }));
}

describe("a follower's answer to an append", () => {
  /** Log of terms 1 1 2 2 (indexes 1 to 4), committed up to 1; the leader's term is 4. */
  const CASES: readonly [string, ReturnType<typeof append>, string, readonly number[], number][] = [
    ["A3: the next entries", append(4, [4, 2], [4, 4]), "ok 6", [1, 1, 2, 2, 4, 4], 1],
    ["A4: what is there already cuts nothing", append(4, [1, 1], [1]), "ok 2", [1, 1, 2, 2], 1],
    [
      "A4, A5: an empty append acknowledges what it proves, not the local end",
      append(4, [2, 1], []),
      "ok 2",
      [1, 1, 2, 2],
      1,
    ],
    ["A3: cuts from the first entry of another term", append(4, [2, 1], [2, 4]), "ok 4", [1, 1, 2, 4], 1],
    ["A3: cuts everything behind it", append(4, [2, 1], [4]), "ok 3", [1, 1, 4], 1],
    ["A2: below the commit, without looking", append(4, [0, 0], [3, 3, 3]), "ok 1", [1, 1, 2, 2], 1],
    ["A6: commits what the message proves", append(4, [1, 1], [1], { commit: at(9) }), "ok 2", [1, 1, 2, 2], 2],
    ["A6: commits what the leader says", append(4, [4, 2], [4], { commit: at(3) }), "ok 5", [1, 1, 2, 2, 4], 3],
    [
      "B20: a tail of a dead leader is not committed",
      append(4, [2, 1], [], { commit: at(4) }),
      "ok 2",
      [1, 1, 2, 2],
      2,
    ],
    ["A7: too far: hints at the end of its log", append(4, [9, 4], [4]), "refused 9 hint 4@2", [1, 1, 2, 2], 1],
    [
      "A7: another term: hints below the run that is too new",
      append(4, [4, 1], [4]),
      "refused 4 hint 2@1",
      [1, 1, 2, 2],
      1,
    ],
    [
      "A7: a later term there: hints at the entry itself",
      append(4, [3, 3], [4]),
      "refused 3 hint 3@2",
      [1, 1, 2, 2],
      1,
    ],
  ];
  test.each(CASES)("%s", (_, message, expected, terms, commit) => {
    const core = new Core({ log: [1, 1, 2, 2], commit: 1 }).step(2, message);
    const [{ message: answer }] = only(core.sync(), "appendResponse") as [ReturnType<typeof only<"appendResponse">>[0]];
    const what = answer.rejected
      ? `refused ${answer.index} hint ${answer.hintIndex}@${answer.hintTerm}`
      : `ok ${answer.index}`;
    expect(what).toBe(expected);
    expect(answer).toMatchObject({ term: 4, session: 1 });
    const status = core.raft.status();
    expect(Array.from({ length: status.lastIndex }, (_, i) => core.raft.termAt(at(i + 1)))).toEqual(terms);
    expect(status.commit).toBe(commit);
  });

  test("B22, A2: released entries are no conflict", () => {
    const core = new Core({ base: [5, 2], log: [2, 2], commit: 6 }).step(2, append(2, [3, 1], [2, 2, 2]));
    expect(only(core.sync(), "appendResponse")[0]!.message).toMatchObject({ rejected: false, index: 6 });
    expect(core.raft.status().lastIndex).toBe(7);
  });

  test("K2: the base itself is a match point", () => {
    const core = new Core({ base: [5, 2] }).step(2, append(3, [5, 2], [3]));
    expect(only(core.sync(), "appendResponse")[0]!.message).toMatchObject({ rejected: false, index: 6 });
  });

  test("V10: leaves with the write that holds what it says", () => {
    const core = new Core().step(2, append(1, [0, 0], [1]));
    expect(only(core.take(), "appendResponse")).toEqual([]);
    const first = core.begin()!;
    core.step(2, append(1, [1, 1], [1]));
    expect(first.messagesAfter.map(({ message }) => message)).toEqual([ok(1, 1, 1)]);
    expect(core.begin()!.messagesAfter.map(({ message }) => message)).toEqual([ok(1, 2, 1)]);
  });

  test("Q3: one acknowledgement a batch, the highest; a refusal keeps its place", () => {
    const core = new Core();
    core
      .step(2, append(1, [0, 0], [1]))
      .step(2, append(1, [1, 1], [1, 1]))
      .step(2, append(1, [9, 1], []));
    core.step(2, append(1, [3, 1], [1]));
    const said = only(core.sync(), "appendResponse").map(
      ({ message }) => `${message.rejected ? "no" : "ok"} ${message.index}`,
    );
    expect(said).toEqual(["ok 3", "no 9", "ok 4"]);
  });

  test("V10: an acknowledgement of entries that the same write cuts away is withdrawn", () => {
    const core = new Core({ log: [1], commit: 1 }).step(2, append(2, [1, 1], [2, 2, 2]));
    core.step(3, append(3, [1, 1], [3]));
    const batch = core.begin()!;
    expect(batch.messagesAfter.map(({ to, message }) => [to, message])).toEqual([[m(3), ok(3, 2, 1)]]);
    expect(batch.entries.map(({ term: t }) => t)).toEqual([3]);
  });

  test("A14, B44: a heartbeat commits what the leader knows acknowledged, and what is not there stops the node", () => {
    const core = new Core({ log: [1, 1] }).step(2, heartbeat(2, 2, 7));
    expect(core.raft.status().commit).toBe(2);
    // Q8: the answer waits for no disk, though the term is not written yet.
    expect(only(core.take(), "heartbeatResponse")).toEqual([{ to: 2, message: beat(2, 7) }]);
    expect(() => core.step(2, heartbeat(2, 3))).toThrow("A14");
  });
});

describe("a leader's probe", () => {
  /** Own log of the given terms, its term 9; the follower's log as terms. The rounds it takes to find the match. */
  function rounds(own: readonly number[], theirs: readonly number[]): { tried: number[]; match: number } {
    const core = new Core({ log: own, commit: 0, term: 8 });
    const follower = new Core({ id: 2, log: theirs, term: 8 });
    core.raft.campaign();
    let said = core.sync();
    const tried: number[] = [];
    for (let i = 0; i < 40; i++) {
      const to2 = said.filter(({ to }) => to === m(2));
      if (to2.length === 0) break;
      for (const { message } of to2) {
        if (message.kind === "append" && message.entries.length > 0) tried.push(message.prevIndex);
        follower.step(1, message);
        // Whatever its own log says: the search is what is looked at.
        if (message.kind === "requestPreVote" || message.kind === "requestVote") {
          follower.sync();
          const kind = message.kind === "requestVote" ? "voteResponse" : "preVoteResponse";
          const granted = { kind, term: message.term, granted: true, commit: at(0), commitTerm: term(0) } as const;
          core.step(2, granted).step(3, granted);
        }
      }
      for (const { message } of follower.sync()) if (message.kind === "appendResponse") core.step(2, message);
      said = core.sync();
    }
    return { tried, match: core.peer(2).match };
  }

  const CASES: readonly [string, readonly number[], readonly number[], readonly number[]][] = [
    ["equal logs: at once", [1, 1], [1, 1], [2]],
    ["a shorter log: its hint is the place", [1, 1, 1, 1, 1], [1, 1], [5, 2]],
    ["an empty log", [1, 1, 1], [], [3, 0]],
    ["a longer uncommitted tail", [1, 1], [1, 1, 1, 1], [2]],
    ["A9: the leader skips its own run", [1, 3, 3, 3, 3, 5, 5, 5, 5], [1, 1, 1, 1, 1, 1, 2, 2], [9, 1]],
    ["A7: the follower skips its own run", [1, 1, 1, 4, 4], [1, 1, 1, 2, 2, 2, 2, 2, 2], [5, 3]],
    ["both skip, one trip for each differing run", [1, 1, 4, 4, 6, 6], [1, 1, 3, 3, 5, 5], [6, 4, 2]],
  ];
  test.each(CASES)("A7-A9, %s", (_, own, theirs, tried) => {
    const found = rounds(own, theirs);
    expect(found.tried).toEqual(tried);
    expect(found.match).toBe(own.length + 1);
  });

  test("A8: late news is ignored", () => {
    const core = leader();
    acknowledgeAll(core, core.settle());
    core.raft.propose([put(1)]);
    acknowledgeAll(core, core.settle());
    const before = core.peer(2);
    core.step(2, refused(1, 1, core.session(2), [0, 0]));
    expect(core.peer(2)).toEqual(before);
    core.raft.unreachable(m(2));
    core.step(2, refused(1, 1, core.session(2), [0, 0]));
    expect(core.peer(2)).toMatchObject({ state: "probe", match: 2, next: 3 });
  });

  test("A10: a refusal while streaming falls back to the match and asks at once", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.sync();
    core.step(2, refused(1, 2, core.session(2), [1, 1]));
    expect(core.peer(2)).toMatchObject({ state: "probe", match: 1, next: 2 });
    expect(appends(core.take(), 2)).toEqual([{ prev: 1, entries: [2], commit: 1 }]);
  });

  test("V6: no hint takes `next` to the match or below", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.sync();
    core.step(2, refused(1, 2, core.session(2), [0, 0]));
    core.sync();
    core.step(2, refused(1, 1, core.session(2), [0, 0]));
    expect(core.peer(2)).toMatchObject({ match: 1, next: 2 });
  });

  test("G6: a member that refuses what it acknowledged is asked once a heartbeat, not for ever", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.sync();
    core.step(2, refused(1, 2, core.session(2), [0, 0]));
    core.take();
    let asked = 0;
    for (let i = 0; i < 20; i++) {
      core.step(2, refused(1, 1, core.session(2), [0, 0]));
      asked += appends(core.take(), 2).length;
    }
    expect(asked).toBe(0);
    core.step(2, beat(1));
    expect(appends(core.take(), 2).length).toBe(1);
    expect(core.peer(2).match).toBe(1);
  });
});

describe("streaming", () => {
  test("S2, F5: everything proposed since the last take goes out in one append, and once", () => {
    const core = leader();
    core.raft.propose([put(1), put(2)]);
    core.raft.propose([put(3)]);
    const said = core.take();
    expect(appends(said, 2)).toEqual([{ prev: 1, entries: [2, 3, 4], commit: 1 }]);
    core.raft.propose([put(4)]);
    expect(appends(core.take(), 2)).toEqual([{ prev: 4, entries: [5], commit: 1 }]);
  });

  test("F5: messages are cut at their limit, and one entry always fits", () => {
    const size = entryBytes(entry(1, 1, "aaa"));
    const core = leader({ config: { maxMessageBytes: size * 2, inflightBytesMax: 10_000 } });
    core.raft.propose([put(1), put(2), put(3), put(4, 500)]);
    expect(appends(core.take(), 2).map(({ entries }) => entries)).toEqual([[2, 3], [4], [5]]);
  });

  test("F1: the window in messages", () => {
    const core = leader({ config: { inflightCountMax: 2 } });
    for (let i = 1; i <= 4; i++) {
      core.raft.propose([put(i)]);
      core.take();
    }
    expect(core.peer(2).next).toBe(4);
    core.step(2, ok(1, 2, core.session(2)));
    expect(appends(core.take(), 2)).toEqual([{ prev: 3, entries: [4, 5], commit: 1 }]);
  });

  test("F1: the window in bytes", () => {
    const core = leader({ config: { maxMessageBytes: 200, inflightBytesMax: 200 } });
    core.raft.propose([put(1, 150), put(2, 150), put(3, 10)]);
    expect(appends(core.take(), 2).map(({ entries }) => entries)).toEqual([[2], [3]]);
    core.step(2, ok(1, 3, core.session(2)));
    expect(appends(core.take(), 2)).toMatchObject([{ prev: 3, entries: [4] }]);
  });

  test("B40, F2: a full window whose messages were all lost drains with a heartbeat's answer", () => {
    const core = leader({ config: { inflightCountMax: 2 } });
    for (let i = 1; i <= 4; i++) {
      core.raft.propose([put(i)]);
      core.take();
    }
    core.step(2, beat(1));
    expect(appends(core.take(), 2)).toEqual([{ prev: 3, entries: [], commit: 1 }]);
    core.step(2, refused(1, 3, core.session(2), [1, 1]));
    expect(appends(core.take(), 2)).toEqual([{ prev: 1, entries: [2, 3, 4, 5], commit: 1 }]);
  });

  test("B40, F3: a member that has everything gets from probing back to streaming while all is idle", () => {
    const core = leader();
    core.raft.unreachable(m(2));
    expect(core.peer(2).state).toBe("probe");
    expect(core.sync()).toEqual([]);
    core.step(2, beat(1));
    expect(appends(core.take(), 2)).toEqual([{ prev: 1, entries: [], commit: 1 }]);
    core.step(2, ok(1, 1, core.session(2)));
    expect(core.peer(2).state).toBe("replicate");
  });

  test("B40: what was lost at the end is found though nothing new is proposed", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.propose(1, "lost");
    group.lose();
    group.until(() => group.node(3).raft.status().commit === group.node(1).raft.status().lastIndex, "3 has it");
  });

  test("a probe is sent once until there is an answer", () => {
    const core = leader();
    core.raft.unreachable(m(2));
    core.step(2, beat(1));
    core.raft.propose([put(1)]);
    expect(appends(core.take(), 2).length).toBe(1);
    core.raft.propose([put(2)]);
    expect(appends(core.take(), 2)).toEqual([]);
  });

  test("F4: unreachable touches neither the match nor a snapshot, and is nothing to a follower", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.sync();
    core.raft.unreachable(m(2));
    core.raft.unreachable(m(9));
    expect(core.peer(2)).toMatchObject({ state: "probe", match: 1, next: 2 });
    new Core().raft.unreachable(m(2));
  });

  test("B24, A12: answers of an earlier session move nothing", () => {
    const core = leader();
    const old = core.session(2);
    core.step(2, ok(1, 1, old - 100)).step(2, ok(1, 1, old + 100));
    const before = core.peer(2);
    core.raft.propose([put(1)]);
    core.sync();
    core
      .step(2, ok(1, 2, 0))
      .step(2, ok(1, 2, old + 100))
      .step(2, refused(1, 2, old + 100, [0, 0]));
    expect(core.peer(2)).toMatchObject({ match: before.match, state: "replicate" });
    core.step(2, ok(1, 2, old));
    expect(core.peer(2).match).toBe(2);
  });

  test("nobody has what was never sent", () => {
    const core = leader().step(2, ok(1, 99, 1));
    expect(core.peer(2).match).toBe(1);
  });
});

describe("commit", () => {
  test("A13: by a majority, for an entry of this term", () => {
    const core = leader({ conf: conf([1, 2, 3, 4, 5]) });
    core.raft.propose([put(1)]);
    core.settle();
    core.step(2, ok(1, 2, core.session(2)));
    expect(core.raft.status().commit).toBe(1);
    core.step(3, ok(1, 2, core.session(3)));
    expect(core.raft.status().commit).toBe(2);
  });

  test("A13: entries of older terms only with one of this term on top (Raft paper section 5.4.2)", () => {
    const core = new Core({ log: [1, 2], term: 3 });
    core.raft.campaign();
    for (const kind of ["preVoteResponse", "voteResponse"] as const) {
      core.sync();
      core.step(2, { kind, term: term(4), granted: true, commit: at(0), commitTerm: term(0) });
    }
    core.heard(core.sync());
    core.step(2, ok(4, 2, core.session(2)));
    expect(core.raft.status()).toMatchObject({ role: "leader", commit: 0 });
    core.step(2, ok(4, 3, core.session(2)));
    expect(core.raft.status().commit).toBe(3);
  });

  test("A15, B09: the leader's own copy counts when it is durable, not before", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.take();
    core.begin();
    core.step(2, ok(1, 2, core.session(2)));
    expect(core.raft.status().commit).toBe(1);
    core.finish();
    expect(core.raft.status().commit).toBe(2);
  });

  test("Q1, W10: committed by the others, it is applied once the own write is done", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.take();
    core.begin();
    core.step(2, ok(1, 2, core.session(2))).step(3, ok(1, 2, core.session(3)));
    core.take();
    expect([core.raft.status().commit, core.committed]).toEqual([2, []]);
    core.finish();
    core.take();
    expect(core.committed.map(({ index }) => index)).toEqual([2]);
  });

  test("A16: a commit is told once, with entries if there are any", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.settle();
    core.step(2, ok(1, 2, core.session(2)));
    expect(appends(core.take(), 2)).toEqual([{ prev: 2, entries: [], commit: 2 }]);
    expect(appends(core.take(), 2)).toEqual([]);
    core.raft.propose([put(2)]);
    core.step(2, ok(1, 2, core.session(2)));
    expect(appends(core.take(), 2)).toEqual([{ prev: 2, entries: [3], commit: 2 }]);
  });

  test("A14: a heartbeat tells each what it is known to have", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.settle();
    core.step(2, ok(1, 2, core.session(2)));
    core.take();
    const told = only(core.tick().take(), "heartbeat").map(({ to, message }) => [to, message.commit]);
    expect(told).toEqual([
      [2, 2],
      [3, 1],
    ]);
  });
});

describe("applying", () => {
  const handed = (core: Core): number[] => {
    core.take();
    const indexes = core.committed.map(({ index }) => index);
    core.committed = [];
    return indexes;
  };

  test("B19, Q4: a small limit hands out piece by piece and skips nothing, after a restart too", () => {
    const options: CoreOptions = {
      conf: conf([1, 2]),
      log: [1, 1, 1, 1],
      commit: 4,
      applied: 1,
      config: { applyBytesMax: entryBytes(entry(1, 1)) * 2 },
    };
    const core = new Core(options);
    expect(handed(core)).toEqual([2, 3]);
    expect(handed(core)).toEqual([]);
    core.raft.applied(at(2));
    expect(handed(core)).toEqual([4]);
    core.raft.applied(at(4));
    expect(handed(core)).toEqual([]);
  });

  test("Q4: an entry beyond the limit goes alone", () => {
    const core = new Core({ log: [1, 1], commit: 2, config: { applyBytesMax: 1 } });
    expect(handed(core)).toEqual([1]);
    core.raft.applied(at(1));
    expect(handed(core)).toEqual([2]);
  });

  test("V2: more than was handed out cannot have been applied", () => {
    const core = new Core({ log: [1, 1], commit: 1 });
    core.take();
    expect(() => core.raft.applied(at(2))).toThrow("V2");
  });
});

describe("proposals", () => {
  test("U6: each comes back once, placed or dropped", () => {
    const core = leader();
    core.raft.propose([put(1), put(2)]);
    new Core().raft.propose([put(3)]);
    core.take();
    expect(core.placed).toEqual([
      { ref: 1, index: 2 },
      { ref: 2, index: 3 },
    ]);
    const lonely = new Core();
    lonely.raft.propose([put(3)]);
    lonely.take();
    expect(lonely.dropped).toEqual([{ ref: 3, reason: "noLeader" }]);
  });

  test("U1: above the bound they are refused by name, one oversized is not, an empty one never", () => {
    const core = leader({ config: { uncommittedBytesMax: 100 } });
    core.raft.propose([put(1, 500), put(2, 1), { ref: 3, data: EMPTY }]);
    core.take();
    expect(core.placed.map(({ ref }) => ref)).toEqual([1, 3]);
    expect(core.dropped).toEqual([{ ref: 2, reason: "busy" }]);
  });

  test("U2, B41: what was applied no longer counts, down to nothing", () => {
    const core = leader({ config: { uncommittedBytesMax: 100 } });
    for (let i = 1; i <= 50; i++) {
      core.raft.propose([put(i, 60), put(100 + i, 40)]);
      acknowledgeAll(core, core.settle());
      expect(core.raft.status().uncommittedBytes).toBe(0);
    }
    expect(core.dropped).toEqual([]);
  });

  test("U2, B41: neither a lost leadership nor entries from before an election leak", () => {
    const core = leader({ config: { uncommittedBytesMax: 100 } });
    core.raft.propose([put(1, 90)]);
    core.settle();
    core.step(2, heartbeat(2));
    expect(core.raft.status().uncommittedBytes).toBe(0);
    const again = leader({ log: [1, 1, 1], commit: 0 });
    expect(again.raft.status()).toMatchObject({ uncommittedBytes: 0, applied: 4 });
  });

  test("B42: stepping down decides nothing about what was placed", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.settle();
    core.step(2, heartbeat(2));
    core.settle();
    expect([core.placed.length, core.dropped]).toEqual([1, []]);
  });

  test("a follower sends them on in messages of limited size, and each answer comes back", () => {
    const core = new Core({ term: 1, config: { maxMessageBytes: 100, inflightBytesMax: 100 } }).step(2, heartbeat(1));
    core.raft.propose([put(1, 60), put(2, 60), put(3, 10)]);
    const sent = only(core.take(), "forwardPropose");
    expect(sent.map(({ to, message }) => [to, message.proposals.map(({ ref }) => ref)])).toEqual([
      [2, [1]],
      [2, [2]],
      [2, [3]],
    ]);
    core.step(2, { kind: "proposeRefused", refs: [1, 3], reason: "busy" });
    core.take();
    expect(core.dropped).toEqual([
      { ref: 1, reason: "busy" },
      { ref: 3, reason: "busy" },
    ]);
  });

  test("U3, U5: the leader takes them or says why not; who does not lead sends nothing further", () => {
    const core = leader({ config: { uncommittedBytesMax: 10 } });
    const proposals = [1, 2].map((ref) => ({ ref, kind: "normal" as const, data: encodeUtf8("123456789") }));
    core.step(2, { kind: "forwardPropose", proposals });
    core.step(2, { kind: "forwardPropose", proposals: [{ ref: 3, kind: "confChange", data: EMPTY }] });
    const said = core.take();
    expect(core.raft.status().lastIndex).toBe(2);
    expect(core.placed).toEqual([]);
    expect(only(said, "proposeRefused").map(({ message }) => message)).toEqual([
      { kind: "proposeRefused", refs: [2], reason: "busy" },
      { kind: "proposeRefused", refs: [3], reason: "invalid" },
    ]);
    const follower = new Core({ term: 1 }).step(2, heartbeat(1)).step(3, { kind: "forwardPropose", proposals });
    const answers = only(follower.take(), "proposeRefused");
    expect(answers.map(({ to, message }) => [to, message.refs, message.reason])).toEqual([[3, [1, 2], "noLeader"]]);
  });
});

describe("a write to disk", () => {
  test("W1-W3: term, vote, cut and entries are one batch", () => {
    const core = new Core({ log: [1, 1, 1], commit: 1 }).step(2, append(3, [1, 1], [3, 3], { commit: at(2) }));
    const batch = core.begin()!;
    expect(batch).toMatchObject({ seq: 1, hardState: { term: 3, votedFor: undefined, commit: 2 }, cutFrom: 2 });
    expect(batch.entries.map(({ index, term: t }) => [index, t])).toEqual([
      [2, 3],
      [3, 3],
    ]);
  });

  test("W8: a commit alone is not worth one, and rides in the next", () => {
    const core = new Core({ log: [1, 1], term: 1 }).step(2, heartbeat(1, 2));
    expect(core.begin()).toBeUndefined();
    core.step(2, append(1, [2, 1], [1]));
    expect(core.begin()!.hardState.commit).toBe(2);
  });

  test("B17, W5: entries restored after two changes of leader are durable when their own write is", () => {
    const core = new Core({ log: [1], commit: 1 });
    core.step(2, append(2, [1, 1], [2])).take();
    core.begin();
    core.step(3, append(3, [1, 1], [3])).take();
    core.begin();
    core.step(2, append(4, [1, 1], [2])).take();
    core.begin();
    core.finish();
    expect(core.raft.status().persistedIndex).toBe(1);
    core.finish();
    expect(core.raft.status().persistedIndex).toBe(1);
    core.finish();
    expect(core.raft.status().persistedIndex).toBe(2);
  });

  test("J3: what was handed out never changes afterwards", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    const first = core.raft.takeReady()!;
    const kept = structuredClone({ ...first, messages: first.messages.length });
    core.raft.readIndex(5);
    core.raft.propose([put(2)]);
    core.tick(2);
    core.step(2, heartbeat(9));
    core.raft.readIndex(6);
    core.raft.takeReady();
    expect({ ...first, messages: first.messages.length }).toEqual(kept);
  });

  test("S3: nothing new, nothing to take", () => {
    const core = leader();
    acknowledgeAll(core, core.settle());
    expect([core.raft.takeReady(), core.raft.takePersist()]).toEqual([undefined, undefined]);
    new Core().step(2, vote(1, [0, 0])).sync();
  });
});

test("held appends leave with the next take that holds nothing: one for all that was proposed, heartbeats meanwhile", () => {
  const core = leader();
  acknowledgeAll(core, core.settle());
  core.take();
  const said: Outgoing[] = [];
  for (const ref of [1, 2, 3]) {
    core.raft.propose([put(ref)]);
    said.push(...(core.raft.takeReady(true)?.messages ?? []));
  }
  core.tick();
  said.push(...(core.raft.takeReady(true)?.messages ?? []));
  expect(new Set(said.map(({ message }) => message.kind))).toEqual(new Set(["heartbeat"]));
  const { lastIndex } = core.raft.status();
  const sent = appends(core.take(), 2);
  expect(sent.map(({ entries }) => entries)).toEqual([[lastIndex - 2, lastIndex - 1, lastIndex]]);
});
