/**
 * Moves frames between processes; knows no Raft. Node's half runs over WebSockets (transport/node), the simulator's
 * over memory (transport/memory.ts), with the same interface. A connection delivers frames in order or ends.
 */

/**
 * The last bound on what waits in one connection: whoever sends keeps bounds of its own far below. With more than this
 * waiting, the next `send` ends the connection.
 */
export const BACKLOG_BYTES_MAX: number = 256 << 20;

export interface Connection {
  /** Where the other side is, for logs. */
  readonly remote: string;
  /** Bytes handed to `send` and not yet given to the operating system. */
  readonly bufferedBytes: number;
  /** Queues one frame. After the connection ended it does nothing. The bytes must not change afterwards. */
  send(frame: Uint8Array): void;
  /** Ends it; the reason (at most 120 bytes) reaches the other side's `onClose`. */
  close(reason: string): void;
  /** The other side has proved who it is: `untrustedBytes` bounds it no longer. */
  trust?(): void;
  /** Set both before the first turn ends, or frames are lost. A frame is a view that is valid during the call only. */
  onFrame: (frame: Uint8Array) => void;
  /** Called once, whichever side ended it. */
  onClose: (reason: string) => void;
}

export interface HttpAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface ListenOptions {
  /** "ws://host:port". Port 0 takes a free one. */
  readonly url: string;
  readonly maxFrameBytes: number;
  /** Ends a connection over which about as much came before `trust()`: strangers get no large buffers. Default: no bound. */
  readonly untrustedBytes?: number;
  /** Origins let through; a handshake with any other `Origin` header is refused. */
  readonly allowedOrigins: readonly string[];
  readonly onConnection: (connection: Connection) => void;
  /** Plain HTTP beside the sockets: /health, /metrics. */
  readonly onHttp?: (method: string, path: string) => Promise<HttpAnswer>;
}

export interface Listener {
  /** With the real port. */
  readonly url: string;
  /** Takes no more connections and ends those it took. */
  close(): Promise<void>;
}

export interface Network {
  /** Rejects with `ADDRESS_IN_USE` or `BAD_CONFIG`. */
  listen(options: ListenOptions): Promise<Listener>;
  /**
   * Resolves once connected. Rejects with `UNAVAILABLE` (refused, unreachable, or `timeoutMs` passed), or with
   * `BAD_CONFIG` where the address is none.
   */
  dial(url: string, options: { readonly maxFrameBytes: number; readonly timeoutMs: number }): Promise<Connection>;
}
