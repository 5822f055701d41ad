/**
 * The network over WebSockets: binary frames, never compressed, unmasked in effect between our own processes (a masking
 * key of zero costs nothing on either side). Plain HTTP answers on the same port.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createConnection, isIP, type Socket, type TcpNetConnectOpts } from "node:net";
import type { Duplex } from "node:stream";
import type * as ws from "ws";
import { StoreError } from "../../base/errors.ts";
import { requireCommonJs } from "../../platform/node/common-js.ts";
import { type Address, closeReason, formatAddress, parseAddress, parseListenAddress } from "../address.ts";
import {
  BACKLOG_BYTES_MAX,
  type Connection,
  type HttpAnswer,
  type Listener,
  type ListenOptions,
  type Network,
} from "../network.ts";

const { WebSocket, WebSocketServer } = requireCommonJs("ws") as typeof ws;

/** How long the other side may take to answer a close before its socket is destroyed. */
const CLOSE_MS = 1_000;
/** Sockets at one listener, requests and strangers included: far above any use, below what exhausts descriptors. */
const SOCKETS_MAX = 10_000;
const REQUEST_MS = 10_000;
const NORMAL = 1_000;
const UNSUPPORTED = 1_003;
const TEXT = "text/plain; charset=utf-8";

/** What a close code says where it comes without a text. */
const CLOSE_TEXTS: Readonly<Record<number, string>> = {
  1000: "closed by the other side",
  1001: "the other side went away",
  1002: "the other side met a protocol error",
  1003: "the other side takes binary frames only",
  1005: "closed by the other side",
  1006: "connection lost",
  1009: "the other side met a frame that is too large",
};

export interface WebSocketNetworkOptions {
  /** See `BACKLOG_BYTES_MAX`. */
  readonly backlogBytes?: number;
}

export class WebSocketNetwork implements Network {
  readonly #backlogBytes: number;

  constructor(options: WebSocketNetworkOptions = {}) {
    this.#backlogBytes = options.backlogBytes ?? BACKLOG_BYTES_MAX;
  }

  async listen(options: ListenOptions): Promise<Listener> {
    const listener = new WebSocketListener(parseListenAddress(options.url), options, this.#backlogBytes);
    await listener.open();
    return listener;
  }

  async dial(
    url: string,
    { maxFrameBytes, timeoutMs }: { readonly maxFrameBytes: number; readonly timeoutMs: number },
  ): Promise<Connection> {
    const { host, port, secure } = parseAddress(url);
    const target = formatAddress(host, port);
    const options = {
      perMessageDeflate: false,
      maxPayload: maxFrameBytes,
      followRedirects: false,
      generateMask: zeroMask,
      closeTimeout: CLOSE_MS,
      // With TLS the bytes pass through a stream of Node's own.
      createConnection: secure ? undefined : (connectReading as typeof createConnection),
    };
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(secure ? target.replace(/^ws/, "wss") : target, options);
      let failure: string | undefined;
      // The library's own limit counts silence only; this one bounds the whole.
      const timer = setTimeout(() => {
        failure = `no answer within ${timeoutMs} ms`;
        socket.terminate();
      }, timeoutMs);
      socket.on("error", (error) => {
        clearTimeout(timer);
        const why = failure ?? codeOf(error) ?? error.message;
        const message = `quorate: could not connect to ${url}: ${why}`;
        reject(new StoreError("UNAVAILABLE", { message, cause: error }));
      });
      socket.once("open", () => {
        clearTimeout(timer);
        // What came right behind the answer waits until whoever dialled has set its handlers.
        socket.pause();
        setImmediate(() => socket.resume());
        resolve(new WebSocketConnection(socket, url, this.#backlogBytes));
      });
    });
  }
}

class WebSocketConnection implements Connection {
  readonly remote: string;
  readonly #socket: ws.WebSocket;
  readonly #backlogBytes: number;
  #ended = false;
  #error: Error | undefined;
  onFrame: (frame: Uint8Array) => void = () => {};
  onClose: (reason: string) => void = () => {};
  trust: () => void = () => {};

  constructor(socket: ws.WebSocket, remote: string, backlogBytes: number) {
    this.#socket = socket;
    this.remote = remote;
    this.#backlogBytes = backlogBytes;
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("error", (error) => {
      this.#error ??= error;
    });
    socket.on("close", (code, reason) => {
      if (this.#ended) return;
      this.#ended = true;
      this.onClose(this.#describe(code, reason));
    });
  }

  get bufferedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(frame: Uint8Array): void {
    if (this.#ended || this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > this.#backlogBytes) {
      // Behind such a backlog no close frame would arrive in time.
      this.destroy(`more than ${this.#backlogBytes} bytes wait for the other side`);
      return;
    }
    this.#socket.send(frame);
  }

  close(reason: string): void {
    this.#close(NORMAL, reason);
  }

  /** At once, whatever waits. */
  destroy(reason: string): void {
    this.close(reason);
    this.#socket.terminate();
  }

  #close(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    const text = closeReason(reason);
    this.#socket.close(code, text);
    setImmediate(() => this.onClose(text));
  }

  #receive(data: ws.RawData, isBinary: boolean): void {
    if (this.#ended) return;
    if (!isBinary || !Buffer.isBuffer(data)) {
      this.#close(UNSUPPORTED, "binary frames only");
      return;
    }
    try {
      // A plain array: `slice` of a Buffer would share its memory with the copy.
      this.onFrame(new Uint8Array(data.buffer, data.byteOffset, data.length));
    } catch (error) {
      this.close(`the receiver failed: ${textOf(error)}`);
    }
  }

  #describe(code: number, reason: Buffer): string {
    if (this.#error !== undefined) return closeReason(`connection lost: ${textOf(this.#error)}`);
    if (reason.length > 0) return closeReason(reason.toString("utf8"));
    return CLOSE_TEXTS[code] ?? `closed with code ${code}`;
  }
}

class WebSocketListener implements Listener {
  readonly #address: Address;
  readonly #options: ListenOptions;
  readonly #backlogBytes: number;
  readonly #server: Server;
  readonly #upgrader: ws.WebSocketServer;
  /** Every socket; with its connection once it was upgraded. */
  readonly #sockets = new Map<Duplex, WebSocketConnection | undefined>();
  #url = "";
  #closed: Promise<void> | undefined;

  constructor(address: Address, options: ListenOptions, backlogBytes: number) {
    this.#address = address;
    this.#options = options;
    this.#backlogBytes = backlogBytes;
    const upgrader = {
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      maxPayload: options.maxFrameBytes,
      closeTimeout: CLOSE_MS,
    };
    this.#upgrader = new WebSocketServer(upgrader);
    const limits = { headersTimeout: REQUEST_MS, requestTimeout: REQUEST_MS };
    this.#server = createServer(limits, (request, response) => void this.#answer(request, response));
    this.#server.maxConnections = SOCKETS_MAX;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.set(socket, undefined);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  get url(): string {
    return this.#url;
  }

  async open(): Promise<void> {
    const { host, port } = this.#address;
    const server = this.#server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(listenError(this.#options.url, error)));
      server.listen({ host, port }, () => {
        server.removeAllListeners("error");
        // One failed `accept` (out of descriptors, say) is no reason to stop accepting.
        server.on("error", () => {});
        resolve();
      });
    });
    const bound = server.address();
    this.#url = formatAddress(host, typeof bound === "object" && bound !== null ? bound.port : port);
  }

  close(): Promise<void> {
    this.#closed ??= new Promise<void>((resolve) => {
      const late = setTimeout(() => {
        for (const socket of this.#sockets.keys()) socket.destroy();
      }, CLOSE_MS);
      this.#server.close(() => {
        clearTimeout(late);
        resolve();
      });
      for (const [socket, connection] of this.#sockets) {
        if (connection === undefined) socket.destroy();
        else connection.close("the listener was closed");
      }
    });
    return this.#closed;
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => {});
    // Browsers always send it, and no page may reach a cluster that does not expect it. Version 8 had its own name.
    const origin = request.headers.origin ?? request.headers["sec-websocket-origin"];
    if (origin !== undefined && ![origin].flat().every((each) => this.#isAllowed(each))) {
      refuse(socket, "403 Forbidden", "this origin is not allowed\n");
      return;
    }
    if (this.#closed !== undefined) {
      refuse(socket, "503 Service Unavailable", "closing\n");
      return;
    }
    this.#upgrader.handleUpgrade(request, socket, head, (webSocket) => {
      const { remoteAddress = "", remotePort = 0 } = request.socket;
      const remote = formatAddress(remoteAddress, remotePort).slice("ws://".length);
      const connection = new WebSocketConnection(webSocket, remote, this.#backlogBytes);
      this.#sockets.set(socket, connection);
      this.#bound(connection, socket);
      try {
        this.#options.onConnection(connection);
      } catch (error) {
        connection.close(`the listener failed: ${textOf(error)}`);
      }
    });
  }

  /** Counts what a stranger sends: the library would first gather a whole frame of the largest size. */
  #bound(connection: WebSocketConnection, socket: Duplex): void {
    const { untrustedBytes } = this.#options;
    if (untrustedBytes === undefined) return;
    let received = 0;
    const count = (chunk: Buffer): void => {
      received += chunk.length;
      if (received > untrustedBytes) connection.destroy("too much came before it proved who it is");
    };
    socket.on("data", count);
    connection.trust = () => {
      socket.off("data", count);
    };
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "/", headers } = request;
    const { onHttp } = this.#options;
    const plain = (status: number, body: string): HttpAnswer => ({ status, contentType: TEXT, body });
    let answer: HttpAnswer;
    if (headers.origin !== undefined && !this.#isAllowed(headers.origin)) {
      answer = plain(403, "this origin is not allowed\n");
    } else if (!this.#isOurName(headers.host)) {
      answer = plain(403, "this host name is not allowed\n");
    } else if (method !== "GET" && method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      answer = plain(405, "method not allowed\n");
    } else if (onHttp === undefined) {
      answer = plain(404, "not found\n");
    } else {
      // HEAD is GET without the body.
      answer = await onHttp("GET", url).catch(() => plain(500, "internal error\n"));
    }
    if (response.destroyed) return;
    const body = Buffer.from(answer.body, "utf8");
    response.statusCode = answer.status;
    response.setHeader("Content-Type", answer.contentType);
    response.setHeader("Content-Length", body.length);
    response.setHeader("X-Content-Type-Options", "nosniff");
    // Whoever was refused may have a body under way that nobody reads.
    if (answer.status === 403 || answer.status === 405) response.setHeader("Connection", "close");
    response.end(method === "HEAD" ? undefined : body);
  }

  #isAllowed(origin: string): boolean {
    return this.#options.allowedOrigins.includes(origin);
  }

  /**
   * A page may point a name of its own at 127.0.0.1 and read from there without an `Origin` (DNS rebinding). At a loopback
   * address, whoever asks in good faith says an address, "localhost" or the name that is listened on.
   */
  #isOurName(header: string | undefined): boolean {
    const { host } = this.#address;
    if (header === undefined || !(host === "localhost" || host === "::1" || host.startsWith("127."))) return true;
    const name = header.replace(/:\d*$/, "").replace(/^\[|\]$/g, "");
    return isIP(name) !== 0 || name === "localhost" || name === host;
  }
}

/** Of all sockets that were dialled: what is read is copied before the next read. */
const received = Buffer.allocUnsafe(64 << 10);

/**
 * Node would allocate 64 KiB for each read and give back what was not filled: for short answers that costs more than
 * everything else that is done to read them.
 */
function connectReading(options: TcpNetConnectOpts): Socket {
  const socket: Socket = createConnection({
    ...options,
    // Where it is set, it is the URL's; to a socket it would name a pipe.
    ...{ path: undefined },
    onread: {
      buffer: received,
      callback: (length: number, bytes: Uint8Array): boolean => socket.push(Buffer.from(bytes.subarray(0, length))),
    },
  });
  return socket;
}

/** A mask of zero changes nothing, so the library skips the loops over the payload at both ends. */
function zeroMask(mask: Buffer): void {
  // Four stores: `fill` is a call into the engine, once a frame.
  mask[0] = 0;
  mask[1] = 0;
  mask[2] = 0;
  mask[3] = 0;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

function refuse(socket: Duplex, status: string, body: string): void {
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: ${TEXT}\r\nContent-Length: ${body.length}\r\n\r\n`;
  socket.end(head + body, () => socket.destroy());
}

function listenError(url: string, error: unknown): StoreError {
  if (codeOf(error) === "EADDRINUSE") {
    return new StoreError("ADDRESS_IN_USE", { message: `quorate: the address ${url} is in use`, cause: error });
  }
  return new StoreError("BAD_CONFIG", { message: `quorate: cannot listen on ${url}: ${textOf(error)}`, cause: error });
}
