/** Something that is done once for a whole cluster, whoever comes first. */
import { StoreError } from "../base/errors.ts";
import type { Revision } from "../base/ids.ts";
import { bytesOf, invalid } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import { compare, op } from "../client/txn.ts";
import type { Compare } from "../protocol/requests.ts";
import { Bounds, type WaitOptions } from "./bounds.ts";
import { Mutex } from "./mutex.ts";
import { Session } from "./session.ts";

export interface InitializeOptions extends WaitOptions {
  /** Seconds after which another takes over from one that died half-way. Default 10. */
  readonly ttl?: number | undefined;
}

/** What the function is given. */
export interface Initializing {
  /** Aborts when another may take over: then stop. */
  readonly signal: AbortSignal;
  /** The fencing token: above that of whoever tried before. */
  readonly token: Revision;
  /** For the `if` of its writes: none lands after another has taken over. */
  isOwner(): Compare;
}

const TTL = 10;

/**
 * Runs `fn` once per cluster, however many processes ask at the same time. Whoever comes while it runs waits; whoever comes
 * later returns at once. True if it was this call's run that counted. That it was done stays in the key `name` (its value: the token of the run);
 * the turns are taken with a `Mutex` of the same name.
 *
 * A process that dies half-way lets another begin anew, so what `fn` does should be safe to do again; guard its writes with
 * `isOwner()`. When `fn` throws, so does this call, and another may try. Throws `SESSION_LOST` with outcome "unknown" where
 * `fn` ran, but lost its turn before that could be written down.
 *
 * @example
 * await initializeOnce(client, "setup/v1", async ({ isOwner }) => {
 *   await client.txn().if(isOwner()).then(op.put("config/limit", "100")).commit();
 * });
 */
export async function initializeOnce(
  client: ClientView,
  name: string | Uint8Array,
  fn: (run: Initializing) => Promise<void> | void,
  options: InitializeOptions = {},
): Promise<boolean> {
  const { ttl = TTL, ...wait } = options;
  const marker = bytesOf(name, "name of an initialization");
  if (marker.length === 0) throw invalid("an initialization needs a name");
  if (!Number.isSafeInteger(ttl) || ttl < 1)
    throw invalid(`ttl must be a whole number of seconds from 1 on, not ${ttl}`);
  using bounds = new Bounds(client, wait);
  const isDone = async (): Promise<boolean> =>
    (await bounds.persist((call) => client.get(marker, { countOnly: true, ...call }))).count > 0;

  for (;;) {
    if (await isDone()) return false;
    // A lease that was granted without an answer ends by itself.
    await using session = await bounds.persist((call) => Session.open(client, { ttl, ...call }));
    const mutex = new Mutex(session, marker);
    try {
      await mutex.lock({ signal: bounds.signal });
    } catch (error) {
      if (bounds.ended !== undefined) throw bounds.ended;
      // Cut off for as long as the TTL before its turn came: nothing was done, so it stands again.
      if (StoreError.is(error, "SESSION_LOST")) continue;
      throw error;
    }
    if (await isDone()) return false;
    await fn({ signal: session.signal, token: mutex.token!, isOwner: () => mutex.isOwner() });
    // The value tells whose turn it was that counted.
    const mine = String(mutex.token);
    const { succeeded } = await bounds.persist((call) =>
      client
        .txn(call)
        .if(mutex.isOwner(), compare.createRevision(marker, "=", 0))
        .then(op.put(marker, mine))
        .commit(),
    );
    if (succeeded) return true;
    // An attempt without an answer may have written it; else somebody who took over has, or will.
    const { kvs } = await bounds.persist((call) => client.get(marker, call));
    if (kvs[0] !== undefined) return kvs[0].text() === mine;
    throw new StoreError("SESSION_LOST", {
      outcome: "unknown",
      message: "quorate: the session was lost while initializing: another may have taken over",
      details: { leaseId: session.lease },
    });
  }
}
