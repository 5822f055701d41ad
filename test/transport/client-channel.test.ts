import { getEventListeners } from "node:events";
import { describe, expect, onTestFinished, test } from "vitest";
import { encodeUtf8, toHex } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { NO_LEASE, revision } from "../../src/base/ids.ts";
import { silent } from "../../src/platform/log.ts";
import { encodeResponse, encodeServerHello } from "../../src/protocol/codec.ts";
import type { PutRequest, RangeRequest } from "../../src/protocol/requests.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";
import { connectChannel } from "../../src/transport/client-channel.ts";
import { FRAME_BYTES, FROM_SERVER } from "../../src/transport/client-wire.ts";
import { encodeFrame } from "../../src/transport/frame.ts";
import { answer, PUT_ANSWER, Rig, STAMP, URL } from "./client-rig.ts";

const put = (key: string, value = "v"): PutRequest => ({ kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) });
const range: RangeRequest = { kind: "range", key: encodeUtf8("k") };

/** A server that answers the greeting as told, on virtual time. */
async function greetedWith(
  reply: (connection: { send(frame: Uint8Array): void; close(reason: string): void }) => void,
) {
  const world = new SimulatedWorld({ seed: 2 });
  const server = world.host("server").boot();
  const client = world.host("client").boot();
  let serverSaw: string | undefined;
  await world.settle(
    server.network.listen({
      url: URL,
      maxFrameBytes: 1 << 20,
      allowedOrigins: [],
      onConnection: (connection) => {
        connection.onFrame = () => reply(connection);
        connection.onClose = (reason) => {
          serverSaw = reason;
        };
      },
    }),
  );
  onTestFinished(() => {
    world.host("server").kill("stays");
    world.host("client").kill("stays");
  });
  const connecting = client.network
    .dial(URL, { maxFrameBytes: 1 << 20, timeoutMs: 1_000 })
    .then((connection) => connectChannel(connection, { clock: client.clock, log: silent, timeoutMs: 700 }));
  const begun = world.clock.now();
  const error = await world.settle(
    connecting.then(
      () => expect.fail("it connected"),
      (reason: unknown) => reason,
    ),
  );
  const afterMs = world.clock.now() - begun;
  await world.runFor(10);
  return { error, afterMs, serverSaw };
}

describe("connectChannel", () => {
  test("greets, and knows who answers", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    expect(channel.clusterId).toBe(STAMP.clusterId);
    expect(channel.memberId).toBe(STAMP.memberId);
  });

  const hello = { ...STAMP, maxMessageBytes: 1 << 20, maxCalls: 10, maxCallBytes: 1 << 20 };
  const greeting = (version?: number): Uint8Array =>
    encodeFrame([Uint8Array.from([FROM_SERVER.hello, ...encodeServerHello(hello, version)])]);

  test("another protocol version is named, with both numbers, and the connection closed", async () => {
    const { error, serverSaw } = await greetedWith((connection) => connection.send(greeting(2)));
    expect(error).toMatchObject({
      code: "PROTOCOL_VERSION",
      outcome: "rejected",
      message: "quorate: the server speaks protocol version 2, this client version 1",
    });
    expect(serverSaw).toContain("protocol version 2");
  });

  test("a server that says nothing is given up after timeoutMs", async () => {
    const { error, afterMs, serverSaw } = await greetedWith(() => {});
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "rejected" });
    expect(afterMs).toBeGreaterThanOrEqual(700);
    expect(afterMs).toBeLessThan(710);
    expect(serverSaw).toContain("did not answer");
  });

  test.each([
    ["no frame of messages", Uint8Array.of(0, 0, 1)],
    ["an empty frame", new Uint8Array()],
    ["an answer before the greeting", encodeFrame([Uint8Array.of(FROM_SERVER.answer, 0, 0, 0, 1)])],
    ["bytes of another protocol", encodeFrame([Uint8Array.of(FROM_SERVER.hello, 0xff)])],
    ["two greetings", encodeFrame([greeting().slice(4), greeting().slice(4)])],
  ])("a server that sends %s is none of ours", async (_, frame) => {
    const { error, serverSaw } = await greetedWith((connection) => connection.send(frame));
    expect(error).toMatchObject({ code: "UNAVAILABLE", outcome: "rejected" });
    expect((error as StoreError).message).toContain("does not answer as a quorate server");
    expect(serverSaw).toBeDefined();
  });

  test("a server that closes says why", async () => {
    const { error } = await greetedWith((connection) => connection.close("full"));
    expect(error).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("full") });
  });
});

describe("call", () => {
  test("carries a request there and its answer back", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const call = channel.call(put("a", "1"), { timeoutMs: 500 });
    await rig.until(() => rig.held.length === 1);
    expect(rig.held[0]).toMatchObject({ request: put("a", "1"), call: { timeoutMs: 500 } });
    rig.held[0]!.resolve(PUT_ANSWER);
    expect(await rig.world.settle(call)).toStrictEqual(PUT_ANSWER);
  });

  test("carries a write's number, and none where there is none", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const operation = { clientId: 2 ** 40 + 3, sequence: 2 ** 33 + 1, lowestUnacknowledged: 2 ** 33 };
    const { signal } = new AbortController();
    void channel.call(put("a", "1"), { timeoutMs: 500, operation });
    void channel.call(put("b", "2"), { timeoutMs: 500, operation, signal });
    void channel.call(put("c", "3"), { timeoutMs: 500 });
    await rig.until(() => rig.held.length === 3);
    expect(rig.held.map(({ request }) => request)).toEqual([put("a", "1"), put("b", "2"), put("c", "3")]);
    expect(rig.held.map(({ call }) => call.operation)).toEqual([operation, operation, undefined]);
    expect(toHex(rig.sentByClients.at(-1)!.slice(4, 38))).toBe(
      "02" + "00000002" + "000001f4" + "02" + "0000010000000003" + "0000000200000001" + "0000000200000000",
    );
    for (const { resolve } of rig.held) resolve(PUT_ANSWER);
    await rig.quiet();
  });

  test("answers find their calls in whatever order they come", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const calls = ["a", "b", "c"].map((key) => channel.call(put(key), { timeoutMs: 500 }));
    await rig.until(() => rig.held.length === 3);
    [...rig.held].reverse().forEach(({ request, resolve }) => {
      resolve(answer({ kind: "put", revision: revision((request as PutRequest).key[0]!) }));
    });
    const answers = await rig.world.settle(Promise.all(calls));
    expect(answers.map(({ result }) => result.revision)).toEqual(["a", "b", "c"].map((key) => key.charCodeAt(0)));
  });

  test("calls of one turn leave in one frame, and answers of one turn come back in one", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const [fromClients, fromServer] = [rig.sentByClients.length, rig.sentByServer.length];
    const calls = Array.from({ length: 100 }, (_, i) => channel.call(put(`k${i}`), { timeoutMs: 500 }));
    await rig.until(() => rig.held.length === 100);
    expect(rig.sentByClients.length - fromClients).toBe(1);
    for (const { resolve } of rig.held) resolve(PUT_ANSWER);
    await rig.world.settle(Promise.all(calls));
    expect(rig.sentByServer.length - fromServer).toBe(1);
  });

  test("many bytes of one turn leave in frames of bounded size", async () => {
    const rig = await Rig.open({ handle: async () => PUT_ANSWER });
    const channel = await rig.channel();
    const value = "x".repeat(100_000);
    const calls = Array.from({ length: 12 }, (_, i) => channel.call(put(`k${i}`, value), { timeoutMs: 500 }));
    await rig.world.settle(Promise.all(calls));
    const sizes = rig.sentByClients.slice(1).map((frame) => frame.length);
    expect(sizes.length).toBe(6);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(FRAME_BYTES);
  });

  test("an error comes with code, outcome, message and details", async () => {
    const error = new StoreError("COMPACTED", {
      outcome: "applied",
      message: "own words",
      details: { compactRevision: 7 },
    });
    const rig = await Rig.open({ handle: () => Promise.reject(error) });
    const channel = await rig.channel();
    const failed = await rig.failure(channel.call(range, { timeoutMs: 500 }));
    expect(failed.error).toMatchObject({
      code: "COMPACTED",
      outcome: "applied",
      message: "own words",
      details: { compactRevision: 7 },
    });
  });

  test("what the caller does to its bytes once the turn has ended does not matter", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const request = put("a", "1");
    const call = channel.call(request, { timeoutMs: 500 });
    request.value.fill(0);
    await rig.until(() => rig.held.length === 1);
    expect(rig.held[0]!.request).toStrictEqual(put("a", "1"));
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(call);
  });
});

describe("deadlines", () => {
  test("a call without an answer ends a little after its time: writes unknown, reads rejected", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const [write, read] = await rig.settle(
      Promise.all([
        rig.caught(channel.call(put("a"), { timeoutMs: 300 })),
        rig.caught(channel.call(range, { timeoutMs: 300 })),
      ]),
    );
    expect(write.error).toMatchObject({ code: "TIMEOUT", outcome: "unknown" });
    expect(read.error).toMatchObject({ code: "TIMEOUT", outcome: "rejected" });
    for (const { afterMs } of [write, read]) {
      expect(afterMs).toBeGreaterThanOrEqual(300);
      expect(afterMs).toBeLessThan(600);
    }
  });

  test("each call ends by its own deadline, whatever the order of their making", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const order: number[] = [];
    const calls = [900, 100, 500].map((timeoutMs) =>
      channel.call(put("a"), { timeoutMs }).catch(() => void order.push(timeoutMs)),
    );
    await rig.world.settle(Promise.all(calls));
    expect(order).toEqual([100, 500, 900]);
    expect(rig.world.clock.now()).toBeLessThan(1_500);
  });

  test("a late answer to a call that has ended disturbs nobody", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    await rig.failure(channel.call(put("a"), { timeoutMs: 100 }));
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.quiet();
    const next = channel.call(put("b"), { timeoutMs: 100 });
    await rig.until(() => rig.held.length === 2);
    rig.held[1]!.resolve(PUT_ANSWER);
    expect(await rig.world.settle(next)).toStrictEqual(PUT_ANSWER);
  });
});

describe("AbortSignal", () => {
  test("aborted before: rejected, and nothing leaves", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const reason = new Error("no longer wanted");
    const { error } = await rig.failure(channel.call(put("a"), { timeoutMs: 500, signal: AbortSignal.abort(reason) }));
    expect(error).toMatchObject({ code: "CANCELLED", outcome: "rejected", cause: reason });
    await rig.quiet();
    expect(rig.held).toEqual([]);
  });

  test("aborted in the turn of the call: rejected, and its bytes never leave", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const aborter = new AbortController();
    const call = rig.caught(channel.call(put("a"), { timeoutMs: 500, signal: aborter.signal }));
    const other = channel.call(put("b"), { timeoutMs: 500 });
    aborter.abort();
    expect((await rig.settle(call)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    await rig.until(() => rig.held.length === 1);
    await rig.quiet();
    expect(rig.held.map(({ request }) => request)).toEqual([put("b")]);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(other);
  });

  test("aborted on the way: writes unknown, reads rejected, and the server hears of it", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const aborter = new AbortController();
    const { signal } = aborter;
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 500, signal }));
    const read = rig.caught(channel.call(range, { timeoutMs: 500, signal }));
    await rig.until(() => rig.held.length === 2);
    expect(rig.held.map(({ call }) => call.signal?.aborted)).toEqual([false, false]);
    aborter.abort(new Error("enough"));
    expect((await rig.settle(write)).error).toMatchObject({
      code: "CANCELLED",
      outcome: "unknown",
      cause: new Error("enough"),
    });
    expect((await rig.settle(read)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    await rig.quiet();
    expect(rig.held.map(({ call }) => call.signal?.aborted)).toEqual([true, true]);
  });

  test("listeners are removed on every path", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel({ maxCalls: 4 });
    const { signal } = new AbortController();
    const calls = ["answered", "refused", "late", "lost"].map((key) =>
      channel
        .call(put(key), { timeoutMs: key === "late" ? 100 : 5_000, signal })
        .catch((error: StoreError) => error.code),
    );
    const tooMany = channel.call(put("too many"), { timeoutMs: 500, signal }).catch((error: StoreError) => error.code);
    expect(getEventListeners(signal, "abort").length).toBe(4);
    await rig.until(() => rig.held.length === 4);
    rig.held[0]!.resolve(PUT_ANSWER);
    rig.held[1]!.reject(new StoreError("NO_SPACE"));
    await rig.world.settle(calls[2]!);
    rig.world.network.crash("server");
    expect((await rig.world.settle(Promise.all([...calls, tooMany]))).slice(1)).toEqual([
      "NO_SPACE",
      "TIMEOUT",
      "CONNECTION_LOST",
      "TOO_MANY_REQUESTS",
    ]);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  test("a call without a signal costs the server no controller", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const call = rig.caught(channel.call(put("a"), { timeoutMs: 100 }));
    await rig.settle(call);
    expect(rig.held[0]!.call.signal).toBeUndefined();
  });
});

describe("the end of the connection", () => {
  test("writes that were handed over are unknown, reads and what never left are rejected", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 500 }));
    const read = rig.caught(channel.call(range, { timeoutMs: 500 }));
    await rig.until(() => rig.held.length === 2);
    rig.world.network.crash("server");
    let unsent: Promise<{ readonly error: StoreError }> | undefined;
    // In the turn in which the end is heard of, and so after the last frame.
    const ended = channel.closed.then(() => {
      unsent = rig.caught(channel.call(put("b"), { timeoutMs: 500 }));
    });
    expect((await rig.settle(write)).error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect((await rig.settle(read)).error).toMatchObject({ code: "CONNECTION_LOST", outcome: "rejected" });
    await rig.world.settle(ended);
    expect((await rig.settle(unsent!)).error).toMatchObject({ code: "CONNECTION_LOST", outcome: "rejected" });
  });

  test("a call made in the very turn in which the connection ends was not handed over", async () => {
    const rig = await Rig.open();
    let end: ((reason: string) => void) | undefined;
    const client = rig.world.host("other").boot();
    const channel = await rig.world.settle(
      client.network.dial(URL, { maxFrameBytes: 1 << 20, timeoutMs: 500 }).then((connection) => {
        const made = connectChannel(connection, { clock: client.clock, log: silent, timeoutMs: 500 });
        return made.then((channel) => {
          end = connection.onClose;
          return channel;
        });
      }),
    );
    const call = rig.caught(channel.call(put("a"), { timeoutMs: 500 }));
    end!("gone");
    expect((await rig.settle(call)).error).toMatchObject({ code: "CONNECTION_LOST", outcome: "rejected" });
    await rig.quiet();
    expect(rig.held).toEqual([]);
  });

  test("close ends calls under way by name, and again does nothing", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 500 }));
    const read = rig.caught(channel.call(range, { timeoutMs: 500 }));
    await rig.until(() => rig.held.length === 2);
    channel.close();
    channel.close();
    expect((await rig.settle(write)).error).toMatchObject({ code: "CANCELLED", outcome: "unknown" });
    expect((await rig.settle(read)).error).toMatchObject({ code: "CANCELLED", outcome: "rejected" });
    await rig.world.settle(channel.closed);
    expect((await rig.failure(channel.call(put("b"), { timeoutMs: 500 }))).error.code).toBe("CANCELLED");
    await rig.until(() => rig.listener.connections === 0);
  });

  test.each([
    ["too short", [FROM_SERVER.leader, 0, 0, 0, 0, 0, 0, 0, 1]],
    ["too long", [FROM_SERVER.leader, ...new Array(17).fill(0)]],
    ["of a term that is no number here", [FROM_SERVER.leader, ...new Array(16).fill(0xff)]],
  ])("news of a leader that is %s ends the connection", async (_, message) => {
    const rig = await Rig.open();
    let receive!: (frame: Uint8Array) => void;
    const client = rig.world.host("other").boot();
    const channel = await rig.settle(
      client.network.dial(URL, { maxFrameBytes: 1 << 20, timeoutMs: 500 }).then(async (connection) => {
        const made = await connectChannel(connection, { clock: client.clock, log: silent, timeoutMs: 500 });
        receive = connection.onFrame;
        return made;
      }),
    );
    receive(encodeFrame([Uint8Array.from(message)]));
    await rig.settle(channel.closed);
    expect(channel.leader).toBeUndefined();
  });

  test("a malformed answer ends the connection", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 500 }));
    await rig.until(() => rig.held.length === 1);
    rig.held[0]!.resolve({ ...PUT_ANSWER, result: { ...PUT_ANSWER.result, revision: -1 } } as typeof PUT_ANSWER);
    expect((await rig.settle(write)).error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    await rig.until(() => rig.listener.connections === 0);
  });
});

describe("a silent server", () => {
  test("is found dead while calls wait, long before their deadline", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 60_000 }));
    await rig.until(() => rig.held.length === 1);
    rig.world.host("server").pause();
    const { error, afterMs } = await rig.settle(write);
    expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect(error.message).toContain("silent");
    expect(afterMs).toBeGreaterThan(3_000);
    expect(afterMs).toBeLessThan(5_000);
  });

  test("is found dead sooner once it is suspected, and a living one is not", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    channel.suspect();
    await rig.world.runFor(60_000);
    expect(rig.listener.connections).toBe(1);
    const write = rig.caught(channel.call(put("a"), { timeoutMs: 60_000 }));
    await rig.until(() => rig.held.length === 1);
    rig.world.host("server").pause();
    // What was on its way has arrived.
    await rig.quiet();
    channel.suspect();
    const { error, afterMs } = await rig.settle(write);
    expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect(afterMs).toBeGreaterThan(900);
    expect(afterMs).toBeLessThan(2_000);
  });

  test("is found dead while nothing is asked", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    rig.world.network.cut("server", "client");
    await rig.world.settle(channel.closed, 10_000);
  });

  test("of which nothing is awaited is pinged a fifth as often", async () => {
    const rig = await Rig.open();
    const pings = (): number => rig.sentByClients.length;
    const idle = await rig.channel();
    const greeted = pings();
    await rig.world.runFor(60_000);
    expect(pings() - greeted).toBeGreaterThanOrEqual(11);
    expect(pings() - greeted).toBeLessThanOrEqual(12);
    const call = idle.call(put("a"), { timeoutMs: 120_000 });
    const asked = pings();
    await rig.world.runFor(60_000);
    expect(pings() - asked).toBeGreaterThanOrEqual(55);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(call);
  });

  test("that went while nothing was asked is found dead as soon when something is", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    await rig.world.runFor(2_000);
    rig.world.network.cut("server", "client");
    await rig.world.runFor(2_000);
    const { error, afterMs } = await rig.failure(channel.call(put("a"), { timeoutMs: 60_000 }));
    expect(error).toMatchObject({ code: "CONNECTION_LOST", outcome: "unknown" });
    expect(afterMs).toBeLessThan(5_000);
  });

  test.each([0, 250])(
    "is found dead by calls that each give up sooner than that takes, %i ms apart",
    async (pauseMs) => {
      const rig = await Rig.open();
      const channel = await rig.channel();
      await rig.world.runFor(2_000);
      rig.world.network.cut("server", "client");
      const begun = rig.world.clock.now();
      for (let code: unknown = "TIMEOUT"; code === "TIMEOUT"; ) {
        code = (await rig.failure(channel.call(put("a"), { timeoutMs: 50 }))).error.code;
        await rig.world.runFor(pauseMs);
        expect(rig.world.clock.now() - begun).toBeLessThan(6_000);
      }
    },
  );

  test("has time to answer the ping of a client that comes late to it", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel({ keepAliveTimeMs: 5_000, keepAliveTimeoutMs: 100 });
    let closed = false;
    void channel.closed.then(() => {
      closed = true;
    });
    const call = channel.call(put("a"), { timeoutMs: 600_000 });
    await rig.until(() => rig.held.length === 1);
    // Beats every 2,500 ms: of the second, which pings, and of the third, which comes right behind it.
    for (let offset = 7_480; offset < 7_500; offset++) {
      await rig.world.runFor(4_800);
      rig.world.host("client").pause();
      await rig.world.runFor(offset - 4_800);
      rig.world.host("client").resume();
      await rig.world.runFor(10_000 - offset);
      expect(closed, `resumed after ${offset} ms`).toBe(false);
    }
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(call);
  });

  test("hears of its client in time, whatever the client said last and when", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel({ keepAliveTimeMs: 10_000 });
    for (let offset = 200; offset < 2_500; offset += 300) {
      await rig.world.runFor(10_000 - (rig.world.clock.now() % 2_500) + offset);
      const call = channel.call(put("a"), { timeoutMs: 1_000 });
      await rig.until(() => rig.held.length === 1);
      rig.held.pop()!.resolve(PUT_ANSWER);
      await rig.world.settle(call);
      const [spoken, at] = [rig.sentByClients.length, rig.world.clock.now()];
      await rig.until(() => rig.sentByClients.length > spoken);
      expect(rig.world.clock.now() - at, `offset ${offset}`).toBeLessThan(10_000 + 2_500 / 2);
    }
  });

  test.each([200, 8_000, 60_000, Number.POSITIVE_INFINITY])(
    "a client that asks nothing lives on, with keepAliveTimeMs %f",
    async (keepAliveTimeMs) => {
      const rig = await Rig.open();
      const channel = await rig.channel({ keepAliveTimeMs });
      let closed = false;
      void channel.closed.then(() => {
        closed = true;
      });
      await rig.world.runFor(300_000);
      expect(closed).toBe(false);
      rig.world.network.cut("server", "client");
      await rig.world.settle(channel.closed, 4 * 3_000 + 2 * 10_000);
    },
  );

  test("one that only answers pings lives on", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    await rig.world.runFor(120_000);
    expect(rig.listener.connections).toBe(1);
    const call = channel.call(put("a"), { timeoutMs: 500 });
    await rig.until(() => rig.held.length === 1);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(call);
  });

  test("a client that stood still itself does not take the server for dead", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    await rig.world.runFor(5_000);
    rig.world.host("client").pause();
    await rig.world.runFor(20_000);
    rig.world.host("client").resume();
    await rig.world.runFor(5_000);
    const call = channel.call(put("a"), { timeoutMs: 500 });
    await rig.until(() => rig.held.length === 1);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(call);
  });
});

describe("bounds", () => {
  test("a request that is too large is refused before it leaves", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel();
    const { error } = await rig.failure(channel.call(put("a", "x".repeat(2 << 20)), { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "REQUEST_TOO_LARGE", outcome: "rejected" });
    const limited = await rig.channel({ maxSendBytes: 100 });
    expect((await rig.failure(limited.call(put("a", "x".repeat(100)), { timeoutMs: 500 }))).error.code).toBe(
      "REQUEST_TOO_LARGE",
    );
    await rig.quiet();
    expect(rig.held).toEqual([]);
  });

  test("an answer that is too large ends its call alone, and says whether it happened", async () => {
    const rig = await Rig.open();
    const channel = await rig.channel({ maxReceiveBytes: 500 });
    const at = { createRevision: revision(5), modRevision: revision(5), version: 1, lease: NO_LEASE };
    const kv = { key: encodeUtf8("k"), value: encodeUtf8("x".repeat(1_000)), ...at };
    const large = answer({ kind: "range", revision: revision(5), kvs: [kv], more: false, count: 1 });
    const small = answer({ kind: "range", revision: revision(5), kvs: [], more: false, count: 7 });
    const calls = [range, put("a"), range].map((request) => channel.call(request, { timeoutMs: 5_000 }));
    const ended = Promise.allSettled(calls);
    await rig.until(() => rig.held.length === 3);
    // All in one frame, from which the last answer must still be taken.
    rig.held[0]!.resolve(large);
    rig.held[1]!.resolve(answer({ kind: "put", revision: revision(5), prevKv: kv }));
    rig.held[2]!.resolve(small);
    const details = { bytes: expect.any(Number), maxReceiveBytes: 500 };
    expect(await rig.world.settle(ended)).toMatchObject([
      { reason: { code: "RESPONSE_TOO_LARGE", outcome: "rejected", details } },
      { reason: { code: "RESPONSE_TOO_LARGE", outcome: "applied", details } },
      { value: { result: { kind: "range", count: 7 } } },
    ]);
    const unbounded = await rig.channel();
    const whole = unbounded.call(range, { timeoutMs: 5_000 });
    await rig.until(() => rig.held.length === 4);
    rig.held[3]!.resolve(large);
    expect((await rig.world.settle(whole)).result).toMatchObject({ kind: "range", count: 1 });
  });

  test.each([
    ["its own bound of calls", {}, { maxCalls: 3 }],
    ["the server's bound of calls", { maxCalls: 3 }, {}],
    ["its own bound of bytes", {}, { maxCallBytes: 3_100 }],
    ["the server's bound of bytes", { maxCallBytes: 3_100 }, {}],
  ])("beyond %s a call is refused, until others are answered", async (_, listener, own) => {
    const rig = await Rig.open(listener);
    const channel = await rig.channel(own);
    const value = "x".repeat(1_000);
    const calls = ["a", "b", "c"].map((key) => channel.call(put(key, value), { timeoutMs: 5_000 }));
    const { error } = await rig.failure(channel.call(put("d", value), { timeoutMs: 500 }));
    expect(error).toMatchObject({ code: "TOO_MANY_REQUESTS", outcome: "rejected" });
    await rig.until(() => rig.held.length === 3);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.world.settle(calls[0]!);
    const next = channel.call(put("e", value), { timeoutMs: 5_000 });
    await rig.until(() => rig.held.length === 4);
    for (const { resolve } of rig.held) resolve(PUT_ANSWER);
    await rig.world.settle(Promise.all([...calls.slice(1), next]));
  });
});

test("an answer to a read arrives whole, whatever its size", async () => {
  const kvs = Array.from({ length: 2_000 }, (_, i) => ({
    key: encodeUtf8(`k${i}`),
    createRevision: revision(2),
    modRevision: revision(3),
    version: 2,
    value: new Uint8Array(500).fill(i),
    lease: NO_LEASE,
  }));
  const response = answer({ kind: "range", revision: revision(5), kvs, more: false, count: kvs.length });
  const rig = await Rig.open({ handle: async () => response });
  const channel = await rig.channel();
  const received = await rig.world.settle(channel.call(range, { timeoutMs: 5_000 }));
  // A megabyte compares faster as bytes.
  expect(Buffer.compare(encodeResponse(received), encodeResponse(response))).toBe(0);
});
