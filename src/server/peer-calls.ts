/**
 * Requests that one member passes on to another, which alone can answer them: beside Raft's messages, over the same
 * connections. Each ends by its deadline, or as soon as the connection does.
 *
 *    request   0xca | 0 | call 4 | ms 4 | request
 *    answer    0xca | 1 | call 4 | response
 *    error     0xca | 2 | call 4 | error
 */
import { viewOf } from "../base/bytes.ts";
import { type Deferred, deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { MemberId } from "../base/ids.ts";
import type { Clock } from "../platform/clock.ts";
import {
  decodeError,
  decodeRequest,
  decodeResponse,
  encodeError,
  encodeRequest,
  encodeResponse,
} from "../protocol/codec.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Result, ResultOf } from "../protocol/responses.ts";
import { changesNothing } from "../transport/client-wire.ts";

/** First byte of what members send each other beside Raft's messages, whose first byte is their format version. */
export const PEER_CALL = 0xca;

const REQUEST = 0;
const ANSWER = 1;
const ERROR = 2;
const REQUEST_HEADER = 10;
const ANSWER_HEADER = 6;

/** Calls under way in each direction. */
const CALLS_MAX = 1 << 14;
/** No caller waits for longer, whatever it says. */
const SERVE_MS_MAX = 60_000;

export interface PeerCallsOptions {
  readonly clock: Clock;
  /** Of this run: an answer to an earlier one's call must not be taken for one of this run's. */
  readonly incarnation: number;
  /** False: certainly not sent. */
  readonly send: (to: MemberId, message: Uint8Array) => boolean;
  /** Answers what another member asks; rejects what it does not serve. */
  readonly serve: (request: Request, deadline: number) => Promise<Result>;
  readonly header: () => ResponseHeader;
}

interface Waiting {
  readonly to: MemberId;
  readonly request: Request;
  readonly answered: Deferred<Result>;
}

export class PeerCalls {
  readonly #o: PeerCallsOptions;
  readonly #waiting = new Map<number, Waiting>();
  #calls = 0;
  #serving = 0;

  constructor(options: PeerCallsOptions) {
    this.#o = options;
  }

  /** Throws `NO_LEADER` if it cannot be sent, `TIMEOUT`, `CONNECTION_LOST`, and whatever the other member answers. */
  async call<Q extends Request>(to: MemberId, request: Q, deadline: number): Promise<ResultOf<Q>> {
    const { clock } = this.#o;
    if (this.#waiting.size >= CALLS_MAX) throw new StoreError("TOO_MANY_REQUESTS");
    const call = this.#nextCall();
    const left = Math.max(1, Math.min(SERVE_MS_MAX, Math.ceil(deadline - clock.now())));
    const body = encodeRequest(request);
    const message = new Uint8Array(REQUEST_HEADER + body.length);
    const view = viewOf(message);
    message[0] = PEER_CALL;
    message[1] = REQUEST;
    view.setUint32(2, call);
    view.setUint32(6, left);
    message.set(body, REQUEST_HEADER);
    if (!this.#o.send(to, message)) throw new StoreError("NO_LEADER");
    const waiting: Waiting = { to, request, answered: deferred<Result>() };
    this.#waiting.set(call, waiting);
    const timer = clock.after(left, () => this.#fail(call, "TIMEOUT"));
    try {
      return (await waiting.answered.promise) as ResultOf<Q>;
    } finally {
      timer.cancel();
    }
  }

  /** Twelve bits of the run, twenty of its own: never in use already, for there are far fewer calls at once. */
  #nextCall(): number {
    this.#calls = (this.#calls + 1) % (1 << 20);
    return (this.#o.incarnation % (1 << 12)) * (1 << 20) + this.#calls;
  }

  onMessage(from: MemberId, message: Uint8Array): void {
    if (message.length < ANSWER_HEADER) return;
    const call = viewOf(message).getUint32(2);
    if (message[1] === REQUEST) {
      if (message.length < REQUEST_HEADER) return;
      const ms = Math.min(SERVE_MS_MAX, viewOf(message).getUint32(6));
      void this.#serve(from, call, this.#o.clock.now() + ms, message.slice(REQUEST_HEADER));
      return;
    }
    const waiting = this.#waiting.get(call);
    if (waiting === undefined || waiting.to !== from) return;
    this.#waiting.delete(call);
    const body = message.slice(ANSWER_HEADER);
    try {
      if (message[1] === ANSWER) waiting.answered.resolve(decodeResponse(body).result);
      else waiting.answered.reject(decodeError(body));
    } catch (cause) {
      waiting.answered.reject(new StoreError("INTERNAL", { outcome: "unknown", cause }));
    }
  }

  /** Its answers will not come any more. */
  peerDown(peer: MemberId): void {
    for (const [call, { to }] of this.#waiting) if (to === peer) this.#fail(call, "CONNECTION_LOST");
  }

  /** Who leads has changed: what was asked of another, as of the leader, had better be asked again. */
  leaderChanged(leader: MemberId | undefined): void {
    for (const [call, { to, request }] of this.#waiting) {
      if (to !== leader && changesNothing(request)) this.#fail(call, "LEADER_CHANGED");
    }
  }

  endAll(): void {
    for (const call of [...this.#waiting.keys()]) this.#fail(call, "STOPPED");
  }

  #fail(call: number, code: "TIMEOUT" | "CONNECTION_LOST" | "LEADER_CHANGED" | "STOPPED"): void {
    const waiting = this.#waiting.get(call);
    if (waiting === undefined) return;
    this.#waiting.delete(call);
    const outcome = changesNothing(waiting.request) ? "rejected" : "unknown";
    waiting.answered.reject(new StoreError(code, { outcome }));
  }

  async #serve(from: MemberId, call: number, deadline: number, body: Uint8Array): Promise<void> {
    let answer: Uint8Array;
    let kind = ANSWER;
    let isQuestion = true;
    this.#serving += 1;
    try {
      if (this.#serving > CALLS_MAX) throw new StoreError("TOO_MANY_REQUESTS");
      const request = decodeRequest(body);
      isQuestion = changesNothing(request);
      const result = await this.#o.serve(request, deadline);
      answer = encodeResponse({ header: this.#o.header(), result });
    } catch (error) {
      const known = StoreError.is(error) ? error : new StoreError("INTERNAL", { outcome: "unknown", cause: error });
      answer = encodeError(known);
      kind = ERROR;
    } finally {
      this.#serving -= 1;
    }
    if (this.#reply(from, call, kind, answer)) return;
    // Too much waits for that member, or the answer is larger than what it takes: a word on that finds room more likely.
    const refusal = new StoreError("TOO_MANY_REQUESTS", {
      outcome: kind === ANSWER && !isQuestion ? "applied" : "rejected",
      message: `quorate: an answer of ${answer.length} bytes could not be sent to the member that asked`,
    });
    if (kind === ANSWER) this.#reply(from, call, ERROR, encodeError(refusal));
  }

  #reply(to: MemberId, call: number, kind: number, body: Uint8Array): boolean {
    const message = new Uint8Array(ANSWER_HEADER + body.length);
    message[0] = PEER_CALL;
    message[1] = kind;
    viewOf(message).setUint32(2, call);
    message.set(body, ANSWER_HEADER);
    return this.#o.send(to, message);
  }
}
