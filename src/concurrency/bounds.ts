/**
 * What may end a recipe's call, in one signal: its caller's, its time, its session. And how it goes on meanwhile through
 * everything that passes: only steps that may be repeated are repeated.
 */
import { StoreError } from "../base/errors.ts";
import type { RequestOptions } from "../client/client.ts";
import { invalid } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import { isMemberTrouble } from "../client/retry.ts";
import type { Timer } from "../platform/clock.ts";

/** Options of a recipe's call that may wait for long. Without `timeoutMs` it waits for as long as it takes. */
export interface WaitOptions {
  /** Ends the wait with `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole, after which it ends with `DEADLINE_EXCEEDED`. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** Make one with `using`: it takes its listeners back. */
export class Bounds implements Disposable {
  readonly #client: ClientView;
  readonly #abort = new AbortController();
  readonly #sources: readonly (readonly [AbortSignal, () => void])[];
  readonly #timer: Timer | undefined;
  #ended: StoreError | undefined;

  constructor(client: ClientView, options: WaitOptions, session?: AbortSignal) {
    const { signal, timeoutMs } = options;
    if (timeoutMs !== undefined && !(timeoutMs > 0)) throw invalid(`timeoutMs must be above 0, not ${timeoutMs}`);
    this.#client = client;
    const sources: [AbortSignal, () => void][] = [];
    const add = (source: AbortSignal | undefined, error: (source: AbortSignal) => StoreError): void => {
      if (source !== undefined) sources.push([source, () => this.#end(error(source))]);
    };
    add(session, ({ reason }) => (StoreError.is(reason) ? reason : new StoreError("SESSION_LOST", { cause: reason })));
    add(signal, ({ reason }) => new StoreError("CANCELLED", { cause: reason }));
    this.#sources = sources;
    for (const [source, onAbort] of sources) {
      if (source.aborted) onAbort();
      else source.addEventListener("abort", onAbort, { once: true });
    }
    if (timeoutMs !== undefined) {
      this.#timer = client.host.clock.after(timeoutMs, () => this.#end(new StoreError("DEADLINE_EXCEEDED")));
    }
  }

  /** Aborts when one of them does. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** What ended it, by name. */
  get ended(): StoreError | undefined {
    return this.#ended;
  }

  /**
   * Does it, again and again until it is done or refused for good. Only for what may be done twice: an earlier attempt
   * with an unknown outcome may have done it already. The outcome of its error speaks of all attempts.
   */
  async persist<T>(attempt: (call: RequestOptions) => Promise<T>): Promise<T> {
    let uncertain = false;
    for (let attempts = 1; ; attempts++) {
      if (this.#ended !== undefined) throw asUnknown(this.#ended, uncertain);
      try {
        return await attempt({ signal: this.signal });
      } catch (error) {
        if (StoreError.is(error) && error.outcome !== "rejected") uncertain = true;
        if (this.#ended === undefined && !passes(error, this.#client)) throw asUnknown(error, uncertain);
        if (this.#ended !== undefined) continue;
      }
      await this.#pauseAfter(attempts);
    }
  }

  /** After something that may be begun anew has failed: pauses where it passes, else throws. */
  async passed(error: unknown): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended;
    if (!passes(error, this.#client)) throw error;
    await this.#pauseAfter(1);
    if (this.#ended !== undefined) throw this.#ended;
  }

  async #pauseAfter(attempts: number): Promise<void> {
    const { random } = this.#client.host;
    await this.pause(Math.min(LONGEST_PAUSE_MS, 50 * 2 ** Math.min(attempts, 6)) * (0.5 + random.next() / 2));
  }

  /** Resolves after `ms`, or at once when it is ended. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.signal.aborted) {
        resolve();
        return;
      }
      const over = (): void => {
        timer.cancel();
        this.signal.removeEventListener("abort", over);
        resolve();
      };
      const timer = this.#client.host.clock.after(ms, over);
      this.signal.addEventListener("abort", over, { once: true });
    });
  }

  [Symbol.dispose](): void {
    this.#timer?.cancel();
    for (const [source, onAbort] of this.#sources) source.removeEventListener("abort", onAbort);
  }

  #end(error: StoreError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    this.#abort.abort(error);
  }
}

function asUnknown(error: unknown, uncertain: boolean): unknown {
  if (!uncertain || !StoreError.is(error) || error.outcome !== "rejected") return error;
  const { code, message, details, cause } = error;
  return new StoreError(code, { outcome: "unknown", message, details, cause });
}

const LONGEST_PAUSE_MS = 1_000;

/** Whether the same may succeed later, here or at another member. */
export function passes(error: unknown, client: ClientView): boolean {
  if (!StoreError.is(error)) return false;
  switch (error.code) {
    case "NO_LEADER":
    case "LEADER_CHANGED":
    case "TIMEOUT":
    case "DEADLINE_EXCEEDED":
    case "TOO_MANY_REQUESTS":
    // What happened to an earlier attempt cannot be told any more: done again it can.
    case "CLIENT_EXPIRED":
    case "RESULT_NOT_KEPT":
      return true;
    default:
      // The only member there is will not come back within this process.
      return !client.host.isInProcess && isMemberTrouble(error);
  }
}
