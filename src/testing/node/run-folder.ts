/**
 * What a run leaves, the same for both harnesses: `history.jsonl`, `faults.jsonl`, `run.json` and `report.html`. The
 * page is made from the texts of the others, so it can be made again from a folder that somebody sends.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { History } from "../history.ts";
import { faultSchedule, type RunSummary, renderReport } from "../report.ts";

export function writeRunFolder(dir: string, summary: RunSummary, history: History): void {
  const run = `${JSON.stringify(summary, undefined, 2)}\n`;
  const lines = history.toJsonLines();
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "history.jsonl"), lines);
  writeFileSync(join(dir, "faults.jsonl"), faultSchedule(lines));
  writeFileSync(join(dir, "run.json"), run);
  writeFileSync(join(dir, "report.html"), renderReport(run, lines));
}
