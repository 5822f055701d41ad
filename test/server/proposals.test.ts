import { expect, test } from "vitest";
import { logIndex, term } from "../../src/base/ids.ts";
import { Proposals } from "../../src/server/proposals.ts";
import { bytes, envelopeOf } from "../support/state.ts";

test("a proposal is waited for until it is answered or given up, placed in this member's log or in another's", async () => {
  const proposals = new Proposals();
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
