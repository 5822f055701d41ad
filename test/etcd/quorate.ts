/** A quorate member in this process, in memory. */
import { type Status, StoreError } from "../../src/base/errors.ts";
import type { Client } from "../../src/client/client.ts";
import { Node } from "../../src/node/node.ts";
import { type Answer, answerOf, type KvRequest, type Side } from "./answer.ts";

/** gRPC's numbers of what says that nothing happened. */
const CODES: Partial<Record<Status, number>> = {
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  FAILED_PRECONDITION: 9,
  OUT_OF_RANGE: 11,
};

export class Quorate implements Side {
  readonly #node: Node;
  readonly #client: Client;

  private constructor(node: Node) {
    this.#node = node;
    this.#client = node.client();
  }

  static async start(): Promise<Quorate> {
    return new Quorate(await Node.open());
  }

  async ask(request: KvRequest): Promise<Answer> {
    try {
      return answerOf(await this.#client.request(request, { timeoutMs: 30_000 }));
    } catch (error) {
      if (!StoreError.is(error) || error.outcome !== "rejected") throw error;
      const code = CODES[error.status];
      if (code === undefined) throw error;
      return { kind: "refused", code, message: error.message };
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#node.close();
  }
}
