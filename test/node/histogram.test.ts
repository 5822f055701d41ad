import { expect, test } from "vitest";
import { Histogram } from "../../src/node/histogram.ts";

const lines = async (histogram: Histogram): Promise<string[]> =>
  (await histogram.get()).values.map(
    ({ metricName, labels, value }) => `${metricName} ${JSON.stringify(labels)} ${value}`,
  );

test("a bucket counts what is at its bound or below", async () => {
  const histogram = new Histogram("t", "times", 1, 2);
  for (const seconds of [0.5, 1, 1.5, 2, 7]) histogram.observe(seconds);
  expect(await lines(histogram)).toEqual([
    't_bucket {"le":1} 2',
    't_bucket {"le":2} 4',
    't_bucket {"le":"+Inf"} 5',
    "t_sum {} 12",
    "t_count {} 5",
  ]);
});

test("with a label there is a series for each value seen, and none before", async () => {
  const histogram = new Histogram("t", "times", 1, 1, "To");
  expect(await lines(histogram)).toEqual([]);
  histogram.observe(3, "a1");
  expect(await lines(histogram)).toEqual([
    't_bucket {"le":1,"To":"a1"} 0',
    't_bucket {"le":"+Inf","To":"a1"} 1',
    't_sum {"To":"a1"} 3',
    't_count {"To":"a1"} 1',
  ]);
});
