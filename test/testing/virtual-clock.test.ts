import { describe, expect, test } from "vitest";
import { ClockDrift, Gate, HostClock, VirtualClock } from "../../src/testing/virtual-clock.ts";

function runAll(clock: VirtualClock, until = 1_000): void {
  while ((clock.nextTime() ?? Infinity) <= until) clock.runNext();
}

describe("VirtualClock", () => {
  test("events run in the order of their times, and of their asking where times are equal", () => {
    const clock = new VirtualClock();
    const seen: string[] = [];
    clock.after(5, () => seen.push(`b@${clock.now()}`));
    clock.after(5, () => seen.push(`c@${clock.now()}`));
    clock.after(1, () => {
      seen.push(`a@${clock.now()}`);
      clock.defer(() => seen.push(`deferred@${clock.now()}`));
    });
    clock.after(3, () => seen.push("never")).cancel();
    runAll(clock);
    expect(seen).toEqual(["a@1", "deferred@1", "b@5", "c@5"]);
  });

  test("a thousand events with random times leave the queue sorted", () => {
    const clock = new VirtualClock();
    const seen: number[] = [];
    for (let i = 0; i < 1_000; i++) clock.after((i * 7919) % 501, () => seen.push(clock.now()));
    runAll(clock);
    expect(seen).toHaveLength(1_000);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
  });

  test("every beats steadily until it is cancelled from within", () => {
    const clock = new VirtualClock();
    const beats: number[] = [];
    const timer = clock.every(20, () => {
      beats.push(clock.now());
      if (beats.length === 3) timer.cancel();
    });
    runAll(clock);
    expect(beats).toEqual([20, 40, 60]);
  });
});

describe("HostClock", () => {
  test("a paused process runs what was due once it resumes, in its order, and beats once for the beats it missed", () => {
    const clock = new VirtualClock();
    const gate = new Gate(clock);
    const host = new HostClock(clock, [gate]);
    const seen: string[] = [];
    host.after(10, () => seen.push(`a@${host.now()}`));
    host.after(15, () => seen.push(`b@${host.now()}`));
    host.every(30, () => seen.push(`beat@${host.now()}`));
    gate.pause();
    clock.after(100, () => gate.resume());
    runAll(clock, 125);
    expect(seen).toEqual(["a@100", "b@100", "beat@100", "beat@120"]);
  });

  test("nothing of a stopped process ever runs", () => {
    const clock = new VirtualClock();
    const gate = new Gate(clock);
    const host = new HostClock(clock, [gate]);
    let ran = false;
    host.after(10, () => {
      ran = true;
    });
    gate.pause();
    runAll(clock, 20);
    gate.stop();
    gate.resume();
    runAll(clock);
    expect(ran).toBe(false);
  });
});

describe("ClockDrift", () => {
  test("a fast clock shows more and its timers come sooner; back at rate 1 nothing is taken back", () => {
    const clock = new VirtualClock();
    const drift = new ClockDrift(clock);
    const host = new HostClock(clock, [], drift);
    drift.rate = 2;
    let at = 0;
    host.after(100, () => {
      at = clock.now();
    });
    while (clock.runNext());
    expect(at).toBe(50);
    expect(host.now()).toBe(100);
    drift.rate = 1;
    clock.advanceTo(80);
    expect(host.now()).toBe(130);
  });

  test("the time of day jumps, the clock that measures does not", () => {
    const clock = new VirtualClock();
    const drift = new ClockDrift(clock);
    const host = new HostClock(clock, [], drift);
    const before = host.wallNow();
    drift.jumpWall(-3_600_000);
    expect(host.wallNow()).toBe(before - 3_600_000);
    expect(host.now()).toBe(0);
  });
});
