import { expect, test } from "vitest";
import type { StoreError } from "../../src/base/errors.ts";
import { memberId } from "../../src/base/ids.ts";
import { silent } from "../../src/platform/log.ts";
import type { ConfState } from "../../src/raft/membership-types.ts";
import { Departure } from "../../src/server/departure.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";

const [self, other, third] = [memberId(0xa1n), memberId(0xb2n), memberId(0xc3n)];
const conf = (voters: ConfState["voters"], votersOutgoing: ConfState["voters"] = []): ConfState => ({
  ...{ voters, votersOutgoing, learners: [], learnersNext: [], autoLeave: votersOutgoing.length > 0 },
});

function removed(start: ConfState, leads = false) {
  const clock = new VirtualClock();
  const now = { conf: start, leads };
  const warned: string[] = [];
  let ended: StoreError | undefined;
  const departure = new Departure({
    ...{ self, name: "n1", clock, electionTimeoutMs: 1_000, heartbeatMs: 100 },
    log: { ...silent, warn: (_, message) => void warned.push(message) },
    conf: () => now.conf,
    leads: () => now.leads,
    isRunning: () => true,
    end: (error) => {
      ended = error;
    },
  });
  departure.removed("applied");
  const refusal = (): string | undefined => {
    try {
      departure.check();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  };
  return { departure, now, warned, refusal, ended: () => ended?.message, runTo: (ms: number) => run(clock, ms) };
}

function run(clock: VirtualClock, ms: number): void {
  while ((clock.nextTime() ?? Infinity) <= ms) clock.runNext();
}

const GONE = "quorate: member n1 (a1) was removed from the cluster; its directory can be deleted";

test("answers for an election timeout, then ends where nobody needs it", () => {
  const one = removed(conf([other, third]));
  one.runTo(999);
  expect([one.refusal(), one.ended()]).toEqual([undefined, undefined]);
  one.runTo(1_000);
  expect([one.ended(), one.warned]).toEqual([GONE, []]);
});

test.each([
  ["of two", conf([other]), false, "until member b2, the only voter left, knows of it"],
  ["in a joint phase", conf([other, third], [self, other, third]), false, "which needs its vote"],
  ["as the leader", conf([other, third]), true, "until a quorum of the others knows of it"],
])("%s it stays for as long as it takes, and says so each minute", (_name, start, leads, why) => {
  const one = removed(start, leads);
  one.runTo(1_000 + 3_600_000);
  expect(one.ended()).toBeUndefined();
  expect(one.warned.length).toBe(61);
  expect(new Set(one.warned).size).toBe(1);
  expect(one.warned[0]).toContain(why);
  // It may be deleted when it has ended, and not before.
  expect(one.refusal()).toContain(why);
  expect(one.refusal()).toContain("leave it running");
  expect(one.refusal()).not.toContain("can be deleted");
});

test("ends once it is told, or once it is not needed any more", () => {
  const told = removed(conf([other]));
  told.runTo(10_000);
  told.departure.removed("told");
  told.runTo(10_100);
  expect(told.ended()).toBe(GONE);

  const left = removed(conf([other, third], [self, other, third]));
  left.runTo(10_000);
  left.now.conf = conf([other, third]);
  left.runTo(10_100);
  expect(left.ended()).toBe(GONE);
});
