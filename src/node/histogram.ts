/** Times counted in buckets, for Prometheus: nothing but numbers until somebody asks (metrics-page.ts). */

interface Series {
  /** One for each bucket, and one for what is above them all. */
  readonly counts: number[];
  sum: number;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

export class Histogram {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram";
  readonly #bounds: readonly number[];
  readonly #label: string | undefined;
  readonly #series = new Map<string, Series>();

  /** `count` buckets up to `first`, twice that, and so on. With a label, there is a series for each of its values. */
  constructor(name: string, help: string, first: number, count: number, label?: string) {
    this.name = name;
    this.help = help;
    this.#bounds = Array.from({ length: count }, (_, i) => first * 2 ** i);
    this.#label = label;
    if (label === undefined) this.#of("");
  }

  observe(seconds: number, of: string = ""): void {
    const series = this.#of(of);
    let bucket = 0;
    while (bucket < this.#bounds.length && seconds > this.#bounds[bucket]!) bucket += 1;
    series.counts[bucket]! += 1;
    series.sum += seconds;
  }

  async get(): Promise<{ name: string; help: string; type: string; values: Sample[]; aggregator: string }> {
    const values: Sample[] = [];
    for (const [of, { counts, sum }] of this.#series) {
      const labels = this.#label === undefined ? {} : { [this.#label]: of };
      let total = 0;
      counts.forEach((count, i) => {
        total += count;
        values.push({
          metricName: `${this.name}_bucket`,
          labels: { le: this.#bounds[i] ?? "+Inf", ...labels },
          value: total,
        });
      });
      values.push({ metricName: `${this.name}_sum`, labels, value: sum });
      values.push({ metricName: `${this.name}_count`, labels, value: total });
    }
    return { name: this.name, help: this.help, type: this.type, values, aggregator: "sum" };
  }

  #of(name: string): Series {
    let series = this.#series.get(name);
    if (series === undefined) {
      series = { counts: new Array(this.#bounds.length + 1).fill(0), sum: 0 };
      this.#series.set(name, series);
    }
    return series;
  }
}
