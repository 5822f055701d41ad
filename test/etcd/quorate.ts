/** A quorate member in this process, in memory. */
import { type Status, StoreError } from "../../src/base/errors.ts";
import { Client } from "../../src/client/client.ts";
import { silent } from "../../src/platform/log.ts";
import { MemoryDisk } from "../../src/platform/memory-disk.ts";
import { nodeWorld } from "../../src/platform/node/world.ts";
import { Server } from "../../src/server/server.ts";
import { WebSocketNetwork } from "../../src/transport/node/websocket.ts";
import { type Answer, answerOf, type CallRequest, type Side, type WatchFeed, watchMessageOf } from "./answer.ts";
import { Mailbox } from "./feed.ts";

/** gRPC's numbers of what says that nothing happened. */
const CODES: Partial<Record<Status, number>> = {
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  FAILED_PRECONDITION: 9,
  OUT_OF_RANGE: 11,
};

/**
 * Calls go through the client. Watches go through the member's own channel below it: there stand the ids, the refusals and
 * the progress that etcd's clients see too.
 */
export class Quorate implements Side {
  readonly #server: Server;
  readonly #client: Client;

  private constructor(server: Server, client: Client) {
    this.#server = server;
    this.#client = client;
  }

  static async start(): Promise<Quorate> {
    const world = nodeWorld({ dir: ".", log: silent });
    const { clock, random } = world;
    const server = await Server.open(
      { ...world, disk: new MemoryDisk({ clock, random }), network: new WebSocketNetwork() },
      { name: "default", bootstrap: { kind: "alone" } },
    );
    return new Quorate(server, Client.inProcess({ clock, random, channel: server.channel() }));
  }

  async ask(request: CallRequest): Promise<Answer> {
    try {
      return answerOf(await this.#client.request(request, { timeoutMs: 60_000 }));
    } catch (error) {
      if (!StoreError.is(error) || error.outcome !== "rejected") throw error;
      const code = CODES[error.status];
      if (code === undefined) throw error;
      return { kind: "refused", code, message: error.message };
    }
  }

  async watch(): Promise<WatchFeed> {
    const mailbox = new Mailbox();
    const stream = this.#server.channel().watch({
      receive: (response, bytes) => {
        mailbox.put(watchMessageOf(response));
        stream.consumed(bytes);
      },
      ended: (error) => mailbox.fail(error),
    });
    return {
      request: (request) => stream.request(request),
      next: () => mailbox.take(),
      close: () => {
        mailbox.fail(new Error("closed"));
        stream.close();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.close();
    await this.#client.close();
  }
}
