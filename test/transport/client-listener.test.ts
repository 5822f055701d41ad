import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { type LeaseId, memberId, NO_LEASE, revision } from "../../src/base/ids.ts";
import type { LeaderNews } from "../../src/protocol/channel.ts";
import {
  decodeError,
  decodeResponse,
  decodeServerHello,
  encodeClientHello,
  encodeRequest,
} from "../../src/protocol/codec.ts";
import type { PutRequest } from "../../src/protocol/requests.ts";
import { FROM_CLIENT, FROM_SERVER, readLeader } from "../../src/transport/client-wire.ts";
import { testSeed } from "../support/seed.ts";
import { answer, PUT_ANSWER, type RawConnection, Rig, STAMP } from "./client-rig.ts";

const put = (key: string, value = "v"): PutRequest => ({ kind: "put", key: encodeUtf8(key), value: encodeUtf8(value) });
const hello = (version?: number): number[] => [FROM_CLIENT.hello, ...encodeClientHello(version)];
const call = (number: number, body: Uint8Array = encodeRequest(put("a")), flags = 0): number[] => [
  ...[FROM_CLIENT.call, 0, 0, number >> 8, number & 0xff, 0, 0, 2, 0, flags],
  ...body,
];

const KV = {
  key: encodeUtf8("k"),
  createRevision: revision(2),
  modRevision: revision(2),
  version: 1,
  value: encodeUtf8("v"),
  lease: NO_LEASE,
};

async function greeted(rig: Rig): Promise<RawConnection> {
  const raw = await rig.raw();
  raw.send(hello());
  await rig.until(() => raw.messages.length === 1);
  raw.messages.length = 0;
  return raw;
}

/** Type, call number and what came with it. */
function readAnswer(message: Uint8Array) {
  const call = (message[3]! << 8) | message[4]!;
  if (message[0] === FROM_SERVER.error) return { call, error: decodeError(message, 5) };
  return { call, response: decodeResponse(message, STAMP, 5) };
}

describe("the greeting", () => {
  test("tells who answers and how much is taken from one connection", async () => {
    const rig = await Rig.open({ maxCalls: 7, maxCallBytes: 900, maxFrameBytes: 4_000 });
    const raw = await rig.raw();
    raw.send(hello());
    await rig.until(() => raw.messages.length === 1);
    expect(raw.messages[0]![0]).toBe(FROM_SERVER.hello);
    expect(decodeServerHello(raw.messages[0]!, 1)).toStrictEqual({
      ...STAMP,
      maxMessageBytes: 4_000,
      maxCalls: 7,
      maxCallBytes: 900,
    });
  });

  test("a stranger that says nothing is shown out in time", async () => {
    const rig = await Rig.open({ handshakeMs: 2_000 });
    const raw = await rig.raw();
    const begun = rig.world.clock.now();
    await rig.until(() => raw.closed !== undefined);
    expect(raw.closed).toBe("no greeting in time");
    expect(rig.world.clock.now() - begun).toBeGreaterThan(1_500);
    expect(rig.world.clock.now() - begun).toBeLessThan(3_500);
    expect(rig.listener.connections).toBe(0);
  });

  test("so is one that sends empty frames instead", async () => {
    const rig = await Rig.open({ handshakeMs: 2_000 });
    const raw = await rig.raw();
    for (let i = 0; i < 40 && raw.closed === undefined; i++) {
      raw.send();
      await rig.world.runFor(100);
    }
    expect(raw.closed).toBe("no greeting in time");
  });

  test("another version is answered with ours, and closed with both", async () => {
    const rig = await Rig.open();
    const raw = await rig.raw();
    raw.send(hello(9), call(1));
    await rig.until(() => raw.closed !== undefined);
    expect(raw.messages.map((message) => message[0])).toEqual([FROM_SERVER.hello]);
    expect(raw.closed).toContain("protocol version 9");
    expect(rig.held).toEqual([]);
  });
});

describe("the leader", () => {
  const leads = (rig: Rig, raw: RawConnection): unknown[] => {
    expect(rig.logged).toEqual([]);
    return raw.messages.filter(([type]) => type === FROM_SERVER.leader).map((message) => readLeader(message));
  };

  test("is told behind the greeting and at each change, to those who have greeted", async () => {
    let leader: LeaderNews = { term: 7, member: STAMP.memberId };
    const rig = await Rig.open({ leader: () => leader });
    const [early, silent] = [await greeted(rig), await rig.raw()];
    await rig.quiet();
    expect(leads(rig, early)).toEqual([leader]);
    leader = { term: 8, member: undefined };
    rig.listener.announceLeader();
    await rig.quiet();
    expect(leads(rig, early)).toEqual([{ term: 7, member: STAMP.memberId }, leader]);
    expect(silent.messages).toEqual([]);
  });

  test("a member that knows none is silent about it at first", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    await rig.quiet();
    expect(raw.messages).toEqual([]);
  });

  test("a channel keeps what it heard last, and says so", async () => {
    let leader: LeaderNews = { term: 7, member: STAMP.memberId };
    const rig = await Rig.open({ leader: () => leader });
    const channel = await rig.channel();
    await rig.quiet();
    expect(channel.leader).toEqual(leader);
    const heard: LeaderNews[] = [];
    channel.onLeader = (news) => heard.push(news);
    leader = { term: 9, member: memberId(0xffff_ffff_ffff_ffffn) };
    rig.listener.announceLeader();
    await rig.quiet();
    expect([channel.leader, ...heard]).toEqual([leader, leader]);
  });
});

describe("rules", () => {
  const good = call(1);
  const table: readonly (readonly [string, readonly (readonly number[])[]])[] = [
    ["a second greeting", [hello()]],
    ["an unknown message", [[77]]],
    ["an empty message", [[]]],
    ["a call that is cut short", [good.slice(0, 9)]],
    ["an unknown flag of a call", [call(1, encodeRequest(put("a")), 4)]],
    ["an operation's id that is cut short", [call(1, new Uint8Array(23), 2)]],
    ["an operation's id beyond 2^53", [call(1, new Uint8Array(30).fill(0xff), 2)]],
    ["a call number twice at a time", [call(1), call(1)]],
    ["a cancel without a number", [[FROM_CLIENT.cancel]]],
    ["a ping with more in it", [[FROM_CLIENT.ping, 0]]],
  ];
  test.each(table)("%s closes that connection with a reason, and no other", async (_, messages) => {
    const rig = await Rig.open();
    const other = await greeted(rig);
    const raw = await greeted(rig);
    raw.send(...messages);
    await rig.until(() => raw.closed !== undefined);
    expect(raw.closed).toMatch(/^malformed frame: ./);
    expect(rig.listener.connections).toBe(1);
    const before = rig.held.length;
    other.send(call(5));
    await rig.until(() => rig.held.length > before);
    rig.held.at(-1)!.resolve(PUT_ANSWER);
    await rig.until(() => other.messages.length === 1);
    expect(readAnswer(other.messages[0]!)).toEqual({ call: 5, response: PUT_ANSWER });
  });

  test("a frame that is cut short closes the connection, after what came whole was done", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    raw.connection.send(Uint8Array.from([0, 0, 0, good.length, ...good, 0, 0, 0, 9, 1]));
    await rig.until(() => raw.closed !== undefined);
    expect(raw.closed).toContain("malformed frame");
    expect(rig.held.length).toBe(1);
  });

  test("what follows a broken rule in its frame is not looked at", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    raw.send([77], call(1));
    await rig.until(() => raw.closed !== undefined);
    expect(rig.held).toEqual([]);
  });

  test("a request that cannot be understood is that call's error alone", async () => {
    const rig = await Rig.open({ handle: async () => PUT_ANSWER });
    const raw = await greeted(rig);
    raw.send(call(1, Uint8Array.of(0xc1)), call(2));
    await rig.until(() => raw.messages.length === 2);
    const answers = raw.messages.map(readAnswer);
    expect(answers.find((each) => each.call === 1)!.error).toMatchObject({
      code: "INVALID_REQUEST",
      outcome: "rejected",
    });
    expect(answers.find((each) => each.call === 2)!.response).toEqual(PUT_ANSWER);
    expect(raw.closed).toBeUndefined();
  });

  test("random frames close their connection at worst", async () => {
    const seed = testSeed();
    const rig = await Rig.open({ handle: async () => PUT_ANSWER });
    const steady = await greeted(rig);
    const message = fc.oneof(
      fc.uint8Array({ maxLength: 30 }).map((bytes) => [...bytes]),
      fc.constantFrom(call(1), call(2), hello(), [FROM_CLIENT.ping], [FROM_CLIENT.cancel, 0, 0, 0, 1]),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { maxLength: 5 }),
        fc.boolean(),
        fc.uint8Array({ maxLength: 3 }),
        async (messages, polite, rest) => {
          const raw = polite ? await greeted(rig) : await rig.raw();
          raw.send(...messages);
          raw.connection.send(rest);
          await rig.quiet();
          raw.connection.close("done");
          steady.messages.length = 0;
          steady.send(call(3));
          await rig.until(() => steady.messages.length === 1);
          expect(readAnswer(steady.messages[0]!).response).toEqual(PUT_ANSWER);
        },
      ),
      { seed, numRuns: 100 },
    );
    expect(rig.logged).toEqual([]);
  });
});

describe("the handler", () => {
  test("an error without a name is INTERNAL, unknown, and logged", async () => {
    const rig = await Rig.open({ handle: () => Promise.reject(new TypeError("oops")) });
    const raw = await greeted(rig);
    raw.send(call(1));
    await rig.until(() => raw.messages.length === 1);
    const { error } = readAnswer(raw.messages[0]!);
    expect(error).toMatchObject({ code: "INTERNAL", outcome: "unknown" });
    // What broke inside is the log's, not the caller's.
    expect(error!.message).not.toContain("oops");
    expect(rig.logged).toEqual(["a request failed without a name"]);
  });

  test("an answer that cannot be encoded is INTERNAL too, and the connection lives", async () => {
    // A lease of more than 64 bits: nothing that a server answers, but the line must hold.
    const prevKv = { ...KV, lease: (2n ** 80n) as LeaseId };
    const strange = answer({ kind: "put", revision: revision(5), prevKv });
    const answers = [strange, PUT_ANSWER];
    const rig = await Rig.open({ handle: async () => answers.shift()! });
    const raw = await greeted(rig);
    raw.send(call(1));
    raw.send(call(2));
    await rig.until(() => raw.messages.length === 2);
    expect(raw.messages.map(readAnswer)).toMatchObject([{ call: 1, error: { code: "INTERNAL" } }, { call: 2 }]);
  });

  test("a cancel reaches the call it names, which then gets no answer", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    raw.send(call(1, encodeRequest(put("a")), 1), call(2, encodeRequest(put("b")), 1), call(3));
    await rig.until(() => rig.held.length === 3);
    raw.send([FROM_CLIENT.cancel, 0, 0, 0, 2], [FROM_CLIENT.cancel, 0, 0, 0, 3], [FROM_CLIENT.cancel, 0, 0, 9, 9]);
    await rig.until(() => rig.held[1]!.call.signal!.aborted);
    expect(rig.held.map(({ call: { signal } }) => signal?.aborted)).toEqual([false, true, undefined]);
    rig.held[1]!.reject(new StoreError("CANCELLED", { outcome: "unknown" }));
    rig.held[0]!.resolve(PUT_ANSWER);
    rig.held[2]!.resolve(PUT_ANSWER);
    await rig.until(() => raw.messages.length === 2);
    expect(raw.messages.map((message) => readAnswer(message).call)).toEqual([1, 3]);
  });

  test("calls that can be cancelled are, when their connection ends", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    raw.send(call(1, encodeRequest(put("a")), 1));
    await rig.until(() => rig.held.length === 1);
    raw.connection.close("bye");
    await rig.until(() => rig.listener.connections === 0);
    expect(rig.held[0]!.call.signal!.aborted).toBe(true);
    rig.held[0]!.resolve(PUT_ANSWER);
    await rig.quiet();
    expect(rig.logged).toEqual([]);
  });
});

describe("bounds", () => {
  test("calls beyond the bound are refused while the others go on, and room comes back", async () => {
    const rig = await Rig.open({ maxCalls: 2 });
    const raw = await greeted(rig);
    raw.send(call(1), call(2), call(3));
    await rig.until(() => raw.messages.length === 1);
    expect(readAnswer(raw.messages[0]!)).toMatchObject({
      call: 3,
      error: { code: "TOO_MANY_REQUESTS", outcome: "rejected" },
    });
    expect(rig.held.length).toBe(2);
    for (const { resolve } of rig.held) resolve(PUT_ANSWER);
    await rig.until(() => raw.messages.length === 3);
    raw.send(call(3));
    await rig.until(() => rig.held.length === 3);
  });

  test("so are bytes beyond the bound", async () => {
    const rig = await Rig.open({ maxCallBytes: 2_500 });
    const raw = await greeted(rig);
    const body = Uint8Array.from(encodeRequest(put("a", "x".repeat(1_000))));
    raw.send(call(1, body), call(2, body), call(3, body));
    await rig.until(() => raw.messages.length === 1);
    expect(readAnswer(raw.messages[0]!)).toMatchObject({ call: 3, error: { code: "TOO_MANY_REQUESTS" } });
    rig.held[0]!.reject(new StoreError("NO_SPACE"));
    await rig.until(() => raw.messages.length === 2);
    raw.send(call(3, body));
    await rig.until(() => rig.held.length === 3);
  });

  test("a client that does not read is refused first and closed at the bound: its answers never pile up", async () => {
    const kvs = [{ ...KV, value: new Uint8Array(10_000) }];
    const large = answer({ kind: "range", revision: revision(5), kvs, more: false, count: 1 });
    let handled = 0;
    const rig = await Rig.open({
      refuseBacklogBytes: 50_000,
      maxBacklogBytes: 100_000,
      handle: async () => {
        handled += 1;
        return large;
      },
    });
    const raw = await greeted(rig);
    const other = await greeted(rig);
    rig.world.network.cut("server", "client");
    let most = 0;
    for (let i = 0; i < 40 && rig.listener.connections === 2; i++) {
      raw.send(call(i));
      await rig.quiet();
      most = Math.max(
        most,
        rig.sentByServer.reduce((sum, frame) => sum + frame.length, 0),
      );
    }
    // Five answers of 10 kB wait; from then on requests are refused.
    expect(handled).toBe(5);
    expect(most).toBeLessThan(70_000);
    for (let i = 0; i < 20_000 && rig.listener.connections === 2; i += 500) {
      raw.send(...Array.from({ length: 500 }, (_, at) => call(i + at)));
      await rig.quiet();
    }
    expect(rig.listener.connections).toBe(1);
    expect(handled).toBe(5);
    rig.world.network.heal("server", "client");
    await rig.until(() => raw.closed !== undefined);
    expect(raw.closed).toBe("answers are not read");
    expect(other.closed).toBeUndefined();
  });

  test("reads promised before the backlog grew are refused, what a write did is told, and the bound ends the connection", async () => {
    const kvs = [{ ...KV, value: new Uint8Array(10_000) }];
    const read = answer({ kind: "range", revision: revision(5), kvs, more: false, count: 1 });
    const written = answer({ kind: "put", revision: revision(6), prevKv: kvs[0] });
    const rig = await Rig.open({ refuseBacklogBytes: 50_000, maxBacklogBytes: 100_000 });
    const raw = await greeted(rig);
    raw.send(...Array.from({ length: 50 }, (_, i) => call(i)));
    await rig.until(() => rig.held.length === 50);
    rig.world.network.cut("server", "client");
    for (const { resolve } of rig.held.splice(0, 30)) resolve(read);
    await rig.quiet();
    expect(rig.listener.connections).toBe(1);
    expect(rig.sentByServer.reduce((sum, frame) => sum + frame.length, 0)).toBeLessThan(70_000);
    for (const { resolve } of rig.held) resolve(written);
    await rig.until(() => rig.listener.connections === 0);
    expect(rig.sentByServer.reduce((sum, frame) => sum + frame.length, 0)).toBeLessThan(130_000);
  });

  test("a stranger's large frame ends the connection before it is looked at", async () => {
    const rig = await Rig.open({ maxFrameBytes: 10_000 });
    const raw = await greeted(rig);
    raw.connection.send(new Uint8Array(20_000));
    await rig.until(() => raw.closed !== undefined);
    expect(rig.listener.connections).toBe(0);
  });
});

describe("silence", () => {
  test("a ping is answered", async () => {
    const rig = await Rig.open();
    const raw = await greeted(rig);
    raw.send([FROM_CLIENT.ping]);
    await rig.until(() => raw.messages.length === 1);
    expect(raw.messages[0]).toEqual(Uint8Array.of(FROM_SERVER.pong));
  });

  test("a client that neither asks nor pings is gone, one that pings is not", async () => {
    const rig = await Rig.open({ idleMs: 5_000 });
    const silent = await greeted(rig);
    const pinging = await greeted(rig);
    for (let i = 0; i < 10; i++) {
      pinging.send([FROM_CLIENT.ping]);
      await rig.world.runFor(1_000);
    }
    expect(silent.closed).toBe("the client is silent");
    expect(pinging.closed).toBeUndefined();
  });

  test("a server that stood still itself reads first what came meanwhile", async () => {
    const rig = await Rig.open({ idleMs: 5_000 });
    const raw = await greeted(rig);
    rig.world.host("server").pause();
    for (let i = 0; i < 20; i++) {
      raw.send([FROM_CLIENT.ping]);
      await rig.world.runFor(1_000);
    }
    rig.world.host("server").resume();
    await rig.world.runFor(1_000);
    expect(raw.closed).toBeUndefined();
    expect(raw.messages.length).toBe(20);
  });
});

describe("close", () => {
  test("sends the answers that are ready, ends every connection, and again does nothing", async () => {
    const rig = await Rig.open();
    const one = await greeted(rig);
    const two = await greeted(rig);
    one.send(call(1), call(2, encodeRequest(put("b")), 1));
    await rig.until(() => rig.held.length === 2);
    rig.held[0]!.resolve(PUT_ANSWER);
    // The answer is queued in the turn in which the listener closes.
    await Promise.resolve();
    await Promise.resolve();
    const closing = Promise.all([rig.listener.close(), rig.listener.close()]);
    await rig.world.settle(closing);
    await rig.until(() => one.closed !== undefined && two.closed !== undefined);
    expect(one.messages.map((message) => readAnswer(message).call)).toEqual([1]);
    expect([one.closed, two.closed]).toEqual(["the server stops", "the server stops"]);
    expect(rig.held[1]!.call.signal!.aborted).toBe(true);
    await rig.world.settle(rig.listener.close());
  });

  test("nobody is let in afterwards, and the address is free", async () => {
    const rig = await Rig.open();
    await rig.world.settle(rig.listener.close());
    expect((await rig.failure(rig.raw())).error.code).toBe("UNAVAILABLE");
  });
});
