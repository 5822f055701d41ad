/** Runs the load of `check perf`: each client has a connection of its own and one write under way, all share one rate. */
import { randomFillSync } from "node:crypto";
import { encodeUtf8 } from "../base/bytes.ts";
import type { Client } from "../client/client.ts";
import { connect } from "../node/connect.ts";
import { Latencies, type Load, Rate, verdict } from "./check-perf.ts";
import { fail } from "./exit.ts";
import { type Globals, withClient } from "./globals.ts";
import { ProgressBar } from "./progress.ts";

const KEY_BYTES = 256;
const RANDOM_BYTES = 9;
/** Drawn at once: a call for each key costs this process more than the rest of a write. */
const KEYS_DRAWN = 1_000;
const VALUE = new Uint8Array(1_024);
const CLEANUP_MS = 30_000;
/** A write is given as long as it takes: how long that was is what is judged. */
const NO_LIMIT_MS = 3_600_000;

export interface PerfCheck {
  readonly load: Load;
  readonly prefix: string;
  readonly durationMs: number;
  readonly compact: boolean;
}

/** Prints what it finds; whether the cluster passes. */
export async function checkPerf(globals: Globals, check: PerfCheck): Promise<boolean> {
  const { load, prefix, durationMs } = check;
  return withClient(globals, async (client, { signal, timeoutMs }) => {
    const found = await client.get(prefix, { prefix: true, limit: 1, keysOnly: true, signal, timeoutMs });
    if (found.kvs.length > 0) {
      fail("invalidInput", `prefix "${prefix}" has keys. Delete with 'quorate del --prefix ${prefix}' first`);
    }
    const clients: Client[] = [];
    const latencies = new Latencies();
    const errors = new Map<string, number>();
    const bar = new ProgressBar((seconds) => String(Math.floor(seconds)));
    let seconds = 0;
    try {
      // One listener for all: what is under way ends with its client.
      signal.addEventListener("abort", () => {
        for (const each of clients) void each.close();
      });
      for (let i = 0; i < load.clients; i++) {
        const each = await connect({ endpoints: globals.endpoints, dialTimeoutMs: globals.dialTimeoutMs });
        clients.push(each);
        // The first connects, the second turns to the leader: hundreds of handshakes at once would be the first second's
        // figures.
        for (let i = 0; i < 2; i++) await each.get(prefix, { limit: 1, keysOnly: true, signal, timeoutMs });
      }
      const keys = new Keys(prefix);
      const begun = performance.now();
      const until = begun + durationMs;
      const rate = new Rate(
        load,
        () => performance.now(),
        (now) => now < until && !signal.aborted,
      );
      const released = setInterval(() => rate.release(), 1);
      const drawn = setInterval(() => bar.show((performance.now() - begun) / 1000, durationMs / 1000), 200);
      try {
        await Promise.all(
          clients.map(async (each) => {
            while (await rate.turn()) {
              const at = performance.now();
              try {
                await each.put(keys.next(), VALUE, { timeoutMs: NO_LIMIT_MS });
                latencies.add((performance.now() - at) / 1000);
              } catch (error) {
                const text = error instanceof Error ? error.message : String(error);
                errors.set(text, (errors.get(text) ?? 0) + 1);
              }
            }
          }),
        );
        seconds = (performance.now() - begun) / 1000;
      } finally {
        clearInterval(drawn);
        clearInterval(released);
        rate.stop();
      }
      bar.show(durationMs / 1000, durationMs / 1000);
    } finally {
      bar.end();
      for (const each of clients) await each.close();
    }
    await cleanUp(client, check);
    signal.throwIfAborted();
    const { lines, passed } = verdict({ latencies, errors, seconds }, load.rate);
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
    return passed;
  });
}

/** Whatever was written goes, also after a Ctrl-C. */
async function cleanUp(client: Client, { prefix, compact }: PerfCheck): Promise<void> {
  try {
    const { header } = await client.delete(prefix, { prefix: true, timeoutMs: CLEANUP_MS });
    if (!compact) return;
    process.stdout.write(`Compacting with revision ${header.revision}\n`);
    await client.compact(header.revision, { physical: true, timeoutMs: CLEANUP_MS });
    process.stdout.write(`Compacted with revision ${header.revision}\n`);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    process.stdout.write(`FAIL: Cleanup failed during key deletion: ERROR(${text})\n`);
  }
}

/** Below a prefix: a number, and zeros behind it. As many keys as writes, spread over the whole space. */
class Keys {
  readonly #prefix: Uint8Array;
  readonly #drawn = new Uint8Array(KEYS_DRAWN * RANDOM_BYTES);
  #at = this.#drawn.length;

  constructor(prefix: string) {
    this.#prefix = encodeUtf8(prefix);
  }

  next(): Uint8Array {
    if (this.#at === this.#drawn.length) {
      randomFillSync(this.#drawn);
      this.#at = 0;
    }
    const key = new Uint8Array(this.#prefix.length + KEY_BYTES);
    key.set(this.#prefix);
    key.set(this.#drawn.subarray(this.#at, this.#at + RANDOM_BYTES), this.#prefix.length);
    this.#at += RANDOM_BYTES;
    return key;
  }
}
