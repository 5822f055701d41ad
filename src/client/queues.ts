/** etcd's lock and election services, as a client asks for them: `client.locks` and `client.elections`. */
import { type Deferred, deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { LeaseId, Revision } from "../base/ids.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Channel, WatchStream } from "../protocol/channel.ts";
import type { KeyValue, ResponseHeader } from "../protocol/key-value.ts";
import type { LeaderKey, Request } from "../protocol/requests.ts";
import type { Response, ResultOf } from "../protocol/responses.ts";
import type { WatchResponse } from "../protocol/watch.ts";
import type { RequestOptions } from "./client.ts";
import { bytesOf, StoredKeyValue } from "./kv.ts";
import { below, strippedKeyValue } from "./prefix.ts";
import { isMemberTrouble, mayRetry, pauseMs } from "./retry.ts";

export interface TurnOptions {
  /** Gives the place in the queue up, and ends the call with `CANCELLED`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds to wait at most, then `DEADLINE_EXCEEDED` or `TIMEOUT`. Default: as long as it takes. */
  readonly timeoutMs?: number | undefined;
  /** Under which the key lies. Default: one of 60 seconds, granted by the member and kept alive by nobody. */
  readonly lease?: LeaseId | undefined;
}

export interface LockAnswer {
  readonly header: ResponseHeader;
  /** What `unlock` takes: `<name>/<lease in hexadecimal>`. It is there for as long as the lock is held. */
  readonly key: Uint8Array;
  /** The fencing token: the key's create revision. */
  readonly token: Revision;
}

export interface CampaignAnswer {
  readonly header: ResponseHeader;
  readonly leader: LeaderKey;
}

export interface LeaderAnswer {
  readonly header: ResponseHeader;
  readonly kv: StoredKeyValue;
}

export interface QueueHost {
  /** Of a namespace: `send` puts it before names and takes it off answers. */
  readonly prefix: Uint8Array;
  readonly clock: Clock;
  readonly random: Random;
  readonly send: <Q extends Request>(request: Q, options: RequestOptions) => Promise<Response<ResultOf<Q>>>;
  readonly members: () => number;
  readonly channel: () => Promise<Channel>;
  readonly failed: (channel: Channel) => void;
}

/** About 23 days: what a timer holds. */
const WAIT_MS = 2_000_000_000;

/** A member is told when its caller gives up, so that the place goes at once. */
function turnOptions({ signal = new AbortController().signal, timeoutMs = WAIT_MS }: TurnOptions): RequestOptions {
  return { signal, timeoutMs };
}

/**
 * Locks held by a member on the caller's behalf: `client.locks`. One call each, for programs that cannot run a recipe; they
 * stand in one queue with `Mutex` and with Go programs. A lock lasts as long as its lease: keep that alive. Put what must
 * not happen after it ended in a txn guarded by `create(key) = token`.
 */
export class Locks {
  readonly #host: QueueHost;

  /** @internal */
  constructor(host: QueueHost) {
    this.#host = host;
  }

  /**
   * Waits for the lock. The same name and lease again: the same key, at once. Throws `LEASE_NOT_FOUND`; `SESSION_LOST` when
   * the lease ends before; `CANCELLED`, `DEADLINE_EXCEEDED`, `TIMEOUT`, `CONNECTION_LOST`: then the place is given up, at
   * the latest (outcome "unknown") with its lease. To go on waiting, ask again with the same lease.
   *
   * @example
   * const { id: lease } = await client.lease.grant(10);
   * const { key } = await client.locks.lock("jobs/nightly", { lease, signal });
   * await client.locks.unlock(key);
   */
  async lock(name: string | Uint8Array, options: TurnOptions = {}): Promise<LockAnswer> {
    const { lease } = options;
    const request = {
      kind: "lock",
      name: bytesOf(name, "name of a lock"),
      ...(lease === undefined ? {} : { lease }),
    } as const;
    const { header, result } = await this.#host.send(request, turnOptions(options));
    return { header, key: result.key, token: result.token };
  }

  /** Gives a lock up, by the key that `lock` answered. As in etcd, one that is not held is no error. */
  async unlock(key: string | Uint8Array, options: RequestOptions = {}): Promise<{ readonly header: ResponseHeader }> {
    const { header } = await this.#host.send({ kind: "unlock", key: bytesOf(key, "key of a lock") }, options);
    return { header };
  }
}

/** Elections by a member on the caller's behalf: `client.elections`. What is said of `Locks` holds here too. */
export class Elections {
  readonly #host: QueueHost;

  /** @internal */
  constructor(host: QueueHost) {
    this.#host = host;
  }

  /** Stands for election with this value and waits until elected. Again with the same lease: only the value changes. Errors as of `lock`. */
  async campaign(
    name: string | Uint8Array,
    value: string | Uint8Array,
    options: TurnOptions = {},
  ): Promise<CampaignAnswer> {
    const { lease } = options;
    const request = {
      kind: "campaign",
      name: bytesOf(name, "name of an election"),
      value: bytesOf(value, "value"),
      ...(lease === undefined ? {} : { lease }),
    } as const;
    const { header, result } = await this.#host.send(request, turnOptions(options));
    return { header, leader: result.leader };
  }

  /** Changes the leader's value. Throws `ELECTION_NOT_LEADER` when it leads no more, and what a write throws. */
  async proclaim(
    leader: LeaderKey,
    value: string | Uint8Array,
    options: RequestOptions = {},
  ): Promise<{ readonly header: ResponseHeader }> {
    const { header } = await this.#host.send({ kind: "proclaim", leader, value: bytesOf(value, "value") }, options);
    return { header };
  }

  /** Leads no more. As in etcd, one that does not lead resigns nothing. */
  async resign(leader: LeaderKey, options: RequestOptions = {}): Promise<{ readonly header: ResponseHeader }> {
    const { header } = await this.#host.send({ kind: "resign", leader }, options);
    return { header };
  }

  /** Who leads now. Throws `ELECTION_NO_LEADER` where nobody does. */
  async leader(name: string | Uint8Array, options: RequestOptions = {}): Promise<LeaderAnswer> {
    const request = { kind: "leader", name: bytesOf(name, "name of an election") } as const;
    const { header, result } = await this.#host.send(request, options);
    return { header, kv: new StoredKeyValue(result.kv) };
  }

  /**
   * Who leads: the leader there is, then each change, for ever, over lost connections and members. Always ends with the
   * newest; a slow reader misses what lies between. Ends when it is left, with `CANCELLED` when `signal` aborts or the
   * client is closed.
   *
   * @example
   * for await (const { kv } of client.elections.observe("scheduler", { signal })) console.log("leader:", kv.text());
   */
  async *observe(
    name: string | Uint8Array,
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<LeaderAnswer, void, undefined> {
    const { clock, random, prefix, channel: connected, members, failed } = this.#host;
    const bytes = below(prefix, bytesOf(name, "name of an election"));
    let told = 0;
    for (let attempts = 1; ; attempts++) {
      let channel: Channel | undefined;
      try {
        channel = await orAborted(connected(), signal);
        for await (const { header, kv } of newest(channel, bytes, signal)) {
          attempts = 1;
          // Not once more what another member told, nor what was before it.
          if (kv.modRevision <= told) continue;
          told = kv.modRevision;
          yield { header, kv: new StoredKeyValue(strippedKeyValue(prefix, kv)) };
        }
      } catch (error) {
        if (channel !== undefined && isMemberTrouble(error)) failed(channel);
        if (!mayRetry({ kind: "leader", name: bytes }, error, 0, members())) throw error;
      }
      await orAborted(
        new Promise<void>((resolve) => clock.after(pauseMs(attempts, members(), random.next()), resolve)),
        signal,
      );
    }
  }
}

function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new StoreError("CANCELLED", { cause: signal.reason }));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** What a member tells of an election, the newest only. Ends as the stream does. */
async function* newest(
  channel: Channel,
  name: Uint8Array,
  signal: AbortSignal | undefined,
): AsyncGenerator<{ readonly header: ResponseHeader; readonly kv: KeyValue }, void, undefined> {
  let latest: { readonly response: WatchResponse; readonly bytes: number } | undefined;
  let ended: StoreError | undefined;
  let woken: Deferred<void> = deferred();
  const end = (error: StoreError): void => {
    ended ??= error;
    woken.resolve();
  };
  const onAbort = (): void => end(new StoreError("CANCELLED", { cause: signal?.reason }));
  signal?.addEventListener("abort", onAbort, { once: true });
  const stream: WatchStream = channel.watch(
    {
      receive: (response, bytes) => {
        if (latest !== undefined) stream.consumed(latest.bytes);
        latest = { response, bytes };
        woken.resolve();
      },
      ended: end,
    },
    { requireLeader: true },
  );
  stream.request({ kind: "observe", name });
  try {
    for (;;) {
      await woken.promise;
      woken = deferred();
      if (latest !== undefined) {
        const { response, bytes } = latest;
        latest = undefined;
        stream.consumed(bytes);
        const [event] = response.events;
        if (event !== undefined) yield { header: response.header, kv: event.kv };
      }
      if (ended !== undefined) throw ended;
    }
  } finally {
    signal?.removeEventListener("abort", onAbort);
    stream.close();
  }
}
