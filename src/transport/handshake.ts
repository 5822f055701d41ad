/**
 * How two members come to trust a connection (design section 6, raft-notes G3). The dialling side proves itself first, so
 * that a stranger who merely connects gets nothing to guess the secret from:
 *
 *   dialling                                              accepting
 *   open      version, ids, incarnation, nonce       ->
 *                                                    <-   challenge  version, ids, incarnation, nonce
 *   proof     HMAC(secret, "dialling" open challenge) ->
 *                                                    <-   welcome    HMAC(secret, "accepting" open challenge), hello
 *   hello                                            ->
 *   ready                                            ->   <-   ready
 *
 * Each proof covers both nonces, both ids and the side that gives it, so none can be replayed or reflected. "ready" says
 * that this side has dealt with the other's hello, durably where it must; a connection is up when both have said it. A
 * stream (`openStream`) has no hellos: its dialling side is ready after the welcome, and nobody waits for the other's.
 *
 *   frame     := "QRTP" version (2 bytes) kind (1 byte) body
 *   open      := purpose (1) secret? (1) cluster (8) from (8) to (8) incarnation (8) maxFrameBytes (4) nonce (16)
 *   challenge := secret? (1) cluster (8) from (8) incarnation (8) maxFrameBytes (4) nonce (16)
 *   proof     := 32 bytes
 *   welcome   := 32 bytes, hello
 *   hello     := bytes       ready := nothing
 *
 * A refusal is the reason with which the connection is closed: "CODE: text". That a member was removed is said behind the
 * welcome: whoever is told so ends, and takes it from nobody who has not proved itself.
 */
import { concatBytes, encodeUtf8, readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import { type ErrorCode, FAILURES, StoreError } from "../base/errors.ts";
import { type ClusterId, clusterId, formatId, type MemberId, memberId } from "../base/ids.ts";
import type { Clock, Timer } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Connection } from "./network.ts";

export const HANDSHAKE_VERSION = 1;
/** No frame of a handshake is larger. */
export const HANDSHAKE_BYTES_MAX: number = 64 << 10;
/** Before the other side has proved itself. */
const UNPROVEN_BYTES_MAX = 256;

const MAGIC = encodeUtf8("QRTP");
const KIND = { open: 1, challenge: 2, proof: 3, welcome: 4, hello: 5, ready: 6 } as const;
const HEAD = 7;
const PROOF = 32;
const NONCE = 16;

export type Purpose = "messages" | "stream";

export interface PeerIdentity {
  readonly id: MemberId;
  readonly clusterId: ClusterId;
  /** Counts the starts of a member; 0 while it has no data. */
  readonly incarnation: number;
}

export interface HandshakeOptions {
  readonly self: PeerIdentity;
  readonly clock: Clock;
  readonly random: Random;
  readonly hmac: (key: Uint8Array, data: Uint8Array) => Uint8Array;
  readonly secret: string | undefined;
  /** The largest frame that this side takes afterwards. */
  readonly maxFrameBytes: number;
  /** For the whole of it, `onHello` included. */
  readonly timeoutMs: number;
  readonly hello: () => Uint8Array;
  /** What it does is done before this side says that it is ready. A rejection refuses the connection. */
  readonly onHello: (peer: MemberId, bytes: Uint8Array) => Promise<void>;
  /** The other side has proved itself: the refusal, if this connection shall not be. */
  readonly admit: (peer: Peer) => StoreError | undefined;
}

/** Who is at the other end, proven. */
export interface Peer {
  readonly id: MemberId;
  readonly incarnation: number;
  readonly maxFrameBytes: number;
  readonly purpose: Purpose;
}

export interface HandshakeEvents {
  /** Takes the connection over: its handlers have to be set before this returns. */
  onDone(peer: Peer): void;
  /** The connection is closed, by this side or the other. The code is the refusal's, if it was one. */
  onFailed(error: StoreError, by: "this side" | "the other side"): void;
}

type Step = "open" | "challenge" | "proof" | "welcome" | "hello" | "ready" | "ended";

/** One handshake. It owns the connection's handlers until it ends. */
export class Handshake {
  readonly connection: Connection;
  readonly #o: HandshakeOptions;
  readonly #events: HandshakeEvents;
  readonly #target: MemberId | undefined;
  readonly #key: Uint8Array;
  readonly #timer: Timer;
  #purpose: Purpose;
  /** The kind of frame that comes next. */
  #awaits: Step;
  #lastKind = 0;
  #open: Uint8Array = new Uint8Array(0);
  #challenge: Uint8Array = new Uint8Array(0);
  #peer: Peer | undefined;
  #proven = false;
  #readySent = false;
  #readyCame = false;

  /** With a target this side dials, and speaks first. */
  constructor(
    connection: Connection,
    options: HandshakeOptions,
    events: HandshakeEvents,
    dials: { readonly target: MemberId; readonly purpose: Purpose } | undefined,
  ) {
    this.connection = connection;
    this.#o = options;
    this.#events = events;
    this.#target = dials?.target;
    this.#purpose = dials?.purpose ?? "messages";
    this.#key = encodeUtf8(`quorate-peer/${options.secret ?? ""}`);
    this.#awaits = dials === undefined ? "open" : "challenge";
    this.#timer = options.clock.after(options.timeoutMs, () =>
      this.refuse(new StoreError("TIMEOUT", { message: `no handshake within ${options.timeoutMs} ms` })),
    );
    connection.onFrame = (frame) => this.#onFrame(frame);
    connection.onClose = (reason) => this.#end(refusalOf(reason), "the other side");
    if (dials !== undefined) this.#sendOpen(dials.target);
  }

  /** The other side has not proved itself yet. */
  get halfOpen(): boolean {
    return !this.#proven;
  }

  /** Ends it: the text reaches the other side. */
  refuse(error: StoreError): void {
    if (this.#awaits === "ended") return;
    this.connection.onClose = () => {};
    this.connection.close(`${error.code}: ${error.message.replace(/^(quorate|etcdserver): /, "")}`);
    this.#end(error, "this side");
  }

  #end(error: StoreError, by: "this side" | "the other side"): void {
    if (this.#awaits === "ended") return;
    this.#awaits = "ended";
    this.#timer.cancel();
    this.connection.onFrame = () => {};
    this.#events.onFailed(error, by);
  }

  #onFrame(frame: Uint8Array): void {
    if (this.#awaits === "ended") return;
    try {
      this.#read(frame);
    } catch (error) {
      const known = StoreError.is(error)
        ? error
        : new StoreError("INVALID_REQUEST", { message: `malformed handshake: ${textOf(error)}`, cause: error });
      this.refuse(known);
    }
  }

  #read(frame: Uint8Array): void {
    if (frame.length > (this.#proven ? HANDSHAKE_BYTES_MAX : UNPROVEN_BYTES_MAX))
      throw new RangeError("frame too large");
    if (!isHandshakeFrame(frame)) throw new RangeError("not a frame of a handshake");
    const view = viewOf(frame);
    const version = view.getUint16(4);
    if (version !== HANDSHAKE_VERSION) {
      throw new StoreError("PROTOCOL_VERSION", {
        message: `this member speaks protocol version ${HANDSHAKE_VERSION}, not ${version}`,
        details: { version },
      });
    }
    const kind = frame[6]!;
    // A network that repeats frames (the simulator's) repeats these too.
    if (kind > 0 && kind <= this.#lastKind) return;
    const step = this.#awaits;
    if (step === "ended" || kind !== KIND[step]) throw new RangeError(`unexpected frame of kind ${kind}`);
    this.#lastKind = kind;
    switch (step) {
      case "open":
        this.#readOpen(frame, view);
        return;
      case "challenge":
        this.#readChallenge(frame, view);
        return;
      case "proof":
        requireLength(frame, HEAD + PROOF);
        this.#verify("dialling", frame.subarray(HEAD, HEAD + PROOF));
        this.#admit((refusal) => {
          if (refusal.code === "MEMBER_REMOVED" && this.#messages) this.#welcome();
        });
        this.#welcome();
        this.#awaits = this.#messages ? "hello" : "ready";
        return;
      case "welcome":
        if (frame.length < HEAD + PROOF) throw new RangeError("cut short");
        this.#verify("accepting", frame.subarray(HEAD, HEAD + PROOF));
        this.#admit();
        if (!this.#messages) {
          this.#send(KIND.ready, NOTHING);
          this.#done();
          return;
        }
        this.#awaits = "ready";
        this.#send(KIND.hello, this.#o.hello());
        this.#heed(frame.slice(HEAD + PROOF));
        return;
      case "hello":
        this.#awaits = "ready";
        this.#heed(frame.slice(HEAD));
        return;
      case "ready":
        requireLength(frame, HEAD);
        this.#readyCame = true;
        if (this.#readySent || !this.#messages) this.#done();
        return;
    }
  }

  get #messages(): boolean {
    return this.#purpose === "messages";
  }

  #sendOpen(target: MemberId): void {
    const { self, secret, maxFrameBytes, random } = this.#o;
    const body = new Uint8Array(54);
    const view = viewOf(body);
    body[0] = this.#messages ? 0 : 1;
    body[1] = secret === undefined ? 0 : 1;
    view.setBigUint64(2, self.clusterId);
    view.setBigUint64(10, self.id);
    view.setBigUint64(18, target);
    writeCounter(view, 26, self.incarnation);
    view.setUint32(34, maxFrameBytes);
    body.set(random.bytes(NONCE), 38);
    this.#open = this.#send(KIND.open, body);
  }

  #readOpen(frame: Uint8Array, view: DataView): void {
    requireLength(frame, HEAD + 54);
    const { self, secret, maxFrameBytes, random } = this.#o;
    const purpose = frame[HEAD]!;
    if (purpose > 1) throw new RangeError(`unknown purpose ${purpose}`);
    this.#purpose = purpose === 0 ? "messages" : "stream";
    this.#checkCluster(clusterId(view.getBigUint64(HEAD + 2)));
    const from = memberId(view.getBigUint64(HEAD + 10));
    const to = memberId(view.getBigUint64(HEAD + 18));
    if (to !== self.id) {
      throw new StoreError("MEMBER_MISMATCH", { message: `this is member ${formatId(self.id)}, not ${formatId(to)}` });
    }
    if (from === self.id) {
      throw new StoreError("MEMBER_MISMATCH", {
        message: `the caller claims to be this very member, ${formatId(self.id)}`,
      });
    }
    this.#checkSecret(frame[HEAD + 1]!);
    this.#setPeer(from, view, HEAD + 26);
    this.#open = frame.slice();
    const body = new Uint8Array(45);
    const answer = viewOf(body);
    body[0] = secret === undefined ? 0 : 1;
    answer.setBigUint64(1, self.clusterId);
    answer.setBigUint64(9, self.id);
    writeCounter(answer, 17, self.incarnation);
    answer.setUint32(25, maxFrameBytes);
    body.set(random.bytes(NONCE), 29);
    this.#challenge = this.#send(KIND.challenge, body);
    this.#awaits = "proof";
  }

  #readChallenge(frame: Uint8Array, view: DataView): void {
    requireLength(frame, HEAD + 45);
    this.#checkCluster(clusterId(view.getBigUint64(HEAD + 1)));
    const from = memberId(view.getBigUint64(HEAD + 9));
    if (from !== this.#target) {
      throw new StoreError("MEMBER_MISMATCH", {
        message: `member ${formatId(from)} answers, not ${formatId(this.#target!)}`,
      });
    }
    this.#checkSecret(frame[HEAD]!);
    this.#setPeer(from, view, HEAD + 17);
    this.#challenge = frame.slice();
    this.#send(KIND.proof, this.#prove("dialling"));
    this.#awaits = "welcome";
  }

  #setPeer(id: MemberId, view: DataView, at: number): void {
    const incarnation = readCounter(view, at);
    this.#peer = { id, incarnation, maxFrameBytes: view.getUint32(at + 8), purpose: this.#purpose };
  }

  #checkCluster(theirs: ClusterId): void {
    const ours = this.#o.self.clusterId;
    if (theirs === ours) return;
    throw new StoreError("CLUSTER_MISMATCH", {
      message: `member ${formatId(this.#o.self.id)} is of cluster ${formatId(ours)}, not ${formatId(theirs)}`,
    });
  }

  #checkSecret(theirs: number): void {
    const ours = this.#o.secret === undefined ? 0 : 1;
    if (theirs === ours) return;
    throw new StoreError("UNAUTHENTICATED", {
      message: ours === 1 ? "this member asks for a cluster secret" : "this member was given no cluster secret",
    });
  }

  #prove(side: "dialling" | "accepting"): Uint8Array {
    return this.#o.hmac(this.#key, concatBytes([encodeUtf8(side), this.#open, this.#challenge]));
  }

  #verify(side: "dialling" | "accepting", proof: Uint8Array): void {
    const expected = this.#prove(side);
    // All of it, always: how long it takes must not tell where the first difference is.
    let difference = expected.length ^ proof.length;
    for (let i = 0; i < expected.length; i++) difference |= expected[i]! ^ (proof[i] ?? 0);
    if (difference !== 0) throw new StoreError("UNAUTHENTICATED", { message: "wrong cluster secret" });
    this.#proven = true;
    this.connection.trust?.();
  }

  #admit(before: (refusal: StoreError) => void = () => {}): void {
    const refusal = this.#o.admit(this.#peer!);
    if (refusal === undefined) return;
    before(refusal);
    throw refusal;
  }

  #welcome(): void {
    this.#send(KIND.welcome, concatBytes([this.#prove("accepting"), this.#messages ? this.#o.hello() : NOTHING]));
  }

  /** Deals with the other side's hello, then says so. */
  #heed(hello: Uint8Array): void {
    this.#o.onHello(this.#peer!.id, hello).then(
      () => {
        if (this.#awaits === "ended") return;
        this.#send(KIND.ready, NOTHING);
        this.#readySent = true;
        if (this.#readyCame) this.#done();
      },
      (error: unknown) => {
        const message = `the hello was refused: ${textOf(error)}`;
        this.refuse(new StoreError(StoreError.is(error) ? error.code : "INVALID_REQUEST", { message, cause: error }));
      },
    );
  }

  #done(): void {
    this.#awaits = "ended";
    this.#timer.cancel();
    this.connection.onFrame = () => {};
    this.connection.onClose = () => {};
    this.#events.onDone(this.#peer!);
  }

  #send(kind: number, body: Uint8Array): Uint8Array {
    const frame = new Uint8Array(HEAD + body.length);
    frame.set(MAGIC);
    viewOf(frame).setUint16(4, HANDSHAKE_VERSION);
    frame[6] = kind;
    frame.set(body, HEAD);
    this.connection.send(frame);
    return frame;
  }
}

const NOTHING = new Uint8Array(0);

/** As a batch of messages such a frame would begin with one of 1.3 GB: the two are never confused. */
export function isHandshakeFrame(frame: Uint8Array): boolean {
  return frame.length >= HEAD && MAGIC.every((byte, i) => frame[i] === byte);
}

/** What the other side said when it closed: its refusal, or a lost connection. */
export function refusalOf(reason: string): StoreError {
  const match = /^([A-Z_]+): (.*)$/s.exec(reason);
  const code = match?.[1];
  return code !== undefined && Object.hasOwn(FAILURES, code)
    ? new StoreError(code as ErrorCode, { message: match![2]! })
    : new StoreError("CONNECTION_LOST", { message: reason });
}

function requireLength(frame: Uint8Array, length: number): void {
  if (frame.length !== length) throw new RangeError(`${frame.length} bytes, not ${length}`);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
