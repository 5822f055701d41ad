/** The loads of `check perf`, and how its figures are judged: etcdctl's (etcd-semantics 14.6). */

export interface Load {
  /** Writes a second. */
  readonly rate: number;
  readonly clients: number;
}

const SMALL: Load = { rate: 150, clients: 50 };
const MEDIUM: Load = { rate: 1_000, clients: 200 };
const LARGE: Load = { rate: 8_000, clients: 500 };
const XLARGE: Load = { rate: 15_000, clients: 1_000 };

export const LOADS: Readonly<Record<string, Load>> = {
  ...{ s: SMALL, small: SMALL, m: MEDIUM, medium: MEDIUM },
  ...{ l: LARGE, large: LARGE, xl: XLARGE, xLarge: XLARGE },
};

/** Counts what is needed of any number of latencies, in seconds. */
export class Latencies {
  count = 0;
  slowest = 0;
  #sum = 0;
  #squares = 0;

  add(seconds: number): void {
    this.count += 1;
    this.slowest = Math.max(this.slowest, seconds);
    this.#sum += seconds;
    this.#squares += seconds * seconds;
  }

  /** Of all of them, not of a sample. */
  get deviation(): number {
    if (this.count === 0) return 0;
    const mean = this.#sum / this.count;
    return Math.sqrt(Math.max(0, this.#squares / this.count - mean * mean));
  }
}

export interface Figures {
  readonly latencies: Latencies;
  /** Failures by their text. */
  readonly errors: ReadonlyMap<string, number>;
  readonly seconds: number;
}

const SLOWEST_SECONDS = 0.5;
const DEVIATION_SECONDS = 0.1;
/** Of the load's rate. */
const SHARE = 0.9;

/** The lines to print, and whether the cluster passes. */
export function verdict({ latencies, errors, seconds }: Figures, rate: number): { lines: string[]; passed: boolean } {
  const lines: string[] = [];
  let passed = true;
  const judge = (good: boolean, pass: string, failure: string): void => {
    lines.push(good ? pass : failure);
    passed &&= good;
  };
  if (errors.size > 0) {
    passed = false;
    lines.push("FAIL: too many errors");
    for (const [text, count] of errors) lines.push(`FAIL: ERROR(${text}) -> ${count}`);
  }
  const throughput = seconds > 0 ? latencies.count / seconds : 0;
  const shown = `${Math.floor(throughput) + 1} writes/s`;
  judge(throughput / rate > SHARE, `PASS: Throughput is ${shown}`, `FAIL: Throughput too low: ${shown}`);
  const slowest = `${latencies.slowest.toFixed(6)}s`;
  judge(
    latencies.slowest <= SLOWEST_SECONDS,
    `PASS: Slowest request took ${slowest}`,
    `Slowest request took too long: ${slowest}`,
  );
  const deviation = `${latencies.deviation.toFixed(6)}s`;
  judge(latencies.deviation <= DEVIATION_SECONDS, `PASS: Stddev is ${deviation}`, `Stddev too high: ${deviation}`);
  lines.push(passed ? "PASS" : "FAIL");
  return { lines, passed };
}
