/** A client that sees only the keys below a prefix, and sees them without it: `client.namespace("app/")`. */
import { concatBytes } from "../base/bytes.ts";
import type { Clock } from "../platform/clock.ts";
import type { Random } from "../platform/random.ts";
import type { Request } from "../protocol/requests.ts";
import type { Response, ResultOf } from "../protocol/responses.ts";
import type { RequestOptions } from "./client.ts";
import {
  bytesOf,
  type DeleteOptions,
  type DeleteResult,
  deleteRequest,
  deleteResult,
  type GetOptions,
  type GetResult,
  type PutOptions,
  type PutOutcome,
  putRequest,
  putResult,
  rangeRequest,
  stampedGet,
} from "./kv.ts";
import type { Leases } from "./lease.ts";
import { prefixedRequest, strippedResult } from "./prefix.ts";
import { Elections, Locks, type QueueHost } from "./queues.ts";
import { Txn } from "./txn.ts";
import type { Watch, WatchOptions } from "./watch.ts";

/** What recipes and namespaces need of a client: keys, leases, watches. `Client` is one, and so is each of its namespaces. */
export interface ClientView {
  get(key: string | Uint8Array, options?: GetOptions & RequestOptions): Promise<GetResult>;
  put(key: string | Uint8Array, value: string | Uint8Array, options?: PutOptions & RequestOptions): Promise<PutOutcome>;
  delete(key: string | Uint8Array, options?: DeleteOptions & RequestOptions): Promise<DeleteResult>;
  txn(options?: RequestOptions): Txn;
  watch(key: string | Uint8Array, options?: WatchOptions): Watch;
  getAndWatch(
    key: string | Uint8Array,
    options?: Omit<WatchOptions, "startRevision"> & Pick<RequestOptions, "timeoutMs">,
  ): Promise<GetResult & { readonly watch: Watch }>;
  readonly lease: Leases;
  /** Locks held by a member on the caller's behalf. */
  readonly locks: Locks;
  /** Elections by a member on the caller's behalf. */
  readonly elections: Elections;
  /** A view of what is below a prefix of this one's keys. */
  namespace(prefix: string | Uint8Array): ClientView;
  /** @internal */
  readonly host: ClientHost;
}

/** What recipes need beside calls: time, chance, and whether there is but the one member of this process. */
export interface ClientHost {
  readonly clock: Clock;
  readonly random: Random;
  readonly isInProcess: boolean;
}

/** What a namespace needs of the client that it is a view of. */
export interface NamespaceHost {
  readonly host: ClientHost;
  readonly request: <Q extends Request>(request: Q, options: RequestOptions) => Promise<Response<ResultOf<Q>>>;
  readonly watch: (key: string | Uint8Array, options: WatchOptions, prefix: Uint8Array) => Watch;
  readonly leases: (send: QueueHost["send"]) => Leases;
  readonly queues: (send: QueueHost["send"], prefix: Uint8Array) => QueueHost;
}

/**
 * Options, answers and errors are those of `Client`'s calls of the same names. Leases belong to the whole cluster: their ids
 * are shared, and revoking one deletes all of its keys, also those of others. It needs no closing: it ends with its client.
 */
export class Namespace implements ClientView {
  /** Of its leases, only keys below the prefix are told. */
  readonly lease: Leases;
  /** Their names, and the keys they answer, are below the prefix: in one queue with recipes on this view. */
  readonly locks: Locks;
  readonly elections: Elections;
  readonly #client: NamespaceHost;
  readonly #prefix: Uint8Array;

  /** @internal */
  constructor(client: NamespaceHost, prefix: string | Uint8Array) {
    this.#client = client;
    this.#prefix = bytesOf(prefix, "prefix");
    const send: QueueHost["send"] = (request, options) => this.#request(request, options);
    this.lease = client.leases(send);
    const queues = client.queues(send, this.#prefix);
    this.locks = new Locks(queues);
    this.elections = new Elections(queues);
  }

  async get(key: string | Uint8Array, options: GetOptions & RequestOptions = {}): Promise<GetResult> {
    const { header, result } = await this.#request(rangeRequest(key, options), options);
    return stampedGet(header, result);
  }

  async put(
    key: string | Uint8Array,
    value: string | Uint8Array,
    options: PutOptions & RequestOptions = {},
  ): Promise<PutOutcome> {
    const { header, result } = await this.#request(putRequest(key, value, options), options);
    return { header, ...putResult(result) };
  }

  async delete(key: string | Uint8Array, options: DeleteOptions & RequestOptions = {}): Promise<DeleteResult> {
    const { header, result } = await this.#request(deleteRequest(key, options), options);
    return { header, ...deleteResult(result) };
  }

  txn(options: RequestOptions = {}): Txn {
    return new Txn((request) => this.#request(request, options));
  }

  watch(key: string | Uint8Array, options: WatchOptions = {}): Watch {
    return this.#client.watch(key, options, this.#prefix);
  }

  async getAndWatch(
    key: string | Uint8Array,
    options: Omit<WatchOptions, "startRevision"> & Pick<RequestOptions, "timeoutMs"> = {},
  ): Promise<GetResult & { readonly watch: Watch }> {
    const { prefix, fromKey, rangeEnd, signal, timeoutMs } = options;
    const now = await this.get(key, { prefix, fromKey, rangeEnd, signal, timeoutMs });
    return { ...now, watch: this.watch(key, { ...options, startRevision: now.header.revision + 1 }) };
  }

  namespace(prefix: string | Uint8Array): Namespace {
    return new Namespace(this.#client, concatBytes([this.#prefix, bytesOf(prefix, "prefix")]));
  }

  /** @internal */
  get host(): ClientHost {
    return this.#client.host;
  }

  async #request<Q extends Request>(request: Q, options: RequestOptions): Promise<Response<ResultOf<Q>>> {
    const { header, result } = await this.#client.request(prefixedRequest(this.#prefix, request), options);
    return { header, result: strippedResult(this.#prefix, result) };
  }
}
