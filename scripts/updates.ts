/**
 * `npm run updates`: ConfigWatchers and raw watches on a real cluster while its leader is killed again and again under
 * writes. Every raw watch must tell every revision exactly once, in order; every ConfigWatcher must end on the newest value.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { crc32 } from "../src/base/crc32.ts";
import type { Watch } from "../src/client/watch.ts";
import { ConfigWatcher } from "../src/concurrency/config-watcher.ts";
import { connect } from "../src/node/connect.ts";
import { count } from "./arguments.ts";
import { agreedLeader, torment, until } from "./cluster.ts";

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
const watchers = count(values.watchers, "watchers");
const kills = count(values.kills, "kills");
const rate = count(values.rate, "rate");
const CONNECTIONS = 10;
const WRITERS = 5;
const CATCH_UP_MS = 120_000;
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

const violations: string[] = [];
const code = await torment("updates", violations, async ({ ready, endpoints, pids }) => {
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
  const raw = Array.from({ length: watchers }, (_, i): Told => {
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
    Array.from({ length: watchers }, (_, i) => ConfigWatcher.open(clients[i % CONNECTIONS]!, CONFIG, number)),
  );

  let stopped = false;
  let killed = 0;
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
      await delay((1_000 * WRITERS) / rate);
    }
  });

  for (let kill = 1; kill <= kills; kill++) {
    const before = acknowledged.size;
    await delay(500);
    // A kill of a leader that nobody writes to would be no trial.
    await until(() => acknowledged.size > before, `an acknowledged write before kill ${kill}`);
    const leader = await agreedLeader(writer, ready);
    const pid = pids.get(leader)!;
    process.kill(pid, "SIGKILL");
    await until(() => pids.get(leader) !== pid, `restart of ${leader}`);
    killed += 1;
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
  await until(() => behind() === 0, "watches", CATCH_UP_MS).catch(() => {});
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
    ...{ watchers, kills: killed, revisions: last, acknowledged: acknowledged.size },
    ...{ eventsTold: (last - 1) * watchers, caughtUpMs },
    violations: violations.slice(0, 20),
  };
  process.stdout.write(`${JSON.stringify(figures, undefined, values.json ? undefined : 2)}\n`);
});
process.exit(code);

function number(value: unknown): number {
  if (typeof value !== "number") throw new TypeError("not a number");
  return value;
}
