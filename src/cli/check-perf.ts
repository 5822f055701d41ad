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

/**
 * Turns at the load's rate, first come first served. Where nobody takes them, as many as there are clients wait, as etcdctl
 * queues one write for each: what a stall of the cluster held up may be caught up with, and no more than that.
 */
export class Rate {
  readonly #perMs: number;
  readonly #most: number;
  readonly #now: () => number;
  readonly #goesOn: (now: number) => boolean;
  readonly #waiting: ((goesOn: boolean) => void)[] = [];
  #turns = 1;
  #at: number;

  constructor({ rate, clients }: Load, now: () => number, goesOn: (now: number) => boolean) {
    this.#perMs = rate / 1000;
    this.#most = clients;
    this.#now = now;
    this.#goesOn = goesOn;
    this.#at = now();
  }

  /** False once it is over. */
  turn(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.release();
    });
  }

  /** Call it often: gives the turns that are due by now. */
  release(): void {
    const now = this.#now();
    this.#turns = Math.min(this.#most, this.#turns + (now - this.#at) * this.#perMs);
    this.#at = now;
    if (!this.#goesOn(now)) {
      this.stop();
      return;
    }
    while (this.#turns >= 1 && this.#waiting.length > 0) {
      this.#turns -= 1;
      this.#waiting.shift()!(true);
    }
  }

  stop(): void {
    for (const resolve of this.#waiting.splice(0)) resolve(false);
  }
}

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
