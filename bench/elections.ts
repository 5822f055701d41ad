/**
 * How long watchers wait through elections: the leader is killed again and again under puts, and each put's watcher is timed,
 * from the put's beginning. Bound: the time until the cluster takes writes again, and two heartbeats.
 */
import { setTimeout as delay } from "node:timers/promises";
import { agreedLeader, GIVE_UP_MS, until } from "../scripts/cluster.ts";
import type { ClusterReady } from "../src/cli/launcher.ts";
import { connect } from "../src/node/connect.ts";
import { DEFAULTS } from "../src/server/options.ts";

export interface ElectionsOptions {
  readonly ready: ClusterReady;
  /** By name: the members' processes as they are now. */
  readonly pids: ReadonlyMap<string, number>;
  readonly rounds: number;
  /** Spread over the members, the leader among them. */
  readonly watchers: number;
  /** Puts a second. */
  readonly rate: number;
}

export interface ElectionRound {
  /** From the kill to the first acknowledgement of a put that began after it. */
  readonly failOverMs: number;
  /** Longest time from a put's beginning to its watcher, of those that began before the cluster took writes again. */
  readonly propagationMs: number;
  /** By how much that is beyond the bound; below 0: within it. */
  readonly beyondMs: number;
  readonly puts: number;
}

const CONNECTIONS = 12;
const BEFORE_MS = 500;
const AFTER_MS = 500;

interface Put {
  readonly begun: number;
  acknowledged: number | undefined;
  told: number | undefined;
}

export async function elections(options: ElectionsOptions): Promise<readonly ElectionRound[]> {
  const { ready, pids, rounds, watchers, rate } = options;
  const endpoints = ready.members.map(({ clientUrl }) => clientUrl);
  const writer = await connect({ endpoints });
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect({ endpoints })));
  const puts = new Map<string, Put>();
  const watches = Array.from({ length: watchers }, (_, i) => clients[i % CONNECTIONS]!.watch(`e/${i}`));
  await Promise.all(watches.map((watch) => watch.opened()));
  const readers = watches.map(async (watch) => {
    for await (const { events } of watch) {
      for (const { kv } of events) {
        const put = puts.get(kv.text());
        if (put !== undefined) put.told ??= performance.now();
      }
    }
  });

  let sent = 0;
  const underWay = new Set<Promise<void>>();
  const write = async (until: () => boolean): Promise<void> => {
    for (let due = performance.now(); !until(); due += 1_000 / rate) {
      const wait = due - performance.now();
      if (wait > 1) await delay(wait);
      const name = String(sent);
      const put: Put = { begun: performance.now(), acknowledged: undefined, told: undefined };
      puts.set(name, put);
      const call = writer
        .put(`e/${(sent * 7_919) % watchers}`, name, { timeoutMs: GIVE_UP_MS })
        .then(() => {
          put.acknowledged = performance.now();
        })
        .catch(() => {}) // nothing is claimed about it
        .finally(() => underWay.delete(call));
      underWay.add(call);
      sent += 1;
    }
  };

  const results: ElectionRound[] = [];
  for (let round = 1; round <= rounds; round++) {
    const leader = await agreedLeader(writer, ready);
    puts.clear();
    let isOver = false;
    const writing = write(() => isOver);
    await delay(BEFORE_MS);
    const killedAt = performance.now();
    const old = pids.get(leader)!;
    process.kill(old, "SIGKILL");
    const back = (): number | undefined => {
      const times = [...puts.values()].filter(({ begun }) => begun > killedAt).map(({ acknowledged }) => acknowledged);
      const known = times.filter((at) => at !== undefined);
      return known.length === 0 ? undefined : Math.min(...known);
    };
    await until(() => back() !== undefined, `round ${round}: a write after the death of ${leader}`);
    const backAt = back()!;
    await delay(AFTER_MS);
    isOver = true;
    await writing;
    await Promise.all(underWay);
    const judged = [...puts.values()].filter(
      ({ begun, acknowledged }) => acknowledged !== undefined && begun < backAt && acknowledged >= killedAt,
    );
    await until(
      () => judged.every(({ told }) => told !== undefined),
      `round ${round}: what was acknowledged, at watchers`,
    );
    const failOverMs = backAt - killedAt;
    const propagationMs = Math.max(...judged.map(({ begun, told }) => told! - begun));
    const beyondMs = propagationMs - failOverMs - 2 * DEFAULTS.heartbeatMs;
    results.push({
      failOverMs: Math.round(failOverMs),
      propagationMs: Math.round(propagationMs),
      beyondMs: Math.round(beyondMs),
      puts: judged.length,
    });
    await until(() => pids.get(leader) !== old, `round ${round}: restart of ${leader}`);
  }
  await Promise.all(watches.map((watch) => watch.close()));
  await Promise.all(readers);
  for (const client of [...clients, writer]) await client.close();
  return results;
}
