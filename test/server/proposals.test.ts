import { expect, test } from "vitest";
import { logIndex, term } from "../../src/base/ids.ts";
import { type Proposal, Proposals } from "../../src/server/proposals.ts";
import { bytes, envelopeOf } from "../support/state.ts";

test("a proposal is waited for until it is answered or given up, placed in this member's log or in another's", async () => {
  const proposals = new Proposals(1);
  const add = (deadline: number): { ref: number; settled: Promise<unknown> } => {
    const ref = proposals.nextRef();
    const envelope = { ...envelopeOf({ kind: "put", key: bytes("k"), value: bytes("") }, 1), ref };
    return { ref, settled: proposals.add(ref, envelope, bytes("data"), deadline).settled.promise };
  };
  const placed = add(100);
  const forwarded = add(100);
  const late = add(1);
  proposals.placed(placed.ref, { index: logIndex(1), term: term(1) });
  expect([placed, forwarded, late].map(({ ref }) => proposals.waits(ref))).toEqual([true, true, true]);
  expect(proposals.decoded(logIndex(2), term(1))).toBeUndefined();

  proposals.expire(50);
  await expect(late.settled).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  const envelope = { ...envelopeOf({ kind: "put", key: bytes("k"), value: bytes("") }, 1), ref: forwarded.ref };
  const outcome = { ok: true, result: { kind: "leaseList", leases: [] } } as const;
  const applied = { index: logIndex(2), term: term(1), envelope, outcome };
  // Another run's, or another member's, with the same number.
  proposals.applied(applied, false);
  expect(proposals.waits(forwarded.ref)).toBe(true);
  proposals.applied(applied, true);
  expect(await forwarded.settled).toBe(applied);
  expect([placed, forwarded, late].map(({ ref }) => proposals.waits(ref))).toEqual([true, false, false]);
});

class Rig {
  readonly proposals = new Proposals(3);

  /** `onlyIn`: what a leader proposes for itself, which has no deadline. */
  add(deadline: number = Infinity): {
    readonly ref: number;
    readonly end: Promise<unknown>;
    readonly proposal: Proposal;
  } {
    const ref = this.proposals.nextRef();
    const envelope = { ...envelopeOf({ kind: "put", key: bytes("k"), value: bytes("") }, 1), ref };
    const proposal = this.proposals.add(ref, envelope, bytes("data"), deadline);
    proposal.handedOver = true;
    return { ref, proposal, end: proposal.settled.promise.catch((error: unknown) => error) };
  }

  place(index: number, at: number, deadline?: number): ReturnType<Rig["add"]> {
    const added = this.add(deadline);
    this.proposals.placed(added.ref, { index: logIndex(index), term: term(at) });
    return added;
  }

  forward(at: number): ReturnType<Rig["add"]> {
    const added = this.add();
    added.proposal.forwardedIn = term(at);
    return added;
  }
}

test("no two runs of a member use the same numbers", () => {
  const last = new Proposals(1);
  const refs = new Set(Array.from({ length: 1_000 }, () => last.nextRef()));
  const next = new Proposals(2);
  for (let i = 0; i < 1_000; i++) expect(refs.has(next.nextRef())).toBe(false);
  expect(Number.isSafeInteger(new Proposals(2 ** 40).nextRef() + 2 ** 32)).toBe(true);
});

test("what was placed in an older term is certainly lost once a newer term's entry is applied, at whatever index", async () => {
  const rig = new Rig();
  const cut = rig.place(9, 1);
  const written = rig.place(9, 3);
  rig.proposals.newTermApplied(term(3));
  expect(await cut.end).toMatchObject({ code: "LEADER_CHANGED", outcome: "rejected" });
  expect(rig.proposals.waits(written.ref)).toBe(true);
  expect(rig.proposals.decoded(logIndex(9), term(3))).toBeDefined();
});

test("a snapshot ends what may be in it, and what can no longer come", async () => {
  const rig = new Rig();
  const [inside, beyond, forwarded] = [rig.place(5, 1), rig.place(9, 1), rig.forward(4)];
  const fresh = rig.add();
  rig.proposals.replaced(logIndex(7), term(4));
  expect(await inside.end).toMatchObject({ code: "LEADER_CHANGED", outcome: "unknown" });
  expect(await beyond.end).toMatchObject({ code: "LEADER_CHANGED", outcome: "rejected" });
  expect(await forwarded.end).toMatchObject({ code: "LEADER_CHANGED", outcome: "unknown" });
  expect(rig.proposals.waits(fresh.ref)).toBe(true);
});

test("what nobody waits for any more does not gather while there is no leader", () => {
  const rig = new Rig();
  for (let i = 0; i < 100; i++) {
    const { ref, end } = rig.add(i);
    void end;
    rig.proposals.dropped(ref, "noLeader");
    rig.proposals.expire(i);
  }
  expect([rig.proposals.count, rig.proposals.parkedCount]).toEqual([0, 0]);
});
