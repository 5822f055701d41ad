/**
 * A server's end towards its clients: greets, decodes, calls the handler, answers. Requests that arrive in one frame are
 * handled in one turn, and what is answered in one turn leaves in one frame. A connection that breaks the rules is closed
 * with a reason; one that asks for more than its share gets `TOO_MANY_REQUESTS`; one that does not read is closed.
 */
import { StoreError } from "../base/errors.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import type { CallOptions, LeaderNews, ServedWatch, WatchOptions, WatchOutlet } from "../protocol/channel.ts";
import {
  decodeClientHello,
  decodeRequest,
  decodeWatchRequest,
  encodeError,
  encodeResponse,
  encodeServerHello,
  PROTOCOL_VERSION,
  SharedNews,
  type Stamp,
} from "../protocol/codec.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response } from "../protocol/responses.ts";
import type { WatchRequest } from "../protocol/watch.ts";
import {
  CALL_HEADER,
  CANCELLABLE,
  FRAME_BYTES,
  FROM_CLIENT,
  FROM_SERVER,
  FrameWriter,
  HAS_OPERATION,
  OPERATION_BYTES,
  plainBytes,
  REQUIRE_LEADER,
  readOperation,
  WINDOW_BYTES_MAX,
  waits,
} from "./client-wire.ts";
import { decodeFrame } from "./frame.ts";
import type { Connection, HttpAnswer, Listener, Network } from "./network.ts";
import { WatchFlow } from "./watch-flow.ts";

export interface ClientListenerOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly log: Logger;
  /** "ws://host:port". Port 0 takes a free one. */
  readonly url: string;
  readonly allowedOrigins: readonly string[];
  readonly maxFrameBytes: number;
  readonly onHttp?: (method: string, path: string) => Promise<HttpAnswer>;
  /** Answers or rejects with `StoreError`; anything else is answered as `INTERNAL` and logged. */
  readonly handle: (request: Request, call: CallOptions) => Promise<Response>;
  /** Takes a watch stream in; what it has to say goes to the outlet. */
  readonly watch: (outlet: WatchOutlet, options: WatchOptions) => ServedWatch;
  readonly hello: () => Stamp;
  /** Whom the member follows now; `announceLeader` when that has changed. */
  readonly leader: () => LeaderNews;
  /** Requests under way at one time on one connection, and their bytes. Default 16,384 and 64 MiB. */
  readonly maxCalls?: number | undefined;
  readonly maxCallBytes?: number | undefined;
  /** With this much waiting to be read, further requests are refused. Default 16 MiB. */
  readonly refuseBacklogBytes?: number | undefined;
  /** With this much waiting to be read, a further answer closes the connection instead. Default 64 MiB. */
  readonly maxBacklogBytes?: number | undefined;
  /** Longest time until a new connection has said hello. Default 5,000. */
  readonly handshakeMs?: number | undefined;
  /** A client pings when it has nothing to say: silent for as long, it is gone. Default 30,000. */
  readonly idleMs?: number | undefined;
}

interface Limits {
  readonly maxMessageBytes: number;
  readonly maxCalls: number;
  readonly maxCallBytes: number;
  readonly refuseBacklogBytes: number;
  readonly maxBacklogBytes: number;
  readonly handshakeBeats: number;
  readonly idleBeats: number;
}

const BEAT_MS = 500;
/** With this much waiting to leave, watch streams wait; they look again after as long. */
const WATCH_BACKLOG_BYTES = 1 << 20;
const WATCH_RETRY_MS = 5;
/** A stranger says hello and waits: nothing larger is taken in before that. */
const GREETING_BYTES_MAX = 4_096;

export class ClientListener {
  readonly #o: ClientListenerOptions;
  readonly #limits: Limits;
  readonly #sessions = new Set<Session>();
  /** Of all connections: watchers of one key are on many. */
  readonly #news = new SharedNews();
  #listener: Listener | undefined;
  #beat: Timer | undefined;
  #closed = false;

  constructor(options: ClientListenerOptions) {
    this.#o = options;
    this.#limits = {
      maxMessageBytes: options.maxFrameBytes,
      maxCalls: options.maxCalls ?? 16_384,
      maxCallBytes: options.maxCallBytes ?? 64 << 20,
      refuseBacklogBytes: options.refuseBacklogBytes ?? 16 << 20,
      maxBacklogBytes: options.maxBacklogBytes ?? 256 << 20,
      handshakeBeats: Math.ceil((options.handshakeMs ?? 5_000) / BEAT_MS),
      idleBeats: Math.ceil((options.idleMs ?? 30_000) / BEAT_MS),
    };
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#sessions.size;
  }

  /** The address, with the real port. Rejects with `ADDRESS_IN_USE` or `BAD_CONFIG`. */
  async listen(): Promise<string> {
    const { network, url, allowedOrigins, maxFrameBytes, onHttp } = this.#o;
    const listener = await network.listen({
      url,
      maxFrameBytes,
      untrustedBytes: GREETING_BYTES_MAX,
      allowedOrigins,
      onConnection: (connection) => this.#onConnection(connection),
      ...(onHttp === undefined ? {} : { onHttp }),
    });
    if (this.#closed) {
      await listener.close();
      throw new StoreError("STOPPED");
    }
    this.#listener = listener;
    this.#beat = this.#o.clock.every(BEAT_MS, () => {
      for (const session of this.#sessions) session.beat();
      this.#news.forget();
    });
    return listener.url;
  }

  /** Tells every client whom the member follows now. */
  announceLeader(): void {
    for (const session of this.#sessions) session.announceLeader();
  }

  /** Sends the answers that are ready, then ends every connection. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#beat?.cancel();
    for (const session of [...this.#sessions]) session.close("the server stops");
    await this.#listener?.close();
  }

  #onConnection(connection: Connection): void {
    if (this.#closed) {
      connection.close("the server stops");
      return;
    }
    const session = new Session(connection, this.#o, this.#limits, this.#news, () => this.#sessions.delete(session));
    this.#sessions.add(session);
  }
}

interface Call {
  readonly size: number;
  /** Only for a client that may cancel: the others need not pay for it. */
  readonly cancel: AbortController | undefined;
}

/** One connection. */
class Session {
  readonly #connection: Connection;
  readonly #o: ClientListenerOptions;
  readonly #limits: Limits;
  readonly #news: SharedNews;
  readonly #ended: () => void;
  readonly #stamp: Stamp;
  readonly #calls = new Map<number, Call>();
  readonly #flows = new Map<number, WatchFlow>();
  /** Streams that found the connection busy. */
  #blocked = new Set<number>();
  #retry: Timer | undefined;
  #callBytes = 0;
  #greeted = false;
  #silentBeats = 0;
  #writer: FrameWriter | undefined;
  #lastFrameBytes = 1_024;
  #closed = false;

  constructor(
    connection: Connection,
    options: ClientListenerOptions,
    limits: Limits,
    news: SharedNews,
    ended: () => void,
  ) {
    this.#connection = connection;
    this.#o = options;
    this.#limits = limits;
    this.#news = news;
    this.#ended = ended;
    this.#stamp = options.hello();
    connection.onFrame = (frame) => this.#onFrame(plainBytes(frame));
    connection.onClose = () => this.#end();
  }

  /** Counts beats, not time: after a stall of this process what the client sent meanwhile is read before the next. */
  beat(): void {
    this.#silentBeats += 1;
    if (!this.#greeted && this.#silentBeats > this.#limits.handshakeBeats) this.close("no greeting in time");
    else if (this.#silentBeats > this.#limits.idleBeats) this.close("the client is silent");
  }

  announceLeader(): void {
    if (this.#greeted && !this.#closed) this.#write().leader(this.#o.leader());
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#flush();
    this.#end();
    this.#connection.close(reason);
  }

  #end(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection.onFrame = () => {};
    this.#writer = undefined;
    for (const { cancel } of this.#calls.values()) cancel?.abort();
    this.#calls.clear();
    this.#retry?.cancel();
    for (const flow of this.#flows.values()) flow.close();
    this.#flows.clear();
    this.#ended();
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#closed) return;
    if (this.#greeted) this.#silentBeats = 0;
    try {
      decodeFrame(frame, (message) => this.#onMessage(message));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#o.log.warn({ remote: this.#connection.remote, error: why }, "malformed frame from a client");
      this.close(`malformed frame: ${why}`.slice(0, 100));
    }
  }

  #onMessage(message: Uint8Array): void {
    // A message before this one in its frame may have ended the connection.
    if (this.#closed) return;
    const type = message[0];
    if (!this.#greeted) {
      if (type !== FROM_CLIENT.hello) throw new RangeError("no greeting");
      this.#greet(message);
      return;
    }
    switch (type) {
      case FROM_CLIENT.call:
        if (message.length < CALL_HEADER) throw new RangeError("a call that is too short");
        this.#onCall(message);
        return;
      case FROM_CLIENT.cancel:
        if (message.length !== 5) throw new RangeError("a malformed cancel");
        this.#calls.get(u32(message, 1))?.cancel?.abort();
        this.#unwatch(u32(message, 1));
        return;
      case FROM_CLIENT.watch:
        if (message.length !== 10) throw new RangeError("a malformed watch");
        this.#onWatch(u32(message, 1), message[5]!, u32(message, 6));
        return;
      case FROM_CLIENT.ask:
        if (message.length < 5) throw new RangeError("a malformed watch request");
        this.#onAsk(u32(message, 1), message);
        return;
      case FROM_CLIENT.credit:
        if (message.length !== 9) throw new RangeError("a malformed credit");
        // A stream that ended meanwhile has no use for it.
        if (this.#flows.get(u32(message, 1))?.consumed(u32(message, 5)) === false) {
          throw new RangeError("more was read than was sent");
        }
        return;
      case FROM_CLIENT.ping:
        if (message.length !== 1) throw new RangeError("a malformed ping");
        this.#write().plain(FROM_SERVER.pong);
        return;
      default:
        throw new RangeError("unknown message");
    }
  }

  #greet(message: Uint8Array): void {
    const version = decodeClientHello(message, 1);
    this.#connection.trust?.();
    const { maxMessageBytes, maxCalls, maxCallBytes } = this.#limits;
    this.#write().plain(
      FROM_SERVER.hello,
      encodeServerHello({ ...this.#stamp, maxMessageBytes, maxCalls, maxCallBytes }),
    );
    this.#flush();
    this.#greeted = true;
    this.#silentBeats = 0;
    // The greeting tells our version, so the client can say what is wrong.
    if (version !== PROTOCOL_VERSION) {
      this.close(`protocol version ${version} is not spoken here, only ${PROTOCOL_VERSION}`);
      return;
    }
    if (this.#o.leader().member !== undefined) this.announceLeader();
  }

  #onCall(message: Uint8Array): void {
    const call = u32(message, 1);
    if (this.#calls.has(call) || this.#flows.has(call)) throw new RangeError("a call number twice at a time");
    const flags = message[9]!;
    if ((flags & ~(CANCELLABLE | HAS_OPERATION)) !== 0) throw new RangeError("unknown flag of a call");
    const operation = (flags & HAS_OPERATION) === 0 ? undefined : readOperation(message);
    const { maxCalls, maxCallBytes, refuseBacklogBytes } = this.#limits;
    if (
      this.#calls.size >= maxCalls ||
      this.#callBytes + message.length > maxCallBytes ||
      this.#backlog > refuseBacklogBytes
    ) {
      this.#answer(FROM_SERVER.error, call, encodeError(new StoreError("TOO_MANY_REQUESTS")));
      return;
    }
    let request: Request;
    try {
      request = decodeRequest(message, operation === undefined ? CALL_HEADER : CALL_HEADER + OPERATION_BYTES);
    } catch (error) {
      this.#answer(FROM_SERVER.error, call, encodeError(this.#named(error)));
      return;
    }
    const cancel = (flags & CANCELLABLE) === 0 && !waits(request) ? undefined : new AbortController();
    const size = message.length;
    this.#calls.set(call, { size, cancel });
    this.#callBytes += size;
    const timeoutMs = u32(message, 5);
    this.#o.handle(request, { timeoutMs, signal: cancel?.signal, operation }).then(
      (response) => this.#settle(call, size, response),
      (error) => this.#fail(call, size, error),
    );
  }

  #onWatch(stream: number, flags: number, windowBytes: number): void {
    if (this.#calls.has(stream) || this.#flows.has(stream)) throw new RangeError("a call number twice at a time");
    if ((flags & ~REQUIRE_LEADER) !== 0) throw new RangeError("unknown flag of a watch");
    if (windowBytes < 1 || windowBytes > WINDOW_BYTES_MAX) throw new RangeError("a window out of bounds");
    if (this.#flows.size >= this.#limits.maxCalls) {
      this.#answer(FROM_SERVER.error, stream, encodeError(new StoreError("TOO_MANY_REQUESTS")));
      return;
    }
    const options = { requireLeader: (flags & REQUIRE_LEADER) !== 0, windowBytes };
    const flow: WatchFlow = new WatchFlow(
      {
        open: (outlet) => this.#o.watch(outlet, options),
        deliver: (response) => {
          const [bytes, shared] = this.#news.encode(response, this.#stamp);
          this.#answer(FROM_SERVER.news, stream, bytes, shared);
          return bytes.length + shared.length;
        },
        hasRoom: () => {
          if (this.#backlog <= WATCH_BACKLOG_BYTES) return true;
          this.#blocked.add(stream);
          this.#retry ??= this.#o.clock.after(WATCH_RETRY_MS, () => this.#unblock());
          return false;
        },
        ended: (error) => {
          this.#unwatch(stream);
          this.#answer(FROM_SERVER.error, stream, encodeError(error));
        },
      },
      options,
    );
    this.#flows.set(stream, flow);
  }

  #onAsk(stream: number, message: Uint8Array): void {
    const flow = this.#flows.get(stream);
    if (flow === undefined) return;
    let request: WatchRequest;
    try {
      request = decodeWatchRequest(message, 5);
    } catch (error) {
      this.#unwatch(stream);
      this.#answer(FROM_SERVER.error, stream, encodeError(this.#named(error)));
      return;
    }
    flow.request(request);
  }

  #unwatch(stream: number): void {
    this.#flows.get(stream)?.close();
    this.#flows.delete(stream);
    this.#blocked.delete(stream);
  }

  #unblock(): void {
    this.#retry = undefined;
    if (this.#closed) return;
    if (this.#backlog > WATCH_BACKLOG_BYTES) {
      // Looked at once for all of them: there may be thousands.
      this.#retry = this.#o.clock.after(WATCH_RETRY_MS, () => this.#unblock());
      return;
    }
    const blocked = this.#blocked;
    this.#blocked = new Set();
    for (const stream of blocked) this.#flows.get(stream)?.resume();
  }

  #settle(call: number, size: number, response: Response): void {
    this.#callBytes -= size;
    if (this.#closed) return;
    let bytes: Uint8Array;
    try {
      bytes = encodeResponse(response, this.#stamp);
    } catch (error) {
      this.#calls.delete(call);
      this.#answer(FROM_SERVER.error, call, encodeError(this.#named(error)));
      return;
    }
    this.#calls.delete(call);
    // A read can be asked again; what a write did must be told.
    if (response.result.kind === "range" && this.#backlog > this.#limits.refuseBacklogBytes) {
      this.#answer(FROM_SERVER.error, call, encodeError(new StoreError("TOO_MANY_REQUESTS")));
      return;
    }
    this.#answer(FROM_SERVER.answer, call, bytes);
  }

  #fail(call: number, size: number, error: unknown): void {
    this.#callBytes -= size;
    if (this.#closed) return;
    const cancelled = this.#calls.get(call)?.cancel?.signal.aborted === true;
    this.#calls.delete(call);
    // Whoever cancelled has its answer already.
    if (!cancelled) this.#answer(FROM_SERVER.error, call, encodeError(this.#named(error)));
  }

  #named(error: unknown): StoreError {
    if (StoreError.is(error)) return error;
    this.#o.log.error(
      {
        remote: this.#connection.remote,
        error: String(error),
        stack: error instanceof Error ? error.stack : undefined,
      },
      "a request failed without a name",
    );
    return new StoreError("INTERNAL", { outcome: "unknown" });
  }

  #answer(type: number, call: number, body: Uint8Array, rest?: Uint8Array): void {
    if (this.#closed) return;
    if (this.#backlog > this.#limits.maxBacklogBytes) {
      this.#o.log.warn({ remote: this.#connection.remote }, "a client does not read its answers");
      this.close("answers are not read");
      return;
    }
    const writer = this.#write();
    writer.answer(type, call, body, rest);
    if (writer.length >= FRAME_BYTES) this.#flush();
  }

  /** Bytes that were answered and did not leave yet. */
  get #backlog(): number {
    return this.#connection.bufferedBytes + (this.#writer?.length ?? 0);
  }

  #write(): FrameWriter {
    if (this.#writer === undefined) {
      this.#writer = new FrameWriter(this.#lastFrameBytes);
      this.#o.clock.defer(() => this.#flush());
    }
    return this.#writer;
  }

  #flush(): void {
    const writer = this.#writer;
    if (writer === undefined || writer.length === 0) return;
    this.#writer = undefined;
    this.#lastFrameBytes = Math.min(FRAME_BYTES, Math.max(1_024, writer.length));
    this.#connection.send(writer.finish());
  }
}

function u32(message: Uint8Array, at: number): number {
  return message[at]! * 0x100_0000 + ((message[at + 1]! << 16) | (message[at + 2]! << 8) | message[at + 3]!);
}
