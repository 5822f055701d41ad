/** A member's state as the bytes of a file: `client.snapshot()`. */
import { deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { Revision } from "../base/ids.ts";
import { Sha256 } from "../base/sha256.ts";
import type { Channel } from "../protocol/channel.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { SnapshotRequest } from "../protocol/requests.ts";
import type { Response, SnapshotPartResult } from "../protocol/responses.ts";
import { invalid } from "./kv.ts";

export interface SnapshotOptions {
  /** Whose state. Default: any member's. */
  readonly endpoint?: string | undefined;
  /** Ends it with `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for each part, not for the whole. Default 30,000. */
  readonly timeoutMs?: number | undefined;
}

export interface SnapshotInfo {
  /** Who answered. */
  readonly header: ResponseHeader;
  /** The snapshot holds everything up to this revision, and nothing above it. */
  readonly revision: Revision;
  /** An estimate of its length: databases are compressed. */
  readonly aboutBytes: number;
  /** The member's release. */
  readonly version: string;
}

type Part = Response<SnapshotPartResult>;

/** What a snapshot needs of its client. */
export interface SnapshotHost {
  /** Opens the session: the channel that it lives on, and its first part. */
  readonly open: () => Promise<readonly [Channel, Part]>;
  readonly call: (channel: Channel, request: SnapshotRequest) => Promise<Part>;
}

/**
 * The bytes of a snapshot file, in order, the digest last. The next part is fetched while one is being used, so at most two
 * are in memory, here as at the member. Leaving the iteration lets the member forget; so does not reading for 30 seconds.
 */
export class SnapshotStream implements AsyncIterableIterator<Uint8Array>, AsyncDisposable {
  readonly #host: SnapshotHost;
  readonly #opened = deferred<SnapshotInfo>();
  readonly #digest = new Sha256();
  #channel: Channel | undefined;
  #session: number | undefined;
  #part = 0;
  #coming: Promise<Part>;
  #reading = false;
  #ended = false;

  /** @internal */
  constructor(host: SnapshotHost) {
    this.#host = host;
    this.#coming = this.#open();
    this.#coming.catch(() => {}); // `next` tells
    this.#opened.promise.catch(() => {}); // only some callers ask
  }

  /** What it is a snapshot of, once a member has answered. Rejects with why none did. */
  opened(): Promise<SnapshotInfo> {
    return this.#opened.promise;
  }

  /**
   * Rejects with `TOO_MANY_REQUESTS` where others take snapshots of that member, `CONNECTION_LOST` and `STOPPED` when it is
   * lost half-way, `STATE_CORRUPT` where the member finds its own state damaged. What was read so far is no snapshot then.
   */
  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#reading) throw invalid("a snapshot has one reader at a time");
    if (this.#ended) return { done: true, value: undefined };
    this.#reading = true;
    try {
      const { result } = await this.#coming;
      if (result.isLast) {
        this.#session = undefined;
        this.#ended = true;
        return { done: false, value: this.#digest.digest() };
      }
      this.#digest.update(result.bytes);
      this.#part += 1;
      this.#coming = this.#host.call(this.#channel!, { kind: "snapshot", session: result.session, part: this.#part });
      this.#coming.catch(() => {});
      return { done: false, value: result.bytes };
    } catch (error) {
      this.#close();
      throw error;
    } finally {
      this.#reading = false;
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#close();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
  }

  async #open(): Promise<Part> {
    try {
      const [channel, part] = await this.#host.open();
      const { revision, aboutBytes, version, session } = part.result;
      this.#channel = channel;
      this.#session = session;
      if (this.#ended) this.#forget();
      this.#opened.resolve({ header: part.header, revision, aboutBytes, version });
      return part;
    } catch (error) {
      this.#opened.reject(error);
      throw error;
    }
  }

  #close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#opened.reject(new StoreError("CANCELLED"));
    this.#forget();
  }

  /** The member need not keep it any longer. */
  #forget(): void {
    const session = this.#session;
    this.#session = undefined;
    if (session === undefined || this.#channel === undefined) return;
    this.#host.call(this.#channel, { kind: "snapshot", session, close: true }).catch(() => {});
  }
}
