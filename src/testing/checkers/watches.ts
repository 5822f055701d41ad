/**
 * What watches promise (docs/guarantees.md), held against everything that happened: ordered, unique, atomic, reliable,
 * resumable. What happened comes from reads at every revision, so no watch is its own witness.
 */
import { OK, type Verdict, violation } from "./verdict.ts";

export interface WatchedEvent {
  readonly revision: number;
  readonly type: "put" | "delete";
  readonly key: string;
  /** Of a deletion: empty. */
  readonly value: string;
  /** The value before, where the watch asked for it and there was one. */
  readonly previous?: string | undefined;
}

export interface WatchedBatch {
  readonly revision: number;
  readonly events: readonly WatchedEvent[];
}

/** From one opening of a watch to its end. */
export interface WatchSegment {
  /** The first revision it had to tell. */
  readonly start: number;
  readonly batches: readonly WatchedBatch[];
  /** It ended as `COMPACTED`, and was told of this revision: what is older cannot be had any more. */
  readonly compacted?: number | undefined;
}

/** One reader. Each segment begins where the one before it ended. */
export interface WatchedRecord {
  readonly name: string;
  readonly key: string;
  readonly end?: string | undefined;
  readonly prevKv: boolean;
  readonly segments: readonly WatchSegment[];
}

/** Every event that happened, by revision; `previous` is always there where there was a value. */
export type Happened = ReadonlyMap<number, readonly WatchedEvent[]>;

export interface WatchCheckOptions {
  /** The highest compaction: below it, a value before an event may be gone (etcd-semantics 4.5). Default: none. */
  readonly compactedTo?: number;
}

type Check = (record: WatchedRecord, happened: Happened, compactedTo: number) => string | undefined;

const CHECKS: Readonly<Record<string, Check>> = {
  "watches are ordered": ordered,
  "watches are unique": unique,
  "watches are atomic": atomic,
  "watches are reliable": reliable,
  "watches are resumable": resumable,
};

export function checkWatches(
  records: readonly WatchedRecord[],
  happened: Happened,
  { compactedTo = 0 }: WatchCheckOptions = {},
): Readonly<Record<string, Verdict>> {
  const verdicts: Record<string, Verdict> = {};
  for (const [promise, check] of Object.entries(CHECKS)) {
    const broken: string[] = [];
    const fragment: string[] = [];
    for (const record of records) {
      const why = check(record, happened, compactedTo);
      if (why === undefined) continue;
      broken.push(`${record.name}: ${why}`);
      fragment.push(`${record.name}: ${why}`, ...around(record, happened, why));
    }
    verdicts[promise] = broken.length === 0 ? OK : violation(broken.join("; "), fragment);
  }
  return verdicts;
}

/** What was told, and what had happened, next to the first revision that a complaint names. */
function around(record: WatchedRecord, happened: Happened, why: string): readonly string[] {
  const at = Number(/\d+/.exec(why)?.[0] ?? 0);
  const near = (revision: number): boolean => Math.abs(revision - at) <= 2;
  const lines: string[] = [];
  for (const [revision, events] of [...happened].sort((a, b) => a[0] - b[0])) {
    if (!near(revision)) continue;
    for (const event of matching(record, events)) lines.push(`  happened: ${text(event, record.prevKv)}`);
  }
  for (const { start, batches } of record.segments) {
    if (near(start)) lines.push(`  opened at ${start}`);
    for (const { revision, events } of batches) {
      if (!near(revision) && !events.some((event) => near(event.revision))) continue;
      lines.push(
        `  told, up to ${revision}: ${events.map((event) => text(event, record.prevKv)).join(", ") || "nothing"}`,
      );
    }
  }
  return lines;
}

/** Revisions rise from event to event and from batch to batch, and no event lies beyond its batch. */
function ordered({ segments }: WatchedRecord): string | undefined {
  let last = 0;
  let told = 0;
  for (const { revision, events } of segments.flatMap(({ batches }) => batches)) {
    for (const event of events) {
      if (event.revision < last) return `revision ${event.revision} after ${last}`;
      if (event.revision <= told) return `revision ${event.revision} after a batch up to ${told}`;
      if (event.revision > revision) return `revision ${event.revision} in a batch up to ${revision}`;
      last = event.revision;
    }
    if (revision < told) return `a batch up to ${revision} after one up to ${told}`;
    told = revision;
  }
  return undefined;
}

/** No key changes twice in a revision, so nothing may be told twice. */
function unique({ segments }: WatchedRecord): string | undefined {
  const seen = new Set<string>();
  for (const { revision, key } of eventsOf(segments)) {
    const name = `${revision} ${key}`;
    if (seen.has(name)) return `revision ${revision} of ${key} twice`;
    seen.add(name);
  }
  return undefined;
}

/** All of a revision comes in one batch, or none of it. */
function atomic(record: WatchedRecord, happened: Happened): string | undefined {
  const told = new Set<number>();
  for (const { events } of record.segments.flatMap(({ batches }) => batches)) {
    const counts = new Map<number, number>();
    for (const { revision } of events) counts.set(revision, (counts.get(revision) ?? 0) + 1);
    for (const [revision, count] of counts) {
      if (told.has(revision)) return `revision ${revision} in two batches`;
      told.add(revision);
      const whole = matching(record, happened.get(revision) ?? []).length;
      if (count < whole) return `${count} of ${whole} events of revision ${revision}`;
    }
  }
  return undefined;
}

/** Between the first revision and the last one told, everything that happened was told as it happened, and nothing else. */
function reliable(record: WatchedRecord, happened: Happened, compactedTo: number): string | undefined {
  const { segments, prevKv } = record;
  const told = new Set<string>();
  for (const event of eventsOf(segments)) {
    told.add(text(event, prevKv));
    if (event.previous !== undefined || event.revision > compactedTo) continue;
    // The value before it may have been compacted away by then: told is what is left.
    const whole = matching(record, happened.get(event.revision) ?? []).find(({ key }) => key === event.key);
    if (whole === undefined || text(whole, false) !== text(event, false)) continue;
    told.delete(text(event, prevKv));
    told.add(text(whole, prevKv));
  }
  const due = new Set<string>();
  for (const { start, batches } of segments) {
    const last = batches.at(-1)?.revision ?? 0;
    for (let revision = start; revision <= last; revision++) {
      for (const event of matching(record, happened.get(revision) ?? [])) due.add(text(event, prevKv));
    }
  }
  for (const event of due) if (!told.has(event)) return `missed ${event}`;
  for (const event of told) if (!due.has(event)) return `told ${event}, which did not happen`;
  return undefined;
}

/** A watch opened anew behind what it had told goes on exactly there. */
function resumable(record: WatchedRecord, happened: Happened): string | undefined {
  let next: number | undefined;
  for (const { start, batches, compacted } of record.segments) {
    if (next !== undefined && start !== next) return `opened at ${start} after everything below ${next}`;
    const first = batches.flatMap(({ events }) => events)[0];
    if (first !== undefined && first.revision < start) return `opened at ${start}, told ${first.revision}`;
    for (let revision = start; revision < (first?.revision ?? 0); revision++) {
      const missed = matching(record, happened.get(revision) ?? [])[0];
      if (missed !== undefined) return `opened at ${start}, passed over ${text(missed, record.prevKv)}`;
    }
    next = (batches.at(-1)?.revision ?? start - 1) + 1;
    if (compacted === undefined) continue;
    if (compacted <= next) return `ended as compacted up to ${compacted} with nothing missing below ${next}`;
    next = compacted;
  }
  return undefined;
}

function eventsOf(segments: readonly WatchSegment[]): readonly WatchedEvent[] {
  return segments.flatMap(({ batches }) => batches.flatMap(({ events }) => events));
}

export function matching(
  { key, end }: Pick<WatchedRecord, "key" | "end">,
  events: readonly WatchedEvent[],
): readonly WatchedEvent[] {
  return events.filter((event) => (end === undefined ? event.key === key : event.key >= key && event.key < end));
}

function text({ revision, type, key, value, previous }: WatchedEvent, prevKv: boolean): string {
  return `${revision} ${type} ${key}=${value}${prevKv && previous !== undefined ? ` was ${previous}` : ""}`;
}
