/** What a member is opened with, and the defaults, in one place. Units in the names. */
import type { ClusterId, MemberId } from "../base/ids.ts";
import type { World } from "../platform/world.ts";
import type { Member } from "../protocol/key-value.ts";
import type { Network } from "../transport/network.ts";
import type { AutoCompactionMode } from "./auto-compactor.ts";

export interface StaticMember {
  readonly name: string;
  readonly peerUrl: string;
  readonly clientUrl?: string | undefined;
}

/** Consulted only while the directory is empty, except that a directory of another cluster is refused. */
export type Bootstrap =
  /** A cluster of one with a random id. */
  | { readonly kind: "alone" }
  /** Every member starts with the same list; ids follow from token and names. */
  | {
      readonly kind: "static";
      readonly token: string;
      readonly members: readonly StaticMember[];
      /** An operator's word that this member never held data: it votes without hearing every other member first. */
      readonly skipWaitForPeers?: boolean | undefined;
    }
  /** Added to a running cluster by `memberAdd`, which gave the id. */
  | {
      readonly kind: "join";
      readonly id: MemberId;
      readonly clusterId: ClusterId;
      readonly members: readonly Member[];
    };

export interface ServerOptions {
  readonly name: string;
  readonly bootstrap: Bootstrap;
  /** Absent: nothing listens for clients; only in-process calls. "ws://127.0.0.1:0" takes a free port. */
  readonly listenClientUrl?: string | undefined;
  /** Absent: no peers can reach it (a member alone, until it is given one). */
  readonly listenPeerUrl?: string | undefined;
  readonly tickMs?: number | undefined;
  readonly heartbeatMs?: number | undefined;
  readonly electionTimeoutMs?: number | undefined;
  readonly secret?: string | undefined;
  readonly allowedOrigins?: readonly string[] | undefined;
  readonly maxRequestBytes?: number | undefined;
  readonly maxTxnOps?: number | undefined;
  readonly flushIntervalMs?: number | undefined;
  readonly flushBytes?: number | undefined;
  readonly trailingEntries?: number | undefined;
  readonly trailingBytes?: number | undefined;
  readonly maxPendingProposals?: number | undefined;
  readonly maxPendingBytes?: number | undefined;
  readonly requestTimeoutMs?: number | undefined;
  /** How long a lease goes without a keep-alive before what it has left is committed. */
  readonly leaseCheckpointIntervalMs?: number | undefined;
  /** How long a client's registration, which makes its writes apply once, outlives its last write. */
  readonly clientIdleMs?: number | undefined;
  /** How often an idle watch that asked for it hears how far it is: etcd's `watch-progress-notify-interval`. */
  readonly watchProgressIntervalMs?: number | undefined;
  /** Watchers of this member, on all connections: what one more gets is `TOO_MANY_REQUESTS`. */
  readonly maxWatchers?: number | undefined;
  /** By time or by count of revisions: etcd's `auto-compaction-mode`. */
  readonly autoCompactionMode?: AutoCompactionMode | undefined;
  /** What is kept: hours or a period such as "10m", or revisions; 0 compacts only on request. One hour by default. */
  readonly autoCompactionRetention?: string | number | undefined;
  /** How often the revision is looked at where `autoCompactionMode` is "revision". */
  readonly autoCompactionIntervalMs?: number | undefined;
  /** Bytes of records above which writes are refused: 0 stands for etcd's 2 GiB, and what is below 0 for no quota. */
  readonly quotaBytes?: number | undefined;
  /** "joint": every change of members goes through a joint phase, also where one step would do. To test that phase. */
  readonly membershipTransition?: "auto" | "joint" | undefined;
}

/** The world of a whole member: what the platform gives, and the network. */
export interface ServerWorld extends World {
  readonly network: Network;
}

/** What a bad number would silently lift, or turn into a refusal of everything. */
export const LIMITS = [
  "maxRequestBytes",
  "maxTxnOps",
  "maxPendingProposals",
  "maxPendingBytes",
  "maxWatchers",
] as const;

export const DEFAULTS = {
  tickMs: 20,
  heartbeatMs: 100,
  electionTimeoutMs: 1_000,
  maxRequestBytes: 1_572_864,
  maxTxnOps: 128,
  flushIntervalMs: 1_000,
  flushBytes: 8_388_608,
  trailingEntries: 5_000,
  trailingBytes: 16_777_216,
  maxPendingProposals: 50_000,
  maxPendingBytes: 134_217_728,
  leaseCheckpointIntervalMs: 300_000,
  clientIdleMs: 600_000,
  watchProgressIntervalMs: 600_000,
  maxWatchers: 262_144,
  autoCompactionMode: "periodic",
  autoCompactionIntervalMs: 300_000,
  quotaBytes: 0,
  membershipTransition: "auto",
} as const;
