/** Each bench runs to its end; what it measures is another matter. */
import { expect, test } from "vitest";
import { type Cost, exceeded } from "../../bench/guard/judge.ts";
import { bench } from "./run.ts";

test("bench times every hot path", async () => {
  const { code, found } = await bench<{ rows: readonly { meanUs: number }[] }>("run", ["--ms", "1"]);
  expect(code).toBe(0);
  expect(found.rows.every(({ meanUs }) => meanUs > 0)).toBe(true);
});

test("bench:limit measures the floor and the raw pipe", async () => {
  const { code, output, found, left } = await bench<{ floors: readonly { us: number }[]; samples: readonly unknown[] }>(
    "limit",
    ["--rounds", "1", "--seconds", "0.1"],
  );
  expect(output).not.toContain("FAILED");
  expect(code).toBe(0);
  expect(found.floors.every(({ us }) => us > 0)).toBe(true);
  expect(found.samples).toHaveLength(8);
  expect(left).toEqual([]);
});

test("bench:embedded reads in process and imports the library", async () => {
  const { code, found, left } = await bench<{ rows: readonly { opsPerSecond: number }[]; importing: { ms: number } }>(
    "embedded",
    ["--seconds", "0.1", "--imports", "1"],
  );
  expect(code).toBe(0);
  expect(found.rows.every(({ opsPerSecond }) => opsPerSecond > 0)).toBe(true);
  expect(found.importing.ms).toBeGreaterThan(0);
  expect(left).toEqual([]);
});

test("bench:steady holds a load and judges it", async () => {
  const args = [
    "--seconds",
    "1",
    "--period-seconds",
    "0.5",
    "--peak-seconds",
    "0.2",
    "--share",
    "0.1",
    "--keys",
    "100",
  ];
  const { code, output, found, left } = await bench<{ periods: readonly { puts: number }[]; errors: number }>(
    "steady",
    args,
  );
  expect(output).toContain("p99Ms: ");
  expect(code).toBe(0);
  expect(found.periods.length).toBeGreaterThan(0);
  expect(left).toEqual([]);
});

test("bench:put says which part of each member spent how much", async () => {
  interface Cost {
    readonly usPerPut: number;
    readonly parts: Readonly<Record<string, number>>;
  }
  const { code, found, left } = await bench<{ costs: readonly Cost[] }>("put", ["--seconds", "0.5"]);
  expect(code).toBe(0);
  expect(found.costs).toHaveLength(3);
  for (const { usPerPut, parts } of found.costs) {
    expect(Object.values(parts).reduce((sum, us) => sum + us, 0)).toBeCloseTo(usPerPut, 3);
  }
  expect(left).toEqual([]);
});

test("the guard tells what is clearly slower, allocates clearly more or is unknown, and nothing else", () => {
  const limits = { path: { bytes: 1_000, ratio: 1 } };
  const judged = (bytes: number, ratio: number, name = "path"): string[] =>
    exceeded({ [name]: { bytes, ratio } satisfies Cost }, limits);
  expect(judged(1_200, 1.9)).toEqual([]);
  expect(judged(10, 0.1)).toEqual([]);
  expect(judged(1_500, 1)).toEqual(["path: allocates 1500 bytes a call, and did 1000"]);
  expect(judged(1_000, 3)).toEqual(["path: takes 3.00 times the reference, and took 1"]);
  expect(judged(1, 1, "new")[0]).toContain("has no limit yet");
});
