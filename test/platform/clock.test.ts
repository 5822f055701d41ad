/** Time from the machine, on the machine's time: bounds are wide, but what never may happen is exact. */
import { describe, expect, test } from "vitest";
import { NodeClock } from "../../src/platform/node/clock.ts";

const clock = new NodeClock();

/** Keeps the loop busy: timers come late. */
function block(ms: number): void {
  const until = clock.now() + ms;
  while (clock.now() < until);
}

describe("NodeClock", () => {
  test("never goes back, and knows the date", () => {
    let last = clock.now();
    for (let i = 0; i < 1_000; i++) {
      const now = clock.now();
      expect(now).toBeGreaterThanOrEqual(last);
      last = now;
    }
    expect(Math.abs(clock.wallNow() - Date.now())).toBeLessThan(1_000);
  });

  test("after is never early, not by a part of a millisecond", async () => {
    await Promise.all(
      Array.from({ length: 60 }, async (_, i) => {
        const ms = 1 + i * 0.7;
        const due = clock.now() + ms;
        await new Promise<void>((resolve) => clock.after(ms, resolve));
        expect(clock.now()).toBeGreaterThanOrEqual(due);
      }),
    );
  });

  test("after runs in the order of deadlines, at once where the deadline has passed", async () => {
    const ran: string[] = [];
    await new Promise<void>((resolve) => {
      clock.after(30, () => resolve(void ran.push("later")));
      clock.after(-5, () => void ran.push("passed"));
      clock.after(5, () => void ran.push("soon"));
    });
    expect(ran).toEqual(["passed", "soon", "later"]);
  });

  test("a cancelled timer does not run, nor does a wait of months at once", async () => {
    let ran = 0;
    const count = (): void => void ran++;
    clock.after(5, count).cancel();
    const beat = clock.every(2, count);
    beat.cancel();
    beat.cancel();
    const far = [2 ** 31, 2 ** 40, Number.POSITIVE_INFINITY].map((ms) => clock.after(ms, count));
    await new Promise<void>((resolve) => clock.after(30, resolve));
    expect(ran).toBe(0);
    for (const timer of far) timer.cancel();
  });

  test("every is steady: a late beat shortens the next wait", async () => {
    const startedAt = clock.now();
    const step = 10;
    const beats: number[] = [];
    await new Promise<void>((resolve) => {
      const timer = clock.every(step, () => {
        beats.push(clock.now() - startedAt);
        if (beats.length < 20) return block(beats.length % 3 === 0 ? 4 : 0);
        timer.cancel();
        resolve();
      });
    });
    // Never before its place in the grid. Late by whole periods only where the machine was.
    for (const [i, at] of beats.entries()) expect(at).toBeGreaterThanOrEqual((i + 1) * step - 0.001);
    const drift = beats.map((at) => at % step);
    expect(drift.filter((late) => late < step / 2).length).toBeGreaterThan(10);
  });

  test("every skips what a stall swallowed instead of catching up, and keeps to its grid", async () => {
    const step = 10;
    const startedAt = clock.now();
    const beats: number[] = [];
    await new Promise<void>((resolve) => {
      const timer = clock.every(step, () => {
        beats.push(clock.now() - startedAt);
        if (beats.length === 1) block(55);
        if (beats.length < 4) return;
        timer.cancel();
        resolve();
      });
    });
    expect(beats[1]!).toBeGreaterThanOrEqual(65);
    // One beat for the stall, and the next at a place of its own: no burst.
    expect(beats[3]! - beats[1]!).toBeGreaterThanOrEqual(step);
  });

  test("a beat that throws does not end the beating", async () => {
    const seen: unknown[] = [];
    const caught = (error: unknown): void => void seen.push(error);
    const before = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", caught);
    try {
      let beats = 0;
      await new Promise<void>((resolve) => {
        const timer = clock.every(2, () => {
          if (++beats === 1) throw new Error("one bad beat");
          timer.cancel();
          resolve();
        });
      });
      expect(seen).toHaveLength(1);
    } finally {
      process.removeListener("uncaughtException", caught);
      for (const listener of before) process.on("uncaughtException", listener);
    }
  });

  test("defer runs after what has arrived, in order", async () => {
    const ran: string[] = [];
    await new Promise<void>((resolve) => {
      clock.defer(() => void ran.push("first"));
      clock.defer(() => resolve(void ran.push("second")));
      void Promise.resolve().then(() => ran.push("microtask"));
    });
    expect(ran).toEqual(["microtask", "first", "second"]);
  });

  test("timers hold the process until they are cancelled", () => {
    const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    const held = [clock.after(60_000, () => {}), clock.every(60_000, () => {})];
    expect(timers()).toBe(before + 2);
    for (const timer of held) timer.cancel();
    expect(timers()).toBe(before);
  });
});
