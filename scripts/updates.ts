/**
 * `npm run updates`: ConfigWatchers and raw watches on a real cluster while its leader is killed again and again under
 * writes. Every raw watch must tell every revision exactly once, in order; every ConfigWatcher must end on the newest value.
 */
import type { ChildProcess } from "node:child_process";
import { rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { crc32 } from "../src/base/crc32.ts";
import type { ClusterReady } from "../src/cli/launcher.ts";
import type { Client } from "../src/client/client.ts";
import type { Watch } from "../src/client/watch.ts";
import { ConfigWatcher } from "../src/concurrency/config-watcher.ts";
import { connect } from "../src/node/connect.ts";
import { launch } from "./cluster.ts";

const { values } = parseArgs({
  options: {
    /** Raw watches, and as many ConfigWatchers. */
    watchers: { type: "string", default: "100" },
    kills: { type: "string", default: "20" },
    /** Writes a second. */
    rate: { type: "string", default: "50" },
    json: { type: "boolean", default: false },
  },
});
const [watchers, kills, rate] = [values.watchers, values.kills, values.rate].map(Number);
const CONNECTIONS = 10;
const WRITERS = 5;
const GIVE_UP_MS = 120_000;
const CONFIG = "config";

/** What a raw watch told, without keeping it all. */
interface Told {
  readonly watch: Watch;
  /** The next revision it has to tell: each write is one. */
  next: number;
  sum: number;
  /** The first revision that came out of turn. */
  wrong: string | undefined;
}

const { dir, launcher, pids, said } = launch("updates");
const violations: string[] = [];
try {
  const ready = await firstLine(launcher);
  for (const { name, pid } of ready.members) pids.set(name, pid);
  const endpoints = ready.members.map(({ clientUrl }) => clientUrl);
  await using writer = await connect({ endpoints });
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => connect({ endpoints })));

  const acknowledged = new Map<number, string>();
  const toldOfAll = new Map<number, string>();
  const read = async (told: Told, keep: boolean): Promise<void> => {
    for await (const { events } of told.watch) {
      for (const { kv } of events) {
        if (kv.modRevision !== told.next) told.wrong ??= `revision ${kv.modRevision} where ${told.next} was due`;
        told.next = kv.modRevision + 1;
        const text = `${kv.keyText()}=${kv.text()}`;
        told.sum = crc32(new TextEncoder().encode(text), told.sum);
        if (keep) toldOfAll.set(kv.modRevision, text);
      }
    }
  };
  const raw = Array.from({ length: watchers! }, (_, i): Told => {
    const watch = clients[i % CONNECTIONS]!.watch("", { prefix: true, startRevision: 2 });
    return { watch, next: 2, sum: 0, wrong: undefined };
  });
  let closing = false;
  const reading = raw.map((told, i) =>
    read(told, i === 0).catch((error: unknown) => {
      if (!closing) told.wrong ??= `ended: ${String(error)}`;
    }),
  );
  const configs = await Promise.all(
    Array.from({ length: watchers! }, (_, i) => ConfigWatcher.open(clients[i % CONNECTIONS]!, CONFIG, number)),
  );

  let stopped = false;
  let n = 0;
  const put = async (key: string, value: string): Promise<boolean> => {
    try {
      const { revision } = await writer.put(key, value, { timeoutMs: 5_000 });
      acknowledged.set(revision, `${key}=${value}`);
      return true;
    } catch {
      return false; // unknown or refused: nothing is claimed about it
    }
  };
  const writing = Array.from({ length: WRITERS }, async (_, w) => {
    while (!stopped) {
      n += 1;
      await put(w === 0 ? CONFIG : `key/${w}/${n % 50}`, String(n));
      await delay((1_000 * WRITERS) / rate!);
    }
  });

  for (let kill = 1; kill <= kills!; kill++) {
    await delay(500);
    const leader = await leaderName(writer, ready);
    const pid = pids.get(leader)!;
    process.kill(pid, "SIGKILL");
    await until(() => pids.get(leader) !== pid, `restart of ${leader}`);
    process.stderr.write(`kill ${kill}: ${leader} is back\n`);
  }
  stopped = true;
  await Promise.all(writing);
  // One without an answer must not come after the newest.
  await delay(6_000);
  const endedAt = performance.now();
  const newest = n + 1;
  while (!(await put(CONFIG, String(newest)))) await delay(6_000);
  const last = (await writer.get(CONFIG)).header.revision;
  const behind = (): number =>
    raw.filter(({ next }) => next <= last).length + configs.filter(({ current }) => current !== newest).length;
  await until(() => behind() === 0, "watches").catch(() => {});
  const caughtUpMs = performance.now() - endedAt;
  if (behind() > 0) violations.push(`${behind()} watches are behind revision ${last}`);

  raw.forEach(({ wrong, next, sum }, i) => {
    if (wrong !== undefined) violations.push(`watch ${i}: ${wrong}`);
    else if (next !== last + 1) violations.push(`watch ${i} ends at ${next - 1}, not at ${last}`);
    else if (sum !== raw[0]!.sum) violations.push(`watch ${i} was told other events than watch 0`);
  });
  for (const [revision, text] of acknowledged) {
    if (toldOfAll.get(revision) === text) continue;
    violations.push(`${text} was acknowledged at revision ${revision}, where ${toldOfAll.get(revision)} was told`);
  }
  configs.forEach(({ current }, i) => {
    if (current !== newest) violations.push(`ConfigWatcher ${i} ends on ${current}, not on ${newest}`);
  });
  closing = true;
  for (const client of clients) await client.close();
  await Promise.all(reading);
  const figures = {
    ...{ watchers: watchers!, kills: kills!, revisions: last, acknowledged: acknowledged.size },
    ...{ eventsTold: (last - 1) * watchers!, caughtUpMs },
    violations: violations.slice(0, 20),
  };
  process.stdout.write(`${JSON.stringify(figures, undefined, values.json ? undefined : 2)}\n`);
} finally {
  const ended = new Promise<void>((resolve) => launcher.once("exit", () => resolve()));
  if (launcher.exitCode === null && launcher.kill("SIGTERM")) await ended;
  if (violations.length === 0) rmSync(dir, { recursive: true, force: true });
  else process.stderr.write(`${said.join("\n")}\nthe data stays in ${dir}\n`);
}
process.exit(violations.length === 0 ? 0 : 1);

function number(value: unknown): number {
  if (typeof value !== "number") throw new TypeError("not a number");
  return value;
}

async function firstLine(child: ChildProcess): Promise<ClusterReady> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line) as ClusterReady;
  throw new Error("the cluster ended before it was ready; run `npm run build` first");
}

/** Waits until every member names the same leader, so that each kill hits a whole cluster. */
async function leaderName(client: Client, ready: ClusterReady): Promise<string> {
  const limit = performance.now() + GIVE_UP_MS;
  while (performance.now() < limit) {
    const answers = await Promise.all(
      ready.members.map(({ clientUrl }) => client.status(clientUrl, { timeoutMs: 1_000 }).catch(() => undefined)),
    );
    const leader = answers[0]?.leader;
    if (leader !== undefined && answers.every((answer) => answer?.leader === leader)) {
      const i = answers.findIndex((answer) => answer?.header.memberId === leader);
      if (i >= 0) return ready.members[i]!.name;
    }
    await delay(50);
  }
  throw new Error("the members did not agree on a leader");
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const limit = performance.now() + GIVE_UP_MS;
  while (!condition()) {
    if (performance.now() > limit) throw new Error(`gave up waiting for ${what}`);
    await delay(20);
  }
}
