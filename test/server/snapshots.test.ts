/** A snapshot's way between two members, each in the test's hand: whoever falls silent is given up, whoever works is not. */
import { expect, test } from "vitest";
import { memberId } from "../../src/base/ids.ts";
import { KEY_SPACE } from "../../src/machine/state-store.ts";
import { type ReceiverHost, SnapshotReception, SnapshotSender } from "../../src/server/snapshots.ts";
import { createState, StateBackend } from "../../src/storage/state-backend.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";
import type { Connection } from "../../src/transport/network.ts";
import { at, checksum, conf } from "../support/storage.ts";

const A = memberId(1n);
const B = memberId(2n);
const STALL_MS = 1_000;

/** Two ends of one stream. What is sent arrives in the next turn; of a sender that is `gone`, nothing more does. */
class Stream {
  readonly closed: string[] = [];
  gone = false;
  readonly near: Connection;
  readonly far: Connection;

  constructor(world: SimulatedWorld) {
    const end = (other: () => Connection): Connection => ({
      remote: "other",
      bufferedBytes: 0,
      send: (frame) => {
        if (this.gone && other() === this.far) return;
        const bytes = frame.slice();
        world.clock.after(1, () => {
          if (this.closed.length === 0) other().onFrame(bytes);
        });
      },
      close: (reason) => {
        if (this.closed.length > 0 || (this.gone && other() === this.far)) return;
        this.closed.push(reason);
        world.clock.after(1, () => other().onClose(reason));
      },
      onFrame: () => {},
      onClose: () => {},
    });
    this.near = end(() => this.far);
    this.far = end(() => this.near);
  }
}

async function rig(
  arrived: ReceiverHost["arrived"] = async (_from, _message, state) => state.close(),
  gone: () => boolean = () => false,
) {
  const world = new SimulatedWorld({ seed: 4 });
  const [sending, receiving] = [world.host("n1").boot(), world.host("n2").boot()];
  // In a space that is none of the machine's business.
  const keyOf = (i: number): Uint8Array => Uint8Array.of(KEY_SPACE.conf, i);
  const records = Array.from({ length: 40 }, (_, i) => [keyOf(i), new Uint8Array(60_000)] as const);
  await world.settle(createState(sending.disk, "state-1", at(50, 2), records, checksum));
  const state = await world.settle(StateBackend.open({ disk: sending.disk, generation: 1, checksum }));
  const reception = new SnapshotReception(receiving, STALL_MS, {
    generation: () => 1,
    installing: () => false,
    applied: () => at(1, 1).index,
    contact: () => {},
    arrived,
  });
  let stream = new Stream(world);
  const ends: string[] = [];
  const sender = new SnapshotSender(
    {
      openStream: async () => {
        stream = new Stream(world);
        stream.gone = gone();
        reception.accept(A, stream.far);
        return stream.near;
      },
    },
    world.clock,
    sending.log,
    STALL_MS,
    {
      term: () => 2,
      snapshot: () => state.snapshot(),
      confOf: async () => conf,
      done: (_to, session, status) => ends.push(`${session} ${status}`),
    },
  );
  return { world, sender, reception, disk: receiving.disk, ends, stream: () => stream };
}

test("a sender that falls silent is given up, and the next one is heard", async () => {
  let gone = true;
  const { world, sender, ends, stream } = await rig(undefined, () => gone);
  sender.start(B, 1);
  await world.runFor(STALL_MS - 10);
  const first = stream();
  expect(first.closed).toEqual([]);
  await world.runFor(20);
  expect(first.closed).toEqual([`no word for ${STALL_MS} ms`]);
  gone = false;
  sender.start(B, 2);
  expect(await world.until(() => ends.includes("2 ok"), 5_000)).toBe(true);
});

test("a receiver that needs long for what it got is waited for", async () => {
  const slow = 5 * STALL_MS;
  const { world, sender, ends } = await rig(async (_from, _message, state) => {
    await new Promise<void>((resolve) => world.clock.after(slow, resolve));
    await state.close();
  });
  sender.start(B, 1);
  await world.runFor(slow - 100);
  expect(ends).toEqual([]);
  expect(await world.until(() => ends.length > 0, 1_000)).toBe(true);
  expect(ends).toEqual(["1 ok"]);
});

test("once it is closed, what had arrived of a snapshot is gone", async () => {
  const { world, sender, reception, disk, ends } = await rig();
  sender.start(B, 1);
  const states = (): Promise<string[]> =>
    disk.list("").then((names) => names.filter((name) => name.startsWith("state-")));
  let found: string[] = [];
  for (let ms = 0; ms < STALL_MS && found.length === 0; ms++) {
    await world.runFor(1);
    found = await world.settle(states());
  }
  expect(found).toEqual(["state-2.part"]);
  await world.settle(reception.close());
  expect(await world.settle(states())).toEqual([]);
  await world.settle(reception.close());
  await world.runFor(STALL_MS);
  expect(ends).toEqual(["1 failed"]);
});
