/**
 * While a majority stays connected, running and with disks that answer, operations succeed: at least one ends well in
 * every window of ten election timeouts.
 */
import type { HistoryRecord } from "../history.ts";
import { OK, type Verdict, violation } from "./verdict.ts";

export interface AvailabilityOptions {
  readonly windowMs: number;
  /** Only what lies between these counts: clients run from the one to the other. */
  readonly from: number;
  readonly to: number;
}

interface Health {
  readonly time: number;
  readonly connected: ReadonlySet<string>;
  readonly quorum: number;
}

export function checkAvailability(records: readonly HistoryRecord[], options: AvailabilityOptions): Verdict {
  const { windowMs, from, to } = options;
  const health: Health[] = [];
  const successes: number[] = [from];
  for (const record of records) {
    if (record.type === "health") health.push({ ...record, connected: new Set(record.connected) });
    const good = record.type === "ok" || (record.type === "call" && record.outcome === "ok");
    if (good && record.time >= from && record.time <= to) successes.push(record.time);
  }
  successes.push(to);
  successes.sort((a, b) => a - b);
  for (let i = 1; i < successes.length; i++) {
    const begin = successes[i - 1]!;
    const end = successes[i]!;
    if (end - begin <= windowMs) continue;
    const found = steadyMajority(health, begin, end, windowMs);
    if (found === undefined) continue;
    const [since, members] = found;
    return violation(
      `nothing succeeded from ${begin.toFixed(0)} to ${end.toFixed(0)} ms, though from ${since.toFixed(0)} ms on ` +
        `${members.join(", ")} were connected, running and unstalled for ${windowMs} ms`,
      [
        `${begin.toFixed(1)} ms: the last operation that succeeded`,
        ...health
          .filter(({ time }) => time >= since && time <= end)
          .map(({ time, connected }) => `${time.toFixed(1)} ms: connected ${[...connected].join(", ")}`),
        `${end.toFixed(1)} ms: the next operation that succeeded, or the end`,
      ],
    );
  }
  return OK;
}

/** When some majority became connected that stayed so for `windowMs` within the interval. */
function steadyMajority(
  health: readonly Health[],
  begin: number,
  end: number,
  windowMs: number,
): readonly [number, readonly string[]] | undefined {
  for (let i = 0; i < health.length; i++) {
    const since = Math.max(begin, health[i]!.time);
    if (since + windowMs > end) return undefined;
    if ((health[i + 1]?.time ?? Infinity) <= since) continue;
    let members = [...health[i]!.connected];
    let quorum = health[i]!.quorum;
    for (let j = i + 1; j < health.length && health[j]!.time < since + windowMs; j++) {
      members = members.filter((member) => health[j]!.connected.has(member));
      quorum = Math.max(quorum, health[j]!.quorum);
    }
    if (members.length >= quorum) return [since, members];
  }
  return undefined;
}
