/**
 * This member's state to whoever saves it, part by part, each when it is asked for: a reader that is slow costs no memory
 * beyond one part. What a session costs is that LevelDB keeps what it would have dropped, so a session that nobody asks
 * goes away, and none lives for ever.
 */
import { EMPTY, viewOf } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { type ClusterId, type MemberId, revision } from "../base/ids.ts";
import { VERSION } from "../base/version.ts";
import { decodeMeta, META_KEY } from "../machine/records.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { SnapshotRequest } from "../protocol/requests.ts";
import type { SnapshotPartResult } from "../protocol/responses.ts";
import { snapshotPieces } from "../storage/snapshot-file.ts";
import type { StateSnapshot } from "../storage/state-backend.ts";

const SESSIONS_MAX = 4;
/** Without a request for as long a session ends: its client is gone, or has stopped reading. */
const IDLE_MS = 30_000;
/** Longest life of a session, however busy. */
const LIFE_MS = 3_600_000;

export interface SnapshotSessionsHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly memberId: MemberId;
  readonly clusterId: ClusterId;
  /** The state as of an entry that was applied after the call. */
  readonly snapshot: () => Promise<StateSnapshot>;
  readonly sizeBytes: () => Promise<number>;
  /** Longest life of a session. Default: an hour. */
  readonly lifeMs?: number | undefined;
}

interface Session {
  readonly id: number;
  readonly state: StateSnapshot;
  readonly revision: number;
  readonly aboutBytes: number;
  readonly pieces: AsyncIterator<Uint8Array, void, undefined>;
  readonly life: Timer;
  idle: Timer;
  part: number;
  /** A part is on its way to be read. */
  busy: boolean;
  closed: boolean;
}

export class SnapshotSessions {
  readonly #host: SnapshotSessionsHost;
  readonly #sessions = new Map<number, Session>();
  #opening = 0;
  #stopped = false;

  constructor(host: SnapshotSessionsHost) {
    this.#host = host;
  }

  /** Sessions that hold a state now. */
  get count(): number {
    return this.#sessions.size;
  }

  /**
   * Ends the session where the signal aborts meanwhile. Throws `TOO_MANY_REQUESTS` beyond four sessions, `INVALID_REQUEST`
   * for one that is over or a part out of order.
   */
  async handle(request: SnapshotRequest, signal: AbortSignal | undefined): Promise<SnapshotPartResult> {
    if (request.session === undefined) return this.#part(await this.#open(), signal);
    const session = this.#sessions.get(request.session);
    if (request.close === true) {
      if (session !== undefined) this.#close(session);
      return this.#result(session, EMPTY, true);
    }
    if (session === undefined) throw invalid("this snapshot is over: nobody asked for it in time, or it was closed");
    if (session.busy || request.part !== session.part) {
      throw invalid("the parts of a snapshot come in order, one at a time");
    }
    return this.#part(session, signal);
  }

  stop(): void {
    this.#stopped = true;
    for (const session of [...this.#sessions.values()]) this.#close(session);
  }

  async #open(): Promise<Session> {
    if (this.#sessions.size + this.#opening >= SESSIONS_MAX) throw new StoreError("TOO_MANY_REQUESTS");
    this.#opening += 1;
    try {
      return await this.#begin(await this.#host.snapshot());
    } finally {
      this.#opening -= 1;
    }
  }

  async #begin(state: StateSnapshot): Promise<Session> {
    const { clock, random, clusterId, memberId } = this.#host;
    try {
      const stored = await state.read(META_KEY);
      const meta = stored === undefined ? { revision: 1, compactRevision: -1 } : decodeMeta(stored);
      const aboutBytes = Math.max(1, await this.#host.sizeBytes());
      // The member ended while this waited.
      if (this.#stopped) throw new StoreError("STOPPED");
      const head = {
        clusterId,
        memberId,
        index: state.index,
        term: state.term,
        revision: meta.revision,
        compactRevision: meta.compactRevision,
        serverVersion: VERSION,
      };
      let id: number;
      do id = viewOf(random.bytes(4)).getUint32(0);
      while (this.#sessions.has(id));
      const session: Session = {
        id,
        state,
        revision: meta.revision,
        aboutBytes,
        pieces: snapshotPieces(head, state)[Symbol.asyncIterator](),
        life: clock.after(this.#host.lifeMs ?? LIFE_MS, () => this.#close(session)),
        idle: this.#idle(id),
        part: 0,
        busy: false,
        closed: false,
      };
      this.#sessions.set(id, session);
      return session;
    } catch (error) {
      await state.close();
      throw error;
    }
  }

  async #part(session: Session, signal: AbortSignal | undefined): Promise<SnapshotPartResult> {
    const onAbort = (): void => this.#close(session);
    session.busy = true;
    session.idle.cancel();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      if (signal?.aborted === true) throw new StoreError("CANCELLED", { cause: signal.reason });
      const next = await session.pieces.next();
      if (this.#stopped) throw new StoreError("STOPPED");
      if (session.closed) throw invalid("this snapshot took too long, or was cancelled");
      session.part += 1;
      session.busy = false;
      session.idle = this.#idle(session.id);
      const isLast = next.done === true;
      if (isLast) this.#close(session);
      return this.#result(session, isLast ? EMPTY : next.value, isLast);
    } catch (error) {
      this.#close(session);
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #result(session: Session | undefined, bytes: Uint8Array, isLast: boolean): SnapshotPartResult {
    return {
      kind: "snapshot",
      revision: revision(session?.revision ?? 0),
      session: session?.id ?? 0,
      bytes,
      isLast,
      aboutBytes: session?.aboutBytes ?? 1,
      version: VERSION,
    };
  }

  #idle(id: number): Timer {
    return this.#host.clock.after(IDLE_MS, () => {
      const session = this.#sessions.get(id);
      if (session !== undefined) this.#close(session);
    });
  }

  #close(session: Session): void {
    if (session.closed) return;
    session.closed = true;
    this.#sessions.delete(session.id);
    session.life.cancel();
    session.idle.cancel();
    // Ends the iterator first, once it has read what it is reading; then what it reads from.
    void Promise.resolve(session.pieces.return?.())
      .catch(() => {})
      .then(() => session.state.close())
      .catch(() => {});
  }
}

function invalid(why: string): StoreError {
  return new StoreError("INVALID_REQUEST", { message: `quorate: ${why}` });
}
