/** The oracle itself: each lie it is there to notice, told to it. */
import { describe, expect, test } from "vitest";
import { conf, entry, m, ok, voted } from "./core.ts";
import { Group } from "./group.ts";

function group(): Group {
  const some = new Group({ voters: 3 });
  some.elect(1);
  some.propose(1, "a");
  some.settle();
  return some;
}

const last = (some: Group): number => some.node(1).raft.status().lastIndex;

describe("the oracle", () => {
  test("O1: two leaders of a term, or one in two incarnations", () => {
    const some = group();
    some.oracle.restarted(some.node(1));
    some.node(1).incarnation += 1;
    expect(() => some.pump(some.node(1))).toThrow("O1");
  });

  test("O2: two entries of one index and term", () => {
    const some = group();
    const other = { ...some.node(1), raft: some.node(1).raft };
    const batch = (text: string, prev: number) => ({
      seq: 1,
      hardState: some.node(1).disk.hardState,
      cutFrom: undefined,
      entries: [entry(prev + 1, 2, text)],
      install: undefined,
      messagesAfter: [],
    });
    expect(() => some.oracle.batch(other, batch("a", last(some) - 1))).not.toThrow();
    expect(() => some.oracle.batch(other, batch("b", last(some) - 1))).toThrow("O2");
  });

  test("O3: a leader that lacks what was committed before its term", () => {
    const some = group();
    const other = new Group({ voters: 3 });
    other.elect(2);
    other.act(2, (raft) => raft.transferLeader(m(3)));
    other.settle();
    const { raft, disk } = other.node(3);
    expect(raft.status()).toMatchObject({ role: "leader", term: 3 });
    expect(() => some.oracle.observe(some, { ...some.node(3), raft, disk })).toThrow("O3");
  });

  test("O6: a leader whose own vote is not on its disk (E6)", () => {
    const some = new Group({ voters: 3 });
    some.elect(1);
    const { raft } = some.node(1);
    const fresh = new Group({ voters: 3 });
    expect(() => fresh.oracle.observe(fresh, { ...fresh.node(1), raft })).toThrow("O6");
  });

  test("O4: another entry applied than what was committed", () => {
    const some = group();
    expect(() => some.oracle.applied(some.node(2), entry(last(some), 1))).toThrow("O4");
  });

  test("O5: committed without a durable quorum", () => {
    const some = group();
    some.propose(1, "b");
    some.node(2).disk.entries.length = 0;
    some.node(3).disk.entries.length = 0;
    const session = some.network.find(({ message }) => message.kind === "append")!.message;
    some.lose();
    if (session.kind !== "append") throw new Error("no append");
    expect(() => some.act(1, (raft) => raft.step(m(2), ok(2, last(some), 2)))).toThrow("O5");
  });

  test("O6: promises that the disk does not hold", () => {
    const some = group();
    expect(() => some.send(some.node(2), m(3), voted(9, true))).toThrow("O6");
    expect(() => some.send(some.node(2), m(1), ok(2, 99, 1))).toThrow("O6");
    expect(() => some.send(some.node(2), m(1), ok(9, 1, 1))).toThrow("O6");
  });

  test("O8: a configuration that is not one step away", () => {
    const some = group();
    const far = { ...some.node(1), raft: new Group({ voters: 5 }).node(1).raft, machine: some.node(1).machine };
    const change = { ...entry(last(some), 2, "a", "confChange") };
    expect(() => some.oracle.applied(far, change)).toThrow("O8");
    expect(conf([1]).voters).toEqual([m(1)]);
  });

  test("O9: a read older than what was committed before it", () => {
    const some = group();
    some.oracle.readIssued(77, some);
    expect(() => some.oracle.readServed(77, last(some) - 1)).toThrow("O9");
  });

  test("O13, O4: two states at one index", () => {
    const some = group();
    const node = some.node(2);
    const known = entry(last(some), 2, "a");
    expect(() => some.oracle.applied({ ...node, machine: { ...node.machine, hash: 1 } }, known)).toThrow("O13");
  });

  test("W10: what the own disk does not hold is not applied", () => {
    const some = group();
    expect(() => some.oracle.applied(some.node(2), entry(99, 2))).toThrow("W10");
  });
});
