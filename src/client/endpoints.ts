/**
 * Whom to ask next. Remembers which endpoints failed lately, so that a call after a leader's death does not wait for a
 * dead one; dials lazily, once for all who wait, and tries the next endpoint when one is slow to answer.
 */
import { StoreError } from "../base/errors.ts";
import type { ClusterId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Channel } from "../protocol/channel.ts";
import { CLOSED, type Route } from "./route.ts";

/** A channel that may know which cluster it leads to. */
export interface DialedChannel extends Channel {
  readonly clusterId?: ClusterId;
}

/** Opens a channel to one endpoint, within `timeoutMs`. Rejects with `StoreError`. */
export type Dial = (endpoint: string, timeoutMs: number) => Promise<DialedChannel>;

export interface EndpointsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly endpoints: readonly string[];
  readonly dial: Dial;
  readonly dialTimeoutMs: number;
}

/** An endpoint that does not answer is not waited for alone: after as long the next one is tried too. */
const NEXT_AFTER_MS = 150;
/** How long a failure counts against an endpoint. It is never excluded: when all have failed, the oldest failure goes first. */
const REMEMBERED_MS = 10_000;
/** Endpoints beside the configured ones that were asked by name (`status`, `hashKv`): no more than these stay known. */
const NAMED_MAX = 64;

class Target {
  readonly endpoint: string;
  channel: DialedChannel | undefined;
  dialing: Promise<DialedChannel> | undefined;
  failedAt: number | undefined;

  constructor(endpoint: string) {
    this.endpoint = endpoint;
  }
}

export class Endpoints implements Route {
  readonly #o: EndpointsOptions;
  readonly #ring: readonly Target[];
  readonly #named = new Map<string, Target>();
  #at: number;
  #current: DialedChannel | undefined;
  #connecting: Promise<DialedChannel> | undefined;
  #clusterId: ClusterId | undefined;
  #closed = false;

  constructor(options: EndpointsOptions) {
    this.#o = options;
    this.#ring = [...new Set(options.endpoints)].map((endpoint) => new Target(endpoint));
    // Clients with the same list shall not all ask the same member.
    this.#at = Math.floor(options.random.next() * this.#ring.length);
  }

  get size(): number {
    return this.#ring.length;
  }

  get current(): Channel | undefined {
    return this.#current;
  }

  connect(): Promise<Channel> {
    if (this.#current !== undefined) return Promise.resolve(this.#current);
    if (this.#connecting !== undefined) return this.#connecting;
    const connecting = this.#connectAny().then(
      ([target, channel]) => {
        this.#connecting = undefined;
        if (this.#closed) throw closedError();
        this.#at = this.#ring.indexOf(target);
        this.#current = channel;
        return channel;
      },
      (error) => {
        this.#connecting = undefined;
        throw error;
      },
    );
    this.#connecting = connecting;
    return connecting;
  }

  async connectTo(endpoint: string): Promise<Channel> {
    const known = this.#ring.find((target) => target.endpoint === endpoint) ?? this.#named.get(endpoint);
    if (known !== undefined) return known.channel ?? this.#dial(known);
    for (const [name, { channel, dialing }] of this.#named) {
      if (this.#named.size < NAMED_MAX) break;
      if (dialing !== undefined) continue;
      channel?.close();
      this.#named.delete(name);
    }
    const target = new Target(endpoint);
    this.#named.set(endpoint, target);
    return this.#dial(target);
  }

  failed(channel: Channel): void {
    const target = this.#ring.find((each) => each.channel === channel);
    if (target !== undefined) target.failedAt = this.#o.clock.now();
    if (this.#current !== channel) return;
    this.#current = undefined;
    this.#at = (this.#at + 1) % this.#ring.length;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#current = undefined;
    for (const target of [...this.#ring, ...this.#named.values()]) {
      target.channel?.close();
      target.channel = undefined;
    }
  }

  #connectAny(): Promise<[Target, DialedChannel]> {
    const order = this.#order();
    const reasons: unknown[] = [];
    return new Promise((resolve, reject) => {
      let next = 0;
      let underWay = 0;
      let settled = false;
      let slow: Timer | undefined;
      const tryNext = (): void => {
        slow?.cancel();
        const target = order[next++];
        if (target === undefined || settled) return;
        underWay += 1;
        const dialing = target.channel === undefined ? this.#dial(target) : Promise.resolve(target.channel);
        if (next < order.length) slow = this.#o.clock.after(NEXT_AFTER_MS, tryNext);
        dialing.then(
          (channel) => {
            // One that answers after another did stays open: it is the next to turn to.
            if (settled) return;
            settled = true;
            slow?.cancel();
            resolve([target, channel]);
          },
          (error) => {
            underWay -= 1;
            reasons.push(error);
            if (settled) return;
            if (next < order.length) tryNext();
            else if (underWay === 0) {
              settled = true;
              reject(noneAnswered(reasons));
            }
          },
        );
      };
      tryNext();
    });
  }

  /** Those that did not fail lately, in turn; then the others, the oldest failure first. */
  #order(): readonly Target[] {
    const since = this.#o.clock.now() - REMEMBERED_MS;
    const turn = [...this.#ring.slice(this.#at), ...this.#ring.slice(0, this.#at)];
    const failedLately = (target: Target): boolean => target.failedAt !== undefined && target.failedAt > since;
    return [
      ...turn.filter((target) => !failedLately(target)),
      ...turn.filter(failedLately).sort((a, b) => a.failedAt! - b.failedAt!),
    ];
  }

  #dial(target: Target): Promise<DialedChannel> {
    if (target.dialing !== undefined) return target.dialing;
    const { clock, dial, dialTimeoutMs } = this.#o;
    const dialing = dial(target.endpoint, dialTimeoutMs).then(
      (channel) => {
        target.dialing = undefined;
        if (this.#closed) {
          channel.close();
          throw closedError();
        }
        this.#check(target, channel);
        target.channel = channel;
        target.failedAt = undefined;
        void channel.closed.then(() => this.#gone(target, channel));
        return channel;
      },
      (error) => {
        target.dialing = undefined;
        target.failedAt = clock.now();
        throw error;
      },
    );
    target.dialing = dialing;
    return dialing;
  }

  /** A wrong address must not write into another cluster. Which one is right, only the configured endpoints say. */
  #check(target: Target, channel: DialedChannel): void {
    if (channel.clusterId === undefined) return;
    if (this.#ring.includes(target)) this.#clusterId ??= channel.clusterId;
    if (this.#clusterId === undefined || channel.clusterId === this.#clusterId) return;
    channel.close();
    target.failedAt = this.#o.clock.now();
    throw new StoreError("CLUSTER_MISMATCH", {
      message: `etcdserver: cluster ID mismatch (${target.endpoint} belongs to another cluster than the other endpoints)`,
      details: { expected: this.#clusterId, found: channel.clusterId },
    });
  }

  #gone(target: Target, channel: DialedChannel): void {
    if (target.channel !== channel) return;
    this.failed(channel);
    target.channel = undefined;
    target.failedAt = this.#o.clock.now();
  }
}

/** Whether the same attempt may succeed a moment later: not with another protocol, nor in another cluster. */
export function mayPass(error: unknown): boolean {
  return !StoreError.is(error) || error.code === "UNAVAILABLE" || error.code === "CONNECTION_LOST";
}

/** All reasons in one error. As long as one of the endpoints may come back, so may the whole. */
function noneAnswered(reasons: readonly unknown[]): unknown {
  if (reasons.length === 1 || !reasons.some(mayPass)) return reasons.at(-1);
  const texts = reasons.map((reason) => textOf(reason));
  return new StoreError("UNAVAILABLE", { message: `quorate: ${[...new Set(texts)].join("; ")}`, cause: reasons[0] });
}

/** Without our own mark, to stand within another text. */
export function textOf(error: unknown): string {
  return error instanceof Error ? error.message.replace(/^quorate: /, "") : String(error);
}

function closedError(): StoreError {
  return new StoreError("CANCELLED", { message: CLOSED });
}
