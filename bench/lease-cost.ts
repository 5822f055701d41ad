/**
 * What keeping very many leases alive costs: CPU time at a constant rate of puts without them, with them, and without them
 * again. The two runs without are averaged, so that a machine that gets faster or slower meanwhile changes little.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Client } from "../src/client/client.ts";
import type { KeepAlive } from "../src/client/lease.ts";
import { cpuSeconds } from "./support/process-stats.ts";

export interface LeaseCostOptions {
  readonly clients: readonly Client[];
  /** Of the members. */
  readonly pids: readonly number[];
  readonly leases: number;
  /** Of each lease. */
  readonly ttlSeconds: number;
  /** Puts a second. */
  readonly rate: number;
  /** Of each of the three runs. At least a third of the TTL, or not every lease is renewed in it. */
  readonly seconds: number;
}

export interface LeaseCost {
  readonly leases: number;
  readonly ttlSeconds: number;
  readonly putsPerSecond: readonly [without: number, withLeases: number, without: number];
  /** CPU seconds of all members for each second of a run. */
  readonly cpu: readonly [without: number, withLeases: number, without: number];
  /** The same of this process, the client. */
  readonly clientCpu: readonly [without: number, withLeases: number, without: number];
  readonly cpuRatio: number;
}

interface Run {
  readonly puts: number;
  readonly cpu: number;
  readonly clientCpu: number;
}

const GRANTS_MAX = 500;

export async function leaseCost(options: LeaseCostOptions): Promise<LeaseCost> {
  const before = await measure(options);
  const kept = await keepAlive(options);
  const withLeases = await measure(options);
  const lost = kept.filter(({ deadline }) => deadline === undefined).length;
  if (lost > 0) throw new Error(`${lost} of ${kept.length} leases were not kept alive`);
  await release(options, kept);
  const after = await measure(options);
  const of = (figure: (run: Run) => number): LeaseCost["cpu"] => [figure(before), figure(withLeases), figure(after)];
  return {
    leases: options.leases,
    ttlSeconds: options.ttlSeconds,
    putsPerSecond: of(({ puts }) => Math.round(puts)),
    cpu: of(({ cpu }) => rounded(cpu)),
    clientCpu: of(({ clientCpu }) => rounded(clientCpu)),
    cpuRatio: rounded(withLeases.cpu / ((before.cpu + after.cpu) / 2)),
  };
}

/** Begun over a third of the TTL, as each is renewed so often: renewals then come evenly. */
async function keepAlive({ clients, leases, ttlSeconds }: LeaseCostOptions): Promise<KeepAlive[]> {
  const kept: KeepAlive[] = [];
  const begun = performance.now();
  while (kept.length < leases) {
    const due = begun + (kept.length / leases) * (ttlSeconds / 3) * 1_000;
    const wait = due - performance.now();
    if (wait > 1) await delay(wait);
    const batch = Math.min(GRANTS_MAX / 10, leases - kept.length);
    const grants = Array.from({ length: batch }, async (_, i) => {
      const { lease } = clients[i % clients.length]!;
      return lease.keepAlive((await lease.grant(ttlSeconds, { timeoutMs: 60_000 })).id);
    });
    kept.push(...(await Promise.all(grants)));
  }
  return kept;
}

async function release({ clients }: LeaseCostOptions, kept: readonly KeepAlive[]): Promise<void> {
  for (let first = 0; first < kept.length; first += GRANTS_MAX) {
    const batch = kept.slice(first, first + GRANTS_MAX).map(async (each, i) => {
      await each.return();
      await clients[i % clients.length]!.lease.revoke(each.id, { timeoutMs: 60_000 });
    });
    await Promise.all(batch);
  }
}

async function measure({ clients, pids, rate, seconds }: LeaseCostOptions): Promise<Run> {
  const underWay = new Set<Promise<void>>();
  const begun = performance.now();
  const own = process.cpuUsage();
  const cpu = pids.map(cpuSeconds);
  let sent = 0;
  for (let due = begun; due < begun + seconds * 1_000; due += 1_000 / rate) {
    const wait = due - performance.now();
    if (wait > 1) await delay(wait);
    const put = clients[sent % clients.length]!.put(`cost/${sent % 10_000}`, String(sent), { timeoutMs: 30_000 }).then(
      () => void underWay.delete(put),
    );
    underWay.add(put);
    sent += 1;
  }
  await Promise.all(underWay);
  const took = (performance.now() - begun) / 1_000;
  const { user, system } = process.cpuUsage(own);
  const used = pids.map(cpuSeconds).reduce((sum, now, i) => sum + now - cpu[i]!, 0);
  return { puts: sent / took, cpu: used / took, clientCpu: (user + system) / 1e6 / took };
}

function rounded(value: number): number {
  return Number(value.toFixed(3));
}
