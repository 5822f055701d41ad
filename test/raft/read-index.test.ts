/** Linearizable reads without the log (rules R). */
import { describe, expect, test } from "vitest";
import { term } from "../../src/base/ids.ts";
import { ReadRounds } from "../../src/raft/read-index.ts";
import { acknowledgeAll, at, beat, Core, conf, heartbeat, leader, m, ok, only, voted } from "./core.ts";
import { Group } from "./group.ts";

const read = (ref: number, index = 3) => ({ ref, from: undefined, index: at(index) });
const refs = (reads: readonly { readonly ref: number }[]): number[] => reads.map(({ ref }) => ref);

describe("ReadRounds", () => {
  test("R5: what arrives during a round waits for the next", () => {
    const rounds = new ReadRounds();
    rounds.add(read(1));
    expect(rounds.begin()).toBe(1);
    rounds.add(read(2));
    expect(rounds.roundDue).toBe(false);
    expect(refs(rounds.confirm(1))).toEqual([1]);
    expect(rounds.roundDue).toBe(true);
    expect(rounds.begin()).toBe(2);
    expect(refs(rounds.confirm(1))).toEqual([]);
    expect(refs(rounds.confirm(2))).toEqual([2]);
  });

  test("R1: parked reads get their index when they are released", () => {
    const rounds = new ReadRounds();
    rounds.park(read(1, 3));
    expect(rounds.roundDue).toBe(false);
    rounds.release(at(8));
    rounds.begin();
    expect(rounds.confirm(1)).toEqual([read(1, 8)]);
  });

  test("R7: all of them are there to be failed", () => {
    const rounds = new ReadRounds();
    rounds.add(read(1));
    rounds.begin();
    rounds.add(read(2));
    rounds.park(read(3));
    expect(rounds.count).toBe(3);
    expect(refs(rounds.takeAll())).toEqual([1, 2, 3]);
    expect([rounds.count, rounds.takeAll()]).toEqual([0, []]);
  });

  test("V11: a round does not begin before the last one ended", () => {
    const rounds = new ReadRounds();
    rounds.add(read(1));
    rounds.begin();
    expect(() => rounds.begin()).toThrow("V11");
  });
});

describe("readIndex at the leader", () => {
  test("R2, R5: reads of one burst share one round of heartbeats", () => {
    const core = leader();
    core.raft.readIndex(1);
    core.raft.readIndex(2);
    const asked = only(core.take(), "heartbeat");
    expect(asked.map(({ to, message }) => [to, message.readPosition])).toEqual([
      [2, 1],
      [3, 1],
    ]);
    core.raft.readIndex(3);
    expect(only(core.take(), "heartbeat")).toEqual([]);
    core.step(2, beat(1, 1));
    const next = only(core.take(), "heartbeat");
    expect(core.reads).toEqual([
      { ref: 1, index: 1 },
      { ref: 2, index: 1 },
    ]);
    expect(next[0]!.message.readPosition).toBe(2);
  });

  test("R4, B08: an answer to an earlier heartbeat confirms nothing", () => {
    const core = leader();
    core.tick().take();
    core.raft.readIndex(1);
    core.take();
    core.step(2, beat(1, 0)).step(3, beat(1, 0));
    core.take();
    expect(core.reads).toEqual([]);
  });

  test("R2: neither does one position twice from one voter, nor one that was never issued", () => {
    const core = leader({ conf: conf([1, 2, 3, 4, 5]) });
    core.raft.readIndex(1);
    core.take();
    core.step(2, beat(1, 1)).step(2, beat(1, 1)).step(3, beat(1, 99));
    core.take();
    expect(core.reads).toEqual([]);
    core.step(3, beat(1, 1)).take();
    expect(core.reads.length).toBe(1);
  });

  test("R2: nor a learner's", () => {
    const core = leader({ conf: conf([1, 2, 3], { learners: [4] }) });
    core.raft.readIndex(1);
    core.take();
    core.step(4, beat(1, 1)).take();
    expect(core.reads).toEqual([]);
  });

  test("R2: a lost round is asked again with the next heartbeat", () => {
    const core = leader();
    core.raft.readIndex(1);
    core.take();
    expect(only(core.tick().take(), "heartbeat")[0]!.message.readPosition).toBe(1);
  });

  test("R3, B04: a ref asked again has a round of its own", () => {
    const core = leader();
    core.raft.readIndex(7);
    core.take();
    core.step(2, beat(1, 1)).take();
    core.raft.propose([{ ref: 1, data: Uint8Array.of(1) }]);
    acknowledgeAll(core, core.settle());
    core.raft.readIndex(7);
    core.take();
    // The other voter's answer to the first attempt.
    core.step(3, beat(1, 1)).take();
    expect(core.reads).toEqual([{ ref: 7, index: 1 }]);
    core.step(3, beat(1, 2)).take();
    expect(core.reads).toEqual([
      { ref: 7, index: 1 },
      { ref: 7, index: 2 },
    ]);
  });

  test("R1, B47: parked until an entry of its own term is committed, then read at that commit", () => {
    const core = new Core({ log: [1, 1], commit: 1, term: 1 });
    core.raft.campaign();
    for (const kind of ["preVoteResponse", "voteResponse"] as const) {
      core.sync();
      core.step(2, voted(2, true, kind));
    }
    core.heard(core.sync());
    core.raft.readIndex(1);
    expect(only(core.take(), "heartbeat")).toEqual([]);
    core.step(2, beat(2, 0)).step(3, beat(2, 0)).take();
    expect(core.reads).toEqual([]);
    core.step(2, ok(2, 3, core.session(2)));
    expect(only(core.take(), "heartbeat").length).toBe(2);
    core.step(2, beat(2, 1)).take();
    expect(core.reads).toEqual([{ ref: 1, index: 3 }]);
  });

  test("R6, B02: a sole voter answers alone, once an entry of its own term is committed", () => {
    const core = new Core({ conf: conf([1]), log: [1, 1], commit: 1 });
    core.raft.campaign();
    core.take();
    core.begin();
    core.finish();
    core.raft.readIndex(1);
    core.take();
    expect([core.role, core.reads]).toEqual(["leader", []]);
    core.settle();
    expect(core.reads).toEqual([{ ref: 1, index: 3 }]);
    core.raft.readIndex(2);
    core.take();
    expect(core.reads.length).toBe(2);
  });

  test("R6, B03: a removed leader does not take the last voter for itself", () => {
    const group = new Group({ voters: 2, manual: true });
    group.elect(1);
    group.settle();
    group.change(1, { steps: [{ action: "remove", id: m(1) }] });
    // Its own step-down waits for the host: what it is asked before that is not answered.
    for (let i = 0; i < 20 && group.node(1).queue.length === 0; i++) {
      for (const node of group.up) group.completeWrite(node);
      while (group.network.length > 0) group.deliver(0);
    }
    const one = group.node(1);
    const change = one.queue.shift()!;
    one.raft.applyConfChange(change.index, {
      steps: [{ action: "remove", id: m(1) }],
      transition: "auto",
      context: new Uint8Array(),
    });
    expect([one.raft.status().role, one.raft.conf.voters]).toEqual(["leader", [m(2)]]);
    one.raft.readIndex(999);
    const ready = one.raft.takeReady()!;
    expect([ready.reads, ready.readsDropped]).toEqual([[], [{ ref: 999, reason: "transferring" }]]);
    expect(one.raft.status().role).toBe("leader");
  });

  test("M8, B07: a read that waits is answered when the quorum shrinks to who has answered", () => {
    const core = leader({ conf: conf([1, 2]) });
    const change = {
      steps: [{ action: "remove" as const, id: m(2) }],
      transition: "auto" as const,
      context: new Uint8Array(),
    };
    core.raft.proposeConfChange(1, change);
    core.sync();
    core.raft.readIndex(5);
    core.take();
    core.step(2, ok(1, 2, core.session(2))).take();
    expect(core.reads).toEqual([]);
    core.raft.applyConfChange(at(2), change);
    core.raft.applied(at(2));
    core.take();
    expect(core.reads.map(({ ref }) => ref)).toEqual([5]);
  });

  test("M8, B07: or to who has answered, among others", () => {
    const core = leader({ conf: conf([1, 2, 3, 4]) });
    const steps = [{ action: "remove" as const, id: m(4) }];
    const change = { steps, transition: "auto" as const, context: new Uint8Array() };
    core.raft.proposeConfChange(1, change);
    core.sync();
    core.step(2, ok(1, 2, core.session(2))).step(3, ok(1, 2, core.session(3)));
    core.raft.readIndex(5);
    core.take();
    core.step(2, beat(1, 1)).take();
    expect(core.reads).toEqual([]);
    core.raft.applyConfChange(at(2), change);
    core.take();
    expect(core.reads).toEqual([{ ref: 5, index: 2 }]);
  });

  test("R7, B48: stepping down fails every one by name, the forwarded ones too", () => {
    const core = leader();
    core.raft.readIndex(1);
    core.take();
    core.raft.readIndex(2);
    core.step(3, { kind: "forwardRead", ref: 30 });
    core.step(2, heartbeat(2));
    const answers = only(core.take(), "readResponse");
    expect(core.readsDropped).toEqual([
      { ref: 1, reason: "noLeader" },
      { ref: 2, reason: "noLeader" },
    ]);
    expect(answers).toEqual([{ to: 3, message: { kind: "readResponse", ref: 30, index: undefined } }]);
  });

  test("the bound on pending reads has a name", () => {
    const core = leader({ config: { pendingReadsMax: 2 } });
    for (const ref of [1, 2, 3]) core.raft.readIndex(ref);
    core.step(2, { kind: "forwardRead", ref: 4 });
    const answers = only(core.take(), "readResponse");
    expect(core.readsDropped).toEqual([{ ref: 3, reason: "busy" }]);
    expect(answers.map(({ to, message }) => [to, message.ref, message.index])).toEqual([[2, 4, undefined]]);
  });

  test("B05, B06: a leader that was cut off serves nothing from before it was", () => {
    const group = new Group({ voters: 3 });
    group.elect(1);
    group.isolate(1);
    const stale = group.read(1);
    group.until(() => group.leader()?.id !== m(1), "a new leader");
    group.propose(group.leader()!.id);
    group.settle();
    const later = group.read(1);
    group.until(() => group.reads.has(stale) && group.reads.has(later), "both are failed");
    expect([group.reads.get(stale)?.index, group.reads.get(later)?.index]).toEqual([undefined, undefined]);
  });
});

describe("readIndex elsewhere", () => {
  test("R8: is sent to the leader, and its answer is good for that attempt alone", () => {
    const core = new Core({ term: 1 }).step(2, heartbeat(1));
    core.raft.readIndex(5);
    expect(only(core.take(), "forwardRead")).toEqual([{ to: 2, message: { kind: "forwardRead", ref: 5 } }]);
    core.step(2, { kind: "readResponse", ref: 5, index: at(9) });
    core.step(2, { kind: "readResponse", ref: 5, index: at(3) });
    core.step(2, { kind: "readResponse", ref: 6, index: at(3) });
    core.take();
    expect(core.reads).toEqual([{ ref: 5, index: 9 }]);
  });

  test("R8, M11: a learner asks too, and the leader confirms before it answers", () => {
    const group = new Group({ voters: 3, learners: 1 });
    group.elect(1);
    const ref = group.read(4);
    expect(group.reads.has(ref)).toBe(false);
    group.settle();
    expect(group.reads.get(ref)?.index).toBe(group.node(1).raft.status().commit);
  });

  test("R8, B48: without a leader, refused by it, or the leader gone: dropped by name", () => {
    const core = new Core({ term: 1 });
    core.raft.readIndex(1);
    core.step(2, heartbeat(1));
    core.raft.readIndex(2);
    core.step(2, { kind: "readResponse", ref: 2, index: undefined });
    core.raft.readIndex(3);
    core.step(3, heartbeat(2));
    core.raft.readIndex(4);
    core.raft.forgetLeader();
    core.take();
    expect(core.readsDropped).toEqual([1, 2, 3, 4].map((ref) => ({ ref, reason: "noLeader" })));
  });

  test("R8: who does not lead refuses what was sent to it", () => {
    const core = new Core({ term: 1 }).step(2, heartbeat(1)).step(3, { kind: "forwardRead", ref: 8 });
    expect(only(core.take(), "readResponse")).toEqual([
      { to: 3, message: { kind: "readResponse", ref: 8, index: undefined } },
    ]);
  });

  test("R8, U6: beyond the bound the oldest forwarded read gives way, so lost answers do not end all reads", () => {
    const core = new Core({ term: 1, config: { pendingReadsMax: 1 } }).step(2, heartbeat(1));
    core.raft.readIndex(1);
    core.raft.readIndex(2);
    core.take();
    expect(core.readsDropped).toEqual([{ ref: 1, reason: "busy" }]);
    core.step(2, { kind: "readResponse", ref: 1, index: at(7) });
    core.step(2, { kind: "readResponse", ref: 2, index: at(8) }).take();
    expect(core.reads).toEqual([{ ref: 2, index: 8 }]);
    expect(term(1)).toBe(core.term);
  });
});
