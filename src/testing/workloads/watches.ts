/** Readers of watches: steady, slow, picky, and one that stops and goes on again and again. Each writes down what it is told. */
import { StoreError } from "../../base/errors.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import type { Watch, WatchOptions } from "../../client/watch.ts";
import type { Clock } from "../../platform/clock.ts";
import { type Happened, matching, type WatchedBatch, type WatchedRecord } from "../checkers/watches.ts";

export interface WatchWorkloadOptions {
  readonly clock: Clock;
  readonly random: RandomSource;
  /** One for each reader; their kinds take turns. */
  readonly clients: readonly Client[];
}

interface Kind {
  readonly name: string;
  readonly key: string;
  readonly end?: string;
  readonly options: WatchOptions;
  /** Longest pause after some of the batches. */
  readonly pauseMs?: number;
  /** Batches until it stops and goes on. */
  readonly batches?: number;
  /** Longest pause until it goes on: by then what it has not seen may have been compacted away. */
  readonly sleepMs?: number;
}

const ALL = { key: "k", end: "l" } as const;
const KINDS: readonly Kind[] = [
  { name: "steady", ...ALL, options: { startRevision: 1, prevKv: true } },
  { name: "one key", key: "k0", options: {} },
  { name: "slow", ...ALL, options: { prevKv: true }, pauseMs: 1_500 },
  { name: "again and again", ...ALL, options: { startRevision: 1 }, batches: 5 },
  { name: "with progress", ...ALL, options: { progressNotify: true, prevKv: true } },
  { name: "leader or not", ...ALL, options: { requireLeader: false } },
  { name: "sleeper", ...ALL, options: { startRevision: 1 }, batches: 3, sleepMs: 8_000 },
  { name: "light sleeper", ...ALL, options: { startRevision: 1, prevKv: true }, batches: 2, sleepMs: 3_000 },
];

const PAUSE_CHANCE = 0.1;

interface Reader {
  readonly kind: Kind;
  readonly segments: { readonly start: number; readonly batches: WatchedBatch[]; compacted?: number }[];
  watch: Watch | undefined;
}

export class WatchWorkload {
  readonly #options: WatchWorkloadOptions;
  readonly #readers: Reader[] = [];
  readonly #finished: Promise<void>[] = [];
  /** Watches that ended because what they had still to tell was compacted away. */
  compacted = 0;
  /** How readers ended that nobody had stopped. */
  readonly failures: string[] = [];
  #stopping = false;
  #hurrying = false;

  constructor(options: WatchWorkloadOptions) {
    this.#options = options;
  }

  start(): void {
    this.#options.clients.forEach((client, i) => {
      const reader: Reader = { kind: KINDS[i % KINDS.length]!, segments: [], watch: undefined };
      this.#readers.push(reader);
      this.#finished.push(
        this.#read(client, reader).catch((error) => {
          if (!this.#stopping) this.failures.push(`${reader.kind.name}: ${String(error)}`);
        }),
      );
    });
  }

  /** From now on nobody pauses: who is slow by nature could not be told from one who was forgotten. */
  hurry(): void {
    this.#hurrying = true;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#readers.map(({ watch }) => watch?.close()));
    await Promise.all(this.#finished);
  }

  records(): readonly WatchedRecord[] {
    return this.#readers.map(({ kind: { name, key, end, options }, segments }) => ({
      ...{ name, key, end, prevKv: options.prevKv === true },
      segments: [...segments],
    }));
  }

  /** Readers that were not told the last thing that happened to their keys, by name. */
  behind(happened: Happened): readonly string[] {
    const revisions = [...happened.keys()].sort((a, b) => b - a);
    const late = this.#readers.filter(({ kind, segments }) => {
      const told = Math.max(
        segments.flatMap(({ batches }) => batches).at(-1)?.revision ?? 0,
        (segments.at(-1)?.start ?? 1) - 1,
      );
      const last = revisions.find((revision) => matching(kind, happened.get(revision)!).length > 0) ?? 0;
      const start = segments[0]?.start;
      return start === undefined || (told < last && start <= last);
    });
    return late.map(({ kind }) => kind.name);
  }

  async #read(client: Client, reader: Reader): Promise<void> {
    const { clock, random } = this.#options;
    const { key, end, options, pauseMs = 0, batches = Infinity, sleepMs = 0 } = reader.kind;
    let next = options.startRevision;
    while (!this.#stopping) {
      const watch = client.watch(key, { ...options, rangeEnd: end, startRevision: next });
      reader.watch = watch;
      const segment: Reader["segments"][number] = { start: next ?? 0, batches: [] };
      try {
        const header = await watch.opened();
        reader.segments.push(next === undefined ? { ...segment, start: header.revision + 1 } : segment);
      } catch (error) {
        if (next === undefined || !StoreError.is(error, "COMPACTED")) throw error;
        next = this.#passOver(reader, segment, error);
        continue;
      }
      const known = reader.segments.at(-1)!;
      try {
        next = await this.#follow(watch, known, { batches, pauseMs });
      } catch (error) {
        if (!StoreError.is(error, "COMPACTED")) throw error;
        next = this.#passOver(reader, known, error);
      }
      if (sleepMs > 0 && !this.#hurrying)
        await new Promise<void>((resolve) => clock.after(random() * sleepMs, resolve));
    }
  }

  /** Gives the revision to go on from. */
  async #follow(
    watch: Watch,
    segment: Reader["segments"][number],
    { batches, pauseMs }: { readonly batches: number; readonly pauseMs: number },
  ): Promise<number> {
    const { clock, random } = this.#options;
    for await (const { revision, events } of watch) {
      segment.batches.push({
        revision,
        events: events.map(({ type, kv, prevKv }) => ({
          ...{ revision: kv.modRevision, type, key: kv.keyText(), value: kv.text() },
          ...(prevKv === undefined ? {} : { previous: prevKv.text() }),
        })),
      });
      if (segment.batches.length >= batches) break;
      const pause = pauseMs === 0 || this.#hurrying || random() > PAUSE_CHANCE ? 0 : randomInt(random, 0, pauseMs);
      if (pause > 0) await new Promise<void>((resolve) => clock.after(pause, resolve));
    }
    return (segment.batches.at(-1)?.revision ?? segment.start - 1) + 1;
  }

  /** What lies below the compaction is lost to this reader, and the checker is told so. */
  #passOver(reader: Reader, segment: Reader["segments"][number], error: StoreError): number {
    const { compactRevision } = error.details as { readonly compactRevision: number };
    segment.compacted = compactRevision;
    if (!reader.segments.includes(segment)) reader.segments.push(segment);
    this.compacted += 1;
    return compactRevision;
  }
}
