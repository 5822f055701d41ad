/** What a core believes of what it finds (rules W8, W9, G, and the options). */
import { describe, expect, test } from "vitest";
import { Core, conf, leader, m, only, vote } from "./core.ts";
import { Group } from "./group.ts";

describe("a restart", () => {
  test("G2: as a follower without a leader, even if the vote names itself", () => {
    const core = new Core({ log: [1, 3], term: 3, votedFor: 1 });
    expect(core.raft.status()).toMatchObject({ role: "follower", leader: undefined, votedFor: m(1), term: 3 });
    expect(core.begin()).toBeUndefined();
  });

  test("B01: with the term it remembers it does not lead that term again", () => {
    expect(leader({ log: [1, 3], term: 3, votedFor: 1 }).term).toBe(4);
  });

  test("W9: a last entry of a later term raises the term, and no vote was given in it", () => {
    const core = new Core({ log: [1, 5], term: 3, votedFor: 2 });
    expect(core.raft.status()).toMatchObject({ term: 5, votedFor: undefined });
    expect(core.begin()!.hardState).toMatchObject({ term: 5, votedFor: undefined });
  });

  test("W8, B44: a commit beyond the log stops the node instead of being clipped", () => {
    expect(() => new Core({ log: [1, 1], commit: 3 })).toThrow("W8");
    expect(() => new Core({ log: [1, 1], applied: 3 })).toThrow("W8");
  });

  test("Q7: the state machine's own index is where applying goes on", () => {
    const core = new Core({ log: [1, 1, 1], commit: 2, applied: 1 });
    core.take();
    expect(core.committed.map(({ index }) => index)).toEqual([2]);
    expect(new Core({ log: [1, 1, 1], commit: 0, applied: 2 }).raft.status().commit).toBe(2);
  });

  test("V2, V4, V9: what cannot be is refused", () => {
    expect(() => new Core({ base: [5, 1], applied: 3 })).toThrow("V2");
    expect(() => new Core({ log: [2, 1] })).toThrow("V4");
    expect(() => new Core({ conf: conf([1], { learners: [1] }) })).toThrow("V9");
  });

  test.each([
    ["a bound of nothing", { inflightCountMax: 0 }, "config"],
    ["half a byte", { maxMessageBytes: 0.5 }, "config"],
    ["heartbeats slower than elections", { heartbeatTicks: 10 }, "config"],
    ["a window below one message", { inflightBytesMax: 10, maxMessageBytes: 11 }, "F1"],
  ])("options: %s is refused", (_, config, rule) => {
    expect(() => new Core({ config })).toThrow(rule);
  });

  test("W10, B09: a sole voter applies nothing that a crash could take back", () => {
    const group = new Group({ voters: 1, manual: true });
    group.elect(1);
    group.settle();
    const one = group.node(1);
    group.propose(1, "lost with the power");
    expect(one.writing.length).toBe(1);
    expect(one.queue.length).toBe(0);
    const { commit } = one.raft.status();
    group.crash(1, 0);
    group.restart(1);
    group.settle();
    expect(one.raft.status().lastIndex).toBe(commit);
  });

  test("B10: a vote is remembered through a crash", () => {
    const group = new Group({ voters: 3, manual: true });
    group.act(1, (raft) => raft.step(m(2), vote(5, [9, 1])));
    group.completeWrite(group.node(1));
    expect(group.network.some(({ message }) => message.kind === "voteResponse" && message.granted)).toBe(true);
    group.crash(1, 0);
    group.restart(1);
    const core = group.node(1).raft;
    core.step(m(3), vote(5, [9, 1]));
    const said = core.takeReady()!.messages;
    expect(only(said, "voteResponse").map(({ message }) => message.granted)).toEqual([false]);
  });
});
