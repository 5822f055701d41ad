/** What every question of the comparison works with, and the samples that it adds. */
import type { Progress } from "../support/progress.ts";
import type { Scratch } from "../support/scratch.ts";
import { median, spread } from "../support/statistics.ts";
import type { Cluster, Contender } from "./cluster.ts";
import { stopAll } from "./cluster.ts";

export interface Sizes {
  readonly rounds: number;
  /** Of one run of a load. */
  readonly seconds: number;
  readonly warmup: number;
  /** Growth. */
  readonly keys: readonly number[];
  /** Members. */
  readonly nodes: readonly number[];
  readonly watchers: readonly [one: number, many: number];
  readonly leases: number;
  /** Before memory is measured. */
  readonly idleSeconds: number;
}

export interface Sample {
  readonly question: string;
  /** What of it, such as "100 clients". */
  readonly of: string;
  readonly contender: string;
  readonly figures: Readonly<Record<string, number>>;
}

/** A figure in the table. */
export interface Column {
  readonly figure: string;
  readonly title: string;
}

export interface Question {
  readonly name: string;
  readonly title: string;
  readonly columns: readonly Column[];
  /** How long it is expected to take with these contenders. */
  seconds(comparison: Comparison): number;
  ask(comparison: Comparison): Promise<void>;
}

export class Comparison {
  readonly scratch: Scratch;
  readonly contenders: readonly Contender[];
  readonly sizes: Sizes;
  readonly samples: Sample[] = [];
  /** Worth knowing beside the figures: what was left out, what was the bottleneck. */
  readonly notes = new Set<string>();
  /** What went wrong: the comparison goes on without it, and fails in the end. */
  readonly failures: string[] = [];
  progress: Progress | undefined;

  constructor(scratch: Scratch, contenders: readonly Contender[], sizes: Sizes) {
    this.scratch = scratch;
    this.contenders = contenders;
    this.sizes = sizes;
  }

  /** Contenders with clusters of their own, begun empty, for as long as `use` takes. Only one has load at a time. */
  async withClusters(
    contenders: readonly Contender[],
    nodes: number,
    use: (running: readonly Running[]) => Promise<void>,
  ): Promise<void> {
    const running: Running[] = [];
    try {
      for (const contender of contenders) {
        await this.attempt(contender.name, async () => {
          running.push({ contender, cluster: await contender.start(this.scratch, this.#newName(contender), nodes) });
        });
      }
      await use(running);
    } finally {
      for (const { cluster } of running) await stopAll(cluster);
      this.scratch.empty();
    }
  }

  add(question: string, of: string, contender: string, figures: Readonly<Record<string, number>>): void {
    this.samples.push({ question, of, contender, figures });
  }

  /** Runs this part; whether it went well. */
  async attempt(what: string, part: () => Promise<unknown>): Promise<boolean> {
    try {
      await part();
      return true;
    } catch (error) {
      this.failures.push(`${what}: ${(error as Error).message}`);
      this.progress?.say(`FAILED ${this.failures.at(-1)}`);
      return false;
    }
  }

  #started = 0;
  #newName(contender: Contender): string {
    this.#started += 1;
    return `${contender.name}-${this.#started}`;
  }
}

export interface Running {
  readonly contender: Contender;
  readonly cluster: Cluster;
}

export interface Summary {
  readonly median: number;
  /** (highest - lowest) / median. */
  readonly spread: number;
  readonly rounds: number;
}

export function summary(
  samples: readonly Sample[],
  question: string,
  of: string,
  contender: string,
  figure: string,
): Summary | undefined {
  const own = samples.filter(
    (each) => each.question === question && each.of === of && each.contender === contender && figure in each.figures,
  );
  if (own.length === 0) return undefined;
  const numbers = own.map(({ figures }) => figures[figure]!);
  return { median: median(numbers), spread: spread(numbers), rounds: numbers.length };
}
