/** A member's figures as Prometheus text, under etcd's names, so that its dashboards and alerts carry over. */
import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from "prom-client";
import type { Figures } from "../server/metrics.ts";
import type { Histogram } from "./histogram.ts";

const GAUGES: readonly [name: string, help: string, read: (f: Figures) => number][] = [
  ["etcd_server_has_leader", "1 if a leader is known", (f) => Number(f.hasLeader)],
  ["etcd_server_is_leader", "1 if this member leads", (f) => Number(f.isLeader)],
  ["etcd_server_is_learner", "1 if this member is a learner", (f) => Number(f.isLearner)],
  ["etcd_server_proposals_committed_total", "last committed index", (f) => f.proposalsCommitted],
  ["etcd_server_proposals_applied_total", "last applied index", (f) => f.proposalsApplied],
  ["etcd_server_proposals_pending", "proposals waiting to be applied", (f) => f.proposalsPending],
  ["etcd_mvcc_db_total_size_in_bytes", "size of the state on disk", (f) => f.dbSizeBytes],
  ["etcd_mvcc_db_total_size_in_use_in_bytes", "size of the state in use", (f) => f.dbSizeInUseBytes],
  ["etcd_server_quota_backend_bytes", "quota of the state, 0 if there is none", (f) => f.quotaBytes],
  ["quorate_leases", "leases that exist", (f) => f.leases],
  ["etcd_debugging_mvcc_keys_total", "live keys", (f) => f.keys],
  ["etcd_debugging_mvcc_current_revision", "current revision", (f) => f.revision],
  ["etcd_debugging_mvcc_compact_revision", "last compacted revision", (f) => f.compactRevision],
  ["quorate_wal_size_bytes", "size of the log on disk", (f) => f.walSizeBytes],
  ["quorate_state_unflushed_bytes", "changes of the state that are not flushed yet", (f) => f.stateUnflushedBytes],
  ["quorate_log_first_index", "first entry not released: who lacks an older one needs a snapshot", (f) => f.firstIndex],
  ["quorate_peers_connected", "peers with a connection", (f) => f.peersConnected],
  ["etcd_debugging_mvcc_watch_stream_total", "watch streams", (f) => f.watchStreams],
  ["etcd_debugging_mvcc_watcher_total", "watchers", (f) => f.watchers],
  ["etcd_debugging_mvcc_slow_watcher_total", "watchers that have not seen everything yet", (f) => f.slowWatchers],
  ["quorate_ledger_clients", "clients registered for exactly-once writes", (f) => f.ledgerClients],
  ["quorate_ledger_operations", "writes not yet acknowledged by their clients", (f) => f.ledgerOperations],
  ["quorate_ledger_result_bytes", "results kept for repeated writes", (f) => f.ledgerResultBytes],
  ["quorate_peers_known", "peers in the membership", (f) => f.peersKnown],
];

const COUNTERS: readonly [name: string, help: string, read: (f: Figures) => number][] = [
  ["etcd_server_leader_changes_seen_total", "leader changes seen", (f) => f.leaderChanges],
  ["etcd_server_proposals_failed_total", "proposals that failed", (f) => f.proposalsFailed],
  ["etcd_mvcc_put_total", "puts applied", (f) => f.puts],
  ["etcd_mvcc_delete_total", "deletes applied", (f) => f.deletes],
  ["etcd_mvcc_txn_total", "txns applied", (f) => f.txns],
  ["etcd_mvcc_range_total", "ranges served", (f) => f.ranges],
  ["etcd_debugging_lease_granted_total", "leases granted", (f) => f.leasesGranted],
  ["etcd_debugging_lease_revoked_total", "leases that ended, whatever ended them", (f) => f.leasesRevoked],
  ["etcd_debugging_lease_renewed_total", "keep-alives that this member answered as the leader", (f) => f.leasesRenewed],
  ["etcd_debugging_server_lease_expired_total", "leases that ended by their time", (f) => f.leasesExpired],
  ["quorate_ledger_registrations_total", "registrations of clients applied", (f) => f.registrations],
  ["quorate_ledger_hits_total", "repeated writes answered without being applied again", (f) => f.ledgerHits],
  ["quorate_slow_disk_writes_total", "log writes longer than an election timeout", (f) => f.slowDisk],
  ["quorate_watches_refused_total", "watch streams refused because of too many watchers", (f) => f.watchesRefused],
  ["quorate_snapshots_sent_total", "snapshots delivered to followers", (f) => f.snapshotsSent],
  ["quorate_snapshots_installed_total", "snapshots installed", (f) => f.snapshotsInstalled],
];

/** What is measured since the start, not read off at the moment. */
export interface Measured {
  readonly histograms: readonly Histogram[];
  /** Of the event loop, in seconds. */
  readonly delayP99: () => number;
  readonly delayMax: () => number;
}

export class MetricsPage {
  readonly #registry = new Registry();
  readonly #gauges: { readonly metric: Gauge; readonly read: (figures: Figures) => number }[];
  readonly #counters: { readonly metric: Counter; readonly read: (figures: Figures) => number }[];
  readonly #alarms: Gauge;
  readonly #delayP99: Gauge;
  readonly #delayMax: Gauge;
  readonly #measured: Measured;

  constructor(measured: Measured) {
    const registers = [this.#registry];
    this.#measured = measured;
    collectDefaultMetrics({ register: this.#registry });
    this.#gauges = GAUGES.map(([name, help, read]) => ({ metric: new Gauge({ name, help, registers }), read }));
    this.#counters = COUNTERS.map(([name, help, read]) => ({ metric: new Counter({ name, help, registers }), read }));
    this.#alarms = new Gauge({
      name: "etcd_debugging_server_alarms",
      help: "1 for each alarm that stands",
      labelNames: ["server_id", "alarm_type"],
      registers,
    });
    // What the registry asks of a metric, they have.
    for (const histogram of measured.histograms) this.#registry.registerMetric(histogram as unknown as Metric);
    this.#delayP99 = new Gauge({
      name: "quorate_event_loop_delay_p99_seconds",
      help: "event loop delay, p99",
      registers,
    });
    this.#delayMax = new Gauge({
      name: "quorate_event_loop_delay_max_seconds",
      help: "event loop delay, maximum",
      registers,
    });
  }

  render(now: Figures): Promise<string> {
    for (const { metric, read } of this.#gauges) metric.set(read(now));
    for (const { metric, read } of this.#counters) {
      metric.reset();
      metric.inc(read(now));
    }
    this.#alarms.reset();
    for (const { member, alarm } of now.alarms) {
      this.#alarms.labels(member.toString(16), alarm.toUpperCase()).set(1);
    }
    this.#delayP99.set(this.#measured.delayP99());
    this.#delayMax.set(this.#measured.delayMax());
    return this.#registry.metrics();
  }

  close(): void {
    this.#registry.clear();
  }
}
