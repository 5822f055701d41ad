/** Two stores in step: asked the same, and held to the same answers. */
import { isDeepStrictEqual } from "node:util";
import { EMPTY } from "../../src/base/bytes.ts";
import type { Answer, KvRequest, Side } from "./answer.ts";
import type { Normaliser } from "./normalisers.ts";
import { absolute, mapAnswer, mapRequest, NOW, relative } from "./revisions.ts";

/** They answered differently, or one of them not at all. The text shows the program up to there, as on a new store. */
export class Difference extends Error {
  override readonly name = "Difference";
}

const ALL = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
/** etcd's limit of operations in a transaction. */
const OPS_MAX = 128;

interface Step {
  readonly request: KvRequest;
  readonly answer: Answer;
}

export interface PairOptions {
  readonly etcd: Side;
  readonly quorate: Side;
  readonly normalisers: readonly Normaliser[];
  /** Told of each answer on which both agree. */
  readonly onAnswer: (request: KvRequest, answer: Answer) => void;
}

export class Pair implements AsyncDisposable {
  readonly #o: PairOptions;
  #steps: Step[] = [];
  /** The revision at which the program began, and the store's at present. Both as the stores count. */
  #base = 1;
  #current = 1;
  #compacted = -1;

  /** Both must be new. */
  constructor(options: PairOptions) {
    this.#o = options;
  }

  /**
   * Makes used stores look like new ones to the next program: empty, and all that was before out of its reach. A store
   * never compacted before differs from these, so some programs need a new pair.
   */
  async clear(): Promise<void> {
    this.#steps = [];
    this.#base = 1;
    // The put lets the rest always have something to do, whatever was there.
    await this.#ask({ kind: "put", key: ALL.key, value: EMPTY });
    await this.#ask({ kind: "deleteRange", ...ALL });
    await this.#ask({ kind: "compact", revision: NOW, physical: true });
    this.#base = this.#current;
    this.#steps = [];
  }

  /** Throws `Difference` unless both answer alike. */
  async ask(request: KvRequest): Promise<void> {
    this.#o.onAnswer(request, await this.#ask(request));
  }

  /** Compares all that can still be read: every key at every revision since the program began or compacted. */
  async askEverything(): Promise<void> {
    const first = Math.max(this.#compacted, this.#base);
    for (let from = first; from <= this.#current; from += OPS_MAX) {
      const count = Math.min(OPS_MAX, this.#current - from + 1);
      const ranges = Array.from({ length: count }, (_, i) => {
        return { kind: "range", ...ALL, revision: relative(from + i, this.#base) } as const;
      });
      await this.ask({ kind: "txn", compare: [], success: ranges, failure: [] });
    }
  }

  async #ask(request: KvRequest): Promise<Answer> {
    const asked = mapRequest(request, (revision) => absolute(revision, this.#base, this.#current));
    const [ofEtcd, quorate] = await Promise.all([this.#o.etcd.ask(asked), this.#o.quorate.ask(asked)]).catch(
      (error) => {
        throw new Difference(this.#report(asked, `   no answer: ${String(error)}`), { cause: error });
      },
    );
    let etcd = ofEtcd;
    for (const normaliser of this.#o.normalisers) etcd = normaliser.normalise(asked, etcd, quorate);
    if (!isDeepStrictEqual(etcd, quorate)) {
      const answers = `   etcd:    ${this.#show(ofEtcd)}\n   quorate: ${this.#show(quorate)}`;
      throw new Difference(this.#report(asked, answers));
    }
    this.#steps.push({ request: asked, answer: etcd });
    if (etcd.kind === "granted") {
      this.#current = etcd.revision;
      if (asked.kind === "compact") this.#compacted = asked.revision;
    }
    return etcd;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#o.etcd[Symbol.asyncDispose](), this.#o.quorate[Symbol.asyncDispose]()]);
  }

  #report(last: KvRequest, answers: string): string {
    const toBase = (revision: number): number => relative(revision, this.#base);
    const request = (asked: KvRequest): string => show(mapRequest(asked, toBase));
    const before = this.#steps.map(
      (step, i) => `${i + 1}. ${request(step.request)}\n   both:    ${this.#show(step.answer)}\n`,
    );
    return `${before.join("")}${this.#steps.length + 1}. ${request(last)}\n${answers}`;
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
