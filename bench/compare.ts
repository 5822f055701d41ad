/**
 * `npm run bench:compare`: quorate, etcd and antietcd, three nodes each, on this machine and disk, in interleaved rounds:
 * medians, ratios, budgets. Only ratios within one run count, for a machine's speed drifts.
 *
 * --only put,get    these questions alone (`--list` names them)
 * --rounds, --seconds    of each case; of one round's load
 * --contenders quorate,etcd    leave one out
 * --json FILE, --charts DIR    the same figures for machines, and as SVG
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import build from "../test/support/build.ts";
import { antietcd } from "./compare/antietcd.ts";
import { verdicts } from "./compare/budgets.ts";
import { writeCharts } from "./compare/charts.ts";
import type { Contender } from "./compare/cluster.ts";
import { Comparison, type Question, type Sizes } from "./compare/comparison.ts";
import { embedded } from "./compare/embedded.ts";
import { etcd } from "./compare/etcd.ts";
import { failOver } from "./compare/fail-over.ts";
import { growth } from "./compare/growth.ts";
import { loadQuestions } from "./compare/loads.ts";
import { memory } from "./compare/memory.ts";
import { nodes } from "./compare/nodes.ts";
import { PIPE } from "./compare/pipe.ts";
import { QUORATE } from "./compare/quorate.ts";
import { report } from "./compare/report.ts";
import { machineLine } from "./support/machine.ts";
import { duration, Progress } from "./support/progress.ts";
import { Scratch } from "./support/scratch.ts";

const QUESTIONS: readonly Question[] = [...loadQuestions, embedded, memory, failOver, nodes, growth];

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    contenders: { type: "string", default: "quorate,etcd,antietcd,pipe" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "5" },
    warmup: { type: "string", default: "1" },
    keys: { type: "string", default: "10000,100000,1000000" },
    nodes: { type: "string", default: "3,5,7" },
    watchers: { type: "string", default: "1000,10000" },
    leases: { type: "string", default: "10000" },
    "idle-seconds": { type: "string", default: "30" },
    json: { type: "string" },
    charts: { type: "string" },
    list: { type: "boolean", default: false },
  },
});

if (values.list) {
  for (const { name, title } of QUESTIONS) console.log(`${name.padEnd(18)}${title}`);
  process.exit(0);
}

const numbers = (text: string): number[] => text.split(",").map(Number);
const [watchOne = 1, watchMany = watchOne] = numbers(values.watchers);
const sizes: Sizes = {
  rounds: Number(values.rounds),
  seconds: Number(values.seconds),
  warmup: Number(values.warmup),
  keys: numbers(values.keys),
  nodes: numbers(values.nodes),
  watchers: [watchOne, watchMany],
  leases: Number(values.leases),
  idleSeconds: Number(values["idle-seconds"]),
};
const questions = chosen(values.only);

build();
const failed: string[] = [];
{
  await using scratch = new Scratch("compare");
  const missing: string[] = [];
  const comparison = new Comparison(scratch, contendersOf(scratch, missing), sizes);
  for (const what of missing) comparison.notes.add(what);
  const seconds = questions.reduce((sum, question) => sum + question.seconds(comparison), 0);
  const progress = new Progress(seconds);
  comparison.progress = progress;
  progress.say(`${machineLine()}: about ${duration(seconds)}`);
  for (const note of comparison.notes) progress.say(note);
  for (const question of questions) {
    await comparison.attempt(question.name, () => question.ask(comparison));
  }
  progress.end();
  const budgets = verdicts(comparison.samples);
  console.log(machineLine());
  console.log(`${sizes.rounds} rounds of ${sizes.seconds} s, one contender after the other`);
  console.log(report(comparison, questions, budgets));
  const { samples, contenders, notes, failures } = comparison;
  failed.push(...failures);
  if (values.json !== undefined) {
    const found = {
      machine: machineLine(),
      sizes,
      contenders: contenders.map(({ name, note }) => ({ name, note })),
      samples,
      notes: [...notes],
      budgets,
      failures,
    };
    writeFileSync(values.json, `${JSON.stringify(found, undefined, 1)}\n`);
  }
  if (values.charts !== undefined) writeCharts(values.charts, samples);
}
for (const what of failed) console.log(`FAILED: ${what}`);
process.exit(failed.length === 0 ? 0 : 1);

function chosen(only: string | undefined): readonly Question[] {
  if (only === undefined) return QUESTIONS;
  return only.split(",").map((name) => {
    const found = QUESTIONS.find((question) => question.name === name);
    if (found === undefined) throw new Error(`no question is called ${name} (--list names them)`);
    return found;
  });
}

/** Who cannot run here is named, and the others go on. */
function contendersOf(scratch: Scratch, missing: string[]): Contender[] {
  const all: Readonly<Record<string, () => Contender>> = {
    quorate: () => QUORATE,
    etcd: () => etcd(scratch),
    antietcd,
    pipe: () => PIPE,
  };
  return values.contenders.split(",").flatMap((name) => {
    const make = all[name];
    if (make === undefined) throw new Error(`no contender is called ${name}`);
    try {
      return [make()];
    } catch (error) {
      missing.push(`without ${name}: ${(error as Error).message}`);
      return [];
    }
  });
}
