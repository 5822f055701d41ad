/**
 * `npm run bench:put`: where the time of one put goes. Three members under a load of puts, each profiled in its own process
 * (`--cpu-prof`); prints microseconds of processor time for each put, member by member and part by part, by the file that spent them.
 * A profiled member is slower than another: shares count, and the microseconds are those shares of what the system counted.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import build from "../test/support/build.ts";
import { runLoad } from "./compare/load.ts";
import { QUORATE, start } from "./compare/quorate.ts";
import { between, type CpuProfile, type Part, partsOf, topFunctions } from "./put/profile.ts";
import { machineLine } from "./support/machine.ts";
import { cpuSeconds } from "./support/process-stats.ts";
import { Progress } from "./support/progress.ts";
import { Scratch } from "./support/scratch.ts";
import { shown } from "./support/statistics.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    clients: { type: "string", default: "100" },
    /** Functions listed for the leader. */
    top: { type: "string", default: "25" },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const clients = Number(values.clients);
const START_SECONDS = 5;
const WARM_UP_SECONDS = 3;

interface Cost {
  readonly member: string;
  readonly usPerPut: number;
  readonly parts: Readonly<Partial<Record<Part, number>>>;
}

build();
{
  await using scratch = new Scratch("put");
  const progress = new Progress(START_SECONDS * 2 + seconds);
  const profiles = join(scratch.dir, "profiles");
  mkdirSync(profiles);
  const cluster = await start(scratch, "put", 3, {}, ["--cpu-prof", "--cpu-prof-dir", profiles]);
  progress.done(START_SECONDS, "a profiled cluster of 3");
  const leader = await cluster.leader();
  const before = cluster.members.map(({ pid }) => cpuSeconds(pid));
  // What was never run is not compiled yet.
  await runLoad(scratch, QUORATE, cluster, {
    kind: "put",
    clients,
    seconds: Math.min(WARM_UP_SECONDS, seconds),
    warmup: 0,
  });
  const monotonicUs = (): number => Number(process.hrtime.bigint() / 1_000n);
  const loadFrom = monotonicUs();
  const figures = await runLoad(scratch, QUORATE, cluster, { kind: "put", clients, seconds, warmup: 0 });
  progress.done(seconds, `${shown(figures.opsPerSecond)} puts/s`);
  const loadTo = monotonicUs();
  const used = cluster.members.map(({ pid }, i) => cpuSeconds(pid) - before[i]!);
  const costs: Cost[] = [];
  let functions: readonly (readonly [string, number])[] = [];
  for (const [i, member] of cluster.members.entries()) {
    const known = new Set(readdirSync(profiles));
    // A profile is written when its process ends by itself.
    await member.stop();
    const file = readdirSync(profiles).find((name) => !known.has(name));
    if (file === undefined) throw new Error(`${member.name} left no profile`);
    const whole = JSON.parse(readFileSync(join(profiles, file), "utf8")) as CpuProfile;
    // A member's own start is none of a put's affairs.
    const profile = between(whole, loadFrom, loadTo);
    if (profile.samples.length === 0) throw new Error(`${member.name} was not sampled under load`);
    const usPerPut = (used[i]! * 1e6) / figures.ops;
    const shares = partsOf(profile);
    const parts = Object.fromEntries(Object.entries(shares).map(([part, share]) => [part, share * usPerPut]));
    costs.push({ member: member === leader ? `${member.name}, leader` : member.name, usPerPut, parts });
    if (member === leader)
      functions = topFunctions(profile, Number(values.top)).map(([name, share]) => [name, share * usPerPut]);
  }
  progress.done(START_SECONDS, "profiles");
  progress.end();

  console.log(`${machineLine()}; ${clients} clients, ${shown(figures.opsPerSecond)} puts/s with profiling on`);
  const names = [...new Set(costs.flatMap(({ parts }) => Object.keys(parts) as Part[]))];
  const weight = (part: Part): number => costs.reduce((sum, { parts }) => sum + (parts[part] ?? 0), 0);
  names.sort((a, b) => weight(b) - weight(a));
  const table = new Table({
    head: ["µs of processor time a put", ...costs.map(({ member }) => member), "all"],
    style: { head: [], border: [], compact: true },
  });
  for (const part of names) {
    table.push([part, ...costs.map(({ parts }) => shown(parts[part] ?? 0)), shown(weight(part))]);
  }
  const sum = costs.reduce((all, { usPerPut }) => all + usPerPut, 0);
  table.push(["all", ...costs.map(({ usPerPut }) => shown(usPerPut)), shown(sum)]);
  table.push(["the client, beside it", ...costs.map(() => ""), shown(figures.cpuUsPerOp)]);
  console.log(table.toString());
  const list = new Table({
    head: ["the leader's functions", "µs a put"],
    style: { head: [], border: [], compact: true },
  });
  for (const [name, us] of functions) list.push([name, shown(us)]);
  console.log(list.toString());
  if (values.json !== undefined) {
    writeFileSync(
      values.json,
      `${JSON.stringify({ machine: machineLine(), figures, costs, functions }, undefined, 1)}\n`,
    );
  }
}
process.exit(0);
