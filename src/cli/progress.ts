/** A progress bar on a terminal; elsewhere nothing is drawn. */
const WIDTH = 30;
const REDRAW_MS = 100;

export class ProgressBar {
  readonly #out: NodeJS.WriteStream;
  readonly #unit: (value: number) => string;
  readonly #startedAt = performance.now();
  #drawnAt = -Infinity;
  #drawn = false;

  constructor(unit: (value: number) => string, out: NodeJS.WriteStream = process.stderr) {
    this.#out = out;
    this.#unit = unit;
  }

  show(value: number, total: number): void {
    if (!this.#out.isTTY) return;
    const now = performance.now();
    if (now - this.#drawnAt < REDRAW_MS && value < total) return;
    this.#drawnAt = now;
    this.#drawn = true;
    this.#out.write(`\r\x1b[K${barText(value, total, (now - this.#startedAt) / 1000, this.#unit)}`);
  }

  /** Leaves the last state on a line of its own. */
  end(): void {
    if (this.#drawn) this.#out.write("\n");
    this.#drawn = false;
  }
}

/** `12 / 60 [------>_______________________] 20.00% 12s` */
export function barText(value: number, total: number, seconds: number, unit: (value: number) => string): string {
  const part = total > 0 ? Math.min(1, value / total) : 0;
  const done = Math.round(part * WIDTH);
  const bar = done === WIDTH ? "-".repeat(WIDTH) : `${"-".repeat(done)}>${"_".repeat(WIDTH - done - 1)}`;
  return `${unit(value)} / ${unit(total)} [${bar}] ${(part * 100).toFixed(2)}% ${Math.floor(seconds)}s`;
}
