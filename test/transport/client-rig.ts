/** A server's listener and clients of it, on virtual time and a network in memory. Every frame either side sends is kept. */
import { expect, onTestFinished } from "vitest";
import { StoreError } from "../../src/base/errors.ts";
import { clusterId, memberId, revision, term } from "../../src/base/ids.ts";
import { silent } from "../../src/platform/log.ts";
import type { CallOptions } from "../../src/protocol/channel.ts";
import type { Request } from "../../src/protocol/requests.ts";
import type { Response, Result } from "../../src/protocol/responses.ts";
import { SimulatedWorld } from "../../src/testing/world.ts";
import { type ChannelOptions, type ClientChannel, connectChannel } from "../../src/transport/client-channel.ts";
import { ClientListener, type ClientListenerOptions } from "../../src/transport/client-listener.ts";
import { decodeFrame } from "../../src/transport/frame.ts";
import type { Connection } from "../../src/transport/network.ts";

export const URL = "ws://server:7400";
export const STAMP = { clusterId: clusterId(0xc1n), memberId: memberId(0xa1n) };

export function answer(result: Result): Response {
  return { header: { ...STAMP, revision: revision(5), raftTerm: term(2) }, result };
}

export const PUT_ANSWER = answer({ kind: "put", revision: revision(5) });

export type Handle = (request: Request, call: CallOptions) => Promise<Response>;

/** A request that waits for its answer, in the order of arrival. */
export interface Held {
  readonly request: Request;
  readonly call: CallOptions;
  resolve(response: Response): void;
  reject(error: unknown): void;
}

export class Rig {
  readonly world: SimulatedWorld;
  readonly listener: ClientListener;
  /** Messages that were logged as errors. */
  readonly logged: string[] = [];
  readonly sentByServer: Uint8Array[] = [];
  readonly sentByClients: Uint8Array[] = [];
  /** Requests that reached the handler, when it was not given. */
  readonly held: Held[] = [];
  readonly #server;
  readonly #client;

  private constructor(options: Partial<ClientListenerOptions>) {
    this.world = new SimulatedWorld({ seed: 1 });
    this.#server = this.world.host("server").boot();
    this.#client = this.world.host("client").boot();
    const { network, clock } = this.#server;
    this.listener = new ClientListener({
      network: {
        dial: network.dial,
        listen: (listen) =>
          network.listen({
            ...listen,
            onConnection: (connection) => listen.onConnection(tap(connection, this.sentByServer)),
          }),
      },
      clock,
      log: { ...silent, error: (_, message) => this.logged.push(message) },
      url: URL,
      allowedOrigins: [],
      maxFrameBytes: 2 << 20,
      handle: (request, call) =>
        new Promise((resolve, reject) => {
          this.held.push({ request, call, resolve, reject });
        }),
      watch: () => expect.fail("no test of calls opens a watch"),
      hello: () => STAMP,
      leader: () => ({ term: 0, member: undefined }),
      ...options,
    });
  }

  static async open(options: Partial<ClientListenerOptions> = {}): Promise<Rig> {
    const rig = new Rig(options);
    await rig.world.settle(rig.listener.listen());
    onTestFinished(() => {
      rig.world.host("server").kill("stays");
      rig.world.host("client").kill("stays");
    });
    return rig;
  }

  /** A connection that says whatever a test makes it say. */
  async raw(): Promise<RawConnection> {
    const dialing = this.#client.network.dial(URL, { maxFrameBytes: 1 << 30, timeoutMs: 1_000 });
    return new RawConnection(await this.world.settle(dialing));
  }

  async channel(options: Partial<ChannelOptions> = {}): Promise<ClientChannel> {
    const { network, clock } = this.#client;
    return this.world.settle(
      network
        .dial(URL, { maxFrameBytes: 1 << 30, timeoutMs: 1_000 })
        .then((connection) =>
          connectChannel(tap(connection, this.sentByClients), { clock, log: silent, timeoutMs: 1_000, ...options }),
        ),
    );
  }

  /** Lets everything that is under way arrive. */
  async quiet(): Promise<void> {
    await this.world.runFor(10);
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise, 120_000);
  }

  async until(holds: () => boolean): Promise<void> {
    expect(await this.world.until(holds, 60_000)).toBe(true);
  }

  /** The error with which it ends, and after how long. Somebody must let time pass meanwhile. */
  async caught(promise: Promise<unknown>): Promise<{ readonly error: StoreError; readonly afterMs: number }> {
    const begun = this.world.clock.now();
    const error: unknown = await promise.then(
      () => expect.fail("it was answered"),
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(StoreError);
    return { error: error as StoreError, afterMs: this.world.clock.now() - begun };
  }

  /** The same, and lets time pass until then. */
  failure(promise: Promise<unknown>): Promise<{ readonly error: StoreError; readonly afterMs: number }> {
    return this.settle(this.caught(promise));
  }
}

/** Notes what is sent over the connection. */
export function tap(connection: Connection, sent: Uint8Array[]): Connection {
  return {
    get remote() {
      return connection.remote;
    },
    get bufferedBytes() {
      return connection.bufferedBytes;
    },
    send(frame) {
      sent.push(frame.slice());
      connection.send(frame);
    },
    close: (reason) => connection.close(reason),
    set onFrame(onFrame: (frame: Uint8Array) => void) {
      connection.onFrame = onFrame;
    },
    set onClose(onClose: (reason: string) => void) {
      connection.onClose = onClose;
    },
    get onFrame() {
      return connection.onFrame;
    },
    get onClose() {
      return connection.onClose;
    },
  };
}

export class RawConnection {
  readonly connection: Connection;
  /** Messages received. */
  readonly messages: Uint8Array[] = [];
  closed: string | undefined;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.onFrame = (frame) => decodeFrame(frame, (message) => this.messages.push(message.slice()));
    connection.onClose = (reason) => {
      this.closed = reason;
    };
  }

  send(...messages: readonly (readonly number[] | Uint8Array)[]): void {
    const frame: number[] = [];
    for (const message of messages) {
      frame.push(0, message.length >> 16, (message.length >> 8) & 0xff, message.length & 0xff, ...message);
    }
    this.connection.send(Uint8Array.from(frame));
  }
}
