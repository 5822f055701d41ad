import { describe, expect, test } from "vitest";
import { verdicts } from "../../bench/compare/budgets.ts";
import type { Sample } from "../../bench/compare/comparison.ts";
import { directoryKeyOf, directoryOf, keyOf } from "../../bench/support/keys.ts";
import { median, quantile, shown, spread } from "../../bench/support/statistics.ts";
import { svg } from "../../bench/support/svg-chart.ts";
import { bench } from "./run.ts";

interface Found {
  readonly samples: readonly Sample[];
}

const TINY = ["--contenders", "quorate", "--rounds", "1", "--seconds", "0.1", "--warmup", "0.1", "--idle-seconds", "0"];

describe("bench:compare", () => {
  test("asks questions and leaves nothing behind", async () => {
    // Those whose ways differ most: loads with watchers, killed leaders, restarted and replaced members.
    const args = ["--only", "watch-many,fail-over,growth", "--keys", "100", "--watchers", "10,100"];
    const { code, output, found, left } = await bench<Found>("compare", [...TINY, ...args]);
    expect(output).not.toContain("FAILED");
    expect(code).toBe(0);
    const figures = new Set(found.samples.flatMap((sample) => Object.keys(sample.figures)));
    for (const figure of ["p99Ms", "failOverMs", "filledMbPerNode", "restartMs", "catchUpMs"])
      expect(figures).toContain(figure);
    expect(left).toEqual([]);
  }, 300_000);

  test("interrupted, leaves no data and no process behind", async () => {
    const args = ["--only", "put", "--seconds", "60"];
    const { code, output, left } = await bench("compare", [...TINY, ...args], /a cluster of 3/);
    expect(code).toBe(130);
    expect(output).toContain("a cluster of 3");
    expect(left).toEqual([]);
  });

  test("judges budgets by the ratio of medians", () => {
    const sample = (contender: string, opsPerSecond: number): Sample => ({
      ...{ question: "put", of: "100 clients", contender, figures: { opsPerSecond } },
    });
    const samples = [sample("quorate", 60), sample("quorate", 50), sample("quorate", 10), sample("etcd", 10)];
    const [met, ...others] = verdicts(samples).filter((each) => each.measured !== undefined);
    expect(met).toMatchObject({ budget: "put 256 B, 100 clients: ops/s", measured: 5, met: true });
    expect(others).toEqual([]);
    expect(verdicts([...samples, sample("etcd", 12)]).find((each) => each.met === false)?.measured).toBeCloseTo(
      50 / 11,
    );
  });
});

describe("figures", () => {
  test("median, quantile and spread", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2);
    expect(quantile([5], 0.99)).toBe(5);
    expect(spread([1, 2, 4])).toBe(1.5);
    expect([12_345.6, 12.34, 1.234, 0.1234].map(shown)).toEqual(["12,346", "12.3", "1.23", "0.123"]);
  });

  test("keys are 32 bytes, distinct, and a directory's range holds its hundred", () => {
    const keys = Array.from({ length: 1_000 }, (_, i) => keyOf(i + 1_700_000_000_000));
    expect(new Set(keys).size).toBe(1_000);
    expect(keys.every((key) => key.length === 32)).toBe(true);
    // bench/etcd-load/keys.go makes the same.
    expect(keyOf(0x1_2345_6789)).toMatch(/^[0-9a-f]{16}key\/000123456789$/);
    const [start, end] = directoryOf(150);
    const inside = Array.from({ length: 300 }, (_, i) => directoryKeyOf(i)).filter((key) => key >= start && key < end);
    expect(inside).toEqual(Array.from({ length: 100 }, (_, i) => directoryKeyOf(100 + i)));
  });

  test("a chart is one SVG with each series and its labels", () => {
    const points = [
      { x: 1, y: 10, label: "a<b" },
      { x: 100, y: 2 },
    ];
    const text = svg([{ title: "t", xTitle: "x", yTitle: "y", series: [{ name: "quorate", points }] }]);
    expect(text).toMatch(/^<svg [^>]*viewBox="0 0 420 346"/);
    expect(text).toContain("a&lt;b");
    expect(text.match(/<polyline /g)).toHaveLength(1);
    expect(text).not.toMatch(/NaN|undefined|Infinity/);
  });
});
