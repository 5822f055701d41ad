/** How far an unattended benchmark is: a line a step on stderr, a bar below it on a terminal, and what is left. */
import { barText } from "../../src/cli/progress.ts";

export class Progress {
  readonly #total: number;
  readonly #begun = performance.now();
  #expected = 0;

  /** Seconds that all steps are expected to take. */
  constructor(totalSeconds: number) {
    this.#total = totalSeconds;
  }

  /** A step is over. What is left is scaled by how wrong the expectation was so far. */
  done(expectedSeconds: number, what: string): void {
    this.#expected = Math.min(this.#total, this.#expected + expectedSeconds);
    const took = (performance.now() - this.#begun) / 1000;
    const left = (this.#total - this.#expected) * (took / Math.max(1, this.#expected));
    this.#clear();
    const share = Math.round((100 * this.#expected) / this.#total);
    process.stderr.write(`${`${share} %`.padStart(5)}  ${what}  (${duration(left)} left)\n`);
    if (process.stderr.isTTY) {
      process.stderr.write(barText(this.#expected, this.#total, took, (value) => duration(value)));
    }
  }

  /** Something worth knowing that is no step. */
  say(what: string): void {
    this.#clear();
    process.stderr.write(`       ${what}\n`);
  }

  end(): void {
    this.#clear();
  }

  #clear(): void {
    if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
  }
}

export function duration(seconds: number): string {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
}
