/**
 * `npm run bench:limit`: the machine's floor under a put, part by part, and then quorate beside a raw pipe of the same parts in
 * interleaved rounds: so each result can be given as a share of what is possible here. `--json FILE` writes the same figures.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import build from "../test/support/build.ts";
import { Comparison, type Summary, summary } from "./compare/comparison.ts";
import { loadQuestions } from "./compare/loads.ts";
import { PIPE } from "./compare/pipe.ts";
import { QUORATE } from "./compare/quorate.ts";
import { codecs, type Floor, fdatasync, roundTrips, syncedBatches } from "./limit/floor.ts";
import { machineLine } from "./support/machine.ts";
import { Progress } from "./support/progress.ts";
import { Scratch } from "./support/scratch.ts";
import { shown } from "./support/statistics.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "3" },
    json: { type: "string" },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);
/** Of each part of the floor. */
const partSeconds = Math.min(1, seconds);
const PARTS = 10;

build();
{
  await using scratch = new Scratch("limit");
  const sizes = {
    rounds,
    seconds,
    warmup: Math.min(1, seconds),
    keys: [],
    nodes: [],
    watchers: [1, 1],
    leases: 1,
    idleSeconds: 0,
  } as const;
  const comparison = new Comparison(scratch, [QUORATE, PIPE], sizes);
  const put = loadQuestions.find(({ name }) => name === "put")!;
  const progress = new Progress(PARTS * partSeconds + put.seconds(comparison));
  comparison.progress = progress;

  const floors: Floor[] = [
    ...(await syncedBatches(scratch.dir, partSeconds)),
    await fdatasync(scratch.dir, partSeconds),
    ...(await roundTrips(partSeconds, (child) => scratch.adopt(child))),
    ...(await codecs(partSeconds)),
  ];
  progress.done(PARTS * partSeconds, "the floor");
  await put.ask(comparison);
  progress.end();

  console.log(machineLine());
  const parts = new Table({ head: ["floor", "µs", "a second"], style: { head: [], border: [], compact: true } });
  for (const { what, us, perSecond } of floors) parts.push([what, shown(us), shown(perSecond)]);
  console.log(parts.toString());
  const shares = new Table({
    head: ["put 256 B", "raw pipe/s", "quorate/s", "share of the limit", "p99 ms, raw pipe", "p99 ms, quorate"],
    style: { head: [], border: [], compact: true },
  });
  const { samples } = comparison;
  for (const of of new Set(samples.map((sample) => sample.of))) {
    const [limit, ours, limitP99, oursP99] = [
      ...(["raw pipe", "quorate"] as const).map((name) => summary(samples, "put", of, name, "opsPerSecond")),
      ...(["raw pipe", "quorate"] as const).map((name) => summary(samples, "put", of, name, "p99Ms")),
    ];
    const share = limit === undefined || ours === undefined ? "-" : `${shown((100 * ours.median) / limit.median)} %`;
    shares.push([of, text(limit), text(ours), share, text(limitP99), text(oursP99)]);
  }
  console.log(shares.toString());
  for (const note of [PIPE.note!, ...comparison.notes]) console.log(`- ${note}`);
  for (const failure of comparison.failures) console.log(`FAILED: ${failure}`);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine: machineLine(), floors, samples }, undefined, 1)}\n`);
  }
  process.exitCode = comparison.failures.length === 0 ? 0 : 1;
}

function text(figure: Summary | undefined): string {
  return figure === undefined ? "-" : shown(figure.median);
}
