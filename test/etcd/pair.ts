/** Two stores in step: asked the same, and held to the same answers. */
import { isDeepStrictEqual } from "node:util";
import { EMPTY } from "../../src/base/bytes.ts";
import { type LeaseId, leaseId } from "../../src/base/ids.ts";
import type { LeaseGrantRequest } from "../../src/protocol/requests.ts";
import type { WatchCreate, WatchRequest } from "../../src/protocol/watch.ts";
import type { Answer, CallRequest, Side, Step, Watcher, WatchMessage } from "./answer.ts";
import { batching, type Normaliser } from "./normalisers.ts";
import { absolute, mapAnswer, mapRequest, mapStep, mapWatch, NOW, relative } from "./revisions.ts";
import { inTurn, SideStream, sentinel } from "./watching.ts";

/** They answered differently, or one of them not at all. The text shows the program up to there, as on a new store. */
export class Difference extends Error {
  override readonly name = "Difference";
}

const ALL = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
/** etcd's limit of operations in a transaction. */
const OPS_MAX = 128;

export interface PairOptions {
  readonly etcd: Side;
  readonly quorate: Side;
  readonly normalisers: readonly Normaliser[];
  /** Told of each answer on which both agree. */
  readonly onAnswer: (step: Step, answer: Answer) => void;
}

interface Both<T> {
  readonly etcd: T;
  readonly quorate: T;
}

/** A watcher of the program's stream. */
interface Watching extends Watcher {
  readonly request: WatchCreate;
  /** It begins in what was compacted, so it ends at once; it has been told so. */
  ended: boolean;
}

export class Pair implements AsyncDisposable {
  readonly #o: PairOptions;
  #steps: { readonly step: Step; readonly answer: Answer }[] = [];
  /** The revision at which the program began, and the store's at present. Both as the stores count. */
  #base = 1;
  #current = 1;
  #compacted = -1;
  readonly #leases = new Set<LeaseId>();
  #streams: Both<SideStream> | undefined;
  readonly #watching = new Map<number, Watching>();
  /** Something may have happened since the last look. */
  #unseen = false;
  #isClearing = false;

  /** Both must be new. */
  constructor(options: PairOptions) {
    this.#o = options;
  }

  /**
   * Makes used stores look like new ones to the next program: empty, and all that was before out of its reach. A store
   * never compacted before differs from these, so some programs need a new pair.
   */
  async clear(): Promise<void> {
    this.#endStreams();
    this.#steps = [];
    this.#base = 1;
    this.#isClearing = true;
    for (const id of [...this.#leases]) await this.#call({ kind: "leaseRevoke", id });
    // The put lets the rest always have something to do, whatever was there.
    await this.#call(inTurn([{ kind: "put", key: ALL.key, value: EMPTY }], [{ kind: "deleteRange", ...ALL }]));
    await this.#call({ kind: "compact", revision: NOW, physical: true });
    this.#isClearing = false;
    this.#base = this.#current;
    this.#steps = [];
  }

  /** Throws `Difference` unless both answer alike. */
  async ask(request: CallRequest): Promise<void> {
    // What a compaction takes from a watcher that has not been told of it yet is a matter of moments.
    if (request.kind === "compact") await this.look();
    this.#unseen = true;
    await this.#call(request);
  }

  /** Grants a lease under an id that each chooses, and revokes it again: the ids are not the same. */
  async grantUnnamed(ttl: number): Promise<void> {
    const grant: LeaseGrantRequest = { kind: "leaseGrant", ttl };
    const granted = await this.#both(grant, grant);
    const ids = [granted.etcd, granted.quorate].map((answer) =>
      answer.kind === "granted" && answer.result.kind === "leaseGrant" ? leaseId(BigInt(answer.result.id)) : undefined,
    );
    this.#agree(grant, granted.etcd, granted.quorate);
    const [etcd, quorate] = ids;
    if (etcd === undefined || quorate === undefined) return;
    const revoke = { kind: "leaseRevoke", id: quorate } as const;
    const revoked = await this.#both({ kind: "leaseRevoke", id: etcd }, revoke);
    this.#agree(revoke, revoked.etcd, revoked.quorate);
  }

  /** Asks the program's watch stream, which this opens if need be. */
  async watch(request: WatchRequest): Promise<void> {
    if (request.kind === "create") this.#unseen = true;
    else await this.look();
    const asked = mapWatch(request, (revision) => this.#absolute(revision));
    const step: Step = { kind: "watch", request: asked, inStep: this.#isInStep() };
    this.#streams ??= await this.#each(step, async (side) => new SideStream(await side.watch()));
    const { etcd, quorate } = this.#streams;
    const messages = await this.#race(step, etcd.request(asked), quorate.request(asked));
    const answer = this.#agree(
      step,
      { kind: "told", messages: messages.etcd },
      { kind: "told", messages: messages.quorate },
    );
    if (answer.kind !== "told") return;
    for (const { watchId, created, canceled, revision } of answer.messages) {
      if (canceled && !created) this.#watching.delete(watchId);
      if (!created || canceled || asked.kind !== "create") continue;
      const start = asked.startRevision ?? 0;
      const from = start === 0 ? revision + 1 : start;
      this.#watching.set(watchId, { id: watchId, request: asked, from, compacted: this.#compacted, ended: false });
    }
  }

  /**
   * A watcher that begins below revision 0, on a stream of its own: an older etcd gives it an id, a newer one none, and the
   * ids of those that came later would differ.
   */
  async watchFromBelow(create: WatchCreate & { readonly startRevision: number }): Promise<void> {
    // Where nothing was ever compacted, -1 is the compact revision, and 3.4 waits for what comes at such a revision.
    const startRevision = this.#compacted < 0 ? Math.min(create.startRevision, -2) : create.startRevision;
    const request = { ...create, kind: "create", startRevision } as const;
    const step: Step = { kind: "watch", request, inStep: false };
    const told = await this.#each(step, async (side) => {
      const feed = await side.watch();
      try {
        feed.request(request);
        const messages = [await feed.next()];
        while (!messages.at(-1)!.canceled) messages.push(await feed.next());
        return messages;
      } finally {
        feed.close();
      }
    });
    this.#agree(step, { kind: "told", messages: told.etcd }, { kind: "told", messages: told.quorate });
  }

  /** Compares what the watchers were told, once each has been told everything: nothing is waited for by time. */
  async look(): Promise<void> {
    if (!this.#unseen || this.#streams === undefined || this.#watching.size === 0) return;
    const watching = [...this.#watching.values()];
    const living = watching.filter(({ from, compacted }) => from >= compacted);
    if (living.length > 0) await this.#call(sentinel(living.map(({ request }) => request)));
    const at = this.#current;
    this.#unseen = false;
    const step: Step = { kind: "look", watchers: watching.map(watcherOf) };
    const look = async (stream: SideStream): Promise<WatchMessage[]> => {
      const messages: WatchMessage[] = [];
      for (const { id, from, compacted, ended } of watching) {
        let told: WatchMessage[];
        if (from < compacted && !ended) told = await stream.look(id, ({ canceled }) => canceled);
        else if (from < compacted || from > at) told = stream.take(id);
        else told = await stream.look(id, ({ events }) => events.at(-1)?.kv.modRevision === at);
        messages.push(...batching.merge(told));
      }
      return messages;
    };
    const { etcd, quorate } = await this.#race(step, look(this.#streams.etcd), look(this.#streams.quorate));
    for (const each of watching) each.ended = each.from < each.compacted;
    this.#agree(step, { kind: "told", messages: etcd }, { kind: "told", messages: quorate });
  }

  /** Compares all that can still be read: every key at every revision since the program began or compacted, every lease. */
  async askEverything(): Promise<void> {
    await this.look();
    const first = Math.max(this.#compacted, this.#base);
    for (let from = first; from <= this.#current; from += OPS_MAX) {
      const count = Math.min(OPS_MAX, this.#current - from + 1);
      const ranges = Array.from({ length: count }, (_, i) => {
        return { kind: "range", ...ALL, revision: relative(from + i, this.#base) } as const;
      });
      await this.#call({ kind: "txn", compare: [], success: ranges, failure: [] });
    }
    if (this.#leases.size > 0) await this.#call({ kind: "leaseList" });
    for (const id of this.#leases) await this.#call({ kind: "leaseTimeToLive", id, keys: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#endStreams();
    await Promise.all([this.#o.etcd[Symbol.asyncDispose](), this.#o.quorate[Symbol.asyncDispose]()]);
  }

  #endStreams(): void {
    this.#streams?.etcd.close();
    this.#streams?.quorate.close();
    this.#streams = undefined;
    this.#watching.clear();
    this.#unseen = false;
  }

  #isInStep(): boolean {
    const watching = [...this.#watching.values()];
    return (
      watching.length > 0 &&
      watching.every(({ from, compacted, request: { startRevision = 0 } }) => {
        return from >= compacted && startRevision <= this.#current;
      })
    );
  }

  #absolute(revision: number): number {
    const at = absolute(revision, this.#base, this.#current);
    // On a new store nothing happened at the revision at which a program begins; here it was cleared then.
    return at === this.#base && this.#base > 1 && this.#compacted <= at ? at + 1 : at;
  }

  async #call(request: CallRequest): Promise<void> {
    const asked = mapRequest(request, (revision) => absolute(revision, this.#base, this.#current));
    const { etcd, quorate } = await this.#both(asked, asked);
    const answer = this.#agree(asked, etcd, quorate);
    if (answer.kind !== "granted") return;
    this.#current = answer.revision;
    if (asked.kind === "compact") this.#compacted = asked.revision;
    if (asked.kind === "leaseGrant" && asked.id !== undefined) this.#leases.add(asked.id);
    if (asked.kind === "leaseRevoke") this.#leases.delete(asked.id);
  }

  #both(ofEtcd: CallRequest, ofQuorate: CallRequest): Promise<Both<Answer>> {
    return this.#race(ofQuorate, this.#o.etcd.ask(ofEtcd), this.#o.quorate.ask(ofQuorate));
  }

  #each<T>(step: Step, ask: (side: Side) => Promise<T>): Promise<Both<T>> {
    return this.#race(step, ask(this.#o.etcd), ask(this.#o.quorate));
  }

  async #race<T>(step: Step, ofEtcd: Promise<T>, ofQuorate: Promise<T>): Promise<Both<T>> {
    try {
      const [etcd, quorate] = await Promise.all([ofEtcd, ofQuorate]);
      return { etcd, quorate };
    } catch (error) {
      throw new Difference(this.#report(step, `   no answer: ${String(error)}`), { cause: error });
    }
  }

  #agree(step: Step, ofEtcd: Answer, quorate: Answer): Answer {
    let etcd = ofEtcd;
    for (const normaliser of this.#o.normalisers) etcd = normaliser.normalise(step, etcd, quorate);
    if (!isDeepStrictEqual(etcd, quorate)) {
      const answers = `   etcd:    ${this.#show(ofEtcd)}\n   quorate: ${this.#show(quorate)}`;
      throw new Difference(this.#report(step, answers));
    }
    this.#steps.push({ step, answer: etcd });
    if (!this.#isClearing) this.#o.onAnswer(step, etcd);
    return etcd;
  }

  #report(last: Step, answers: string): string {
    const toBase = (revision: number): number => relative(revision, this.#base);
    const text = (step: Step): string => show(mapStep(step, toBase));
    const before = this.#steps.map(
      ({ step, answer }, i) => `${i + 1}. ${text(step)}\n   both:    ${this.#show(answer)}\n`,
    );
    return `${before.join("")}${this.#steps.length + 1}. ${text(last)}\n${answers}`;
  }

  #show(answer: Answer): string {
    return show(mapAnswer(answer, (revision) => relative(revision, this.#base)));
  }
}

/** JSON, with keys and values as byte strings and without what is absent. */
function show(value: object): string {
  return JSON.stringify(value, (_name, part: unknown) => {
    if (part instanceof Uint8Array) return Buffer.from(part).toString("latin1");
    return typeof part === "bigint" ? part.toString() : part;
  });
}

function watcherOf({ id, from, compacted, request }: Watching): Watcher {
  const filtered = request.noPut === true || request.noDelete === true;
  return filtered ? { id, from, compacted, filtered } : { id, from, compacted };
}
