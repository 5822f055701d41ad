/** Watch streams between the two ends of a connection: what passes, what waits, what ends. */
import { describe, expect, test } from "vitest";
import { encodeUtf8 } from "../../src/base/bytes.ts";
import { StoreError } from "../../src/base/errors.ts";
import { NO_LEASE, revision, term } from "../../src/base/ids.ts";
import type { WatchOptions, WatchOutlet, WatchReceiver } from "../../src/protocol/channel.ts";
import { decodeError, encodeClientHello, encodeWatchRequest } from "../../src/protocol/codec.ts";
import type { WatchRequest, WatchResponse } from "../../src/protocol/watch.ts";
import type { ClientListenerOptions } from "../../src/transport/client-listener.ts";
import { FROM_CLIENT, FROM_SERVER } from "../../src/transport/client-wire.ts";
import { type RawConnection, Rig, STAMP } from "./client-rig.ts";

/** A stream as the server got it. */
class Served {
  readonly outlet: WatchOutlet;
  readonly options: WatchOptions;
  readonly requests: WatchRequest[] = [];
  resumed = 0;
  closed = 0;

  constructor(outlet: WatchOutlet, options: WatchOptions) {
    this.outlet = outlet;
    this.options = options;
  }

  send(more: Partial<WatchResponse> = {}): void {
    this.outlet.send({
      header: { ...STAMP, revision: revision(5), raftTerm: term(2) },
      watchId: 0,
      created: false,
      canceled: false,
      compactRevision: 0,
      cancelReason: "",
      fragment: false,
      events: [],
      ...more,
    });
  }

  sendEvent(bytes: number): void {
    const kv = {
      key: encodeUtf8("k"),
      createRevision: revision(2),
      modRevision: revision(2),
      version: 1,
      value: new Uint8Array(bytes),
      lease: NO_LEASE,
    };
    this.send({ events: [{ type: "put", kv }] });
  }
}

class Heard implements WatchReceiver {
  readonly news: WatchResponse[] = [];
  bytes = 0;
  error: StoreError | undefined;

  receive(response: WatchResponse, bytes: number): void {
    this.news.push(response);
    this.bytes += bytes;
  }
  ended(error: StoreError): void {
    expect(this.error).toBeUndefined();
    this.error = error;
  }
}

async function open(options: Partial<ClientListenerOptions> = {}) {
  const served: Served[] = [];
  const rig = await Rig.open({
    watch: (outlet, watchOptions) => {
      const one = new Served(outlet, watchOptions);
      served.push(one);
      return {
        request: (request) => one.requests.push(request),
        resume: () => {
          one.resumed += 1;
        },
        close: () => {
          one.closed += 1;
        },
      };
    },
    ...options,
  });
  return { rig, served };
}

const create: WatchRequest = { kind: "create", key: encodeUtf8("k") };

describe("a watch stream", () => {
  test("carries requests one way and news the other, each stream its own", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const [one, other] = [new Heard(), new Heard()];
    const stream = channel.watch(one, { requireLeader: true, windowBytes: 1_000 });
    stream.request(create);
    stream.request({ kind: "progress" });
    channel.watch(other).request({ kind: "cancel", watchId: 3 });
    await rig.quiet();
    expect(served.map(({ options }) => options)).toEqual([
      { requireLeader: true, windowBytes: 1_000 },
      { requireLeader: false, windowBytes: 1 << 20 },
    ]);
    expect(served.map(({ requests }) => requests)).toEqual([
      [create, { kind: "progress" }],
      [{ kind: "cancel", watchId: 3 }],
    ]);
    served[1]!.send({ watchId: 9, created: true });
    await rig.quiet();
    expect(one.news).toEqual([]);
    expect(other.news).toMatchObject([{ watchId: 9, created: true, header: STAMP }]);
  });

  test("of a client that only listens lasts, however steadily news comes", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    channel.watch(heard).request(create);
    await rig.quiet();
    for (let sent = 0; sent < 400; sent++) {
      served[0]!.sendEvent(10);
      await rig.world.runFor(300);
    }
    expect(heard.error).toBeUndefined();
    expect(heard.news).toHaveLength(400);
    expect(rig.listener.connections).toBe(1);
  });

  test("takes events while its window lasts, and again once they were read", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    const stream = channel.watch(heard, { windowBytes: 1_000 });
    await rig.quiet();
    const [one] = served;
    one!.sendEvent(600);
    expect(one!.outlet.writable).toBe(true);
    one!.sendEvent(600);
    expect(one!.outlet.writable).toBe(false);
    // Requests wait meanwhile, for each would be answered.
    stream.request(create);
    await rig.quiet();
    expect(heard.news).toHaveLength(2);
    expect(one!.requests).toEqual([]);
    stream.consumed(heard.bytes);
    await rig.quiet();
    expect(one!.outlet.writable).toBe(true);
    expect(one!.requests).toEqual([create]);
    expect(one!.resumed).toBeGreaterThan(0);
  });

  test("one that is not read neither holds up another nor a call", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const [slow, fast] = [new Heard(), new Heard()];
    channel.watch(slow, { windowBytes: 10 });
    channel.watch(fast);
    await rig.quiet();
    served[0]!.sendEvent(100);
    expect(served[0]!.outlet.writable).toBe(false);
    expect(served[1]!.outlet.writable).toBe(true);
    served[1]!.sendEvent(100);
    const answered = channel.call({ kind: "status" }, { timeoutMs: 1_000 });
    await rig.quiet();
    expect(fast.news).toHaveLength(1);
    expect(rig.held).toHaveLength(1);
    rig.held[0]!.reject(new StoreError("NO_LEADER"));
    expect((await rig.failure(answered)).error.code).toBe("NO_LEADER");
  });

  test("waits while the connection has enough to send, and goes on by itself", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    channel.watch(new Heard(), { windowBytes: 32 << 20 });
    await rig.quiet();
    rig.world.network.cut("server", "client");
    served[0]!.sendEvent(1_200_000);
    expect(served[0]!.outlet.writable).toBe(false);
    await rig.world.runFor(100);
    expect(served[0]!.resumed).toBe(0);
    rig.world.network.heal("server", "client");
    await rig.until(() => served[0]!.resumed > 0);
    expect(served[0]!.outlet.writable).toBe(true);
  });

  test("ends with the server's error, and takes anything afterwards", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    const stream = channel.watch(heard);
    await rig.quiet();
    served[0]!.outlet.ended(new StoreError("NO_LEADER"));
    await rig.quiet();
    expect(heard.error).toMatchObject({ code: "NO_LEADER" });
    stream.request(create);
    stream.consumed(5);
    stream.close();
    await rig.quiet();
    expect(rig.listener.connections).toBe(1);
    expect(served).toHaveLength(1);
  });

  test("closed, it hears nothing more, and the server knows", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    const stream = channel.watch(heard);
    await rig.quiet();
    stream.close();
    served[0]!.send();
    await rig.quiet();
    expect(served[0]!.closed).toBe(1);
    expect(heard).toMatchObject({ news: [], error: undefined });
  });

  test("ends with its connection, at both ends", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    channel.watch(heard);
    await rig.quiet();
    await rig.settle(rig.listener.close());
    await rig.quiet();
    expect(heard.error).toMatchObject({ code: "CONNECTION_LOST" });
    expect(served[0]!.closed).toBe(1);
    const late = new Heard();
    channel.watch(late);
    expect(late.error).toBeUndefined();
    await rig.quiet();
    expect(late.error).toMatchObject({ code: "CONNECTION_LOST" });
  });

  test("more than the server takes are refused, each by itself", async () => {
    const { rig, served } = await open({ maxCalls: 2 });
    const channel = await rig.channel();
    const all = [new Heard(), new Heard(), new Heard()];
    for (const heard of all) channel.watch(heard);
    await rig.quiet();
    expect(served).toHaveLength(2);
    expect(all.map(({ error }) => error?.code)).toEqual([undefined, undefined, "TOO_MANY_REQUESTS"]);
  });

  test.each([0, -1, 1.5, 1 << 30])("a window of %d bytes is refused before it leaves", async (windowBytes) => {
    const { rig, served } = await open();
    const heard = new Heard();
    (await rig.channel()).watch(heard, { windowBytes });
    await rig.quiet();
    expect(heard.error).toMatchObject({ code: "INVALID_REQUEST" });
    expect(served).toEqual([]);
  });
});

describe("requests of a stream that are large", () => {
  const withKey = (bytes: number): WatchRequest => ({ kind: "create", key: new Uint8Array(bytes).fill(1) });

  test("one larger than any message ends its stream by name, and nothing else on the connection", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const [large, small] = [new Heard(), new Heard()];
    const stream = channel.watch(large);
    channel.watch(small).request(create);
    await rig.quiet();
    stream.request(withKey(3 << 20));
    await rig.quiet();
    expect(large.error).toMatchObject({ code: "REQUEST_TOO_LARGE", outcome: "rejected" });
    expect(small.error).toBeUndefined();
    expect(rig.listener.connections).toBe(1);
    expect(served.map(({ closed }) => closed)).toEqual([1, 0]);
  });

  test("many in one turn leave in frames that the server takes", async () => {
    const { rig, served } = await open();
    const channel = await rig.channel();
    const heard = new Heard();
    const stream = channel.watch(heard);
    for (let i = 0; i < 5; i++) stream.request(create);
    for (const bytes of [120 << 10, 2_000_000, 120 << 10]) stream.request(withKey(bytes));
    await rig.quiet();
    expect(heard.error).toBeUndefined();
    expect(served[0]!.requests).toHaveLength(8);
  });
});

describe("a client that breaks the rules", () => {
  async function greeted(rig: Rig): Promise<RawConnection> {
    const raw = await rig.raw();
    raw.send([FROM_CLIENT.hello, ...encodeClientHello()]);
    await rig.until(() => raw.messages.length === 1);
    raw.messages.length = 0;
    return raw;
  }
  const stream = (number: number, window = 1_000): number[] => [
    ...[FROM_CLIENT.watch, 0, 0, 0, number, 0],
    ...[0, 0, window >> 8, window & 0xff],
  ];
  const ask = (number: number): number[] => [FROM_CLIENT.ask, 0, 0, 0, number, ...encodeWatchRequest(create)];

  test.each([
    ["a number twice", [stream(1), stream(1)], "a call number twice"],
    ["a window of nothing", [stream(1, 0)], "a window out of bounds"],
    ["an unknown flag", [[...stream(1).slice(0, 5), 2, ...stream(1).slice(6)]], "unknown flag of a watch"],
    ["a watch cut short", [stream(1).slice(0, 9)], "a malformed watch"],
    ["a credit cut short", [[FROM_CLIENT.credit, 0, 0, 0, 1, 0]], "a malformed credit"],
    ["credit for what was never sent", [stream(1), [FROM_CLIENT.credit, 0, 0, 0, 1, 0, 0, 0, 1]], "than was sent"],
    ["a request cut short", [[FROM_CLIENT.ask, 0, 0]], "a malformed watch request"],
  ])("is closed: %s", async (_, messages, reason) => {
    const { rig, served } = await open();
    const raw = await greeted(rig);
    raw.send(...messages);
    await rig.quiet();
    expect(raw.closed).toContain(reason);
    expect(served.every(({ closed }) => closed === 1)).toBe(true);
  });

  test("a request that cannot be read ends its stream alone", async () => {
    const { rig, served } = await open();
    const raw = await greeted(rig);
    raw.send(stream(1), stream(2), [FROM_CLIENT.ask, 0, 0, 0, 1, 0xc1]);
    await rig.quiet();
    expect(raw.closed).toBeUndefined();
    expect(raw.messages.map((message) => [message[0], message[4]])).toEqual([[FROM_SERVER.error, 1]]);
    expect(decodeError(raw.messages[0]!, 5).code).toBe("INVALID_REQUEST");
    expect(served.map(({ closed }) => closed)).toEqual([1, 0]);
  });

  test("that asks and asks and reads nothing gets TOO_MANY_REQUESTS, on that stream alone", async () => {
    const { rig, served } = await open();
    const raw = await greeted(rig);
    raw.send(stream(1, 10), stream(2));
    await rig.quiet();
    served[0]!.sendEvent(100);
    raw.messages.length = 0;
    for (let i = 0; i < 11; i++) raw.send(...Array.from({ length: 100 }, () => ask(1)));
    raw.send(ask(2));
    await rig.quiet();
    const errors = raw.messages.filter((message) => message[0] === FROM_SERVER.error);
    expect(errors.map((message) => [message[4], decodeError(message, 5).code])).toEqual([[1, "TOO_MANY_REQUESTS"]]);
    expect(served[0]!.requests).toEqual([]);
    expect(served[0]!.closed).toBe(1);
    expect(served[1]!.requests).toHaveLength(1);
  });
});
