/** Snapshots and the release of the log (rules N, K). */
import { describe, expect, test } from "vitest";
import { EMPTY } from "../../src/base/bytes.ts";
import {
  acknowledgeAll,
  append,
  at,
  beat,
  Core,
  conf,
  heartbeat,
  install,
  leader,
  m,
  ok,
  only,
  refused,
} from "./core.ts";
import { Group } from "./group.ts";

describe("a follower that is sent a snapshot", () => {
  test("N9: makes it the base of its log, in one write, and answers after it", () => {
    const core = new Core({ log: [1, 1, 1] }).step(2, install(3, [9, 2], conf([1, 2]), 7));
    expect(core.take()).toEqual([]);
    expect(core.raft.installing).toEqual({ index: 9, term: 2, conf: conf([1, 2]) });
    const batch = core.begin()!;
    expect(batch).toMatchObject({
      install: { index: 9, term: 2 },
      cutFrom: undefined,
      entries: [],
      hardState: { commit: 9 },
    });
    expect(core.raft.status().applied).toBe(0);
    core.finish();
    expect(core.take()).toEqual([{ to: m(2), message: ok(3, 9, 7) }]);
    expect(core.raft.status()).toMatchObject({
      commit: 9,
      applied: 9,
      base: { index: 9, term: 2 },
      conf: conf([1, 2]),
    });
    expect(core.raft.installing).toBeUndefined();
  });

  test("N9: keeps its term and its vote", () => {
    const core = new Core({ term: 3, votedFor: 3 }).step(2, install(3, [9, 2]));
    core.sync();
    expect(core.raft.status()).toMatchObject({ term: 3, votedFor: m(3) });
  });

  test("B21, N10: nothing of a divergent log stays above it", () => {
    const core = new Core({ log: [1, 1, 1, 1, 1, 1], commit: 1 }).step(2, install(5, [4, 4]));
    core.sync();
    expect(core.raft.status().lastIndex).toBe(4);
    core.step(2, append(5, [4, 4], [5]));
    expect(only(core.sync(), "appendResponse")[0]!.message).toMatchObject({ rejected: false, index: 5 });
  });

  test("N6: one at or below the commit is answered with the commit", () => {
    const core = new Core({ log: [1, 1, 1], commit: 3, term: 1 }).step(2, install(1, [2, 1]));
    expect(core.sync()).toEqual([{ to: m(2), message: ok(1, 3, 1) }]);
  });

  test("N7: one whose last entry it has only moves the commit", () => {
    const core = new Core({ log: [1, 1, 1], commit: 1, term: 1 }).step(2, install(1, [2, 1]));
    expect(core.sync()).toEqual([{ to: m(2), message: ok(1, 2, 1) }]);
    expect(core.raft.status()).toMatchObject({ commit: 2, lastIndex: 3, base: { index: 0 } });
  });

  test("N11: one of another term than what is committed stops the node", () => {
    expect(() => new Core({ log: [1, 1], commit: 2 }).step(2, install(3, [2, 2]))).toThrow("N11");
  });

  test("N8, B27: one without it is ignored; the outgoing half and those demoted belong", () => {
    const outside = new Core({ id: 5 }).step(2, install(1, [9, 1]));
    expect(outside.raft.installing).toBeUndefined();
    for (const of of [
      conf([1, 2], { votersOutgoing: [1, 5] }),
      conf([1, 2], { learners: [5] }),
      conf([1, 2], { votersOutgoing: [1, 5], learnersNext: [5] }),
    ]) {
      const core = new Core({ id: 5 }).step(2, install(1, [9, 1], of));
      expect(core.raft.installing?.index).toBe(9);
    }
  });

  test("N12, W6: what is appended meanwhile queues behind it", () => {
    const core = new Core().step(2, install(1, [9, 1]));
    core.begin();
    core.step(2, append(1, [9, 1], [1], { commit: at(10) }));
    core.take();
    expect([core.committed, core.raft.status().persistedIndex]).toEqual([[], 0]);
    core.begin();
    core.finish();
    expect(core.raft.status().persistedIndex).toBe(9);
    core.finish();
    core.take();
    expect(core.committed.map(({ index }) => index)).toEqual([10]);
  });

  test("N12, B33: a newer one takes its place; the first one's completion does not clear it", () => {
    const core = new Core().step(2, install(1, [9, 1]));
    core.begin();
    core.step(2, install(1, [5, 1])).step(2, install(1, [20, 1]));
    core.begin();
    core.finish();
    expect(core.raft.installing?.index).toBe(20);
    expect(core.raft.status()).toMatchObject({ applied: 9, base: { index: 20 } });
    core.tick(40);
    expect(core.role).toBe("follower");
    core.finish();
    expect(core.raft.installing).toBeUndefined();
    expect(core.raft.status()).toMatchObject({ applied: 20, persistedIndex: 20 });
  });

  test("what the state machine says of entries from before the install is ignored", () => {
    const core = new Core({ log: [1, 1], commit: 2 });
    core.take();
    core.step(2, install(2, [9, 2]));
    core.raft.applied(at(1));
    core.sync();
    core.raft.applied(at(2));
    expect(core.raft.status().applied).toBe(9);
    expect(core.raft.applyConfChange(at(2), undefined)).toEqual(conf([1, 2, 3]));
  });

  test("V10: acknowledgements of entries that it throws away are withdrawn", () => {
    const core = new Core().step(2, append(1, [0, 0], [1, 1])).step(3, install(4, [9, 3]));
    expect(core.begin()!.messagesAfter.map(({ message }) => message)).toEqual([ok(4, 9, 1)]);
  });
});

describe("a leader whose log no longer reaches back", () => {
  function released(): Core {
    const core = leader();
    core.raft.propose([1, 2, 3].map((ref) => ({ ref, data: EMPTY })));
    acknowledgeAll(core, core.settle(), [3]);
    core.raft.release(at(4));
    core.step(3, beat(1));
    core.take();
    core.step(3, refused(1, 4, core.session(3), [1, 1]));
    core.take();
    return core;
  }
  const streams = (core: Core) => core.readys.flatMap(({ sendSnapshots }) => [...sendSnapshots]);
  const aborts = (core: Core) => core.readys.flatMap(({ abortSnapshots }) => [...abortSnapshots]);

  test("N3: asks the host to stream, sends heartbeats and nothing else", () => {
    const core = released();
    expect(streams(core).map(({ to }) => to)).toEqual([m(3)]);
    core.raft.propose([{ ref: 9, data: EMPTY }]);
    core.step(3, beat(1));
    const said = core.tick().take();
    expect(only(said, "append").map(({ to }) => to)).toEqual([2]);
    expect(only(said, "heartbeat").map(({ to }) => to)).toEqual([2, 3]);
  });

  test("A11: an acknowledgement that connects to the log ends it, whatever the stream says (N5)", () => {
    const core = released();
    const { session } = streams(core)[0]!;
    core.step(3, ok(1, 4, session)).take();
    expect(core.peer(3)).toMatchObject({ state: "replicate", match: 4 });
    expect(aborts(core)).toEqual([{ to: m(3), session }]);
    core.raft.snapshotSent(m(3), session, "ok");
    expect(core.peer(3).state).toBe("replicate");
  });

  test("sent: probed from the base, after an answer", () => {
    const core = released();
    const { session } = streams(core)[0]!;
    core.raft.snapshotSent(m(3), session, "ok");
    expect(core.peer(3)).toMatchObject({ state: "probe", match: 1, next: 5 });
    expect(only(core.take(), "append")).toEqual([]);
    core.step(3, ok(1, 4, session));
    expect(core.peer(3)).toMatchObject({ state: "replicate", match: 4 });
  });

  test("failed: waits for a sign of life, then streams again with a new session", () => {
    const core = released();
    const { session } = streams(core)[0]!;
    core.raft.snapshotSent(m(3), session + 1, "ok"); // of another attempt
    expect(core.peer(3).state).toBe("snapshot");
    core.raft.snapshotSent(m(3), session, "failed");
    core.take();
    expect(streams(core).length).toBe(1);
    core.step(3, beat(1)).take();
    expect(streams(core).length).toBe(2);
    expect(streams(core)[1]!.session).toBeGreaterThan(session);
  });

  test("N5: stepping down aborts it", () => {
    const core = released();
    core.step(2, heartbeat(2)).take();
    expect(aborts(core)).toEqual(streams(core));
  });

  test("N5: so does the removal of the member", () => {
    const core = released();
    const change = { steps: [{ action: "remove" as const, id: m(3) }], transition: "auto" as const, context: EMPTY };
    core.raft.proposeConfChange(1, change);
    core.sync();
    core.step(2, ok(1, 5, core.session(2))).take();
    core.raft.applyConfChange(at(5), change);
    core.take();
    expect(aborts(core)).toEqual(streams(core));
  });

  test("F7: only to a member that was heard of since the last check of the quorum", () => {
    const core = released();
    core.raft.snapshotSent(m(3), streams(core)[0]!.session, "failed");
    core.tick(9).step(2, beat(1)).step(3, beat(1)).tick().take();
    expect(streams(core).length).toBe(1);
    core.step(3, beat(1)).take();
    expect(streams(core).length).toBe(2);
  });

  test("B39, K4: a released log and an unknown follower need no proposal to find out", () => {
    const group = new Group({ voters: 1 });
    group.elect(1);
    for (let i = 0; i < 5; i++) group.propose(1);
    group.settle();
    group.flush(group.node(1));
    group.release(group.node(1), 0);
    expect(group.node(1).raft.status().base.index).toBe(group.node(1).raft.status().lastIndex);
    group.change(1, { steps: [{ action: "addLearner", id: m(2) }] });
    group.settle();
    group.flush(group.node(1));
    group.release(group.node(1), 0);
    group.until(() => group.node(2).raft.status().commit === group.node(1).raft.status().lastIndex, "2 has it");
    expect(group.oracle.counts.installs).toBeGreaterThan(0);
  });
});

describe("release", () => {
  test("K1: never beyond what is applied", () => {
    const core = new Core({ log: [1, 1], commit: 1, applied: 1 });
    expect(() => core.raft.release(at(2))).toThrow("K1");
    core.raft.release(at(1));
    expect(core.raft.status().base).toEqual({ index: 1, term: 1 });
    core.raft.release(at(1));
  });

  test("waits while a snapshot is being installed", () => {
    const core = new Core({ log: [1, 1], commit: 2, applied: 2 }).step(2, install(3, [9, 3]));
    core.raft.release(at(1));
    expect(core.raft.status().base.index).toBe(9);
  });

  test("N4: a follower just behind the release is served from the trailing entries", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.isolate(3);
    for (let i = 0; i < 10; i++) group.propose(1);
    group.settle();
    group.flush(group.node(1));
    group.release(group.node(1), 10);
    group.heal();
    group.until(() => group.node(3).raft.status().commit === group.node(1).raft.status().commit, "3 catches up");
    expect(group.oracle.counts.installs).toBe(0);
  });
});
