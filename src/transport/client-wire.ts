/**
 * What clients and servers say to each other, frame by frame: many messages in one frame (frame.ts), each with its type
 * in the first byte. `client-channel.ts` and `client-listener.ts` are the two ends.
 *
 *    client                                      server
 *    hello   1 | version                    ->
 *                                           <-   hello   1 | version, ids, limits
 *    call    2 | call 4 | ms 4 | flags 1 | [operation 24] | request
 *                                           <-   answer  2 | call 4 | response
 *                                           <-   error   3 | call 4 | error
 *    cancel  3 | call 4                     ->
 *    ping    4                              ->
 *                                           <-   pong    4
 *    watch   5 | stream 4 | flags 1 | window 4 ->
 *    ask     6 | stream 4 | watch request   ->
 *    credit  7 | stream 4 | bytes 4         ->
 *                                           <-   news    5 | stream 4 | watch message
 *                                           <-   leader  6 | term 8 | member 8 (0: none is known)
 *
 * A server says whom it follows after its hello and whenever that changes, so that a client can turn to the leader itself.
 *
 * A watch stream is numbered as calls are, ended by the client with "cancel" and by the server with "error". The window
 * is how many bytes of news (without the five before the message) may be on their way; "credit" gives back what was read.
 *
 * Call numbers are the client's, unique among its calls under way. A call whose flag says so may be cancelled; one whose
 * other flag says so is a write to be applied once: client id, sequence, lowest unacknowledged sequence, 8 bytes each.
 */
import { EMPTY, readCounter, viewOf, writeCounter } from "../base/bytes.ts";
import { memberId } from "../base/ids.ts";
import type { LeaderNews, OperationId } from "../protocol/channel.ts";
import type { Request, RequestOp } from "../protocol/requests.ts";
import { MESSAGE_OVERHEAD } from "./frame.ts";

export const FROM_CLIENT = { hello: 1, call: 2, cancel: 3, ping: 4, watch: 5, ask: 6, credit: 7 } as const;
export const FROM_SERVER = { hello: 1, answer: 2, error: 3, pong: 4, news: 5, leader: 6 } as const;

/** Bytes before a call's request, and before an answer's response or an error. */
export const CALL_HEADER = 10;
export const ANSWER_HEADER = 5;
export const CANCELLABLE = 1;
export const HAS_OPERATION = 2;
export const OPERATION_BYTES = 24;
/** A flag of a watch stream, and the most that may be on its way. */
export const REQUIRE_LEADER = 1;
export const WINDOW_BYTES_MAX: number = 64 << 20;
const LEADER_BYTES = 17;

/** Frames are cut about here: long enough to be cheap, short enough that the other side starts early. */
export const FRAME_BYTES: number = 256 << 10;

/** Longest time that a call can be given: what 4 bytes hold. */
const MS_MAX = 0xffff_ffff;

/** Lays messages into frames with one copy of each. */
export class FrameWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = viewOf(this.#bytes);
  }

  get length(): number {
    return this.#at;
  }

  call(
    call: number,
    timeoutMs: number,
    cancellable: boolean,
    operation: OperationId | undefined,
    request: Uint8Array,
  ): void {
    const operationBytes = operation === undefined ? 0 : OPERATION_BYTES;
    const at = this.#message(FROM_CLIENT.call, CALL_HEADER + operationBytes + request.length);
    const view = this.#view;
    view.setUint32(at, call);
    view.setUint32(at + 4, Math.min(MS_MAX, Math.max(0, Math.ceil(timeoutMs))));
    this.#bytes[at + 8] = (cancellable ? CANCELLABLE : 0) | (operation === undefined ? 0 : HAS_OPERATION);
    if (operation !== undefined) {
      writeCounter(view, at + 9, operation.clientId);
      writeCounter(view, at + 17, operation.sequence);
      writeCounter(view, at + 25, operation.lowestUnacknowledged);
    }
    this.#bytes.set(request, at + 9 + operationBytes);
  }

  /** An answer, an error, news or an ask: all have the number of a call or stream, and a body, maybe in two parts. */
  answer(type: number, call: number, body: Uint8Array, rest: Uint8Array = EMPTY): void {
    const at = this.#message(type, ANSWER_HEADER + body.length + rest.length);
    this.#view.setUint32(at, call);
    this.#bytes.set(body, at + 4);
    if (rest.length > 0) this.#bytes.set(rest, at + 4 + body.length);
  }

  cancel(call: number): void {
    const at = this.#message(FROM_CLIENT.cancel, 5);
    this.#view.setUint32(at, call);
  }

  watch(stream: number, requireLeader: boolean, windowBytes: number): void {
    const at = this.#message(FROM_CLIENT.watch, 10);
    this.#view.setUint32(at, stream);
    this.#bytes[at + 4] = requireLeader ? REQUIRE_LEADER : 0;
    this.#view.setUint32(at + 5, windowBytes);
  }

  credit(stream: number, bytes: number): void {
    const at = this.#message(FROM_CLIENT.credit, 9);
    this.#view.setUint32(at, stream);
    this.#view.setUint32(at + 4, bytes);
  }

  leader({ term, member }: LeaderNews): void {
    const at = this.#message(FROM_SERVER.leader, LEADER_BYTES);
    writeCounter(this.#view, at, term);
    this.#view.setBigUint64(at + 8, member ?? 0n);
  }

  /** A hello, a ping or a pong. */
  plain(type: number, body?: Uint8Array): void {
    const at = this.#message(type, 1 + (body?.length ?? 0));
    if (body !== undefined) this.#bytes.set(body, at);
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }

  /** Writes length and type; the rest begins at the place it returns. */
  #message(type: number, length: number): number {
    const needed = this.#at + MESSAGE_OVERHEAD + length;
    if (needed > this.#bytes.length) this.#grow(needed);
    this.#view.setUint32(this.#at, length);
    this.#bytes[this.#at + MESSAGE_OVERHEAD] = type;
    const body = this.#at + MESSAGE_OVERHEAD + 1;
    this.#at = needed;
    return body;
  }

  #grow(needed: number): void {
    const bytes = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    bytes.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }
}

/** Throws `RangeError` if it is no such message. */
export function readLeader(message: Uint8Array): LeaderNews {
  if (message.length !== LEADER_BYTES) throw new RangeError("a malformed leader");
  const view = viewOf(message);
  const member = view.getBigUint64(9);
  return { term: readCounter(view, 1), member: member === 0n ? undefined : memberId(member) };
}

/** Of a call whose flag says that it has one. Throws `RangeError` if the message is too short or a number too large. */
export function readOperation(message: Uint8Array): OperationId {
  const view = viewOf(message);
  return {
    clientId: readCounter(view, CALL_HEADER),
    sequence: readCounter(view, CALL_HEADER + 8),
    lowestUnacknowledged: readCounter(view, CALL_HEADER + 16),
  };
}

/** A frame as plain bytes, so that what is cut out of it is plain too, whatever the socket handed over. */
export function plainBytes(frame: Uint8Array): Uint8Array {
  return frame.constructor === Uint8Array ? frame : new Uint8Array(frame.buffer, frame.byteOffset, frame.byteLength);
}

/**
 * Asking changes nothing, so an attempt whose answer is lost did not happen in any way that matters. Nor does a keep-alive
 * that is sent twice, nor a registration that nobody uses: it expires.
 */
export function changesNothing(request: Request): boolean {
  switch (request.kind) {
    case "range":
    case "memberList":
    case "status":
    case "hashKv":
    case "leaseKeepAlive":
    case "leaseTimeToLive":
    case "leaseList":
    case "snapshot":
    case "register":
    case "leader":
      return true;
    case "alarm":
      return request.action === "get";
    case "txn":
      return request.success.every(isRange) && request.failure.every(isRange);
    default:
      return false;
  }
}

/** Waits for others, perhaps for long: it is taken back when its caller gives up or is gone. */
export function waits(request: Request): boolean {
  return request.kind === "lock" || request.kind === "campaign";
}

function isRange(op: RequestOp): boolean {
  return op.kind === "range";
}
