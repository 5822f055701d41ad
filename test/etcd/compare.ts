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
import { Difference, Pair } from "./pair.ts";
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
const PROGRAMS_PER_ROUND = 100;
const STEPS_MAX = 60;

/** Throws an `Error` that shows the smallest program found, and how to run it again. */
export async function compareStores(options: ComparisonOptions): Promise<Comparison> {
  const answers = new Map<string, number>();
  let operations = 0;
  let programs = 0;
  let pair: Pair | undefined;

  const onAnswer = (step: Step, answer: Answer): void => {
    const name = nameOf(step, answer);
    answers.set(name, (answers.get(name) ?? 0) + 1);
    operations += 1;
  };
  const run = async ({ fresh, operations }: Program): Promise<void> => {
    if (fresh) await drop();
    try {
      if (pair === undefined) {
        pair = new Pair({ ...(await options.open()), onAnswer });
        if (!fresh) await pair.clear();
      } else {
        await pair.clear();
      }
      for (const operation of operations) await operation.run(pair);
      await pair.askEverything();
      programs += 1;
    } catch (error) {
      await drop();
      throw error;
    }
  };
  const drop = async (): Promise<void> => {
    const used = pair;
    pair = undefined;
    await used?.[Symbol.asyncDispose]();
  };

  const arbitrary = programOf(options.maxLength ?? STEPS_MAX);
  try {
    for (let round = 0; operations < options.operations; round++) {
      const seed = (options.seed + round) | 0;
      const details = await fc.check(fc.asyncProperty(arbitrary, run), {
        seed,
        numRuns: PROGRAMS_PER_ROUND,
        ...(options.path === undefined ? {} : { path: options.path }),
      });
      if (details.failed) {
        const { errorInstance, counterexamplePath } = details;
        throw new Error(
          "etcd and quorate differ. The smallest program found, with revisions as on a new store:\n" +
            `${errorInstance instanceof Error ? errorInstance.message : String(errorInstance)}\n` +
            `Again: npm run test:etcd -- --seed ${seed} --path ${counterexamplePath}`,
          // Beyond a difference: what went wrong, and where.
          errorInstance instanceof Difference ? { cause: errorInstance.cause } : { cause: errorInstance },
        );
      }
      if (options.path !== undefined) break;
      options.onRound?.(operations);
    }
  } finally {
    await drop();
  }
  return { programs, operations, answers };
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
