/** What came on a watch stream and was not taken yet. */
import { type Deferred, deferred } from "../../src/base/deferred.ts";
import type { WatchMessage } from "./answer.ts";

/** Only ends a hang: what does not come is a difference as well. */
const PATIENCE_MS = 60_000;

export class Mailbox {
  readonly #messages: WatchMessage[] = [];
  #reader: Deferred<WatchMessage> | undefined;
  #end: { readonly error: unknown } | undefined;

  put(message: WatchMessage): void {
    const reader = this.#reader;
    this.#reader = undefined;
    if (reader === undefined) this.#messages.push(message);
    else reader.resolve(message);
  }

  /** Nothing more comes. What came before is still to be had. */
  fail(error: unknown): void {
    this.#end ??= { error };
    this.#reader?.reject(this.#end.error);
    this.#reader = undefined;
  }

  /** One reader at a time. */
  async take(): Promise<WatchMessage> {
    const message = this.#messages.shift();
    if (message !== undefined) return message;
    if (this.#end !== undefined) throw this.#end.error;
    const reader = deferred<WatchMessage>();
    this.#reader = reader;
    const timer = setTimeout(() => this.fail(new Error("the expected message of a watch did not come")), PATIENCE_MS);
    try {
      return await reader.promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
