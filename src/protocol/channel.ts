/** How a client reaches a server: over a socket (which encodes) or in process (which passes objects). */
import type { StoreError } from "../base/errors.ts";
import type { MemberId } from "../base/ids.ts";
import type { RangeRequest, Request } from "./requests.ts";
import type { RangeResult, Response, ResultOf } from "./responses.ts";
import type { WatchRequest, WatchResponse } from "./watch.ts";

/** Which write of which client this is: what is sent twice under one id is applied once (design section 7). */
export interface OperationId {
  /** From `register`. */
  readonly clientId: number;
  /** Counts the client's writes, from 1. */
  readonly sequence: number;
  /** The client needs no answer any more to what lies below. */
  readonly lowestUnacknowledged: number;
}

/** Whom a member follows. Of two that differ the one of the higher term holds: a term has one leader. */
export interface LeaderNews {
  readonly term: number;
  /** None is known: `undefined`. */
  readonly member: MemberId | undefined;
}

export interface CallOptions {
  /** Milliseconds the server may take; it answers with an error by then. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Of a write that is to apply once, however often it is sent. Without it: once for each time, as in etcd. */
  readonly operation?: OperationId | undefined;
}

export interface WatchOptions {
  /** Refused, or ended later, as `NO_LEADER` where the member knows no leader for long (etcd-semantics 4.10). */
  readonly requireLeader?: boolean | undefined;
  /** Bytes that may be under way and not yet consumed; what is beyond waits at the server, as a cursor. */
  readonly windowBytes?: number | undefined;
}

/** Where a watch stream's messages go. Neither is called before `watch` has returned. */
export interface WatchReceiver {
  /** The message takes so many bytes of the window until they are given back by `consumed`. */
  receive(response: WatchResponse, bytes: number): void;
  /** Once, whatever ended it but `close`: nothing more comes. */
  ended(error: StoreError): void;
}

/** Many watchers on one stream, many streams on one channel. A stream that ended takes anything and does nothing. */
export interface WatchStream {
  request(request: WatchRequest): void;
  consumed(bytes: number): void;
  close(): void;
}

export const WATCH_WINDOW_BYTES: number = 1 << 20;

/** A server's side of a stream: what it sends on. */
export interface WatchOutlet {
  /** Whether events may be sent now. Everything else is always taken. */
  readonly writable: boolean;
  send(response: WatchResponse): void;
  ended(error: StoreError): void;
}

/** A server's side of a stream: what it is asked. Whoever owns the outlet calls `resume` once that is writable again. */
export interface ServedWatch {
  request(request: WatchRequest): void;
  resume(): void;
  close(): void;
}

export interface Channel {
  /**
   * One request, one answer. Rejects with `StoreError`, whose `outcome` speaks of this attempt alone: "rejected" if
   * its bytes were never handed over or the server refused it, "unknown" if the connection ended in between.
   */
  call<Q extends Request>(request: Q, options: CallOptions): Promise<Response<ResultOf<Q>>>;
  /**
   * Within a process: the answer at once, where it needs no wait (a serializable read of one key). Throws what `call` would
   * reject with; `undefined`: `call` it.
   */
  answerNow?(request: RangeRequest): Response<RangeResult> | undefined;
  /** Opens a watch stream. Rejects nothing: what fails comes through the receiver. */
  watch(receiver: WatchReceiver, options?: WatchOptions): WatchStream;
  /** Resolves (never rejects) once the channel can carry no more calls. */
  readonly closed: Promise<void>;
  close(): void;
}
