/**
 * Rare events that the fixed seeds must reach, each at least `RARE_AT_LEAST` times: a harness that stops reaching one of
 * them has lost its teeth. A row says how the event is recognised; who adds an event appends a row, and counts it with
 * `Counters.count` or lets a member's log line do it.
 */
import type { Logger } from "../platform/log.ts";

export interface RareEvent {
  readonly name: string;
  /** A member's log line by which it is known; absent where the harness sees it itself. */
  readonly logged?: string;
}

export const RARE_EVENTS: readonly RareEvent[] = [
  { name: "snapshot install", logged: "installed a snapshot" },
  { name: "joint leave", logged: "left the joint configuration" },
  { name: "log truncation", logged: "cut the end of the log" },
  { name: "watch compacted" },
  { name: "refusal to start" },
  { name: "candidate crash before its vote is durable" },
];

export const RARE_AT_LEAST = 10;

const LOGGED: ReadonlyMap<string, string> = new Map(
  RARE_EVENTS.flatMap(({ name, logged }) => (logged === undefined ? [] : [[logged, name] as const])),
);

export class Counters {
  readonly #counts = new Map<string, number>(RARE_EVENTS.map(({ name }) => [name, 0]));

  count(event: string, times: number = 1): void {
    this.#counts.set(event, (this.#counts.get(event) ?? 0) + times);
  }

  get(event: string): number {
    return this.#counts.get(event) ?? 0;
  }

  toJSON(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }

  /** A member's logger that counts what its lines tell. */
  logger(): Logger {
    const hear = (_fields: object, message: string): void => {
      const event = LOGGED.get(message);
      if (event !== undefined) this.count(event);
    };
    return { debug() {}, info: hear, warn: hear, error: hear };
  }
}
