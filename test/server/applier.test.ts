import { describe, expect, test } from "vitest";
import { logIndex, term } from "../../src/base/ids.ts";
import type { Command } from "../../src/machine/command.ts";
import { encodeEnvelope } from "../../src/machine/envelope-codec.ts";
import type { Entry } from "../../src/raft/entry.ts";
import { Applier, type ApplierHost } from "../../src/server/applier.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";
import { bytes, envelopeOf, MemoryState, openMachine } from "../support/state.ts";

const KEYS = 5_000;

/** Keys put one by one, then a delete of them all: longer than a turn of the loop. */
function longDelete(): Entry[] {
  const commands: Command[] = Array.from({ length: KEYS }, (_, i) => ({
    kind: "put",
    key: bytes(`k${i}`),
    value: bytes(""),
  }));
  commands.push({ kind: "deleteRange", key: bytes("k"), rangeEnd: bytes("l") });
  return commands.map((command, i) => ({
    index: logIndex(i + 1),
    term: term(1),
    kind: "normal",
    data: encodeEnvelope(envelopeOf(command)),
  }));
}

function applierOf(onApplied: (index: number) => void, isFull: () => boolean = () => false) {
  const world = new SimulatedWorld({ seed: 1 });
  const state = new MemoryState();
  const failures: unknown[] = [];
  const host: ApplierHost = {
    decoded: () => undefined,
    wanted: () => false,
    isFull,
    onApplied: (_, entry) => onApplied(entry.index),
    onTurn: () => {},
    onFailure: (error) => failures.push(error),
  };
  return { world, state, failures, applier: new Applier(openMachine(state), world.clock, host) };
}

/** Records above what the machine says: of an entry that is half-way. */
const ahead = (state: MemoryState, revision: number): number =>
  [...state.records.keys()].filter((key) => key[0] === "\x01" && bytes(key)[8]! + 256 * bytes(key)[7]! > revision)
    .length;

describe("whoever waits for a boundary goes on at one", () => {
  test("also where it asked between two entries of one turn, and the next one is long", async () => {
    let asked = false;
    let seen: { readonly applied: number; readonly ahead: number } | undefined;
    const rig = applierOf((index) => {
      if (index !== KEYS || asked) return;
      asked = true;
      void new Promise<void>((resolve) => rig.applier.atBoundary(resolve)).then(() => {
        const { machine } = rig.applier;
        seen = { applied: machine.applied.index, ahead: ahead(rig.state, machine.revision) };
      });
    });
    rig.applier.push(longDelete());
    expect(await rig.world.until(() => rig.applier.machine.applied.index === KEYS + 1, 1_000)).toBe(true);
    expect(rig.failures).toEqual([]);
    expect(seen?.ahead).toBe(0);
  });

  test("also where entries arrive in the turn in which it asked", async () => {
    const rig = applierOf(() => {});
    const entries = longDelete();
    rig.applier.push(entries.slice(0, KEYS));
    expect(await rig.world.until(() => rig.applier.machine.applied.index === KEYS, 1_000)).toBe(true);
    let seen: number | undefined;
    void new Promise<void>((resolve) => rig.applier.atBoundary(resolve)).then(() => {
      seen = ahead(rig.state, rig.applier.machine.revision);
    });
    rig.applier.push(entries.slice(KEYS));
    expect(await rig.world.until(() => rig.applier.machine.applied.index === KEYS + 1, 1_000)).toBe(true);
    expect(seen).toBe(0);
  });
});

test("nothing is applied while too much waits for a flush; boundaries are met all the same", async () => {
  let full = false;
  let applied = 0;
  const rig = applierOf(
    (index) => {
      applied = index;
      if (index === 100) full = true;
    },
    () => full,
  );
  rig.applier.push(longDelete());
  // Standing still costs no turns: or else time would not go on here.
  await rig.world.runFor(1_000);
  expect([applied, rig.applier.backlog]).toEqual([100, KEYS + 1 - 100]);
  await rig.world.settle(new Promise<void>((resolve) => rig.applier.atBoundary(resolve)));
  rig.applier.proceed();
  await rig.world.runFor(1_000);
  expect(applied).toBe(100);
  full = false;
  rig.applier.proceed();
  expect(await rig.world.until(() => applied === KEYS + 1, 1_000)).toBe(true);
  expect(rig.failures).toEqual([]);
});
