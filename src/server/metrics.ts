/** Every figure a member keeps about itself, in one list. The shell renders them under etcd's names (node/metrics.ts). */
import type { Alarm } from "../protocol/responses.ts";

/** A histogram's door: the shell decides on buckets. */
export type Observe = (seconds: number) => void;

export interface MetricsSink {
  readonly walFsync: Observe;
  readonly stateFlush: Observe;
  readonly peerRoundTrip: (peer: bigint, seconds: number) => void;
  /** The whole page as Prometheus text; `figures` are read at that moment. */
  render(figures: () => Figures): Promise<string>;
}

export interface Figures {
  readonly hasLeader: boolean;
  readonly isLeader: boolean;
  readonly isLearner: boolean;
  readonly leaderChanges: number;
  readonly proposalsCommitted: number;
  readonly proposalsApplied: number;
  readonly proposalsPending: number;
  readonly proposalsFailed: number;
  readonly dbSizeBytes: number;
  readonly dbSizeInUseBytes: number;
  /** 0: none. */
  readonly quotaBytes: number;
  readonly alarms: readonly Alarm[];
  readonly leases: number;
  readonly leasesGranted: number;
  readonly leasesRevoked: number;
  readonly leasesExpired: number;
  /** By this member as the leader. */
  readonly leasesRenewed: number;
  readonly walSizeBytes: number;
  /** Applied, and not yet durable in the state: what a flush is about to write, and what came since. */
  readonly stateUnflushedBytes: number;
  /** Of the log in memory: what lies before was released. */
  readonly firstIndex: number;
  readonly keys: number;
  readonly revision: number;
  readonly compactRevision: number;
  readonly puts: number;
  readonly deletes: number;
  readonly txns: number;
  readonly ranges: number;
  /** The request ledger: clients registered since the start, writes that were repeated and answered from memory. */
  readonly registrations: number;
  readonly ledgerHits: number;
  readonly ledgerClients: number;
  /** Operations that their clients have not acknowledged yet, and the bytes of their results. */
  readonly ledgerOperations: number;
  readonly ledgerResultBytes: number;
  readonly slowDisk: number;
  readonly watchStreams: number;
  readonly watchers: number;
  /** Watchers that have not seen everything yet. */
  readonly slowWatchers: number;
  /** Watch streams that were not taken, or ended, because there were too many watchers. */
  readonly watchesRefused: number;
  readonly snapshotsSent: number;
  readonly snapshotsInstalled: number;
  readonly peersConnected: number;
  readonly peersKnown: number;
}

export const noMetrics: MetricsSink = {
  walFsync() {},
  stateFlush() {},
  peerRoundTrip() {},
  render: async () => "",
};
