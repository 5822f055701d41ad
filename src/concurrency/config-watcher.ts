/**
 * One key as a typed value that is always the newest valid one. What is there is read and watched without a gap; what was
 * missed (a lost leader, a compaction) is read anew, so the newest value is never lost, only ones that it replaced.
 */
import { type Deferred, deferred } from "../base/deferred.ts";
import { StoreError } from "../base/errors.ts";
import type { Revision } from "../base/ids.ts";
import type { RequestOptions } from "../client/client.ts";
import { bytesOf, invalid, type StoredKeyValue } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import { Bounds } from "./bounds.ts";
import type { StandardIssue, StandardSchemaV1 } from "./standard-schema.ts";

/** A schema of any library that follows Standard Schema, or a function that returns the value or throws. */
export type ConfigValidator<T> = StandardSchemaV1<unknown, T> | ((value: unknown) => T | Promise<T>);

export type ConfigUpdate<T> =
  | { readonly kind: "value"; readonly revision: Revision; readonly value: T }
  /** What was written is not valid: `current` stays what it was. */
  | {
      readonly kind: "invalid";
      readonly revision: Revision;
      /** `INVALID_CONFIG`; its `cause` is what the parser or the function threw. */
      readonly error: StoreError;
      /** What a schema found. */
      readonly issues: readonly StandardIssue[];
    }
  /** Nothing is there: never was, or was deleted. `current` is `undefined`. */
  | { readonly kind: "absent"; readonly revision: Revision };

export interface ConfigWatcherOptions extends RequestOptions {
  /** From what is stored to what is validated. Default: JSON. What it throws makes the value invalid. */
  readonly parse?: ((kv: StoredKeyValue) => unknown) | undefined;
}

/**
 * Follows one key. `current` is the newest valid value; `updates()` tells of changes. Invalid values are reported and
 * change nothing. Goes on through changes of leaders, lost connections and compactions until it is closed.
 *
 * @example
 * await using config = await ConfigWatcher.open(client, "config/limits", v.object({ max: v.number() }));
 * console.log(config.current?.max);
 * for await (const update of config.updates()) {
 *   if (update.kind === "value") apply(update.value);
 *   else if (update.kind === "invalid") console.warn(update.error.message);
 * }
 */
export class ConfigWatcher<T> implements AsyncDisposable {
  readonly key: Uint8Array;
  readonly #client: ClientView;
  readonly #validate: (value: unknown) => Promise<Validated<T>>;
  readonly #parse: (kv: StoredKeyValue) => unknown;
  readonly #stop = new AbortController();
  readonly #readers = new Set<Reader<T>>();
  #current: { readonly value: T; readonly revision: Revision } | undefined;
  /** What a reader that comes now has to be told: what is in use, and what is wrong with what is there. */
  #state: readonly ConfigUpdate<T>[] = [];
  /** Of the newest write that was looked at; 0 where there is none. */
  #seen = 0;
  #end: { readonly error: StoreError | undefined } | undefined;

  private constructor(
    client: ClientView,
    key: Uint8Array,
    validator: ConfigValidator<T>,
    parse: (kv: StoredKeyValue) => unknown,
  ) {
    this.#client = client;
    this.key = key;
    this.#validate = validation(validator);
    this.#parse = parse;
  }

  /**
   * Reads the key and begins to follow it; a value that is there and valid is `current` at once. The options bound this
   * first read alone. Throws `EMPTY_KEY`, `INVALID_REQUEST` for what is no validator, and what a read throws. A value
   * that is not valid is reported by `updates()`, not thrown.
   */
  static async open<T>(
    client: ClientView,
    key: string | Uint8Array,
    validator: ConfigValidator<T>,
    options: ConfigWatcherOptions = {},
  ): Promise<ConfigWatcher<T>> {
    const { parse = (kv) => kv.json(), signal, timeoutMs } = options;
    const bytes = bytesOf(key, "key");
    if (bytes.length === 0) throw new StoreError("EMPTY_KEY");
    const watcher = new ConfigWatcher(client, bytes, validator, parse);
    const { header, kvs } = await client.get(bytes, { signal, timeoutMs });
    await watcher.#look(kvs[0], header.revision);
    void watcher.#run(header.revision + 1);
    return watcher;
  }

  /** The newest valid value. `undefined` where there never was one, or where the key was deleted since. */
  get current(): T | undefined {
    return this.#current?.value;
  }

  /** The revision that wrote `current`. */
  get revision(): Revision | undefined {
    return this.#current?.revision;
  }

  /**
   * What is there now, then each change; every caller has an iteration of its own. One that is slow is told the newest
   * value and, if what was written after it is invalid, that: never less, and nothing is queued beyond these two. Ends when
   * it is left or the watcher is closed; rejects with `CANCELLED` when the client is closed.
   */
  updates(): AsyncIterableIterator<ConfigUpdate<T>> {
    const reader = new Reader<T>((gone) => this.#readers.delete(gone));
    for (const update of this.#state) reader.tell(update);
    if (this.#end === undefined) this.#readers.add(reader);
    else reader.end(this.#end.error);
    return reader;
  }

  /** Follows no more; `current` stays. Safe to call twice. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#finish(undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Never rejects. */
  async #run(from: number): Promise<void> {
    using bounds = new Bounds(this.#client, { signal: this.#stop.signal });
    let next = from;
    while (bounds.ended === undefined) {
      try {
        if (next === 0) {
          const { header, kvs } = await bounds.persist((call) => this.#client.get(this.key, call));
          await this.#look(kvs[0], header.revision);
          next = header.revision + 1;
        }
        await using watch = this.#client.watch(this.key, { startRevision: next, signal: bounds.signal });
        for await (const { events, revision } of watch) {
          for (const { type, kv } of events) await this.#look(type === "put" ? kv : undefined, kv.modRevision);
          next = revision + 1;
        }
      } catch (error) {
        // What was written since is forgotten, but for the newest.
        if (StoreError.is(error, "COMPACTED")) next = 0;
        else if (bounds.ended === undefined) {
          try {
            await bounds.passed(error);
          } catch (final) {
            if (bounds.ended === undefined) this.#finish(final);
            return;
          }
        }
      }
    }
  }

  /** The key as it was written, or deleted, at this revision; read anew it may be what is known already. */
  async #look(kv: StoredKeyValue | undefined, at: Revision): Promise<void> {
    if (kv === undefined) {
      if (this.#seen === 0 && this.#state.length > 0) return;
      this.#seen = 0;
      this.#current = undefined;
      this.#tell({ kind: "absent", revision: at });
      return;
    }
    if (kv.modRevision === this.#seen) return;
    const validated = await this.#valid(kv);
    if (this.#stop.signal.aborted) return;
    const revision = kv.modRevision;
    this.#seen = revision;
    if ("value" in validated) {
      this.#current = { value: validated.value, revision };
      this.#tell({ kind: "value", revision, value: validated.value });
      return;
    }
    const { issues, cause } = validated;
    const why = issues.map(describe).join("; ");
    const error = new StoreError("INVALID_CONFIG", {
      message: `quorate: the config value is invalid: ${why}`,
      details: { key: new TextDecoder().decode(this.key), revision },
      cause,
    });
    this.#tell({ kind: "invalid", revision, error, issues });
  }

  async #valid(kv: StoredKeyValue): Promise<Validated<T>> {
    try {
      return await this.#validate(this.#parse(kv));
    } catch (cause) {
      return { issues: [{ message: cause instanceof Error ? cause.message : String(cause) }], cause };
    }
  }

  #tell(update: ConfigUpdate<T>): void {
    this.#state = follow(this.#state, update);
    for (const reader of this.#readers) reader.tell(update);
  }

  #finish(error: unknown): void {
    if (this.#end !== undefined) return;
    const reason =
      error === undefined || StoreError.is(error)
        ? error
        : new StoreError("INTERNAL", { outcome: "unknown", cause: error });
    this.#end = { error: reason };
    for (const reader of [...this.#readers]) reader.end(reason);
    this.#readers.clear();
  }
}

/** What there is to tell after this one: a value, or an absence, replaces all; what is invalid replaces only its like. */
function follow<T>(pending: readonly ConfigUpdate<T>[], update: ConfigUpdate<T>): readonly ConfigUpdate<T>[] {
  if (update.kind !== "invalid") return [update];
  return [...pending.filter(({ kind }) => kind !== "invalid"), update];
}

/** One iteration: what it was not told yet, two updates at most. */
class Reader<T> implements AsyncIterableIterator<ConfigUpdate<T>> {
  readonly #left: (reader: Reader<T>) => void;
  #pending: readonly ConfigUpdate<T>[] = [];
  #waiting: Deferred<IteratorResult<ConfigUpdate<T>, undefined>> | undefined;
  #end: { error: StoreError | undefined } | undefined;

  constructor(left: (reader: Reader<T>) => void) {
    this.#left = left;
  }

  tell(update: ConfigUpdate<T>): void {
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#pending = follow(this.#pending, update);
      return;
    }
    this.#waiting = undefined;
    waiting.resolve({ done: false, value: update });
  }

  end(error: StoreError | undefined): void {
    this.#end ??= { error };
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#settle(waiting);
  }

  next(): Promise<IteratorResult<ConfigUpdate<T>, undefined>> {
    if (this.#waiting !== undefined) return Promise.reject(invalid("an iteration of updates has one reader at a time"));
    const [first, ...rest] = this.#pending;
    if (first !== undefined) {
      this.#pending = rest;
      return Promise.resolve({ done: false, value: first });
    }
    const waiting = deferred<IteratorResult<ConfigUpdate<T>, undefined>>();
    if (this.#end === undefined) this.#waiting = waiting;
    else this.#settle(waiting);
    return waiting.promise;
  }

  async return(): Promise<IteratorResult<ConfigUpdate<T>, undefined>> {
    this.#left(this);
    this.#pending = [];
    this.end(undefined);
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The reason of the end is told once. */
  #settle(waiting: Deferred<IteratorResult<ConfigUpdate<T>, undefined>>): void {
    const error = this.#end?.error;
    this.#end = { error: undefined };
    if (error === undefined) waiting.resolve({ done: true, value: undefined });
    else waiting.reject(error);
  }
}

type Validated<T> = { readonly value: T } | { readonly issues: readonly StandardIssue[]; readonly cause?: unknown };

function validation<T>(validator: ConfigValidator<T>): (value: unknown) => Promise<Validated<T>> {
  // Some libraries' schemas are functions too.
  if (isSchema(validator)) {
    const { validate } = validator["~standard"];
    return async (value) => {
      const result = await validate(value);
      return result.issues === undefined ? { value: result.value } : { issues: result.issues };
    };
  }
  if (typeof validator !== "function") {
    throw invalid("a validator is a schema that follows Standard Schema, or a function");
  }
  return async (value) => ({ value: await validator(value) });
}

function isSchema<T>(validator: ConfigValidator<T>): validator is StandardSchemaV1<unknown, T> {
  const isObject = (typeof validator === "object" && validator !== null) || typeof validator === "function";
  return isObject && "~standard" in validator && typeof validator["~standard"]?.validate === "function";
}

function describe({ message, path = [] }: StandardIssue): string {
  const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}
