/** What a snapshot that is being saved costs its member, and that it costs nothing for ever. */
import { describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, memberId } from "../../src/base/ids.ts";
import type { SnapshotPartResult } from "../../src/protocol/responses.ts";
import { SnapshotSessions } from "../../src/server/snapshot-sessions.ts";
import { VirtualClock } from "../../src/testing/virtual-clock.ts";
import { seededRandom } from "../support/random.ts";
import { stateOf } from "../support/snapshot.ts";
import { bytes } from "../support/state.ts";

const { state } = await stateOf((member) => {
  for (let i = 0; i < 40; i++) member.ask({ kind: "put", key: bytes(`k${i}`), value: bytes("v".repeat(50_000)) });
});

class Rig {
  readonly clock = new VirtualClock();
  /** Snapshots that LevelDB holds for us, and chunks read of them. */
  held = 0;
  chunks = 0;
  readonly sessions: SnapshotSessions;

  constructor() {
    this.sessions = new SnapshotSessions({
      clock: this.clock,
      random: seededRandom(3),
      lifeMs: 120_000,
      clusterId: clusterId(5n),
      memberId: memberId(6n),
      sizeBytes: () => state.sizeBytes(),
      snapshot: async () => {
        const snapshot = state.snapshot();
        this.held += 1;
        const rig = this;
        return {
          ...snapshot,
          async *stream(session) {
            for await (const chunk of snapshot.stream(session)) {
              rig.chunks += 1;
              yield chunk;
            }
          },
          close: async () => {
            await snapshot.close();
            this.held -= 1;
          },
        };
      },
    });
  }

  open(signal?: AbortSignal): Promise<SnapshotPartResult> {
    return this.sessions.handle({ kind: "snapshot" }, signal);
  }

  part(session: number, part: number, signal?: AbortSignal): Promise<SnapshotPartResult> {
    return this.sessions.handle({ kind: "snapshot", session, part }, signal);
  }

  pass(ms: number): void {
    const until = this.clock.now() + ms;
    for (;;) {
      const next = this.clock.nextTime();
      if (next === undefined || next > until) break;
      this.clock.runNext();
    }
    this.clock.advanceTo(until);
  }

  /** What was begun ends in turns of its own. */
  async settled(held: number): Promise<void> {
    for (let turn = 0; turn < 1_000 && this.held !== held; turn++)
      await new Promise((resolve) => setImmediate(resolve));
    expect(this.held).toBe(held);
  }
}

const code = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "done",
    (error) => (StoreError.is(error) ? error.code : String(error)),
  );

describe("SnapshotSessions", () => {
  test("parts come when they are asked for, and the last one ends it", async () => {
    const rig = new Rig();
    let answer = await rig.open();
    expect(answer).toMatchObject({ revision: 41, isLast: false });
    const { session } = answer;
    let parts = 1;
    let bytesSent = answer.bytes.length;
    for (; !answer.isLast; parts++) {
      // A slow reader: nothing is prepared for it beyond what it asked for.
      expect(rig.chunks).toBeLessThanOrEqual(5 * parts);
      rig.pass(10_000);
      answer = await rig.part(session, parts);
      bytesSent += answer.bytes.length;
    }
    expect(parts).toBeGreaterThan(5);
    expect(bytesSent).toBeGreaterThan(2_000_000);
    expect(rig.sessions.count).toBe(0);
    await rig.settled(0);
    expect(await code(rig.part(session, parts))).toBe("INVALID_REQUEST");
  });

  test("without a reader it goes away by itself, and none lives for ever", async () => {
    const rig = new Rig();
    const { session } = await rig.open();
    rig.pass(29_999);
    expect(rig.sessions.count).toBe(1);
    rig.pass(1);
    await rig.settled(0);
    expect(await code(rig.part(session, 1))).toBe("INVALID_REQUEST");

    // However busy: two minutes are the most here.
    const long = await rig.open();
    for (let part = 1; part <= 6; part++) {
      await rig.part(long.session, part);
      rig.pass(20_000);
    }
    await rig.settled(0);
    expect(await code(rig.part(long.session, 7))).toBe("INVALID_REQUEST");
  });

  test("a close, an abort and the member's end free it", async () => {
    const rig = new Rig();
    const closed = await rig.open();
    await rig.sessions.handle({ kind: "snapshot", session: closed.session, close: true }, undefined);
    await rig.settled(0);

    const stop = new AbortController();
    const aborted = await rig.open(stop.signal);
    const part = rig.part(aborted.session, 1, stop.signal);
    stop.abort();
    expect(await code(part)).toBe("INVALID_REQUEST");
    await rig.settled(0);
    // Before anything was read: nothing is kept.
    expect(await code(rig.open(stop.signal))).toBe("CANCELLED");
    await rig.settled(0);

    const { session } = await rig.open();
    const last = rig.part(session, 1);
    rig.sessions.stop();
    expect(await code(last)).toBe("STOPPED");
    await rig.settled(0);
    expect(rig.clock.nextTime()).toBeUndefined();
  });

  test("four at a time, each part once and in order", async () => {
    const rig = new Rig();
    // However they overlap.
    const opening = Array.from({ length: 9 }, () => rig.open());
    const settled = await Promise.allSettled(opening);
    const opened = settled.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    expect(new Set(opened.map(({ session }) => session)).size).toBe(4);
    await rig.settled(4);
    expect(await code(rig.open())).toBe("TOO_MANY_REQUESTS");
    const { session } = opened[0]!;
    expect(await code(rig.part(session, 0))).toBe("INVALID_REQUEST");
    expect(await code(rig.part(session, 2))).toBe("INVALID_REQUEST");
    const first = rig.part(session, 1);
    expect(await code(rig.part(session, 1))).toBe("INVALID_REQUEST");
    expect(await code(first)).toBe("done");
    rig.sessions.stop();
    await rig.settled(0);
  });
});
