/** What travels on a watch stream: requests one way, messages the other. The shapes are etcd's (etcd-semantics 4.1). */
import type { KeyValue, ResponseHeader } from "./key-value.ts";

/** etcd's WatchCreateRequest. */
export interface WatchCreate {
  /** Empty = one zero byte. */
  readonly key: Uint8Array;
  readonly rangeEnd?: Uint8Array | undefined;
  /** 0 = what comes after the current revision. */
  readonly startRevision?: number | undefined;
  /** 0 = the server chooses. */
  readonly watchId?: number | undefined;
  readonly noPut?: boolean | undefined;
  readonly noDelete?: boolean | undefined;
  readonly prevKv?: boolean | undefined;
  readonly progressNotify?: boolean | undefined;
  readonly fragment?: boolean | undefined;
}

export type WatchRequest =
  | ({ readonly kind: "create" } & WatchCreate)
  | { readonly kind: "cancel"; readonly watchId: number }
  | { readonly kind: "progress" }
  /** Who leads an election: each leader, and each of its values, as a put. A stream observes one election, and nothing else. */
  | { readonly kind: "observe"; readonly name: Uint8Array };

export interface WatchEvent {
  readonly type: "put" | "delete";
  /** Of a deletion: the key and its revision, nothing else. */
  readonly kv: KeyValue;
  readonly prevKv?: KeyValue | undefined;
  /** Of a deletion: the key went because its lease expired. Ours; etcd does not tell. */
  readonly expired?: true;
}

/** What one message says, whoever stamps it. */
export interface WatchNews {
  /** -1: a refused creation, or progress of all watchers of the stream. */
  readonly watchId: number;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: number;
  readonly cancelReason: string;
  /** More of this message follows. */
  readonly fragment: boolean;
  readonly events: readonly WatchEvent[];
}

/** etcd's WatchResponse. The header's revision is 0 where a compaction ended the watcher. */
export interface WatchResponse extends WatchNews {
  readonly header: ResponseHeader;
}

/** What an event weighs beside its bytes. */
const EVENT_OVERHEAD = 48;

export function weightOf({ kv, prevKv }: WatchEvent): number {
  const weight = EVENT_OVERHEAD + kv.key.length + kv.value.length;
  return prevKv === undefined ? weight : weight + EVENT_OVERHEAD + prevKv.key.length + prevKv.value.length;
}
