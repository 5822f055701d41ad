/** Who may join, change and leave, decided from replicated state alone (etcd-semantics 7.1). */
import { describe, expect, test } from "vitest";
import { type MemberId, memberId } from "../../src/base/ids.ts";
import type { Command } from "../../src/machine/command.ts";
import { seedMembers } from "../../src/machine/machine.ts";
import type { Member as Listed } from "../../src/protocol/key-value.ts";
import { Member, MemoryState } from "../support/state.ts";

const [A, B, C, BIG] = [memberId(0xan), memberId(0xbn), memberId(0xcn), memberId(0xffff_ffff_ffff_fff0n)] as const;
const url = (id: MemberId): string => `ws://peer-${id}`;
const listed = (id: MemberId, more: Partial<Listed> = {}): Listed => ({
  id,
  name: `n${id}`,
  peerUrls: [url(id)],
  clientUrls: [],
  isLearner: false,
  ...more,
});
const add = (id: MemberId, more: object = {}): Command => ({
  kind: "memberAdd",
  id,
  name: "",
  peerUrls: [url(id)],
  clientUrls: [],
  isLearner: false,
  ...more,
});
const remove = (id: MemberId): Command => ({ kind: "memberRemove", id });
const promote = (id: MemberId): Command => ({ kind: "memberPromote", id });
const update = (id: MemberId, ...peerUrls: string[]): Command => ({ kind: "memberUpdate", id, peerUrls });

/** A and B, static. */
function cluster(): Member {
  const state = new MemoryState();
  seedMembers(state, [listed(A), listed(B)]);
  return new Member(state);
}

function run(member: Member, ...commands: Command[]): unknown {
  let last: unknown;
  for (const command of commands) {
    const { outcome } = member.apply(command);
    last = outcome.ok ? outcome.result : outcome.error.code;
  }
  return last;
}
const ids = (member: Member): readonly MemberId[] => member.machine.members().map(({ id }) => id);

describe("membership", () => {
  test("a new member is listed, with an empty name until it starts", () => {
    const member = cluster();
    expect(run(member, add(C))).toEqual({
      kind: "members",
      member: listed(C, { name: "" }),
      members: [listed(A), listed(B), listed(C, { name: "" })],
    });
  });

  test("lists go by id, unsigned", () => {
    const member = cluster();
    run(member, add(BIG), add(memberId(1n)));
    expect(ids(member)).toEqual([1n, A, B, BIG]);
  });

  test("publishing gives a name and addresses; of a stranger it says nothing", () => {
    const member = cluster();
    run(member, add(C), { kind: "memberPublish", id: C, name: "third", clientUrls: ["ws://c"] });
    expect(member.machine.members()[2]).toEqual(listed(C, { name: "third", clientUrls: ["ws://c"] }));
    const before = member.machine.members();
    expect(run(member, { kind: "memberPublish", id: BIG, name: "x", clientUrls: [] })).toMatchObject({
      kind: "members",
    });
    expect(member.machine.members()).toEqual(before);
  });

  test("a learner is promoted once", () => {
    const member = cluster();
    run(member, add(C, { isLearner: true }));
    expect(member.machine.members()[2]!.isLearner).toBe(true);
    expect(run(member, promote(C))).toMatchObject({ kind: "members" });
    expect(member.machine.members()[2]!.isLearner).toBe(false);
    expect(run(member, promote(C))).toBe("MEMBER_NOT_LEARNER");
  });

  test("addresses can be changed, to one's own too", () => {
    const member = cluster();
    expect(run(member, update(A, "ws://new", url(A)))).toMatchObject({ kind: "members" });
    expect(member.machine.members()[0]!.peerUrls).toEqual(["ws://new", url(A)]);
    // The address given up is free again.
    expect(run(member, update(A, "ws://new"), add(C, { peerUrls: [url(A)] }))).toMatchObject({ kind: "members" });
  });

  test("who is removed never comes back", () => {
    const member = cluster();
    run(member, remove(B));
    expect(ids(member)).toEqual([A]);
    expect([...member.machine.removedMembers]).toEqual([B]);
    expect(run(member, add(B))).toBe("MEMBER_NOT_FOUND");
    member.reload();
    expect([ids(member), [...member.machine.removedMembers]]).toEqual([[A], [B]]);
    expect(run(member, add(B))).toBe("MEMBER_NOT_FOUND");
    // Its address may serve another.
    expect(run(member, add(C, { peerUrls: [url(B)] }))).toMatchObject({ kind: "members" });
  });

  test("survives a restart", () => {
    const member = cluster();
    run(member, add(C, { isLearner: true }), update(A, "ws://new"));
    const before = member.machine.members();
    member.reload();
    expect(member.machine.members()).toEqual(before);
  });
});

describe("a veto names its reason and changes nothing", () => {
  const learner = (id: MemberId): Command => add(id, { isLearner: true });
  const cases: readonly (readonly [string, readonly Command[], Command, string, string])[] = [
    ["adding who was removed", [remove(B)], add(B), "MEMBER_NOT_FOUND", "etcdserver: member not found"],
    ["adding who is there", [], add(B), "MEMBER_EXISTS", "etcdserver: member ID already exist"],
    [
      "adding who is there, with a used address",
      [],
      add(B, { peerUrls: [url(A)] }),
      "MEMBER_EXISTS",
      "etcdserver: member ID already exist",
    ],
    [
      "adding with a used address",
      [],
      add(C, { peerUrls: ["ws://x", url(A)] }),
      "PEER_URL_EXISTS",
      "etcdserver: Peer URLs already exists",
    ],
    [
      "a used address before one learner too many",
      [learner(C)],
      add(BIG, { peerUrls: [url(A)], isLearner: true }),
      "PEER_URL_EXISTS",
      "etcdserver: Peer URLs already exists",
    ],
    [
      "a second learner",
      [learner(C)],
      learner(BIG),
      "TOO_MANY_LEARNERS",
      "etcdserver: too many learner members in cluster",
    ],
    ["removing a stranger", [], remove(C), "MEMBER_NOT_FOUND", "etcdserver: member not found"],
    ["removing twice", [remove(B)], remove(B), "MEMBER_NOT_FOUND", "etcdserver: member not found"],
    ["changing a stranger", [], update(C, url(A)), "MEMBER_NOT_FOUND", "etcdserver: member not found"],
    ["changing to a used address", [], update(B, url(A)), "PEER_URL_EXISTS", "etcdserver: Peer URLs already exists"],
    ["promoting a stranger", [], promote(C), "MEMBER_NOT_FOUND", "etcdserver: member not found"],
    ["promoting a voter", [], promote(B), "MEMBER_NOT_LEARNER", "etcdserver: can only promote a learner member"],
  ];
  test.each(cases)("%s", (_name, before, command, code, message) => {
    const member = cluster();
    run(member, ...before);
    const { revision } = member.machine;
    const members = member.machine.members();
    const records = [...member.state.copy().records].filter(([name]) => name.charCodeAt(0) === 3);
    const { outcome } = member.apply(command);
    expect(outcome).toMatchObject({ ok: false, error: { code, message, outcome: "rejected" } });
    expect(member.machine.members()).toEqual(members);
    expect([...member.state.records].filter(([name]) => name.charCodeAt(0) === 3)).toEqual(records);
    expect(member.machine.revision).toBe(revision);
  });

  test("a voter beside a learner is fine, and so is a learner after a promotion", () => {
    const member = cluster();
    expect(run(member, learner(C), add(BIG), promote(C), learner(memberId(1n)))).toMatchObject({ kind: "members" });
  });

  test("vetoes and changes alike move the state hash, and no revision", () => {
    const member = cluster();
    const hashes = new Set([member.machine.stateHash]);
    for (const command of [add(B), add(C), remove(C), remove(C)]) {
      member.apply(command);
      hashes.add(member.machine.stateHash);
    }
    expect(hashes.size).toBe(5);
    expect(member.machine.revision).toBe(1);
  });
});
