/** Changes of membership, from the proposal to the last consequence (rules M). */
import { describe, expect, test } from "vitest";
import { EMPTY } from "../../src/base/bytes.ts";
import { decodeConfChange, encodeConfChange } from "../../src/raft/codec.ts";
import type { ConfChange } from "../../src/raft/membership-types.ts";
import { acknowledgeAll, at, beat, Core, conf, entry, heartbeat, leader, m, ok, only, voted } from "./core.ts";
import { Group, VETO } from "./group.ts";

function change(action: ConfChange["steps"][number]["action"], ...ids: number[]): ConfChange {
  return { steps: ids.map((n) => ({ action, id: m(n) })), transition: "auto", context: EMPTY };
}

const voters = (group: Group, n: number): bigint[] => [...group.node(n).raft.conf.voters];

describe("proposeConfChange", () => {
  test("M4: one at a time: the next waits until the last is applied", () => {
    const core = leader();
    core.raft.proposeConfChange(1, change("addLearner", 4));
    core.raft.proposeConfChange(2, change("addLearner", 5));
    acknowledgeAll(core, core.sync());
    core.take();
    expect(core.dropped).toEqual([{ ref: 2, reason: "confChangePending" }]);
  });

  test("M4: not before the leader has applied what lay in its log when it was elected", () => {
    const core = new Core({ log: [1, 1], commit: 0 });
    core.raft.campaign();
    for (const kind of ["preVoteResponse", "voteResponse"] as const) {
      core.sync();
      core.step(2, voted(2, true, kind));
    }
    core.heard(core.sync());
    core.raft.proposeConfChange(1, change("addLearner", 4));
    core.step(2, ok(2, 3, core.session(2)));
    core.sync();
    core.raft.applied(at(1));
    core.raft.proposeConfChange(2, change("addLearner", 4));
    core.raft.applied(at(2));
    core.raft.proposeConfChange(3, change("addLearner", 4));
    core.take();
    expect(core.dropped.map(({ ref, reason }) => [ref, reason])).toEqual([
      [1, "confChangePending"],
      [2, "confChangePending"],
    ]);
    expect(core.placed.map(({ ref }) => ref)).toEqual([3]);
  });

  test("M4, B28: not before an entry of the leader's own term is committed", () => {
    const core = new Core({ log: [1], commit: 1, applied: 1 });
    core.raft.campaign();
    for (const kind of ["preVoteResponse", "voteResponse"] as const) {
      core.sync();
      core.step(2, voted(2, true, kind));
    }
    core.sync();
    core.raft.proposeConfChange(1, change("addLearner", 4));
    core.take();
    expect(core.dropped).toEqual([{ ref: 1, reason: "confChangePending" }]);
  });

  test("M3: what does not fit is refused before it is anywhere", () => {
    const core = leader({ conf: conf([1]) });
    core.settle();
    core.raft.proposeConfChange(1, change("remove", 1));
    core.raft.proposeConfChange(2, change("remove"));
    core.take();
    expect(core.dropped.map(({ reason }) => reason)).toEqual(["invalid", "invalid"]);
    expect(core.raft.status().lastIndex).toBe(1);
  });

  test("a follower sends it on; without a leader it is dropped", () => {
    const core = new Core({ term: 1 });
    core.raft.proposeConfChange(1, change("addVoter", 4));
    core.step(2, heartbeat(1));
    core.raft.proposeConfChange(2, change("addVoter", 4));
    const [sent] = only(core.take(), "forwardPropose");
    expect(core.dropped).toEqual([{ ref: 1, reason: "noLeader" }]);
    expect(sent!.message.proposals).toMatchObject([{ ref: 2, kind: "confChange" }]);
    expect(decodeConfChange(sent!.message.proposals[0]!.data)).toEqual(change("addVoter", 4));
  });
});

describe("a change of membership", () => {
  test("M2: takes effect when it is applied, with everything that counts", () => {
    const core = leader();
    core.raft.proposeConfChange(1, change("addVoter", 4));
    core.sync();
    expect(core.raft.conf.voters.length).toBe(3);
    core.step(2, ok(1, 2, core.session(2))).take();
    expect(core.raft.applyConfChange(at(2), change("addVoter", 4)).voters.length).toBe(4);
    core.raft.applied(at(2));
    core.raft.propose([{ ref: 2, data: EMPTY }]);
    core.settle();
    core.step(2, ok(1, 3, core.session(2)));
    expect(core.raft.status().commit).toBe(2);
    core.step(3, ok(1, 3, core.session(3)));
    expect(core.raft.status().commit).toBe(3);
  });

  test("M7: a new member is probed at once, and the others keep their places", () => {
    const core = leader();
    core.raft.proposeConfChange(1, change("addLearner", 4));
    acknowledgeAll(core, core.sync(), [3]);
    core.take();
    const before = core.peer(2);
    core.raft.applyConfChange(at(2), change("addLearner", 4));
    expect(core.peer(4)).toMatchObject({ match: 0, next: 2, state: "probe", recentActive: true });
    expect(core.peer(2)).toEqual(before);
    expect(only(core.take(), "append").map(({ to }) => to)).toContain(4);
  });

  test("M6: a veto changes nothing, on anybody", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.change(1, { steps: [{ action: "remove", id: m(3) }], context: VETO });
    group.settle();
    group.until(() => group.up.every(({ raft }) => raft.status().applied === raft.status().lastIndex), "all applied");
    expect([1, 2, 3].map((n) => voters(group, n).length)).toEqual([3, 3, 3]);
    group.change(1, { steps: [{ action: "remove", id: m(3) }] });
    group.settle();
    expect(voters(group, 1).length).toBe(2);
  });

  test("Q5: nothing behind a change is applied before it is", () => {
    const data = encodeConfChange(change("addVoter", 4));
    const entries = [{ ...entry(1, 1), kind: "confChange" as const, data }, entry(2, 1)];
    const core = new Core({ entries, commit: 2 });
    core.take();
    expect(core.committed.map(({ index }) => index)).toEqual([1]);
    core.raft.applyConfChange(at(1), change("addVoter", 4));
    core.take();
    expect(core.committed.length).toBe(1);
    core.raft.applied(at(1));
    core.take();
    expect(core.committed.length).toBe(2);
  });

  test("M2: a change that was not handed out cannot have been applied", () => {
    const core = new Core({ log: [1], commit: 1 });
    expect(() => core.raft.applyConfChange(at(1), change("addVoter", 4))).toThrow("M2");
  });

  test("M8: a commit that only the new quorum allows is made at once", () => {
    const core = leader({ conf: conf([1, 2, 3, 4]) });
    core.raft.proposeConfChange(1, change("remove", 4));
    acknowledgeAll(core, core.sync(), [4]);
    core.take();
    core.raft.propose([{ ref: 2, data: EMPTY }]);
    core.settle();
    core.step(2, ok(1, 3, core.session(2)));
    expect(core.raft.status().commit).toBe(2);
    core.raft.applyConfChange(at(2), change("remove", 4));
    expect(core.raft.status().commit).toBe(3);
  });

  function removed(): Core {
    const core = leader();
    core.raft.proposeConfChange(1, change("remove", 1));
    core.sync();
    core
      .step(2, ok(1, 2, core.session(2)))
      .step(3, ok(1, 2, core.session(3)))
      .sync();
    core.raft.applyConfChange(at(2), change("remove", 1));
    core.raft.propose([{ ref: 2, data: EMPTY }]);
    core.raft.applied(at(2));
    return core;
  }

  test("M8, M14: a removed leader refuses, and goes once a quorum of the others knows of the commit", () => {
    const core = removed();
    // Whether or not appends are held back: they may be lost, so a heartbeat tells it too.
    expect(core.raft.takeReady(true)?.dropped).toEqual([{ ref: 2, reason: "notMember" }]);
    core.take();
    // Two others: one is no quorum, and an echo of an older heartbeat proves nothing.
    core.step(2, beat(1, 1));
    core.step(3, beat(1, 0));
    expect(core.role).toBe("leader");
    core.tick();
    expect(only(core.take(), "heartbeat").map(({ message }) => message.commit)).toEqual([2, 2]);
    core.step(3, beat(1, 2));
    expect(core.take().map(({ to, message }) => [to, message.kind])).toEqual([[m(2), "timeoutNow"]]);
    expect(core.role).toBe("follower");
    core.tick(40);
    expect([core.role, core.take()]).toEqual(["follower", []]);
  });

  test("M8, C1: a removed leader that nobody answers steps down all the same", () => {
    const core = removed();
    core.tick(20);
    core.take();
    core.tick(40);
    expect([core.role, core.take()]).toEqual(["follower", []]);
  });

  test("M14: that a change is committed is written as soon as it is applied", () => {
    const core = new Core({
      entries: [{ ...entry(1, 1), kind: "confChange", data: encodeConfChange(change("remove", 3)) }],
    });
    core.step(2, heartbeat(1, 1)).sync();
    core.raft.applyConfChange(at(1), change("remove", 3));
    expect(core.begin()?.hardState.commit).toBe(1);
  });

  test("M8: the others go on without it", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.change(1, { steps: [{ action: "remove", id: m(1) }] });
    group.settle();
    group.until(() => group.leader() !== undefined, "a new leader");
    const ref = group.propose(group.leader()!.id);
    group.settle();
    expect(group.placed.has(ref)).toBe(true);
    expect(group.leader()!.raft.status().commit).toBe(group.placed.get(ref)!.index);
  });

  test("M9, B25: nobody campaigns with a committed change unapplied", () => {
    const data = encodeConfChange(change("addVoter", 4));
    const entries = [{ ...entry(1, 1), kind: "confChange" as const, data }];
    const core = new Core({ entries, commit: 1 });
    core.take();
    core.tick(40);
    expect(core.role).toBe("follower");
    core.raft.applyConfChange(at(1), change("addVoter", 4));
    core.raft.applied(at(1));
    expect(core.tick().role).toBe("preCandidate");
  });

  test("B25: nor does a slow state machine make two quorums", () => {
    const group = new Group({ voters: 3, manual: true });
    group.elect(1);
    group.settle();
    group.change(1, { steps: [{ action: "remove", id: m(3) }] });
    // Member 2 knows the commit and does not apply it.
    for (let i = 0; i < 40; i++) {
      for (const node of group.up) group.completeWrite(node);
      while (group.network.length > 0) group.deliver(0);
      group.apply(group.node(1));
    }
    expect(voters(group, 1).length).toBe(2);
    expect([voters(group, 2).length, group.node(2).queue.length]).toEqual([3, 1]);
    group.crash(1);
    for (let i = 0; i < 60; i++) group.tick(2);
    expect(group.node(2).raft.status().role).toBe("follower");
    group.apply(group.node(2));
    for (let i = 0; i < 60; i++) group.tick(2);
    expect(group.node(2).raft.status().role).toBe("preCandidate");
  });

  test("B24, A12: removed and added again, a member begins a new session", () => {
    const core = leader({ conf: conf([1, 2], { learners: [3] }) });
    core.raft.propose([{ ref: 9, data: EMPTY }]);
    acknowledgeAll(core, core.settle());
    const old = core.session(3);
    for (const [index, what] of [
      [3, change("remove", 3)],
      [4, change("addLearner", 3)],
    ] as const) {
      core.raft.proposeConfChange(index, what);
      core.heard(core.sync());
      core.step(2, ok(1, index, core.session(2))).take();
      core.raft.applyConfChange(at(index), what);
      core.raft.applied(at(index));
    }
    core.heard(core.take());
    expect(core.session(3)).toBeGreaterThan(old);
    core.step(3, ok(1, 3, old));
    expect(core.peer(3).match).toBe(0);
    core.step(3, ok(1, 3, core.session(3)));
    expect(core.peer(3).match).toBe(3);
  });

  test("M11, B30: a learner counts for no commit", () => {
    const core = leader({ conf: conf([1, 2, 3], { learners: [4, 5] }) });
    core.raft.propose([{ ref: 1, data: EMPTY }]);
    core.settle();
    core.step(4, ok(1, 2, core.session(4))).step(5, ok(1, 2, core.session(5)));
    expect(core.raft.status().commit).toBe(1);
  });

  test("M12: a member that joins learns its place from the log", () => {
    const group = new Group({ voters: 1 });
    group.elect(1);
    group.change(1, { steps: [{ action: "addLearner", id: m(2) }] });
    group.settle();
    group.flush(group.node(1));
    group.until(() => group.node(2).raft.conf.learners.includes(m(2)), "2 knows it is a learner");
    group.change(1, { steps: [{ action: "addVoter", id: m(2) }] });
    group.settle();
    group.until(() => voters(group, 2).length === 2, "2 knows it votes");
  });
});

describe("a joint phase", () => {
  const swap: ConfChange["steps"] = [
    { action: "addVoter", id: m(4) },
    { action: "remove", id: m(3) },
  ];

  test("M5: the leader leaves by itself once it is applied", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.change(1, { steps: swap });
    group.settle();
    group.flush(group.node(1));
    group.until(() => [1, 2, 4].every((n) => voters(group, n).join() === "1,2,4"), "all have left");
    expect(group.node(1).raft.conf.votersOutgoing).toEqual([]);
    expect(group.oracle.counts).toMatchObject({ jointEntered: 1, jointLeft: 1 });
  });

  test("M5: a new leader leaves what another entered", () => {
    const group = new Group({ voters: 3, manual: true });
    group.elect(1);
    group.settle();
    group.change(1, { steps: [{ action: "addVoter", id: m(4) }], transition: "joint" });
    for (let i = 0; i < 60 && group.node(2).raft.conf.votersOutgoing.length === 0; i++) {
      for (const node of group.up) group.completeWrite(node);
      while (group.network.length > 0) group.deliver(0);
      group.apply(group.node(2));
      if (i % 10 === 9) group.tick(1);
    }
    expect(group.node(2).raft.conf.autoLeave).toBe(true);
    group.crash(1);
    group.flush(group.node(2));
    group.until(() => voters(group, 2).length === 4 && group.node(2).raft.conf.votersOutgoing.length === 0, "left");
    expect(group.leader()!.id).not.toBe(m(1));
  });

  test("M3: commits and elections need both halves", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.blocked.add("1>4");
    group.change(1, { steps: [...swap, { action: "addVoter", id: m(5) }, { action: "remove", id: m(2) }] });
    group.settle();
    expect(group.node(1).raft.conf.votersOutgoing.length).toBe(3);
    group.isolate(4);
    group.isolate(5);
    const { commit } = group.node(1).raft.status();
    group.propose(1);
    group.settle();
    expect(group.node(1).raft.status().commit).toBe(commit);
    group.heal();
    group.flush(group.node(1));
    group.until(() => group.leader()?.raft.conf.votersOutgoing.length === 0, "left in the end");
  });

  test("M4: nothing but the leave is accepted meanwhile", () => {
    const core = leader();
    const enter = { steps: [{ action: "addVoter" as const, id: m(4) }], transition: "joint" as const, context: EMPTY };
    core.raft.proposeConfChange(1, enter);
    core.sync();
    core.step(2, ok(1, 2, core.session(2))).take();
    core.raft.applyConfChange(at(2), enter);
    core.raft.proposeConfChange(2, change("addVoter", 5));
    core.raft.applied(at(2));
    core.raft.proposeConfChange(3, change("addVoter", 5));
    core.take();
    expect(core.dropped.map(({ ref, reason }) => [ref, reason])).toEqual([
      [2, "confChangePending"],
      [3, "confChangePending"],
    ]);
    expect(core.raft.status().lastIndex).toBe(3);
  });

  test("C1: a leader that hears one half only steps down", () => {
    const core = leader({ conf: conf([1, 4, 5], { votersOutgoing: [1, 2, 3] }) });
    for (let i = 0; i < 5; i++) core.step(2, beat(1)).step(3, beat(1)).tick(4);
    expect(core.role).toBe("follower");
  });

  test("X1: a voter of the outgoing half may still take over", () => {
    const core = leader({ conf: conf([1, 2, 4], { votersOutgoing: [1, 2, 3] }) });
    expect(core.raft.transferLeader(m(3))).toBe(true);
  });
});
