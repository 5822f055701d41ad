/**
 * Software transactional memory: a function that reads and writes keys as if it were alone, done again until nobody came
 * between. Compares and reads are etcd's, level by level (etcd-semantics 6.4).
 */
import { fromByteString, toByteString } from "../base/bytes.ts";
import { StoreError } from "../base/errors.ts";
import type { RequestOptions } from "../client/client.ts";
import { bytesOf, type GetOpResult, type GetOptions, invalid, type StoredKeyValue } from "../client/kv.ts";
import type { ClientView } from "../client/namespace.ts";
import { compare, type Op, op } from "../client/txn.ts";
import type { ResponseHeader } from "../protocol/key-value.ts";
import type { Compare } from "../protocol/requests.ts";
import { Bounds, type WaitOptions } from "./bounds.ts";

/**
 * What others may do between a read and the commit.
 * - `SerializableSnapshot`: all reads are of one revision, and neither what was read nor what is written changed since.
 * - `Serializable`: the same, but what is written without having been read may have changed.
 * - `RepeatableReads`: each key is read once, of any revision, and did not change until the commit.
 * - `ReadCommitted`: each key is read once, and may have changed since.
 */
export type Isolation = "SerializableSnapshot" | "Serializable" | "RepeatableReads" | "ReadCommitted";

const LEVELS: readonly Isolation[] = ["SerializableSnapshot", "Serializable", "RepeatableReads", "ReadCommitted"];

export interface StmOptions extends WaitOptions {
  /** Default `SerializableSnapshot`, as in etcd. */
  readonly isolation?: Isolation | undefined;
  /** Keys to read at once before the function runs. */
  readonly prefetch?: readonly (string | Uint8Array)[] | undefined;
}

/** What the function is given. Its own writes are what it reads back. */
export interface Stm {
  /** The value; `undefined` where the key does not exist. */
  get(key: string | Uint8Array): Promise<Uint8Array | undefined>;
  /** The same as text. */
  getText(key: string | Uint8Array): Promise<string | undefined>;
  /** The revision of the key's last write as it was read; 0 where the key does not exist. */
  revision(key: string | Uint8Array): Promise<number>;
  /** Written at the commit; `lease` attaches the key to one. */
  put(key: string | Uint8Array, value: string | Uint8Array, options?: Parameters<typeof op.put>[2]): void;
  delete(key: string | Uint8Array): void;
}

export interface StmResult<T> {
  /** Of the commit: its revision is the one of the writes, where there were any. */
  readonly header: ResponseHeader;
  /** What the function returned, the time it was committed. */
  readonly result: T;
  /** How often it ran. */
  readonly attempts: number;
}

/**
 * Runs `apply` and commits what it wrote, all or nothing, if nobody came between; runs it again until so. `apply` may run
 * many times, so it changes nothing but through its `Stm`; an error that it throws ends the whole and nothing is written.
 * Throws what a txn throws: `TOO_MANY_OPS` above 128 keys read or written; with outcome "unknown" it may have been committed.
 *
 * @example
 * await stm(client, async (tx) => {
 *   const balance = Number(await tx.getText("accounts/a"));
 *   tx.put("accounts/a", String(balance - 10));
 *   tx.put("accounts/b", String(Number(await tx.getText("accounts/b")) + 10));
 * });
 */
export async function stm<T>(
  client: ClientView,
  apply: (tx: Stm) => Promise<T> | T,
  options: StmOptions = {},
): Promise<StmResult<T>> {
  const { isolation = "SerializableSnapshot", prefetch = [] } = options;
  if (!LEVELS.includes(isolation)) {
    throw invalid(`unknown isolation ${JSON.stringify(isolation)}, choose ${LEVELS.join(", ")}`);
  }
  using bounds = new Bounds(client, options);
  const first = prefetch.map((key) => keyName(key));
  let known: ReadonlyMap<string, GetOpResult> = new Map();
  for (let attempts = 1; ; attempts++) {
    const attempt = new Attempt(client, isolation, { signal: bounds.signal }, known);
    let result: T;
    try {
      if (first.length > 0) await attempt.read(first);
      result = await apply(attempt);
    } catch (error) {
      // The revision that it read at is gone: a newer one serves as well.
      if (bounds.ended === undefined && StoreError.is(error, "COMPACTED") && attempt.isPinned) {
        known = new Map();
        continue;
      }
      throw bounds.ended ?? error;
    }
    const committed = await attempt.commit().catch((error: unknown) => {
      const { ended } = bounds;
      // Whether the commit happened is what its own error knows.
      if (ended === undefined || !StoreError.is(error)) throw error;
      throw new StoreError(ended.code, { message: ended.message, outcome: error.outcome, cause: error });
    });
    if (committed.succeeded) return { header: committed.header, result, attempts };
    known = committed.read;
  }
}

class Attempt implements Stm {
  readonly #client: ClientView;
  readonly #isolation: Isolation;
  readonly #call: RequestOptions;
  /** Read by the commit that failed: the first reads of this attempt, if it reads the same keys. */
  readonly #known: ReadonlyMap<string, GetOpResult>;
  readonly #reads = new Map<string, GetOpResult>();
  readonly #writes = new Map<string, { readonly value: Uint8Array | undefined; readonly op: Op }>();
  /** Where all reads are of one revision: that of the first. */
  #revision: number | undefined;
  #isOver = false;

  constructor(client: ClientView, isolation: Isolation, call: RequestOptions, known: ReadonlyMap<string, GetOpResult>) {
    this.#client = client;
    this.#isolation = isolation;
    this.#call = call;
    this.#known = known;
  }

  get isPinned(): boolean {
    return this.#revision !== undefined;
  }

  async get(key: string | Uint8Array): Promise<Uint8Array | undefined> {
    const name = keyName(key);
    const written = this.#writes.get(name);
    if (written !== undefined) return written.value;
    return (await this.#read(name))?.value;
  }

  async getText(key: string | Uint8Array): Promise<string | undefined> {
    const value = await this.get(key);
    return value === undefined ? undefined : new TextDecoder().decode(value);
  }

  async revision(key: string | Uint8Array): Promise<number> {
    return (await this.#read(keyName(key)))?.modRevision ?? 0;
  }

  put(key: string | Uint8Array, value: string | Uint8Array, options: Parameters<typeof op.put>[2] = {}): void {
    const bytes = bytesOf(value, "value");
    this.#write(keyName(key), bytes, op.put(key, bytes, options));
  }

  delete(key: string | Uint8Array): void {
    this.#write(keyName(key), undefined, op.delete(key));
  }

  #write(name: string, value: Uint8Array | undefined, written: Op): void {
    this.#check();
    this.#writes.set(name, { value, op: written });
  }

  async #read(name: string): Promise<StoredKeyValue | undefined> {
    await this.read([name]);
    return this.#reads.get(name)?.kvs[0];
  }

  /** Reads what was not read yet, in one round trip. */
  async read(names: readonly string[]): Promise<void> {
    this.#check();
    const missing = names.filter((name) => !this.#reads.has(name));
    if (missing.length === 0) return;
    const isSnapshot = this.#isolation === "SerializableSnapshot" || this.#isolation === "Serializable";
    const known = missing.map((name) => this.#known.get(name));
    // All of them are of the revision at which the last commit failed: newer than any before.
    if (isSnapshot && (this.#revision === undefined || this.#revision === known[0]?.revision)) {
      if (known.every((each) => each !== undefined)) {
        this.#keep(missing, known as readonly GetOpResult[], true);
        return;
      }
    }
    const options = isSnapshot
      ? this.#revision === undefined
        ? {}
        : { revision: this.#revision, serializable: true }
      : { serializable: true };
    let results: readonly GetOpResult[];
    try {
      results = await this.#fetch(missing, options);
    } catch (error) {
      // The member that was asked does not have this revision yet; one that does is asked.
      if (!StoreError.is(error, "FUTURE_REVISION")) throw error;
      results = await this.#fetch(missing, { ...options, serializable: false });
    }
    this.#keep(missing, results, isSnapshot);
  }

  async #fetch(names: readonly string[], options: GetOptions): Promise<readonly GetOpResult[]> {
    const gets = names.map((name) => op.get(fromByteString(name), options));
    const { results } = await this.#client
      .txn(this.#call)
      .then(...gets)
      .commit();
    return results as readonly GetOpResult[];
  }

  #keep(names: readonly string[], results: readonly GetOpResult[], isSnapshot: boolean): void {
    names.forEach((name, i) => {
      this.#reads.set(name, results[i]!);
    });
    if (isSnapshot) this.#revision ??= results[0]!.revision;
  }

  /** If nothing that counts has changed, then writes; else reads what was read anew. */
  async commit(): Promise<
    | { readonly succeeded: true; readonly header: ResponseHeader }
    | { readonly succeeded: false; readonly read: ReadonlyMap<string, GetOpResult> }
  > {
    this.#isOver = true;
    const names = [...this.#reads.keys()];
    const isSnapshot = this.#isolation === "SerializableSnapshot" || this.#isolation === "Serializable";
    const { succeeded, header, results } = await this.#client
      .txn(this.#call)
      .if(...this.#conflicts())
      .then(...[...this.#writes.values()].map((write) => write.op))
      .else(...(isSnapshot ? names.map((name) => op.get(fromByteString(name))) : []))
      .commit();
    if (succeeded) return { succeeded, header };
    return { succeeded, read: new Map(results.map((result, i) => [names[i]!, result as GetOpResult])) };
  }

  #conflicts(): readonly Compare[] {
    if (this.#isolation === "ReadCommitted") return [];
    const compares = [...this.#reads].map(([name, { kvs }]) =>
      compare.modRevision(fromByteString(name), "=", kvs[0]?.modRevision ?? 0),
    );
    if (this.#isolation !== "SerializableSnapshot") return compares;
    // Without a read there is nothing that the writes could have missed.
    const first = Math.min(Number.MAX_SAFE_INTEGER - 1, ...[...this.#reads.values()].map(({ revision }) => revision));
    for (const name of this.#writes.keys()) compares.push(compare.modRevision(fromByteString(name), "<", first + 1));
    return compares;
  }

  #check(): void {
    if (this.#isOver) throw invalid("this attempt is over: an stm's function ends after all that it began");
  }
}

/** Keys are told apart by their bytes. */
function keyName(key: string | Uint8Array): string {
  const bytes = bytesOf(key, "key");
  if (bytes.length === 0) throw new StoreError("EMPTY_KEY");
  return toByteString(bytes);
}
