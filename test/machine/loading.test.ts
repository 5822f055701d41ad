import { expect, test } from "vitest";
import { leaseId, logIndex, term } from "../../src/base/ids.ts";
import { type Budget, runSlice } from "../../src/kv/slices.ts";
import { MachineLoader } from "../../src/machine/machine.ts";
import type { PutRequest } from "../../src/protocol/requests.ts";
import { bytes, Member } from "../support/state.ts";

test("a state is loaded in slices, keys and leases alike, and is the same as in one go", () => {
  const member = new Member();
  member.apply({ kind: "leaseGrant", id: leaseId(7), ttl: 60 });
  const put = (i: number): PutRequest => ({
    kind: "put",
    // In no order.
    key: bytes(`k${(i * 7_919) % 3_001}`),
    value: bytes("v"),
    ...(i % 2 === 0 ? { lease: leaseId(7) } : {}),
  });
  for (let i = 0; i < 3_001; i++) member.apply(put(i));
  const applied = { index: logIndex(member.machine.applied.index), term: term(1) };
  const loader = new MachineLoader({ store: member.state, applied });
  member.machine.save();
  const names = [...member.state.records.keys()].sort();
  for (const name of names) loader.record(bytes(name), member.state.records.get(name)!);

  const budget: Budget = { left: 0 };
  const work = loader.finishInSlices(budget);
  let slices = 0;
  for (;;) {
    slices += 1;
    const machine = runSlice(work, budget, 500);
    // A slice overruns by a run of the sort, or a handful of leased keys.
    expect(budget.left).toBeGreaterThan(-300);
    if (machine === undefined) continue;
    expect(machine.stateHash).toBe(member.machine.stateHash);
    expect(machine.metrics.keys).toBe(3_001);
    expect(machine.lessor.keys(leaseId(7))).toEqual(member.machine.lessor.keys(leaseId(7)));
    const page = machine.store.keys.page("", "\uffff", 5_000);
    expect(page).toEqual(member.machine.store.keys.page("", "\uffff", 5_000));
    break;
  }
  // Sorting takes some 3,000 x 5 steps, joining 4,500 more.
  expect(slices).toBeGreaterThan(20);
});
