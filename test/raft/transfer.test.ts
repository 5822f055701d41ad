/** Handing leadership over (rules X). */
import { describe, expect, test } from "vitest";
import { EMPTY } from "../../src/base/bytes.ts";
import { term } from "../../src/base/ids.ts";
import type { Message } from "../../src/raft/message.ts";
import { append, at, beat, Core, conf, heartbeat, leader, m, ok, only } from "./core.ts";
import { Group } from "./group.ts";

const put = (ref: number) => ({ ref, data: Uint8Array.of(ref) });
const timeoutNow = (at_: number, last: readonly [number, number]): Message => ({
  kind: "timeoutNow",
  term: term(at_),
  lastIndex: at(last[0]),
  lastTerm: term(last[1]),
});

describe("transferLeader", () => {
  test("X2: a target that has everything is told at once", () => {
    const core = leader();
    expect(core.raft.transferLeader(m(2))).toBe(true);
    expect(only(core.take(), "timeoutNow")).toEqual([{ to: 2, message: timeoutNow(1, [1, 1]) }]);
  });

  test("X2: one that lags is told when it has caught up", () => {
    const core = leader();
    core.raft.propose([put(1)]);
    core.sync();
    core.raft.transferLeader(m(2));
    expect(only(core.take(), "timeoutNow")).toEqual([]);
    core.step(2, ok(1, 2, core.session(2)));
    expect(only(core.take(), "timeoutNow")).toEqual([{ to: 2, message: timeoutNow(1, [2, 1]) }]);
  });

  test("X1: only to a voter other than itself, only by the leader", () => {
    const core = leader({ conf: conf([1, 2, 3], { learners: [4] }) });
    expect([m(4), m(9), m(1)].map((id) => core.raft.transferLeader(id))).toEqual([false, false, false]);
    expect(core.raft.status().leadTransferee).toBeUndefined();
    expect(new Core().raft.transferLeader(m(2))).toBe(false);
  });

  test("X2, U3: proposals and reads are refused meanwhile, B34: so none is lost with the old leader", () => {
    const core = leader();
    core.raft.transferLeader(m(2));
    core.raft.propose([put(1)]);
    core.raft.proposeConfChange(2, { steps: [{ action: "addVoter", id: m(4) }], transition: "auto", context: EMPTY });
    core.raft.readIndex(3);
    core.take();
    expect(core.dropped).toEqual([
      { ref: 1, reason: "transferring" },
      { ref: 2, reason: "transferring" },
    ]);
    expect(core.readsDropped).toEqual([{ ref: 3, reason: "transferring" }]);
    expect(core.raft.status().lastIndex).toBe(1);
  });

  test("X3, B34: after an election timeout proposals resume; asking again does not extend it (X1)", () => {
    const core = leader();
    core.raft.transferLeader(m(2));
    core.step(3, beat(1)).tick(5);
    expect(core.raft.transferLeader(m(2))).toBe(true);
    core.step(3, beat(1)).tick(5);
    expect(core.raft.status()).toMatchObject({ role: "leader", leadTransferee: undefined });
    core.raft.propose([put(1)]);
    core.take();
    expect(core.placed.length).toBe(1);
  });

  test("X1: another target takes the first one's place, with a deadline of its own", () => {
    const core = leader();
    core.raft.transferLeader(m(2));
    core.step(3, beat(1)).tick(9);
    core.raft.transferLeader(m(3));
    core.tick(1);
    expect(core.raft.status().leadTransferee).toBe(m(3));
  });

  test("X3: naming itself ends it", () => {
    const core = leader();
    core.raft.transferLeader(m(2));
    expect(core.raft.transferLeader(m(1))).toBe(true);
    expect(core.raft.status().leadTransferee).toBeUndefined();
  });

  test("X3: a leader that steps down has none pending when it leads again", () => {
    const core = leader();
    core.raft.transferLeader(m(2));
    core.step(2, heartbeat(2));
    expect(core.raft.status().leadTransferee).toBeUndefined();
  });

  test("X3, B34: a target that lost its vote ends it", () => {
    const group = new Group({ voters: 3, manual: true });
    group.elect(1);
    group.settle();
    group.change(1, { steps: [{ action: "remove", id: m(3) }] });
    group.act(1, (raft) => raft.transferLeader(m(3)));
    group.isolate(3);
    group.settle();
    const { leadTransferee, role, conf: now } = group.node(1).raft.status();
    expect([role, leadTransferee, now.voters]).toEqual(["leader", undefined, [m(1), m(2)]]);
  });

  test("X6: the leave of a joint phase waits for the transfer to end, and is made up for", () => {
    const core = leader();
    const change = { steps: [{ action: "addVoter" as const, id: m(4) }], transition: "joint" as const, context: EMPTY };
    core.raft.proposeConfChange(1, change);
    core.sync();
    core.step(2, ok(1, 2, core.session(2))).step(3, ok(1, 2, core.session(3)));
    core.take();
    core.raft.transferLeader(m(2));
    core.raft.applyConfChange(at(2), change);
    core.raft.applied(at(2));
    expect(core.raft.status()).toMatchObject({ lastIndex: 2, conf: { autoLeave: true } });
    core.step(2, beat(1)).step(3, beat(1)).tick(10);
    expect(core.raft.status()).toMatchObject({ role: "leader", leadTransferee: undefined, lastIndex: 3 });
  });
});

describe("the target", () => {
  const follower = (log: readonly number[], of = conf([1, 2, 3])): Core =>
    new Core({ log, conf: of, term: 1 }).step(2, heartbeat(1));

  test("X5, P4: campaigns at once, without a pre-vote, and may disturb (E11)", () => {
    const core = follower([1, 1]).step(2, timeoutNow(1, [2, 1]));
    expect(core.role).toBe("candidate");
    expect(only(core.take(), "requestVote").map(({ message }) => message.transfer)).toEqual([true, true]);
  });

  test("X6: the privilege lives for one campaign", () => {
    const core = follower([1, 1]).step(2, timeoutNow(1, [2, 1]));
    core.sync();
    core.tick(10);
    expect(only(core.take(), "requestPreVote").map(({ message }) => message.transfer)).toEqual([false, false]);
    expect(core.role).toBe("preCandidate");
  });

  test.each([
    ["lacks what the leader had", follower([1]), 2],
    ["hears it from somebody it does not follow", follower([1, 1]), 3],
    ["is a learner", follower([1, 1], conf([2, 3], { learners: [1] })), 2],
    ["was removed", follower([1, 1], conf([2, 3])), 2],
  ])("X5, B34: does nothing if it %s", (_, core, from) => {
    core.take();
    core.step(from, timeoutNow(1, [2, 1]));
    expect([core.role, core.term, core.take()]).toEqual(["follower", 1, []]);
  });

  test("X5: and neither while it campaigns itself", () => {
    const core = follower([1, 1]).tick(10);
    core.take();
    core.step(2, timeoutNow(1, [2, 1]));
    expect(core.role).toBe("preCandidate");
  });

  test("X2, B06: leads within the round, against loyal followers, and the old leader's reads end", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.propose(1);
    group.settle();
    const read = group.read(1);
    group.lose(({ message }) => message.kind === "heartbeat");
    group.act(1, (raft) => raft.transferLeader(m(3)));
    group.settle();
    expect(group.leader()!.id).toBe(m(3));
    expect(group.reads.get(read)).toEqual({ index: undefined });
    expect(group.oracle.counts.transfers).toBe(1);
  });

  test("B06: a TimeoutNow that comes after the deadline still elects, and stale reads are refused by rounds", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.blocked.add("1>2");
    group.act(1, (raft) => raft.transferLeader(m(3)));
    const late = group.network.find(({ message }) => message.kind === "timeoutNow")!;
    group.lose();
    for (let i = 0; i < 10; i++) {
      group.tick(1);
      group.settle();
    }
    expect(group.leader()!.raft.status().leadTransferee).toBeUndefined();
    group.heal();
    group.network.push(late);
    group.deliver(group.network.length - 1);
    group.isolate(1);
    group.settle();
    expect(group.leader()!.id).toBe(m(3));
    group.propose(3);
    group.settle();
    const stale = group.read(1);
    group.until(() => group.reads.has(stale), "the old leader gives up");
    expect(group.reads.get(stale)).toEqual({ index: undefined });
  });
});

test("append of the old leader's term after a transfer is told so", () => {
  const core = new Core({ log: [1], term: 2 }).step(2, append(1, [1, 1], [1]));
  expect(only(core.sync(), "appendResponse")[0]!.message).toMatchObject({ term: 2, rejected: true });
});
