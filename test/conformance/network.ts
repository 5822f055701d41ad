/** What every `Network` does. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import type { Connection, Listener, ListenOptions, Network } from "../../src/transport/network.ts";

export interface TestNetwork {
  /** The same network as two processes see it. */
  readonly listening: Network;
  readonly dialling: Network;
  /** An address whose port is free: listening there takes one. */
  readonly url: string;
}

export type NetworkFactory = (options: { readonly backlogBytes?: number }) => TestNetwork;

const LIMITS = { maxFrameBytes: 2 << 20, timeoutMs: 5_000 };

/** What one connection heard, and a way to wait for it. */
class Ear {
  readonly connection: Connection;
  readonly frames: Uint8Array[] = [];
  readonly closes: string[] = [];
  #wake: () => void = () => {};

  constructor(connection: Connection) {
    this.connection = connection;
    connection.onFrame = (frame) => {
      this.frames.push(frame.slice());
      this.#wake();
    };
    connection.onClose = (reason) => {
      this.closes.push(reason);
      this.#wake();
    };
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The reason with which it ended. */
  async end(): Promise<string> {
    await this.until(() => this.closes.length > 0);
    return this.closes[0]!;
  }
}

async function rejection(promise: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await promise.then(
    () => expect.fail("was fulfilled"),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StoreError);
  return error as StoreError;
}

/** What is under way has its chance to happen. */
async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}

export function networkSuite(name: string, create: NetworkFactory): void {
  describe(`${name} as a Network`, () => {
    let net: TestNetwork;
    let listeners: Listener[] = [];
    let accepted: Ear[] = [];
    beforeEach(() => {
      net = create({});
      listeners = [];
      accepted = [];
    });
    afterEach(async () => {
      for (const listener of listeners) await listener.close();
    });

    async function listen(options: Partial<ListenOptions> = {}): Promise<Listener> {
      const listener = await net.listening.listen({
        url: net.url,
        maxFrameBytes: LIMITS.maxFrameBytes,
        allowedOrigins: [],
        onConnection: (connection) => accepted.push(new Ear(connection)),
        ...options,
      });
      listeners.push(listener);
      return listener;
    }

    async function pair(options: Partial<ListenOptions> = {}): Promise<{ here: Ear; there: Ear; listener: Listener }> {
      const listener = await listen(options);
      const here = new Ear(await net.dialling.dial(listener.url, LIMITS));
      await turns(1);
      return { here, there: accepted.at(-1)!, listener };
    }

    test("frames arrive whole and in order in both directions, empty and large ones too", async () => {
      const { here, there } = await pair();
      const sizes = [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 3];
      const frames = sizes.map((size, i) => new Uint8Array(size).fill(i + 1));
      for (const frame of frames) here.connection.send(frame);
      for (const frame of frames) there.connection.send(frame);
      await there.until(() => there.frames.length === frames.length);
      await here.until(() => here.frames.length === frames.length);
      for (let i = 0; i < frames.length; i++) {
        expect(Buffer.compare(there.frames[i]!, frames[i]!)).toBe(0);
        expect(Buffer.compare(here.frames[i]!, frames[i]!)).toBe(0);
      }
    });

    test("a frame is a plain array: `slice` copies", async () => {
      const { here, there } = await pair();
      const copies: Uint8Array[] = [];
      let prototype: unknown;
      const told = new Promise<void>((resolve) => {
        there.connection.onFrame = (frame) => {
          prototype = Object.getPrototypeOf(frame);
          copies.push(frame.slice());
          frame.fill(0);
          resolve();
        };
      });
      here.connection.send(Uint8Array.of(1, 2, 3));
      await told;
      expect(prototype).toBe(Uint8Array.prototype);
      expect(copies).toEqual([Uint8Array.of(1, 2, 3)]);
    });

    test("what the listening side sends at once is not lost", async () => {
      const listener = await listen({
        onConnection: (connection) => {
          for (let i = 0; i < 10; i++) connection.send(Uint8Array.of(i));
        },
      });
      for (let round = 0; round < 20; round++) {
        const here = new Ear(await net.dialling.dial(listener.url, LIMITS));
        await here.until(() => here.frames.length === 10);
        expect(here.frames.map((frame) => frame[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        here.connection.close("next");
      }
    });

    test("the address tells the real port, which nobody else can take", async () => {
      const listener = await listen();
      expect(listener.url).toMatch(/^ws:\/\/[^:]+:[1-9]\d*$/);
      const error = await rejection(listen({ url: listener.url }));
      expect(error.code).toBe("ADDRESS_IN_USE");
      expect(error.message).toContain(listener.url);
    });

    test("a closed listener's address is free again", async () => {
      const first = await listen();
      await first.close();
      expect((await listen({ url: first.url })).url).toBe(first.url);
    });

    test.each(["", "nonsense", "ftp://127.0.0.1:1", "wss://127.0.0.1:0", "ws://127.0.0.1:99999"])(
      "listening on %j is BAD_CONFIG",
      async (url) => {
        expect((await rejection(listen({ url }))).code).toBe("BAD_CONFIG");
      },
    );

    test("dialling what is no address is BAD_CONFIG, what nobody listens on UNAVAILABLE", async () => {
      expect((await rejection(net.dialling.dial("nonsense", LIMITS))).code).toBe("BAD_CONFIG");
      const listener = await listen();
      await listener.close();
      const error = await rejection(net.dialling.dial(listener.url, LIMITS));
      expect(error.code).toBe("UNAVAILABLE");
      expect(error.message).toContain(listener.url);
    });

    test("etcd's spelling of an address works", async () => {
      const listener = await listen();
      const here = new Ear(await net.dialling.dial(listener.url.replace("ws:", "http:"), LIMITS));
      here.connection.send(Uint8Array.of(1));
      await turns(1);
      await accepted[0]!.until(() => accepted[0]!.frames.length === 1);
    });

    test.each(["dialling", "listening"])("the %s side closes: both hear the reason once, later", async (side) => {
      const { here, there } = await pair();
      const [closing, other] = side === "dialling" ? [here, there] : [there, here];
      closing.connection.close("CODE: enough");
      expect(closing.closes).toEqual([]);
      closing.connection.close("again");
      closing.connection.send(Uint8Array.of(1));
      expect(await other.end()).toBe("CODE: enough");
      expect(await closing.end()).toBe("CODE: enough");
      other.connection.close("late");
      other.connection.send(Uint8Array.of(1));
      await turns();
      expect(closing.closes.length + other.closes.length).toBe(2);
      expect(closing.frames.length + other.frames.length).toBe(0);
    });

    test("what was sent before the close arrives before it", async () => {
      const { here, there } = await pair();
      for (let i = 0; i < 100; i++) here.connection.send(new Uint8Array(1_000).fill(i));
      here.connection.close("done");
      await there.end();
      expect(there.frames.length).toBe(100);
    });

    test("nothing is delivered to a side that has closed", async () => {
      const { here, there } = await pair();
      for (let i = 0; i < 100; i++) there.connection.send(new Uint8Array(1_000).fill(i));
      here.connection.close("done");
      await there.end();
      await here.end();
      expect(here.frames).toEqual([]);
    });

    test("a reason is cut to 120 bytes at the end of a character", async () => {
      const { here, there } = await pair();
      here.connection.close(`${"x".repeat(119)}€ and more`);
      expect(await there.end()).toBe("x".repeat(119));
      const next = new Ear(await net.dialling.dial(listeners[0]!.url, LIMITS));
      await turns(1);
      next.connection.close("€".repeat(50));
      expect(await accepted.at(-1)!.end()).toBe("€".repeat(40));
    });

    test("a frame above the limit ends its connection only, whichever side it comes from", async () => {
      const { here, there, listener } = await pair();
      const well = new Ear(await net.dialling.dial(listener.url, LIMITS));
      const small = new Ear(await net.dialling.dial(listener.url, { ...LIMITS, maxFrameBytes: 100 }));
      await turns(1);
      here.connection.send(new Uint8Array(LIMITS.maxFrameBytes + 1));
      await here.end();
      await there.end();
      expect(there.frames).toEqual([]);
      accepted[2]!.connection.send(new Uint8Array(101));
      await small.end();
      await accepted[2]!.end();
      expect(small.frames).toEqual([]);
      well.connection.send(new Uint8Array(LIMITS.maxFrameBytes));
      await accepted[1]!.until(() => accepted[1]!.frames.length === 1);
      expect(well.closes).toEqual([]);
    });

    test("a handler that throws ends its connection only", async () => {
      const { here, there, listener } = await pair();
      const well = new Ear(await net.dialling.dial(listener.url, LIMITS));
      await turns(1);
      there.connection.onFrame = () => {
        throw new RangeError("bad frame");
      };
      here.connection.send(Uint8Array.of(1));
      expect(await here.end()).toContain("bad frame");
      well.connection.send(Uint8Array.of(1));
      await accepted[1]!.until(() => accepted[1]!.frames.length === 1);
    });

    test("a listener that fails at a connection ends that connection only", async () => {
      let count = 0;
      const listener = await listen({
        onConnection: (connection) => {
          if (count++ === 0) throw new Error("not now");
          accepted.push(new Ear(connection));
        },
      });
      const first = await net.dialling.dial(listener.url, LIMITS).then((connection) => new Ear(connection));
      expect(await first.end()).toContain("not now");
      const second = new Ear(await net.dialling.dial(listener.url, LIMITS));
      second.connection.send(Uint8Array.of(1));
      await turns(1);
      await accepted[0]!.until(() => accepted[0]!.frames.length === 1);
    });

    test("closing a listener ends what it accepted and refuses more, safe to call twice", async () => {
      const { here, there, listener } = await pair();
      await Promise.all([listener.close(), listener.close()]);
      await here.end();
      expect(there.closes).toEqual(["the listener was closed"]);
      expect((await rejection(net.dialling.dial(listener.url, LIMITS))).code).toBe("UNAVAILABLE");
      await listener.close();
    });

    test("bufferedBytes counts what waits and falls to zero", async () => {
      const { here, there } = await pair();
      expect(here.connection.bufferedBytes).toBe(0);
      for (let i = 0; i < 20; i++) here.connection.send(new Uint8Array(1 << 20));
      expect(here.connection.bufferedBytes).toBeGreaterThan(1 << 20);
      await there.until(() => there.frames.length === 20);
      for (let i = 0; i < 1_000 && here.connection.bufferedBytes > 0; i++) await turns(1);
      expect(here.connection.bufferedBytes).toBe(0);
    });

    test("a backlog beyond the bound ends the connection", async () => {
      net = create({ backlogBytes: 1 << 20 });
      const { here } = await pair();
      let sent = 0;
      while (here.connection.bufferedBytes <= 1 << 20 && sent < 200) {
        here.connection.send(new Uint8Array(1 << 20));
        sent++;
      }
      here.connection.send(Uint8Array.of(1));
      expect(await here.end()).toContain("wait for the other side");
    });

    test("says where the other side is", async () => {
      const { here, there, listener } = await pair();
      expect(here.connection.remote).toBe(listener.url);
      expect(there.connection.remote).not.toBe("");
    });
  });
}
