/**
 * What really happened, revision by revision, read while it can still be read: what watches told is held against it. Who
 * compacts must stay at or below `collected`.
 */
import type { Clock, Timer } from "../platform/clock.ts";
import type { WatchedEvent } from "./checkers/watches.ts";
import type { HistoryKeyValue } from "./history.ts";

export interface CollectorOptions {
  readonly clock: Clock;
  /** The newest revision known now; `undefined` if nobody can be asked. */
  readonly newest: () => Promise<number | undefined>;
  /** All keys that are watched, at a revision; `undefined` to be asked again later. */
  readonly read: (revision: number) => Promise<readonly HistoryKeyValue[] | undefined>;
}

const EVERY_MS = 100;

export class Collector {
  readonly #o: CollectorOptions;
  readonly happened: Map<number, readonly WatchedEvent[]> = new Map();
  #before = new Map<string, string>();
  #collected = 1;
  #timer: Timer | undefined;
  #turn: Promise<void> | undefined;

  constructor(options: CollectorOptions) {
    this.#o = options;
  }

  /** Everything up to this revision is known. */
  get collected(): number {
    return this.#collected;
  }

  start(): void {
    this.#timer = this.#o.clock.every(EVERY_MS, () => void this.#once());
  }

  /** Ends with everything up to now, or with less if nobody answers. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#turn;
    await this.#once();
  }

  #once(): Promise<void> {
    this.#turn ??= this.#advance().finally(() => {
      this.#turn = undefined;
    });
    return this.#turn;
  }

  async #advance(): Promise<void> {
    const newest = (await this.#o.newest()) ?? 0;
    while (this.#collected < newest) {
      const revision = this.#collected + 1;
      const kvs = await this.#o.read(revision);
      if (kvs === undefined) return;
      const now = new Map(kvs.map((kv) => [kv.key, kv.value]));
      const events: WatchedEvent[] = [];
      for (const { key, value, mod } of kvs) {
        if (mod === revision) events.push({ revision, type: "put", key, value, previous: this.#before.get(key) });
      }
      for (const [key, previous] of this.#before) {
        if (!now.has(key)) events.push({ revision, type: "delete", key, value: "", previous });
      }
      this.happened.set(revision, events);
      this.#before = now;
      this.#collected = revision;
    }
  }
}
