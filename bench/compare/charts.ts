/** The charts that the README shows: throughput against latency, and cost against size. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Chart, type Point, svg } from "../support/svg-chart.ts";
import { type Sample, summary } from "./comparison.ts";

export const PUT_CHART = "bench-put.svg";
export const GROWTH_CHART = "bench-growth.svg";

/** Those for which this run has figures. */
export function writeCharts(dir: string, samples: readonly Sample[]): void {
  // A run of an hour must not end at a directory.
  mkdirSync(dir, { recursive: true });
  const put = chart(samples, "put", {
    title: "put 256 B, 3 nodes: latency at throughput",
    xTitle: "puts a second (number: clients)",
    yTitle: "p99, ms",
    x: (_, figures) => figures("opsPerSecond"),
    y: "p99Ms",
    label: clientsOf,
  });
  if (put !== undefined) writeFileSync(join(dir, PUT_CHART), svg([put]));
  const grown = [
    { title: "puts at 100 clients", yTitle: "puts a second", y: "opsPerSecond" },
    { title: "memory of a node", yTitle: "MB", y: "filledMbPerNode" },
    { title: "restart of a member", yTitle: "ms", y: "restartMs" },
  ].flatMap((more) => {
    const found = chart(samples, "growth", { ...more, xTitle: "keys", x: (of) => Number(clientsOf(of)) });
    return found === undefined ? [] : [found];
  });
  if (grown.length > 0) writeFileSync(join(dir, GROWTH_CHART), svg(grown));
}

interface Axes {
  readonly title: string;
  readonly xTitle: string;
  readonly yTitle: string;
  readonly x: (of: string, figures: (name: string) => number | undefined) => number | undefined;
  readonly y: string;
  readonly label?: (of: string) => string;
}

function chart(samples: readonly Sample[], question: string, axes: Axes): Chart | undefined {
  const own = samples.filter((sample) => sample.question === question);
  const series = [...new Set(own.map(({ contender }) => contender))].map((name) => ({
    name,
    points: [...new Set(own.map(({ of }) => of))].flatMap((of): Point[] => {
      const figures = (figure: string): number | undefined => summary(samples, question, of, name, figure)?.median;
      const [x, y] = [axes.x(of, figures), figures(axes.y)];
      // A logarithm wants something above nothing.
      if (x === undefined || y === undefined || !(x > 0) || !(y > 0)) return [];
      return [{ x, y, ...(axes.label === undefined ? {} : { label: axes.label(of) }) }];
    }),
  }));
  const drawn = series.filter(({ points }) => points.length > 0);
  return drawn.length === 0
    ? undefined
    : { title: axes.title, xTitle: axes.xTitle, yTitle: axes.yTitle, series: drawn };
}

/** "1,000 clients" -> "1000", "10,000 keys" -> "10000". */
function clientsOf(of: string): string {
  return of.replaceAll(",", "").split(" ")[0]!;
}
