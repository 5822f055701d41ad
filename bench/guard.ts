/**
 * `npm run bench:guard`: whether a hot path got clearly slower or allocates clearly more than bench/guard-limits.json says. Part
 * of `npm test`, on any machine and beside any load, so no absolute time counts: what is compared is bytes allocated for
 * each call, and the fastest of many short batches as a multiple of the fastest of a reference that never changes, run in
 * between. What fails must fail in three processes, for now and then one compiles a path less well. `-- --record` writes the
 * limits anew, after a change that was meant.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import type { Client } from "../src/index.ts";
import { Node } from "../src/node/node.ts";
import { type Costs, exceeded, type Limits, least } from "./guard/judge.ts";
import { allocated, fastest, fastestAsync, reference } from "./guard/measure.ts";
import { hotPaths } from "./hot-paths.ts";
import { shown } from "./support/statistics.ts";

const LIMITS = new URL("./guard-limits.json", import.meta.url);
const ROUNDS = 40;
const ATTEMPTS = 3;
const VALUE = new Uint8Array(256).fill(7);
/** Gets and puts under way at once in the paths that cross the whole member. */
const UNDER_WAY = 100;

const { values } = parseArgs({
  options: {
    record: { type: "boolean", default: false },
    json: { type: "string" },
    /** One attempt, by the process that was started for it. */
    measure: { type: "boolean", default: false },
  },
});

if (values.measure) {
  process.stdout.write(JSON.stringify(await measured()));
  process.exit(0);
}

const limits = (): Limits => JSON.parse(readFileSync(LIMITS, "utf8")) as Limits;
let costs = inProcess();
if (values.record) {
  for (let attempt = 2; attempt <= ATTEMPTS; attempt++) costs = least(costs, inProcess());
  const rounded = Object.fromEntries(
    Object.entries(costs).map(([name, { bytes, ratio }]) => [
      name,
      { bytes: Math.ceil(bytes), ratio: Number(ratio.toPrecision(3)) },
    ]),
  );
  writeFileSync(LIMITS, `${JSON.stringify(rounded, undefined, 2)}\n`);
}
let failures = exceeded(costs, limits());
for (let attempt = 2; attempt <= ATTEMPTS && failures.length > 0; attempt++) {
  for (const failure of failures) console.log(`again: ${failure}`);
  costs = least(costs, inProcess());
  failures = exceeded(costs, limits());
}
const table = new Table({
  head: ["hot path", "bytes", "was", "time", "was"],
  style: { head: [], border: [], compact: true },
});
for (const [name, { bytes, ratio }] of Object.entries(costs)) {
  const was = limits()[name];
  const [wasBytes, wasRatio] = was === undefined ? ["-", "-"] : [shown(was.bytes), shown(was.ratio)];
  table.push([name, shown(bytes), wasBytes, shown(ratio), wasRatio]);
}
console.log(table.toString());
console.log("bytes: allocated for each call; time: as a multiple of the reference");
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ costs, limits: limits() }, undefined, 1)}\n`);
for (const failure of failures) console.log(`FAILED: ${failure}`);
process.exit(failures.length === 0 ? 0 : 1);

/** With room for what it allocates: between two collections is where bytes can be counted. */
function inProcess(): Costs {
  const flags = ["--min-semi-space-size=64", "--max-semi-space-size=64", "--import", "tsx"];
  const ran = spawnSync(process.execPath, [...flags, fileURLToPath(import.meta.url), "--measure"], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (ran.status !== 0) throw new Error(`the measuring process ended with ${ran.status ?? ran.signal}`);
  return JSON.parse(ran.stdout) as Costs;
}

async function measured(): Promise<Costs> {
  const costs: Costs = {};

  // Whole calls first: what is garbage of theirs is theirs alone.
  {
    await using node = await Node.open({});
    const client = node.client();
    for (const [name, batch] of Object.entries(calls(client))) {
      const ratio = (await fastestAsync(batch, ROUNDS)) / UNDER_WAY;
      costs[name] = { ratio, bytes: (await allocated(batch, ROUNDS)) / UNDER_WAY };
    }
  }
  for (const { name, once } of hotPaths()) {
    // In this order: what is not optimized yet allocates more.
    const ratio = fastest(once, ROUNDS);
    costs[name] = { ratio, bytes: await allocated(once, 400) };
  }
  const scale = fastest(reference, ROUNDS * 4);
  for (const [name, { bytes, ratio }] of Object.entries(costs)) costs[name] = { bytes, ratio: ratio / scale };
  return costs;
}

/** A hundred at once, through the client of a member that keeps its data in memory. */
function calls(client: Client): Readonly<Record<string, () => Promise<unknown>>> {
  const keys = Array.from({ length: UNDER_WAY }, (_, i) => `guard/${i}`);
  return {
    "member: put of 256 B": () => Promise.all(keys.map((key) => client.put(key, VALUE))),
    "member: serializable get": () => Promise.all(keys.map((key) => client.get(key, { serializable: true }))),
    "member: linearizable get": () => Promise.all(keys.map((key) => client.get(key))),
  };
}
