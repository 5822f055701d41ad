/**
 * Flow control of one watch stream at its server. The client grants a window; news takes from it, and what the client has
 * read it gives back. With none left, events wait as a cursor at the hub and requests wait here, a bounded number of them:
 * so a client that does not read costs a window and one batch, whatever happens meanwhile.
 */
import { StoreError } from "../base/errors.ts";
import { type ServedWatch, WATCH_WINDOW_BYTES, type WatchOptions, type WatchOutlet } from "../protocol/channel.ts";
import type { WatchRequest, WatchResponse } from "../protocol/watch.ts";

/** Requests that wait for a client to read what it got. */
const WAITING_MAX = 1_024;
/** Watchers of one stream. */
const WATCHERS_MAX = 16_384;

export interface WatchFlowHost {
  open(outlet: WatchOutlet): ServedWatch;
  /** Sends it on; how many bytes of the window it takes. */
  deliver(response: WatchResponse): number;
  /** False while the connection has enough to send. Then whoever owns the flow calls `resume` later. */
  hasRoom(): boolean;
  ended(error: StoreError): void;
}

export class WatchFlow {
  readonly #host: WatchFlowHost;
  readonly #windowBytes: number;
  readonly #served: ServedWatch;
  #left: number;
  #waiting: WatchRequest[] = [];
  #watchers = 0;
  #ended = false;

  constructor(host: WatchFlowHost, { windowBytes = WATCH_WINDOW_BYTES }: WatchOptions) {
    this.#host = host;
    this.#windowBytes = windowBytes;
    this.#left = windowBytes;
    const flow = this;
    this.#served = host.open({
      get writable() {
        return flow.#writable;
      },
      send: (response) => {
        if (this.#ended) return;
        if (response.created && !response.canceled) this.#watchers += 1;
        else if (response.canceled && !response.created && response.compactRevision === 0) this.#watchers -= 1;
        this.#left -= host.deliver(response);
      },
      ended: (error) => this.#end(error),
    });
  }

  request(request: WatchRequest): void {
    if (this.#ended) return;
    if (this.#waiting.length === 0 && this.#writable) this.#ask(request);
    else if (this.#waiting.length >= WAITING_MAX) this.#refuse();
    else this.#waiting.push(request);
  }

  /** The client read so many bytes. False: that is more than it was sent. */
  consumed(bytes: number): boolean {
    this.#left += bytes;
    if (this.#left > this.#windowBytes) return false;
    this.resume();
    return true;
  }

  resume(): void {
    while (this.#waiting.length > 0 && this.#writable) this.#ask(this.#waiting.shift()!);
    if (this.#writable) this.#served.resume();
  }

  /** The client is gone, or wants no more. */
  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting = [];
    this.#served.close();
  }

  get #writable(): boolean {
    return !this.#ended && this.#left > 0 && this.#host.hasRoom();
  }

  #ask(request: WatchRequest): void {
    if (request.kind === "create" && this.#watchers >= WATCHERS_MAX) this.#refuse();
    else this.#served.request(request);
  }

  #refuse(): void {
    this.#served.close();
    this.#end(new StoreError("TOO_MANY_REQUESTS"));
  }

  #end(error: StoreError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#waiting = [];
    this.#host.ended(error);
  }
}
