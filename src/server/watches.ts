/**
 * The member's watch streams: the hub's messages, stamped and sent on, and the streams that end: with the member, or for
 * want of a leader.
 */
import { StoreError } from "../base/errors.ts";
import { revision } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { ServedWatch, WatchOptions, WatchOutlet } from "../protocol/channel.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { WatchRequest } from "../protocol/watch.ts";
import { WatchHub } from "./watch-hub.ts";
import type { WatchSource } from "./watch-reader.ts";

/**
 * A stream that requires a leader ends when as many looks in a row, an election timeout apart, found none. Until then one is
 * also taken in: through an election thousands would be refused again and again, and late to come back by their pauses.
 */
const LOOKS_WITHOUT_LEADER = 3;

export interface WatchesOptions {
  readonly source: WatchSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly electionTimeoutMs: number;
  readonly progressIntervalMs?: number | undefined;
  readonly fragmentBytes: number;
  /** Watchers, and streams, of all connections together. */
  readonly maxWatchers: number;
  readonly hasLeader: () => boolean;
  readonly isLearner: () => boolean;
  /** Of what a watch is told; its revision is the message's own. */
  readonly header: () => Omit<ResponseHeader, "revision">;
  readonly onFailure: (error: unknown) => void;
  /** Serves a stream that looks on at an election. */
  readonly observe: (name: Uint8Array, outlet: WatchOutlet) => Pick<ServedWatch, "resume" | "close">;
}

interface Open {
  readonly requireLeader: boolean;
  end(error: StoreError): void;
}

export class Watches {
  readonly #o: WatchesOptions;
  readonly #hub: WatchHub;
  readonly #open = new Set<Open>();
  #timer: Timer | undefined;
  #looks = 0;
  /** Streams that were not taken, or ended, because there were too many. */
  refused = 0;

  constructor(options: WatchesOptions) {
    this.#o = options;
    this.#hub = new WatchHub(options);
  }

  get streams(): number {
    return this.#hub.streams;
  }

  get watchers(): number {
    return this.#hub.watchers;
  }

  get slowWatchers(): number {
    return this.#hub.slowWatchers;
  }

  start(): void {
    this.#timer = this.#o.clock.every(this.#o.electionTimeoutMs, () => this.#look());
  }

  /** An entry was applied. */
  published(): void {
    this.#hub.published();
  }

  /** A snapshot took the place of the state. */
  replace(source: WatchSource): void {
    this.#hub.replace(source);
  }

  /** Takes a stream in; if it is refused, `ended` tells why, in a later turn. */
  open(outlet: WatchOutlet, { requireLeader = false }: WatchOptions): ServedWatch {
    const { clock, isLearner, header, observe } = this.#o;
    let refused: StoreError | undefined;
    if (isLearner()) refused = new StoreError("NOT_SUPPORTED_FOR_LEARNER");
    else if (requireLeader && this.#isWithoutLeader) refused = new StoreError("NO_LEADER");
    else if (this.#open.size >= this.#o.maxWatchers) refused = this.#tooMany();
    if (refused !== undefined) {
      const error = refused;
      clock.defer(() => outlet.ended(error));
      return { request() {}, resume() {}, close() {} };
    }
    const stream = this.#hub.open({
      get writable() {
        return outlet.writable;
      },
      send: ({ revision: at, ...news }) => outlet.send({ header: { ...header(), revision: revision(at) }, ...news }),
    });
    let observer: Pick<ServedWatch, "resume" | "close"> | undefined;
    const close = (): void => {
      this.#open.delete(open);
      stream.close();
      observer?.close();
    };
    const open: Open = {
      requireLeader,
      end: (error) => {
        close();
        outlet.ended(error);
      },
    };
    this.#open.add(open);
    return {
      request: (request: WatchRequest) => {
        switch (request.kind) {
          case "create":
            if (this.#hub.watchers < this.#o.maxWatchers) return stream.create(request);
            return open.end(this.#tooMany());
          case "cancel":
            return stream.cancel(request.watchId);
          case "progress":
            return stream.progress();
          case "observe":
            if (observer !== undefined) return open.end(new StoreError("INVALID_REQUEST"));
            observer = observe(request.name, {
              get writable() {
                return outlet.writable;
              },
              send: (response) => outlet.send(response),
              ended: (error) => open.end(error),
            });
            return;
          default:
            request satisfies never;
            open.end(new StoreError("INVALID_REQUEST"));
        }
      },
      resume: () => {
        stream.resume();
        observer?.resume();
      },
      close,
    };
  }

  /** The member stops. */
  end(error: StoreError): void {
    this.#timer?.cancel();
    for (const open of [...this.#open]) open.end(error);
    this.#hub.stop();
  }

  /** As a killed process: without a word. */
  stop(): void {
    this.#timer?.cancel();
    this.#open.clear();
    this.#hub.stop();
  }

  get #isWithoutLeader(): boolean {
    return this.#looks >= LOOKS_WITHOUT_LEADER && !this.#o.hasLeader();
  }

  #tooMany(): StoreError {
    this.refused += 1;
    return new StoreError("TOO_MANY_REQUESTS");
  }

  #look(): void {
    this.#looks = this.#o.hasLeader() ? 0 : this.#looks + 1;
    if (!this.#isWithoutLeader) return;
    for (const open of [...this.#open]) if (open.requireLeader) open.end(new StoreError("NO_LEADER"));
  }
}
