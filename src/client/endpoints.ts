/**
 * Whom to ask next. Remembers which endpoints failed lately, so that a call after a leader's death does not wait for a
 * dead one; dials lazily, once for all who wait, and tries the next endpoint when one is slow to answer. Members say whom
 * they follow, so that a client can turn to the leader, if that is among the endpoints.
 */
import { StoreError } from "../base/errors.ts";
import type { ClusterId, MemberId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Channel, LeaderNews } from "../protocol/channel.ts";
import { CLOSED, type Route } from "./route.ts";

/** A channel that may know which member of which cluster it leads to, and whom that one follows. */
export interface DialedChannel extends Channel {
  readonly clusterId?: ClusterId;
  readonly memberId?: MemberId;
  readonly leader?: LeaderNews | undefined;
  onLeader?: ((leader: LeaderNews) => void) | undefined;
  suspect?(): void;
}

/** Opens a channel to one endpoint, within `timeoutMs`. Rejects with `StoreError`. */
export type Dial = (endpoint: string, timeoutMs: number) => Promise<DialedChannel>;

export interface EndpointsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly endpoints: readonly string[];
  readonly dial: Dial;
  readonly dialTimeoutMs: number;
  /** False: `turnToLeader` does nothing. */
  readonly preferLeader: boolean;
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
  /** Who answered there last. */
  memberId: MemberId | undefined;
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
  /** The newest that any member said. */
  #leader: LeaderNews | undefined;
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

  turnToLeader(): void {
    const leader = this.#leader?.member;
    if (!this.#o.preferLeader || leader === undefined) return;
    if (this.#current === undefined || this.#current.memberId === leader) return;
    const usable = this.#ring.filter((target) => !this.#failedLately(target));
    const found = usable.find(({ channel }) => channel?.memberId === leader);
    if (found !== undefined) {
      this.#current = found.channel;
      this.#at = this.#ring.indexOf(found);
      return;
    }
    // Meanwhile the calls go where they went.
    for (const target of usable) {
      if (target.channel !== undefined || target.dialing !== undefined) continue;
      if (target.memberId !== undefined && target.memberId !== leader) continue;
      this.#dial(target).catch(() => {}); // its failure is noted there
    }
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
    this.#leader = undefined;
    for (const target of [...this.#ring, ...this.#named.values()]) {
      target.channel?.close();
      target.channel = undefined;
    }
  }

  /** What `target` says of its leader. */
  #heard(news: LeaderNews, target: Target): void {
    const known = this.#leader;
    if (known !== undefined && news.term < known.term) return;
    if (known !== undefined && news.term === known.term) {
      // Another member lost sight of the leader, which may lead on. It alone knows that it does not.
      if (news.member === undefined && target.channel?.memberId !== known.member) return;
    } else if (known?.member !== undefined && news.member !== undefined && news.member !== known.member) {
      // Another was elected, maybe because that one hangs: whoever waits for it shall know soon.
      for (const { channel } of this.#ring) if (channel?.memberId === known.member) channel.suspect?.();
    }
    this.#leader = news;
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
    const turn = [...this.#ring.slice(this.#at), ...this.#ring.slice(0, this.#at)];
    return [
      ...turn.filter((target) => !this.#failedLately(target)),
      ...turn.filter((target) => this.#failedLately(target)).sort((a, b) => a.failedAt! - b.failedAt!),
    ];
  }

  #failedLately({ failedAt }: Target): boolean {
    return failedAt !== undefined && failedAt > this.#o.clock.now() - REMEMBERED_MS;
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
        if (this.#ring.includes(target)) this.#listen(target, channel);
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

  #listen(target: Target, channel: DialedChannel): void {
    target.memberId = channel.memberId;
    channel.onLeader = (news) => {
      if (target.channel === channel) this.#heard(news, target);
    };
    if (channel.leader !== undefined) this.#heard(channel.leader, target);
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
