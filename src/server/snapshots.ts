/**
 * State to a follower whose log is too far behind: a point-in-time copy of the last flushed state on a connection of
 * its own, acknowledged chunk by chunk, built beside the receiver's old state and switched to by one WAL record
 * (design section 5). A crash at any step leaves the receiver with its old state or the new one.
 */
import { StoreError } from "../base/errors.ts";
import { type LogIndex, logIndex, type MemberId, term } from "../base/ids.ts";
import { MachineLoader } from "../machine/machine.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import type { World } from "../platform/world.ts";
import { decodeConfState, encodeConfState } from "../raft/codec.ts";
import type { ConfState } from "../raft/membership-types.ts";
import type { InstallSnapshot } from "../raft/message.ts";
import { SnapshotReceiver } from "../storage/snapshot-stream.ts";
import type { StateBackend, StateSnapshot } from "../storage/state-backend.ts";
import type { Connection } from "../transport/network.ts";
import type { PeerMesh } from "../transport/peers.ts";
import { decodeSnapshotHeader, encodeSnapshotHeader } from "./hello.ts";

/** Chunks of 64 KiB under way at most: 2 MiB, so that the receiver has the next while it writes what it has. */
const WINDOW = 32;
const FRAME = { header: 0, chunk: 1, end: 2 } as const;
/** The receiver's answers: a frame is done with, or it is still at work on it. */
const DONE = Uint8Array.of(0);
const WORKING = Uint8Array.of(1);
/** Words of a receiver at work, in the time after which it would be given up. */
const WORDS = 4;

function framed(kind: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(1 + bytes.length);
  frame[0] = kind;
  frame.set(bytes, 1);
  return frame;
}

export interface SenderHost {
  readonly term: () => number;
  /** The last flushed state. */
  readonly snapshot: () => StateSnapshot;
  /** The configuration as of that very state, not as of now (N1, B35). */
  readonly confOf: (state: StateSnapshot) => Promise<ConfState>;
  readonly done: (to: MemberId, session: number, status: "ok" | "failed" | "aborted") => void;
}

export class SnapshotSender {
  readonly #mesh: Pick<PeerMesh, "openStream">;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stallMs: number;
  readonly #host: SenderHost;
  readonly #sessions = new Map<MemberId, { readonly session: number; readonly abort: () => void; index: LogIndex }>();
  sent = 0;

  constructor(mesh: Pick<PeerMesh, "openStream">, clock: Clock, log: Logger, stallMs: number, host: SenderHost) {
    this.#mesh = mesh;
    this.#clock = clock;
    this.#log = log;
    this.#stallMs = stallMs;
    this.#host = host;
  }

  lowestIndex(): LogIndex | undefined {
    let lowest: LogIndex | undefined;
    for (const { index } of this.#sessions.values()) if (lowest === undefined || index < lowest) lowest = index;
    return lowest;
  }

  start(to: MemberId, session: number): void {
    this.#sessions.get(to)?.abort();
    let aborted = false;
    let wake = (): void => {};
    const state = this.#host.snapshot();
    this.#sessions.set(to, {
      session,
      index: state.index,
      abort: () => {
        aborted = true;
        wake();
      },
    });
    this.#log.info({ to, session, index: state.index }, "sending a snapshot");
    this.#stream(
      to,
      session,
      state,
      () => aborted,
      (callback) => {
        wake = callback;
      },
    )
      .then((status) => this.#end(to, session, status))
      .catch((error) => {
        this.#log.warn({ to, session, error: String(error) }, "a snapshot was not delivered");
        this.#end(to, session, aborted ? "aborted" : "failed");
      })
      .finally(() => state.close().catch(() => {}));
  }

  abort(to: MemberId, session: number): void {
    const running = this.#sessions.get(to);
    if (running?.session === session) running.abort();
  }

  close(): void {
    for (const { abort } of this.#sessions.values()) abort();
  }

  #end(to: MemberId, session: number, status: "ok" | "failed" | "aborted"): void {
    if (this.#sessions.get(to)?.session === session) this.#sessions.delete(to);
    if (status === "ok") this.sent += 1;
    this.#host.done(to, session, status);
  }

  async #stream(
    to: MemberId,
    session: number,
    state: StateSnapshot,
    aborted: () => boolean,
    onWake: (callback: () => void) => void,
  ): Promise<"ok" | "failed" | "aborted"> {
    const conf = await this.#host.confOf(state);
    if (aborted()) return "aborted";
    const connection = await this.#mesh.openStream(to);
    let acknowledged = 0;
    let finished: string | undefined;
    let wake = (): void => {};
    onWake(() => wake());
    connection.onFrame = (frame) => {
      if (frame[0] !== WORKING[0]) acknowledged += 1;
      wake();
    };
    connection.onClose = (reason) => {
      finished = reason;
      wake();
    };
    /** Waits for news; a receiver that gives none for `stallMs` has failed. */
    const news = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const timer = this.#clock.after(this.#stallMs, () => reject(new StoreError("TIMEOUT")));
        wake = () => {
          wake = () => {};
          timer.cancel();
          resolve();
        };
      });
    try {
      const header = {
        term: this.#host.term(),
        session,
        index: state.index,
        snapshotTerm: state.term,
        conf: encodeConfState(conf),
      };
      connection.send(framed(FRAME.header, encodeSnapshotHeader(header)));
      let sent = 1;
      for await (const chunk of state.stream(session)) {
        while (sent - acknowledged >= WINDOW && finished === undefined && !aborted()) await news();
        if (aborted()) return "aborted";
        if (finished !== undefined)
          throw new StoreError("CONNECTION_LOST", { message: `the receiver said: ${finished}` });
        connection.send(framed(FRAME.chunk, chunk));
        sent += 1;
      }
      connection.send(framed(FRAME.end, new Uint8Array(0)));
      sent += 1;
      // The last acknowledgement says that the receiver has it durable and its core was told.
      while (acknowledged < sent && finished === undefined && !aborted()) await news();
      if (aborted()) return "aborted";
      return acknowledged >= sent ? "ok" : "failed";
    } finally {
      connection.close("done");
    }
  }
}

export interface ReceiverHost {
  readonly generation: () => number;
  /** One arrived whole and is about to become the state. */
  readonly installing: () => boolean;
  readonly applied: () => LogIndex;
  readonly contact: (from: MemberId) => void;
  /**
   * Everything arrived, is durable beside the old state, and was shown to `loader`: build the machine, then tell the core.
   */
  readonly arrived: (
    from: MemberId,
    message: InstallSnapshot,
    state: StateBackend,
    loader: MachineLoader,
  ) => Promise<void>;
}

interface Arriving {
  readonly connection: Connection;
  cancelled: boolean;
  timer: Timer | undefined;
  /** Ends it behind what is under way; resolves when nothing is left of it. */
  readonly end: (reason: string) => Promise<void>;
}

export class SnapshotReception {
  readonly #world: World;
  readonly #stallMs: number;
  readonly #host: ReceiverHost;
  #current: Arriving | undefined;
  #closed = false;

  /** A sender that is silent for `stallMs` has failed: streams have no other sign of life. */
  constructor(world: World, stallMs: number, host: ReceiverHost) {
    this.#world = world;
    this.#stallMs = stallMs;
    this.#host = host;
  }

  /** Resolves when what had arrived of a snapshot is gone. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    const current = this.#current;
    if (current === undefined) return;
    current.cancelled = true;
    current.timer?.cancel();
    current.connection.close("stopped");
    await current.end("stopped");
  }

  accept(from: MemberId, connection: Connection): void {
    if (this.#closed || this.#current !== undefined || this.#host.installing()) {
      // N13: one at a time; the sender's core asks again.
      connection.close("busy");
      return;
    }
    const { clock } = this.#world;
    let work: Promise<void> = Promise.resolve();
    const end = (reason: string): Promise<void> => {
      work = work.then(() => finish(reason));
      return work;
    };
    const current: Arriving = { connection, cancelled: false, timer: undefined, end };
    this.#current = current;
    let frames = 0;
    /** The sender's turn: it is waited for. This member's: the sender is told that it goes on, however long it takes. */
    const watch = (): void => {
      current.timer?.cancel();
      if (current.cancelled) return;
      if (frames === 0) {
        current.timer = clock.after(this.#stallMs, () => void end(`no word for ${this.#stallMs} ms`));
        return;
      }
      current.timer = clock.every(this.#stallMs / WORDS, () => {
        this.#host.contact(from);
        connection.send(WORKING);
      });
    };
    let receiver: SnapshotReceiver | undefined;
    const loader = new MachineLoader();
    let message: InstallSnapshot | undefined;
    const finish = async (reason: string): Promise<void> => {
      if (this.#current !== current) return;
      current.cancelled = true;
      current.timer?.cancel();
      connection.close(reason);
      if (receiver !== undefined) await receiver.abort().catch(() => {});
      if (this.#current === current) this.#current = undefined;
    };
    const handle = async (kind: number, bytes: Uint8Array): Promise<void> => {
      if (current.cancelled) return;
      if (kind === FRAME.header && message === undefined) {
        const header = decodeSnapshotHeader(bytes);
        message = {
          kind: "installSnapshot",
          term: term(header.term),
          session: header.session,
          index: logIndex(header.index),
          snapshotTerm: term(header.snapshotTerm),
          conf: decodeConfState(header.conf),
        };
        if (message.index <= this.#host.applied()) throw new StoreError("INVALID_REQUEST", { message: "not needed" });
        receiver = await SnapshotReceiver.begin(this.#world.disk, {
          generation: this.#host.generation() + 1,
          session: message.session,
          at: { index: message.index, term: message.snapshotTerm },
          checksum: this.#world.checksum,
          onRecord: (key, value) => loader.record(key, value),
        });
      } else if (kind === FRAME.chunk && receiver !== undefined) {
        await receiver.chunk(bytes);
        // A turn for each: one may hold a thousand records, and many may have come at once.
        await new Promise<void>((resolve) => clock.defer(resolve));
      } else if (kind === FRAME.end && receiver !== undefined && message !== undefined) {
        const state = await receiver.finish();
        receiver = undefined;
        if (current.cancelled) {
          await state.close();
          return;
        }
        try {
          await this.#host.arrived(from, message, state, loader);
        } catch (error) {
          await state.close().catch(() => {});
          throw error;
        }
      } else {
        throw new StoreError("INVALID_REQUEST", { message: "unexpected snapshot frame" });
      }
      this.#host.contact(from);
      connection.send(DONE);
    };
    connection.onFrame = (frame) => {
      const kind = frame[0] ?? -1;
      const bytes = frame.slice(1);
      frames += 1;
      if (frames === 1) watch();
      work = work
        .then(() => handle(kind, bytes))
        .catch((error) => {
          this.#world.log.warn({ from, error: String(error) }, "a snapshot was refused");
          return finish(error instanceof Error ? error.message.slice(0, 100) : "failed");
        })
        .finally(() => {
          frames -= 1;
          if (frames === 0) watch();
        });
    };
    connection.onClose = (reason) => {
      current.timer?.cancel();
      void end(reason);
    };
    watch();
  }
}
