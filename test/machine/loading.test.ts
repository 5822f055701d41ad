import { expect, test } from "vitest";
import { leaseId, logIndex, term } from "../../src/base/ids.ts";
import { type Budget, runSlice } from "../../src/kv/slices.ts";
import { type Machine, MachineLoader } from "../../src/machine/machine.ts";
import { encodeClient } from "../../src/machine/records.ts";
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
  const loader = new MachineLoader();
  member.machine.save();
  const names = [...member.state.records.keys()].sort();
  for (const name of names) loader.record(bytes(name), member.state.records.get(name)!);

  const budget: Budget = { left: 0 };
  const work = loader.finishInSlices({ store: member.state, applied }, budget);
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

test("the ledger is loaded in slices too, and written in parts before a flush has all of it to write at once", () => {
  const member = new Member();
  const clients = 1_200;
  const ids: number[] = [];
  for (let i = 0; i < clients; i++) {
    member.apply({ kind: "clientRegister" });
    ids.push(member.machine.applied.index);
  }
  const written = (): number => [...member.state.records.keys()].filter((key) => key[0] === "\x05").length;
  expect(written()).toBe(1_000);
  ids.forEach((clientId, i) => {
    const swap: PutRequest = { kind: "put", key: bytes("k"), value: bytes(`${i}`), prevKv: true };
    for (const sequence of [1, 2]) {
      member.apply(swap, 1_000, undefined, false, { clientId, sequence, lowestUnacknowledged: 1 });
    }
  });
  member.machine.save();
  const applied = { index: logIndex(member.machine.applied.index), term: term(1) };
  const loader = new MachineLoader();
  for (const [name, value] of member.state.records) loader.record(bytes(name), value);
  const budget: Budget = { left: 0 };
  const work = loader.finishInSlices({ store: member.state, applied }, budget);
  let slices = 0;
  for (;;) {
    slices += 1;
    const machine = runSlice(work, budget, 500);
    expect(budget.left).toBeGreaterThan(-300);
    if (machine === undefined) continue;
    expect(machine.metrics.ledger).toMatchObject({ clients, operations: 2 * clients });
    const record = ({ ledger }: Machine, id: number): Uint8Array => encodeClient(ledger.record(id)!);
    for (const id of ids) expect(record(machine, id)).toEqual(record(member.machine, id));
    expect(machine.ledger.silentSince(1e9, clients)).toEqual(member.machine.ledger.silentSince(1e9, clients));
    break;
  }
  expect(slices).toBeGreaterThan(10);
});
