/**
 * The members of one cluster, connected with each other: who dials, who is trusted, what waits and what is refused.
 * Knows nothing of what the messages mean. Messages that are sent together leave in one frame for each peer, at `flush`.
 */
import { readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import { formatId, type MemberId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Logger } from "../platform/log.ts";
import type { Random } from "../platform/random.ts";
import { Arrivals } from "./arrivals.ts";
import { decodeFrame, encodeFrame, MESSAGE_OVERHEAD } from "./frame.ts";
import {
  HANDSHAKE_BYTES_MAX,
  Handshake,
  isHandshakeFrame,
  type Peer,
  type PeerIdentity,
  type Purpose,
} from "./handshake.ts";
import type { Connection, Listener, Network } from "./network.ts";

export interface PeerMeshOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly self: PeerIdentity;
  /** Both sides have the same or none. */
  readonly secret?: string;
  /** Absent: it only dials. */
  readonly listenUrl?: string;
  readonly allowedOrigins: readonly string[];
  readonly maxFrameBytes: number;
  /** Default 1,000. A peer is given up after three beats without a word from it. */
  readonly pingMs?: number;
  /** Default 5,000. */
  readonly handshakeMs?: number;
  /** What the other side's `onHello` gets, once each side has proved who it is. */
  readonly hello: () => Uint8Array;
  /** The connection carries messages only after both sides' promises are fulfilled. A rejection refuses it. */
  readonly onHello: (peer: MemberId, bytes: Uint8Array) => Promise<void>;
  /** The bytes are a view that is valid during the call only. */
  readonly onMessage: (from: MemberId, bytes: Uint8Array) => void;
  /** After all messages of one frame. */
  readonly onBurst: () => void;
  readonly onUp: (peer: MemberId) => void;
  readonly onDown: (peer: MemberId, reason: string) => void;
  readonly onRoundTrip: (peer: MemberId, ms: number) => void;
  /** Whether a member that is not among the peers was once, and may never be again. */
  readonly isRemoved?: (id: MemberId) => boolean;
  /** A peer, which has proved itself, says so of this member. */
  readonly onRemoved?: (by: MemberId) => void;
  /** A peer opened a stream: set the connection's handlers before this returns. */
  readonly onStream: (from: MemberId, connection: Connection) => void;
}

/** Bulk that may wait for one peer, in its socket and in the queue: soft by one message (design section 6). */
const BULK_BYTES_MAX = 1 << 20;
/** The same for all that waits, when a control message is added: heartbeats still pass where bulk must wait. */
const CONTROL_BYTES_MAX = 4 << 20;
/**
 * Reconnection: from this, doubled each time, to this. Short, because two members that have not found each other again
 * yet cannot elect a leader when the third one falls. Who refused will refuse again: that is asked at more ease.
 */
const RETRY_LEAST_MS = 50;
const RETRY_MOST_MS = 250;
const REFUSED_MOST_MS = 1_000;
/** No answer, or a lost connection. */
const PASSING: ReadonlySet<string> = new Set(["UNAVAILABLE", "CONNECTION_LOST", "TIMEOUT"]);
/** A connection that lived as long was a good one: the next attempt begins at the least again. */
const LIVED_MS = 2_000;
/** When the peer that should dial has not for as long, this one does: the other may not know where this one listens. */
const OVERDUE_MS = 3_000;
/**
 * The same for a peer that this member has not met yet: one that starts again is not waited for by those that were
 * there, and until it has met both of two others, the loss of one of them leaves no majority that can talk.
 */
const GREET_MS = 100;
const DIAL_MS = 2_000;
const PING_MS = 1_000;
const HANDSHAKE_MS = 5_000;
const SILENT_BEATS = 3;
/** Strangers that are being listened to at once. One more, and the one that has taken longest goes. */
const HALF_OPEN_MAX = 32;
/** The same refusal again within this time is not worth another warning. */
const REPEATED_MS = 10_000;

const PING = 1;
const PONG = 2;
/** A frame of messages begins with its number on this connection, framed as if it were one of them. */
const NUMBER_BYTES = 8;
const NUMBERED = MESSAGE_OVERHEAD + NUMBER_BYTES;
/** The mesh's own frames begin with an empty message, which nobody may send: four zero bytes, kind, time. */
const OWN_BYTES = MESSAGE_OVERHEAD + 9;

/** A connection over which messages pass. */
interface Link {
  readonly connection: Connection;
  readonly incarnation: number;
  /** Dialled by the member with the smaller id, as it should be. */
  readonly regular: boolean;
  readonly maxFrameBytes: number;
  readonly since: number;
  /** The next frame's number; the first message in `control`, always. */
  readonly number: Uint8Array;
  sent: number;
  readonly arrivals: Arrivals;
  readonly control: Uint8Array[];
  readonly bulk: Uint8Array[];
  /** Of what is in the two queues, as framed. */
  queuedBytes: number;
  /** Beats since it was last heard of. */
  silentBeats: number;
}

interface Known {
  readonly id: MemberId;
  urls: readonly string[];
  /** Where the next attempt goes. */
  nextUrl: number;
  link: Link | undefined;
  /** An attempt is under way. */
  dialling: boolean;
  timer: Timer | undefined;
  failures: number;
  /** The last attempt ended with a refusal by name. */
  refused: boolean;
  lastFailure: string;
}

export class PeerMesh {
  readonly #o: PeerMeshOptions;
  readonly #peers = new Map<MemberId, Known>();
  /** Peers with something queued, in the order in which they got it. */
  #waiting: Known[] = [];
  readonly #handshakes = new Set<Handshake>();
  /** Those of them whose other side came here and has proved nothing yet, the oldest first. */
  readonly #strangers = new Set<Handshake>();
  #listener: Listener | undefined;
  #beat: Timer | undefined;
  #closed: Promise<void> | undefined;
  #lastRefusal = "";
  #lastRefusalAt = Number.NEGATIVE_INFINITY;

  /** Throws `BAD_CONFIG` for an empty secret: it would protect nothing and look as if it did. */
  constructor(options: PeerMeshOptions) {
    if (options.secret === "") throw new StoreError("BAD_CONFIG", { message: "quorate: the cluster secret is empty" });
    this.#o = options;
  }

  /** Takes connections from now on; gives the address with the real port. */
  async listen(): Promise<string> {
    const { network, listenUrl: url, maxFrameBytes, allowedOrigins } = this.#o;
    if (url === undefined) throw new StoreError("BAD_CONFIG", { message: "quorate: no peer address to listen on" });
    this.#startBeat();
    const listener = await network.listen({
      url,
      maxFrameBytes,
      untrustedBytes: HANDSHAKE_BYTES_MAX,
      allowedOrigins,
      onConnection: (connection) => this.#accept(connection),
    });
    if (this.#closed !== undefined) {
      await listener.close();
      throw new StoreError("STOPPED");
    }
    this.#listener = listener;
    return listener.url;
  }

  /** Who belongs to the cluster beside this member. Whoever does not any more is disconnected. */
  setPeers(peers: readonly { readonly id: MemberId; readonly urls: readonly string[] }[]): void {
    if (this.#closed !== undefined) return;
    this.#startBeat();
    const listed = new Set(peers.map(({ id }) => id));
    for (const peer of [...this.#peers.values()]) {
      if (listed.has(peer.id)) continue;
      // What it was told last may be that it was removed.
      if (peer.link !== undefined) this.#flushPeer(peer.link);
      this.#drop(peer, "MEMBER_REMOVED: not a member of this cluster any more");
      peer.timer?.cancel();
      this.#peers.delete(peer.id);
    }
    for (const { id, urls } of peers) {
      if (id === this.#o.self.id) continue;
      let peer = this.#peers.get(id);
      let overdueMs = GREET_MS;
      if (peer === undefined) {
        peer = {
          id,
          urls,
          nextUrl: 0,
          link: undefined,
          dialling: false,
          timer: undefined,
          failures: 0,
          refused: false,
          lastFailure: "",
        };
        this.#peers.set(id, peer);
      } else if (peer.urls.length === urls.length && peer.urls.every((url, i) => url === urls[i])) {
        continue;
      } else {
        peer.urls = urls;
        peer.nextUrl = 0;
        peer.failures = 0;
        overdueMs = OVERDUE_MS;
      }
      this.#plan(peer, this.#o.self.id < id ? 0 : overdueMs);
    }
  }

  /**
   * Queues a message; `flush` sends it, and it arrives at most once. False: it was certainly not sent, because the peer is not connected, too much
   * waits for it already, or it takes no frame as large. The bytes must not change before `flush`.
   */
  send(to: MemberId, bytes: Uint8Array, control: boolean): boolean {
    const peer = this.#peers.get(to);
    const link = peer?.link;
    if (peer === undefined || link === undefined || bytes.length === 0) return false;
    const size = bytes.length + MESSAGE_OVERHEAD;
    if (size + NUMBERED > link.maxFrameBytes) return false;
    if (link.queuedBytes + link.connection.bufferedBytes >= (control ? CONTROL_BYTES_MAX : BULK_BYTES_MAX))
      return false;
    if (link.queuedBytes === 0) this.#waiting.push(peer);
    (control ? link.control : link.bulk).push(bytes);
    link.queuedBytes += size;
    return true;
  }

  /** Sends what is queued: control messages first, one frame for each peer. */
  flush(): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const peer of waiting) if (peer.link !== undefined) this.#flushPeer(peer.link);
  }

  connected(id: MemberId): boolean {
    return this.#peers.get(id)?.link !== undefined;
  }

  /** By the given clock; `undefined` while it is not connected. */
  connectedSince(id: MemberId): number | undefined {
    return this.#peers.get(id)?.link?.since;
  }

  /**
   * A second connection to a peer, for what would keep messages waiting. It belongs to the caller, who sets its handlers
   * at once. Rejects with `UNAVAILABLE` if it cannot be reached, or with its refusal.
   */
  async openStream(to: MemberId): Promise<Connection> {
    const peer = this.#peers.get(to);
    if (peer === undefined || this.#closed !== undefined) {
      throw new StoreError("UNAVAILABLE", { message: `quorate: no address of member ${formatId(to)} is known` });
    }
    const { urls, nextUrl } = peer;
    let failure = new StoreError("UNAVAILABLE", { message: `quorate: member ${formatId(to)} has no address` });
    for (let i = 0; i < urls.length; i++) {
      // The address that worked last comes first.
      const url = urls[(nextUrl + i) % urls.length]!;
      try {
        return await new Promise<Connection>((resolve, reject) =>
          this.#connect(to, url, "stream", (_proven, connection) => resolve(connection), reject),
        );
      } catch (error) {
        failure = asStoreError(error);
      }
    }
    throw failure;
  }

  /** Ends all connections, streams that were accepted too. Nothing is called afterwards. Safe to call twice. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#beat?.cancel();
    for (const peer of this.#peers.values()) {
      peer.timer?.cancel();
      const { link } = peer;
      if (link === undefined) continue;
      peer.link = undefined;
      release(link.connection, "STOPPED: this member closes");
    }
    for (const handshake of [...this.#handshakes]) {
      handshake.refuse(new StoreError("STOPPED", { message: "this member closes" }));
    }
    await this.#listener?.close();
  }

  // Who dials whom, and when.

  /** The next attempt, in place of any that was planned. */
  #plan(peer: Known, inMs: number): void {
    if (peer.dialling || peer.link !== undefined) return;
    peer.timer?.cancel();
    peer.timer = this.#o.clock.after(inMs, () => {
      peer.timer = undefined;
      this.#dial(peer);
    });
  }

  #planNext(peer: Known): void {
    if (this.#closed !== undefined || this.#peers.get(peer.id) !== peer) return;
    const { random, self } = this.#o;
    const most = Math.min(peer.refused ? REFUSED_MOST_MS : RETRY_MOST_MS, RETRY_LEAST_MS * 2 ** peer.failures);
    const wait = self.id < peer.id ? most : OVERDUE_MS;
    // Between a half and the whole of it, so that members that lost each other at once do not come back at once.
    this.#plan(peer, wait * (0.5 + random.next() / 2));
  }

  #dial(peer: Known): void {
    const { id } = peer;
    const url = peer.urls[peer.nextUrl];
    // Known by name only: the other side has to dial, or `setPeers` to say more.
    if (url === undefined || peer.dialling || peer.link !== undefined || this.#closed !== undefined) return;
    peer.dialling = true;
    this.#connect(
      id,
      url,
      "messages",
      (proven, connection) => {
        peer.dialling = false;
        peer.lastFailure = "";
        this.#install(proven, connection, this.#o.self.id < id);
      },
      (error) => {
        peer.dialling = false;
        peer.failures += 1;
        peer.refused = !PASSING.has(error.code);
        peer.nextUrl = peer.urls.length === 0 ? 0 : (peer.nextUrl + 1) % peer.urls.length;
        this.#logFailure(peer, url, error);
        this.#planNext(peer);
      },
    );
  }

  /** Dials and shakes hands. `done` is called in the turn in which the connection may be used. */
  #connect(
    target: MemberId,
    url: string,
    purpose: Purpose,
    done: (proven: Peer, connection: Connection) => void,
    failed: (error: StoreError) => void,
  ): void {
    const { network, maxFrameBytes } = this.#o;
    network.dial(url, { maxFrameBytes, timeoutMs: DIAL_MS }).then(
      (connection) => {
        if (this.#closed !== undefined) {
          connection.close("STOPPED: this member closes");
          failed(new StoreError("STOPPED"));
          return;
        }
        const events = {
          onDone: (proven: Peer) => {
            this.#handshakes.delete(handshake);
            done(proven, connection);
          },
          onFailed: (error: StoreError, by: string) => {
            this.#handshakes.delete(handshake);
            if (error.code === "MEMBER_REMOVED" && by === "the other side" && !handshake.halfOpen) {
              this.#o.onRemoved?.(target);
            }
            failed(error);
          },
        };
        const options = this.#handshakeOptions((proven) => this.#refusalOf(proven, this.#o.self.id < proven.id));
        const handshake = new Handshake(connection, options, events, { target, purpose });
        this.#handshakes.add(handshake);
      },
      (error: unknown) => failed(asStoreError(error)),
    );
  }

  #accept(connection: Connection): void {
    if (this.#closed !== undefined) {
      connection.close("STOPPED: this member closes");
      return;
    }
    const end = (): void => {
      this.#handshakes.delete(handshake);
      this.#strangers.delete(handshake);
    };
    const options = this.#handshakeOptions((proven) => {
      this.#strangers.delete(handshake);
      return this.#refusalOf(proven, proven.id < this.#o.self.id);
    });
    const events = {
      onDone: (proven: Peer) => {
        end();
        if (proven.purpose === "messages") this.#install(proven, connection, proven.id < this.#o.self.id);
        else this.#takeStream(proven.id, connection);
      },
      onFailed: (error: StoreError, by: string) => {
        end();
        this.#logRefusal(connection.remote, error, by);
      },
    };
    const handshake = new Handshake(connection, options, events, undefined);
    this.#handshakes.add(handshake);
    this.#strangers.add(handshake);
    if (this.#strangers.size <= HALF_OPEN_MAX) return;
    for (const oldest of this.#strangers) {
      oldest.refuse(new StoreError("TOO_MANY_REQUESTS", { message: "too many handshakes at once" }));
      break;
    }
  }

  #handshakeOptions(admit: (proven: Peer) => StoreError | undefined): ConstructorParameters<typeof Handshake>[1] {
    const { self, clock, random, hmac, secret, maxFrameBytes, hello, onHello, handshakeMs = HANDSHAKE_MS } = this.#o;
    return { self, clock, random, hmac, secret, maxFrameBytes, timeoutMs: handshakeMs, hello, onHello, admit };
  }

  /**
   * Why a member that has proved itself is not let in. Both ends decide alike which of two connections stays: that of
   * the later run of the process, then the regular one, then the newer.
   */
  #refusalOf(proven: Peer, regular: boolean): StoreError | undefined {
    const peer = this.#peers.get(proven.id);
    if (peer === undefined) {
      if (this.#o.isRemoved?.(proven.id) === true) {
        return new StoreError("MEMBER_REMOVED", {
          message: `member ${formatId(proven.id)} was removed from the cluster`,
        });
      }
      // It may have been removed, or this member has yet to hear that it was added: the other side tries again.
      return new StoreError("MEMBER_NOT_FOUND", {
        message: `member ${formatId(proven.id)} is not known to ${formatId(this.#o.self.id)} (not yet added, or removed)`,
      });
    }
    const { link } = peer;
    if (proven.purpose === "stream" || link === undefined) return undefined;
    if (proven.incarnation < link.incarnation) {
      return new StoreError("MEMBER_MISMATCH", { message: `a later run of ${formatId(proven.id)} is connected` });
    }
    if (proven.incarnation === link.incarnation && link.regular && !regular) {
      return new StoreError("UNAVAILABLE", { message: `${formatId(proven.id)} is connected already` });
    }
    return undefined;
  }

  #takeStream(from: MemberId, connection: Connection): void {
    try {
      this.#o.onStream(from, connection);
    } catch (error) {
      this.#o.log.error({ peer: formatId(from), error: String(error) }, "a stream could not be taken");
      release(connection, "INTERNAL: the stream could not be taken");
    }
  }

  // A connection that carries messages.

  #install(proven: Peer, connection: Connection, regular: boolean): void {
    const refusal = this.#refusalOf(proven, regular);
    const peer = this.#peers.get(proven.id);
    if (refusal !== undefined || peer === undefined || this.#closed !== undefined) {
      release(connection, `${refusal?.code ?? "STOPPED"}: ${refusal?.message ?? "this member closes"}`);
      if (peer !== undefined) this.#planNext(peer);
      return;
    }
    this.#drop(peer, "replaced by a newer connection");
    peer.timer?.cancel();
    peer.timer = undefined;
    const number = new Uint8Array(NUMBER_BYTES);
    const link: Link = {
      connection,
      incarnation: proven.incarnation,
      regular,
      maxFrameBytes: proven.maxFrameBytes,
      since: this.#o.clock.now(),
      number,
      sent: 0,
      arrivals: new Arrivals(),
      control: [number],
      bulk: [],
      queuedBytes: 0,
      silentBeats: 0,
    };
    peer.link = link;
    const onMessage = (bytes: Uint8Array): void => {
      // What one message led to may have ended the connection: its frame's others count as lost then.
      if (peer.link !== link) return;
      if (bytes.length === 0) throw new RangeError("an empty message");
      this.#o.onMessage(peer.id, bytes);
    };
    connection.onFrame = (frame) => this.#onFrame(peer, link, frame, onMessage);
    connection.onClose = (reason) => {
      if (peer.link === link && reason.startsWith("MEMBER_REMOVED")) this.#o.onRemoved?.(peer.id);
      this.#lost(peer, link, reason);
    };
    this.#o.onUp(peer.id);
  }

  #onFrame(peer: Known, link: Link, frame: Uint8Array, onMessage: (bytes: Uint8Array) => void): void {
    if (peer.link !== link) return;
    link.silentBeats = 0;
    let failure: unknown;
    try {
      if (isOwn(frame)) {
        this.#onOwn(peer, link, frame);
        return;
      }
      if (!link.arrivals.isFirst(numberOf(frame))) return;
      decodeFrame(frame.subarray(NUMBERED), onMessage);
    } catch (error) {
      // A network that repeats frames (the simulator's) may repeat the handshake's last ones.
      if (isHandshakeFrame(frame)) return;
      failure = error;
    }
    if (peer.link !== link) return;
    // Messages before the damage were delivered.
    this.#o.onBurst();
    if (failure === undefined) return;
    const error = failure instanceof Error ? failure.message : String(failure);
    this.#o.log.warn({ peer: formatId(peer.id), error }, "a peer sent a malformed frame");
    this.#drop(peer, `INVALID_REQUEST: malformed frame: ${error}`);
  }

  #onOwn(peer: Known, link: Link, frame: Uint8Array): void {
    const view = viewOf(frame);
    const kind = frame[MESSAGE_OVERHEAD];
    const at = view.getFloat64(MESSAGE_OVERHEAD + 1);
    const now = this.#o.clock.now();
    if (kind === PING) link.connection.send(ownFrame(PONG, at));
    else if (kind !== PONG) throw new RangeError(`unknown frame of kind ${kind}`);
    // Only what may be an answer to a ping of this connection tells a time.
    else if (at >= link.since && at <= now) this.#o.onRoundTrip(peer.id, now - at);
  }

  #flushPeer(link: Link): void {
    if (link.queuedBytes === 0) return;
    const { control, bulk } = link;
    for (const message of bulk) control.push(message);
    if (link.queuedBytes + NUMBERED <= link.maxFrameBytes) sendNumbered(link, control);
    else {
      let messages = [link.number];
      let bytes = NUMBERED;
      for (const message of control.slice(1)) {
        const size = message.length + MESSAGE_OVERHEAD;
        if (bytes + size > link.maxFrameBytes) {
          sendNumbered(link, messages);
          messages = [link.number];
          bytes = NUMBERED;
        }
        messages.push(message);
        bytes += size;
      }
      sendNumbered(link, messages);
    }
    control.length = 1;
    bulk.length = 0;
    link.queuedBytes = 0;
  }

  #startBeat(): void {
    if (this.#closed !== undefined) return;
    const { clock, pingMs = PING_MS } = this.#o;
    this.#beat ??= clock.every(pingMs, () => this.#onBeat(pingMs));
  }

  /** Beats are counted, not time: after a pause of this process its peers have not been silent. */
  #onBeat(pingMs: number): void {
    const now = this.#o.clock.now();
    for (const peer of [...this.#peers.values()]) {
      const { link } = peer;
      if (link === undefined) continue;
      link.silentBeats += 1;
      if (link.silentBeats >= SILENT_BEATS) this.#drop(peer, `no word for ${SILENT_BEATS * pingMs} ms`);
      else link.connection.send(ownFrame(PING, now));
    }
  }

  /** Ends a peer's connection from this side. */
  #drop(peer: Known, reason: string): void {
    const { link } = peer;
    if (link === undefined) return;
    release(link.connection, reason);
    this.#lost(peer, link, reason);
  }

  #lost(peer: Known, link: Link, reason: string): void {
    if (peer.link !== link) return;
    peer.link = undefined;
    peer.failures = this.#o.clock.now() - link.since >= LIVED_MS ? 0 : peer.failures + 1;
    this.#o.onDown(peer.id, reason);
    this.#planNext(peer);
  }

  #logFailure(peer: Known, url: string, error: StoreError): void {
    const { log } = this.#o;
    const fields = { peer: formatId(peer.id), url, code: error.code, reason: error.message };
    const text = `${error.code} ${error.message}`;
    if (text === peer.lastFailure) log.debug(fields, "still not connected to a peer");
    else if (error.code in UNREACHED) log.info(fields, "not connected to a peer");
    else log.warn(fields, "a peer refused the connection, or was refused");
    peer.lastFailure = text;
  }

  #logRefusal(remote: string, error: StoreError, by: string): void {
    const { log, clock } = this.#o;
    const fields = { remote, code: error.code, reason: error.message, by };
    const text = `${error.code} ${error.message}`;
    const now = clock.now();
    // Anybody may connect: what a stranger does a thousand times must not fill the log. That both of two members dialled
    // is the ordinary course of a start.
    const repeated = text === this.#lastRefusal && now - this.#lastRefusalAt < REPEATED_MS;
    if (repeated || error.code in UNREACHED) {
      log.debug(fields, "a connection ended in its handshake");
      return;
    }
    this.#lastRefusal = text;
    this.#lastRefusalAt = now;
    log.warn(fields, "a connection was refused");
  }
}

/** Not being reached is the ordinary course while members come and go. */
const UNREACHED: Readonly<Record<string, true>> = { UNAVAILABLE: true, CONNECTION_LOST: true, STOPPED: true };

/** Lets go of a connection: nothing of it is heard any more. */
function release(connection: Connection, reason: string): void {
  connection.onFrame = () => {};
  connection.onClose = () => {};
  connection.close(reason);
}

function sendNumbered(link: Link, messages: readonly Uint8Array[]): void {
  link.sent += 1;
  writeCounter(viewOf(link.number), 0, link.sent);
  link.connection.send(encodeFrame(messages));
}

function numberOf(frame: Uint8Array): number {
  const view = viewOf(frame);
  if (frame.length < NUMBERED || view.getUint32(0) !== NUMBER_BYTES) throw new RangeError("a frame without a number");
  return readCounter(view, MESSAGE_OVERHEAD);
}

function ownFrame(kind: number, at: number): Uint8Array {
  const frame = new Uint8Array(OWN_BYTES);
  frame[MESSAGE_OVERHEAD] = kind;
  viewOf(frame).setFloat64(MESSAGE_OVERHEAD + 1, at);
  return frame;
}

function isOwn(frame: Uint8Array): boolean {
  return frame.length === OWN_BYTES && viewOf(frame).getUint32(0) === 0;
}

function asStoreError(error: unknown): StoreError {
  if (StoreError.is(error)) return error;
  return new StoreError("UNAVAILABLE", {
    message: error instanceof Error ? error.message : String(error),
    cause: error,
  });
}
