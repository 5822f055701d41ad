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
  #run: Promise<boolean> | undefined;

  constructor(options: CompactionRunnerOptions) {
    this.#o = options;
  }

  /** Begins or goes on; true when nothing is left to drop and that is durable, false when the member stops before. */
  run(): Promise<boolean> {
    this.#run ??= this.#dropAll();
    return this.#run;
  }

  async #dropAll(): Promise<boolean> {
    const { applier, flusher, clock, running, onFailure } = this.#o;
    try {
      for (;;) {
        await new Promise<void>((resolve) => applier.atBoundary(resolve));
        if (!running()) return false;
        const isDone = applier.machine.compactStep(STEP);
        if (isDone || flusher.isFull) await flusher.flush();
        if (!running()) return false;
        // Paused, it flushed nothing: another state is about to take this one's place.
        if (isDone && !flusher.isPaused && !applier.machine.compactionPending) return true;
        await new Promise<void>((resolve) => clock.after(PAUSE_MS, resolve));
      }
    } catch (error) {
      onFailure(error);
      return false;
    } finally {
      // In the same turn as the last look: whoever asks from here on begins anew.
      this.#run = undefined;
    }
  }
}
