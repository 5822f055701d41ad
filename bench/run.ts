/**
 * `npm run bench`: the hot paths, each alone and in one process. Figures of two runs compare only on one quiet machine;
 * whole clusters are compared by `npm run bench:compare`. `--json FILE` writes the same figures.
 */
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { Bench } from "tinybench";
import { hotPaths } from "./hot-paths.ts";

const { values } = parseArgs({ options: { json: { type: "string" }, ms: { type: "string", default: "500" } } });

const bench = new Bench({ time: Number(values.ms), warmupTime: 200 });
for (const { name, once } of hotPaths()) bench.add(name, once);

await bench.run();
const rows = bench.tasks.map(({ name, result }) => {
  if (result.state !== "completed") throw new Error(`${name}: ${result.state}`, { cause: result });
  const { mean, p50, p99 } = result.latency;
  return { name, opsPerSecond: 1e3 / mean, meanUs: mean * 1e3, p50Us: p50 * 1e3, p99Us: p99 * 1e3 };
});
console.log(`Node ${process.version}, ${cpus()[0]?.model ?? "unknown processor"}, ${cpus().length} cores`);
console.table(
  rows.map(({ name, opsPerSecond, ...us }) => ({
    name,
    "ops/s": Math.round(opsPerSecond),
    ...Object.fromEntries(Object.entries(us).map(([key, value]) => [key, Number(value.toFixed(2))])),
  })),
);
if (values.json !== undefined) {
  writeFileSync(values.json, `${JSON.stringify({ node: process.version, rows }, undefined, 2)}\n`);
}
console.log(`bench: ${rows.map(({ name, meanUs }) => `${name} ${meanUs.toFixed(2)} us`).join("; ")}`);
