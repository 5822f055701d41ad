/** One side's watch stream during a program: answers to what is asked, and apart from these what each watcher is told. */
import { spanOf } from "../../src/kv/range.ts";
import type { TxnRequest } from "../../src/protocol/requests.ts";
import type { WatchCreate, WatchRequest } from "../../src/protocol/watch.ts";
import { bytes } from "../support/state.ts";
import type { WatchFeed, WatchMessage } from "./answer.ts";

/** A watcher that comes and goes behind each request: whatever that one is answered stands before. No program takes its id. */
const MARKER = 424_242;
const MARKER_REQUESTS: readonly WatchRequest[] = [
  { kind: "create", key: bytes("no program writes this key"), watchId: MARKER },
  { kind: "cancel", watchId: MARKER },
];

export class SideStream {
  readonly #feed: WatchFeed;
  /** What each watcher was told since the last look. */
  readonly #told = new Map<number, WatchMessage[]>();

  constructor(feed: WatchFeed) {
    this.#feed = feed;
  }

  /** What the request is answered: often one message, sometimes none. */
  async request(request: WatchRequest): Promise<WatchMessage[]> {
    for (const each of [request, ...MARKER_REQUESTS]) this.#feed.request(each);
    const answers: WatchMessage[] = [];
    for (;;) {
      const message = await this.#feed.next();
      const { watchId, created, canceled } = message;
      if (this.#isNews(message)) continue;
      if (watchId !== MARKER) answers.push(message);
      else if (canceled) return answers;
      if (created && !canceled) this.#told.set(watchId, []);
      else if (canceled) this.#told.delete(watchId);
    }
  }

  /** Waits until the watcher was told what the last message must hold; gives all that it was told since the last look. */
  async look(watchId: number, isLast: (message: WatchMessage) => boolean): Promise<WatchMessage[]> {
    for (;;) {
      const told = this.#told.get(watchId)!;
      if (told.length > 0 && isLast(told.at(-1)!)) {
        this.#told.set(watchId, []);
        return told;
      }
      const message = await this.#feed.next();
      if (!this.#isNews(message)) throw new Error(`nobody asked for ${JSON.stringify(message)}`);
    }
  }

  /** What it was told without being waited for. */
  take(watchId: number): WatchMessage[] {
    const told = this.#told.get(watchId)!;
    this.#told.set(watchId, []);
    return told;
  }

  close(): void {
    this.#feed.close();
  }

  /** Sorts away what no request is answered with: events, and ends by compaction. */
  #isNews(message: WatchMessage): boolean {
    if (message.events.length === 0 && message.compactRevision === 0) return false;
    const told = this.#told.get(message.watchId);
    if (told === undefined) throw new Error(`told to a watcher that is not there: ${JSON.stringify(message)}`);
    told.push(message);
    return true;
  }
}

/**
 * Makes an event of each kind for every watcher, whatever it filters, at one revision: who was told of it has been told of
 * everything before.
 */
export function sentinel(watchers: readonly WatchCreate[]): TxnRequest {
  const keys = [...new Set(watchers.map(({ key, rangeEnd }) => spanOf(watchKey(key), rangeEnd).low))].map(bytes);
  return inTurn(
    keys.map((key) => ({ kind: "put", key, value: bytes("sentinel") })),
    keys.map((key) => ({ kind: "deleteRange", key })),
  );
}

/** At one revision, though of the same keys: a later sibling may delete what an earlier one puts (etcd-semantics 2.5). */
export function inTurn(...parts: readonly TxnRequest["success"][]): TxnRequest {
  const all = (success: TxnRequest["success"]): TxnRequest => ({ kind: "txn", compare: [], success, failure: [] });
  return all(parts.map(all));
}

/** No key is the lowest one (etcd-semantics 4.2). */
const watchKey = (key: Uint8Array): Uint8Array => (key.length === 0 ? Uint8Array.of(0) : key);
