/** Which times to live a lease may have (etcd-semantics 5.2). Seconds, as everywhere in leases but for deadlines. */
import { StoreError } from "../base/errors.ts";

/** About 285 years: etcd's limit. */
export const TTL_MAX = 9_000_000_000;

/** Below it, a lease could end while an election keeps its holder from renewing it. */
export function minimumTtl(electionTimeoutMs: number): number {
  return Math.ceil((1.5 * electionTimeoutMs) / 1000);
}

/**
 * The TTL that a request gets: raised to the minimum in silence, as etcd does. The server asks *before* proposing: the
 * minimum follows from its options, which two members may have different, so it can have no part in applying an entry.
 * Throws `LEASE_TTL_TOO_LARGE`, `INVALID_REQUEST`.
 */
export function effectiveTtl(requested: number, electionTimeoutMs: number): number {
  if (!Number.isSafeInteger(requested)) {
    throw new StoreError("INVALID_REQUEST", { message: "quorate: the request is malformed: TTL" });
  }
  if (requested > TTL_MAX) throw new StoreError("LEASE_TTL_TOO_LARGE");
  return Math.max(requested, minimumTtl(electionTimeoutMs));
}
