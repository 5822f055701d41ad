/**
 * When the state is flushed and how far the log may be released behind it. Never on the request path: a flush writes
 * behind, and what the log loses is always in a durable state first (design section 5, raft-notes K1-K3).
 */
import { type LogIndex, logIndex, type MemberId, type Term } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Raft } from "../raft/raft.ts";
import type { StateBackend } from "../storage/state-backend.ts";
import type { Wal } from "../storage/wal.ts";
import type { Applier } from "./applier.ts";

export interface FlusherOptions {
  readonly raft: Raft;
  readonly wal: Wal;
  readonly clock: Clock;
  readonly applier: Applier;
  readonly intervalMs: number;
  readonly bytes: number;
  readonly trailingEntries: number;
  readonly trailingBytes: number;
  /** Logs kept for an active follower that lags, at the most. */
  readonly followerBytes: number;
  /** Logs kept for a snapshot on its way, at the most. */
  readonly sessionBytes: number;
  /** The lowest index that a snapshot stream under way starts from. */
  readonly sessionIndex: () => LogIndex | undefined;
  readonly observe: (seconds: number) => void;
  readonly onFailure: (error: unknown) => void;
}

/** For as long a member that was lost is expected to come back: a restart, not a repair. */
const AWAY_MS = 60_000;
/** For as long after its return: whoever leads then has told it the log from where it was. */
const BACK_MS = 10_000;
/** Changes in memory, in flushes: 64 MiB by default. */
const UNFLUSHED_FLUSHES = 8;
/** What is kept for members that are away, in trailing windows: 64 MiB by default. */
const AWAY_WINDOWS = 4;

/** A member that was lost, and the log that this one had then. */
interface Absence {
  readonly base: LogIndex;
  /** When it no longer counts. */
  until: number;
}

export class Flusher {
  readonly #o: FlusherOptions;
  #state: StateBackend;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #paused = false;
  #stopped = false;
  /** Log bytes up to an index, sampled as entries are applied: how much a release leaves standing. */
  #samples: { readonly index: number; readonly total: number }[] = [];
  #total = 0;
  readonly #absences = new Map<MemberId, Absence>();

  constructor(state: StateBackend, options: FlusherOptions) {
    this.#state = state;
    this.#o = options;
  }

  start(): void {
    this.#timer = this.#o.clock.every(this.#o.intervalMs, () => this.#consider());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  entryApplied(index: LogIndex, bytes: number): void {
    this.#total += bytes;
    const last = this.#samples.at(-1);
    // Exact to a sixteenth of the window.
    const step = this.#o.trailingBytes / 16;
    if (last === undefined || this.#total - last.total >= step) this.#samples.push({ index, total: this.#total });
    if (this.isFull) this.#consider();
  }

  /** As much is buffered as a flush should take. */
  get isFull(): boolean {
    return this.#state.bufferedBytes >= this.#o.bytes;
  }

  /** The flush does not keep up with what is applied: nothing more may be, or memory would have no bound. */
  get isOverfull(): boolean {
    return this.#state.unflushedBytes >= UNFLUSHED_FLUSHES * this.#o.bytes;
  }

  get isPaused(): boolean {
    return this.#paused;
  }

  /**
   * A voter that restarts is back within seconds and then needs the log of those seconds. Every member keeps it, not the
   * leader alone: the leader may be the next to fall, and until the returned one has caught up from a whole snapshot
   * there would be no majority.
   */
  peerDown(peer: MemberId): void {
    const until = this.#o.clock.now() + AWAY_MS;
    const absence = this.#absences.get(peer);
    if (absence === undefined) this.#absences.set(peer, { base: this.#o.raft.status().base.index, until });
    else absence.until = until;
  }

  peerUp(peer: MemberId): void {
    const absence = this.#absences.get(peer);
    if (absence !== undefined) absence.until = this.#o.clock.now() + BACK_MS;
  }

  /** Resolves when what is applied now is durable. */
  flush(): Promise<void> {
    // The one under way may have taken its buffer already; whichever is next, whoever begins it, takes all of now.
    if (this.#running !== undefined) return this.#running.then(() => this.#running ?? this.flush());
    if (this.#stopped) return Promise.resolve();
    const running = this.#flush().finally(() => {
      this.#running = undefined;
    });
    this.#running = running;
    // Meanwhile as much may have been applied as is allowed: then no entry comes that would begin the next.
    running.then(
      () => {
        if (this.isFull) this.#consider();
      },
      () => {}, // whoever called hears of it
    );
    return running;
  }

  /** No flush begins until `resume`; resolves when none is under way. */
  async pause(): Promise<void> {
    this.#paused = true;
    await this.#running;
  }

  resume(state: StateBackend): void {
    this.#state = state;
    this.#samples = [];
    this.#paused = false;
  }

  #consider(): void {
    if (this.#running !== undefined || this.#paused || this.#stopped) return;
    if (!this.#isDue) return;
    this.flush().catch((error) => this.#o.onFailure(error));
  }

  /** Entries were applied, or a compaction dropped records behind the last one: their space is free once that is flushed. */
  get #isDue(): boolean {
    return this.#o.applier.machine.applied.index > this.#state.appliedIndex || this.#state.bufferedBytes > 0;
  }

  async #flush(): Promise<void> {
    const { applier, clock } = this.#o;
    await new Promise<void>((resolve) => applier.atBoundary(resolve));
    if (this.#stopped || this.#paused) return;
    // From here to the call nothing may wait: the buffer is taken as of this entry.
    const at: { index: LogIndex; term: Term } = applier.machine.applied;
    if (!this.#isDue) return;
    applier.machine.save();
    const startedAt = clock.now();
    await this.#state.flush({ index: at.index, term: at.term });
    applier.proceed();
    if (this.#stopped) return;
    this.#o.observe((clock.now() - startedAt) / 1000);
    await this.#o.wal.syncTail();
    if (this.#stopped) return;
    this.#release();
  }

  /** Index below which at least `bytes` of applied log stand above it. */
  #indexBehind(bytes: number): number {
    let found = 0;
    for (const sample of this.#samples) {
      if (this.#total - sample.total < bytes) break;
      found = sample.index;
    }
    return found;
  }

  #release(): void {
    const { raft, wal, trailingEntries, trailingBytes, followerBytes, sessionBytes } = this.#o;
    const status = raft.status();
    const flushed = this.#state.appliedIndex;
    let upTo = Math.max(flushed - trailingEntries, Math.min(flushed, this.#indexBehind(trailingBytes)));
    const keepFor = (index: number, most: number): void => {
      upTo = Math.min(upTo, Math.max(index, Math.min(flushed, this.#indexBehind(most))));
    };
    const session = this.#o.sessionIndex();
    if (session !== undefined) keepFor(session, sessionBytes);
    for (const peer of status.progress) {
      if (peer.recentActive && peer.id !== status.id && peer.match > 0) keepFor(peer.match, followerBytes);
    }
    for (const [peer, { base, until }] of this.#absences) {
      if (until <= this.#o.clock.now()) this.#absences.delete(peer);
      else keepFor(base, AWAY_WINDOWS * trailingBytes);
    }
    if (upTo <= status.base.index) return;
    const index = logIndex(upTo);
    const term = raft.termAt(index);
    if (term === undefined) return;
    raft.release(index);
    wal.release({ index, term });
    const keep = this.#samples.findIndex((sample) => sample.index > upTo);
    this.#samples = keep === -1 ? [] : this.#samples.slice(keep);
  }
}
