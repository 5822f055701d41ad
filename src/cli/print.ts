/** Where commands hand over their answers: the only file of the commands that knows how `output.ts` is called. */
import type { LeaseId, MemberId } from "../base/ids.ts";
import type { Response } from "../protocol/responses.ts";
import type { Answer, Health } from "./commands/endpoint.ts";
import { fail } from "./exit.ts";
import type { Globals } from "./globals.ts";
import { formatHashes, formatHealth, formatResponse, formatSnapshot, formatStatuses } from "./output.ts";

/** What the text of an answer needs beyond the answer. */
export interface About {
  readonly valueOnly?: boolean;
  /** Of a compaction. */
  readonly revision?: number;
  /** Of a `member` command: what was asked, of whom. */
  readonly verb?: "list" | "add" | "remove" | "promote" | "update";
  readonly name?: string;
  readonly id?: MemberId;
  /** Of `lease revoke`: which. */
  readonly lease?: LeaseId;
  /** Of `lease timetolive`: its keys were asked for. */
  readonly keys?: boolean;
}

const TABLES: readonly string[] = ["list"];

export function print(globals: Globals, response: Response, about: About = {}): void {
  if (globals.format === "table" && !TABLES.includes(about.verb ?? "")) {
    fail("badFeature", "table not supported as output format");
  }
  process.stdout.write(formatResponse(response, { format: globals.format, hex: globals.hex, ...about }));
}

export function printStatuses(
  globals: Globals,
  rows: readonly Answer<Parameters<typeof formatStatuses>[0][number]["answer"]>[],
): void {
  process.stdout.write(formatStatuses(rows, { format: globals.format, hex: globals.hex }));
}

export function printHashes(
  globals: Globals,
  rows: readonly Answer<Parameters<typeof formatHashes>[0][number]["answer"]>[],
): void {
  process.stdout.write(formatHashes(rows, { format: globals.format, hex: globals.hex }));
}

export function printSnapshot(globals: Globals, summary: Parameters<typeof formatSnapshot>[0]): void {
  process.stdout.write(formatSnapshot(summary, { format: globals.format, hex: globals.hex }));
}

/** In plain text the healthy go to stdout and the others to stderr, as with etcdctl. */
export function printHealth(globals: Globals, rows: readonly Health[]): void {
  if (globals.format !== "simple") {
    process.stdout.write(formatHealth(rows, { format: globals.format, hex: globals.hex }));
    return;
  }
  for (const row of rows) {
    if (row.health) {
      process.stdout.write(
        `${row.endpoint} is healthy: successfully committed proposal: took = ${row.tookMs.toFixed(6)}ms\n`,
      );
    } else {
      process.stderr.write(`${row.endpoint} is unhealthy: failed to commit proposal: ${row.error}\n`);
    }
  }
}
