/** The tables that a comparison ends with. */
import Table from "cli-table3";
import { shown } from "../support/statistics.ts";
import type { Verdict } from "./budgets.ts";
import { type Comparison, type Question, summary } from "./comparison.ts";

const BASE = "etcd";
/** Beyond it two medians of so few rounds say little. */
const SPREAD_SHOWN = 0.1;

export function report(comparison: Comparison, questions: readonly Question[], budgets: readonly Verdict[]): string {
  const parts = questions.map((question) => questionTable(comparison, question)).filter((part) => part !== undefined);
  const notes = [
    ...comparison.contenders.flatMap(({ note }) => (note === undefined ? [] : [note])),
    ...comparison.notes,
  ];
  return [
    ...parts,
    "Medians; ± is half the distance between the lowest and the highest round, where it is large.",
    ...notes.map((note) => `- ${note}`),
    "",
    budgetTable(budgets),
  ].join("\n");
}

function questionTable(comparison: Comparison, { name, title, columns }: Question): string | undefined {
  const { samples } = comparison;
  const own = samples.filter(({ question }) => question === name);
  if (own.length === 0) return undefined;
  const present = columns.filter(({ figure }) => own.some(({ figures }) => figure in figures));
  const table = new Table({
    head: ["", "", ...present.map((column) => column.title)],
    style: { head: [], border: [], compact: true },
  });
  for (const of of new Set(own.map((sample) => sample.of))) {
    const contenders = [...new Set(own.filter((sample) => sample.of === of).map(({ contender }) => contender))];
    for (const contender of contenders) {
      table.push([
        of,
        contender,
        ...present.map(({ figure }) => {
          const found = summary(samples, name, of, contender, figure);
          if (found === undefined) return "";
          const wide = found.rounds > 1 && found.spread / 2 > SPREAD_SHOWN && found.median > 0;
          return `${shown(found.median)}${wide ? ` ±${Math.round((100 * found.spread) / 2)}%` : ""}`;
        }),
      ]);
    }
    if (!contenders.includes(BASE) || !contenders.includes("quorate")) continue;
    table.push([
      of,
      `quorate / ${BASE}`,
      ...present.map(({ figure }) => {
        const [ours, theirs] = ["quorate", BASE].map((each) => summary(samples, name, of, each, figure)?.median);
        return ours === undefined || theirs === undefined || theirs === 0 ? "" : `${shown(ours / theirs)} x`;
      }),
    ]);
  }
  return `${title}\n${table.toString()}\n`;
}

function budgetTable(budgets: readonly Verdict[]): string {
  const table = new Table({
    head: ["budget", "wanted", "measured", ""],
    style: { head: [], border: [], compact: true },
  });
  for (const { budget, wanted, measured, unit, met } of budgets) {
    table.push([
      budget,
      `${wanted} ${unit}`,
      measured === undefined ? "-" : `${shown(measured)} ${unit}`,
      met === undefined ? "not measured" : met ? "met" : "NOT MET",
    ]);
  }
  return table.toString();
}
