/**
 * A channel without a socket: adds to a member's own channel what a socket's end does for its calls. Each ends by its
 * deadline or its signal, and all of them at `close`; the channel itself stays the member's.
 */
import { type ErrorCode, StoreError, type StoreErrorOptions } from "../base/errors.ts";
import type { Clock } from "../platform/clock.ts";
import type { CallOptions, Channel, WatchOptions, WatchReceiver, WatchStream } from "../protocol/channel.ts";
import type { RangeRequest, Request } from "../protocol/requests.ts";
import type { RangeResult, Response, ResultOf } from "../protocol/responses.ts";
import { changesNothing, waits } from "../transport/client-wire.ts";
import { DeadlineTimer } from "../transport/deadline-timer.ts";
import { CLOSED, type Route } from "./route.ts";

/** The member's own error knows more than ours: it is given this much longer than the call's time. */
const GRACE_MS = 200;
const CALLS_MAX = 1 << 16;

interface Pending {
  readonly deadline: number;
  readonly changesNothing: boolean;
  readonly signal: AbortSignal | undefined;
  /** Of a call that waits: tells the member that nobody does any more. */
  readonly cancel: AbortController | undefined;
  onAbort: (() => void) | undefined;
  readonly reject: (error: unknown) => void;
}

export class InProcessChannel implements Channel {
  readonly #closed: Promise<void>;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #pending = new Set<Pending>();
  /** Watch streams, by what ends them. */
  readonly #watching = new Map<WatchStream, WatchReceiver>();
  readonly #deadlines: DeadlineTimer;
  #isClosed = false;
  #end!: () => void;

  constructor(channel: Channel, clock: Clock) {
    this.#channel = channel;
    this.#clock = clock;
    this.#closed = new Promise<void>((resolve) => {
      this.#end = resolve;
    });
    this.#deadlines = new DeadlineTimer(clock, (now) => this.#expire(now));
  }

  /** Made when asked for: whatever waits for a member's end is kept until then. */
  get closed(): Promise<void> {
    return Promise.race([this.#closed, this.#channel.closed]);
  }

  call<Q extends Request>(request: Q, options: CallOptions): Promise<Response<ResultOf<Q>>> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (this.#isClosed) throw new StoreError("CANCELLED", { message: CLOSED });
      if (signal?.aborted === true) throw new StoreError("CANCELLED", { cause: signal.reason });
      if (this.#pending.size >= CALLS_MAX) throw new StoreError("TOO_MANY_REQUESTS");
      const pending: Pending = {
        deadline: this.#clock.now() + options.timeoutMs + GRACE_MS,
        changesNothing: changesNothing(request),
        signal,
        cancel: waits(request) ? new AbortController() : undefined,
        onAbort: undefined,
        reject,
      };
      if (signal !== undefined) {
        pending.onAbort = () => this.#giveUp(pending, "CANCELLED", { cause: signal.reason });
        signal.addEventListener("abort", pending.onAbort, { once: true });
      }
      this.#pending.add(pending);
      this.#deadlines.arm(pending.deadline);
      const { cancel } = pending;
      this.#channel.call(request, cancel === undefined ? options : { ...options, signal: cancel.signal }).then(
        (response) => {
          this.#forget(pending);
          resolve(response);
        },
        (error) => {
          this.#forget(pending);
          reject(error);
        },
      );
    });
  }

  answerNow(request: RangeRequest): Response<RangeResult> | undefined {
    if (this.#isClosed) throw new StoreError("CANCELLED", { message: CLOSED });
    return this.#channel.answerNow?.(request);
  }

  watch(receiver: WatchReceiver, options: WatchOptions = {}): WatchStream {
    if (this.#isClosed || this.#watching.size >= CALLS_MAX) {
      const error = this.#isClosed
        ? new StoreError("CANCELLED", { message: CLOSED })
        : new StoreError("TOO_MANY_REQUESTS");
      this.#clock.defer(() => receiver.ended(error));
      return { request() {}, consumed() {}, close() {} };
    }
    const inner = this.#channel.watch(
      {
        receive: (response, bytes) => {
          if (this.#watching.has(stream)) receiver.receive(response, bytes);
        },
        ended: (error) => {
          if (this.#watching.delete(stream)) receiver.ended(error);
        },
      },
      options,
    );
    const stream: WatchStream = {
      request: (request) => inner.request(request),
      consumed: (bytes) => inner.consumed(bytes),
      close: () => {
        this.#watching.delete(stream);
        inner.close();
      },
    };
    this.#watching.set(stream, receiver);
    return stream;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#deadlines.stop();
    for (const [stream, receiver] of [...this.#watching]) {
      stream.close();
      receiver.ended(new StoreError("CANCELLED", { message: CLOSED }));
    }
    for (const pending of [...this.#pending]) this.#giveUp(pending, "CANCELLED", { message: CLOSED });
    this.#end();
  }

  #expire(now: number): number | undefined {
    let next: number | undefined;
    for (const pending of this.#pending) {
      if (pending.deadline <= now) this.#giveUp(pending, "TIMEOUT", {});
      else if (next === undefined || pending.deadline < next) next = pending.deadline;
    }
    return next;
  }

  /** The member was given the request at once, so what it writes may still happen. */
  #giveUp(pending: Pending, code: ErrorCode, more: StoreErrorOptions): void {
    this.#forget(pending);
    pending.cancel?.abort();
    pending.reject(new StoreError(code, { ...more, outcome: pending.changesNothing ? "rejected" : "unknown" }));
  }

  #forget(pending: Pending): void {
    this.#pending.delete(pending);
    if (pending.onAbort !== undefined) pending.signal?.removeEventListener("abort", pending.onAbort);
  }
}

/** One member, in this process: there is nobody else to turn to. */
export class InProcessRoute implements Route {
  readonly size = 0;
  readonly #channel: InProcessChannel;

  constructor(channel: Channel, clock: Clock) {
    this.#channel = new InProcessChannel(channel, clock);
  }

  turnToLeader(): void {}

  get current(): Channel {
    return this.#channel;
  }

  connect(): Promise<Channel> {
    return Promise.resolve(this.#channel);
  }

  connectTo(): Promise<Channel> {
    return Promise.resolve(this.#channel);
  }

  failed(): void {}

  close(): void {
    this.#channel.close();
  }
}
