/** The in-process way to a member: objects, no bytes, and nothing shared with whoever asks. */
import { copyBytes } from "../base/bytes.ts";
import type { Clock } from "../platform/clock.ts";
import type { CallOptions, Channel, ServedWatch, WatchOptions, WatchOutlet } from "../protocol/channel.ts";
import type { KeyValue } from "../protocol/key-value.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response, Result, ResultOf } from "../protocol/responses.ts";
import { type WatchEvent, weightOf } from "../protocol/watch.ts";
import { WatchFlow } from "../transport/watch-flow.ts";

/** What a watch message weighs in process, beside its events. */
const NEWS_BYTES = 64;

/** What a channel asks of its member. */
export interface InProcessHost extends Pick<Required<Channel>, "answerNow"> {
  /** Resolves when the member has ended. */
  readonly stopped: Promise<unknown>;
  readonly clock: Clock;
  handle(request: Request, call: CallOptions): Promise<Response>;
  watch(outlet: WatchOutlet, options: WatchOptions): ServedWatch;
}

export function inProcessChannel(host: InProcessHost): Channel {
  return {
    call: async <Q extends Request>(request: Q, call: CallOptions): Promise<Response<ResultOf<Q>>> =>
      ownResponse(await host.handle(request, call)) as Response<ResultOf<Q>>,
    answerNow: (request) => host.answerNow(request),
    watch: (receiver, options = {}) => {
      const { clock } = host;
      let isClosed = false;
      // In a turn of its own, as over a socket: whoever asks is never called back meanwhile.
      const later = (callback: () => void): void => {
        clock.defer(() => {
          if (!isClosed) callback();
        });
      };
      const flow: WatchFlow = new WatchFlow(
        {
          open: (outlet) => host.watch(outlet, options),
          deliver: (response) => {
            const bytes = response.events.reduce((sum, event) => sum + weightOf(event), NEWS_BYTES);
            // Copies: the history shares its bytes with whoever watches.
            const events = response.events.map(ownEvent);
            later(() => receiver.receive({ ...response, events }, bytes));
            return bytes;
          },
          hasRoom: () => true,
          ended: (error) => later(() => receiver.ended(error)),
        },
        options,
      );
      return {
        request: (request) => flow.request(request),
        consumed: (bytes) => void flow.consumed(bytes),
        close: () => {
          isClosed = true;
          flow.close();
        },
      };
    },
    // Made when asked for: whatever waits for the member's end is kept until then, and clients come and go.
    get closed() {
      return host.stopped.then(() => {});
    },
    close: () => {},
  };
}

/** The store's bytes are shared by all who read them; what leaves for an embedding program is its own. */
function ownResponse(response: Response): Response {
  const { header, result } = response;
  const own = ownResult(result);
  return own === result ? response : { header, result: own };
}

function ownResult<R extends Result>(result: R): R {
  switch (result.kind) {
    case "range":
      return { ...result, kvs: result.kvs.map(ownKeyValue) };
    case "put":
      return result.prevKv === undefined ? result : { ...result, prevKv: ownKeyValue(result.prevKv) };
    case "deleteRange":
      return { ...result, prevKvs: result.prevKvs.map(ownKeyValue) };
    case "txn":
      return { ...result, results: result.results.map(ownResult) };
    case "leader":
      return { ...result, kv: ownKeyValue(result.kv) };
    default:
      return result;
  }
}

function ownEvent(event: WatchEvent): WatchEvent {
  const { kv, prevKv } = event;
  return prevKv === undefined
    ? { ...event, kv: ownKeyValue(kv) }
    : { ...event, kv: ownKeyValue(kv), prevKv: ownKeyValue(prevKv) };
}

function ownKeyValue(kv: KeyValue): KeyValue {
  const { key, createRevision, modRevision, version, value, lease } = kv;
  return { key: copyBytes(key), createRevision, modRevision, version, value: copyBytes(value), lease };
}
