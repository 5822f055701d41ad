/** Writers of one config key, valid and not, deletions and compactions, and ConfigWatchers that must end on the newest. */
import { StoreError } from "../../base/errors.ts";
import { type RandomSource, randomInt } from "../../base/prng.ts";
import type { Client } from "../../client/client.ts";
import { ConfigWatcher } from "../../concurrency/config-watcher.ts";
import type { Clock } from "../../platform/clock.ts";
import { type ConfigRecord, type ConfigSight, type ConfigWrite, checkConfig } from "../checkers/config.ts";
import type { Verdict } from "../checkers/verdict.ts";
import { Calls } from "./calls.ts";

export interface ConfigWorkloadOptions {
  readonly random: RandomSource;
  readonly writers: readonly Client[];
  readonly watchers: readonly Client[];
}

const KEY = "sim/config";
const CALL_MS = 3_000;
/** Longer than a proposal waits at a member. */
const SETTLE_MS = 6_000;

interface Watching {
  readonly name: string;
  readonly seen: ConfigSight[];
  config: ConfigWatcher<string> | undefined;
}

/** Valid is what says so; the text comes along, so that each write can be told from the others. */
const isValid = (text: string): boolean => text.startsWith('{"valid":true');

function validate(value: unknown): string {
  const text = JSON.stringify(value);
  if (!isValid(text)) throw new RangeError("not valid");
  return text;
}

export class ConfigWorkload extends Calls {
  readonly #o: ConfigWorkloadOptions;
  readonly #watching: Watching[] = [];
  readonly #finished: Promise<void>[] = [];
  readonly #writes: ConfigWrite[] = [];
  #n = 0;
  #stopping = false;
  #newest = "";
  #endsInvalid = false;

  constructor(options: ConfigWorkloadOptions) {
    super();
    this.#o = options;
  }

  start(): void {
    for (const client of this.#o.writers) this.#finished.push(this.#write(client));
    this.#o.watchers.forEach((client, i) => {
      const watching: Watching = { name: `watcher ${i}`, seen: [], config: undefined };
      this.#watching.push(watching);
      // Every other one is slow.
      void this.#watch(client, watching, i % 2 === 0 ? 0 : 1_000).catch((error) => this.unexpected.push(error));
    });
  }

  /** Writes no more, but for a newest value that is valid, and perhaps one after it that is not. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#finished);
    const client = this.#o.writers[0]!;
    // Those without an answer must not come after the last.
    await wait(client.host.clock, SETTLE_MS);
    this.#newest = await this.#last(client, true);
    this.#endsInvalid = this.#o.random() < 0.5;
    if (this.#endsInvalid) await this.#last(client, false);
  }

  /** Whether every watcher was told the end. */
  get caughtUp(): boolean {
    return this.#watching.every(
      ({ config, seen }) =>
        config?.current === this.#newest && seen.at(-1)?.kind === (this.#endsInvalid ? "invalid" : "value"),
    );
  }

  verdicts(): Readonly<Record<string, Verdict>> {
    const records = this.#watching.map(
      ({ name, seen, config }): ConfigRecord => ({ name, seen, current: config?.current }),
    );
    return checkConfig(records, this.#writes, { isValid, newest: this.#newest, endsInvalid: this.#endsInvalid });
  }

  get figures(): Readonly<Record<string, number>> {
    const told = (kind: ConfigSight["kind"]): number =>
      this.#watching.reduce((sum, { seen }) => sum + seen.filter((sight) => sight.kind === kind).length, 0);
    return { writes: this.#writes.length, values: told("value"), invalid: told("invalid"), absent: told("absent") };
  }

  async close(): Promise<void> {
    for (const { config } of this.#watching) await config?.close();
  }

  async #write(client: Client): Promise<void> {
    const { random } = this.#o;
    while (!this.#stopping) {
      await wait(client.host.clock, random() * 300);
      const draw = random();
      if (draw < 0.1) {
        const { value } = { value: await this.call(() => client.get(KEY, { timeoutMs: CALL_MS })) };
        // What is compacted by another meanwhile is refused, by name.
        if ("value" in value)
          await this.call(() => client.compact(value.value.header.revision, { timeoutMs: CALL_MS }));
      } else await this.#put(client, draw < 0.15 ? undefined : this.#text(draw > 0.3));
    }
  }

  #text(valid: boolean): string {
    return JSON.stringify({ valid, n: this.#n++ });
  }

  async #put(client: Client, text: string | undefined): Promise<boolean> {
    const call = { timeoutMs: CALL_MS };
    const done = await this.call(async () => {
      if (text !== undefined) return (await client.put(KEY, text, call)).revision;
      const { deleted, revision } = await client.delete(KEY, call);
      return deleted > 0 ? revision : undefined;
    });
    if ("value" in done) {
      if (done.value !== undefined) this.#writes.push({ revision: done.value, text });
      return true;
    }
    if (done.error?.outcome !== "rejected") this.#writes.push({ revision: undefined, text });
    return false;
  }

  async #last(client: Client, valid: boolean): Promise<string> {
    for (;;) {
      const text = this.#text(valid);
      if (await this.#put(client, text)) return text;
      await wait(client.host.clock, SETTLE_MS);
    }
  }

  async #watch(client: Client, watching: Watching, pauseMs: number): Promise<void> {
    const { random } = this.#o;
    const { clock } = client.host;
    while (watching.config === undefined) {
      try {
        watching.config = await ConfigWatcher.open(client, KEY, validate, { timeoutMs: CALL_MS });
      } catch (error) {
        if (!StoreError.is(error)) throw error;
        await wait(clock, 200);
      }
    }
    for await (const update of watching.config.updates()) {
      const { kind, revision } = update;
      watching.seen.push({ kind, revision, ...(kind === "value" ? { text: update.value } : {}) });
      if (pauseMs > 0 && random() < 0.2) await wait(clock, randomInt(random, 0, pauseMs));
    }
  }
}

function wait(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => clock.after(ms, resolve));
}
