/**
 * What a member measures of itself while it runs. The page of all figures, and the library that writes it, come with the
 * first who asks for it: most embedding programs never do, and it takes 2 MB and some 50 ms to load. What the library measures
 * of the process (its processor time, its collector) it measures from then on.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { MetricsSink } from "../server/metrics.ts";
import { Histogram } from "./histogram.ts";
import type { MetricsPage } from "./metrics-page.ts";

export function prometheusMetrics(): MetricsSink & { close(): void } {
  const fsync = new Histogram("etcd_disk_wal_fsync_duration_seconds", "time of one synchronous log write", 0.001, 14);
  const flush = new Histogram("etcd_disk_backend_commit_duration_seconds", "time of one state flush", 0.001, 14);
  const roundTrip = new Histogram(
    "etcd_network_peer_round_trip_time_seconds",
    "round trip to a peer",
    0.0001,
    16,
    "To",
  );
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  let page: Promise<MetricsPage> | undefined;
  const load = async (): Promise<MetricsPage> => {
    const { MetricsPage } = await import("./metrics-page.ts");
    return new MetricsPage({
      histograms: [fsync, flush, roundTrip],
      delayP99: () => delay.percentile(99) / 1e9,
      delayMax: () => delay.max / 1e9,
    });
  };
  return {
    walFsync: (seconds) => fsync.observe(seconds),
    stateFlush: (seconds) => flush.observe(seconds),
    peerRoundTrip: (peer, seconds) => roundTrip.observe(seconds, peer.toString(16)),
    async render(figures) {
      page ??= load();
      return (await page).render(figures());
    },
    close() {
      delay.disable();
      page?.then(
        (loaded) => loaded.close(),
        () => {}, // who asked for it was told
      );
    },
  };
}
