/**
 * A client's end of a connection: calls out, answers in. Knows one server and nothing of fail-over (client/endpoints.ts).
 * Calls made in one turn leave in one frame. Every queue has a bound, and every call ends: by its answer, its deadline,
 * its signal or the connection's end, with an outcome that says whether its bytes were ever handed over.
 */
import { type ErrorCode, StoreError } from "../base/errors.ts";
import type { ClusterId, MemberId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import {
  type CallOptions,
  type Channel,
  type LeaderNews,
  type OperationId,
  WATCH_WINDOW_BYTES,
  type WatchOptions,
  type WatchReceiver,
  type WatchStream,
} from "../protocol/channel.ts";
import {
  decodeError,
  decodeResponse,
  decodeServerHello,
  decodeWatchResponse,
  encodeClientHello,
  encodeRequest,
  encodeWatchRequest,
  type ServerHello,
} from "../protocol/codec.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response, ResultOf } from "../protocol/responses.ts";
import {
  ANSWER_HEADER,
  CALL_HEADER,
  changesNothing,
  FRAME_BYTES,
  FROM_CLIENT,
  FROM_SERVER,
  FrameWriter,
  OPERATION_BYTES,
  plainBytes,
  readLeader,
  WINDOW_BYTES_MAX,
} from "./client-wire.ts";
import { DeadlineTimer } from "./deadline-timer.ts";
import { decodeFrame, MESSAGE_OVERHEAD } from "./frame.ts";
import type { Connection } from "./network.ts";

export interface ChannelOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Longest wait for the server's greeting. */
  readonly timeoutMs: number;
  /** Largest request in bytes; the server's own limit holds too. Default 2 MiB, as etcd's clients. */
  readonly maxSendBytes?: number | undefined;
  /** Largest answer to a call in bytes; a larger one ends that call alone. Default: what fits a frame. */
  readonly maxReceiveBytes?: number | undefined;
  /** Calls under way at one time, and the bytes of their requests; the server's own limits hold too. */
  readonly maxCalls?: number | undefined;
  readonly maxCallBytes?: number | undefined;
  /** A server that has been silent for as long is pinged; later where nothing is awaited of it. Default 1,000, at most 10,000. */
  readonly keepAliveTimeMs?: number | undefined;
  /** One that stays silent for as long after that counts as lost. Default 3,000. */
  readonly keepAliveTimeoutMs?: number | undefined;
}

/** A channel over a connection: it knows who answers, and whom that member follows. */
export interface ClientChannel extends Channel {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
  /** As the member last said; `onLeader` is called when it says so again. */
  readonly leader: LeaderNews | undefined;
  onLeader: ((leader: LeaderNews) => void) | undefined;
  /** There is reason to think that the server is gone: it has to speak within a third of `keepAliveTimeoutMs`. */
  suspect(): void;
}

/** The server's own error knows more than ours: it is given this much longer than the call's time. */
const GRACE_MS = 200;
/** Beats of the watch over a silent server in one `keepAliveTimeMs`, at the least. */
const BEATS = 2;
const BEAT_MAX_MS = 2_500;
/** Who has itself said nothing for as many `keepAliveTimeMs` pings too. */
const MUTE_TIMES = 5;
/** But after no more than the first, unless `keepAliveTimeMs` is longer, which never is longer than the second. */
const MUTE_MS = 5_000;
const MUTE_MAX_MS = 10_000;

/** A watch stream's end here. */
interface Watching {
  readonly receiver: WatchReceiver;
  readonly windowBytes: number;
  /** Read by the receiver and not yet given back to the server. */
  read: number;
}

/** What a watch stream has to say, and the bytes that it takes. */
interface Ask {
  readonly bytes: number;
  readonly write: (writer: FrameWriter) => void;
}

interface Pending {
  readonly call: number;
  readonly deadline: number;
  readonly timeoutMs: number;
  readonly changesNothing: boolean;
  /** Of its answer. */
  readonly maxBytes: number;
  readonly size: number;
  readonly signal: AbortSignal | undefined;
  readonly operation: OperationId | undefined;
  onAbort: (() => void) | undefined;
  /** The request's bytes until they are handed over. */
  body: Uint8Array | undefined;
  readonly resolve: (response: Response) => void;
  readonly reject: (error: StoreError) => void;
}

/**
 * Greets the server and resolves with the channel. Rejects with `PROTOCOL_VERSION`, or `UNAVAILABLE` when the greeting
 * fails or takes longer than `timeoutMs`; the connection is closed then. Call it in the turn that gave the connection.
 */
export function connectChannel(connection: Connection, options: ChannelOptions): Promise<ClientChannel> {
  return new Promise((resolve, reject) => {
    const fail = (error: StoreError): void => {
      timer.cancel();
      connection.onFrame = () => {};
      connection.onClose = () => {};
      connection.close(error.message.slice(0, 100));
      reject(error);
    };
    const unavailable = (why: string, cause?: unknown): StoreError =>
      new StoreError("UNAVAILABLE", { message: `quorate: ${connection.remote} ${why}`, cause });
    const timer = options.clock.after(options.timeoutMs, () =>
      fail(unavailable(`did not answer within ${options.timeoutMs} ms`)),
    );
    connection.onClose = (reason) => fail(unavailable(`closed the connection: ${reason}`));
    connection.onFrame = (frame) => {
      let hello: ServerHello | undefined;
      try {
        decodeFrame(plainBytes(frame), (message) => {
          if (hello !== undefined || message[0] !== FROM_SERVER.hello) throw new RangeError("unexpected message");
          hello = decodeServerHello(message, 1);
        });
        if (hello === undefined) throw new RangeError("an empty frame");
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        fail(StoreError.is(error) ? error : unavailable(`does not answer as a quorate server: ${why}`, error));
        return;
      }
      timer.cancel();
      resolve(new SocketChannel(connection, hello, options));
    };
    const writer = new FrameWriter(64);
    writer.plain(FROM_CLIENT.hello, encodeClientHello());
    connection.send(writer.finish());
  });
}

class SocketChannel implements ClientChannel {
  readonly clusterId: ClusterId;
  readonly memberId: MemberId;
  readonly closed: Promise<void>;
  leader: LeaderNews | undefined;
  onLeader: ((leader: LeaderNews) => void) | undefined;
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #hello: ServerHello;
  readonly #maxSendBytes: number;
  readonly #maxReceiveBytes: number;
  readonly #maxCalls: number;
  readonly #maxCallBytes: number;
  readonly #pending = new Map<number, Pending>();
  readonly #watching = new Map<number, Watching>();
  /** What watch streams have to say in this turn's frame. */
  #asks: Ask[] = [];
  #queue: Pending[] = [];
  /** Calls that ended here while the server still works on them. */
  #cancelled: number[] = [];
  #bytes = 0;
  #nextCall = 1;
  #flushing = false;
  #lastFrameBytes = 1_024;
  readonly #deadlines: DeadlineTimer;
  readonly #beat: Timer;
  readonly #pingBeats: number;
  readonly #lostBeats: number;
  readonly #muteMs: number;
  /** Since the server spoke. */
  #silentBeats = 0;
  #spokeAt: number;
  /** This side spoke after the server last did. */
  #hasSpoken = false;
  #frames = 0;
  readonly #suspectMs: number;
  #suspicion: Timer | undefined;
  #ended: StoreError | undefined;
  #end!: () => void;

  constructor(connection: Connection, hello: ServerHello, options: ChannelOptions) {
    this.#connection = connection;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#hello = hello;
    this.clusterId = hello.clusterId;
    this.memberId = hello.memberId;
    const frameRoom = hello.maxMessageBytes - MESSAGE_OVERHEAD - CALL_HEADER - OPERATION_BYTES;
    this.#maxSendBytes = Math.min(options.maxSendBytes ?? 2 << 20, frameRoom);
    this.#maxReceiveBytes = options.maxReceiveBytes ?? Infinity;
    this.#maxCalls = Math.min(options.maxCalls ?? 1 << 16, hello.maxCalls);
    this.#maxCallBytes = Math.min(options.maxCallBytes ?? 64 << 20, hello.maxCallBytes);
    this.closed = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#deadlines = new DeadlineTimer(this.#clock, (now) => this.#expire(now));
    const pingAfterMs = Math.min(options.keepAliveTimeMs ?? 1_000, MUTE_MAX_MS);
    const beatMs = Math.min(pingAfterMs / BEATS, BEAT_MAX_MS);
    const silentMs = options.keepAliveTimeoutMs ?? 3_000;
    // Half a beat early: where the beat that is due is early by less, the next would be late by a whole one.
    this.#muteMs = Math.min(MUTE_TIMES * pingAfterMs, Math.max(pingAfterMs, MUTE_MS)) - beatMs / 2;
    this.#spokeAt = this.#clock.now();
    this.#pingBeats = Math.ceil(pingAfterMs / beatMs);
    // The beat after a late one may come at once: one alone would leave no time to answer.
    this.#lostBeats = this.#pingBeats + Math.max(BEATS, Math.ceil(silentMs / beatMs));
    this.#suspectMs = silentMs / 3;
    this.#beat = this.#clock.every(beatMs, () => this.#watch());
    connection.onFrame = (frame) => this.#onFrame(plainBytes(frame));
    connection.onClose = (reason) => this.#finish("CONNECTION_LOST", `the connection was lost: ${reason}`);
  }

  call<Q extends Request>(request: Q, options: CallOptions): Promise<Response<ResultOf<Q>>> {
    return new Promise<Response>((resolve, reject) => {
      const { signal } = options;
      if (this.#ended !== undefined) throw this.#ended;
      if (signal?.aborted === true) throw new StoreError("CANCELLED", { cause: signal.reason });
      const body = encodeRequest(request);
      if (body.length > this.#maxSendBytes) throw new StoreError("REQUEST_TOO_LARGE");
      if (this.#pending.size >= this.#maxCalls || this.#bytes + body.length > this.#maxCallBytes) {
        throw new StoreError("TOO_MANY_REQUESTS");
      }
      const pending: Pending = {
        call: this.#callNumber(),
        deadline: this.#clock.now() + options.timeoutMs + GRACE_MS,
        timeoutMs: options.timeoutMs,
        changesNothing: changesNothing(request),
        // Parts of a snapshot are as large as the member makes them, and never large.
        maxBytes: request.kind === "snapshot" ? Infinity : this.#maxReceiveBytes,
        size: body.length,
        signal,
        operation: options.operation,
        onAbort: undefined,
        body,
        resolve,
        reject,
      };
      if (signal !== undefined) {
        pending.onAbort = () => this.#abort(pending);
        signal.addEventListener("abort", pending.onAbort, { once: true });
      }
      this.#pending.set(pending.call, pending);
      this.#bytes += pending.size;
      this.#queue.push(pending);
      this.#deadlines.arm(pending.deadline);
      this.#flushSoon();
    }) as Promise<Response<ResultOf<Q>>>;
  }

  watch(receiver: WatchReceiver, options: WatchOptions = {}): WatchStream {
    const { requireLeader = false, windowBytes = WATCH_WINDOW_BYTES } = options;
    let refused = this.#ended;
    if (this.#watching.size >= this.#maxCalls) refused ??= new StoreError("TOO_MANY_REQUESTS");
    if (!Number.isInteger(windowBytes) || windowBytes < 1 || windowBytes > WINDOW_BYTES_MAX) {
      refused ??= new StoreError("INVALID_REQUEST", {
        message: `quorate: the request is malformed: a watch's window must be 1 to ${WINDOW_BYTES_MAX} bytes`,
      });
    }
    if (refused !== undefined) {
      const error = refused;
      this.#clock.defer(() => receiver.ended(error));
      return { request() {}, consumed() {}, close() {} };
    }
    const stream = this.#callNumber();
    const watching: Watching = { receiver, windowBytes, read: 0 };
    this.#watching.set(stream, watching);
    this.#ask((writer) => writer.watch(stream, requireLeader, windowBytes));
    const isOpen = (): boolean => this.#watching.get(stream) === watching;
    return {
      request: (request) => {
        if (!isOpen()) return;
        // Bytes of its own: the encoder's are valid until the next encoding at most.
        const body = encodeWatchRequest(request).slice();
        if (body.length > this.#maxSendBytes) {
          // A frame that the server does not take would end the connection, and with it everything else on it.
          this.#watching.delete(stream);
          this.#ask((writer) => writer.cancel(stream));
          this.#clock.defer(() => receiver.ended(new StoreError("REQUEST_TOO_LARGE")));
          return;
        }
        this.#ask((writer) => writer.answer(FROM_CLIENT.ask, stream, body), body.length);
      },
      consumed: (bytes) => {
        if (!isOpen()) return;
        watching.read += bytes;
        // A quarter of the window at a time: seldom enough to cost nothing, early enough to keep news coming.
        if (watching.read * 4 < windowBytes) return;
        const credit = watching.read;
        watching.read = 0;
        this.#ask((writer) => writer.credit(stream, credit));
      },
      close: () => {
        if (!isOpen()) return;
        this.#watching.delete(stream);
        this.#ask((writer) => writer.cancel(stream));
      },
    };
  }

  #ask(write: (writer: FrameWriter) => void, bodyBytes = 0): void {
    this.#asks.push({ bytes: MESSAGE_OVERHEAD + CALL_HEADER + bodyBytes, write });
    this.#flushSoon();
  }

  suspect(): void {
    if (this.#suspicion !== undefined || this.#ended !== undefined) return;
    this.#ping();
    const frames = this.#frames;
    this.#suspicion = this.#clock.after(this.#suspectMs, () => {
      // After a stall of this process what the server sent meanwhile is read first.
      this.#clock.defer(() => {
        this.#suspicion = undefined;
        if (this.#frames === frames) this.#lost();
      });
    });
  }

  /** Calls under way end as `CANCELLED`: unknown for writes that were handed over. */
  close(): void {
    this.#finish("CANCELLED", "the client is closed");
    this.#connection.close("the client is closed");
  }

  #callNumber(): number {
    do this.#nextCall = (this.#nextCall + 1) >>> 0;
    while (this.#pending.has(this.#nextCall) || this.#watching.has(this.#nextCall));
    return this.#nextCall;
  }

  #flushSoon(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    this.#clock.defer(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#ended !== undefined) return;
    const queue = this.#queue;
    const cancelled = this.#cancelled;
    const asks = this.#asks;
    this.#queue = [];
    this.#cancelled = [];
    this.#asks = [];
    let writer = new FrameWriter(this.#lastFrameBytes);
    const makeRoom = (bytes: number): void => {
      if (writer.length === 0 || writer.length + bytes <= this.#frameBytes) return;
      this.#send(writer);
      writer = new FrameWriter(this.#lastFrameBytes);
    };
    for (const call of cancelled) writer.cancel(call);
    for (const { bytes, write } of asks) {
      makeRoom(bytes);
      write(writer);
    }
    for (const pending of queue) {
      // Whoever gave up before the bytes left was told "rejected": they must not leave any more.
      if (pending.body === undefined) continue;
      makeRoom(MESSAGE_OVERHEAD + CALL_HEADER + OPERATION_BYTES + pending.body.length);
      writer.call(pending.call, pending.timeoutMs, pending.signal !== undefined, pending.operation, pending.body);
      pending.body = undefined;
    }
    if (writer.length > 0) this.#send(writer);
  }

  get #frameBytes(): number {
    return Math.min(FRAME_BYTES, this.#hello.maxMessageBytes);
  }

  #send(writer: FrameWriter): void {
    // For the next writer: loads come in waves of equal size.
    this.#lastFrameBytes = Math.min(FRAME_BYTES, Math.max(1_024, writer.length));
    this.#speak(writer);
  }

  #onFrame(frame: Uint8Array): void {
    this.#silentBeats = 0;
    this.#hasSpoken = false;
    this.#frames += 1;
    try {
      decodeFrame(frame, (message) => this.#onMessage(message));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#log.warn({ remote: this.#connection.remote, error: why }, "malformed answer");
      this.#finish("CONNECTION_LOST", `the server sent a malformed answer: ${why}`);
      this.#connection.close(`malformed answer: ${why}`.slice(0, 100));
    }
  }

  #onMessage(message: Uint8Array): void {
    const type = message[0];
    if (type === FROM_SERVER.pong) return;
    if (type === FROM_SERVER.leader) {
      this.leader = readLeader(message);
      this.onLeader?.(this.leader);
      return;
    }
    const isNews = type === FROM_SERVER.news;
    if ((type !== FROM_SERVER.answer && type !== FROM_SERVER.error && !isNews) || message.length < ANSWER_HEADER) {
      throw new RangeError("unknown message");
    }
    const call = message[1]! * 0x100_0000 + ((message[2]! << 16) | (message[3]! << 8) | message[4]!);
    const watching = this.#watching.get(call);
    if (watching !== undefined || isNews) {
      if (watching !== undefined) this.#onNews(call, watching, message);
      return;
    }
    const pending = this.#pending.get(call);
    // Answers to calls that ended here meanwhile come late: nobody waits for them.
    if (pending === undefined) return;
    if (type === FROM_SERVER.answer && message.length - ANSWER_HEADER > pending.maxBytes) {
      this.#forget(pending);
      pending.reject(this.#tooLarge(pending, message.length - ANSWER_HEADER));
    } else if (type === FROM_SERVER.answer) {
      const response = decodeResponse(message, this.#hello, ANSWER_HEADER);
      this.#forget(pending);
      pending.resolve(response);
    } else {
      const error = decodeError(message, ANSWER_HEADER);
      this.#forget(pending);
      pending.reject(error);
    }
  }

  /** A write that is answered, and not with an error, was done, however much there is to say of it. */
  #tooLarge(pending: Pending, bytes: number): StoreError {
    return new StoreError("RESPONSE_TOO_LARGE", {
      outcome: pending.changesNothing ? "rejected" : "applied",
      details: { bytes, maxReceiveBytes: this.#maxReceiveBytes },
    });
  }

  #onNews(stream: number, watching: Watching, message: Uint8Array): void {
    switch (message[0]) {
      case FROM_SERVER.news:
        watching.receiver.receive(
          decodeWatchResponse(message, this.#hello, ANSWER_HEADER),
          message.length - ANSWER_HEADER,
        );
        return;
      case FROM_SERVER.error: {
        const error = decodeError(message, ANSWER_HEADER);
        this.#watching.delete(stream);
        watching.receiver.ended(error);
        return;
      }
      default:
        throw new RangeError("an answer to a watch stream");
    }
  }

  #abort(pending: Pending): void {
    this.#giveUp(pending, "CANCELLED", { cause: pending.signal?.reason });
  }

  #expire(now: number): number | undefined {
    let next: number | undefined;
    for (const pending of this.#pending.values()) {
      if (pending.deadline <= now) this.#giveUp(pending, "TIMEOUT", {});
      else if (next === undefined || pending.deadline < next) next = pending.deadline;
    }
    return next;
  }

  #giveUp(pending: Pending, code: ErrorCode, more: ErrorOptions): void {
    const outcome = pending.body !== undefined || pending.changesNothing ? "rejected" : "unknown";
    if (pending.body === undefined && pending.signal !== undefined) {
      this.#cancelled.push(pending.call);
      this.#flushSoon();
    }
    this.#forget(pending);
    pending.reject(new StoreError(code, { ...more, outcome }));
  }

  #forget(pending: Pending): void {
    this.#pending.delete(pending.call);
    this.#bytes -= pending.size;
    pending.body = undefined;
    if (pending.onAbort !== undefined) pending.signal?.removeEventListener("abort", pending.onAbort);
  }

  /**
   * Counts beats, not time: after a stall of this process what the server sent in between is read before the next beat.
   *
   * Where nothing is awaited, a silence counts only once this side has spoken: thousands of clients with nothing to ask would
   * keep a server busy with their pings. And however much a server tells, it takes a client that never speaks for gone.
   */
  #watch(): void {
    const mustSpeak = this.#clock.now() - this.#spokeAt >= this.#muteMs;
    if (this.#silentBeats === this.#pingBeats - 1 && !mustSpeak && !this.#hasSpoken && this.#isIdle) return;
    this.#silentBeats = Math.max(this.#silentBeats + 1, mustSpeak ? this.#pingBeats : 0);
    if (this.#silentBeats >= this.#lostBeats) this.#lost();
    else if (this.#silentBeats >= this.#pingBeats) this.#ping();
  }

  get #isIdle(): boolean {
    return this.#pending.size === 0 && this.#watching.size === 0;
  }

  #ping(): void {
    const writer = new FrameWriter(16);
    writer.plain(FROM_CLIENT.ping);
    this.#speak(writer);
  }

  #speak(writer: FrameWriter): void {
    this.#spokeAt = this.#clock.now();
    this.#hasSpoken = true;
    this.#connection.send(writer.finish());
  }

  #lost(): void {
    this.#finish("CONNECTION_LOST", "the connection was lost: the server is silent");
    this.#connection.close("the server is silent");
  }

  #finish(code: "CONNECTION_LOST" | "CANCELLED", why: string): void {
    if (this.#ended !== undefined) return;
    const message = `quorate: ${why}`;
    this.#ended = new StoreError(code, { message });
    this.#beat.cancel();
    this.#suspicion?.cancel();
    this.#deadlines.stop();
    this.#queue = [];
    this.#connection.onFrame = () => {};
    for (const pending of [...this.#pending.values()]) {
      const outcome = pending.body !== undefined || pending.changesNothing ? "rejected" : "unknown";
      this.#forget(pending);
      pending.reject(new StoreError(code, { outcome, message }));
    }
    const watching = [...this.#watching.values()];
    this.#watching.clear();
    this.#asks = [];
    for (const { receiver } of watching) receiver.ended(this.#ended);
    this.#end();
  }
}
