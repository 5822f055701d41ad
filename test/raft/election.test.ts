/** Elections, pre-votes, terms, check-quorum (rules T, E, P, C). */
import { describe, expect, test } from "vitest";
import { EMPTY } from "../../src/base/bytes.ts";
import { term } from "../../src/base/ids.ts";
import { encodeConfChange } from "../../src/raft/codec.ts";
import {
  append,
  at,
  beat,
  Core,
  conf,
  entry,
  heartbeat,
  install,
  leader,
  m,
  ok,
  only,
  preVote,
  refused,
  vote,
  voted,
} from "./core.ts";
import { Group } from "./group.ts";

/** At the end of a pre-vote that everybody granted. */
function candidate(core: Core): Core {
  core.raft.campaign();
  for (const { to, message } of only(core.take(), "requestPreVote"))
    core.step(to, voted(message.term, true, "preVoteResponse"));
  expect(core.role).toBe("candidate");
  return core;
}

describe("the election timer", () => {
  test("E1: fires at the drawn timeout, with a pre-vote that changes nothing (P1)", () => {
    const core = new Core({ config: { electionTimeout: () => 13 } });
    expect(core.tick(12).take()).toEqual([]);
    const asked = only(core.tick().take(), "requestPreVote");
    expect(asked.map(({ to, message }) => [to, message.term])).toEqual([
      [2, 1],
      [3, 1],
    ]);
    expect(core.raft.status()).toMatchObject({ role: "preCandidate", term: 0, votedFor: undefined });
    expect(core.begin()).toBeUndefined();
  });

  test.each([
    ["an append", append(1, [0, 0], [])],
    ["a heartbeat", heartbeat(1)],
    ["a snapshot", install(1, [3, 1])],
  ])("E1: %s of the leader starts it anew", (_, message) => {
    const core = new Core({ term: 1 }).step(2, heartbeat(1)).tick(9).step(2, message).tick(9);
    expect(core.role).toBe("follower");
  });

  test("E1: a granted vote starts it anew, a refused one and a pre-vote do not", () => {
    const granted = new Core()
      .tick(9)
      .step(2, vote(1, [0, 0]))
      .tick(9);
    expect(granted.role).toBe("follower");
    const behind = new Core({ log: [1] })
      .tick(9)
      .step(2, vote(2, [0, 0]))
      .tick();
    expect(behind.role).toBe("preCandidate");
    const asked = new Core()
      .tick(9)
      .step(2, preVote(1, [0, 0]))
      .tick();
    expect(asked.role).toBe("preCandidate");
  });

  test("E3, M11: a learner and a stranger never campaign", () => {
    for (const of of [conf([2, 3], { learners: [1] }), conf([2, 3]), conf([])]) {
      const core = new Core({ conf: of }).tick(40);
      core.raft.campaign();
      expect([core.role, core.take()]).toEqual(["follower", []]);
    }
  });

  test("E3, N12: nobody campaigns while a snapshot is being installed", () => {
    const core = new Core().step(2, install(1, [5, 1]));
    core.tick(40);
    expect(core.role).toBe("follower");
    core.sync();
    core.tick(1);
    expect(core.role).toBe("preCandidate");
  });

  test("N13: chunks of a snapshot are a sign of life, from the leader only", () => {
    const core = new Core().step(2, heartbeat(1)).tick(9);
    core.raft.leaderContact(m(3));
    core.raft.leaderContact(m(2));
    expect(core.tick(9).role).toBe("follower");
    core.raft.leaderContact(m(3));
    expect(core.tick(1).role).toBe("preCandidate");
  });
});

describe("a vote", () => {
  test("E5: is written before the answer leaves", () => {
    const core = new Core().step(2, vote(1, [0, 0]));
    expect(core.take()).toEqual([]);
    const batch = core.begin()!;
    expect(batch.hardState).toMatchObject({ term: 1, votedFor: m(2) });
    expect(core.take()).toEqual([]);
    core.finish();
    expect(core.take()).toEqual([{ to: m(2), message: voted(1, true) }]);
  });

  test("E5: asked again before the write is done, the answer still waits for it", () => {
    const core = new Core().step(2, vote(1, [0, 0]));
    core.take();
    core.begin();
    core.step(2, vote(1, [0, 0]));
    expect(core.take()).toEqual([]);
    expect(core.begin()).toBeUndefined();
    core.finish();
    expect(only(core.take(), "voteResponse").map(({ message }) => message.granted)).toEqual([true, true]);
  });

  test("E5: is given once a term", () => {
    const core = new Core().step(2, vote(1, [0, 0])).step(3, vote(1, [0, 0]));
    expect(only(core.sync(), "voteResponse").map(({ to, message }) => [to, message.granted])).toEqual([
      [2, true],
      [3, false],
    ]);
  });

  test("T5: a later term is adopted even if the vote is refused", () => {
    const core = new Core({ log: [1, 1], votedFor: 1 }).step(2, vote(4, [1, 1]));
    expect(only(core.sync(), "voteResponse")[0]!.message).toMatchObject({ granted: false, term: 4 });
    expect(core.raft.status()).toMatchObject({ term: 4, votedFor: undefined });
  });

  test("B26, E13: a learner votes, and so does a member that knows no configuration", () => {
    for (const of of [conf([2, 3], { learners: [1] }), conf([])]) {
      const core = new Core({ conf: of }).step(2, vote(1, [0, 0]));
      expect(only(core.sync(), "voteResponse")[0]!.message.granted).toBe(true);
    }
  });

  test("B26: the group lives on though the promoted learner never heard of its promotion", () => {
    const group = new Group({ voters: 2, learners: 1 });
    group.elect(1);
    const promoted = m(3);
    group.blocked.add("1>3");
    group.change(1, { steps: [{ action: "addVoter", id: promoted }] });
    group.until(() => group.node(2).raft.conf.voters.includes(promoted), "member 2 knows");
    expect(group.node(2).raft.conf.voters).toContain(promoted);
    expect(group.node(3).raft.conf.learners).toContain(promoted);
    group.crash(1);
    group.until(() => group.leader() !== undefined, "member 2 leads with the learner's vote");
    expect(group.leader()!.id).toBe(m(2));
  });

  test("E9, B14: stepping down within a term keeps the vote", () => {
    const core = candidate(new Core());
    core.sync();
    core.step(3, append(1, [0, 0], [1]));
    expect(core.raft.status()).toMatchObject({ role: "follower", leader: m(3), votedFor: m(1) });
    core.raft.forgetLeader();
    core.step(2, vote(1, [5, 0]));
    expect(only(core.sync(), "voteResponse")[0]!.message.granted).toBe(false);
  });
});

describe("winning", () => {
  test("E4: a candidate votes for itself in a new term and asks the voters of both halves once", () => {
    const core = candidate(new Core({ conf: conf([1, 2, 4], { votersOutgoing: [1, 2, 3], learners: [5] }) }));
    expect(only(core.take(), "requestVote").map(({ to }) => to)).toEqual([2, 4, 3]);
    expect(core.raft.status()).toMatchObject({ term: 1, votedFor: m(1), leader: undefined });
  });

  test("E6, B01: the others' votes elect nobody whose own vote is not durable", () => {
    const core = candidate(new Core());
    core.take();
    core.begin();
    core.step(2, voted(1, true)).step(3, voted(1, true));
    expect(core.role).toBe("candidate");
    expect(only(core.take(), "append")).toEqual([]);
    core.finish();
    expect(core.role).toBe("leader");
  });

  test("B01: a candidate that crashes before its vote is durable cannot lead its term twice", () => {
    const group = new Group({ voters: 3, manual: true });
    const one = group.node(1);
    group.act(1, (raft) => raft.campaign());
    const deliver = (to: number): void => {
      for (let i = 0; i < group.network.length; ) {
        if (group.network[i]!.to === m(to)) group.deliver(i);
        else i += 1;
      }
    };
    deliver(2);
    deliver(1);
    expect(one.raft.status()).toMatchObject({ role: "candidate", term: 2 });
    deliver(2);
    group.completeWrite(group.node(2));
    deliver(1);
    expect(one.raft.status().role).toBe("candidate");
    group.crash(1, 0);
    group.restart(1);
    expect(one.raft.status().term).toBe(1);
    group.settle();
    group.elect(1);
    group.elect(1);
    // The oracle throws if term 2 is led by two incarnations (O1).
    expect(group.leader()!.raft.status().term).toBeGreaterThan(2);
  });

  test("E7: the first answer of a member counts, and only of the kind asked for", () => {
    const core = new Core({ conf: conf([1, 2, 3, 4, 5]) });
    core.raft.campaign();
    core.step(2, voted(1, true, "preVoteResponse")).step(2, voted(1, true, "preVoteResponse"));
    expect(core.role).toBe("preCandidate");
    core.step(3, voted(1, true, "preVoteResponse"));
    expect(core.role).toBe("candidate");
    core.sync();
    core.step(2, voted(1, true, "preVoteResponse")).step(3, voted(1, true, "preVoteResponse"));
    core.step(4, voted(1, false)).step(4, voted(1, true)).step(2, voted(1, true));
    expect(core.role).toBe("candidate");
    core.step(3, voted(1, true));
    expect(core.role).toBe("leader");
  });

  test("E8: refused by enough, it follows in the same term and keeps its vote", () => {
    const core = candidate(new Core());
    core.step(2, voted(1, false)).step(3, voted(1, false));
    expect(core.raft.status()).toMatchObject({ role: "follower", term: 1, votedFor: m(1), leader: undefined });
  });

  test("B18: an answer of a later term is no grant", () => {
    const core = candidate(new Core({ conf: conf([1, 2, 3, 4, 5]) }));
    core.sync();
    core.step(2, voted(9, true));
    expect(core.raft.status()).toMatchObject({ role: "follower", term: 9, votedFor: undefined });
    core.step(3, voted(1, true)).step(4, voted(1, true));
    expect(core.role).toBe("follower");
  });

  test("E10: a sole voter leads as soon as its own vote is durable", () => {
    const core = new Core({ conf: conf([1]) });
    core.raft.campaign();
    expect(core.role).toBe("candidate");
    core.begin();
    core.finish();
    expect(core.role).toBe("leader");
  });

  test("E12: everybody is probed from the end, and the term begins with an empty entry", () => {
    const core = candidate(new Core({ log: [1, 1], commit: 2 }));
    core.sync();
    core.step(2, voted(2, true));
    const { progress, lastIndex } = core.raft.status();
    expect(lastIndex).toBe(3);
    expect(progress.map(({ match, next, state }) => [match, next, state])).toEqual([
      [2, 3, "probe"],
      [0, 3, "probe"],
      [0, 3, "probe"],
    ]);
    const [first] = only(core.take(), "append");
    expect(first!.message).toMatchObject({ prevIndex: 2, prevTerm: 1, entries: [{ index: 3, term: 2, data: EMPTY }] });
  });

  test("Q1: the first append leaves while the leader's own write is under way", () => {
    const core = candidate(new Core());
    core.sync();
    core.step(2, voted(1, true));
    expect(only(core.take(), "append").length).toBe(2);
    expect(core.raft.status().persistedIndex).toBe(0);
    expect(core.begin()!.entries.length).toBe(1);
  });
});

describe("pre-vote", () => {
  test("P2, P3: a quorum of grants starts the real campaign, late ones do nothing", () => {
    const core = candidate(new Core());
    expect(core.term).toBe(1);
    core.step(3, voted(1, true, "preVoteResponse"));
    expect([core.role, core.term]).toEqual(["candidate", 1]);
  });

  test("P2: nothing is recorded, so several may be granted", () => {
    const core = new Core().step(2, preVote(1, [0, 0])).step(3, preVote(1, [0, 0]));
    expect(only(core.take(), "preVoteResponse").map(({ message }) => [message.granted, message.term])).toEqual([
      [true, 1],
      [true, 1],
    ]);
    expect(core.raft.status()).toMatchObject({ term: 0, votedFor: undefined });
    expect(core.begin()).toBeUndefined();
  });

  test("T3: neither a pre-vote's term nor the one of a grant is adopted", () => {
    const core = new Core().step(2, preVote(8, [0, 0])).step(2, voted(8, true, "preVoteResponse"));
    expect(core.term).toBe(0);
  });

  test("T4, B31: the term of a refusal is", () => {
    const core = new Core();
    core.raft.campaign();
    core.step(2, voted(8, false, "preVoteResponse"));
    expect(core.raft.status()).toMatchObject({ role: "follower", term: 8 });
  });

  test("T7, B31: a pre-vote of the past is refused at the voter's term", () => {
    const core = new Core({ term: 8 }).step(2, preVote(3, [0, 0]));
    expect(only(core.sync(), "preVoteResponse")[0]!.message).toMatchObject({ granted: false, term: 8 });
  });

  test("B31: long log and low term, short log and high term elect somebody", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.isolate(3);
    for (let i = 0; i < 5; i++) group.propose(1);
    group.settle();
    group.crash(1);
    // Member 3 is forced into later terms behind its partition; member 2 has the log.
    group.heal();
    for (let i = 0; i < 3; i++) {
      group.act(3, (raft) => raft.step(m(2), voted(10 + i, false, "preVoteResponse")));
    }
    expect(group.node(3).raft.status().term).toBe(12);
    group.until(() => group.leader()?.id === m(2), "member 2 leads");
  });

  test("E7: an answer from an earlier term's pre-vote does not count", () => {
    const core = new Core({ term: 4 });
    core.raft.campaign();
    core.step(2, voted(4, true, "preVoteResponse"));
    expect(core.role).toBe("preCandidate");
  });
});

describe("E11: a leader that is well", () => {
  test("keeps its followers' votes and their terms (T2)", () => {
    const core = new Core({ term: 1 }).step(2, heartbeat(1)).tick(9);
    core.take();
    core.step(3, vote(5, [9, 4])).step(3, preVote(5, [9, 4]));
    expect([core.term, core.take()]).toEqual([1, []]);
    core.step(3, vote(5, [9, 4], { transfer: true }));
    expect(core.term).toBe(5);
  });

  test("is given up after an election timeout of silence", () => {
    const core = new Core({ term: 1, config: { electionTimeout: () => 19 } }).step(2, heartbeat(1)).tick(10);
    core.step(3, preVote(2, [9, 1]));
    expect(only(core.take(), "preVoteResponse")[0]!.message.granted).toBe(true);
  });

  test("is not deposed by a candidate that it can hear itself", () => {
    const core = leader();
    core.step(3, vote(9, [9, 8]));
    expect([core.role, core.term]).toEqual(["leader", 1]);
  });

  test("forgetLeader lets a follower vote at once, until the leader speaks again", () => {
    const core = new Core({ term: 1 }).step(2, heartbeat(1));
    core.raft.forgetLeader();
    core.step(3, preVote(2, [9, 1]));
    expect(only(core.take(), "preVoteResponse")[0]!.message.granted).toBe(true);
    core.step(2, heartbeat(1)).step(3, preVote(2, [9, 1]));
    expect(only(core.take(), "preVoteResponse")).toEqual([]);
  });
});

describe("check-quorum", () => {
  test("C1, C4: a leader that no quorum answers steps down within two timeouts and is silent", () => {
    const core = leader();
    core.tick(20);
    expect(core.raft.status()).toMatchObject({ role: "follower", term: 1, leader: undefined });
    core.take();
    expect(only(core.tick(5).take(), "heartbeat")).toEqual([]);
  });

  test("C2: any answer of one voter of three keeps it", () => {
    const core = leader();
    for (let i = 0; i < 5; i++) core.step(2, beat(1)).tick(10);
    expect(core.role).toBe("leader");
  });

  test("B30, C2: learners' answers do not", () => {
    const core = leader({ conf: conf([1, 2, 3], { learners: [4, 5] }) });
    for (let i = 0; i < 5; i++) core.step(4, beat(1)).step(5, beat(1)).tick(4);
    expect(core.role).toBe("follower");
  });

  test("a sole voter needs nobody", () => {
    const core = leader({ conf: conf([1]) });
    expect(core.tick(100).role).toBe("leader");
  });
});

describe("terms", () => {
  test.each([
    ["append", append(3, [0, 0], [3])],
    ["heartbeat", heartbeat(3)],
  ])("T6: an %s of the past is told the term, and nothing else happens", (_, message) => {
    const core = new Core({ term: 8 }).step(2, message);
    expect(core.sync()).toEqual([{ to: m(2), message: refused(8, 0, 0, [0, 0]) }]);
    expect(core.raft.status()).toMatchObject({ term: 8, leader: undefined, lastIndex: 0 });
  });

  test("T6: which makes a stale leader step down", () => {
    const core = leader();
    core.step(2, refused(8, 0, 0, [0, 0]));
    expect(core.raft.status()).toMatchObject({ role: "follower", term: 8, votedFor: undefined, leader: undefined });
  });

  test("T5: only a leader's messages name the leader", () => {
    expect(new Core().step(2, heartbeat(3)).raft.status().leader).toBe(m(2));
    expect(new Core().step(2, ok(3, 0, 0)).raft.status()).toMatchObject({ term: 3, leader: undefined });
  });

  test.each([
    ["requestVote", vote(1, [9, 0])],
    ["voteResponse", voted(1, true)],
    ["appendResponse", ok(1, 1, 1)],
    ["heartbeatResponse", beat(1)],
    ["installSnapshot", install(1, [9, 1])],
    ["timeoutNow", { kind: "timeoutNow", term: term(1), lastIndex: at(0), lastTerm: term(0) } as const],
  ])("a stale %s is dropped", (_, message) => {
    const core = new Core({ term: 2 }).step(2, message);
    expect([core.sync(), core.raft.status().commit, core.role]).toEqual([[], 0, "follower"]);
  });

  test("T8, V6: two leaders of one term stop the node", () => {
    expect(() => leader().step(2, heartbeat(1))).toThrow("T8");
    expect(() => new Core().step(2, heartbeat(1)).step(3, heartbeat(1))).toThrow("T8");
  });

  test("T10: answers of strangers are dropped, their vote requests are not", () => {
    const core = leader();
    core.take();
    core.step(9, ok(1, 1, 1)).step(9, beat(1));
    expect(core.take()).toEqual([]);
    const voter = new Core().step(9, vote(1, [0, 0]));
    expect(only(voter.sync(), "voteResponse")[0]!.to).toBe(9);
  });

  test("T9, O12: the same calls give the same answers", () => {
    const all = (): unknown[] => {
      const core = leader({ log: [1, 1, 2] });
      core.raft.propose([{ ref: 1, data: EMPTY }]);
      return [core.settle(), core.tick(3).take(), core.raft.status()];
    };
    expect(all()).toEqual(all());
  });

  test("J7: what no member can have sent changes nothing", () => {
    const core = new Core({ term: 1 });
    const before = core.raft.status();
    core.step(2, { ...append(5, [0, 0], []), entries: [entry(3, 5)] });
    core.step(2, vote(5, [1, 5])).step(2, install(5, [3, 1], conf([1], { learners: [1] })));
    core.step(1, heartbeat(9)); // from itself
    expect(core.raft.status()).toEqual(before);
    expect(core.take()).toEqual([]);
  });
});

describe("M13: what somebody knows committed", () => {
  test("is committed wherever that very entry is", () => {
    const core = new Core({ log: [1, 1, 2], commit: 1 });
    core.step(2, preVote(3, [3, 2], { commit: at(2), commitTerm: term(1) }));
    expect(core.raft.status().commit).toBe(2);
    core.step(2, voted(1, false, "voteResponse", [3, 1]));
    expect(core.raft.status().commit).toBe(2);
    core.step(2, voted(2, false, "voteResponse", [3, 2]));
    expect(core.raft.status().commit).toBe(3);
  });

  test("B25: a candidate that thereby learns of a change it has not applied steps back", () => {
    const change = encodeConfChange({ steps: [{ action: "addVoter", id: m(4) }], transition: "auto", context: EMPTY });
    const entries = [entry(1, 1), { index: at(2), term: term(1), kind: "confChange" as const, data: change }];
    const core = candidate(new Core({ entries, commit: 1, applied: 1 }));
    core.sync();
    core.step(2, voted(2, true, "voteResponse", [2, 1])).step(3, voted(2, true, "voteResponse", [2, 1]));
    expect(core.raft.status()).toMatchObject({ role: "follower", commit: 2 });
    core.tick(40);
    expect(core.role).toBe("follower");
    core.take();
    core.raft.applyConfChange(at(2), { steps: [{ action: "addVoter", id: m(4) }], transition: "auto", context: EMPTY });
    core.raft.applied(at(2));
    expect(core.tick(1).role).toBe("preCandidate");
  });
});
