/** How a client reaches a server: over a socket (which encodes) or in process (which passes objects). */
import type { Request } from "./requests.ts";
import type { Response, ResultOf } from "./responses.ts";

export interface CallOptions {
  /** Milliseconds the server may take; it answers with an error by then. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

export interface Channel {
  /**
   * One request, one answer. Rejects with `StoreError`, whose `outcome` speaks of this attempt alone: "rejected" if
   * its bytes were never handed over or the server refused it, "unknown" if the connection ended in between.
   */
  call<Q extends Request>(request: Q, options: CallOptions): Promise<Response<ResultOf<Q>>>;
  /** Resolves (never rejects) once the channel can carry no more calls. */
  readonly closed: Promise<void>;
  close(): void;
}
