/**
 * The queue that locks and elections share, laid out as etcd's (etcd-semantics 6.2 and 6.3): each session stands in it
 * with one key, `<name>/<lease in hexadecimal>`, and whose key is the oldest has its turn. The key's create revision is
 * its place, and its holder's fencing token.
 */

import { concatBytes, encodeUtf8, toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { LeaseId, Revision } from "../base/ids.ts";
import { bytesOf, type GetOptions, invalid } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Bounds } from "./bounds.ts";
import type { Session } from "./session.ts";

/** Under which the keys of a lock or an election lie. As in etcd, the queue of `a` holds that of `a/b` too: avoid such names. */
export function prefixOf(name: string | Uint8Array, what: string): Uint8Array {
  const bytes = bytesOf(name, `name of ${what}`);
  if (bytes.length === 0) throw invalid(`${what} needs a name`);
  return concatBytes([bytes, encodeUtf8("/")]);
}

/** As Go prints a lease with %x: signed, and without padding. */
export function keyOf(prefix: Uint8Array, lease: LeaseId): Uint8Array {
  return concatBytes([prefix, encodeUtf8(lease.toString(16))]);
}

/** What one session stands for with one key: whoever of it leaves last takes the key away. */
export interface Claim {
  /** Gives it back; true if nobody else of this session has one. */
  release(): boolean;
}

const claims = new WeakMap<Session, Map<string, number>>();

export function claim(session: Session, key: Uint8Array): Claim {
  const name = toByteString(key);
  const mine = claims.get(session) ?? new Map<string, number>();
  claims.set(session, mine);
  mine.set(name, (mine.get(name) ?? 0) + 1);
  let isHeld = true;
  return {
    release() {
      const left = (mine.get(name) ?? 0) - (isHeld ? 1 : 0);
      isHeld = false;
      if (left === 0) mine.delete(name);
      else mine.set(name, left);
      return left === 0;
    },
  };
}

/** Who has the turn. */
export const FIRST: GetOptions = { prefix: true, sort: { by: "create", order: "ascend" }, limit: 1 };

/** Waits until nobody is left who came before `place`. The answer that said so. */
export async function waitTurn(
  client: ClientView,
  prefix: Uint8Array,
  place: Revision,
  bounds: Bounds,
): Promise<ResponseHeader> {
  for (;;) {
    // Only the one right before: when it goes, one of those who wait wakes, not all.
    const { header, kvs } = await bounds.persist((call) =>
      client.get(prefix, {
        ...{ prefix: true, sort: { by: "create", order: "descend" }, limit: 1, maxCreateRevision: place - 1 },
        ...call,
      }),
    );
    const before = kvs[0];
    if (before === undefined) return header;
    await gone(client, before.key, header.revision, bounds);
  }
}

/** Waits until the key is deleted, seen from `revision` on. */
async function gone(client: ClientView, key: Uint8Array, revision: Revision, bounds: Bounds): Promise<void> {
  await bounds.persist(async ({ signal }) => {
    await using watch = client.watch(key, { startRevision: revision, noPut: true, signal });
    try {
      for await (const { events } of watch) if (events.some(({ type }) => type === "delete")) return;
    } catch (error) {
      // What happened since is forgotten: reading anew tells.
      if (!StoreError.is(error, "COMPACTED")) throw error;
    }
  });
}
