/**
 * Runs random programs on two stores until enough operations were compared.
 *
 * Both stores are new at the beginning and are always fed the same, so their revisions are the same numbers throughout
 * and answers compare as they are. A new etcd costs as much time as hundreds of operations, so most programs run on a
 * used pair: cleared (everything deleted, and compacted away), and with their revisions counted from there. What a program
 * meets is then the same wherever it runs; so a failing one can be shrunk, and replayed alone by seed and path. After a
 * difference the two may no longer be in step: the next program gets a new pair.
 */
import fc from "fast-check";
import { isReadOnlyTxn } from "../../src/kv/txn.ts";
import type { Answer, Side, Step, Told } from "./answer.ts";
import type { Normaliser } from "./normalisers.ts";
import { Difference, Pair, type PairOptions } from "./pair.ts";
import { type Program, programOf } from "./program.ts";

export interface ComparisonOptions {
  /** Opens new stores. */
  readonly open: () => Promise<{
    readonly etcd: Side;
    readonly quorate: Side;
    readonly normalisers: readonly Normaliser[];
  }>;
  readonly seed: number;
  /** Fewest to compare. A request is one, however many operations it holds; so is a look at what watches have told. */
  readonly operations: number;
  /** Where the failure of an earlier run lies: only that program is run. Its report names it. */
  readonly path?: string | undefined;
  /** Most steps of a program. Default 60. */
  readonly maxLength?: number;
  /** Pairs of stores that run programs at the same time, for most of a call is waiting. Default 1. */
  readonly lanes?: number;
  /** Told after each round how many operations were compared so far. */
  readonly onRound?: (operations: number) => void;
}

export interface Comparison {
  readonly programs: number;
  readonly operations: number;
  /** How often each kind of step was granted and each refusal met. */
  readonly answers: ReadonlyMap<string, number>;
}

/** Programs per round: a round is what fast-check runs with one seed. */
const PROGRAMS_PER_ROUND = 25;
const STEPS_MAX = 60;

/** Throws an `Error` that shows the smallest program found, and how to run it again. */
export async function compareStores(options: ComparisonOptions): Promise<Comparison> {
  const comparing = new Comparing(options);
  const lanes = options.path === undefined ? (options.lanes ?? 1) : 1;
  const ended = await Promise.allSettled(Array.from({ length: lanes }, () => comparing.lane()));
  const failed = ended.find((each) => each.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return comparing;
}

class Comparing implements Comparison {
  readonly answers = new Map<string, number>();
  programs = 0;
  operations = 0;
  readonly #o: ComparisonOptions;
  readonly #programs: fc.Arbitrary<Program>;
  #rounds = 0;
  /** That which found a difference, and now looks for the smallest. The others are not needed any more. */
  #failed: Lane | undefined;

  constructor(options: ComparisonOptions) {
    this.#o = options;
    this.#programs = programOf(options.maxLength ?? STEPS_MAX);
  }

  /** One program after the other on a pair of its own, whole rounds. Which lane runs a round changes nothing in it. */
  async lane(): Promise<void> {
    const lane = new Lane({ open: this.#o.open, onAnswer: (step, answer) => this.#count(step, answer) });
    try {
      while (!this.#isDone(lane)) {
        await this.#round(lane, (this.#o.seed + this.#rounds++) | 0);
        if (this.#o.path !== undefined) break;
        this.#o.onRound?.(this.operations);
      }
    } finally {
      await lane.drop();
    }
  }

  async #round(lane: Lane, seed: number): Promise<void> {
    const run = async (program: Program): Promise<void> => {
      if (this.#isDone(lane)) return;
      try {
        await lane.run(program);
        this.programs += 1;
      } catch (error) {
        this.#failed ??= lane;
        throw error;
      }
    };
    const details = await fc.check(fc.asyncProperty(this.#programs, run), {
      seed,
      numRuns: PROGRAMS_PER_ROUND,
      ...(this.#o.path === undefined ? {} : { path: this.#o.path }),
    });
    if (!details.failed || this.#failed !== lane) return;
    const { errorInstance, counterexamplePath } = details;
    throw new Error(
      "etcd and quorate differ. The smallest program found, with revisions as on a new store:\n" +
        `${errorInstance instanceof Error ? errorInstance.message : String(errorInstance)}\n` +
        `Again: npm run test:etcd -- --seed ${seed} --path ${counterexamplePath}`,
      // Beyond a difference: what went wrong, and where.
      errorInstance instanceof Difference ? { cause: errorInstance.cause } : { cause: errorInstance },
    );
  }

  #isDone(lane: Lane): boolean {
    return this.#failed === undefined ? this.operations >= this.#o.operations : this.#failed !== lane;
  }

  #count(step: Step, answer: Answer): void {
    const name = nameOf(step, answer);
    this.answers.set(name, (this.answers.get(name) ?? 0) + 1);
    this.operations += 1;
  }
}

type LaneOptions = Pick<ComparisonOptions, "open"> & Pick<PairOptions, "onAnswer">;

/** A pair of stores, and its replacement by a new one where a program needs that. */
class Lane {
  readonly #o: LaneOptions;
  #pair: Pair | undefined;

  constructor(options: LaneOptions) {
    this.#o = options;
  }

  async run({ fresh, operations }: Program): Promise<void> {
    if (fresh) await this.drop();
    try {
      if (this.#pair === undefined) {
        this.#pair = new Pair({ ...(await this.#o.open()), onAnswer: this.#o.onAnswer });
        if (!fresh) await this.#pair.clear();
      } else {
        await this.#pair.clear();
      }
      for (const operation of operations) await operation.run(this.#pair);
      await this.#pair.askEverything();
    } catch (error) {
      await this.drop();
      throw error;
    }
  }

  async drop(): Promise<void> {
    const used = this.#pair;
    this.#pair = undefined;
    await used?.[Symbol.asyncDispose]();
  }
}

function nameOf(step: Step, answer: Answer): string {
  switch (answer.kind) {
    case "refused":
      return answer.message;
    case "granted":
      return step.kind === "txn" && isReadOnlyTxn(step) ? "read-only txn" : step.kind;
    case "told":
      return nameOfTold(step, answer);
  }
}

function nameOfTold(step: Step, { messages }: Told): string {
  if (step.kind !== "watch") {
    if (messages.some(({ compactRevision }) => compactRevision !== 0)) return "look, compacted";
    return messages.length > 0 ? "look, events" : "look";
  }
  const [message] = messages;
  const name = `watch ${step.request.kind}`;
  if (message === undefined) return `${name}, no answer`;
  return message.cancelReason === "" ? name : `${name}: ${message.cancelReason}`;
}
