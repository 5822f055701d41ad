/** Whole exchanges as text, for people to read: who says what to whom, and what each writes before it does. */
import { describe, test } from "vitest";
import { term } from "../../src/base/ids.ts";
import { at, entry } from "./core.ts";
import { expectGolden } from "./golden.ts";
import { Group, type GroupOptions, m } from "./group.ts";

/** Steady timeouts, so that a change of chance changes no text. Messages pass only when the story says so. */
function story(options: Partial<GroupOptions> = {}): Group {
  return new Group({
    voters: 3,
    trace: true,
    ...options,
    config: { electionTimeout: () => 10, heartbeatTicks: 5, ...options.config },
  });
}

/** Elected and at rest, with the lines of how that came about forgotten. */
function led(options: Partial<GroupOptions> = {}): Group {
  const group = story(options);
  group.elect(1);
  group.lines.length = 0;
  return group;
}

function say(group: Group, what: string): void {
  group.say(`-- ${what}`);
}

function check(name: string, group: Group): void {
  expectGolden(name, `${group.lines.join("\n")}\n`);
}

/** A log that somebody wrote before the story begins. */
function writeLog(group: Group, n: number, terms: readonly number[]): void {
  const node = group.node(n);
  group.crash(n);
  node.disk.entries = terms.map((t, i) => entry(i + 2, t));
  node.disk.hardState = { term: term(terms.at(-1)!), votedFor: undefined, commit: at(1) };
  group.restart(n);
}

describe("exchanges", () => {
  test("first election: pre-vote, vote held until it is durable, the empty entry of the term", () => {
    const group = story();
    say(group, "1 hears nobody for ten ticks");
    group.tick(1, 10);
    group.settle();
    check("first-election", group);
  });

  test("replication and commit: the leader writes while its followers do", () => {
    const group = led({ manual: true });
    say(group, "two proposals in one burst, and one at a follower");
    group.proposeAll(1, ["a", "b"]);
    group.propose(2, "c");
    group.settle();
    check("replication", group);
  });

  test("log conflict: both sides skip whole terms", () => {
    const group = story();
    writeLog(group, 1, [2, 2, 5, 5, 5]);
    writeLog(group, 2, [2, 2, 3, 3, 3, 3, 4, 4]);
    writeLog(group, 3, [2, 2, 5, 5]);
    group.lines.length = 0;
    group.elect(1);
    check("log-conflict", group);
  });

  test("pre-vote behind a partition: nobody is disturbed by who comes back", () => {
    const group = led();
    say(group, "3 is cut off and asks in vain");
    group.isolate(3);
    group.tick(3, 25);
    group.settle();
    group.propose(1, "meanwhile");
    group.settle();
    say(group, "3 is back and asks; then the leader speaks");
    group.heal();
    group.tick(3, 10);
    group.settle();
    group.tick(1, 5);
    group.settle();
    check("pre-vote-partition", group);
  });

  test("transfer: the target catches up, is told, and wins over loyal followers", () => {
    const group = led();
    say(group, "3 misses an entry");
    group.blocked.add("1>3");
    group.propose(1, "a");
    group.settle();
    group.heal();
    say(group, "1 hands over to 3");
    group.act(1, (raft) => raft.transferLeader(m(3)));
    group.propose(1, "refused meanwhile");
    group.tick(1, 5);
    group.settle();
    check("transfer", group);
  });

  test("joint change: entered with two voters at once, left without being asked", () => {
    const group = led({ voters: 3, learners: 1 });
    group.change(1, {
      steps: [
        { action: "addVoter", id: m(4) },
        { action: "remove", id: m(3) },
      ],
    });
    group.settle();
    check("joint-change", group);
  });

  test("snapshot: a follower behind the release", () => {
    const group = led();
    group.isolate(3);
    for (const text of ["a", "b", "c"]) group.propose(1, text);
    group.settle();
    group.flush(group.node(1));
    group.release(group.node(1), 0);
    group.lines.length = 0;
    say(group, "1 has released everything that 3 lacks");
    group.heal();
    group.tick(1, 5);
    group.settle();
    group.propose(1, "d");
    group.settle();
    check("snapshot", group);
  });

  test("reads: one round for all that wait, from a follower too", () => {
    const group = led();
    say(group, "two reads at the leader; the one at a follower comes during their round");
    group.readAll(1, 2);
    group.read(2);
    group.deliver(group.network.findIndex(({ message }) => message.kind === "forwardRead"));
    group.settle();
    check("read-index", group);
  });
});
