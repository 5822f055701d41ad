import { describe, expect, test } from "vitest";
import { leaseId, memberId } from "../../src/base/ids.ts";
import type { Command } from "../../src/machine/command.ts";
import { costOf } from "../../src/machine/quota.ts";
import type { PutRequest, RequestOp } from "../../src/protocol/requests.ts";
import { bytes, Member } from "../support/state.ts";

const put = (key: string, value = ""): PutRequest => ({ kind: "put", key: bytes(key), value: bytes(value) });
const txn = (success: RequestOp[], failure: RequestOp[] = []): Extract<RequestOp, { kind: "txn" }> => ({
  kind: "txn",
  compare: [],
  success,
  failure,
});
const alarm = (action: "activate" | "deactivate", member: number, of: "nospace" | "corrupt" = "nospace"): Command => ({
  kind: "alarm",
  action,
  member: memberId(member),
  alarm: of,
});
const add = (id: number): Command => ({
  kind: "memberAdd",
  id: memberId(id),
  name: "",
  peerUrls: [`p${id}`],
  clientUrls: [],
  isLearner: false,
});

function answered(member: Member, command: Command): unknown {
  const { outcome } = member.apply(command);
  return outcome.ok ? outcome.result : outcome.error.code;
}

describe("alarms", () => {
  test("are raised once, listed by member, and released where they stand", () => {
    const member = new Member();
    const raised = { kind: "alarm", alarms: [{ member: 9n, alarm: "nospace" }] };
    expect(answered(member, alarm("activate", 9))).toEqual(raised);
    const records = member.state.records.size;
    // Again: etcd returns the one that stands.
    expect(answered(member, alarm("activate", 9))).toEqual(raised);
    expect(member.state.records.size).toBe(records);
    expect(answered(member, alarm("activate", 2))).toMatchObject({ alarms: [{ member: 2n }] });
    expect(answered(member, alarm("activate", 2, "corrupt"))).toMatchObject({ alarms: [{ alarm: "corrupt" }] });
    expect(member.machine.alarms.list).toEqual([
      { member: 2n, alarm: "nospace" },
      { member: 2n, alarm: "corrupt" },
      { member: 9n, alarm: "nospace" },
    ]);
    expect(answered(member, alarm("deactivate", 9, "corrupt"))).toEqual({ kind: "alarm", alarms: [] });
    expect(answered(member, alarm("deactivate", 3))).toEqual({ kind: "alarm", alarms: [] });
    expect(answered(member, alarm("deactivate", 9))).toEqual(raised);
    expect(member.machine.alarms.list.map(({ member: id }) => id)).toEqual([2n, 2n]);
  });

  test("survive a restart, and so does what they refuse", () => {
    const member = new Member();
    answered(member, alarm("activate", 9));
    const { stateHash } = member.machine;
    member.reload();
    expect(member.machine.stateHash).toBe(stateHash);
    expect(member.machine.alarms.stands(memberId(9), "nospace")).toBe(true);
    expect(answered(member, put("a"))).toBe("NO_SPACE");
    answered(member, alarm("deactivate", 9));
    member.reload();
    expect(member.machine.alarms.list).toEqual([]);
    expect(answered(member, put("a"))).toMatchObject({ kind: "put", revision: 2 });
  });

  test("while one says that space is short, whatever grows is refused and changes nothing; the rest goes on", () => {
    const member = new Member();
    answered(member, put("a", "1"));
    answered(member, { kind: "leaseGrant", id: leaseId(7), ttl: 60 });
    answered(member, alarm("activate", 9));
    const refused: Command[] = [
      put("a", "2"),
      // Before what else is wrong with it.
      { ...put("a", "2"), lease: leaseId(99) },
      txn([put("a")]),
      txn([], [put("a")]),
      txn([txn([{ kind: "range", key: bytes("a") }, put("b")])]),
      { kind: "leaseGrant", id: leaseId(8), ttl: 60 },
    ];
    for (const command of refused) expect(answered(member, command)).toBe("NO_SPACE");
    expect(member.machine.revision).toBe(2);
    expect(member.machine.lessor.list()).toEqual([7n]);
    const allowed: Command[] = [
      txn([{ kind: "range", key: bytes("a") }], [{ kind: "deleteRange", key: bytes("x") }]),
      { kind: "deleteRange", key: bytes("a") },
      { kind: "compact", revision: 3 },
      { kind: "leaseRevoke", id: leaseId(7) },
      add(9),
    ];
    for (const command of allowed) expect(answered(member, command)).toHaveProperty("kind");
    // Of no member that it could be about: "corrupt" alone stops nothing here.
    answered(member, alarm("deactivate", 9));
    answered(member, alarm("activate", 9, "corrupt"));
    expect(answered(member, put("a", "3"))).toMatchObject({ kind: "put" });
  });

  test("go with the member that they are about", () => {
    const member = new Member();
    answered(member, add(9));
    answered(member, alarm("activate", 9));
    answered(member, alarm("activate", 2));
    expect(answered(member, { kind: "memberRemove", id: memberId(9) })).toMatchObject({ kind: "members" });
    expect(member.machine.alarms.list).toEqual([{ member: 2n, alarm: "nospace" }]);
  });

  test("change the state hash, by what they are and whether they stand", () => {
    const hashes = [
      [],
      [alarm("activate", 9)],
      [alarm("activate", 8)],
      [alarm("activate", 9, "corrupt")],
      [alarm("deactivate", 9)],
    ].map((commands) => {
      const member = new Member();
      for (const command of commands) member.apply(command);
      return member.machine.stateHash;
    });
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

describe("costOf", () => {
  test.each<readonly [string, Command, number]>([
    ["a put: 256 and its bytes", put("abc", "12345"), 264],
    ["a grant", { kind: "leaseGrant", id: leaseId(1), ttl: 5 }, 64],
    ["a deletion", { kind: "deleteRange", key: bytes("a"), rangeEnd: bytes("z") }, 0],
    ["a compaction", { kind: "compact", revision: 5 }, 0],
    ["a revoke", { kind: "leaseRevoke", id: leaseId(1) }, 0],
    ["an alarm", alarm("activate", 1), 0],
    ["a member", add(3), 0],
    ["a txn of nothing", txn([]), 0],
    [
      "a txn of reads and deletions",
      txn([{ kind: "range", key: bytes("a") }], [{ kind: "deleteRange", key: bytes("a") }]),
      0,
    ],
    ["a txn: its dearer branch", txn([put("a"), put("b", "12")], [put("c", "123")]), 257 + 259],
    ["a txn in a txn", txn([put("a"), txn([put("b")], [put("bc"), put("d")])]), 257 + 258 + 257],
  ])("%s", (_name, command, cost) => {
    expect(costOf(command)).toBe(cost);
  });
});
