/**
 * Drops what compactions allow to forget, beside all else that this member does (etcd-semantics 3.2). No faster than the
 * state is flushed: until then each drop stands in memory, and so does all that is written meanwhile.
 */
import type { Clock } from "../platform/clock.ts";
import type { Applier } from "./applier.ts";
import type { Flusher } from "./flusher.ts";

/** Records or keys in one step, and the pause after it: etcd's. */
const STEP = 1_000;
const PAUSE_MS = 10;

export interface CompactionRunnerOptions {
  readonly applier: Applier;
  readonly flusher: Flusher;
  readonly clock: Clock;
  /** Nothing is dropped, and nobody told, once this is false. */
  readonly running: () => boolean;
  readonly onFailure: (error: unknown) => void;
}

export class CompactionRunner {
  readonly #o: CompactionRunnerOptions;
  #run: Promise<void> | undefined;

  constructor(options: CompactionRunnerOptions) {
    this.#o = options;
  }

  /** Begins or goes on; resolves when nothing is left to drop and that is durable, or when the member stops. */
  run(): Promise<void> {
    this.#run ??= this.#dropAll();
    return this.#run;
  }

  async #dropAll(): Promise<void> {
    const { applier, flusher, clock, running, onFailure } = this.#o;
    try {
      for (;;) {
        await new Promise<void>((resolve) => applier.atBoundary(resolve));
        if (!running()) return;
        // While another state is about to take this one's place there is nothing to do here.
        const dropped = !flusher.isPaused && applier.machine.compactStep(STEP);
        if (dropped || flusher.isFull) await flusher.flush();
        if (dropped && !applier.machine.compactionPending) return;
        await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve));
      }
    } catch (error) {
      onFailure(error);
    } finally {
      // In the same turn as the last look: whoever asks from here on begins anew.
      this.#run = undefined;
    }
  }
}
